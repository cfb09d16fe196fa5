"""Check what a user hands to `Encoding.mask` before any kernel sees it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from gen2seg_runtime.errors import PromptError

MODES = ("metric", "reference")


@dataclass(frozen=True)
class Prompt:
    """Checked points: (N, 2) float64 x and y in pixels of the picture, and (N,) bool, True = positive."""

    points: np.ndarray
    positive: np.ndarray


def check_prompt(points: Any, labels: Any, size: tuple[int, int]) -> Prompt:
    """Check points and labels.

    Args:
        points: N >= 1 pairs (x, y). Whole coordinates are pixel centres, so the picture covers
            −0.5 <= x <= W − 0.5, likewise for y.
        labels: None (all positive) or N values 1 = positive, 0 = negative, at least one of them 1.
        size: (H, W) of the picture.
    Raises:
        PromptError: anything else.
    """
    places = _check_points(points, size)
    if labels is None:
        return Prompt(places, np.ones(len(places), bool))
    try:
        signs = np.asarray(labels)
    except (ValueError, TypeError) as error:
        raise PromptError(f"labels must be a flat list of 1 and 0: {error}") from error
    if signs.shape != (len(places),):
        raise PromptError(f"labels must hold one value for each of the {len(places)} points, got {labels!r}")
    if signs.dtype.kind not in "biuf" or not np.isin(signs, (0, 1)).all():
        raise PromptError(f"labels must be 1 (positive) or 0 (negative), got {labels!r}")
    if not (signs == 1).any():
        raise PromptError("a prompt needs at least one positive point (label 1)")
    return Prompt(places, signs == 1)


def _check_points(points: Any, size: tuple[int, int]) -> np.ndarray:
    try:
        places = np.asarray(points)
    except (ValueError, TypeError) as error:  # rows of different lengths
        raise PromptError(f"points must be a list of (x, y) pairs: {error}") from error
    if places.size == 0:
        raise PromptError("points is empty; give at least one (x, y)")
    if places.ndim != 2 or places.shape[1] != 2 or places.dtype.kind not in "iuf":
        raise PromptError(f"points must be a list of (x, y) pairs such as [(120, 80)], got {points!r:.100}")
    places = places.astype(np.float64)
    height, width = size
    inside = ((places >= -0.5) & (places <= np.array([width, height]) - 0.5)).all(axis=1)  # False for NaN
    if not inside.all():
        x, y = places[~inside][0]
        raise PromptError(f"point ({x:g}, {y:g}) is outside the image of {width}×{height} pixels")
    return places


def is_list(value: Any) -> bool:
    """Whether `value` holds entries in order: a sequence other than text, or an array with an axis."""
    if isinstance(value, np.ndarray):
        return value.ndim > 0
    return isinstance(value, Sequence) and not isinstance(value, str | bytes)


def check_mode(mode: str) -> str:
    """Return `mode`; PromptError if there is none of that name."""
    if not isinstance(mode, str) or mode not in MODES:
        raise PromptError(f"unknown prompt mode {mode!r}; known: {', '.join(MODES)}")
    return mode
