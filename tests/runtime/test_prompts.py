"""What makes a prompt, and what does not."""

from typing import Any

import numpy as np
import pytest

from gen2seg_runtime.errors import Gen2SegError, PromptError
from gen2seg_runtime.prompts import check_mode, check_prompt

SIZE = (60, 80)


def test_good_prompts():
    for points in ([(1, 2)], [[1.0, 2.0]], np.array([[1, 2]]), ((1, 2),)):
        prompt = check_prompt(points, None, SIZE)
        assert prompt.points.tolist() == [[1.0, 2.0]]
        assert prompt.positive.tolist() == [True]
    for labels in ([1, 0], (True, False), np.array([1, 0]), [1.0, 0.0]):
        assert check_prompt([(1, 2), (3, 4)], labels, SIZE).positive.tolist() == [True, False]
    for corner in ((-0.5, -0.5), (79.5, 59.5)):
        check_prompt([corner], None, SIZE)


@pytest.mark.parametrize(
    "points",
    [
        [],
        np.zeros((0, 2)),
        (1, 2),
        [(1, 2, 3)],
        [(1, 2), (3,)],
        [("1", "2")],
        [(None, 1)],
        [(True, False)],
        "1,2",
        None,
        [(float("nan"), 1)],
        [(1, float("inf"))],
        [(80, 1)],
        [(1, 60)],
        [(-1, 1)],
        [(1, 2), (1, -0.6)],
        [(1 + 2j, 1)],
    ],
    ids=range(17),
)
def test_bad_points(points: Any):
    with pytest.raises(PromptError, match="point"):
        check_prompt(points, None, SIZE)


@pytest.mark.parametrize(
    "labels",
    [[1], [1, 0, 1], [], [1, 2], [1, -1], ["1", "0"], [0, 0], [[1, 0]], [[1], [1, 0]], 1, [1, None]],
    ids=range(11),
)
def test_bad_labels(labels: Any):
    with pytest.raises(PromptError, match="label"):
        check_prompt([(1, 2), (3, 4)], labels, SIZE)


def test_errors_are_value_errors_with_the_place():
    with pytest.raises(ValueError, match=r"point \(80, 1\) is outside the image of 80×60 pixels") as caught:
        check_prompt([(80, 1)], None, SIZE)
    assert isinstance(caught.value, Gen2SegError)


def test_modes():
    assert check_mode("metric") == "metric"
    with pytest.raises(PromptError, match="unknown prompt mode 'magic'; known: metric, reference"):
        check_mode("magic")
