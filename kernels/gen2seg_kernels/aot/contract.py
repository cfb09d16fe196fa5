"""The launch contract, kernels.json: all that a process needs to launch compiled kernels without Triton.

A kernel has the same parameters on every architecture; files, resources and, where a tile size is chosen for an
architecture, grid and block belong to the architecture.
"""

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from gen2seg_kernels.aot.errors import ContractError, CubinIntegrityError
from gen2seg_kernels.aot.grid import names_in_rule
from gen2seg_kernels.aot.types import check_type

SCHEMA = 1
FILE_NAME = "kernels.json"
MAX_BYTES = 8 << 20
_CUBIN = re.compile(r"[a-z0-9_]+\.sm_[0-9]+\.cubin")

Constant = int | float | bool | str | None


@dataclass(frozen=True)
class Parameter:
    """A parameter of the compiled kernel.

    Attributes:
        name: the argument's; Triton's own two are `global_scratch` and `profile_scratch` and take a null pointer.
        type: Triton's: "*fp32", "i32", "fp32", ...
        ptx: the PTX type without its dot: "u64", "u32", "f32", ...
        scratch: whether it is one of Triton's own.
        alignment: a pointer's address must be a multiple of it, in bytes; an integer's value likewise.
    """

    name: str
    type: str
    ptx: str
    scratch: bool = False
    alignment: int = 1


@dataclass(frozen=True)
class Target:
    """A kernel compiled for one architecture.

    Attributes:
        sm: compute capability times ten.
        exact: whether it runs on this architecture only.
        file: name of the compiled file, beside the contract.
        bytes, sha256: of that file.
        grid: rules for x, y, z over integer parameters, grid arguments and constants, see `grid.py`.
        block: threads in x, y, z.
        shared_bytes: dynamic shared memory of a launch.
        registers: of a thread.
        spill_store_bytes, spill_load_bytes, stack_bytes: of a thread, as the assembler tells.
        constants: the arguments that were fixed when it was compiled.
    """

    sm: int
    exact: bool
    file: str
    bytes: int
    sha256: str
    grid: tuple[str, str, str]
    block: tuple[int, int, int]
    shared_bytes: int
    registers: int
    spill_store_bytes: int
    spill_load_bytes: int
    stack_bytes: int
    constants: Mapping[str, Constant]


@dataclass(frozen=True)
class Kernel:
    """A kernel.

    Attributes:
        name: stem of its files.
        doc: what it computes, in a line.
        entry: its name inside the files.
        parameters: in the order of the launch.
        grid_arguments: whole numbers that only the grid needs, no parameter holds.
        targets: one per architecture.
    """

    name: str
    doc: str
    entry: str
    parameters: tuple[Parameter, ...]
    grid_arguments: tuple[str, ...]
    targets: tuple[Target, ...]

    def target(self, sm: int) -> Target:
        """Raises ContractError if nothing was compiled for `sm`."""
        for target in self.targets:
            if target.sm == sm:
                return target
        raise ContractError(f"kernel {self.name!r} is not compiled for sm_{sm}; there is {architectures(self)}")


@dataclass(frozen=True)
class Contract:
    """All kernels of a folder, and the Triton that compiled them."""

    triton: str
    kernels: Mapping[str, Kernel]

    def kernel(self, name: str) -> Kernel:
        """Raises ContractError for an unknown name."""
        if name not in self.kernels:
            raise ContractError(f"unknown kernel {name!r}; known: {', '.join(sorted(self.kernels))}")
        return self.kernels[name]


def architectures(kernel: Kernel) -> str:
    return ", ".join(f"sm_{target.sm}{'a' if target.exact else ''}" for target in kernel.targets) or "nothing"


def to_json(contract: Contract) -> str:
    kernels = [asdict(kernel) for _, kernel in sorted(contract.kernels.items())]
    document = {"schema": SCHEMA, "triton": contract.triton, "kernels": kernels}
    return json.dumps(document, indent=1, allow_nan=False) + "\n"


def read_contract(folder: Path) -> Contract:
    """Reads and checks `folder`/kernels.json; compiled files are not touched.

    Raises:
        ContractError: missing, too large, no JSON, another schema, or a field that is wrong.
    """
    path = folder / FILE_NAME
    try:
        if path.stat().st_size > MAX_BYTES:
            raise ContractError(f"{path}: {path.stat().st_size} bytes; a contract has at most {MAX_BYTES}")
        document = json.loads(path.read_bytes())
    except OSError as error:
        raise ContractError(f"{path}: cannot be read: {error}") from error
    except (UnicodeDecodeError, json.JSONDecodeError, RecursionError) as error:
        raise ContractError(f"{path}: is not JSON: {error}") from error
    try:
        if document["schema"] != SCHEMA:
            raise ContractError(f"{path}: schema {document['schema']!r}, expected {SCHEMA}")
        kernels = [_kernel(item) for item in document["kernels"]]
        names = [kernel.name for kernel in kernels]
        if len(set(names)) != len(names):
            raise ContractError(f"{path}: a kernel is listed twice")
        return Contract(_is(document["triton"], str), dict(zip(names, kernels, strict=True)))
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        if isinstance(error, ContractError):
            raise
        raise ContractError(f"{path}: is not a launch contract: {type(error).__name__}: {error}") from error


def read_cubin(folder: Path, target: Target) -> bytes:
    """The compiled file, after its size and digest were checked.

    Raises:
        CubinIntegrityError: it is missing, a link, or another file than the contract's.
    """
    path = folder / target.file
    if path.is_symlink() or not path.is_file():
        raise CubinIntegrityError(
            f"{path}: expected a compiled kernel, found {'a link' if path.is_symlink() else 'none'}"
        )
    with path.open("rb") as file:
        data = file.read(target.bytes + 1)
    if len(data) != target.bytes:
        raise CubinIntegrityError(f"{path}: expected {target.bytes} bytes, found {path.stat().st_size}")
    digest = hashlib.sha256(data).hexdigest()
    if digest != target.sha256:
        raise CubinIntegrityError(f"{path}: expected sha256 {target.sha256}, found {digest}")
    return data


def _kernel(item: dict[str, Any]) -> Kernel:
    parameters = tuple(_parameter(entry) for entry in item["parameters"])
    names = [parameter.name for parameter in parameters]
    if len(set(names)) != len(names):
        raise ContractError(f"kernel {item['name']!r} has two parameters of one name")
    grid_arguments = tuple(_is(name, str) for name in item["grid_arguments"])
    integers = {parameter.name for parameter in parameters if parameter.type[0] in "iu"}
    targets = tuple(_target(entry, item["name"], integers.union(grid_arguments)) for entry in item["targets"])
    name, doc, entry = (_is(item[key], str) for key in ("name", "doc", "entry"))
    return Kernel(name, doc, entry, parameters, grid_arguments, targets)


def _parameter(entry: dict[str, Any]) -> Parameter:
    parameter = Parameter(**entry)
    for value, kind in (
        (parameter.name, str),
        (parameter.ptx, str),
        (parameter.scratch, bool),
        (parameter.alignment, int),
    ):
        _is(value, kind)
    check_type(parameter.name, parameter.type, parameter.ptx)
    return parameter


def _target(entry: dict[str, Any], kernel: str, integers: set[str]) -> Target:
    target = Target(**{**entry, "grid": tuple(entry["grid"]), "block": tuple(entry["block"])})
    for name in ("sm", "bytes", "shared_bytes", "registers", "spill_store_bytes", "spill_load_bytes", "stack_bytes"):
        if _is(getattr(target, name), int) < 0:
            raise ContractError(f"kernel {kernel!r}: {name} is {getattr(target, name)}")
    _is(target.exact, bool)
    if not _CUBIN.fullmatch(_is(target.file, str)):  # a plain name: nothing outside the folder is ever opened
        raise ContractError(f"kernel {kernel!r}: {target.file!r} is no name of a compiled file")
    if len(target.grid) != 3 or len(target.block) != 3 or not all(_is(n, int) >= 1 for n in target.block):
        raise ContractError(f"kernel {kernel!r}: grid and block have three sizes, got {target.grid}, {target.block}")
    unknown = set().union(*map(names_in_rule, target.grid)) - integers - set(target.constants)
    if unknown:
        raise ContractError(f"kernel {kernel!r}: the grid {target.grid} names {sorted(unknown)}, which it has not")
    return target


def _is(value: Any, kind: type) -> Any:
    if type(value) is not kind:
        raise ContractError(f"expected {kind.__name__}, found {value!r}")
    return value
