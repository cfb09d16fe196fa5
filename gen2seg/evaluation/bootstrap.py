"""Confidence intervals by bootstrap over images: whole images are drawn again, as instances of one are alike.

Percentile intervals of Efron (Annals of Statistics 7, 1979). Two systems get the same draws.
"""

import hashlib

import numpy as np

ROUNDS = 1000
LEVEL = 0.95

Interval = tuple[float, float]


def draw_images(images: int, seed: int, name: str) -> np.ndarray:
    """How often each image was drawn in each round: int64 [ROUNDS, images]; depends on the arguments alone."""
    digest = hashlib.sha256(f"bootstrap/{seed}/{name}".encode()).digest()
    rng = np.random.default_rng(int.from_bytes(digest[:8], "little"))
    return rng.multinomial(images, np.full(images, 1 / images), size=ROUNDS)


def interval_of_mean(draws: np.ndarray, sums: np.ndarray, counts: np.ndarray) -> Interval | None:
    """Of a mean over all instances.

    Args:
        draws: [ROUNDS, I].
        sums, counts: [I], sum over the instances of each image and how many it has.
    Returns:
        (low, high), or None where fewer than two images have instances.
    """
    if np.count_nonzero(counts) < 2:
        return None
    instances = draws @ counts
    kept = instances > 0
    return interval_of((draws @ sums)[kept] / instances[kept])


def interval_of(values: np.ndarray) -> Interval:
    """(low, high) that hold LEVEL of the rounds' values."""
    low, high = np.quantile(values, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(low), float(high)
