"""Distorted pictures by hand, and the table that compares them."""

import numpy as np
import pytest

from gen2seg.evaluation.distortions import DISTORTIONS, distort, open_systems, with_distortions
from gen2seg.evaluation.errors import EvaluationError
from gen2seg.evaluation.report import summarize, to_document, to_markdown
from gen2seg.evaluation.run import EvaluationConfig, evaluate
from gen2seg.evaluation.systems import get_systems


def test_distortions_by_hand():
    image = np.array([[[200, 100, 100], [127, 128, 0]]], np.uint8)
    assert distort(image, "solarise").tolist() == [[[55, 100, 100], [127, 127, 0]]]
    pair = np.array([[[100] * 3, [150] * 3]], np.uint8)  # mean grey 125
    assert distort(pair, "contrast-2.0")[0, :, 0].tolist() == [75, 175]
    assert distort(pair, "contrast-0.5")[0, :, 0].tolist() == [112, 137]
    assert len(np.unique(distort(image, "grey")[0, 0])) == 1
    red = np.array([[[255, 0, 0]]], np.uint8)
    assert np.argmax(distort(red, "hue+0.3")) == 1  # 107 degrees: nearly green
    assert np.argmax(distort(red, "hue-0.3")) == 2
    for name in DISTORTIONS:
        assert distort(image, name).flags.writeable  # OpenCV refuses others
        assert distort(image, name).shape == image.shape
        assert distort(image, name).dtype == np.uint8


def test_a_distorted_system_shares_the_opened_one_and_stays_out_of_the_main_table(data_folder):
    specs = with_distortions(get_systems(["rgb", "sobel"]), ["grey", "solarise"])
    assert [s.name for s in specs[2:]] == ["rgb+solarise", "sobel+solarise", "rgb+grey", "sobel+grey"]
    assert len(open_systems(specs)) == 6
    report = summarize(evaluate(EvaluationConfig(data_folder, limit=1), specs))
    assert report.columns == ["rgb", "rgb-best"]
    table = to_document(report)["robustness"]
    assert list(table) == ["none", "solarise", "grey"]
    assert table["none"] == {name: report.mean_over_sets(name) for name in ("rgb", "rgb-best")}
    assert table["grey"]["rgb"] == report.mean_over_sets("rgb+grey")
    assert "| pictures | rgb | rgb-best |" in to_markdown(report)
    assert list(report.sets["outlines"].edges) == ["sobel"]


def test_an_unknown_distortion_is_refused():
    with pytest.raises(EvaluationError, match="'blur'; known: all, solarise"):
        with_distortions([], ["blur"])
    assert len(with_distortions(get_systems(["rgb"]), ["all"])) == 1 + len(DISTORTIONS)
