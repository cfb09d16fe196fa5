"""Intervals, sizes and several clicks in the figures of a set."""

import json

import numpy as np
import pytest
from PIL import Image

from gen2seg.evaluation.bootstrap import draw_images, interval_of_mean
from gen2seg.evaluation.edge_scores import EDGE_THRESHOLDS, EdgeCounts, interval_of_ods
from gen2seg.evaluation.report import summarize, to_document, to_markdown, write_report
from gen2seg.evaluation.run import EvaluationConfig, evaluate
from gen2seg.evaluation.systems import get_system


def test_draws_depend_on_seed_and_name_alone():
    draws = draw_images(7, 0, "set")
    assert (draws.sum(axis=1) == 7).all()
    assert np.array_equal(draws, draw_images(7, 0, "set"))
    assert not np.array_equal(draws, draw_images(7, 1, "set"))
    assert not np.array_equal(draws, draw_images(7, 0, "other"))


def test_the_interval_of_a_mean_is_about_that_of_theory():
    rng = np.random.default_rng(0)
    counts = np.full(400, 3)
    sums = rng.normal(1.5, 0.6, 400)
    found = interval_of_mean(draw_images(400, 0, "a"), sums, counts)
    assert found is not None
    half = 1.96 * 0.6 / 3 / 20
    assert found[0] == pytest.approx(sums.mean() / 3 - half, abs=0.3 * half)
    assert found[1] == pytest.approx(sums.mean() / 3 + half, abs=0.3 * half)


def test_images_that_are_alike_leave_no_doubt_and_one_image_says_nothing():
    draws = draw_images(5, 0, "a")
    assert interval_of_mean(draws, np.full(5, 1.0), np.full(5, 2)) == (0.5, 0.5)
    assert interval_of_mean(draws, np.array([1.0, 0, 0, 0, 0]), np.array([2, 0, 0, 0, 0])) is None
    counts = EdgeCounts(*(np.full(len(EDGE_THRESHOLDS), n) for n in (10, 5, 5, 10)))
    assert interval_of_ods(draws, [counts] * 5) == (0.5, 0.5)
    assert interval_of_ods(draws[:, :1], [counts]) is None


@pytest.fixture(scope="module")
def coco_like(tmp_path_factory):
    """Two pictures: a bright square of 20 px and one of 60 px in two colours."""
    root = tmp_path_factory.mktemp("coco-like")
    for part in ("images", "instances"):
        (root / "coco_mini" / part).mkdir(parents=True)
    for index in range(2):
        image, labels = np.zeros((90, 130, 3), np.uint8), np.zeros((90, 130), np.uint16)
        image[5:25, 5:25], labels[5:25, 5:25] = 200, 1
        image[10:70, 40:100], labels[10:70, 40:100] = (240, 60, 60), 2
        image[10:70, 85:100] = (60, 60, 240)
        Image.fromarray(image).save(root / f"coco_mini/images/{index}.png")
        Image.fromarray(labels).save(root / f"coco_mini/instances/{index}.png")
    return root


def test_clicks_and_sizes_by_hand(coco_like, tmp_path):
    report = summarize(evaluate(EvaluationConfig(coco_like, clicks=3), [get_system("floodfill")]))
    score = report.sets["coco_mini"].scores["floodfill"]
    assert score.miou == pytest.approx((1 + 0.75) / 2)
    assert score.clicks == pytest.approx([0.875, 1, 1])
    assert score.clicks_larger == pytest.approx([0.75, 1, 1])
    assert report.clicks_over_sets("floodfill") == pytest.approx([0.75, 1, 1])
    assert score.interval == pytest.approx((0.875, 0.875))
    assert {name: (size.instances, size.miou) for name, size in score.sizes.items()} == {
        "small": (2, 1.0),
        "medium": (2, 0.75),
        "large": (0, None),
    }
    text = to_markdown(report)
    assert "| clicks | floodfill |\n| --- | --- |\n| 1 | **0.750** [0.750, 0.750] |\n" in text
    assert "| coco_mini | medium | 2 | **0.750** |" in text
    written = write_report(report, tmp_path / "out")
    assert (tmp_path / "out/clicks.png") in written
    json.dumps(to_document(report), allow_nan=False)
