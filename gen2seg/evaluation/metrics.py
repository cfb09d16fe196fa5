"""Scores: intersection over union of a mask; precision, recall and F-measure of edges with a tolerance."""

from dataclasses import dataclass

import cv2
import numpy as np

from gen2seg.evaluation.clicks import Click
from gen2seg.evaluation.errors import EvaluationError

# An edge counts as found within two pixels (Euclidean) of the other map's: 13 pixels around each.
EDGE_TOLERANCE = 2
# Thresholds on the edge strength, in (0, 1]; squared because most strengths are small.
EDGE_THRESHOLDS = np.square(np.arange(1, 513) / 512.0)


def mask_iou(mask: np.ndarray, labels: np.ndarray, click: Click) -> float:
    """Intersection over union of a predicted mask and the clicked instance.

    Every pixel of the mask counts, those on unlabelled ground too: one object is asked for.

    Args:
        mask: bool [H, W].
        labels: int [H, W], where the instance is `labels == click.instance`.
        click: names the instance and gives its box and area.

    Raises:
        EvaluationError: `mask` is not bool or not of the shape of `labels`.
    """
    if mask.shape != labels.shape or mask.dtype != np.bool_:
        raise EvaluationError(f"a mask must be bool {labels.shape}, got {mask.dtype} {mask.shape}")
    x0, y0, x1, y1 = click.box
    instance = labels[y0:y1, x0:x1] == click.instance
    shared = np.count_nonzero(mask[y0:y1, x0:x1] & instance)
    return shared / (np.count_nonzero(mask) + click.area - shared)


@dataclass(frozen=True)
class EdgeCounts:
    """Pixel counts at each of EDGE_THRESHOLDS, each int64 [T]; counts of several images simply add up.

    Attributes:
        predicted: edge pixels of the prediction.
        correct: those within the tolerance of any annotator's boundary.
        found: boundary pixels, over all annotators, within the tolerance of a predicted edge pixel.
        annotated: boundary pixels over all annotators (the same at each threshold).
    """

    predicted: np.ndarray
    correct: np.ndarray
    found: np.ndarray
    annotated: np.ndarray

    def __add__(self, other: "EdgeCounts") -> "EdgeCounts":
        return EdgeCounts(
            self.predicted + other.predicted,
            self.correct + other.correct,
            self.found + other.found,
            self.annotated + other.annotated,
        )


@dataclass(frozen=True)
class EdgeScore:
    """F-measure at one threshold, with its precision and recall, each in [0, 1]."""

    f: float
    precision: float
    recall: float
    threshold: float


def count_edges(edges: np.ndarray, boundaries: np.ndarray) -> EdgeCounts:
    """Match an edge map with the annotators' boundaries at every threshold.

    A simple matching by dilation, not the one-to-one assignment of the BSDS benchmark: one boundary pixel
    may vouch for several edge pixels and the other way round, so the figures are a little higher than the
    benchmark's. As there, an edge pixel is right if any annotator drew a boundary near it, and the recall
    counts the boundary pixels of all annotators alike.

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
    disc = _disc(EDGE_TOLERANCE)
    drawn = np.count_nonzero(boundaries, axis=0)
    near_boundary = cv2.dilate((drawn > 0).astype(np.uint8), disc).astype(bool)
    strongest_near = cv2.dilate(edges.astype(np.float32), disc)
    return EdgeCounts(
        predicted=_count_at_thresholds(edges),
        correct=_count_at_thresholds(edges, near_boundary),
        found=_count_at_thresholds(strongest_near, drawn),
        annotated=np.full(len(EDGE_THRESHOLDS), int(drawn.sum()), np.int64),
    )


def best_edge_score(counts: EdgeCounts) -> EdgeScore:
    """The best F-measure over the thresholds (ODS when the counts are those of a whole data set)."""
    precision = _ratio(counts.correct, counts.predicted)
    recall = _ratio(counts.found, counts.annotated)
    f = _ratio(2 * precision * recall, precision + recall)
    best = int(np.argmax(f))
    return EdgeScore(float(f[best]), float(precision[best]), float(recall[best]), float(EDGE_THRESHOLDS[best]))


def _count_at_thresholds(strength: np.ndarray, weight: np.ndarray | None = None) -> np.ndarray:
    """How many pixels (each `weight` times) have a strength of at least each threshold, int64 [T]."""
    reached = np.searchsorted(EDGE_THRESHOLDS, strength.astype(np.float64).ravel(), side="right")
    weights = None if weight is None else weight.astype(np.float64).ravel()
    bins = np.bincount(reached, weights, minlength=len(EDGE_THRESHOLDS) + 1)
    return np.cumsum(bins[::-1])[::-1][1:].astype(np.int64)


def _ratio(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    return np.divide(part, whole, out=np.zeros(len(part)), where=whole > 0)


def _disc(radius: int) -> np.ndarray:
    y, x = np.mgrid[-radius : radius + 1, -radius : radius + 1]
    return (x * x + y * y <= radius * radius).astype(np.uint8)
