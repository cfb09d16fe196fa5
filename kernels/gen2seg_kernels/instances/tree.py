"""What the kernels give back, and the checks that they share."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Tree:
    """How the L leaves of a picture merge.

    Nodes 0..L−1 are the leaves, L.. the merges in their order: N = 2L−1 in all, the last of which is the picture.

    Attributes:
        cut: nodes below this number are within the regions of the cut; the regions are those of them whose parent
            is not, or which have none.
        child: int32 [L−1, 2], the two nodes that a merge joins, the lower number first.
        begin: int32 [N], place of the node's first leaf when the leaves are ordered by the tree: the leaves
            of any node then lie together.
        count: int32 [N], how many leaves it has.
        area: int64 [N], pixels.
        color: int64 [N, 3], colours of the picture added up over its pixels.
        birth: float64 [N], the strongest outline that was merged within it, in units of colour; a leaf's is 0.
        outline: int64 [N, 2], pixel pairs along its outline, and the steps of colour across them added up, in
            sixteenths of a unit; the frame of the picture is no outline.
    """

    cut: int
    child: NDArray[np.int32]
    begin: NDArray[np.int32]
    count: NDArray[np.int32]
    area: NDArray[np.int64]
    color: NDArray[np.int64]
    birth: NDArray[np.float64]
    outline: NDArray[np.int64]


def check_leaves_input(colors: np.ndarray, least: int) -> None:
    """Raises TypeError and ValueError as `dispatch.find_leaves` says."""
    _check_colors(colors)
    _check_whole("least", least, 1)


def check_tree_input(
    colors: np.ndarray, leaves: np.ndarray, distance: float, min_area: int, background: float, largest_hole: int
) -> None:
    """Raises TypeError and ValueError as `dispatch.merge_leaves` says."""
    _check_colors(colors)
    if leaves.dtype != np.int32 or leaves.shape != colors.shape[:2]:
        raise TypeError(f"leaves must be int32 {colors.shape[:2]}, got {leaves.dtype} {leaves.shape}")
    if not (np.isfinite(distance) and distance >= 0 and np.isfinite(background)):
        raise ValueError(f"distance must be finite and >= 0, background finite, got {distance!r} and {background!r}")
    _check_whole("min_area", min_area, 1)
    _check_whole("largest_hole", largest_hole, 0)


def _check_colors(colors: np.ndarray) -> None:
    if colors.dtype != np.uint8 or colors.ndim != 3 or colors.shape[2] != 3:
        raise TypeError(f"colors must be uint8 (H, W, 3), got {colors.dtype} {colors.shape}")
    if not 1 <= colors.shape[0] * colors.shape[1] < 2**31 - 1:
        raise ValueError(f"colors must have 1 to 2^31 - 2 pixels, got {colors.shape[0]} x {colors.shape[1]}")


def _check_whole(name: str, value: int, low: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or not low <= value < 2**62:
        raise ValueError(f"{name} must be a whole number of at least {low}, got {value!r}")
