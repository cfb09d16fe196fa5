"""Scores against answers worked out by hand."""

import numpy as np
import pytest

from gen2seg.evaluation.clicks import find_clicks
from gen2seg.evaluation.errors import EvaluationError
from gen2seg.evaluation.metrics import EDGE_THRESHOLDS, best_edge_score, count_edges, mask_iou


def test_iou_by_hand():
    labels = np.zeros((4, 6), np.int32)
    labels[1:3, 1:3] = 7
    (click,) = find_clicks(labels)
    instance = labels == 7
    assert mask_iou(instance, labels, click) == 1.0
    assert mask_iou(np.zeros_like(instance), labels, click) == 0.0
    assert mask_iou(np.ones_like(instance), labels, click) == 4 / 24
    shifted = np.roll(instance, 1, axis=1)
    assert mask_iou(shifted, labels, click) == 2 / 6
    assert mask_iou(np.roll(instance, 3, axis=1), labels, click) == 0.0


@pytest.mark.parametrize("mask", [np.zeros((4, 5), bool), np.zeros((4, 6), np.uint8)], ids=["shape", "dtype"])
def test_iou_refuses_what_is_no_mask(mask):
    labels = np.ones((4, 6), np.int32)
    with pytest.raises(EvaluationError, match="mask must be bool"):
        mask_iou(mask, labels, find_clicks(labels)[0])


def two_lines() -> tuple[np.ndarray, np.ndarray]:
    """A boundary of 20 px in column 10 (annotator 1); annotator 2 also drew 10 px of column 30."""
    boundaries = np.zeros((2, 20, 40), bool)
    boundaries[:, :, 10] = True
    boundaries[1, :10, 30] = True
    return boundaries, np.zeros((20, 40), np.float32)


def test_edges_on_the_boundaries_score_one():
    boundaries, edges = two_lines()
    edges[boundaries.any(axis=0)] = 0.5
    score = best_edge_score(count_edges(edges, boundaries))
    assert (score.f, score.precision, score.recall) == (1.0, 1.0, 1.0)


def test_f_measure_by_hand():
    boundaries, edges = two_lines()
    edges[:, 12] = 0.9  # two pixels off: right; finds column 10 of both annotators, 40 of 50 pixels
    edges[:5, 20] = 0.9  # 5 pixels near nothing
    score = best_edge_score(count_edges(edges, boundaries))
    precision, recall = 20 / 25, 40 / 50
    assert score.precision == precision
    assert score.recall == recall
    assert score.f == pytest.approx(2 * precision * recall / (precision + recall))


def test_three_pixels_off_is_wrong():
    boundaries, edges = two_lines()
    edges[:, 13] = 0.9
    assert best_edge_score(count_edges(edges, boundaries)).f == 0.0


def test_the_best_threshold_drops_weak_wrong_edges():
    boundaries, edges = two_lines()
    edges[boundaries.any(axis=0)] = 0.6
    edges[:, 20] = 0.2
    score = best_edge_score(count_edges(edges, boundaries))
    assert score.f == 1.0
    assert 0.2 < score.threshold <= 0.6


def test_counts_are_those_of_each_threshold():
    rng = np.random.default_rng(3)
    boundaries = rng.random((3, 24, 30)) < 0.05
    edges = np.where(rng.random((24, 30)) < 0.2, rng.random((24, 30)), 0).astype(np.float32)
    counts = count_edges(edges, boundaries)
    ys, xs = np.mgrid[:24, :30]
    near = (ys[..., None, None] - ys) ** 2 + (xs[..., None, None] - xs) ** 2 <= 4
    for index in (0, 40, 200, 400, 511):
        predicted = edges >= EDGE_THRESHOLDS[index]
        drawn = np.count_nonzero(boundaries, axis=0) > 0
        right = predicted & (near & drawn).any(axis=(2, 3))
        found = (near & predicted).any(axis=(2, 3))
        assert counts.predicted[index] == predicted.sum()
        assert counts.correct[index] == right.sum()
        assert counts.found[index] == (boundaries & found).sum()
        assert counts.annotated[index] == boundaries.sum()


def test_counts_of_images_add_up():
    boundaries, edges = two_lines()
    edges[:, 11] = 0.3
    once = count_edges(edges, boundaries)
    assert best_edge_score(once + once) == best_edge_score(once)


def test_no_edges_and_no_boundaries_score_zero_without_warnings():
    boundaries, edges = two_lines()
    assert best_edge_score(count_edges(edges, boundaries)).f == 0.0
    assert best_edge_score(count_edges(edges, np.zeros_like(boundaries))).f == 0.0


@pytest.mark.parametrize(
    "edges",
    [np.zeros((20, 39)), np.full((20, 40), 1.5), np.full((20, 40), np.nan)],
    ids=["shape", "range", "nan"],
)
def test_wrong_edges_are_refused(edges):
    with pytest.raises(EvaluationError):
        count_edges(edges, two_lines()[0])
