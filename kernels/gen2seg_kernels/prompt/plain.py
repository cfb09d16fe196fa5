"""Prompting without compiled code: `lazy.py` and `metric.py` point by point. `cpu.py` has the same functions."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from gen2seg_kernels.prompt import lazy, metric
from gen2seg_kernels.prompt.prepared import PreparedColors
from gen2seg_kernels.prompt.request import Prompt, ReferenceCut

Mask = NDArray[np.bool_]


def masks(
    colors: NDArray[np.uint8] | PreparedColors,
    prompts: Sequence[Prompt],
    cut: ReferenceCut | metric.MetricCut,
    threads: int | None = None,
) -> Mask:
    """Masks (K, H, W) of K prompts on colours (H, W, 3), prepared or not; `threads` has no effect."""
    field = _field(colors)
    result = np.zeros((len(prompts), field.height, field.width), bool)
    for mask, prompt in zip(result, prompts, strict=True):
        if not prompt.positive.any():
            continue
        for point in prompt.points[prompt.positive]:
            mask |= _point_mask(field, point, cut)
        for point in prompt.points[~prompt.positive]:
            mask &= ~_point_mask(field, point, cut)
    return result


def mask_with_confidence(
    colors: NDArray[np.uint8] | PreparedColors, prompt: Prompt, cut: metric.MetricCut, threads: int | None = None
) -> tuple[Mask, float]:
    """Mask (H, W) of one prompt and its confidence (0..1)."""
    field = _field(colors)
    # Rows: inner, middle, outer of the positive points; of the negative ones.
    parts = np.zeros((2, 3, field.height, field.width), bool)
    for point, sign in zip(prompt.points, prompt.positive, strict=True):
        parts[0 if sign else 1] |= metric.point_mask_range(field, point, cut)
    mask = parts[0, 1] & ~parts[1, 1]
    if not mask.any():
        return mask, 0.0
    # The smallest mask loses what the largest negatives take, the largest what the smallest do.
    return mask, metric.confidence_of(parts[0, 0] & ~parts[1, 2], parts[0, 2] & ~parts[1, 0])


def _field(colors: NDArray[np.uint8] | PreparedColors) -> lazy.ColorField:
    return colors.field if isinstance(colors, PreparedColors) else lazy.ColorField(colors)


def _point_mask(field: lazy.ColorField, point: NDArray[np.float64], cut: ReferenceCut | metric.MetricCut) -> Mask:
    if isinstance(cut, ReferenceCut):
        return lazy.point_mask(field, point, cut.sigma, cut.threshold)
    return metric.point_mask(field, point, cut)
