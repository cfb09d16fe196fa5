"""The public face of prompting: checks the arguments, chooses the mode, combines the points."""

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from gen2seg_kernels.prompt import lazy, metric
from gen2seg_kernels.prompt.points import (
    check_colors,
    check_labels,
    check_number,
    check_points,
    check_positive,
    check_prompts,
)

MODES = ("reference", "metric")

Mask = NDArray[np.bool_]


def prompt_mask(
    colors: NDArray[np.uint8],
    points: ArrayLike,
    sigma: float = 0.01,
    threshold: float = 3,
    mode: str = "reference",
    labels: ArrayLike | None = None,
    *,
    distance: float = 40.0,
    connected: bool = True,
) -> Mask:
    """Mask of what the points mark on a colour image.

    Mode "reference" is the prompting of gen2seg (Khangaonkar and Pirsiavash, arXiv 2505.15263): inverse
    distance to the Gaussian-weighted colour around the point, stretched over the image to 0..255,
    smoothed by a joint bilateral filter, cut at `threshold`. Its plain definition is `prompt/reference.py`.
    Mode "metric" cuts at a fixed colour distance; see `prompt/metric.py`.

    Args:
        colors: (H, W, 3) uint8, contiguous or not.
        points: (N, 2) x and y in pixels of `colors`; pixel centres have whole coordinates.
        sigma: mode reference: width of the Gaussian, as a share of each image side.
        threshold: mode reference: filtered similarity (0..255) above which a pixel belongs.
        mode: "reference" or "metric".
        labels: (N,) 1 = positive, 0 = negative; None = all positive.
        distance: mode metric: colour distance (colours 0..255) below which a pixel belongs.
        connected: mode metric: keep only what is connected to the point (8 neighbours).

    Returns:
        (H, W) bool: the union of the positive points' masks less the union of the negative ones'; empty
        if no point is positive.

    Raises:
        TypeError: `colors` is not a uint8 array, or a number or point is of another type.
        ValueError: wrong shape, unknown mode, no points, a point that is NaN or outside the image, a
            label other than 0 and 1, `sigma` or `distance` not positive.
    """
    field = lazy.ColorField(check_colors(colors))
    one_point = _mode(field, mode, sigma, threshold, distance, connected)
    return _combine(field, points, labels, one_point)


def prompt_masks(
    colors: NDArray[np.uint8],
    prompts: Sequence[ArrayLike],
    sigma: float = 0.01,
    threshold: float = 3,
    mode: str = "reference",
    labels: Sequence[ArrayLike | None] | None = None,
    *,
    distance: float = 40.0,
    connected: bool = True,
) -> NDArray[np.bool_]:
    """Masks of K prompts on one colour image; what the prompts have in common is computed once.

    Args:
        colors: (H, W, 3) uint8.
        prompts: K lists of points, each as in `prompt_mask`.
        labels: K lists of labels (or None for a prompt whose points are all positive); None = all positive.
        sigma, threshold, mode, distance, connected: as in `prompt_mask`.

    Returns:
        (K, H, W) bool, each equal to `prompt_mask` of that prompt.

    Raises:
        TypeError, ValueError: as `prompt_mask`, or `labels` does not hold one entry per prompt.
    """
    field = lazy.ColorField(check_colors(colors))
    check_prompts(prompts, labels)
    one_point = _mode(field, mode, sigma, threshold, distance, connected)
    masks = np.empty((len(prompts), field.height, field.width), bool)
    for k, points in enumerate(prompts):
        masks[k] = _combine(field, points, None if labels is None else labels[k], one_point)
    return masks


def prompt_mask_with_confidence(
    colors: NDArray[np.uint8],
    points: ArrayLike,
    labels: ArrayLike | None = None,
    *,
    distance: float = 40.0,
    connected: bool = True,
) -> tuple[Mask, float]:
    """Mask in mode "metric", and how sure its border is.

    The confidence is |inner| / |outer|: the pixels that a cut lower by a quarter still keeps, over those
    that a cut higher by a quarter takes in. It is 1 where no pixel of the mask or beside it lies near the
    cut, and near 0 where the colour distances are dense around it or a slightly larger cut would leak.
    Of several points it is the same ratio for the combined masks; an empty mask has confidence 0.

    Args:
        colors, points, labels, distance, connected: as in `prompt_mask`.

    Returns:
        (H, W) bool as `prompt_mask(..., mode="metric")` gives, and the confidence in [0, 1].

    Raises:
        TypeError, ValueError: as `prompt_mask`.
    """
    field = lazy.ColorField(check_colors(colors))
    cut = metric.MetricCut(check_positive("distance", distance), connected)
    places = check_points(points, field.height, field.width)
    positive = check_labels(labels, len(places))
    empty = (field.height, field.width)
    # Rows: inner, middle, outer of the positive points; of the negative ones.
    parts = np.zeros((2, 3, *empty), bool)
    for place, sign in zip(places, positive, strict=True):
        parts[0 if sign else 1] |= metric.point_mask_range(field, place, cut)
    mask = parts[0, 1] & ~parts[1, 1]
    if not mask.any():
        return mask, 0.0
    # The smallest mask loses what the largest negatives take, the largest what the smallest do.
    return mask, metric.confidence_of(parts[0, 0] & ~parts[1, 2], parts[0, 2] & ~parts[1, 0])


def _mode(
    field: lazy.ColorField, mode: str, sigma: float, threshold: float, distance: float, connected: bool
) -> Callable[[NDArray[np.float64]], Mask]:
    """The function from a checked point to its mask, its options checked."""
    if mode == "reference":
        width, cut = check_positive("sigma", sigma), check_number("threshold", threshold)
        return lambda point: lazy.point_mask(field, point, width, cut)
    if mode == "metric":
        how = metric.MetricCut(check_positive("distance", distance), connected)
        return lambda point: metric.point_mask(field, point, how)
    raise ValueError(f"unknown mode {mode!r}; known: {', '.join(MODES)}")


def _combine(
    field: lazy.ColorField,
    points: ArrayLike,
    labels: ArrayLike | None,
    one_point: Callable[[NDArray[np.float64]], Mask],
) -> Mask:
    places = check_points(points, field.height, field.width)
    positive = check_labels(labels, len(places))
    mask = np.zeros((field.height, field.width), bool)
    if not positive.any():
        return mask
    for place in places[positive]:
        mask |= one_point(place)
    for place in places[~positive]:
        mask &= ~one_point(place)
    return mask
