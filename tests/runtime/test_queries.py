"""Boxes and masks as prompts, in both modes."""

from typing import Any

import numpy as np
import pytest

from gen2seg_kernels.prompt.query import metric_color_mask, reference_color_mask, region_color
from gen2seg_kernels.prompt.reference import joint_bilateral, similarity_u8
from gen2seg_runtime import Encoding
from gen2seg_runtime.errors import PromptError


def make(colors: np.ndarray, size: tuple[int, int] | None = None) -> Encoding:
    return Encoding(colors, size or colors.shape[:2], bundle_id="0" * 64, bundle_name="test")


def noisy(seed: int = 0) -> np.ndarray:
    """(47, 63, 3) uint8: two discs of one colour and a bar of another on a dark ground."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[0:47, 0:63]
    colors = np.full((47, 63, 3), 20, float)
    for cx in (15, 45):
        colors[(x - cx) ** 2 + (y - 14) ** 2 <= 100] = (200, 80, 40)
    colors[34:42, 8:56] = (30, 160, 220)
    return np.clip(colors + rng.normal(0, 4, colors.shape), 0, 255).astype(np.uint8)


def test_a_box_takes_the_object_in_it():
    encoding = make(noisy())
    y, x = np.mgrid[0:47, 0:63]
    disc = (x - 15) ** 2 + (y - 14) ** 2 <= 100
    np.testing.assert_array_equal(encoding.mask_box((5, 4, 26, 25), "metric"), disc)
    assert encoding.mask_box((5, 4, 26, 25), "metric", connected=False, clip=False).sum() == 2 * disc.sum()
    half = encoding.mask_box((5, 4, 16, 25), "metric")
    np.testing.assert_array_equal(half, disc & (x < 16))
    np.testing.assert_array_equal(encoding.mask_box((5, 4, 16, 25), "metric", clip=False), disc)


def test_a_mask_takes_what_looks_like_it():
    encoding = make(noisy())
    scribble = np.zeros(encoding.size, bool)
    scribble[37, 10:30] = True
    expected = np.zeros(encoding.size, bool)
    expected[34:42, 8:56] = True
    np.testing.assert_array_equal(encoding.mask_like(scribble, "metric"), expected)
    scribble[32:34, 12] = True  # slips over the edge: the second mean leaves these pixels out
    np.testing.assert_array_equal(encoding.mask_like(scribble, "metric"), expected)


def test_confidence_tells_how_clear_the_cut_is():
    encoding = make(noisy())
    mask, clear = encoding.mask_box((5, 4, 26, 25), "metric", return_confidence=True)
    np.testing.assert_array_equal(mask, encoding.mask_box((5, 4, 26, 25), "metric"))
    assert clear == 1.0  # noise of 4 is far within the cut, the other colours far beyond
    scribble = np.zeros(encoding.size, bool)
    scribble[37, 10:30] = True
    mask, same = encoding.mask_like(scribble, "metric", return_confidence=True)
    np.testing.assert_array_equal(mask, encoding.mask_like(scribble, "metric"))
    assert same == 1.0
    # A ramp of one level a column: of the query's column and cut-1 beside it, three quarters are certain.
    ramp = make(np.repeat(np.arange(100, dtype=np.uint8)[None, :, None], 3, 2).repeat(20, 0))
    point = np.zeros(ramp.size, bool)
    point[:, 50] = True
    distance = 16 * np.sqrt(3)
    mask, doubtful = ramp.mask_like(point, "metric", distance=distance, return_confidence=True)
    assert mask.sum() == 31 * 20
    assert doubtful == pytest.approx(23 / 39)  # 12 less one and 20 less one on either side, and the column itself
    boxed, inside = ramp.mask_box((40, 0, 61, 20), "metric", distance=distance, return_confidence=True)
    assert boxed.sum() == 21 * 20
    assert inside == 1.0  # what lies beyond the box does not count
    assert ramp.mask_box((40, 0, 61, 20), "metric", distance=distance, clip=False, return_confidence=True)[1] < 0.7


def test_mode_reference_has_no_confidence():
    encoding = make(noisy())
    with pytest.raises(PromptError, match='only mode "metric" has a confidence'):
        encoding.mask_box((5, 4, 26, 25), "reference", return_confidence=True)
    with pytest.raises(PromptError, match='only mode "metric" has a confidence'):
        encoding.mask_like(np.ones(encoding.size, bool), "reference", return_confidence=True)


@pytest.mark.parametrize("seed", range(3))
def test_mode_reference_is_the_plain_definition(seed: int):
    encoding = make(noisy(seed))
    region = np.zeros(encoding.size, bool)
    region[9:19, 10:20] = True
    query = region_color(encoding.colors, region, encoding.prompt.distance)
    plain = joint_bilateral(similarity_u8(encoding.colors, query), encoding.colors) > 3
    np.testing.assert_array_equal(encoding.mask_like(region, "reference"), plain)
    np.testing.assert_array_equal(encoding.mask_box((5, 4, 25, 24), "reference", clip=False), plain)
    np.testing.assert_array_equal(reference_color_mask(encoding.colors, query, 3), plain)
    assert plain.any()
    assert reference_color_mask(encoding.colors, query, -1).all()


def test_metric_against_a_plain_loop():
    colors = noisy(5)
    region = np.zeros(colors.shape[:2], bool)
    region[14, 15] = region[2, 2] = True  # the second pixel is not near the query and marks nothing
    query = colors[14, 15].astype(float)
    near = np.sqrt(((colors - query) ** 2).sum(axis=2)) < 40
    reached, todo = np.zeros_like(near), [(14, 15)]
    while todo:
        row, column = todo.pop()
        if 0 <= row < 47 and 0 <= column < 63 and near[row, column] and not reached[row, column]:
            reached[row, column] = True
            todo += [(row + dy, column + dx) for dy in (-1, 0, 1) for dx in (-1, 0, 1)]
    np.testing.assert_array_equal(metric_color_mask(colors, query, region, 40, True), reached)
    np.testing.assert_array_equal(metric_color_mask(colors, query, region, 40, False), near)


@pytest.mark.parametrize("size", [(94, 126), (23, 31), (500, 700), (47, 63)])
@pytest.mark.parametrize("mode", ["metric", "reference"])
def test_results_have_the_size_of_the_picture(size: tuple[int, int], mode: str):
    encoding = make(noisy(), size)
    height, width = size
    box = (5 / 63 * width, 4 / 47 * height, 26 / 63 * width, 25 / 47 * height)
    assert encoding.mask_box(box, mode).shape == size
    dot = np.zeros(size, bool)
    dot[height * 14 // 47, width * 15 // 63] = True  # may be smaller than a pixel of the colours
    mask = encoding.mask_like(dot, mode)
    assert mask.shape == size
    assert mask[dot].all()


def test_tiny_boxes_hold_one_pixel_at_least():
    encoding = make(noisy())
    for box in ((15.2, 14.1, 15.3, 14.2), (62.9, 46.9, 63, 47), (0, 0, 0.01, 0.01), (-9, -9, 0.4, 0.4)):
        assert encoding.mask_box(box, "metric").sum() == 1
        assert encoding.mask_box(box, "metric", clip=False).sum() > 100


@pytest.mark.parametrize(
    "box",
    [(1, 2, 3), (1, 2, 1, 5), (5, 5, 1, 1), (np.nan, 0, 1, 1), "abcd", None, (100, 0, 110, 5), (-5, -5, 0, 0), {}],
)
def test_broken_boxes_are_refused(box: Any):
    with pytest.raises(PromptError, match="box"):
        make(noisy()).mask_box(box)


def test_broken_masks_and_options_are_refused():
    encoding = make(noisy())
    for bad in (np.zeros((47, 63), bool), np.ones((47, 62), bool), np.ones((47, 63), np.uint8), None):
        with pytest.raises(PromptError, match="mask as a prompt"):
            encoding.mask_like(bad)
    for options in ({"distance": -1}, {"distance": "x"}, {"mode": "reference", "threshold": "x"}, {"colour": 3}):
        with pytest.raises(PromptError):
            encoding.mask_box((1, 1, 5, 5), **options)  # pyright: ignore[reportArgumentType]
