"""Scores of edges against answers worked out by hand."""

import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gen2seg.evaluation.edge_scores import (
    EDGE_THRESHOLDS,
    count_edges,
    interpolate_precision,
    score_edges,
    tolerance_of,
)
from gen2seg.evaluation.errors import EvaluationError


def two_lines() -> tuple[np.ndarray, np.ndarray]:
    """A boundary of 160 px in column 60 (annotator 1); annotator 2 also drew 80 px of column 150. Reach: 2 px."""
    boundaries = np.zeros((2, 160, 220), bool)
    boundaries[:, :, 60] = True
    boundaries[1, :80, 150] = True
    assert 2 <= tolerance_of((160, 220)) < 3
    return boundaries, np.zeros((160, 220), np.float32)


def test_perfect_edges_score_one():
    boundaries, edges = two_lines()
    boundaries = boundaries[1:]
    edges[boundaries[0]] = 1.0
    score = score_edges([count_edges(edges, boundaries)])
    assert (score.ods, score.ois, score.precision, score.recall) == (1.0, 1.0, 1.0, 1.0)
    assert score.ap == score.ap_low == pytest.approx(1.0)


def test_no_edges_and_no_boundaries_score_zero_without_warnings():
    boundaries, edges = two_lines()
    for counts in (count_edges(edges, boundaries), count_edges(edges, np.zeros_like(boundaries))):
        score = score_edges([counts])
        assert (score.ods, score.ois, score.ap, score.ap_low, score.curve) == (0.0, 0.0, 0.0, 0.0, [])


def test_scores_by_hand():
    boundaries, edges = two_lines()
    edges[:, 62] = 0.9  # two pixels off: right
    edges[:40, 100] = 0.9  # near nothing
    score = score_edges([count_edges(edges, boundaries)])
    precision, recall = 160 / 200, 320 / 400
    assert (score.precision, score.recall) == (precision, recall)
    assert score.ods == pytest.approx(2 * precision * recall / (precision + recall))
    assert score.ap == pytest.approx(0.8 * precision)
    assert score.ap_low == pytest.approx(precision)


def test_three_pixels_off_is_wrong():
    boundaries, edges = two_lines()
    edges[:, 63] = 0.9
    assert score_edges([count_edges(edges, boundaries)]).ods == 0.0


def test_a_boundary_pixel_vouches_once():
    boundaries, edges = two_lines()
    edges[:, [59, 61]] = 0.9
    counts = count_edges(edges, boundaries[:1])
    assert (counts.predicted[0], counts.correct[0], counts.found[0]) == (320, 160, 160)


def test_strong_edges_are_counted_alone_at_high_thresholds():
    boundaries, edges = two_lines()
    edges[:, 60] = 0.6
    edges[:, 100] = 0.2
    counts = count_edges(edges, boundaries[:1])
    strong, all_of_them = EDGE_THRESHOLDS > 0.2, EDGE_THRESHOLDS <= 0.2
    assert set(counts.predicted[all_of_them]) == {320}
    assert set(counts.predicted[strong & (EDGE_THRESHOLDS <= 0.6)]) == {160}
    score = score_edges([counts])
    assert score.ods == 1.0
    assert 0.2 < score.threshold <= 0.6


def test_each_image_may_have_its_own_threshold():
    boundaries, edges = two_lines()
    strong, weak = edges.copy(), edges.copy()
    strong[:, 60], strong[:, 100] = 0.9, 0.5
    weak[:, 60], weak[:, 100] = 0.4, 0.2
    counts = [count_edges(e, boundaries[:1]) for e in (strong, weak)]
    score = score_edges(counts)
    assert score.ois == 1.0
    assert score.ods < 1.0
    assert score_edges([counts[0] + counts[1]]).ods == score.ods


def test_people_agree_as_much_as_the_benchmark_says():
    """Each annotator judged by the others. The benchmark gives F = 0.80 on its 200 test images (Arbelaez et al., TPAMI
    2011); all 60 images of the development set give 0.797."""
    folder = Path(os.environ.get("GEN2SEG_DATA", "")) / "bsds500/edges"
    if not folder.is_dir():
        pytest.skip("needs the set bsds500 in GEN2SEG_DATA")
    counts = []
    for path in sorted(folder.glob("*.npz"))[::6]:
        drawn = np.load(path)["boundaries"].astype(bool)
        counts += [count_edges(drawn[k].astype(float), np.delete(drawn, k, 0)) for k in range(len(drawn))]
    assert score_edges(counts).ods == pytest.approx(0.80, abs=0.03)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_counts_do_not_depend_on_the_order_of_annotators_and_grow_with_lower_thresholds(seed):
    rng = np.random.default_rng(seed)
    boundaries = rng.random((3, 20, 26)) < 0.08
    edges = np.where(rng.random((20, 26)) < 0.2, rng.random((20, 26)), 0)
    counts, other = count_edges(edges, boundaries), count_edges(edges, boundaries[::-1])
    for name in ("predicted", "correct", "found", "annotated"):
        assert np.array_equal(getattr(counts, name), getattr(other, name))
    assert (np.diff(counts.found) <= 0).all()
    assert (counts.correct <= counts.predicted).all()
    assert (counts.found <= counts.annotated).all()


def test_precision_between_and_beyond_the_measured_recalls():
    levels = interpolate_precision(np.array([0.5, 0.1, 0.5, 0.0]), np.array([0.2, 0.8, 0.4, 0.3]))
    assert levels[:10] == pytest.approx(0.8)
    assert levels[29] == pytest.approx(0.6)
    assert levels[49] == pytest.approx(0.4)
    assert not levels[50:].any()


@pytest.mark.parametrize(
    "edges",
    [np.zeros((20, 39)), np.full((20, 40), 1.5), np.full((20, 40), np.nan)],
    ids=["shape", "range", "nan"],
)
def test_wrong_edges_are_refused(edges):
    with pytest.raises(EvaluationError):
        count_edges(edges, np.zeros((1, 20, 40), bool))
