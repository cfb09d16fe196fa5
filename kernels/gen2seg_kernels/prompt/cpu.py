"""Prompting by the C extension: lays the prompts out as arrays and hands them over. `plain.py` gives the same masks."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gen2seg_kernels.native import load_native
from gen2seg_kernels.prompt.metric import MARGIN, MetricCut, square_of
from gen2seg_kernels.prompt.prepared import PreparedColors
from gen2seg_kernels.prompt.request import Prompt, ReferenceCut
from gen2seg_kernels.threads import thread_count

Mask = NDArray[np.bool_]


def masks(
    colors: NDArray[np.uint8] | PreparedColors,
    prompts: Sequence[Prompt],
    cut: ReferenceCut | MetricCut,
    threads: int | None = None,
) -> Mask:
    """Masks (K, H, W) of K prompts on colours (H, W, 3), prepared or in any layout; the same for any number of threads.

    Raises:
        ImportError: the extension is not installed.
        MemoryError: about 7 bytes per pixel and thread in mode metric, beside the masks, cannot be had; in mode
            reference about half a megabyte per thread; for colours that are not prepared 7 bytes per pixel more.
    """
    native = _native()
    result = np.empty((len(prompts), *colors.shape[:2]), bool)
    if not prompts:
        return result
    arguments = (_source(colors), *_arrays(prompts), result, thread_count(threads))
    if isinstance(cut, ReferenceCut):
        # Filtered values are whole.
        native.prompt_reference(*arguments, cut.sigma, float(math.floor(cut.threshold)))
    else:
        native.prompt_metric(*arguments, cut.connected, _squares(cut), None)
    return result


def mask_with_confidence(
    colors: NDArray[np.uint8] | PreparedColors, prompt: Prompt, cut: MetricCut, threads: int | None = None
) -> tuple[Mask, float]:
    """Mask (H, W) of one prompt and its confidence (0..1).

    Raises:
        ImportError, MemoryError: as `masks`.
    """
    result = np.empty(colors.shape[:2], bool)
    counts = np.empty((1, 2), np.int64)
    arrays = _arrays([prompt])
    _native().prompt_metric(
        _source(colors), *arrays, result, thread_count(threads), cut.connected, _squares(cut), counts
    )
    inner, outer = (int(count) for count in counts[0])
    return result, inner / outer if result.any() else 0.0


def _native():
    native = load_native()
    if native is None:
        raise ImportError("the compiled kernels are not installed; gen2seg_kernels.prompt.plain runs without them")
    return native


def _source(colors: NDArray[np.uint8] | PreparedColors) -> Any:
    return colors.field if isinstance(colors, PreparedColors) else colors


def _arrays(prompts: Sequence[Prompt]) -> tuple[NDArray[np.float64], NDArray[np.bool_], NDArray[np.int64]]:
    """All points (N, 2), their signs (N,), and where each prompt's begin and the last one's end (K + 1,)."""
    if len(prompts) == 1:  # joining costs as much as everything else before the extension
        return (
            np.ascontiguousarray(prompts[0].points),
            prompts[0].positive,
            np.array((0, len(prompts[0].points)), np.int64),
        )
    starts = np.zeros(len(prompts) + 1, np.int64)
    np.cumsum([len(prompt.points) for prompt in prompts], out=starts[1:])
    points = np.concatenate([prompt.points for prompt in prompts])
    return np.ascontiguousarray(points), np.concatenate([prompt.positive for prompt in prompts]), starts


def _squares(cut: MetricCut) -> tuple[float, float, float, float]:
    """The squared distances below which a pixel is like the clicked one, and of the inner, middle and outer cut."""
    lengths = (0.5 * cut.distance, (1 - MARGIN) * cut.distance, cut.distance, (1 + MARGIN) * cut.distance)
    alike, inner, middle, outer = map(square_of, lengths)
    return alike, inner, middle, outer
