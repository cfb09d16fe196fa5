"""Where the evaluation clicks.

The first click: the pixel of an instance that is farthest from the instance's boundary. Each next one lies in the
largest connected part of the instance that no click has brought yet (gen2seg, arXiv 2505.15263, Figure 6); or, where
negative clicks are allowed, in the largest part that is wrong.
"""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np

from gen2seg.evaluation.errors import EvaluationError
from gen2seg.evaluation.metrics import mask_iou


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


def find_next(missing: np.ndarray, center: str) -> tuple[int, int]:
    """The next click (x, y): in the largest 8-connected part of what is missing (the one that comes first in row-major
    order among equals), at the place that `center` names.

    Args:
        missing: bool [H, W], the instance's pixels without a prediction; at least one.
        center: a key of CENTERS.
    """
    count, parts, stats, _ = cv2.connectedComponentsWithStats(missing.astype(np.uint8), connectivity=8)
    areas = stats[:, cv2.CC_STAT_AREA]
    largest = [part for part in range(1, count) if areas[part] == areas[1:].max(initial=0)]
    chosen = min(largest, key=lambda part: int(np.argmax(parts == part)), default=0)
    return CENTERS[center](missing & (parts == chosen))


def find_centroid(region: np.ndarray) -> tuple[int, int]:
    """The pixel (x, y) of a region (bool [H, W]) closest to the region's centroid; the first in row-major order among
    equals.

    Raises:
        EvaluationError: `region` is empty.
    """
    if not region.any():
        raise EvaluationError("an empty region has no centre")
    ys, xs = np.nonzero(region)
    # Times the number of pixels everything is a whole number: no rounding decides between equals.
    down, right = ys * len(ys) - ys.sum(), xs * len(xs) - xs.sum()
    index = int(np.argmin(down * down + right * right))
    return int(xs[index]), int(ys[index])


# Where in a missing part the next click lies; ours, and the other reading of "centre".
CENTERS: dict[str, Callable[[np.ndarray], tuple[int, int]]] = {"distance": find_center, "centroid": find_centroid}

# What all clicks but the first lie in: what the answer lacks of the instance, as the paper has it; or what is wrong in
# it, so that a click on what the answer takes too much is a negative one.
NEXT_CLICKS = ("missing", "error")


@dataclass(frozen=True)
class ClickRule:
    """How an instance is clicked.

    Attributes:
        count: how many clicks at most.
        center: where in a part all clicks but the first lie, a key of CENTERS.
        next_click: of what it is a part, one of NEXT_CLICKS.

    Raises:
        EvaluationError: a value that is none of these.
    """

    count: int = 1
    center: str = "distance"
    next_click: str = "missing"

    def __post_init__(self) -> None:
        if self.count < 1:
            raise EvaluationError(f"clicks must be at least 1, got {self.count}")
        if self.center not in CENTERS:
            raise EvaluationError(f"unknown centre {self.center!r}; known: {', '.join(CENTERS)}")
        if self.next_click not in NEXT_CLICKS:
            raise EvaluationError(f"unknown next click {self.next_click!r}; known: {', '.join(NEXT_CLICKS)}")


# (points so far, the answer to all but the last, which of them are on the object; None: all) -> bool [H, W]
Answer = Callable[[list[tuple[int, int]], np.ndarray | None, tuple[int, ...] | None], np.ndarray]


def click_on(
    answer: Answer, labels: np.ndarray, click: Click, rule: ClickRule = ClickRule()
) -> tuple[np.ndarray, np.ndarray]:
    """Click up to `rule.count` times on one instance.

    Once nothing of the instance is missing (or nothing is wrong, by the rule) nothing more is clicked, and the score
    stays.

    Args:
        answer: the system.
        labels: int [H, W].
        click: the first click.
        rule: how often and where.
    Returns:
        IoU after 1, 2 ... `rule.count` clicks, float64 [count], and the mask of the first click.
    """
    points, signs = [(click.x, click.y)], (1,)
    first = mask = answer(points, None, None)
    scores = np.full(rule.count, mask_iou(mask, labels, click))
    for index in range(1, rule.count):
        if rule.next_click == "error":
            found = find_error(mask, labels == click.instance, rule.center)
        else:
            found = _find_missing(mask, labels, click, rule.center)
        if found is None:
            break
        points.append(found[0])
        signs = (*signs, found[1])
        mask = answer(points, mask, None if all(signs) else signs)
        scores[index:] = mask_iou(mask, labels, click)
    return scores, first


def _find_missing(
    mask: np.ndarray, labels: np.ndarray, click: Click, center: str
) -> tuple[tuple[int, int], int] | None:
    x0, y0, x1, y1 = click.box
    missing = (labels[y0:y1, x0:x1] == click.instance) & ~mask[y0:y1, x0:x1]
    if not missing.any():
        return None
    x, y = find_next(missing, center)
    return (x0 + x, y0 + y), 1


def find_error(mask: np.ndarray, instance: np.ndarray, center: str) -> tuple[tuple[int, int], int] | None:
    """The next click (x, y) and its label where clicks may be negative: in the largest 8-connected part of what is
    missing (label 1) or taken too much (label 0), at the place that `center` names; among equals what is missing wins.

    As in RITM's evaluation (Sofiiuk et al., arXiv 2102.06583), which weighs the largest distance to the outside; here
    it is the area, as for the missing parts of the paper's protocol.

    Args:
        mask, instance: bool [H, W].
    Returns:
        None where both are equal.
    """
    missing, extra = instance & ~mask, mask & ~instance
    areas = [_largest_area(part) for part in (missing, extra)]
    if not any(areas):
        return None
    return (find_next(missing, center), 1) if areas[0] >= areas[1] else (find_next(extra, center), 0)


def _largest_area(region: np.ndarray) -> int:
    stats = cv2.connectedComponentsWithStats(region.astype(np.uint8), connectivity=8)[2]
    return int(stats[1:, cv2.CC_STAT_AREA].max(initial=0))


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
