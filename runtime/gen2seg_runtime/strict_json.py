"""Read JSON with no second meaning: no duplicate keys, no NaN, every field of the named type.

`parse` turns text into plain Python objects; `Reader` takes the fields of one object apart and
says by its dotted name which one is missing or wrong.
"""

import json
import math
import re
import warnings
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

from gen2seg_runtime.errors import BundleWarning

_REQUIRED: Any = object()


def parse(text: str, where: str, error: type[Exception]) -> dict[str, Any]:
    """Parse a JSON object.

    Args:
        text: the JSON text.
        where: what is being read, for messages.
        error: the type raised for text that is no strict JSON object.
    """

    def refuse_constant(name: str) -> NoReturn:
        raise ValueError(f"{name} is not JSON")

    def refuse_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        result = dict(pairs)
        if len(result) != len(pairs):
            keys = [key for key, _ in pairs]
            raise ValueError(f"duplicate key {next(key for key in keys if keys.count(key) > 1)!r}")
        return result

    try:
        data = json.loads(text, parse_constant=refuse_constant, object_pairs_hook=refuse_duplicates)
    except (ValueError, RecursionError) as problem:
        raise error(f"{where}: not valid JSON (truncated or damaged?): {problem}") from problem
    if not isinstance(data, dict):
        raise error(f"{where}: expected a JSON object, found {type(data).__name__}")
    return data


def check_schema(data: dict[str, Any], where: str, ours: str, error: type[Exception]) -> None:
    """Check that data["schema"] is "FAMILY/MAJOR.MINOR" with the family and major of `ours`.

    Raises:
        error: it is not. Another minor is fine: it may only add fields.
    """
    found = data.get("schema")
    family, _, version = ours.partition("/")
    text = found if isinstance(found, str) else ""
    match = re.fullmatch(rf"{re.escape(family)}/(\d{{1,6}})\.\d{{1,6}}", text)
    if match is None:
        raise error(f"{where}.schema: expected {ours!r}, found {found!r}")
    major = version.partition(".")[0]
    if int(match[1]) != int(major):
        raise error(
            f"{where}.schema: this version reads major {major}, the file has {found!r}; "
            "make it again or install a matching gen2seg"
        )


class Reader:
    """Takes named, typed fields out of one JSON object; what nobody took is `rest()`."""

    def __init__(self, data: Any, where: str, error: type[Exception]):
        self._where = where
        self._error = error
        if not isinstance(data, dict):
            self.fail("", "an object", data)
        self._data = dict(data)

    def fail(self, key: str, expected: str, found: Any) -> NoReturn:
        """Raise the error of this reader for field `key`."""
        name = f"{self._where}.{key}" if key else self._where
        shown = repr(found)
        raise self._error(f"{name}: expected {expected}, found {shown[:100]}{'...' if len(shown) > 100 else ''}")

    def _take(self, key: str, default: Any) -> Any:
        if key in self._data:
            return self._data.pop(key)
        if default is _REQUIRED:
            raise self._error(f"{self._where}.{key}: missing")
        return default

    def text(
        self,
        key: str,
        *,
        choices: Sequence[str] = (),
        pattern: str = "",
        default: Any = _REQUIRED,
        nullable: bool = False,
    ) -> Any:
        """A string, perhaps one of `choices` or matching `pattern` as a whole; None if `nullable`."""
        value = self._take(key, default)
        if value is None and nullable:
            return None
        if not isinstance(value, str):
            self.fail(key, "a string", value)
        if choices and value not in choices:
            self.fail(key, f"one of {', '.join(choices)}", value)
        if pattern and not re.fullmatch(pattern, value):
            self.fail(key, f"a string matching {pattern}", value)
        return value

    def integer(self, key: str, low: int, high: int = 2**63 - 1, default: Any = _REQUIRED) -> int:
        """An integer in [low, high]."""
        value = self._take(key, default)
        if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
            self.fail(key, f"an integer from {low} to {high}", value)
        return value

    def number(self, key: str, *, above: float = -math.inf, default: Any = _REQUIRED, nullable: bool = False) -> Any:
        """A finite number greater than `above`; None if `nullable`."""
        value = self._take(key, default)
        if value is None and nullable:
            return None
        return self._number(key, value, above)

    def _number(self, key: str, value: Any, above: float) -> float:
        good = isinstance(value, int | float) and not isinstance(value, bool)
        if not good or not abs(value) < 1e300 or not value > above:
            self.fail(key, "a finite number" + (f" above {above:g}" if above > -math.inf else ""), value)
        return float(value)

    def numbers(self, key: str, count: int, *, above: float = -math.inf, nullable: bool = False) -> Any:
        """A tuple of `count` finite numbers; None if `nullable`."""
        value = self._take(key, None if nullable else _REQUIRED)
        if value is None and nullable:
            return None
        if not isinstance(value, list) or len(value) != count:
            self.fail(key, f"a list of {count} numbers", value)
        return tuple(self._number(f"{key}[{i}]", item, above) for i, item in enumerate(value))

    def flag(self, key: str, default: Any = _REQUIRED) -> bool:
        """True or false."""
        value = self._take(key, default)
        if not isinstance(value, bool):
            self.fail(key, "true or false", value)
        return value

    def texts(self, key: str, default: Any = _REQUIRED) -> tuple[str, ...]:
        """A tuple of strings."""
        value = self._take(key, default)
        if not isinstance(value, list | tuple) or not all(isinstance(item, str) for item in value):
            self.fail(key, "a list of strings", value)
        return tuple(value)

    def mapping(self, key: str, default: Any = _REQUIRED) -> dict[str, Any]:
        """A free-form object."""
        value = self._take(key, default)
        if not isinstance(value, dict):
            self.fail(key, "an object", value)
        return dict(value)

    def section(self, key: str, default: Any = _REQUIRED) -> "Reader":
        """A reader for an inner object."""
        return Reader(self._take(key, default), f"{self._where}.{key}", self._error)

    def items(self, key: str, default: Any = _REQUIRED) -> list["Reader"]:
        """Readers for the objects of a list."""
        value = self._take(key, default)
        if not isinstance(value, list | tuple):
            self.fail(key, "a list", value)
        return [Reader(item, f"{self._where}.{key}[{i}]", self._error) for i, item in enumerate(value)]

    def custom(self, key: str, expected: str, convert: Callable[[Any], Any], default: Any = _REQUIRED) -> Any:
        """Whatever `convert` makes of the field; it raises ValueError or TypeError to refuse it."""
        value = self._take(key, default)
        try:
            return convert(value)
        except (ValueError, TypeError):
            self.fail(key, expected, value)

    def rest(self) -> dict[str, Any]:
        """The fields nobody asked for; warns about each of them."""
        for key in self._data:
            warnings.warn(f"{self._where}.{key}: unknown field, kept and ignored", BundleWarning, stacklevel=2)
        return dict(self._data)
