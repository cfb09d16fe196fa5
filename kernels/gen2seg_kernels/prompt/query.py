"""Prompting by a colour instead of by a point: what follows the query in both modes.

The definitions are those of `reference.py` and `metric.py`; only where the query comes from is the caller's.
"""

import numpy as np
from numpy.typing import NDArray

from gen2seg_kernels.prompt import lazy
from gen2seg_kernels.prompt.metric import square_of
from gen2seg_kernels.prompt.reference import Float

Mask = NDArray[np.bool_]


def region_color(colors: NDArray[np.uint8], region: Mask, distance: float) -> Float:
    """Mean colour (3,) of a region, then of those of its pixels that are within `distance` of that mean.

    The second mean drops what does not belong to the region's main colour: the corners of a box, the
    outline of a scribble.

    Args:
        colors: (H, W, 3) uint8.
        region: (H, W) bool, at least one pixel true.
        distance: colour units, channels 0..255.
    """
    pixels = colors[region].astype(np.float64)
    mean = pixels.mean(axis=0)
    alike = ((pixels - mean) ** 2).sum(axis=1) < square_of(distance)
    return pixels[alike].mean(axis=0) if alike.any() else mean


def reference_color_mask(colors: NDArray[np.uint8], query: Float, threshold: float) -> Mask:
    """Mode reference: (H, W) bool for one query colour (3,)."""
    return lazy.color_mask(lazy.ColorField(colors), query, threshold)


def metric_color_mask(colors: NDArray[np.uint8], query: Float, region: Mask, distance: float, connected: bool) -> Mask:
    """Mode metric: pixels nearer than `distance` to a query colour.

    Args:
        colors: (H, W, 3) uint8.
        query: (3,) float64.
        region: (H, W) bool: where the query comes from.
        distance: colour units, channels 0..255.
        connected: keep only what is connected (8 neighbours) to a pixel of the region that is near enough.
    """
    near = lazy.ColorField(colors).squared_distance(query) < square_of(distance)
    if not connected:
        return near
    import cv2

    count, image = cv2.connectedComponents(near.astype(np.uint8), connectivity=8, ltype=cv2.CV_32S)
    parts = np.asarray(image, np.int32)
    touched = np.zeros(count, bool)
    touched[parts[region & near]] = True
    return touched[parts] & near
