"""The matching, by the extension where it is installed."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gen2seg_kernels.native import load_native


def match_boundary(groups: Sequence[NDArray[Any]], boundary: NDArray[Any], tolerance: float) -> NDArray[np.bool_]:
    """Match growing sets of edge pixels one to one with a boundary.

    Each set is matched so that as many pixels as possible have a partner within the tolerance and, among those
    matchings, the sum of the distances is least.

    Args:
        groups: T sets of edge pixels, each added to those before it: integer [N_t], places in the flat picture, no
            pixel twice.
        boundary: bool [H, W].
        tolerance: largest distance of a pair in pixels, inclusive; positive.
    Returns:
        bool [T, N]: which of all N edge pixels, in their order, are matched once the group has been added.
    Raises:
        TypeError: places or boundary of another type or shape.
        ValueError: a place outside of the picture, or a tolerance that is not positive.
    """
    if boundary.ndim != 2 or boundary.dtype != np.bool_:
        raise TypeError(f"boundary must be bool (H, W), got {boundary.dtype} {boundary.shape}")
    if not (np.isfinite(tolerance) and tolerance > 0):
        raise ValueError(f"tolerance must be positive, got {tolerance}")
    places = [np.asarray(group) for group in groups]
    for group in places:
        if group.ndim != 1 or (group.size and group.dtype.kind not in "iu"):
            raise TypeError(f"groups must be integer (N,), got {group.dtype} {group.shape}")
        if group.size and (group.min() < 0 or group.max() >= boundary.size):
            raise ValueError(f"a place lies outside of the picture of {boundary.size} pixels")
    places = [group.astype(np.int64) for group in places]
    if load_native() is None:
        from gen2seg_kernels.boundary import reference

        return reference.match_boundary(places, boundary, tolerance)
    from gen2seg_kernels.boundary import cpu

    return cpu.match_boundary(places, boundary, tolerance)
