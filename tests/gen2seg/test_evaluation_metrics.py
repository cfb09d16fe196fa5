"""Scores against answers worked out by hand."""

import numpy as np
import pytest

from gen2seg.evaluation.clicks import find_clicks
from gen2seg.evaluation.errors import EvaluationError
from gen2seg.evaluation.metrics import mask_iou


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
