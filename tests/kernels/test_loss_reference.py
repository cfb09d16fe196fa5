"""The definition of the loss itself: cases worked by hand, and its gradient against finite differences."""

import numpy as np
import pytest

from gen2seg_kernels.loss.config import LossConfig
from gen2seg_kernels.loss.reference import image_terms, instance_coloring_reference


def test_two_instances_by_hand():
    # Instance 1: reds 0 and 4 around 2; instance 2: one pixel at red 12. No background.
    pred = np.zeros((1, 3, 1, 3))
    pred[0, 0, 0] = [0.0, 4.0, 12.0]
    terms, _ = image_terms(pred[0, :, 0].T, np.array([1, 1, 2]), False, LossConfig())
    intra = (2 * (2 - 0.5)) / 6  # Huber of 2 is 1.5 for two of the six values; the lone pixel has none
    inter_1 = 10 / np.sqrt(2) * 300 / (1 + 10**2)
    inter_2 = 10 * (300 / (1 + 12**2) + 300 / (1 + 8**2)) / 2
    mean_level = 300 / (1 + 10**2)
    assert terms * 2 == pytest.approx([intra, inter_1 + inter_2, mean_level])
    loss, _ = instance_coloring_reference(pred, np.array([[[1, 1, 2]]]))
    assert loss == pytest.approx((intra + inter_1 + inter_2 + mean_level) / 2)


def test_background_counts_once_and_its_mean_is_black():
    pred = np.zeros((1, 3, 1, 2))
    pred[0, 1, 0] = [3.0, 7.0]  # background green 3, instance green 7
    labels = np.array([[[0, 5]]])
    intra = (3 - 0.5) / 3
    inter = 10 * 300 / (1 + 4**2)
    mean_level = 300 / (1 + 7**2)
    assert instance_coloring_reference(pred, labels)[0] == pytest.approx((intra + inter + mean_level) / 2)
    # Ignored: neither intra nor mean, but still outside the instance.
    assert instance_coloring_reference(pred, labels, [True])[0] == pytest.approx(inter)


@pytest.mark.parametrize("ignored", [False, True])
def test_gradient_is_the_slope(rng, ignored):
    # Colours within a few units of each other, so that every term has a slope worth measuring.
    pred = 20 + 3 * rng.standard_normal((2, 3, 4, 5))
    labels = rng.integers(0, 4, (2, 4, 5))
    valid = rng.random((2, 4, 5)) < 0.8
    config = LossConfig(inter_weight=7, huber_delta=1.7, intra_weight=2, mean_weight=3)

    def loss(x):
        return instance_coloring_reference(x, labels, [ignored, False], valid, config)[0]

    _, grad = instance_coloring_reference(pred, labels, [ignored, False], valid, config)
    step = 1e-5
    for index in np.ndindex(*pred.shape):
        shift = np.zeros_like(pred)
        shift[index] = step
        slope = (loss(pred + shift) - loss(pred - shift)) / (2 * step)
        assert grad[index] == pytest.approx(slope, rel=1e-5, abs=1e-8)


def test_negative_label_is_refused():
    with pytest.raises(ValueError, match=r"labels must be >= 0 where valid, got -1"):
        instance_coloring_reference(np.zeros((1, 3, 1, 1)), np.array([[[-1]]]))


@pytest.mark.parametrize(
    ("name", "value"), [("huber_delta", 0.0), ("inter_weight", -1.0), ("separation", float("nan"))]
)
def test_weights_out_of_range_are_refused(name, value):
    with pytest.raises(ValueError, match=name):
        LossConfig(**{name: value})
