"""Mode "reference": the fast path gives the definition's masks, and both what OpenCV with float32 gives."""

import os

import cv2
import numpy as np
import pytest

from gen2seg_kernels import prompt_mask, prompt_masks
from gen2seg_kernels.prompt import lazy
from gen2seg_kernels.prompt.reference import (
    gaussian_weights,
    prompt_mask_reference,
    query_color,
    similarity_u8,
    stretch,
)

NEAR_INTEGER = 1e-3
MOST_DIFFERENT = 2e-5


def images(rng, height, width):
    """Colour images of every kind (name, (H, W, 3) uint8)."""
    shape = (height, width, 3)
    coarse = rng.integers(0, 256, (3, 4, 3), dtype=np.uint8)
    blocks = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_NEAREST).reshape(shape)
    noisy = np.clip(blocks + rng.normal(0, 6, shape), 0, 255).astype(np.uint8)
    two = rng.integers(0, 2, (height, width, 1)).astype(bool)
    yield "noise", rng.integers(0, 256, shape, dtype=np.uint8)
    yield "noisy blocks", noisy
    yield "blocks", blocks
    yield "smooth", cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC).reshape(shape)
    yield "flat", np.full(shape, 77, np.uint8)
    yield "black", np.zeros(shape, np.uint8)
    yield "two colours", np.where(two, [0, 0, 0], [255, 255, 255]).astype(np.uint8)


def clicks(rng, height, width):
    """Corners, the middle of a border, and anywhere, between pixels too."""
    yield 0.0, 0.0
    yield width - 1.0, height - 1.0
    yield width // 2, 0.0
    yield rng.uniform(-0.5, width - 0.5), rng.uniform(-0.5, height - 0.5)


@pytest.mark.parametrize("height", range(1, 21))
def test_fast_equals_definition_on_every_small_size(rng, height):
    for width in range(1, 21):
        for name, image in images(rng, height, width):
            for point in list(clicks(rng, height, width))[int(rng.integers(4)) :: 4]:
                # At these sizes a wide Gaussian is needed to see more than the clicked pixel.
                sigma = float(rng.choice([0.01, 0.15]))
                expected = prompt_mask_reference(image, [point], sigma)
                assert np.array_equal(prompt_mask(image, [point], sigma), expected), (
                    name,
                    height,
                    width,
                    point,
                )


@pytest.mark.parametrize("size", [(97, 131), (150, 200), (3, 700), (700, 2)], ids=str)
@pytest.mark.parametrize("threshold", [0, 3, 40])
def test_fast_equals_definition_on_larger_sizes(rng, size, threshold):
    for name, image in images(rng, *size):
        for point in list(clicks(rng, *size))[int(rng.integers(4)) :: 4]:
            expected = prompt_mask_reference(image, [point], threshold=threshold)
            assert np.array_equal(prompt_mask(image, [point], threshold=threshold), expected), (name, point)


def test_fast_equals_definition_on_real_images(rng, real_images):
    filtered = 0
    for image in real_images:
        for point in list(clicks(rng, *image.shape[:2]))[2:]:
            mask = prompt_mask(image, [point])
            assert np.array_equal(mask, prompt_mask_reference(image, [point]))
            filtered += 0 < mask.mean() < 1
    assert filtered > 0  # some masks have a border, where the filter decides


@pytest.mark.parametrize("threshold", [-1, 2.5, 253, 254, 255, 300])
def test_unusual_thresholds(rng, threshold):
    for name, image in images(rng, 30, 40):
        expected = prompt_mask_reference(image, [(7, 9)], threshold=threshold)
        assert np.array_equal(prompt_mask(image, [(7, 9)], threshold=threshold), expected), name


@pytest.mark.parametrize("sigma", [1e-4, 0.003, 0.05, 1.0, 30.0])
def test_unusual_sigmas(rng, sigma):
    for name, image in images(rng, 30, 40):
        for point in [(7, 9), (7.5, 9.5)]:
            expected = prompt_mask_reference(image, [point], sigma)
            assert np.array_equal(prompt_mask(image, [point], sigma), expected), name


def test_the_window_holds_all_weight(rng):
    colors = np.zeros((301, 401, 3), np.uint8)
    for point in clicks(rng, 301, 401):
        weights = gaussian_weights(np.arange(401), np.arange(301), np.array(point), colors, 0.01)
        rows, columns = np.nonzero(weights)
        reach = np.hypot((columns - point[0]) / 400, (rows - point[1]) / 300) / 0.01
        assert 5.5 < reach.max() < 6.005


@pytest.mark.parametrize("sigma", [0.003, 0.01, 0.1])
def test_local_query_is_the_whole_images_to_the_last_bit(rng, sigma):
    for name, image in images(rng, 201, 301):
        field = lazy.ColorField(image)
        for point in map(np.array, clicks(rng, 201, 301)):
            weights = gaussian_weights(np.arange(301), np.arange(201), point, image, sigma)
            expected = query_color(image, weights)
            assert np.array_equal(lazy._local_query(field, point, sigma), expected), (name, point)


def test_distance_limit_is_the_last_number_above_the_cut(rng):
    for low, high in [(0.0, 1.0), (1e-9, 2e4), (3.7, 9e4), (150.0, 150.1), *np.sort(rng.uniform(0, 2e5, (40, 2)))]:
        for cut in (0, 3, 100, 253):
            limit = lazy._distance_limit(low, high, cut)
            if limit is None:
                assert stretch(np.array([low]), low, high)[0] <= cut
                continue
            around = np.array([limit, np.nextafter(limit, np.inf)])
            assert low <= limit < high
            assert (stretch(around, low, high) > cut).tolist() == [True, False]


@pytest.mark.parametrize("chunk", [1, 7, 1000])
def test_chunks_change_nothing(rng, monkeypatch, chunk):
    image = next(image for name, image in images(rng, 40, 50) if name == "noisy blocks")
    expected = prompt_mask(image, [(20, 20)])
    assert 0 < expected.mean() < 1
    monkeypatch.setattr(lazy, "_CHUNK", chunk)
    assert np.array_equal(prompt_mask(image, [(20, 20)]), expected)


def test_two_regions_by_eye():
    image = np.full((40, 60, 3), [20, 30, 200], np.uint8)
    image[:, 30:] = [220, 40, 10]
    image[::2, ::2] += 1  # without noise the cut relative to the closest colour collapses
    mask = prompt_mask(image, [(10, 20)])
    assert mask.dtype == bool
    # The filter mixes across the border for a few pixels.
    assert mask[:, :26].all()
    assert not mask[:, 34:].any()


def test_flat_image_gives_an_empty_mask():
    assert not prompt_mask(np.full((9, 9, 3), 200, np.uint8), [(4, 4)]).any()


def test_several_points_and_negatives_combine_masks(rng):
    image = next(image for name, image in images(rng, 60, 80) if name == "noisy blocks")
    a, b, c = ((10, 10), (50, 10), (50, 50))
    one = {point: prompt_mask(image, [point]) for point in (a, b, c)}
    assert np.array_equal(prompt_mask(image, [a, b]), one[a] | one[b])
    expected = (one[a] | one[b]) & ~one[c]
    assert expected.any()
    for points, labels in (([a, c, b], [1, 0, 1]), ([c, b, a], [False, True, True])):
        assert np.array_equal(prompt_mask(image, points, labels=labels), expected)
        assert np.array_equal(prompt_mask_reference(image, points, labels=labels), expected)
    assert not prompt_mask(image, [a], labels=[0]).any()


def test_many_prompts_equal_one_at_a_time(rng):
    image = next(image for name, image in images(rng, 60, 80) if name == "noisy blocks")
    prompts = [[(10, 10)], [(50, 10), (3, 3)], np.array([[70.0, 50.0]])]
    labels = [None, [1, 0], [1]]
    masks = prompt_masks(image, prompts, labels=labels)
    assert masks.shape == (3, 60, 80)
    for mask, points, sign in zip(masks, prompts, labels, strict=True):
        assert np.array_equal(mask, prompt_mask(image, points, labels=sign))
    assert prompt_masks(image, []).shape == (0, 60, 80)


def test_layout_of_the_array_does_not_matter(rng):
    image = rng.integers(0, 256, (20, 30, 3), dtype=np.uint8)
    image[5:15, 5:15] //= 8
    expected = prompt_mask(image, [(8, 8)])
    wide = np.zeros((40, 30, 6), np.uint8)
    wide[::2, :, ::2] = image
    assert np.array_equal(prompt_mask(wide[::2, :, ::2], [(8, 8)]), expected)
    assert np.array_equal(prompt_mask(np.asfortranarray(image), [(8, 8)]), expected)


def rival_mask(image, x, y):
    """The same prompting written anew: the Gaussian over the whole image, float32, OpenCV's filter."""
    height, width = image.shape[:2]
    across, down = np.meshgrid(np.linspace(0, 1, width), np.linspace(0, 1, height))
    bell = np.exp(-((across - x / (width - 1)) ** 2 + (down - y / (height - 1)) ** 2) / (2 * 0.01**2))
    bell = (2 * bell.astype(np.float32) - 1 + 1) / 2
    planes = np.ascontiguousarray(image.transpose(2, 0, 1), np.float32)
    query = [(bell * plane).sum(dtype=np.float64) / (bell.sum(dtype=np.float64) + 1e-6) for plane in planes]
    away = np.linalg.norm(planes - np.array(query, np.float32)[:, None, None], axis=0)
    alike = 1 / (away + np.float32(1e-6))
    alike = (alike - alike.min()) / (alike.max() - alike.min() + np.float32(1e-6))
    alike = (alike * 255).astype(np.uint8)
    joint = np.ascontiguousarray(image)
    return cv2.ximgproc.jointBilateralFilter(joint, alike, 9, 75, 75) > 3  # type: ignore[attr-defined]


@pytest.mark.skipif(
    not hasattr(cv2, "ximgproc") and "GEN2SEG_REQUIRE_CONTRIB" not in os.environ,
    reason="the rival needs opencv-contrib-python-headless",
)
def test_whole_path_against_opencv_and_float32(rng, real_images):
    pixels = different = 0
    for image in real_images:
        height, width = image.shape[:2]
        for _ in range(3):
            point = np.array([rng.integers(width), rng.integers(height)], float)
            unlike = prompt_mask(image, [point]) != rival_mask(image, *point)
            query = query_color(image, gaussian_weights(np.arange(width), np.arange(height), point, image, 0.01))
            alike = 1 / (np.linalg.norm(image - query, axis=2) + 1e-6)
            stretched = (alike - alike.min()) / (alike.max() - alike.min() + 1e-6) * 255
            assert np.mean(stretched.astype(np.uint8) != similarity_u8(image, query)) < MOST_DIFFERENT
            unsure = np.abs(stretched - np.rint(stretched)) < NEAR_INTEGER
            reach = cv2.dilate(unsure.astype(np.uint8), np.ones((9, 9), np.uint8)).astype(bool)
            assert not (unlike & ~reach).any()
            pixels, different = pixels + unlike.size, different + int(unlike.sum())
    assert different <= MOST_DIFFERENT * pixels
