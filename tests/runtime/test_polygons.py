"""Masks to polygons and back: exact, simple rings, one polygon for each part."""

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis.extra import numpy as hnp

from gen2seg_runtime.errors import ImageError
from gen2seg_runtime.formats import mask_to_polygons, polygons_to_mask, rings_to_mask

MASKS = hnp.arrays(bool, hnp.array_shapes(min_dims=2, max_dims=2, max_side=12))


def area(ring: np.ndarray) -> float:
    x, y = ring.astype(float).T
    return float((x * np.roll(y, -1) - y * np.roll(x, -1)).sum() / 2)


@settings(max_examples=300, deadline=None)
@given(MASKS)
def test_a_mask_comes_back_exactly(mask: np.ndarray):
    polygons = mask_to_polygons(mask)
    np.testing.assert_array_equal(polygons_to_mask(polygons, (mask.shape[0], mask.shape[1])), mask)
    parts = cv2.connectedComponents(mask.astype(np.uint8), connectivity=4)[0] - 1
    assert len(polygons) == parts
    for polygon in polygons:
        assert area(polygon.outer) > 0
        assert all(area(hole) < 0 for hole in polygon.holes)
        alone = polygons_to_mask([polygon], (mask.shape[0], mask.shape[1]))
        assert sum(area(ring) for ring in polygon.rings) == alone.sum()
        for ring in polygon.rings:
            assert len({tuple(corner) for corner in ring.tolist()}) == len(ring)  # simple
            steps = np.roll(ring, -1, axis=0) - ring
            assert ((steps != 0).sum(axis=1) == 1).all()  # along the grid
            assert (np.sign(steps) != np.sign(np.roll(steps, 1, axis=0))).all(axis=1).all()  # a turn at every corner


def test_a_ring_by_hand():
    mask = np.array([[1, 1, 1], [1, 0, 1], [1, 1, 1]], bool)
    (polygon,) = mask_to_polygons(mask, offset=(10, 20))
    assert polygon.outer.tolist() == [[10, 20], [13, 20], [13, 23], [10, 23]]
    assert [hole.tolist() for hole in polygon.holes] == [[[11, 21], [11, 22], [12, 22], [12, 21]]]


def test_a_hole_that_touches_the_outside_by_a_corner():
    mask = np.array([[0, 1, 1], [1, 0, 1], [1, 1, 1]], bool)
    (polygon,) = mask_to_polygons(mask)  # the ends of the bow touch at (1, 1) only
    assert area(polygon.outer) == 8
    assert [area(hole) for hole in polygon.holes] == [-1]


def test_large_noise_and_degenerate_sizes():
    rng = np.random.default_rng(3)
    for shape in ((0, 5), (1, 1), (1, 400), (400, 1), (333, 257)):
        mask = rng.random(shape) > 0.45
        np.testing.assert_array_equal(polygons_to_mask(mask_to_polygons(mask), shape), mask)


def test_any_polygon_is_filled_at_pixel_centres():
    triangle = np.array([(0.5, 0.5), (20.5, 0.5), (0.5, 20.5)])
    y, x = np.mgrid[0:30, 0:25] + 0.5
    inside = (x >= 0.5) & (y >= 0.5) & (x + y < 21)
    np.testing.assert_array_equal(rings_to_mask([triangle], (30, 25)), inside)
    beyond = np.array([(-50, -50), (100, -50), (100, 10), (-50, 10)])
    filled = rings_to_mask([beyond], (30, 25))
    assert filled[:10].all()
    assert not filled[10:].any()


@pytest.mark.parametrize("ring", [[(0, 0), (1, 1)], [(0, 0), (1, np.nan), (1, 1)], [0, 1, 2]])
def test_broken_rings_are_refused(ring: list):
    with pytest.raises(ImageError, match="ring"):
        rings_to_mask([np.array(ring)], (3, 3))


def test_what_is_no_mask_is_refused():
    for bad in (np.zeros((2, 2), np.uint8), np.zeros((2, 2, 2), bool)):
        with pytest.raises(ImageError, match="a mask is bool"):
            mask_to_polygons(bad)
