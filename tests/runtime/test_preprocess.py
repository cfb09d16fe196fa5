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
