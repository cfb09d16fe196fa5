"""The joint bilateral filter: against a plain loop, and pixel for pixel against OpenCV's contrib module."""

import math
import os

import cv2
import numpy as np
import pytest

from gen2seg_kernels.prompt.reference import divide_and_round, joint_bilateral, reflect_101

# `make test` installs the contrib build and asks for it by this variable: there its absence is a failure.
needs_contrib = pytest.mark.skipif(
    not hasattr(cv2, "ximgproc") and "GEN2SEG_REQUIRE_CONTRIB" not in os.environ,
    reason="the rival of the filter is in opencv-contrib-python-headless",
)


def guides(rng, height, width):
    """Colour images (name, (H, W, 3) uint8) of every kind that prompting meets."""
    shape = (height, width, 3)
    coarse = rng.integers(0, 256, (3, 4, 3), dtype=np.uint8)
    two = rng.integers(0, 2, (height, width, 1)).astype(bool)
    yield "noise", rng.integers(0, 256, shape, dtype=np.uint8)
    yield "faint noise", rng.integers(100, 110, shape, dtype=np.uint8)
    yield "smooth", cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC).reshape(shape)
    yield "flat", np.full(shape, 77, np.uint8)
    yield "two colours", np.where(two, [10, 200, 30], [250, 5, 90]).astype(np.uint8)


def values(rng, guide):
    """Similarities (H, W) uint8: around the usual threshold, anything, and made from the guide."""
    yield rng.integers(0, 9, guide.shape[:2], dtype=np.uint8)
    yield rng.integers(3, 5, guide.shape[:2], dtype=np.uint8)
    yield rng.integers(0, 256, guide.shape[:2], dtype=np.uint8)
    yield guide[..., 0] // 32


def opencv(similarity, guide):
    joint, source = np.ascontiguousarray(guide), np.ascontiguousarray(similarity)
    return cv2.ximgproc.jointBilateralFilter(joint, source, 9, 75, 75)  # type: ignore[attr-defined]


@pytest.mark.parametrize("size", [(1, 1), (1, 6), (2, 3), (6, 5), (11, 9)], ids=str)
def test_matches_a_plain_loop(rng, size):
    height, width = size
    for _, guide in guides(rng, height, width):
        similarity = rng.integers(0, 256, size, dtype=np.uint8)
        result = joint_bilateral(similarity, guide)
        for y, x in np.ndindex(*size):
            total = weights = 0.0
            for dy in range(-4, 5):
                for dx in range(-4, 5):
                    if dy * dy + dx * dx > 16:
                        continue
                    row, column = mirrored(y + dy, height), mirrored(x + dx, width)
                    l1 = np.abs(guide[y, x].astype(int) - guide[row, column]).sum()
                    weight = math.exp(-(dy * dy + dx * dx + l1 * l1) / (2 * 75**2))
                    total += weight * similarity[row, column]
                    weights += weight
            # Rounding to nearest, up to what float32 sums may shift.
            assert abs(result[y, x] - total / weights) <= 0.5 + 1e-3


def mirrored(index, length):
    """The definition of reflect-101, one fold at a time."""
    if length == 1:
        return 0
    while not 0 <= index < length:
        index = -index if index < 0 else 2 * (length - 1) - index
    return index


@pytest.mark.parametrize("length", range(1, 12))
def test_reflect_101(length):
    indices = np.arange(-25, 25)
    assert reflect_101(indices, length).tolist() == [mirrored(i, length) for i in indices]


def test_rounds_as_opencv_near_a_half():
    # Sums met on a photograph, where OpenCV gave 3: the float32 inverse lands below 3.5, while the
    # quotient in float32 is 3.5 and would round to 4.
    total, weight_sum = np.array([100.30948], np.float32), np.array([28.659851], np.float32)
    assert total / weight_sum == 3.5
    assert divide_and_round(total, weight_sum).tolist() == [3]


@needs_contrib
@pytest.mark.parametrize("height", range(1, 21))
def test_equals_opencv_on_every_small_size(rng, height):
    for width in range(1, 21):
        for name, guide in guides(rng, height, width):
            for similarity in values(rng, guide):
                expected = opencv(similarity, guide)
                assert np.array_equal(joint_bilateral(similarity, guide), expected), (name, height, width)


@needs_contrib
@pytest.mark.parametrize("size", [(240, 320), (3, 500), (500, 2), (97, 131)], ids=str)
def test_equals_opencv_on_larger_sizes(rng, size):
    for name, guide in guides(rng, *size):
        for similarity in values(rng, guide):
            assert np.array_equal(joint_bilateral(similarity, guide), opencv(similarity, guide)), name


@needs_contrib
def test_equals_opencv_on_real_images(rng, real_images):
    for image in real_images:
        for similarity in values(rng, image):
            assert np.array_equal(joint_bilateral(similarity, image), opencv(similarity, image))
