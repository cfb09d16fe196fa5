"""Clicks that come one after the other: each costs one prompt, however many came before."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from gen2seg_kernels.prompt.dispatch import check_cut, prompt_mask
from gen2seg_kernels.prompt.prepared import PreparedColors, prepare_colors
from gen2seg_kernels.threads import thread_count

Mask = NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class PromptState:
    """The clicks so far on one image; `prompt_refine` makes the next state of it. Cannot be changed.

    Attributes:
        colors: the prepared image.
        options: what `prompt_mask` takes beside points and labels, read-only; the same for all clicks.
        positive: (H, W) bool, read-only: the union of the positive points' masks; None before the first.
        negative: the same of the negative ones.
    """

    colors: PreparedColors
    options: Mapping[str, Any]
    positive: Mask | None = None
    negative: Mask | None = None

    @property
    def mask(self) -> Mask:
        """(H, W) bool: what `prompt_mask` gives for all points and labels so far; empty before a positive one."""
        if self.positive is None:
            return np.zeros(self.colors.shape[:2], bool)
        return self.positive.copy() if self.negative is None else self.positive & ~self.negative


def prompt_start(
    colors: NDArray[np.uint8] | PreparedColors,
    sigma: float = 0.01,
    threshold: float = 3,
    mode: str = "reference",
    *,
    distance: float = 40.0,
    connected: bool = True,
    threads: int | None = None,
) -> PromptState:
    """The state before the first click.

    Args:
        colors: (H, W, 3) uint8, prepared or not.
        sigma, threshold, mode, distance, connected, threads: as in `prompt_mask`, for all clicks.

    Raises:
        TypeError, ValueError: as `prompt_mask`.
    """
    check_cut(mode, sigma, threshold, distance, connected)
    thread_count(threads)
    prepared = colors if isinstance(colors, PreparedColors) else prepare_colors(colors, threads)
    options = {
        "sigma": sigma,
        "threshold": threshold,
        "mode": mode,
        "distance": distance,
        "connected": connected,
        "threads": threads,
    }
    return PromptState(prepared, MappingProxyType(options))


def prompt_refine(state: PromptState, point: ArrayLike, label: int = 1) -> PromptState:
    """The state after one more click, at the cost of that click alone. Other states stay as they are.

    Args:
        state: of `prompt_start` or of this function.
        point: (x, y) in pixels.
        label: 1 = positive: the mask grows; 0 = negative: the mask loses what the point marks.

    Raises:
        TypeError, ValueError: as `prompt_mask`; the label is neither 0 nor 1.
    """
    if label not in (0, 1):
        raise ValueError(f"label must be 1 (positive) or 0 (negative), got {label!r}")
    before = state.positive if label else state.negative
    joined = prompt_mask(state.colors, [point], **state.options)  # type: ignore[list-item]
    if before is not None:
        joined |= before
    joined.flags.writeable = False
    if label:
        return PromptState(state.colors, state.options, joined, state.negative)
    return PromptState(state.colors, state.options, state.positive, joined)
