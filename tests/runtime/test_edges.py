"""Edges: one pixel wide, in the right place, with comparable values, none along the frame."""

import numpy as np
import pytest

from gen2seg_runtime.edges import color_edges
from gen2seg_runtime.errors import ImageError


def step(height: int, width: int, left: tuple[int, int, int], right: tuple[int, int, int]) -> np.ndarray:
    colors = np.empty((height, width, 3), np.uint8)
    colors[:, : width // 2] = left
    colors[:, width // 2 :] = right
    return colors


def test_full_step_is_one_and_one_pixel_wide():
    for colors in (step(8, 10, (0, 0, 0), (255, 255, 255)), step(8, 10, (255, 255, 255), (0, 0, 0))):
        for picture, axis in ((colors, 1), (colors.transpose(1, 0, 2), 0)):
            edges = color_edges(np.ascontiguousarray(picture))
            assert edges.dtype == np.float32
            # one line, of value 1, on one side of the step, along the whole picture
            lines = np.flatnonzero(edges.any(axis=1 - axis))
            assert lines.tolist() in ([4], [5], [3])
            np.testing.assert_allclose(edges.take(lines[0], axis=axis), 1.0, rtol=1e-6)


def test_value_is_the_colour_distance():
    edges = color_edges(step(8, 10, (10, 20, 30), (40, 60, 30)))
    assert edges.max() == pytest.approx(50 / (255 * 3**0.5), rel=1e-6)


def test_flat_picture_and_frame_have_no_edges():
    assert not color_edges(np.full((6, 7, 3), 200, np.uint8)).any()
    colors = np.zeros((20, 20, 3), np.uint8)
    colors[8:12, 8:12] = 255
    edges = color_edges(colors)
    assert not edges[:5].any()
    assert not edges[:, -5:].any()


def test_edge_in_the_outermost_row_is_found():
    colors = np.zeros((6, 6, 3), np.uint8)
    colors[0] = 255
    edges = color_edges(colors)
    assert (edges[:2] > 0).sum() == 6


@pytest.mark.parametrize("angle", np.linspace(0, 3.1, 9))
def test_edges_of_any_direction_are_thin_and_complete(angle: float):
    y, x = np.mgrid[:61, :61] - 30.0
    depth = x * np.cos(angle) + y * np.sin(angle)
    # a blurred outline, as networks draw it
    colors = np.repeat((255 / (1 + np.exp(-depth)))[..., None], 3, axis=2).astype(np.uint8)
    edges = color_edges(colors) > 0.05
    assert np.abs(depth[edges]).max() < 1.5
    length = 61 / max(abs(np.cos(angle)), abs(np.sin(angle)))
    # As many pixels as the line has in its main direction, up to the frame: no gaps, nowhere two wide.
    assert 0.93 * 61 <= edges.sum() <= 1.1 * length


def test_edges_between_equal_brightness_are_found():
    assert color_edges(step(8, 10, (200, 0, 0), (0, 200, 0))).max() == pytest.approx(200 * 2**0.5 / (255 * 3**0.5))


def test_other_size_keeps_place_and_width():
    colors = step(40, 60, (0, 0, 0), (255, 255, 255))
    for height, width in ((80, 120), (123, 300), (20, 30)):
        edges = color_edges(colors, (height, width))
        assert edges.shape == (height, width)
        assert 0 <= edges.min() <= edges.max() <= 1
        rows, columns = np.nonzero(edges > 0.3)
        assert len(rows) == height
        assert np.abs((columns + 0.5) / width - 0.5).max() <= 1.6 / min(60, width)


def test_strips_do_not_show(monkeypatch: pytest.MonkeyPatch):
    colors = np.random.default_rng(0).integers(0, 256, (50, 40, 3), np.uint8)
    whole, enlarged = color_edges(colors), color_edges(colors, (90, 71))
    for rows in (1, 2, 7, 49, 50):
        monkeypatch.setattr("gen2seg_runtime.edges._STRIP_ROWS", rows)
        np.testing.assert_array_equal(color_edges(colors), whole)
        np.testing.assert_array_equal(color_edges(colors, (90, 71)), enlarged)


def test_single_pixels_and_long_pictures():
    assert color_edges(np.full((1, 1, 3), 9, np.uint8)).tolist() == [[0.0]]
    assert color_edges(step(1, 640, (0, 0, 0), (200, 0, 0)), (1, 40_000)).shape == (1, 40_000)


def test_wrong_colors_are_refused():
    for bad in (np.zeros((4, 4), np.uint8), np.zeros((4, 4, 3), np.float32), np.zeros((0, 4, 3), np.uint8)):
        with pytest.raises(ImageError, match="colors must be"):
            color_edges(bad)


@pytest.mark.parametrize("shape", [(1, 1), (1, 2), (2, 1), (2, 2), (1, 37), (37, 1), (2, 37), (37, 2), (5, 7)])
@pytest.mark.parametrize("level", [0, 1, 127, 255])
def test_constant_pictures_have_no_edges_at_all(shape: tuple[int, int], level: int):
    for size in (None, (shape[0] * 3, shape[1] * 2)):
        assert not color_edges(np.full((*shape, 3), level, np.uint8), size).any()


@pytest.mark.parametrize("rows", [1, 2, 3, 9])
def test_an_edge_keeps_its_strength_up_to_the_border(rows: int):
    colors = step(rows, 12, (20, 40, 60), (200, 90, 10))
    strength = np.sqrt(180**2 + 50**2 + 50**2) / (255 * 3**0.5)
    for picture in (colors, np.ascontiguousarray(colors.transpose(1, 0, 2))):
        edges = color_edges(picture)
        assert np.count_nonzero(edges) == rows
        np.testing.assert_allclose(edges[edges > 0], strength, rtol=1e-5)


def test_a_slanted_edge_keeps_its_strength_up_to_the_border():
    y, x = np.mgrid[:40, :40]
    colors = np.repeat(np.where(x + y < 40, 30, 220).astype(np.uint8)[..., None], 3, axis=2)
    edges = color_edges(colors)
    along = edges.max(axis=1)
    assert along[1:-1].min() >= 0.9 * along.max()
    assert along[[0, -1]].min() >= 0.7 * along.max()
