"""Automatic masks: how many of the instances a system finds without any click.

A system gives masks with scores; sorted by falling score (equal scores keep the system's order) the first K of an
image count for AR@K. As in COCO's evaluation without categories (pycocotools, `useCats = 0`, area range "all"), at
each IoU threshold of .50, .55 ... .95 every mask, best first, takes the instance with which it overlaps most among
those that are free and reach the threshold (of equals the last); recall is the share of instances taken, over all
images of a set together; AR is its mean over the thresholds. A mask on unlabelled ground costs nothing but its
place among the K. mIoU: mean over the instances of the IoU with the best of the first 1,000 masks.

Sources: Lin et al., Microsoft COCO (cocodataset.org, detection evaluation); Hosang et al., What makes for effective
detection proposals (arXiv 1502.05082).
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from gen2seg.evaluation.errors import EvaluationError

LIMITS = (10, 100, 1000)  # the K of AR@K
IOU_THRESHOLDS = np.linspace(0.5, 0.95, 10)


@dataclass(frozen=True)
class MaskCounts:
    """One system's masks on one image, against N instances.

    Attributes:
        found: int64 [len(LIMITS), len(IOU_THRESHOLDS)], instances taken by the first K masks.
        best: float64 [N], IoU of each instance with the best of the first 1,000 masks.
        masks: how many masks there were.
    """

    found: np.ndarray
    best: np.ndarray
    masks: int


def count_masks(masks: Iterable[tuple[np.ndarray, float]], labels: np.ndarray, instances: Sequence[int]) -> MaskCounts:
    """Judge the masks of one image. They are taken one by one, so they may come from a generator.

    Args:
        masks: pairs of bool [H, W] and a score, in any order.
        labels: int [H, W].
        instances: the labels that are judged.
    Raises:
        EvaluationError: a mask is not bool or not of the shape of `labels`, or a score is no finite number.
    """
    column = np.full(int(labels.max(initial=0)) + 1, len(instances))
    column[list(instances)] = np.arange(len(instances))
    column[0] = len(instances)
    truth = column[labels]
    areas = np.bincount(truth.ravel(), minlength=len(instances) + 1)[:-1]
    rows, scores = [], []
    for mask, score in masks:
        if not isinstance(mask, np.ndarray) or mask.shape != labels.shape or mask.dtype != np.bool_:
            kind = f"{mask.dtype} {mask.shape}" if isinstance(mask, np.ndarray) else type(mask).__name__
            raise EvaluationError(f"a mask must be bool {labels.shape}, got {kind}")
        if not np.isfinite(score):
            raise EvaluationError(f"the score of a mask must be a finite number, got {score!r}")
        shared = np.bincount(truth[mask], minlength=len(instances) + 1)
        rows.append(shared[:-1] / np.maximum(shared.sum() + areas - shared[:-1], 1))
        scores.append(score)
    order = np.argsort(-np.asarray(scores, np.float64), kind="stable")[: LIMITS[-1]]
    ious = np.array(rows).reshape(len(rows), len(instances))[order]
    return MaskCounts(match_masks(ious), ious.max(axis=0, initial=0.0), len(rows))


def match_masks(ious: np.ndarray) -> np.ndarray:
    """Instances taken by the first K masks at each threshold: int64 [len(LIMITS), len(IOU_THRESHOLDS)].

    Args:
        ious: float64 [D, N], the masks by falling score.
    """
    found = np.zeros((len(LIMITS), len(IOU_THRESHOLDS)), np.int64)
    # Only pairs that reach the lowest threshold can match; they are few.
    candidates = [np.flatnonzero(row >= IOU_THRESHOLDS[0]) for row in ious]
    for column, threshold in enumerate(IOU_THRESHOLDS):
        free = np.ones(ious.shape[1], bool)
        for rank, instances in enumerate(candidates):
            values = np.where(free[instances], ious[rank, instances], -1.0)
            # pycocotools compares with >=, so the last of equals wins
            at = len(values) - 1 - int(np.argmax(values[::-1])) if len(values) else 0
            if len(values) and values[at] >= min(threshold, 1 - 1e-10):
                free[instances[at]] = False
                found[np.searchsorted(LIMITS, rank, side="right") :, column] += 1
    return found


def average_recall(found: np.ndarray, instances: int) -> np.ndarray:
    """AR at each of LIMITS: float64 [..., len(LIMITS)] of `found` [..., len(LIMITS), len(IOU_THRESHOLDS)]."""
    return found.mean(axis=-1) / instances
