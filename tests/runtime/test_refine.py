"""Masks of an encoding refined click by click."""

import cv2
import numpy as np
import pytest

from gen2seg_runtime import Encoding
from gen2seg_runtime.errors import PromptError


@pytest.fixture
def encoding() -> Encoding:
    rng = np.random.default_rng(5)
    colors = cv2.resize(rng.integers(0, 256, (4, 5, 3), dtype=np.uint8), (40, 30), interpolation=cv2.INTER_CUBIC)
    return Encoding(np.asarray(colors), (60, 90), bundle_id="0", bundle_name="test")


@pytest.mark.parametrize("mode", ["metric", "reference"])
def test_equals_all_points(encoding: Encoding, mode: str):
    points, labels = [(10.0, 10.0), (70.0, 50.0), (30.0, 40.0), (12.0, 9.0)], [1, 1, 0, 0]
    steps, last = [], None
    for point, label in zip(points, labels, strict=True):
        last = encoding.refine(point, label, last) if last else encoding.refine(point, label, mode=mode)
        steps.append(last)
    for n, step in enumerate(steps, 1):
        assert np.array_equal(step.mask, encoding.mask(points[:n], labels[:n], mode=mode))
        assert step.points == tuple(points[:n])
        assert step.labels == tuple(labels[:n])


def test_a_negative_click_may_come_first(encoding: Encoding):
    first = encoding.refine((10, 10), 0)
    assert first.mask.shape == (60, 90)
    assert not first.mask.any()
    both = encoding.refine((70, 50), 1, first)
    assert np.array_equal(both.mask, encoding.mask([(10, 10), (70, 50)], [0, 1]))


def test_options_stay(encoding: Encoding):
    first = encoding.refine((10, 10), mode="metric", distance=80.0, connected=False)
    second = encoding.refine((70, 50), after=first)
    expected = encoding.mask([(10, 10), (70, 50)], mode="metric", distance=80.0, connected=False)
    assert np.array_equal(second.mask, expected)


def test_what_does_not_fit_is_refused(encoding: Encoding):
    first = encoding.refine((10, 10))
    other = Encoding(encoding.colors, encoding.size, bundle_id="0", bundle_name="test")
    for wrong, message in (
        (lambda: encoding.refine((10, 10), 2), "label must be 1"),
        (lambda: encoding.refine((100, 10)), "outside the image"),
        (lambda: encoding.refine((10, 10), mode="metric", distance=-1.0), "distance must be positive"),
        (lambda: encoding.refine((10, 10), after=first, mode="metric"), "those of the first click"),
        (lambda: encoding.refine((10, 10), after=first, distance=3.0), "those of the first click"),
        (lambda: encoding.refine((10, 10), distance="far"), "distance"),
        (lambda: other.refine((10, 10), after=first), "another encoding"),
    ):
        with pytest.raises(PromptError, match=message):
            wrong()
