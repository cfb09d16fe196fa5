"""Where the evaluation clicks: the pixel of an instance that is farthest from the instance's boundary."""

import hashlib
from dataclasses import dataclass

import cv2
import numpy as np

from gen2seg.evaluation.errors import EvaluationError


@dataclass(frozen=True)
class Click:
    """One click on one instance.

    Attributes:
        instance: the instance's label.
        x, y: the clicked pixel, 0-based.
        box: (x0, y0, x1, y1) around the instance, upper ends exclusive.
        area: pixels of the instance.
    """

    instance: int
    x: int
    y: int
    box: tuple[int, int, int, int]
    area: int


def find_center(region: np.ndarray) -> tuple[int, int]:
    """The pixel (x, y) of a region that is farthest from what is outside of it.

    The distance is the exact Euclidean one to the nearest pixel outside the region; everything beyond the
    array counts as outside. Among equal distances the first in row-major order (topmost, then leftmost) wins.

    Args:
        region: bool [H, W] with at least one True.

    Raises:
        EvaluationError: `region` is empty.
    """
    if not region.any():
        raise EvaluationError("an empty region has no centre")
    padded = np.pad(region.astype(np.uint8), 1)
    distance = cv2.distanceTransform(padded, cv2.DIST_L2, cv2.DIST_MASK_PRECISE)[1:-1, 1:-1]
    # Squared distances are integers: rounding them takes float32's noise out of the ties.
    squared = np.rint(np.square(distance, dtype=np.float64))
    y, x = np.unravel_index(int(np.argmax(squared)), squared.shape)
    return int(x), int(y)


def find_clicks(labels: np.ndarray) -> list[Click]:
    """One click at the centre of every instance of a label map (int [H, W], 0 = none), by label."""
    clicks = []
    for instance, box in _boxes(labels):
        x0, y0, x1, y1 = box
        # Inside the box is enough: any outside pixel has a nearer one on the ring around the box.
        region = labels[y0:y1, x0:x1] == instance
        x, y = find_center(region)
        clicks.append(Click(instance, x0 + x, y0 + y, box, int(np.count_nonzero(region))))
    return clicks


def choose_clicks(clicks: list[Click], maximum: int | None, key: str) -> list[Click]:
    """Keep at most `maximum` clicks: a random choice that depends on `key` alone, in the given order."""
    if maximum is None or len(clicks) <= maximum:
        return clicks
    seed = int.from_bytes(hashlib.sha256(key.encode()).digest()[:8], "little")
    chosen = np.random.default_rng(seed).choice(len(clicks), size=maximum, replace=False)
    return [clicks[index] for index in sorted(chosen.tolist())]


def _boxes(labels: np.ndarray) -> list[tuple[int, tuple[int, int, int, int]]]:
    ys, xs = np.nonzero(labels)
    if len(ys) == 0:
        return []
    values = labels[ys, xs]
    order = np.argsort(values, kind="stable")
    values, ys, xs = values[order], ys[order], xs[order]
    starts = np.flatnonzero(np.r_[True, values[1:] != values[:-1]])
    x0, x1 = np.minimum.reduceat(xs, starts), np.maximum.reduceat(xs, starts) + 1
    y0, y1 = np.minimum.reduceat(ys, starts), np.maximum.reduceat(ys, starts) + 1
    boxes = np.stack([x0, y0, x1, y1], axis=1).tolist()
    return [(int(value), tuple(box)) for value, box in zip(values[starts], boxes, strict=True)]
