"""Precision and recall of edges against several annotators: ODS, OIS, AP, and AP at low recall.

Counts and F-measures as in the BSDS500 benchmark (Arbelaez et al., TPAMI 2011): an edge pixel is right if it is matched
with a pixel of any annotator; recall counts the matched boundary pixels of each annotator alike. ODS is the best
F-measure at one threshold for the whole set, OIS that of the counts at each image's own best threshold, AP the area
under the curve of the whole set. gen2seg (arXiv 2505.15263, Table 3) reports AP for recall under 20 %, as its
annotators drew few of the edges that are there.

The benchmark thins each thresholded map again. That is left out, as edges come thinned (on pictures of BSDS500 it would
take another 0.4 to 3 % of the pixels of `color_edges`, which count as wrong here). How pixels are matched, and how the
matching differs from the benchmark's only in speed: gen2seg_kernels/boundary/reference.py.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce
from operator import add

import numpy as np

from gen2seg.evaluation.bootstrap import Interval, interval_of
from gen2seg.evaluation.errors import EvaluationError
from gen2seg_kernels import match_boundary

# Largest distance of a matched pair, as a share of the image's diagonal; as in the benchmark.
TOLERANCE = 0.0075
# 99 as in the benchmark, but squared (the benchmark on square roots of the strength): most strengths are small.
EDGE_THRESHOLDS = np.square(np.arange(1, 100) / 100)
_LOW_RECALL = 20  # percent


@dataclass(frozen=True)
class EdgeCounts:
    """Pixel counts at each of EDGE_THRESHOLDS, each int64 [T]; counts of several images simply add up.

    Attributes:
        predicted: edge pixels of the prediction.
        correct: those matched with a boundary pixel of at least one annotator.
        found: matched boundary pixels, over all annotators.
        annotated: boundary pixels over all annotators (the same at each threshold).
    """

    predicted: np.ndarray
    correct: np.ndarray
    found: np.ndarray
    annotated: np.ndarray

    def __add__(self, other: "EdgeCounts") -> "EdgeCounts":
        return EdgeCounts(*(mine + its for mine, its in zip(_parts(self), _parts(other), strict=True)))


@dataclass(frozen=True)
class EdgeScore:
    """Edge figures of a set, each in [0, 1].

    Attributes:
        ods: F-measure at the one threshold that is best for the set; precision, recall, threshold: there.
        ois: F-measure of the counts at each image's own best threshold.
        ap: mean precision over the recalls 0.01, 0.02 ... 1.
        ap_low: the same over the recalls up to 0.20.
        curve: [(recall, precision), ...] by falling threshold.
    """

    ods: float
    ois: float
    ap: float
    ap_low: float
    precision: float
    recall: float
    threshold: float
    curve: list[tuple[float, float]]


def tolerance_of(size: tuple[int, ...]) -> float:
    """The matching distance for an image of `size` = (H, W), in pixels."""
    return TOLERANCE * math.hypot(*size)


def count_edges(edges: np.ndarray, boundaries: np.ndarray) -> EdgeCounts:
    """Match an edge map one to one with each annotator's boundary at every threshold.

    Args:
        edges: float [H, W], strength in [0, 1], thinned; 0 = no edge.
        boundaries: bool [K, H, W], one map per annotator.

    Raises:
        EvaluationError: the shapes differ or `edges` leaves [0, 1].
    """
    if boundaries.ndim != 3 or edges.shape != boundaries.shape[1:]:
        raise EvaluationError(f"edges {edges.shape} do not fit the boundaries {boundaries.shape}")
    if not (np.isfinite(edges).all() and edges.min() >= 0 and edges.max() <= 1):
        raise EvaluationError("an edge strength must lie in [0, 1]")
    number = len(EDGE_THRESHOLDS)
    reached = np.searchsorted(EDGE_THRESHOLDS, edges.astype(np.float64).ravel(), side="right")
    groups = [np.flatnonzero(reached == index + 1) for index in reversed(range(number))]
    predicted = np.cumsum([len(group) for group in groups])
    right = np.zeros((number, predicted[-1]), bool)
    found = np.zeros(number, np.int64)
    for boundary in boundaries:
        matched = match_boundary(groups, boundary.astype(bool), tolerance_of(boundary.shape))
        right |= matched
        found += np.count_nonzero(matched, axis=1)
    annotated = np.full(number, np.count_nonzero(boundaries), np.int64)
    return EdgeCounts(predicted[::-1], right.sum(axis=1, dtype=np.int64)[::-1], found[::-1], annotated)


def score_edges(images: Sequence[EdgeCounts]) -> EdgeScore:
    """The figures of a set from the counts of its images (at least one)."""
    counts = reduce(add, images)
    precision, recall, f = _curve(counts)
    best = int(np.argmax(f))
    own = [_at(image, int(np.argmax(_curve(image)[2]))) for image in images]
    levels = interpolate_precision(recall, precision)
    return EdgeScore(
        ods=float(f[best]),
        ois=float(_curve(reduce(add, own))[2][0]),
        ap=float(levels.mean()),
        ap_low=float(levels[:_LOW_RECALL].mean()),
        precision=float(precision[best]),
        recall=float(recall[best]),
        threshold=float(EDGE_THRESHOLDS[best]),
        curve=[(float(r), float(p)) for r, p, n in zip(recall, precision, counts.predicted, strict=True) if n][::-1],
    )


def interval_of_ods(draws: np.ndarray, images: Sequence[EdgeCounts]) -> Interval | None:
    """Of ODS; `draws` int [R, I] tells how often each round took each image. None for fewer than two images."""
    if len(images) < 2:
        return None
    rounds = EdgeCounts(*(draws @ np.stack(parts) for parts in zip(*map(_parts, images), strict=True)))
    return interval_of(_curve(rounds)[2].max(axis=1))


def interpolate_precision(recall: np.ndarray, precision: np.ndarray) -> np.ndarray:
    """Precision at the recalls 0.01, 0.02 ... 1: [100].

    Linear between measured points, as in the benchmark, the better one of two with equal recall; 0 above the highest
    recall. Below the lowest one it is the precision there (any share of those pixels is as precise; the benchmark has
    0 there), and the mean is over 100 recalls (the benchmark's sum over 101 can exceed 1), so that perfect edges get 1.

    Args:
        recall, precision: [T] in any order; points without any recall say nothing and are dropped.
    """
    there = recall > 0
    if not there.any():
        return np.zeros(100)
    order = np.lexsort((-precision[there], recall[there]))
    recall, precision = recall[there][order], precision[there][order]
    recall, first = np.unique(recall, return_index=True)
    return np.interp(np.arange(1, 101) / 100, recall, precision[first], right=0.0)


def _curve(counts: EdgeCounts) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Precision, recall and F-measure, in the shape of the counts; 0 where nothing was predicted or annotated."""
    precision = _ratio(counts.correct, counts.predicted)
    recall = _ratio(counts.found, counts.annotated)
    return precision, recall, _ratio(2 * precision * recall, precision + recall)


def _at(counts: EdgeCounts, index: int) -> EdgeCounts:
    return EdgeCounts(*(part[index : index + 1] for part in _parts(counts)))


def _parts(counts: EdgeCounts) -> tuple[np.ndarray, ...]:
    return counts.predicted, counts.correct, counts.found, counts.annotated


def _ratio(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    return np.divide(part, whole, out=np.zeros(part.shape), where=whole > 0)
