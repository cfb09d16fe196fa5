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

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from gen2seg.evaluation.bootstrap import Interval, interval_of_mean
from gen2seg.evaluation.errors import EvaluationError
from gen2seg.evaluation.systems import Proposals, Segments, Setting

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


@dataclass(frozen=True)
class MaskScore:
    """A system's automatic masks on a set.

    Attributes:
        recall: AR by the number of masks, "10", "100", "1000".
        interval: of the AR at 100, 95 % of the bootstrap over images; None for fewer than two images.
        miou: mean over the instances of the IoU with the best mask.
        masks: how many there were, mean over the images.
        setting: at which setting; None is the system's default. Chosen by the AR at 100.
    """

    recall: dict[str, float]
    interval: Interval | None
    miou: float
    masks: float
    setting: Setting


def count_masks(masks: Proposals, labels: np.ndarray, instances: Sequence[int]) -> MaskCounts:
    """Judge the masks of one image. Pairs are taken one by one, so they may come from a generator.

    Args:
        masks: segments, or pairs of bool [H, W] and a score, in any order.
        labels: int [H, W].
        instances: the labels that are judged.
    Raises:
        EvaluationError: a mask is not bool, or segments not integers, of the shape of `labels`, or a score is no finite
            number, or there is not one for each.
    """
    column = np.full(int(labels.max(initial=0)) + 1, len(instances))
    column[list(instances)] = np.arange(len(instances))
    column[0] = len(instances)
    truth = column[labels]
    areas = np.bincount(truth.ravel(), minlength=len(instances) + 1)[:-1]
    if isinstance(masks, Segments):
        ious, count = _overlaps_of_segments(masks, truth, areas), len(masks.scores)
        return MaskCounts(match_masks(ious), ious.max(axis=0, initial=0.0), count)
    rows, scores = [], []
    for mask, score in masks:
        if not isinstance(mask, np.ndarray) or mask.shape != labels.shape or mask.dtype != np.bool_:
            kind = f"{mask.dtype} {mask.shape}" if isinstance(mask, np.ndarray) else type(mask).__name__
            raise EvaluationError(f"a mask must be bool {labels.shape}, got {kind}")
        _check_scores([score])
        shared = np.bincount(truth[mask], minlength=len(instances) + 1)
        rows.append(shared[:-1] / np.maximum(shared.sum() + areas - shared[:-1], 1))
        scores.append(score)
    order = best_first(scores)
    ious = np.array(rows).reshape(len(rows), len(instances))[order]
    return MaskCounts(match_masks(ious), ious.max(axis=0, initial=0.0), len(rows))


def best_first(scores: Sequence[float]) -> np.ndarray:
    """Places of the first 1,000 by falling score; equal scores keep their order."""
    return np.argsort(-np.asarray(scores, np.float64), kind="stable")[: LIMITS[-1]]


def _overlaps_of_segments(segments: Segments, truth: np.ndarray, areas: np.ndarray) -> np.ndarray:
    """IoU of the first 1,000 with each instance, float64 [D, N]; all of them in one pass over the pixels.

    truth: the column of each pixel's instance; N = no instance.
    """
    labels, count = segments.labels, len(segments.scores)
    if labels.shape != truth.shape or labels.dtype.kind not in "iu":
        raise EvaluationError(f"segments must be integers {truth.shape}, got {labels.dtype} {labels.shape}")
    if labels.min(initial=0) < 0 or labels.max(initial=0) > count:
        raise EvaluationError(f"segments must be 0..{count}, one score each, got up to {labels.max(initial=0)}")
    _check_scores(segments.scores)
    order = best_first(segments.scores)
    rank = np.full(count + 1, len(order))
    rank[order + 1] = np.arange(len(order))
    columns = len(areas) + 1
    table = np.bincount((rank[labels] * columns + truth).ravel(), minlength=(len(order) + 1) * columns)
    shared = table.reshape(-1, columns)[: len(order)]
    return shared[:, :-1] / np.maximum(shared.sum(axis=1, keepdims=True) + areas - shared[:, :-1], 1)


def _check_scores(scores: Sequence[float]) -> None:
    for score in scores:
        if not np.isfinite(score):
            raise EvaluationError(f"the score of a mask must be a finite number, got {score!r}")


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


def score_masks(
    by_setting: Sequence[Sequence[MaskCounts]], settings: Sequence[Setting], draws: np.ndarray
) -> MaskScore | None:
    """A system on a set, at its default setting or else at the best one; None where there is no instance.

    Args:
        by_setting: by setting the counts of each image.
        settings: the settings.
        draws: of the bootstrap, int [ROUNDS, images].
    """
    sizes = np.array([len(counts.best) for counts in by_setting[0]])
    if not sizes.sum():
        return None
    recalls = [average_recall(np.sum([c.found for c in counts], axis=0), int(sizes.sum())) for counts in by_setting]
    middle = LIMITS.index(100)
    chosen = settings.index(None) if None in settings else int(np.argmax([recall[middle] for recall in recalls]))
    counts = by_setting[chosen]
    sums = np.array([c.found[middle].mean() for c in counts])
    return MaskScore(
        recall={str(limit): float(value) for limit, value in zip(LIMITS, recalls[chosen], strict=True)},
        interval=interval_of_mean(draws, sums, sizes),
        miou=float(np.concatenate([c.best for c in counts]).mean()),
        masks=float(np.mean([c.masks for c in counts])),
        setting=settings[chosen],
    )
