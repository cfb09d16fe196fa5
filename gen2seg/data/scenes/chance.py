"""Small random draws that scenes are made of; each is one line where it is used."""

import math
from collections.abc import Sequence
from typing import TypeVar

from numpy.random import Generator

T = TypeVar("T")


def pick(rng: Generator, items: Sequence[T]) -> T:
    """One of `items`, each as likely as the others."""
    return items[int(rng.random() * len(items))]


def weighted(rng: Generator, table: Sequence[tuple[T, float]]) -> T:
    """One item of `table` of (item, weight); the weights need not sum to one."""
    at = rng.random() * sum(weight for _, weight in table)
    for item, weight in table:
        at -= weight
        if at < 0:
            return item
    return table[-1][0]


def chance(rng: Generator, probability: float) -> bool:
    return rng.random() < probability


def between(rng: Generator, low: float, high: float) -> float:
    return low + (high - low) * rng.random()


def log_between(rng: Generator, low: float, high: float) -> float:
    """Log-uniform in [low, high): every factor of two is as likely as any other."""
    return low * math.exp(rng.random() * math.log(high / low))


def count(rng: Generator, low: int, high: int) -> int:
    """A whole number in [low, high], both included."""
    return low + int(rng.random() * (high - low + 1))


def angle(rng: Generator) -> float:
    return rng.random() * 2 * math.pi
