"""Leaves and their tree, by the extension where it is installed."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from gen2seg_kernels.instances.tree import Tree, check_leaves_input, check_tree_input
from gen2seg_kernels.native import load_native


def find_leaves(colors: NDArray[Any], least: int) -> NDArray[np.int32]:
    """Cut a colour image into leaves: the basins of the slope of its smoothed colours.

    Args:
        colors: uint8 [H, W, 3].
        least: smallest leaf in pixels (a smaller picture is one leaf).
    Returns:
        int32 [H, W], leaves 0..L−1, numbered in the order of their first pixels.
    Raises:
        TypeError: colours of another type or shape.
        ValueError: no pixel or too many of them, or `least` below 1.
    """
    check_leaves_input(colors, least)
    if load_native() is None:
        from gen2seg_kernels.instances import reference

        return reference.find_leaves(colors, least)
    from gen2seg_kernels.instances import cpu

    return cpu.find_leaves(colors, least)


def merge_leaves(
    colors: NDArray[Any],
    leaves: NDArray[np.int32],
    distance: float,
    min_area: int,
    background: float = 0,
    largest_hole: int = 0,
) -> Tree:
    """Merge leaves, the two with the weakest outline between them first, until all are one.

    The strength of an outline is the mean step of colour across it. First everything parted by less than
    `distance` merges, then whatever is below `min_area` with its most weakly parted neighbour, then holes with what
    encloses them: what there is now are the regions of the cut. Then they merge, and their groups.

    Args:
        colors: uint8 [H, W, 3].
        leaves: int32 [H, W], numbers 0..L−1, each of which occurs; as `find_leaves` gives them.
        distance: the cut, a distance of colours.
        min_area: smallest region of the cut, in pixels.
        background: the norm up to which a region's mean colour is dark; negative: nothing is.
        largest_hole: largest hole in pixels: a dark region that has one neighbour and is not at the frame.
    Raises:
        TypeError: colours or leaves of another type or shape.
        ValueError: a number out of its range, or leaves that are numbered otherwise.
    """
    cut = (float(distance), min_area, float(background), largest_hole)
    check_tree_input(colors, leaves, *cut)
    if load_native() is None:
        from gen2seg_kernels.instances import reference

        return reference.merge_leaves(colors, leaves, *cut)
    from gen2seg_kernels.instances import cpu

    return cpu.merge_leaves(colors, leaves, *cut)
