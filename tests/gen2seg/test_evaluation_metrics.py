"""Scores against answers worked out by hand."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from gen2seg.evaluation.clicks import ClickRule, click_on, find_clicks
from gen2seg.evaluation.edge_scores import EDGE_THRESHOLDS, count_edges, score_edges, tolerance_of
from gen2seg.evaluation.errors import EvaluationError
from gen2seg.evaluation.metrics import mask_iou

label_maps = arrays.arrays(np.int32, st.tuples(st.integers(1, 9), st.integers(1, 11)), elements=st.integers(0, 4))


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


@given(label_maps, st.integers(0, 2**32 - 1))
def test_iou_is_that_of_pycocotools(labels, seed):
    coco = pytest.importorskip("pycocotools.mask")
    mask = np.random.default_rng(seed).random(labels.shape) < 0.5
    for click in find_clicks(labels):
        encoded = [coco.encode(np.asfortranarray(part.astype(np.uint8))) for part in (mask, labels == click.instance)]
        expected = coco.iou(encoded[:1], encoded[1:], [0])[0, 0]
        assert mask_iou(mask, labels, click) == pytest.approx(expected, abs=1e-12)


def _scores(answer, truth, click, rule):
    return click_on(lambda points, before, signs: answer(click, points), truth, click, rule)[0].tolist()


@given(label_maps, st.permutations(range(1, 5)), st.sampled_from(["distance", "centroid"]))
def test_perfect_is_one_empty_is_zero_and_numbers_do_not_matter(labels, numbers, center):
    renumbered = np.array([0, *(10 * number for number in numbers)], np.int32)[labels]
    rng = np.random.default_rng(0)
    picture = rng.random((5, *labels.shape)) < 0.5  # a system's answer to its k-th click

    rule = ClickRule(5, center)

    def score(truth, answer):
        clicks = find_clicks(truth)
        found = {(c.x, c.y): _scores(answer, truth, c, rule) for c in clicks}
        return dict(sorted(found.items()))

    assert all(s == [1.0] * 5 for s in score(labels, lambda c, p: labels == c.instance).values())
    assert all(s == [0.0] * 5 for s in score(labels, lambda c, p: np.zeros(labels.shape, bool)).values())
    assert score(labels, lambda c, p: picture[len(p) - 1]) == score(renumbered, lambda c, p: picture[len(p) - 1])


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 60), st.integers(1, 60))
def test_edges_within_less_than_a_pixel_are_a_classification_of_pixels(seed, height, width):
    """Where nothing but the same pixel can match, precision and recall are those of scikit-learn, and AP is the area
    under its curve, between its points by straight lines."""
    metrics = pytest.importorskip("sklearn.metrics")
    rng = np.random.default_rng(seed)
    assert tolerance_of((height, width)) < 1
    truth = rng.random((height, width)) < 0.4
    truth[0, 0] = True
    edges = np.where(rng.random(truth.shape) < 0.6, rng.choice(EDGE_THRESHOLDS, truth.shape), 0)
    edges[0, 0] = EDGE_THRESHOLDS[70]
    counts = count_edges(edges, truth[None])
    for index in range(0, 99, 14):
        threshold = EDGE_THRESHOLDS[index]
        found = edges >= threshold
        assert counts.predicted[index] == np.count_nonzero(found)
        if found.any():
            precision = counts.correct[index] / counts.predicted[index]
            assert precision == pytest.approx(metrics.precision_score(truth.ravel(), found.ravel()))
        recall = counts.found[index] / counts.annotated[index]
        assert recall == pytest.approx(metrics.recall_score(truth.ravel(), found.ravel()))
    precision, recall, thresholds = metrics.precision_recall_curve(truth.ravel(), edges.ravel())
    kept = np.append(thresholds > 0, False) & (recall > 0)
    order = np.lexsort((-precision[kept], recall[kept]))
    r, first = np.unique(recall[kept][order], return_index=True)
    levels = np.interp(np.arange(1, 101) / 100, r, precision[kept][order][first], right=0.0)
    score = score_edges([counts])
    assert score.ap == pytest.approx(levels.mean())
    assert score.ap_low == pytest.approx(levels[:20].mean())
    f = 2 * precision * recall / np.maximum(precision + recall, 1e-12)
    assert score.ods == pytest.approx(f[kept].max())


def test_a_known_area_under_the_curve():
    """Strong edges all right and half of what is there, weak ones half right: precision falls from 1 to 2/3 between
    recalls 1/2 and 1 in a straight line."""
    truth = np.zeros((40, 40), bool)
    truth[:20] = True
    edges = np.zeros(truth.shape)
    edges[:10], edges[10:30] = 0.9, 0.3
    score = score_edges([count_edges(edges, truth[None])])
    assert (score.ods, score.ois) == (0.8, 0.8)
    recalls = np.arange(1, 101) / 100
    assert score.ap == pytest.approx(np.where(recalls <= 0.5, 1, 1 - (recalls - 0.5) * 2 / 3).mean())
    assert score.ap_low == 1.0
