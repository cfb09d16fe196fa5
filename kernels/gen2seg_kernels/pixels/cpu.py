"""The two conversions by the C extension, where it is installed; to the bit what `reference.py` gives."""

import numpy as np
from numpy.typing import NDArray

from gen2seg_kernels.native import load_native
from gen2seg_kernels.pixels import reference


def picture_to_planes(
    rgb: NDArray[np.uint8], table: NDArray[np.float32], padded: tuple[int, int]
) -> NDArray[np.float32]:
    """(h, w, 3) uint8 -> (3, H, W) float32, see `reference.picture_to_planes`; any memory layout."""
    native = load_native()
    if native is None:
        return reference.picture_to_planes(rgb, table, padded)
    planes = np.empty((3, *padded), np.float32)
    native.picture_to_planes(np.ascontiguousarray(rgb), np.ascontiguousarray(table, np.float32), planes)
    return planes


def planes_to_colors(planes: NDArray[np.float32], low: float, high: float) -> NDArray[np.uint8] | None:
    """(3, h, w) float32 -> (h, w, 3) uint8, see `reference.planes_to_colors`; None where a value is not finite.

    Args:
        planes: rows of adjacent values; any distance between rows and planes, so that a crop is not copied.
        low, high: low < high.
    """
    native = load_native()
    if native is None:
        return reference.planes_to_colors(planes, low, high) if np.isfinite(planes).all() else None
    if planes.strides[2] != planes.itemsize:
        planes = np.ascontiguousarray(planes)
    colors = np.empty((*planes.shape[1:], 3), np.uint8)
    return colors if native.planes_to_colors(planes, low, high, colors) else None
