"""The masks of `reference.py` with most of the work left out, in NumPy and OpenCV's core.

What is left out, and why the masks stay the same:

- The Gaussian is exactly zero beyond 6.005 sigma and its sums are exact, so a window gives the query.
- Squared distances are sums of three table entries, the same floating-point numbers as the plain
  difference. Similarity falls with distance in every rounded step, so "similarity above the threshold"
  is a comparison with one squared distance, found by bisection over the floating-point numbers.
- The filter takes means. Where the 9 x 9 window is on one side of the threshold, so is its mean: only
  windows that straddle it are filtered.
"""

import math

import numpy as np
from numpy.typing import NDArray

from gen2seg_kernels.prompt.reference import (
    EPSILON,
    WINDOW_RADIUS,
    Float,
    UInt8,
    divide_and_round,
    filter_tables,
    gaussian_weights,
    query_color,
    stretch,
)

_REACH = 6.05  # in sigma; weights vanish beyond 6.005
_CHUNK = 1 << 14  # pixels filtered at a time, so that temporaries stay in the cache


class ColorField:
    """A colour image in the layouts that prompting needs, made once and shared by all its prompts.

    Args:
        colors: (H, W, 3) uint8; the caller keeps it unchanged while the field is in use.
    """

    def __init__(self, colors: UInt8) -> None:
        self.colors = colors
        self.height, self.width = colors.shape[:2]
        self.planes = [np.ascontiguousarray(colors[..., channel]) for channel in range(3)]
        self._packed: NDArray[np.uint32] | None = None

    @property
    def packed(self) -> NDArray[np.uint32]:
        """Red, green, blue and a zero as one word per pixel, with mirrored borders, flat."""
        if self._packed is None:
            four = np.zeros((self.height, self.width, 4), np.uint8)
            four[..., :3] = self.colors
            self._packed = mirror(four).view(np.uint32).ravel()
        return self._packed

    def squared_distance(self, query: Float) -> Float:
        """Squared distance (H, W) of each pixel's colour to a colour (3,)."""
        import cv2

        tables = (np.arange(256)[:, None] - query) ** 2
        parts = [cv2.LUT(self.planes[c], np.ascontiguousarray(tables[:, c])) for c in range(3)]
        total = np.add(parts[0], parts[1], dtype=np.float64)
        total += parts[2]
        return total.reshape(self.height, self.width)


def point_mask(field: ColorField, point: Float, sigma: float, threshold: float) -> NDArray[np.bool_]:
    """Mask (H, W) of one checked point (2,) x and y; `sigma` and `threshold` as in the reference."""
    return color_mask(field, _local_query(field, point, sigma), threshold)


def color_mask(field: ColorField, query: Float, threshold: float) -> NDArray[np.bool_]:
    """Mask (H, W) of one query colour (3,): everything in the reference that follows the query."""
    cut = math.floor(threshold)  # filtered values are whole
    if cut < 0:
        return np.ones((field.height, field.width), bool)
    squared = field.squared_distance(query)
    low, high = float(squared.min()), float(squared.max())
    limit = _distance_limit(low, high, cut)
    if limit is None:
        return np.zeros((field.height, field.width), bool)
    return _filtered_above(field, squared, low, high, limit, cut)


def mirror(image: UInt8) -> UInt8:
    """An image with `WINDOW_RADIUS` mirrored pixels added at each side, as `reflect_101` does it."""
    import cv2

    return cv2.copyMakeBorder(image, *(4 * [WINDOW_RADIUS]), cv2.BORDER_REFLECT_101)  # type: ignore[return-value]


def _local_query(field: ColorField, point: Float, sigma: float) -> Float:
    columns = _reached(point[0], field.width, sigma)
    rows = _reached(point[1], field.height, sigma)
    weights = gaussian_weights(columns, rows, point, field.colors, sigma)
    # An empty window holds no weight at all, as the whole image would.
    top, left = (int(axis[0]) if len(axis) else 0 for axis in (rows, columns))
    return query_color(field.colors[top : top + len(rows), left : left + len(columns)], weights)


def _reached(center: float, length: int, sigma: float) -> NDArray[np.integer]:
    """Indices of an axis whose weight may differ from zero."""
    if length == 1:
        return np.arange(1)
    reach = _REACH * sigma * (length - 1)
    first = max(0, math.ceil(center - reach))
    return np.arange(first, max(first, min(length - 1, math.floor(center + reach)) + 1))


def _distance_limit(low: float, high: float, cut: int) -> float | None:
    """Largest squared distance in low..high whose similarity is above `cut`; None if there is none."""
    largest = 1.0 / (math.sqrt(low) + EPSILON)
    smallest = 1.0 / (math.sqrt(high) + EPSILON)

    def above(squared: float) -> bool:  # the same operations as `stretch`
        similarity = 1.0 / (math.sqrt(squared) + EPSILON)
        return (similarity - smallest) / (largest - smallest + EPSILON) * 255.0 >= cut + 1

    if not above(low):
        return None
    # The farthest colour has similarity 0, which is above no cut.
    # Floats >= 0 are ordered like the integers that their bits spell.
    inside, outside = (int(np.float64(value).view(np.int64)) for value in (low, high))
    while outside - inside > 1:
        middle = (inside + outside) // 2
        if above(float(np.int64(middle).view(np.float64))):
            inside = middle
        else:
            outside = middle
    return float(np.int64(inside).view(np.float64))


def _filtered_above(
    field: ColorField, squared: Float, low: float, high: float, limit: float, cut: int
) -> NDArray[np.bool_]:
    """Whether the filtered similarity is above `cut`, filtering only where the window leaves a doubt."""
    import cv2

    side = 2 * WINDOW_RADIUS + 1
    near = (squared <= limit).view(np.uint8)
    count = cv2.boxFilter(near, cv2.CV_8U, (side, side), normalize=False, borderType=cv2.BORDER_REFLECT_101)
    mask = count == side * side
    doubt = (count > 0) & ~mask
    pixels = np.flatnonzero(doubt)  # some: the closest colour is above the cut, the farthest never

    needed = np.flatnonzero(cv2.dilate(doubt.view(np.uint8), np.ones((side, side), np.uint8)))
    similarity = np.zeros(squared.size, np.uint8)
    similarity[needed] = stretch(squared.ravel()[needed], low, high)
    values = mirror(similarity.reshape(squared.shape)).astype(np.float32).ravel()
    flat = mask.ravel()
    for start in range(0, len(pixels), _CHUNK):
        part = pixels[start : start + _CHUNK]
        flat[part] = _filter_at(field, values, part) > cut
    return mask


def _filter_at(field: ColorField, values: NDArray[np.float32], pixels: NDArray[np.integer]) -> UInt8:
    """The joint bilateral filter at some pixels (flat indices); `values` flat with mirrored borders."""
    import cv2

    offsets, space_weights, color_weights = filter_tables()
    stride = field.width + 2 * WINDOW_RADIUS
    rows, columns = np.divmod(pixels, field.width)
    at = (rows + WINDOW_RADIUS) * stride + columns + WINDOW_RADIUS
    center = _as_pixels(field.packed[at])
    total = np.zeros(len(pixels), np.float32)
    weight_sum = np.zeros(len(pixels), np.float32)
    for (dy, dx), space_weight in zip(offsets, space_weights, strict=True):
        neighbour = at + (dy * stride + dx)
        parts = cv2.absdiff(_as_pixels(field.packed[neighbour]), center)[:, 0]
        l1 = parts[:, 0].astype(np.intp) + parts[:, 1] + parts[:, 2]
        weight = (space_weight * color_weights)[l1]
        total += weight * values[neighbour]
        weight_sum += weight
    return divide_and_round(total, weight_sum)


def _as_pixels(packed: NDArray[np.uint32]) -> UInt8:
    """Words (N,) -> an image (N, 1, 4); OpenCV would take a bare array of four values for a scalar."""
    return packed.view(np.uint8).reshape(-1, 1, 4)
