"""Boxes and masks as prompts: the query is a mean colour over a region instead of the colour under a point.

A box's core is its middle: half its width and half its height, at least one pixel. Of the core, or of the mask
that is given, the mean colour is taken twice: over all its pixels, and again over those within the bundle's
colour distance of the first mean. What follows is the rule of the mode: "metric" keeps what is near that colour
and connected to the region, "reference" works relative to the closest colour anywhere in the picture.
"""

from typing import TYPE_CHECKING, Any

import numpy as np

from gen2seg_runtime.errors import PromptError
from gen2seg_runtime.resample import resize_mask

if TYPE_CHECKING:
    from gen2seg_runtime.encoding import Encoding

_CORE = 0.5  # of each side of a box


def mask_of_box(encoding: "Encoding", box: Any, mode: str, values: dict[str, Any], clip: bool) -> np.ndarray:
    """Bool (H, W) mask of a box; see `Encoding.mask_box`."""
    x0, y0, x1, y1 = _check_box(box, encoding.size)
    height, width = encoding.size
    colors = _colors(encoding, mode)
    margin_x, margin_y = (x1 - x0) * (1 - _CORE) / 2, (y1 - y0) * (1 - _CORE) / 2
    region = np.zeros(colors.shape[:2], bool)
    rows = _pixels(y0 + margin_y, y1 - margin_y, height, colors.shape[0])
    region[rows, _pixels(x0 + margin_x, x1 - margin_x, width, colors.shape[1])] = True
    mask = _mask(encoding, colors, region, mode, values)
    if not clip:
        return mask
    clipped = np.zeros_like(mask)
    inside = np.s_[_pixels(y0, y1, height, height), _pixels(x0, x1, width, width)]
    clipped[inside] = mask[inside]
    return clipped


def mask_of_region(encoding: "Encoding", mask: Any, mode: str, values: dict[str, Any]) -> np.ndarray:
    """Bool (H, W) mask of what looks like a mask; see `Encoding.mask_like`."""
    try:
        given = np.asarray(mask)
    except (TypeError, ValueError) as error:
        raise PromptError(f"a mask as a prompt must be a bool array: {error}") from error
    if given.shape != encoding.size or given.dtype != bool:
        raise PromptError(f"a mask as a prompt must be bool {encoding.size}, got {given.shape} {given.dtype}")
    if not given.any():
        raise PromptError("a mask as a prompt needs at least one pixel")
    colors = _colors(encoding, mode)
    region = resize_mask(given, (colors.shape[0], colors.shape[1]))
    if not region.any():  # thinner than the pixels of the colours: the ones its pixels fall into
        rows, columns = np.nonzero(given)
        region = np.zeros(colors.shape[:2], bool)
        region[rows * colors.shape[0] // given.shape[0], columns * colors.shape[1] // given.shape[1]] = True
    return _mask(encoding, colors, region, mode, values)


def _colors(encoding: "Encoding", mode: str) -> np.ndarray:
    return encoding.color_image() if mode == "reference" else encoding.colors


def _mask(
    encoding: "Encoding", colors: np.ndarray, region: np.ndarray, mode: str, values: dict[str, Any]
) -> np.ndarray:
    from gen2seg_kernels.prompt.points import check_number, check_positive
    from gen2seg_kernels.prompt.query import metric_color_mask, reference_color_mask, region_color

    try:
        if mode == "reference":
            threshold = check_number("threshold", values["threshold"])
            query = region_color(colors, region, encoding.prompt.distance)
            return reference_color_mask(colors, query, threshold)
        distance = check_positive("distance", values["distance"])
        query = region_color(colors, region, distance)
        small = metric_color_mask(colors, query, region, distance, bool(values["connected"]))
    except (ValueError, TypeError) as error:
        raise PromptError(str(error)) from error
    return resize_mask(small, encoding.size)


def _pixels(low: float, high: float, length: int, target: int) -> slice:
    """The pixels, of `target`, whose centres lie from `low` to `high` of an axis of `length`; at least one."""
    first = int(np.ceil(low * target / length - 0.5))
    last = int(np.ceil(high * target / length - 0.5))
    if last <= first:
        first = int((low + high) / 2 * target / length)
        last = first + 1
    first = min(max(first, 0), target - 1)
    return slice(first, min(max(last, first + 1), target))


def _check_box(box: Any, size: tuple[int, int]) -> tuple[float, float, float, float]:
    """The part of a box inside the picture."""
    try:
        values = np.asarray(box, np.float64)
    except (TypeError, ValueError, OverflowError) as error:
        raise PromptError(f"a box is x0, y0, x1, y1: {error}") from error
    if values.shape != (4,) or not np.isfinite(values).all():
        raise PromptError(f"a box is four finite numbers x0, y0, x1, y1, got {box!r:.100}")
    x0, y0, x1, y1 = (float(value) for value in values)
    if not (x0 < x1 and y0 < y1):
        raise PromptError(f"a box needs x0 < x1 and y0 < y1, got {box!r:.100}")
    height, width = size
    x0, y0, x1, y1 = max(x0, 0.0), max(y0, 0.0), min(x1, float(width)), min(y1, float(height))
    if not (x0 < x1 and y0 < y1):
        raise PromptError(f"box {box!r:.100} is outside the image of {width}×{height} pixels")
    return x0, y0, x1, y1
