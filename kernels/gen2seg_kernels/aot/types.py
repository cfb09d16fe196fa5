"""Argument types of Triton kernels: how many bytes each has in the launch, and how a value becomes those bytes."""

import struct
from collections.abc import Mapping

from gen2seg_kernels.aot.errors import ContractError, LaunchError

# Triton's name -> struct's letter. A pointer ("*fp32") is a 64-bit address.
_FORMATS: Mapping[str, str] = {
    **{"i1": "b", "u1": "B", "i8": "b", "u8": "B", "i16": "h", "u16": "H", "i32": "i", "u32": "I"},
    **{"i64": "q", "u64": "Q", "fp16": "e", "fp32": "f", "fp64": "d"},
}
_POINTER = "Q"


def check_type(name: str, kind: str, ptx: str) -> None:
    """Raises ContractError unless a value of Triton's type `kind` is what PTX calls `ptx` ("u64", "f32", "b16")."""
    letter = _format(name, kind)
    if ptx[:1] not in {"u", "s", "b", "f"} or not ptx[1:].isdigit() or int(ptx[1:]) != 8 * struct.calcsize(letter):
        raise ContractError(f"parameter {name}: {kind} has {8 * struct.calcsize(letter)} bits, PTX says .{ptx}")
    if ptx[0] == "f" and letter not in "efd":
        raise ContractError(f"parameter {name}: {kind} is whole, PTX says .{ptx}")


def pack(name: str, kind: str, value: object) -> bytes:
    """The bytes that a launch reads for a parameter.

    Args:
        name: for the message.
        kind: Triton's type.
        value: an address (int), a whole number or a float.

    Raises:
        LaunchError: the value has another type or does not fit.
    """
    letter = _format(name, kind)
    whole = letter not in "efd"
    if isinstance(value, bool) and kind not in ("i1", "u1"):
        raise LaunchError(f"argument {name} must be {kind}, got a bool")
    if not isinstance(value, int if whole else (int, float)):
        raise LaunchError(f"argument {name} must be {_words(kind)}, got {type(value).__name__}")
    try:
        return struct.pack("<" + letter, value)
    except (struct.error, OverflowError) as error:
        raise LaunchError(f"argument {name} must be {_words(kind)}, got {value!r}: {error}") from error


def _format(name: str, kind: str) -> str:
    letter = _POINTER if isinstance(kind, str) and kind.startswith("*") else _FORMATS.get(kind)
    if letter is None:
        raise ContractError(f"parameter {name}: type {kind!r} cannot be passed; known: pointers, {', '.join(_FORMATS)}")
    return letter


def _words(kind: str) -> str:
    return f"a device address ({kind})" if kind.startswith("*") else kind
