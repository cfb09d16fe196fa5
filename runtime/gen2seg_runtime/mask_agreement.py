"""How far the masks of clicks agree on two colour images of one picture."""

import numpy as np

from gen2seg_runtime.encoding import Encoding

CLICKS_PER_SIDE = 4  # a grid of 4 x 4 clicks on every picture


def click_grid(size: tuple[int, int], per_side: int = CLICKS_PER_SIDE) -> list[list[tuple[int, int]]]:
    """One click in the middle of each of `per_side` x `per_side` fields of a picture of (height, width) `size`."""
    height, width = size
    steps = (np.arange(per_side) + 0.5) / per_side
    return [[(int(x), int(y))] for y in steps * height for x in steps * width]


def mask_ious(encoding: Encoding, colors: np.ndarray) -> list[float]:
    """Intersection over union of each click's mask on an encoding and on other colours in its place.

    Args:
        encoding: its picture's size, prompt mode and settings hold for both.
        colors: (h, w, 3) uint8.
    Returns:
        One number per click of the grid; 1 where both masks are empty.
    """
    twin = Encoding(
        colors,
        encoding.size,
        bundle_id=encoding.bundle_id,
        bundle_name=encoding.bundle_name,
        prompt=encoding.prompt,
    )
    clicks = click_grid(encoding.size)
    ious = []
    for a, b in zip(encoding.masks(clicks), twin.masks(clicks), strict=True):
        union = np.count_nonzero(a | b)
        ious.append(np.count_nonzero(a & b) / union if union else 1.0)
    return ious
