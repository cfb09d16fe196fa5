"""Edge and boundary pixels as the arrays that both versions of the matching walk over."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

# Cost of a pixel that stays alone, in tolerances; as in the benchmark.
_ALONE = 100.0


@dataclass(frozen=True)
class Layout:
    """The picture with a margin as wide as the tolerance, flat; all places are places in it.

    Attributes:
        pixels: int64 [N], the edge pixels' places in the order of adding.
        ends: int64 [T], how many of them are there once each group has been added.
        numbers: int32 [places], the number of the boundary pixel at a place, or -1.
        columns: number of boundary pixels.
        reach: int64 [R], steps from a place to all within the tolerance, the nearest first.
        distances: float64 [R], how long these are, pixels.
        worth: of a pair, before its distance.
    """

    pixels: NDArray[np.int64]
    ends: NDArray[np.int64]
    numbers: NDArray[np.int32]
    columns: int
    reach: NDArray[np.int64]
    distances: NDArray[np.float64]
    worth: float


def lay_out(groups: Sequence[NDArray[np.int64]], boundary: NDArray[np.bool_], tolerance: float) -> Layout:
    """Arguments as for `dispatch.match_boundary`."""
    height, width = boundary.shape
    margin = int(tolerance)
    down, right = (part.ravel() for part in np.mgrid[-margin : margin + 1, -margin : margin + 1])
    distances = np.hypot(down, right)
    order = np.argsort(distances, kind="stable")
    order = order[distances[order] <= tolerance]
    columns = int(np.count_nonzero(boundary))
    numbers = np.full((height + 2 * margin, width + 2 * margin), -1, np.int32)
    numbers[margin : margin + height, margin : margin + width][boundary] = np.arange(columns)
    flat = np.concatenate([np.zeros(0, np.int64), *groups])
    y, x = np.divmod(flat, width)
    return Layout(
        pixels=(y + margin) * numbers.shape[1] + x + margin,
        ends=np.cumsum([len(group) for group in groups], dtype=np.int64),
        numbers=numbers.ravel(),
        columns=columns,
        reach=down[order].astype(np.int64) * numbers.shape[1] + right[order],
        distances=distances[order],
        worth=2 * _ALONE * tolerance,
    )
