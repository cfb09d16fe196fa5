"""Checks of what a caller hands to prompting; every message says what came and what is expected."""

import math
from collections.abc import Sequence
from numbers import Real
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray


def check_colors(colors: Any, axes: str = "(H, W, 3)") -> NDArray[np.uint8]:
    """Returns `colors` if it is a colour image, or several, of these axes: uint8 with at least one pixel.

    Raises:
        TypeError: it is not a NumPy array of uint8.
        ValueError: another shape, or no pixels.
    """
    if not isinstance(colors, np.ndarray) or colors.dtype != np.uint8:
        got = colors.dtype if isinstance(colors, np.ndarray) else type(colors).__name__
        raise TypeError(f"colors must be a NumPy array of uint8, got {got}")
    if colors.ndim != axes.count(",") + 1 or colors.shape[-1] != 3 or colors.size == 0:
        raise ValueError(f"colors must be {axes} with at least one pixel, got {colors.shape}")
    return colors


def check_points(points: ArrayLike, height: int, width: int) -> NDArray[np.float64]:
    """Returns the points as (N, 2) float64, N >= 1, columns x and y.

    Pixel centres have whole coordinates, so the image covers -0.5 <= x <= width - 0.5, likewise for y.

    Raises:
        TypeError: not numbers.
        ValueError: another shape, no point, NaN or infinite, or outside the image.
    """
    try:
        array = np.asarray(points)
    except ValueError as error:  # rows of different lengths
        raise ValueError(f"points must be N pairs (x, y): {error}") from error
    if array.size == 0:
        raise ValueError("points is empty: give at least one (x, y)")
    if array.dtype.kind not in "iuf":
        raise TypeError(f"points must hold numbers, got an array of {array.dtype}")
    if array.ndim != 2 or array.shape[1] != 2:
        raise ValueError(f"points must be N pairs (x, y), got an array of shape {array.shape}")
    result = array.astype(np.float64)
    inside = (result >= -0.5) & (result <= (width - 0.5, height - 0.5))  # False for NaN
    if not inside.all():
        x, y = result[~inside.all(1)][0]
        raise ValueError(f"point ({x:g}, {y:g}) is outside the image of {width} x {height} pixels")
    return result


def check_labels(labels: ArrayLike | None, n_points: int) -> NDArray[np.bool_]:
    """Returns (N,) bool, True for a positive point; None means that all are positive.

    Raises:
        ValueError: not one label per point, or a label other than 0 and 1.
    """
    if labels is None:
        return np.ones(n_points, bool)
    array = np.asarray(labels)
    if array.shape != (n_points,):
        raise ValueError(f"labels must hold one value for each of {n_points} points, got shape {array.shape}")
    if not np.isin(array, (0, 1)).all():
        raise ValueError(f"labels must be 1 (positive) or 0 (negative), got {array.tolist()}")
    return array.astype(bool)


def check_positive(name: str, value: float) -> float:
    """Returns a positive finite number.

    Raises:
        TypeError: not a number.
        ValueError: zero, negative, NaN or infinite.
    """
    number = check_number(name, value)
    if number <= 0:
        raise ValueError(f"{name} must be positive, got {value}")
    return number


def check_number(name: str, value: float) -> float:
    """Returns a finite number.

    Raises:
        TypeError: not a number.
        ValueError: NaN or infinite.
    """
    if isinstance(value, bool) or not isinstance(value, Real):
        raise TypeError(f"{name} must be a number, got {type(value).__name__}")
    try:
        number = float(value)
    except OverflowError:  # a whole number beyond all floats
        number = math.inf
    if not math.isfinite(number):
        raise ValueError(f"{name} must be finite, got {value!r:.40}")
    return number


def check_prompts(prompts: Sequence[ArrayLike], labels: Sequence[ArrayLike | None] | None) -> None:
    """Checks that there are as many lists of labels as prompts.

    Raises:
        ValueError: their numbers differ.
    """
    if labels is not None and len(labels) != len(prompts):
        raise ValueError(f"labels must hold one entry for each of {len(prompts)} prompts, got {len(labels)}")
