"""Automatic masks: figures equal to pycocotools' on the same masks, and answers known by hand."""

import contextlib
import io
from typing import Any

import numpy as np
import pytest

from gen2seg.evaluation.automatic import LIMITS, average_recall, count_masks
from gen2seg.evaluation.errors import EvaluationError
from gen2seg.evaluation.systems import Segments


def blocks(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    """A label map of rectangles over one another, numbered without gaps."""
    labels = np.zeros((height, width), np.int32)
    for label in range(1, 13):
        y, x = rng.integers(0, height - 6), rng.integers(0, width - 6)
        labels[y : y + rng.integers(4, 16), x : x + rng.integers(4, 16)] = label
    return np.unique(labels, return_inverse=True)[1].reshape(labels.shape).astype(np.int32)


def proposals(rng: np.random.Generator, labels: np.ndarray, count: int) -> list[tuple[np.ndarray, float]]:
    """Instances shifted a little, several times each; many scores are equal."""
    result = []
    for _ in range(count):
        mask = labels == rng.integers(1, labels.max() + 1)
        mask = np.roll(mask, tuple(rng.integers(-2, 3, 2)), (0, 1))
        result.append((mask, float(rng.integers(0, 8)) / 8))
    return result


def average_recall_of_pycocotools(images: list[tuple[np.ndarray, list[tuple[np.ndarray, float]]]]) -> np.ndarray:
    pytest.importorskip("pycocotools")
    from pycocotools import mask as codec
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    def encoded(mask: np.ndarray) -> Any:
        return codec.encode(np.asfortranarray(mask.astype(np.uint8)))

    truth: dict[str, Any] = {"info": {}, "categories": [{"id": 1}], "annotations": [], "images": []}
    found: list[dict[str, Any]] = []
    for image, (labels, masks) in enumerate(images, 1):
        truth["images"].append({"id": image, "height": labels.shape[0], "width": labels.shape[1]})
        for label in range(1, labels.max() + 1):
            mask = labels == label
            record = {"image_id": image, "category_id": 1, "iscrowd": 0, "id": len(truth["annotations"]) + 1}
            record |= {"area": int(mask.sum()), "bbox": [0, 0, 1, 1], "segmentation": encoded(mask)}
            truth["annotations"].append(record)
        for mask, score in masks:
            found.append({"image_id": image, "category_id": 1, "segmentation": encoded(mask), "score": score})
    with contextlib.redirect_stdout(io.StringIO()):
        coco: Any = COCO()
        coco.dataset = truth
        coco.createIndex()
        judge = COCOeval(coco, coco.loadRes(found), "segm")
        judge.params.useCats = 0
        judge.params.maxDets = list(LIMITS)
        judge.evaluate()
        judge.accumulate()
    recall = judge.eval["recall"]  # [threshold, category, area range, limit]
    return recall[:, 0, 0].mean(axis=0)


@pytest.mark.parametrize("seed", range(4))
def test_equals_pycocotools(seed: int):
    rng = np.random.default_rng(seed)
    images = []
    for height, width in ((41, 53), (60, 37), (33, 33)):
        labels = blocks(rng, height, width)
        images.append((labels, proposals(rng, labels, 130)))
    counts = [count_masks(masks, labels, range(1, labels.max() + 1)) for labels, masks in images]
    instances = sum(int(labels.max()) for labels, _ in images)
    ours = average_recall(np.sum([count.found for count in counts], axis=0), instances)
    np.testing.assert_allclose(ours, average_recall_of_pycocotools(images), atol=1e-12)
    assert 0 < ours[0] < ours[1]  # the case tells the limits apart


def test_perfect_masks_are_one_and_none_is_zero():
    labels = blocks(np.random.default_rng(9), 40, 40)
    instances = range(1, labels.max() + 1)
    perfect = count_masks(((labels == i, 1.0) for i in instances), labels, instances)
    assert perfect.best.tolist() == [1.0] * len(instances)
    assert average_recall(perfect.found, len(instances))[1] == 1.0
    nothing = count_masks([], labels, instances)
    assert nothing.masks == 0
    assert not nothing.found.any()
    assert not nothing.best.any()


def test_by_hand():
    labels = np.zeros((4, 20), np.int32)
    labels[:, :10], labels[:, 10:15] = 1, 2
    wide = np.zeros(labels.shape, bool)
    wide[:, :8] = True  # IoU 0.8 with instance 1: seven of the ten thresholds
    count = count_masks([(wide, 0.5), (wide, 0.4), (labels == 2, 0.3)], labels, [1, 2])
    assert count.best.tolist() == [0.8, 1.0]
    assert average_recall(count.found, 2)[0] == pytest.approx((7 + 10) / 20)


def test_segments_count_as_their_masks():
    rng = np.random.default_rng(4)
    labels = blocks(rng, 60, 47)
    segments = np.roll(labels, 2, axis=1)
    scores = (rng.integers(0, 4, segments.max()) / 4).tolist()
    pairs = [(segments == k + 1, score) for k, score in enumerate(scores)]
    instances = range(1, labels.max() + 1)
    one, other = count_masks(Segments(segments, scores), labels, instances), count_masks(pairs, labels, instances)
    assert np.array_equal(one.found, other.found)
    assert np.array_equal(one.best, other.best)
    assert one.masks == other.masks
    assert 0 < one.best.max() < 1
    for wrong in (Segments(segments, scores[:-1]), Segments(segments[1:], scores), Segments(segments > 0, [1.0])):
        with pytest.raises(EvaluationError, match="segments must be"):
            count_masks(wrong, labels, instances)


def test_names_of_instances_change_nothing():
    rng = np.random.default_rng(3)
    labels = blocks(rng, 50, 50)
    masks = proposals(rng, labels, 60)
    names = np.append(0, rng.permutation(int(labels.max())) + 1).astype(np.int32)
    one = count_masks(masks, labels, range(1, labels.max() + 1))
    other = count_masks(masks, names[labels], names[1:].tolist())
    np.testing.assert_array_equal(one.best, other.best)
    np.testing.assert_array_equal(one.found, other.found)


@pytest.mark.parametrize(
    ("mask", "score"), [(np.zeros((3, 4), bool), 1.0), (np.zeros((4, 4)), 1.0), (np.zeros((4, 4), bool), float("nan"))]
)
def test_wrong_answers_are_refused(mask: np.ndarray, score: float):
    with pytest.raises(EvaluationError, match=r"a mask must be bool|finite number"):
        count_masks([(mask, score)], np.ones((4, 4), np.int32), [1])
