"""Prompting by similarity to the colour under a click, written out step by step.

Source: the prompting of gen2seg (Khangaonkar and Pirsiavash, arXiv 2505.15263). All steps work on the
whole image in float64, except where single precision is part of the definition: the weights' round
trip, and the filter, which is OpenCV's `ximgproc.jointBilateralFilter` on uint8 operation by operation.
The fast version (`lazy.py`) gives the same masks and shares the small definitions of this file.
"""

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

from gen2seg_kernels.prompt.points import check_colors, check_labels, check_points

WINDOW_RADIUS = 4
SIGMA_SPACE = 75.0
SIGMA_COLOR = 75.0
EPSILON = 1e-6
MAX_L1 = 3 * 255

UInt8 = NDArray[np.uint8]
Float = NDArray[np.float64]


def prompt_mask_reference(
    colors: UInt8,
    points: ArrayLike,
    sigma: float = 0.01,
    threshold: float = 3,
    labels: ArrayLike | None = None,
) -> NDArray[np.bool_]:
    """Pixels whose colour resembles the colour at the points.

    Args:
        colors: (H, W, 3) uint8.
        points: (N, 2) x and y in pixels.
        sigma: width of the Gaussian around a point, as a share of each image side.
        threshold: a filtered similarity (0..255) above this belongs to the mask.
        labels: (N,) 1 = positive, 0 = negative; None = all positive.

    Returns:
        (H, W) bool: the union of the positive points' masks less the union of the negative ones'.

    Raises:
        TypeError, ValueError: see `gen2seg_kernels.prompt.points`.
    """
    colors = check_colors(colors)
    height, width = colors.shape[:2]
    places = check_points(points, height, width)
    positive = check_labels(labels, len(places))
    masks = {True: np.zeros((height, width), bool), False: np.zeros((height, width), bool)}
    for place, sign in zip(places, positive, strict=True):
        query = query_color(colors, gaussian_weights(np.arange(width), np.arange(height), place, colors, sigma))
        similarity = similarity_u8(colors, query)
        masks[bool(sign)] |= joint_bilateral(similarity, colors) > threshold
    return masks[True] & ~masks[False]


def gaussian_weights(
    columns: NDArray[np.integer], rows: NDArray[np.integer], point: Float, colors: UInt8, sigma: float
) -> NDArray[np.float32]:
    """Weights (len(rows), len(columns)) of the pixels at these rows and columns around a point.

    Both axes run from 0 to 1 over the image; an axis of one pixel has coordinate 0. The round trip
    w -> 2w - 1 -> w in float32 rounds weights to multiples of 2**-25, so that they vanish beyond 6.005
    sigma and their products with uint8 add up exactly in float64, in any order (to some 10^6 pixels of
    full weight).
    """
    height, width = colors.shape[:2]
    x = columns / (width - 1) - point[0] / (width - 1) if width > 1 else np.zeros(len(columns))
    y = rows / (height - 1) - point[1] / (height - 1) if height > 1 else np.zeros(len(rows))
    x, y = x / sigma, y / sigma
    weights = np.exp(-0.5 * ((x * x)[None, :] + (y * y)[:, None])).astype(np.float32)
    one, two = np.float32(1), np.float32(2)
    return ((two * weights - one) + one) / two


def query_color(colors: UInt8, weights: NDArray[np.float32]) -> Float:
    """Weighted mean colour (3,) of `colors` (h, w, 3), drawn toward 0 where all weights are small."""
    wide = weights.astype(np.float64)
    sums = [(wide * colors[..., channel]).sum() for channel in range(3)]
    return np.array(sums) / (wide.sum() + EPSILON)


def similarity_u8(colors: UInt8, query: Float) -> UInt8:
    """Inverse colour distance to `query`, stretched over the image to 0..255 and truncated."""
    red, green, blue = (colors[..., channel] - query[channel] for channel in range(3))
    squared = red * red + green * green + blue * blue
    return stretch(squared, float(squared.min()), float(squared.max()))


def stretch(squared: Float, low: float, high: float) -> UInt8:
    """Squared distances -> similarity; `low` and `high` are the squared distances' range over the image.

    Every step is monotone also as rounded, so the range of the similarity follows from that of the
    distance.
    """
    largest = 1.0 / (math.sqrt(low) + EPSILON)
    smallest = 1.0 / (math.sqrt(high) + EPSILON)
    similarity = 1.0 / (np.sqrt(squared) + EPSILON)
    return ((similarity - smallest) / (largest - smallest + EPSILON) * 255.0).astype(np.uint8)


def joint_bilateral(values: UInt8, guide: UInt8) -> UInt8:
    """Mean of `values` (H, W) over a round window, weighted by closeness in place and in colour of `guide`.

    Equal to `cv2.ximgproc.jointBilateralFilter(guide, values, 9, 75, 75)` as built for x86-64, but for
    pure black beside pure white: there OpenCV reads one entry past its table of colour weights, which
    here holds the formula's 3e-23.
    """
    height, width = values.shape
    offsets, space_weights, color_weights = filter_tables()
    center = guide.astype(np.int32)
    total = np.zeros((height, width), np.float32)
    weight_sum = np.zeros((height, width), np.float32)
    for (dy, dx), space_weight in zip(offsets, space_weights, strict=True):
        rows = reflect_101(np.arange(height) + dy, height)[:, None]
        columns = reflect_101(np.arange(width) + dx, width)[None, :]
        l1 = np.abs(center - center[rows, columns]).sum(2)
        weight = space_weight * color_weights[l1]
        total += weight * values[rows, columns].astype(np.float32)
        weight_sum += weight
    return divide_and_round(total, weight_sum)


def divide_and_round(total: NDArray[np.float32], weight_sum: NDArray[np.float32]) -> UInt8:
    """The filter's last step: OpenCV multiplies by the inverse, both in float32, and rounds half to even."""
    return np.rint(total * (np.float32(1) / weight_sum)).astype(np.uint8)


def filter_tables() -> tuple[list[tuple[int, int]], NDArray[np.float32], NDArray[np.float32]]:
    """Offsets (dy, dx) of the round window in row order, their weights, and a weight for each L1 distance."""
    reach = range(-WINDOW_RADIUS, WINDOW_RADIUS + 1)
    offsets = [(dy, dx) for dy in reach for dx in reach if dy * dy + dx * dx <= WINDOW_RADIUS**2]
    squares = np.array([dy * dy + dx * dx for dy, dx in offsets], np.float64)
    distances = np.arange(MAX_L1 + 1, dtype=np.float64)
    return (
        offsets,
        np.exp(squares * (-0.5 / SIGMA_SPACE**2)).astype(np.float32),
        np.exp(distances * distances * (-0.5 / SIGMA_COLOR**2)).astype(np.float32),
    )


def reflect_101(index: NDArray[np.integer], length: int) -> NDArray[np.integer]:
    """Folds indices back into 0..length-1 by mirroring at the first and last pixel, as often as needed."""
    if length == 1:
        return np.zeros_like(index)
    period = 2 * (length - 1)
    folded = np.abs(index) % period
    return np.minimum(folded, period - folded)
