"""Pixel centres, smooth outlines, labels without new labels."""

import numpy as np
import pytest
from PIL import Image

from gen2seg_runtime.resample import map_points, resize_colors, resize_labels, resize_mask


def disc(size: int, radius: float) -> np.ndarray:
    """Bool (size, size): a disc of `radius` (as a share of the side) in the middle, by pixel centres."""
    place = (np.arange(size) + 0.5) / size - 0.5
    return place[:, None] ** 2 + place[None, :] ** 2 <= radius**2


def iou(a: np.ndarray, b: np.ndarray) -> float:
    return float((a & b).sum() / (a | b).sum())


def test_points_map_by_pixel_centres():
    # the centre stays the centre, and the outer corners map to the outer corners
    points = np.array([[49.5, 99.5], [0, 0], [99, 199], [-0.5, -0.5], [99.5, 199.5]])
    mapped = map_points(points, (200, 100), (20, 10))
    # pixel 0 of 10 covers pixels 0..9 of 100: the centre of pixel 0 lies at 0.05 - 0.5
    np.testing.assert_allclose(mapped, [[4.5, 9.5], [0, 0], [9, 19], [0, 0], [9, 19]])
    np.testing.assert_allclose(map_points(np.array([[4.5, 4.5]]), (100, 100), (10, 10)), [[0, 0]])
    np.testing.assert_allclose(map_points(np.array([[1, 0]]), (1, 2), (1, 4)), [[2.5, 0]])


def test_points_map_there_and_back():
    points = np.array([[10.0, 20.0], [33.3, 7.7]])
    there = map_points(points, (48, 64), (480, 640))
    np.testing.assert_allclose(map_points(there, (480, 640), (48, 64)), points)


def test_colors_take_pil_lanczos():
    colors = np.random.default_rng(0).integers(0, 256, (20, 30, 3), np.uint8)
    expected = np.asarray(Image.fromarray(colors).resize((45, 31), Image.Resampling.LANCZOS))
    np.testing.assert_array_equal(resize_colors(colors, (31, 45)), expected)
    assert resize_colors(colors, (20, 30)) is colors


@pytest.mark.parametrize("size", [160, 317, 1000])
def test_enlarged_disc_is_a_disc(size: int):
    small, large = disc(80, 0.3), disc(size, 0.3)
    smooth = resize_mask(small, (size, size))
    nearest = np.asarray(Image.fromarray(small).resize((size, size), Image.Resampling.NEAREST))
    assert iou(smooth, large) > 0.985
    assert iou(smooth, large) > iou(nearest, large)


def test_reduced_disc_is_a_disc():
    assert iou(resize_mask(disc(300, 0.3), (50, 50)), disc(50, 0.3)) > 0.97


def test_thin_things_survive_enlargement():
    mask = np.zeros((9, 9), bool)
    mask[4, 1:8] = True
    mask[1, 1] = True
    large = resize_mask(mask, (36, 36))
    assert large[18, 6:30].all()
    assert large[4:8, 4:8].any()


def test_same_size_and_single_pixels():
    mask = disc(5, 0.4)
    assert resize_mask(mask, (5, 5)) is mask
    assert resize_mask(np.ones((1, 1), bool), (7, 3)).all()
    assert resize_mask(np.ones((1, 640), bool), (1, 5000)).shape == (1, 5000)
    assert resize_labels(np.full((1, 1), 7, np.int32), (3, 2)).tolist() == [[7, 7]] * 3


@pytest.mark.parametrize("size", [(160, 160), (200, 321), (80, 81), (1500, 1000)])
def test_two_labels_part_like_a_mask(size: tuple[int, int]):
    small = disc(80, 0.3)
    labels = resize_labels(np.where(small, 5, 0).astype(np.int32), size)
    assert set(np.unique(labels)) == {0, 5}
    assert iou(labels == 5, resize_mask(small, size)) > 0.98


def test_many_labels_make_no_new_ones():
    labels = np.random.default_rng(0).integers(0, 9, (13, 17)).astype(np.int32) * 100
    for size in ((40, 50), (7, 50), (7, 9), (13, 18)):
        result = resize_labels(labels, size)
        assert result.shape == size
        assert result.dtype == np.int32
        assert set(np.unique(result)) <= set(np.unique(labels))


def test_strips_do_not_show(monkeypatch: pytest.MonkeyPatch):
    labels = np.random.default_rng(0).integers(0, 3, (30, 40)).astype(np.int32)
    whole = resize_labels(labels, (101, 133))
    monkeypatch.setattr("gen2seg_runtime.resample._STRIP_PIXELS", 1000)
    np.testing.assert_array_equal(resize_labels(labels, (101, 133)), whole)


def test_reduced_labels_take_the_centre():
    labels = np.arange(16, dtype=np.int32).reshape(4, 4)
    assert resize_labels(labels, (2, 2)).tolist() == [[5, 7], [13, 15]]
