"""Mode "metric": the cut at a fixed colour distance, what is connected, and the confidence."""

import numpy as np
import pytest

from gen2seg_kernels import prompt_mask, prompt_mask_with_confidence, prompt_masks
from gen2seg_kernels.prompt import metric
from gen2seg_kernels.prompt.lazy import ColorField


def scene():
    """A green square and a second, of the same colour, on grey; noise of one colour unit."""
    image = np.full((60, 80, 3), 90, np.uint8)
    image[10:30, 10:30] = [40, 200, 60]
    image[10:30, 50:70] = [40, 200, 60]
    image[::2, ::3] += 1
    return image


def square(column):
    expected = np.zeros((60, 80), bool)
    expected[10:30, column : column + 20] = True
    return expected


def test_connected_keeps_the_clicked_one():
    mask = prompt_mask(scene(), [(15, 15)], mode="metric")
    assert mask.dtype == bool
    assert np.array_equal(mask, square(10))
    everywhere = prompt_mask(scene(), [(15, 15)], mode="metric", connected=False)
    assert np.array_equal(everywhere, square(10) | square(50))


def test_diagonal_steps_connect():
    image = np.zeros((12, 12, 3), np.uint8)
    np.einsum("iic->ic", image)[:] = 200
    assert np.array_equal(prompt_mask(image, [(5, 5)], mode="metric"), np.eye(12, dtype=bool))


def test_distance_is_euclidean_and_strict():
    image = np.zeros((1, 9, 3), np.uint8)
    image[0, 5:] = [30, 0, 40]  # 50 away
    near = prompt_mask(image, [(0, 0)], mode="metric", distance=50)
    assert near.tolist() == [[True] * 5 + [False] * 4]
    assert prompt_mask(image, [(0, 0)], mode="metric", distance=50.01).all()


def test_query_is_not_polluted_across_a_border():
    image = np.full((20, 20, 3), 250, np.uint8)
    image[:, 10] = [0, 0, 100]  # a wire one pixel wide
    mask = prompt_mask(image, [(10, 7)], mode="metric")
    assert np.array_equal(mask, np.broadcast_to(np.arange(20) == 10, (20, 20)))


def test_query_averages_noise(rng):
    # Region mean 100; the clicked pixel is an outlier. From its own colour the darker pixels are
    # farther than the cut, from the mean of it and its neighbours they are not.
    image = np.clip(rng.normal(100, 5, (30, 30, 1)) + np.zeros(3), 80, 120).astype(np.uint8)
    image[15, 15] = 112
    assert prompt_mask(image, [(15, 15)], mode="metric", distance=36).mean() > 0.985


@pytest.mark.parametrize("point", [(-0.5, -0.5), (79.5, 59.5), (0, 59), (79.4, 0.2)])
def test_the_clicked_pixel_belongs(rng, point):
    image = rng.integers(0, 256, (60, 80, 3), dtype=np.uint8)
    x, y = (min(int(np.floor(v + 0.5)), n - 1) for v, n in zip(point, (80, 60), strict=True))
    assert prompt_mask(image, [point], mode="metric", distance=1e-3)[y, x]
    assert prompt_mask(image, [point], mode="metric")[y, x]


@pytest.mark.parametrize("size", [(1, 1), (1, 7), (7, 1), (2, 2)])
def test_tiny_images(size):
    mask, confidence = prompt_mask_with_confidence(np.zeros((*size, 3), np.uint8), [(0, 0)])
    assert mask.shape == size
    assert mask.all()
    assert confidence == 1.0


def test_points_join_and_negatives_subtract():
    image = scene()
    both = prompt_mask(image, [(15, 15), (55, 15)], mode="metric")
    assert np.array_equal(both, square(10) | square(50))
    rest = prompt_mask(image, [(0, 0), (15, 15)], mode="metric", connected=False, distance=300, labels=[1, 0])
    assert not rest.any()
    one = prompt_mask(image, [(15, 15), (55, 15), (52, 12)], mode="metric", labels=[1, 1, 0])
    assert np.array_equal(one, square(10))


def test_many_prompts_equal_one_at_a_time():
    image = scene()
    prompts = [[(15, 15)], [(0, 0), (55, 15)]]
    masks = prompt_masks(image, prompts, mode="metric", labels=[None, [1, 0]], distance=30)
    for mask, points, labels in zip(masks, prompts, (None, [1, 0]), strict=True):
        assert np.array_equal(mask, prompt_mask(image, points, mode="metric", labels=labels, distance=30))


def test_clean_cut_has_confidence_one():
    mask, confidence = prompt_mask_with_confidence(scene(), [(15, 15)])
    assert np.array_equal(mask, square(10))
    assert confidence == 1.0


def test_confidence_counts_what_lies_near_the_cut():
    image = np.zeros((1, 20, 3), np.uint8)
    image[0, :, 0] = [0] * 8 + [35] * 4 + [45] * 2 + [200] * 6  # cut 40: 35 and 45 are within a quarter of it
    mask, confidence = prompt_mask_with_confidence(image, [(0, 0)])
    assert mask.sum() == 12
    assert confidence == pytest.approx(8 / 14)
    # The negative point's own uncertain pixels are taken off both ways.
    _, with_negative = prompt_mask_with_confidence(image, [(0, 0), (17, 0)], [1, 0])
    assert with_negative == pytest.approx(8 / 14)


def test_a_ramp_has_little_confidence():
    ramp = np.repeat(np.arange(0, 250, dtype=np.uint8)[None, :, None], 3, 2)
    ramp = np.repeat(ramp, 4, 0)
    _, confidence = prompt_mask_with_confidence(ramp, [(125, 2)])
    assert confidence == pytest.approx(0.75 / 1.25, abs=0.05)


def test_a_leak_just_above_the_cut_lowers_confidence():
    image = np.full((50, 50, 3), 45, np.uint8)
    image[20:25, 20:25] = 20  # 43.3 away from its surroundings
    mask, confidence = prompt_mask_with_confidence(image, [(22, 22)])
    assert mask.sum() == 25
    assert confidence == pytest.approx(25 / 2500)


def test_mask_with_confidence_is_the_mask(rng):
    image = rng.integers(80, 140, (40, 50, 3), dtype=np.uint8)
    points, labels = [(3, 4), (30, 20), (45, 38)], [1, 1, 0]
    for connected in (True, False):
        mask, confidence = prompt_mask_with_confidence(image, points, labels, distance=35, connected=connected)
        expected = prompt_mask(image, points, mode="metric", labels=labels, distance=35, connected=connected)
        assert np.array_equal(mask, expected)
        assert 0.0 <= confidence < 1.0


def test_empty_mask_has_no_confidence():
    mask, confidence = prompt_mask_with_confidence(scene(), [(15, 15), (16, 16)], [1, 0])
    assert not mask.any()
    assert confidence == 0.0


def test_query_is_the_mean_of_near_pixels_that_look_alike():
    image = np.full((9, 9, 3), 255, np.uint8)
    image[4, 4] = image[4, 5] = [10, 20, 30]
    image[4, 7] = [16, 20, 30]  # three away
    image[2, 2] = [10, 29, 30]  # sqrt(8) away
    image[4, 0] = [10, 20, 38]  # four away: too far
    image[5, 4] = [31, 20, 30]  # 21 of at most 20 colour units
    query = metric.query_color(ColorField(image), (4, 4), 40.0)
    assert query == pytest.approx([(10 + 10 + 16 + 10) / 4, (20 + 20 + 20 + 29) / 4, 30])
