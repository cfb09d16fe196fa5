"""The public face of prompting: checks the arguments and chooses the mode and what computes it."""

from collections.abc import Sequence
from types import ModuleType

import numpy as np
from numpy.typing import ArrayLike, NDArray

from gen2seg_kernels.native import load_native
from gen2seg_kernels.prompt import cpu, plain
from gen2seg_kernels.prompt.metric import MetricCut
from gen2seg_kernels.prompt.points import check_colors, check_number, check_positive, check_prompts
from gen2seg_kernels.prompt.prepared import PreparedColors
from gen2seg_kernels.prompt.request import ReferenceCut, check_prompt

MODES = ("reference", "metric")

Mask = NDArray[np.bool_]


def prompt_mask(
    colors: NDArray[np.uint8] | PreparedColors,
    points: ArrayLike,
    sigma: float = 0.01,
    threshold: float = 3,
    mode: str = "reference",
    labels: ArrayLike | None = None,
    *,
    distance: float = 40.0,
    connected: bool = True,
    threads: int | None = None,
) -> Mask:
    """Mask of what the points mark on a colour image.

    Mode "reference" is the prompting of gen2seg (Khangaonkar and Pirsiavash, arXiv 2505.15263): inverse
    distance to the Gaussian-weighted colour around the point, stretched over the image to 0..255,
    smoothed by a joint bilateral filter, cut at `threshold`. Its plain definition is `prompt/reference.py`.
    Mode "metric" cuts at a fixed colour distance; see `prompt/metric.py`.

    Args:
        colors: (H, W, 3) uint8, contiguous or not; or what `prepare_colors` made of it, which saves every call after
            the first the time to prepare it.
        points: (N, 2) x and y in pixels of `colors`; pixel centres have whole coordinates.
        sigma: mode reference: width of the Gaussian, as a share of each image side.
        threshold: mode reference: filtered similarity (0..255) above which a pixel belongs.
        mode: "reference" or "metric".
        labels: (N,) 1 = positive, 0 = negative; None = all positive.
        distance: mode metric: colour distance (colours 0..255) below which a pixel belongs.
        connected: mode metric: keep only what is connected to the point (8 neighbours).
        threads: at most so many; None for the environment variable GEN2SEG_NUM_THREADS, or else one per
            usable core. The mask does not depend on it.

    Returns:
        (H, W) bool: the union of the positive points' masks less the union of the negative ones'; empty
        if no point is positive.

    Raises:
        TypeError: `colors` is not a uint8 array, or a number or point is of another type.
        ValueError: wrong shape, unknown mode, no points, a point that is NaN or outside the image, a
            label other than 0 and 1, `sigma`, `distance` or `threads` not positive.
    """
    checked = _check(colors)
    cut = _cut(mode, sigma, threshold, distance, connected)
    prompt = check_prompt(points, labels, *checked.shape[:2])
    return _implementation().masks(checked, [prompt], cut, threads)[0]


def prompt_masks(
    colors: NDArray[np.uint8] | PreparedColors,
    prompts: Sequence[ArrayLike],
    sigma: float = 0.01,
    threshold: float = 3,
    mode: str = "reference",
    labels: Sequence[ArrayLike | None] | None = None,
    *,
    distance: float = 40.0,
    connected: bool = True,
    threads: int | None = None,
) -> NDArray[np.bool_]:
    """Masks of K prompts on one colour image; what the prompts have in common is computed once.

    Args:
        colors: (H, W, 3) uint8, or prepared.
        prompts: K lists of points, each as in `prompt_mask`.
        labels: K lists of labels (or None for a prompt whose points are all positive); None = all positive.
        sigma, threshold, mode, distance, connected, threads: as in `prompt_mask`.

    Returns:
        (K, H, W) bool, each equal to `prompt_mask` of that prompt.

    Raises:
        TypeError, ValueError: as `prompt_mask`, or `labels` does not hold one entry per prompt.
    """
    checked = _check(colors)
    check_prompts(prompts, labels)
    cut = _cut(mode, sigma, threshold, distance, connected)
    signs = [None] * len(prompts) if labels is None else labels
    size = checked.shape[:2]
    requests = [check_prompt(points, sign, *size) for points, sign in zip(prompts, signs, strict=True)]
    return _implementation().masks(checked, requests, cut, threads)


def prompt_mask_with_confidence(
    colors: NDArray[np.uint8] | PreparedColors,
    points: ArrayLike,
    labels: ArrayLike | None = None,
    *,
    distance: float = 40.0,
    connected: bool = True,
    threads: int | None = None,
) -> tuple[Mask, float]:
    """Mask in mode "metric", and how sure its border is.

    The confidence is |inner| / |outer|: the pixels that a cut lower by a quarter still keeps, over those
    that a cut higher by a quarter takes in. It is 1 where no pixel of the mask or beside it lies near the
    cut, and near 0 where the colour distances are dense around it or a slightly larger cut would leak.
    Of several points it is the same ratio for the combined masks; an empty mask has confidence 0.

    Args:
        colors, points, labels, distance, connected, threads: as in `prompt_mask`.

    Returns:
        (H, W) bool as `prompt_mask(..., mode="metric")` gives, and the confidence in [0, 1].

    Raises:
        TypeError, ValueError: as `prompt_mask`.
    """
    checked = _check(colors)
    cut = MetricCut(check_positive("distance", distance), bool(connected))
    prompt = check_prompt(points, labels, *checked.shape[:2])
    return _implementation().mask_with_confidence(checked, prompt, cut, threads)


def _check(colors: NDArray[np.uint8] | PreparedColors) -> NDArray[np.uint8] | PreparedColors:
    return colors if isinstance(colors, PreparedColors) else check_colors(colors)


def _implementation() -> ModuleType:
    return plain if load_native() is None else cpu


def _cut(mode: str, sigma: float, threshold: float, distance: float, connected: bool) -> ReferenceCut | MetricCut:
    """The options of a mode, checked."""
    if mode == "reference":
        return ReferenceCut(check_positive("sigma", sigma), check_number("threshold", threshold))
    if mode == "metric":
        return MetricCut(check_positive("distance", distance), bool(connected))
    raise ValueError(f"unknown mode {mode!r}; known: {', '.join(MODES)}")
