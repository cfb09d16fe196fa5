"""Launch grids as text: sums and products of whole numbers and argument names, and cdiv(a, b).

The text comes from a file, so it is parsed and walked, never evaluated as Python.
"""

import ast
from collections.abc import Mapping
from functools import lru_cache

from gen2seg_kernels.aot.errors import ContractError, LaunchError

GRID_LIMITS = (2**31 - 1, 65535, 65535)  # of every NVIDIA GPU since compute capability 3.0
_LONGEST = 200  # characters; a rule is short, and nesting stays shallow


def names_in_rule(rule: str) -> set[str]:
    """The names whose values a rule needs. Raises ContractError unless it is a grid rule."""
    return {node.id for node in ast.walk(_read(rule)) if isinstance(node, ast.Name)} - {"cdiv"}


def evaluate_rule(rule: str, values: Mapping[str, int]) -> int:
    """The whole number that a rule gives, e.g. `evaluate_rule("cdiv(n, 1024) * 2", {"n": 1500}) == 4`.

    Raises:
        ContractError: `rule` is not a grid rule.
        LaunchError: a name has no value, or a divisor is not positive.
    """
    return _value(_read(rule), values, rule)


def evaluate_grid(rules: tuple[str, str, str], values: Mapping[str, int]) -> tuple[int, int, int]:
    """The grid (x, y, z) of a launch.

    Raises:
        ContractError, LaunchError: see `evaluate_rule`; LaunchError also if a size is not one that a GPU takes.
    """
    x, y, z = (evaluate_rule(rule, values) for rule in rules)
    check_grid((x, y, z), f"the rules {rules} give ")
    return x, y, z


def check_grid(grid: tuple[int, int, int], origin: str = "") -> None:
    """Raises LaunchError unless a GPU takes a grid of this size; `origin` begins the message."""
    if len(grid) != 3 or not all(1 <= size <= limit for size, limit in zip(grid, GRID_LIMITS, strict=True)):
        raise LaunchError(f"{origin}a grid of {grid}; x, y, z run from 1 to {GRID_LIMITS}")


def _read(rule: str) -> ast.expr:
    if not isinstance(rule, str) or len(rule) > _LONGEST:
        raise ContractError(f"a grid rule is text of at most {_LONGEST} characters, got {str(rule)[:_LONGEST]!r}")
    return _parse(rule)


@lru_cache(maxsize=1024)  # a launch evaluates three rules, and parsing takes ten times as long as all else
def _parse(rule: str) -> ast.expr:
    try:
        tree = ast.parse(rule.strip(), mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise ContractError(f"grid rule {rule!r} cannot be read: {error}") from error
    _check(tree, rule)
    return tree


def _check(node: ast.expr, rule: str) -> None:
    match node:
        case ast.Constant(value=int(value)) if not isinstance(value, bool) and value >= 0:
            return
        case ast.Name(id=name) if name != "cdiv":
            return
        case ast.BinOp(op=ast.Add() | ast.Mult(), left=left, right=right):
            pass
        case ast.Call(func=ast.Name(id="cdiv"), args=[left, right], keywords=[]):
            pass
        case _:
            raise ContractError(f"grid rule {rule!r} may hold whole numbers, names, +, * and cdiv(a, b) only")
    _check(left, rule)
    _check(right, rule)


def _value(node: ast.expr, values: Mapping[str, int], rule: str) -> int:
    match node:
        case ast.Constant(value=int(value)):
            return value
        case ast.Name(id=name):
            if not isinstance(values.get(name), int):
                raise LaunchError(f"grid rule {rule!r} needs a whole number for {name}, got {values.get(name)!r}")
            return values[name]
        case ast.BinOp(op=operator, left=left, right=right):
            a, b = _value(left, values, rule), _value(right, values, rule)
            return a + b if isinstance(operator, ast.Add) else a * b
        case ast.Call(args=[dividend, divisor]):
            a, b = _value(dividend, values, rule), _value(divisor, values, rule)
            if b < 1:
                raise LaunchError(f"grid rule {rule!r} divides by {b}")
            return -(-a // b)
    raise AssertionError("_check lets nothing else through")
