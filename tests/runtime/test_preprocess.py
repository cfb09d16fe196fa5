"""Geometry and normalisation before the network, against numbers worked by hand."""

import dataclasses

import numpy as np
import pytest
from PIL import Image

from gen2seg_runtime.manifest import InputSpec, PadSpec, ResizeSpec
from gen2seg_runtime.preprocess import network_input, plan_geometry

SPEC = InputSpec(resize=ResizeSpec(size=640, enlarge_below=384), pad=PadSpec(multiple=32))


@pytest.mark.parametrize(
    ("image", "content", "padded"),
    [
        ((480, 640), (480, 640), (480, 640)),  # fits: kept
        ((333, 500), (333, 500), (352, 512)),  # kept, padded
        ((3000, 4000), (480, 640), (480, 640)),  # reduced
        ((1000, 999), (640, 639), (640, 640)),  # 639.36
        ((801, 1280), (401, 640), (416, 640)),  # 400.5 is rounded up
        ((100, 200), (192, 384), (192, 384)),  # enlarged
        ((384, 10), (384, 10), (384, 32)),  # exactly at the lower bound
        ((383, 383), (384, 384), (384, 384)),
        ((1, 1), (384, 384), (384, 384)),
        ((1, 5000), (1, 640), (32, 640)),  # 0.128 becomes 1
        ((5000, 1), (640, 1), (640, 32)),
        ((1, 641), (1, 640), (32, 640)),
    ],
)
def test_longest_side(image: tuple[int, int], content: tuple[int, int], padded: tuple[int, int]):
    geometry = plan_geometry(image, SPEC)
    assert geometry.image == image
    assert geometry.content == content
    assert geometry.padded == padded


def test_fixed():
    spec = dataclasses.replace(SPEC, resize=ResizeSpec(rule="fixed", size=64), buckets=((64, 96),), dynamic=False)
    geometry = plan_geometry((7, 5), spec)
    assert geometry.content == geometry.padded == (64, 96)


def test_values_and_padding_by_hand():
    spec = dataclasses.replace(SPEC, resize=ResizeSpec(size=640), pad=PadSpec(multiple=4))
    rgb = np.array([[[0, 51, 255], [255, 102, 0]]], np.uint8)
    x = network_input(rgb, spec, plan_geometry((1, 2), spec))
    assert x.shape == (1, 3, 4, 4)
    assert x.dtype == np.float32
    assert x.flags.c_contiguous
    # (v / 255 - 0.5) / 0.5, the last column repeated, then the row
    np.testing.assert_allclose(x[0, 0], [[-1, 1, 1, 1]] * 4, atol=1e-6)
    np.testing.assert_allclose(x[0, 1], [[-0.6, -0.2, -0.2, -0.2]] * 4, atol=1e-6)
    np.testing.assert_allclose(x[0, 2], [[1, -1, -1, -1]] * 4, atol=1e-6)


def test_channel_statistics_and_order():
    spec = dataclasses.replace(
        SPEC,
        resize=ResizeSpec(size=640),
        pad=PadSpec(multiple=1),
        color_order="BGR",
        scale=1.0,
        mean=(1.0, 2.0, 3.0),
        std=(1.0, 2.0, 4.0),
    )
    x = network_input(np.array([[[30, 20, 10]]], np.uint8), spec, plan_geometry((1, 1), spec))
    assert x.ravel().tolist() == [9.0, 9.0, 6.75]  # (10-1)/1, (20-2)/2, (30-3)/4


def test_all_levels_equal_the_float32_formula():
    spec = dataclasses.replace(SPEC, resize=ResizeSpec(size=640), mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))
    levels = np.repeat(np.arange(256, dtype=np.uint8)[None, :, None], 3, axis=2)
    x = network_input(levels, spec, plan_geometry((1, 256), spec))
    for channel, (mean, std) in enumerate(zip(spec.mean, spec.std, strict=True)):
        expected = (levels[0, :, 0].astype(np.float32) / np.float32(255) - np.float32(mean)) / np.float32(std)
        np.testing.assert_array_equal(x[0, channel, 0], expected)


def test_resize_is_antialiased():
    stripes = np.zeros((8, 1280, 3), np.uint8)
    stripes[:, ::2] = 200
    x = network_input(stripes, SPEC, plan_geometry((8, 1280), SPEC))
    expected = np.asarray(Image.fromarray(stripes).resize((640, 4), Image.Resampling.BILINEAR))
    np.testing.assert_allclose((x[0, :, :4].transpose(1, 2, 0) / 2 + 0.5) * 255, expected, atol=1e-3)
    # halving mixes neighbours: without antialiasing stripes of 0 and 200 would remain
    assert np.ptp(expected[:, 2:-2]) <= 60


BUCKETS = ((480, 640), (576, 768), (768, 768), (640, 480))


@pytest.mark.parametrize(
    ("image", "content", "padded"),
    [
        ((480, 640), (480, 640), (480, 640)),  # exactly; 576×768 has the same shape and is larger
        ((300, 400), (480, 640), (480, 640)),
        ((481, 641), (576, 768), (576, 768)),  # 480×640 would shrink it; 576.3
        ((1200, 1600), (576, 768), (576, 768)),  # both shrink it: the larger one loses less
        ((333, 500), (426, 640), (480, 640)),  # 426.24
        ((100, 100), (768, 768), (768, 768)),
        ((90, 100), (691, 768), (768, 768)),  # 691.2: 0.9 full, 480×640 would be 0.83
        ((100, 90), (768, 691), (768, 768)),
        ((1000, 700), (640, 448), (640, 480)),
        ((1, 5000), (1, 768), (576, 768)),  # 0.15 becomes 1
        ((5000, 1), (640, 1), (640, 480)),
        ((1, 1536), (1, 768), (576, 768)),  # 0.5 is rounded up
    ],
)
def test_fit(image: tuple[int, int], content: tuple[int, int], padded: tuple[int, int]):
    spec = dataclasses.replace(SPEC, resize=ResizeSpec(rule="fit"), buckets=BUCKETS, dynamic=False)
    geometry = plan_geometry(image, spec)
    assert (geometry.image, geometry.content, geometry.padded) == (image, content, padded)


def test_fixed_takes_the_nearest_of_several_shapes():
    spec = dataclasses.replace(SPEC, resize=ResizeSpec(rule="fixed"), buckets=BUCKETS, dynamic=False)
    assert plan_geometry((100, 99), spec).content == (768, 768)
    assert plan_geometry((400, 300), spec).padded == (640, 480)


def test_the_longer_side_always_comes_to_size():
    spec = dataclasses.replace(SPEC, resize=ResizeSpec(size=768, enlarge_below=768), pad=PadSpec(multiple=8))
    assert plan_geometry((100, 50), spec).content == (768, 384)
    assert plan_geometry((3000, 4001), spec).content == (576, 768)
    assert plan_geometry((768, 767), spec).content == (768, 767)


def test_fit_repeats_the_edge_into_the_rest_of_the_bucket():
    spec = dataclasses.replace(
        SPEC, resize=ResizeSpec(rule="fit"), pad=PadSpec(multiple=2), buckets=((4, 6),), dynamic=False
    )
    rgb = np.random.default_rng(0).integers(0, 256, (4, 2, 3), dtype=np.uint8)
    x = network_input(rgb, spec, plan_geometry((4, 2), spec))
    assert x.shape == (1, 3, 4, 6)
    np.testing.assert_array_equal(x[..., 2:], np.repeat(x[..., 1:2], 4, axis=3))


def test_float_interpolation_rounds_nothing():
    resize = ResizeSpec(size=64, interpolation="bilinear_antialias_float")
    spec = dataclasses.replace(SPEC, resize=resize, pad=PadSpec(multiple=1), scale=1.0, mean=(0, 0, 0), std=(1, 1, 1))
    rgb = np.random.default_rng(0).integers(0, 256, (37, 128, 3), dtype=np.uint8)
    geometry = plan_geometry((37, 128), spec)
    x = network_input(rgb, spec, geometry)
    rounded = dataclasses.replace(spec, resize=ResizeSpec(size=64))
    difference = np.abs(x - network_input(rgb, rounded, geometry))
    assert 0.4 < difference.max() <= 1.01  # PIL rounds after each of two passes
    # Halving along one axis by hand: weights 1, 3, 3, 1 of eight.
    row = rgb[:1, :8, 0].repeat(4, 0)
    wide = np.repeat(row[..., None], 3, axis=2)
    small = dataclasses.replace(spec, resize=dataclasses.replace(resize, rule="fixed"), buckets=((4, 4),))
    got = network_input(wide, small, plan_geometry((4, 8), small))[0, 0, 0]
    expected = row[0].astype(float) @ np.array([[3, 3, 1, 0, 0, 0, 0, 0], [0, 1, 3, 3, 1, 0, 0, 0]]).T
    np.testing.assert_allclose(got[:2], expected / [7, 8], rtol=1e-5)


def test_float_interpolation_keeps_a_picture_of_the_right_size():
    resize = ResizeSpec(size=64, interpolation="bilinear_antialias_float")
    plain = dataclasses.replace(SPEC, resize=ResizeSpec(size=64))
    rgb = np.random.default_rng(0).integers(0, 256, (48, 64, 3), dtype=np.uint8)
    geometry = plan_geometry((48, 64), plain)
    got = network_input(rgb, dataclasses.replace(plain, resize=resize), geometry)
    np.testing.assert_array_equal(got, network_input(rgb, plain, geometry))
