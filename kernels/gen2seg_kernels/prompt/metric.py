"""Prompting by a fixed colour distance: pixels nearer than a cut to the colour under the click.

The reference's cut is relative to the closest colour anywhere in the image, which is of no use on the
colours of a small network or of a region without noise. Here the cut is a distance in colour units.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gen2seg_kernels.prompt.lazy import ColorField
from gen2seg_kernels.prompt.reference import Float

QUERY_RADIUS = 3  # pixels
MARGIN = 0.25  # of the cut: where the confidence looks

Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class MetricCut:
    """How a click is cut out.

    Attributes:
        distance: Euclidean colour distance (colours 0..255) below which a pixel belongs to the click.
        connected: keep only what touches the clicked pixel through pixels of the mask (8 neighbours:
            wires one pixel wide run diagonally).
    """

    distance: float = 40.0
    connected: bool = True


def point_mask(field: ColorField, point: Float, cut: MetricCut) -> Mask:
    """Mask (H, W) of one checked point (2,) x and y. The clicked pixel always belongs to it."""
    seed = _clicked_pixel(field, point)
    squared = field.squared_distance(query_color(field, seed, cut.distance))
    return _below(squared, cut.distance, seed, cut.connected)


def point_mask_range(field: ColorField, point: Float, cut: MetricCut) -> tuple[Mask, Mask, Mask]:
    """The mask of one point, and what smaller and larger cuts would make of it.

    Returns:
        Three (H, W) masks, each a part of the next: the pixels of the mask nearer than
        (1 - MARGIN) x distance; the mask; the mask of the cut (1 + MARGIN) x distance, which shows where
        a slightly larger cut would leak.
    """
    seed = _clicked_pixel(field, point)
    squared = field.squared_distance(query_color(field, seed, cut.distance))
    middle = _below(squared, cut.distance, seed, cut.connected)
    inner = middle & (squared < square_of((1 - MARGIN) * cut.distance))
    return inner, middle, _below(squared, (1 + MARGIN) * cut.distance, seed, cut.connected)


def query_color(field: ColorField, seed: tuple[int, int], distance: float) -> Float:
    """Mean colour (3,) of the pixels within QUERY_RADIUS of the seed that look like it.

    A neighbour counts if its colour is within half the cut of the seed's: beyond the border of a
    small or thin object the neighbours do not, and the mean of those that do stays within the cut of
    the seed's own colour.
    """
    row, column = seed
    top, left = max(0, row - QUERY_RADIUS), max(0, column - QUERY_RADIUS)
    patch = field.colors[top : row + QUERY_RADIUS + 1, left : column + QUERY_RADIUS + 1].astype(np.float64)
    rows = np.arange(top, top + patch.shape[0])[:, None] - row
    columns = np.arange(left, left + patch.shape[1])[None, :] - column
    near = rows**2 + columns**2 <= QUERY_RADIUS**2
    alike = ((patch - field.colors[row, column]) ** 2).sum(2) <= square_of(0.5 * distance)
    return patch[near & alike].mean(0)


def square_of(distance: float) -> float:
    """The square that squared distances must be below: infinite rather than an OverflowError, and never 0, which not
    even a colour's distance to itself is below."""
    return max(distance * distance, math.ulp(0.0))


def confidence_of(inner: Mask, outer: Mask) -> float:
    """Share of the largest plausible mask that is certain: |inner| / |outer|, 0 where outer is empty.

    1 if no pixel of the mask, nor any that a cut larger by MARGIN would add, lies within MARGIN of the
    cut; near 0 where the distances are dense around the cut or a slightly larger cut leaks.
    """
    total = int(np.count_nonzero(outer))
    return int(np.count_nonzero(inner)) / total if total else 0.0


def _clicked_pixel(field: ColorField, point: Float) -> tuple[int, int]:
    column, row = (int(np.floor(value + 0.5)) for value in point)
    return min(row, field.height - 1), min(column, field.width - 1)


def _below(squared: Float, distance: float, seed: tuple[int, int], connected: bool) -> Mask:
    near = squared < square_of(distance)
    if not connected:
        return near
    import cv2

    region = near.astype(np.uint8)
    row, column = seed
    cv2.floodFill(region, None, (column, row), (2,), flags=8)
    return region == 2
