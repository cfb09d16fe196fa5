"""Prepared colours and masks refined click by click give what `prompt_mask` gives, in C and without."""

import pickle
from concurrent.futures import ThreadPoolExecutor

import cv2
import numpy as np
import pytest

from gen2seg_kernels import (
    native,
    prepare_colors,
    prompt_mask,
    prompt_mask_with_confidence,
    prompt_masks,
    prompt_refine,
    prompt_start,
)
from gen2seg_kernels.prompt import prepared as prepared_module
from gen2seg_kernels.prompt.reference import prompt_mask_reference

MODES = ("reference", "metric")


@pytest.fixture(params=["compiled", "plain"])
def kernels(request, monkeypatch):
    if request.param == "plain":
        monkeypatch.setattr("gen2seg_kernels.prompt.dispatch.load_native", lambda: None)
        monkeypatch.setattr(prepared_module, "load_native", lambda: None)
    elif native.load_native() is None:
        pytest.skip("the package was installed without its C extension")


def gradients(rng, height, width, noise=0.0):
    """Smooth colours with steps: tiles on one side of the cut, tiles across it, and edges within windows."""
    coarse = rng.integers(0, 256, (4, 5, 3), dtype=np.uint8)
    image = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC).astype(np.float64)
    image[:, width // 2 :] = 255 - image[:, width // 2 :]
    return np.clip(image + rng.normal(0, noise, image.shape), 0, 255).astype(np.uint8)


# Around the tiles' 16 x 8 pixels, the words' 64 and the bands' rows.
@pytest.mark.parametrize(
    "size", [(1, 1), (1, 90), (90, 1), (7, 15), (8, 16), (9, 17), (8, 63), (17, 64), (33, 65), (130, 128)], ids=str
)
@pytest.mark.parametrize("noise", [0.0, 3.0, 25.0])
def test_equals_the_definition(rng, kernels, size, noise):
    image = gradients(rng, size[0], size[1], noise)
    ready = prepare_colors(image)
    for sigma in (0.01, 0.1):
        for point in rng.uniform(-0.5, np.array(size[::-1]) - 0.5, (3, 2)):
            expected = prompt_mask_reference(image, [point], sigma)
            assert np.array_equal(prompt_mask(ready, [point], sigma), expected)
            assert np.array_equal(prompt_mask(image, [point], sigma), expected)


def test_bands_and_threads_change_nothing(rng, kernels):
    image = gradients(rng, 300, 400, 4.0)  # several bands, and large enough for threads
    points = rng.uniform(0, 299, (5, 2))
    for mode in MODES:
        expected = [prompt_mask(image, [point], mode=mode, threads=1) for point in points]
        for threads in (1, 2, 3, 8):
            ready = prepare_colors(image, threads=threads)
            together = prompt_masks(ready, list(points[:, None]), mode=mode, threads=threads)
            assert np.array_equal(together, expected)
            assert np.array_equal(prompt_mask(ready, points[:1], mode=mode, threads=threads), expected[0])


def test_many_callers_share_one(rng, kernels):
    image = gradients(rng, 120, 150, 2.0)
    ready, points = prepare_colors(image), rng.uniform(0, 119, (12, 2))
    expected = prompt_masks(image, list(points[:, None]))
    with ThreadPoolExecutor(6) as callers:
        got = list(callers.map(lambda point: prompt_mask(ready, [point]), points))
    assert np.array_equal(got, expected)


def test_saturated_colours(rng, kernels):
    # Exact hits, and tiles of one colour whose squared distance is the range's end.
    image = np.where(gradients(rng, 70, 140) > 128, 255, 0).astype(np.uint8)
    image[20:30, 30:60] = rng.integers(0, 256, (10, 30, 3))
    for point in rng.uniform(0, 69, (6, 2)):
        assert np.array_equal(prompt_mask(prepare_colors(image), [point]), prompt_mask_reference(image, [point]))


def test_it_is_a_snapshot(rng, kernels):
    image = gradients(rng, 40, 50)
    before = prompt_mask(image, [(9, 9)])
    ready = prepare_colors(image)
    image[:] = rng.integers(0, 256, image.shape)
    assert np.array_equal(prompt_mask(ready, [(9, 9)]), before)


def test_it_cannot_be_changed(kernels):
    ready = prepare_colors(np.zeros((3, 4, 3), np.uint8))
    assert ready.shape == (3, 4, 3)
    with pytest.raises(AttributeError, match="cannot be changed"):
        ready.shape = (1, 1, 3)
    with pytest.raises(AttributeError, match="cannot be changed"):
        del ready.field
    with pytest.raises(TypeError, match="cannot be pickled"):
        pickle.dumps(ready)


def test_arguments_are_checked(kernels):
    with pytest.raises(TypeError, match="uint8"):
        prepare_colors(np.zeros((3, 4, 3), np.float32))  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="at least one pixel"):
        prepare_colors(np.zeros((0, 4, 3), np.uint8))
    with pytest.raises(ValueError, match="outside the image"):
        prompt_mask(prepare_colors(np.zeros((3, 4, 3), np.uint8)), [(4, 0)])


def test_confidence(rng, kernels):
    image = gradients(rng, 50, 60, 3.0)
    mask, sure = prompt_mask_with_confidence(prepare_colors(image), [(9, 9), (40, 30)], [1, 0])
    expected, confidence = prompt_mask_with_confidence(image, [(9, 9), (40, 30)], [1, 0])
    assert np.array_equal(mask, expected)
    assert sure == confidence


@pytest.mark.parametrize("mode", MODES)
def test_refining_equals_all_points(rng, kernels, mode):
    image = gradients(rng, 60, 80, 3.0)
    points, labels = [(10, 10), (50, 10), (50, 50), (11, 11)], [0, 1, 1, 0]
    states = [prompt_start(image, mode=mode)]
    assert not states[0].mask.any()
    for point, label in zip(points, labels, strict=True):
        states.append(prompt_refine(states[-1], point, label))
    for n in range(1, 5):  # earlier states are as they were
        expected = prompt_mask(image, points[:n], mode=mode, labels=labels[:n])
        assert np.array_equal(states[n].mask, expected)
    states[2].mask[:] = False
    assert np.array_equal(states[2].mask, prompt_mask(image, points[:2], mode=mode, labels=labels[:2]))


def test_a_refinement_is_checked(kernels):
    state = prompt_start(prepare_colors(np.zeros((3, 4, 3), np.uint8)))
    with pytest.raises(ValueError, match="label must be 1"):
        prompt_refine(state, (1, 1), 2)
    with pytest.raises(ValueError, match="outside the image"):
        prompt_refine(state, (9, 1))
    with pytest.raises(TypeError, match="does not support item assignment"):
        state.options["sigma"] = 0.5  # type: ignore[index]


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"mode": "nearest"}, ValueError),
        ({"sigma": 0}, ValueError),
        ({"mode": "metric", "distance": "far"}, TypeError),
        ({"threads": 0}, ValueError),
        ({"labels": [0]}, TypeError),  # each click has its own
        ({"thresold": 5}, TypeError),
    ],
)
@pytest.mark.parametrize("ready", [False, True])
def test_options_are_checked_before_the_first_click(options, error, ready):
    colors = np.zeros((3, 4, 3), np.uint8)
    with pytest.raises(error):
        prompt_start(prepare_colors(colors) if ready else colors, **options)
