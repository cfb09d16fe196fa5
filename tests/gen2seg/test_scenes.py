"""Procedural scenes: seeded, labelled exactly, varied."""

import numpy as np
import pytest

from gen2seg.data.scenes import render_scene
from gen2seg.data.scenes.canvas import MIN_VISIBLE, Canvas, Finish
from gen2seg.data.scenes.layouts import LAYOUTS
from gen2seg.data.scenes.shapes import SOLID_KINDS, polygon_silhouette, silhouette
from gen2seg.data.scenes.textures import random_palette, texture_bank


def test_same_seed_same_scene() -> None:
    rgb, labels = render_scene(5, 128)
    again_rgb, again_labels = render_scene(5, 128)
    assert rgb.shape == (128, 128, 3)
    assert rgb.dtype == np.uint8
    assert labels.dtype == np.int32
    np.testing.assert_array_equal(rgb, again_rgb)
    np.testing.assert_array_equal(labels, again_labels)
    assert not np.array_equal(rgb, render_scene(6, 128)[0])


def test_labels_are_dense_enough_and_scenes_vary() -> None:
    counts = []
    for seed in range(60):
        rgb, labels = render_scene(seed, 96)
        counts.append(int(labels.max()))
        assert labels.min() >= 0
        assert labels.max() >= 1
        assert rgb.std() > 0
    assert len(set(counts)) > 10
    assert max(counts) > 25


@pytest.mark.parametrize(("seed", "size"), [(-1, 128), (0, 63)])
def test_bad_arguments_are_named(seed: int, size: int) -> None:
    with pytest.raises(ValueError, match=f"got seed {seed} and size {size}"):
        render_scene(seed, size)


@pytest.mark.parametrize("layout", [function for function, _ in LAYOUTS], ids=lambda f: f.__name__)
def test_every_family_paints_instances(layout) -> None:
    painted = 0
    for seed in range(3):
        canvas = Canvas(128, np.random.default_rng(seed), texture_bank(0))
        layout(canvas)
        labels = canvas.finished_labels()
        assert canvas.image.shape == (128, 128, 3)
        if labels.any():
            painted += 1
            areas = np.bincount(labels.ravel())[1:]
            assert areas.min() >= MIN_VISIBLE  # finished labels are dense: every id has its pixels
    assert painted


def test_label_is_exactly_the_painted_shape() -> None:
    canvas = Canvas(64, np.random.default_rng(0), texture_bank(0))
    canvas.cover(random_palette(canvas.rng, np.zeros(3), 0))
    square = np.array([[-1.0, -1], [1, -1], [1, 1], [-1, 1]])
    shape = polygon_silhouette(square, 32, 32, 10)
    white = np.full((256, 1, 3), 255, np.uint8)
    plain = Finish(palette=white, parts=0, outline=0, shadow=0, shading=0, glass=0)
    canvas.bank.surface = lambda rng, h, w, palette: np.full((h, w, 3), 255, np.uint8)  # type: ignore[method-assign]
    try:
        assert canvas.add(shape, plain)
    finally:
        del canvas.bank.surface
    np.testing.assert_array_equal(canvas.labels > 0, canvas.image[..., 0] > 127)
    assert np.count_nonzero(canvas.labels) == pytest.approx(21 * 21, abs=45)


def test_later_objects_hide_earlier_ones_and_remains_vanish() -> None:
    canvas = Canvas(64, np.random.default_rng(0), texture_bank(0))
    square = np.array([[-1.0, -1], [1, -1], [1, 1], [-1, 1]])
    canvas.add(polygon_silhouette(square, 32, 32, 8), Finish())
    canvas.add(polygon_silhouette(square, 32, 32, 12), Finish())
    labels = canvas.finished_labels()
    assert np.unique(labels).tolist() == [0, 1]


def test_shapes_outside_the_canvas_are_refused() -> None:
    canvas = Canvas(64, np.random.default_rng(0), texture_bank(0))
    square = np.array([[-1.0, -1], [1, -1], [1, 1], [-1, 1]])
    assert not canvas.add(polygon_silhouette(square, -50, 20, 10), Finish())
    assert canvas.count == 0


@pytest.mark.parametrize("kind", [kind for kind, _ in SOLID_KINDS])
def test_every_kind_has_a_silhouette(kind: str) -> None:
    rng = np.random.default_rng(3)
    shape = silhouette(rng, kind, 50, 40, 20, texture_bank(0))
    assert shape.alpha.dtype == np.uint8
    solid = shape.alpha > 127
    assert np.count_nonzero(solid) > 30
    ys, xs = np.nonzero(solid)
    assert np.hypot(xs.mean() + shape.x - 50, ys.mean() + shape.y - 40) < 20
