"""TOML to frozen records: every key is known, every value has the type that the record says."""

import copy
import difflib
import tomllib
from collections.abc import Sequence
from dataclasses import MISSING, fields, is_dataclass
from types import NoneType, UnionType
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

from gen2seg_runtime.errors import Gen2SegError

Record = TypeVar("Record")


class ConfigError(Gen2SegError, ValueError):
    """A configuration that cannot be used; the message names file and key."""


def parse_toml(source: str, text: str) -> dict[str, Any]:
    """Raises ConfigError, naming `source`, where the text is no TOML."""
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{source}: not valid TOML: {error}") from error


def read_record(kind: type[Record], source: str, values: dict[str, Any], overrides: Sequence[str] = ()) -> Record:
    """Apply `key=value` overrides to a parsed file, and build the record.

    Args:
        kind: a dataclass whose fields are values, tuples, tables of free content (dict) or further dataclasses.
        source: the file's name, for messages.
        values: its content.
        overrides: `a.b=value`, the value in TOML; a bare word is a string.
    Raises:
        ConfigError: an unknown key (with a suggestion), a missing key, a wrong type or value.
    """
    values = copy.deepcopy(values)
    for override in overrides:
        _apply_override(values, override)
    return _build(kind, values, source, "")


def _apply_override(values: dict[str, Any], override: str) -> None:
    key, equals, text = override.partition("=")
    if not equals or not key:
        raise ConfigError(f"--set takes key=value, got {override!r}")
    try:
        value = tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        value = text
    *parents, last = key.split(".")
    for parent in parents:
        values = values.setdefault(parent, {})
        if not isinstance(values, dict):
            raise ConfigError(f"--set {override}: {parent!r} is not a table")
    values[last] = value


def _build(kind: type, values: Any, source: str, where: str) -> Any:
    if not isinstance(values, dict):
        raise ConfigError(f"{source}: {where or 'the file'} must be a table, got {values!r}")
    known = {item.name for item in fields(kind)}
    types = get_type_hints(kind)
    for key in values:
        if key not in known:
            near = difflib.get_close_matches(key, known, n=1)
            hint = f"; did you mean {near[0]!r}?" if near else f"; known: {', '.join(sorted(known))}"
            raise ConfigError(f"{source}: unknown key {where + key!r}{hint}")
    for item in fields(kind):
        if item.default is MISSING and item.default_factory is MISSING and item.name not in values:
            raise ConfigError(f"{source}: the key {where + item.name!r} is missing")
    try:
        return kind(**{key: _convert(types[key], value, source, where + key) for key, value in values.items()})
    except ConfigError as error:
        if str(error).startswith(source):
            raise
        raise ConfigError(f"{source}: {where and where[:-1] + ': '}{error}") from error


def _convert(kind: Any, value: Any, source: str, where: str) -> Any:
    origin, arguments = get_origin(kind), get_args(kind)
    if is_dataclass(kind) and isinstance(kind, type):
        return _build(kind, value, source, where + ".")
    if origin is UnionType:
        if value is None and NoneType in arguments:
            return None
        return _convert(next(a for a in arguments if a is not NoneType), value, source, where)
    if origin is tuple and isinstance(value, list):
        if arguments[-1] is Ellipsis:
            return tuple(_convert(arguments[0], item, source, f"{where}[{i}]") for i, item in enumerate(value))
        if len(value) == len(arguments):
            return tuple(
                _convert(a, v, source, f"{where}[{i}]") for i, (a, v) in enumerate(zip(arguments, value, strict=True))
            )
    if origin is dict and isinstance(value, dict):
        if is_dataclass(arguments[1]):
            return {key: _convert(arguments[1], item, source, f"{where}.{key}") for key, item in value.items()}
        return value
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if isinstance(kind, type) and isinstance(value, kind) and (kind is bool or not isinstance(value, bool)):
        return value
    expected = kind.__name__ if isinstance(kind, type) else str(kind)
    raise ConfigError(f"{source}: {where} must be {expected}, got {value!r}")
