"""Instances of colour images whose truth is known."""

import math
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFilter

from gen2seg_runtime.errors import ImageError
from gen2seg_runtime.instances import Instances, find_instances

DATA = Path(os.environ.get("GEN2SEG_DATA", Path(__file__).parents[2] / "../shared/data"))


def painted(labels: np.ndarray, seed: int, noise: float = 0, blur: float = 0, ground: bool = True) -> np.ndarray:
    """Paint a label map as a good network would: one colour each, neighbours apart, then blur and noise."""
    rng = np.random.default_rng(seed)
    colors = np.zeros((int(labels.max()) + 1, 3))
    for i in range(0 if not ground else 1, len(colors)):
        candidates = rng.uniform(0, 255, (60, 3))
        candidates = candidates[np.linalg.norm(candidates, axis=1) > 110]
        others = colors[max(0, i - 40) : i] if i else np.zeros((1, 3))
        gap = np.linalg.norm(candidates[:, None] - others[None], axis=2).min(axis=1, initial=1e9)
        colors[i] = candidates[gap.argmax()]
    image = Image.fromarray(colors[labels].astype(np.uint8))
    if blur:
        image = image.filter(ImageFilter.GaussianBlur(blur))
    noisy = np.asarray(image) + rng.normal(0, noise, (*labels.shape, 3))
    return np.clip(np.rint(noisy), 0, 255).astype(np.uint8)


def best_ious(labels: np.ndarray, found: np.ndarray, min_area: int = 40) -> np.ndarray:
    ious = []
    for label in range(1, int(labels.max()) + 1):
        mask = labels == label
        if mask.sum() >= min_area:
            overlap = np.bincount(found[mask], minlength=found.max() + 1)
            union = mask.sum() + np.bincount(found.ravel()) - overlap
            ious.append((overlap / union)[1:].max(initial=0))
    return np.array(ious)


def shapes(seed: int, size: int = 160, count: int = 14) -> np.ndarray:
    """Discs, partly over one another, and a wire above them."""
    rng = np.random.default_rng(seed)
    image = Image.new("I", (size, size))
    draw = ImageDraw.Draw(image)
    for label in range(1, count):
        x, y, r = rng.integers(10, size - 10), rng.integers(75, size - 10), rng.integers(7, 22)
        draw.ellipse([int(x - r), int(y - r), int(x + r), int(y + r)], fill=label)
    draw.line([(3, 5), (size - 5, size // 4)], fill=count, width=2)
    labels = np.array(image)
    return np.unique(labels, return_inverse=True)[1].reshape(labels.shape)


def check_consistent(result: Instances) -> None:
    """Records describe the label map."""
    labels = result.labels
    assert labels.dtype == np.int32
    assert not labels.flags.writeable
    assert sorted(set(np.unique(labels)) - {0}) == [record.id for record in result.records]
    assert len(result) == len(result.records)
    areas = [record.area for record in result.records]
    assert areas == sorted(areas, reverse=True)
    for record in result.records:
        mask = result.mask(record.id)
        rows, columns = np.nonzero(mask)
        assert record.area == mask.sum()
        assert record.box == (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)
        assert mask[record.center[1], record.center[0]]
        assert 0 <= record.score <= 1
        assert all(isinstance(value, int) for value in (*record.box, *record.color, *record.center))


def test_two_squares_by_hand(squares: np.ndarray):
    result = find_instances(squares)
    check_consistent(result)
    large, small = result.records
    assert (large.area, large.box, large.color) == (900, (45, 25, 75, 55), (30, 200, 60))
    assert (small.area, small.box, small.color) == (400, (10, 10, 30, 30), (220, 30, 30))
    assert 1 > large.score > small.score > 0.8  # equally clear, but one is larger
    assert large.center in {(59, 39), (59, 40), (60, 39), (60, 40)}
    with pytest.raises(ImageError, match="ids run from 1 to 2"):
        result.mask(3)


@pytest.mark.parametrize(
    ("noise", "blur", "least", "more"), [(0, 0, 0.95, 0), (12, 0, 0.95, 10), (4, 1, 0.94, 2), (6, 1.5, 0.9, 5)]
)
def test_overlapping_shapes(noise: float, blur: float, least: float, more: int):
    """(Fragments of the wire, which is only two pixels wide, are instances of their own.)"""
    for seed in range(3):
        labels = shapes(seed)
        result = find_instances(painted(labels, seed, noise, blur))
        check_consistent(result)
        ious = best_ious(labels, result.labels)
        assert np.sort(ious)[1:].mean() >= least
        assert len(result) <= labels.max() + more


def test_colourful_everywhere():
    y, x = np.mgrid[:120, :160]
    labels = (y // 40) * 4 + x // 40 + 1
    result = find_instances(painted(labels, 1, noise=5, blur=1))
    check_consistent(result)
    assert len(result) == 12
    assert best_ious(labels, result.labels).min() > 0.9
    assert np.mean(result.labels > 0) > 0.99


def test_an_instance_may_drift_in_colour():
    colors = np.zeros((60, 200, 3), np.uint8)
    colors[10:50, 10:190, 0] = np.linspace(60, 250, 180)
    colors[10:50, 10:190, 1] = 90
    noisy = np.clip(colors + np.random.default_rng(0).normal(0, 3, colors.shape), 0, 255).astype(np.uint8)
    for picture in (colors, noisy):
        result = find_instances(picture)
        assert len(result) == 1
        assert result.records[0].area == pytest.approx(40 * 180, rel=0.02)


def test_touching_colors_closer_than_the_distance_are_one():
    colors = np.full((40, 80, 3), 120, np.uint8)
    colors[:, 40:, 0] = 155
    assert len(find_instances(colors, distance=40)) == 1
    assert len(find_instances(colors, distance=30)) == 2


def test_equal_colors_that_do_not_touch_are_two():
    colors = np.zeros((30, 90, 3), np.uint8)
    colors[5:25, 10:30] = colors[5:25, 60:80] = (200, 100, 50)
    assert len(find_instances(colors)) == 2


def test_scores_tell_clear_regions_from_doubtful_ones():
    def touching(difference: int) -> np.ndarray:
        colors = np.full((40, 80, 3), 120, np.uint8)
        colors[:, 40:, 0] += np.uint8(difference)
        return colors

    clear, near = find_instances(touching(90)), find_instances(touching(45))
    assert clear.records[0].score == clear.records[1].score > near.records[0].score
    # The whole picture has no outline.
    assert find_instances(touching(35)).records[0].score == 0
    # A region that holds two shades stays the same over fewer thresholds than one that is plain.
    plain = np.zeros((60, 60, 3), np.uint8)
    plain[10:50, 10:50] = 150
    shaded = plain.copy()
    shaded[10:50, 30:50, 0] -= 30
    assert find_instances(plain).records[0].score > find_instances(shaded).records[0].score


def test_background_and_min_area():
    colors = np.zeros((40, 40, 3), np.uint8)
    colors[4:7, 4:7] = (200, 0, 0)
    colors[20:30, 20:30] = (39, 0, 0)
    assert len(find_instances(colors)) == 0
    assert [record.area for record in find_instances(colors, min_area=9).records] == [9]
    # What is no further from black than the distance is one with it.
    assert [record.area for record in find_instances(colors, background=30, distance=30).records] == [100]
    # without a background everything is an instance
    assert np.all(find_instances(colors, background=-1, min_area=1).labels > 0)


def with_holes() -> np.ndarray:
    """A square with a small and a large hole, and one that goes on to the frame."""
    colors = np.zeros((60, 80, 3), np.uint8)
    colors[6:54, 6:70] = (200, 60, 90)
    colors[12:15, 12:15] = colors[20:40, 20:40] = 0
    colors[30:33, 60:] = 0
    return colors


@pytest.mark.parametrize(("fill_holes", "min_area", "filled"), [(0, 4, 0), (0, 16, 9), (9, 4, 9), (400, 4, 409)])
def test_holes(fill_holes: int, min_area: int, filled: int):
    found = find_instances(with_holes(), fill_holes=fill_holes, min_area=min_area)
    assert [record.area for record in found.records] == [48 * 64 - 9 - 400 - 30 + filled]
    check_consistent(found)


def test_bright_holes_are_instances():
    colors = with_holes()
    colors[20:40, 20:40] = (0, 250, 0)
    assert len(find_instances(colors, fill_holes=1000)) == 2


def test_only_the_best():
    colors = painted(shapes(0), 0, noise=4, blur=1)
    everything, some = find_instances(colors), find_instances(colors, most=5)
    best = sorted((record.score for record in everything.records), reverse=True)[:5]
    assert sorted((record.score for record in some.records), reverse=True) == best
    check_consistent(some)


def parted() -> np.ndarray:
    """Two squares that touch, each of two shades, on black, and a third alone."""
    colors = np.zeros((80, 140, 3), np.uint8)
    colors[20:60, 10:50] = (180, 40, 40)
    colors[20:60, 30:50] = (180, 40, 70)
    colors[20:60, 50:90] = (120, 100, 60)
    colors[40:60, 50:90] = (120, 130, 60)
    colors[10:40, 100:130] = (40, 60, 220)
    return colors


def check_hierarchy(found: Instances) -> None:
    everything = [*found.records, *found.nested]
    masks = {record.id: found.mask(record.id) for record in everything}
    assert list(masks) == list(range(1, len(everything) + 1))
    for record in everything:
        mask = masks[record.id]
        rows, columns = np.nonzero(mask)
        assert record.area == mask.sum() > 0
        assert record.box == (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)
        assert mask[record.center[1], record.center[0]]
        assert all(everything[child - 1].parent == record.id for child in record.children)
        around = [other for other in everything if other is not record and (mask <= masks[other.id]).all()]
        # of equal masks, which a small `size` may give, either may be the other's parent
        around = [other for other in around if other.area > record.area]
        if around:
            assert record.parent is not None
            assert (mask <= masks[record.parent]).all()
            assert everything[record.parent - 1].area == min(other.area for other in around)
    for one in masks.values():
        for other in masks.values():
            shared = (one & other).sum()
            assert shared in (0, one.sum(), other.sum())  # nested or disjoint


@pytest.mark.parametrize("size", [None, (160, 280), (37, 50)], ids=str)
def test_parts_and_groups(size: tuple[int, int] | None):
    found = find_instances(parted(), hierarchy=True, size=size)
    check_consistent(found)
    check_hierarchy(found)
    assert len(found) == 3
    if size is None:
        np.testing.assert_array_equal(found.labels, find_instances(parted()).labels)
        assert sorted(record.area for record in found.nested) == [800, 800, 800, 800, 3200]
        group = found.nested[0]
        assert [found.records[child - 1].area for child in group.children] == [1600, 1600]
        assert all(len(found.records[child - 1].children) == 2 for child in group.children)
    scores = [score for _, score in found.masks()]
    assert scores == sorted(scores, reverse=True)
    assert len(scores) == len(found.records) + len(found.nested)


def test_a_hierarchy_is_nested_and_limited():
    colors = painted(shapes(5), 5, noise=10, blur=1)
    found = find_instances(colors, hierarchy=True, distance=60)
    check_hierarchy(found)
    assert found.nested
    some = find_instances(colors, hierarchy=True, distance=60, most=len(found) + 2)
    assert len(some.nested) == 2
    assert find_instances(colors, hierarchy=True, distance=60, most=3).nested == []


def test_fragments_go_to_a_neighbour():
    colors = np.zeros((40, 40, 3), np.uint8)
    colors[5:35, 5:35] = (200, 0, 0)
    colors[18:21, 18:21] = (0, 0, 250)  # inside the square
    colors[1:3, 1:3] = (0, 250, 0)  # on the ground
    result = find_instances(colors)
    assert [record.area for record in result.records] == [900]


def test_dark_and_tiny_pictures():
    dark = find_instances(np.zeros((50, 60, 3), np.uint8))
    assert len(dark) == 0
    assert dark.labels.shape == (50, 60)
    for shape in ((1, 1), (1, 2), (2, 1), (1, 640), (640, 1)):
        bright = np.full((*shape, 3), 200, np.uint8)
        assert len(find_instances(bright, min_area=1)) == 1
        assert len(find_instances(bright)) == (1 if max(shape) > 16 else 0)
        assert len(find_instances(np.zeros_like(bright))) == 0


def test_steep_ramp_everywhere_still_gives_a_partition():
    ramp = np.zeros((12, 12, 3), np.uint8)
    ramp[..., 0] = np.arange(12) * 20 + 30
    result = find_instances(ramp, background=-1, min_area=1)
    check_consistent(result)
    assert (result.labels > 0).all()


def test_random_noise_is_bounded_and_consistent():
    colors = np.random.default_rng(0).integers(0, 256, (96, 96, 3), np.uint8)
    check_consistent(find_instances(colors, min_area=1))


def test_other_size():
    labels = shapes(0)
    colors = painted(labels, 0, noise=3, blur=0.7)
    for size in ((400, 480), (80, 70)):
        result = find_instances(colors, size=size)
        check_consistent(result)
        assert result.labels.shape == size
        truth = np.asarray(
            Image.fromarray(labels.astype(np.int32)).resize((size[1], size[0]), Image.Resampling.NEAREST)
        )
        assert best_ious(truth, result.labels).mean() > 0.85


def test_one_instance_and_permuted_colors():
    whole = np.full((20, 30, 3), 200, np.uint8)
    assert [record.area for record in find_instances(whole).records] == [600]
    check_hierarchy(find_instances(whole, hierarchy=True))
    colors = painted(shapes(2), 2, noise=6, blur=1)
    # Colours are compared by distance alone: the order of the channels does not matter.
    found, again = find_instances(colors), find_instances(colors[..., [2, 0, 1]])
    np.testing.assert_array_equal(found.labels, again.labels)


def test_deterministic():
    colors = painted(shapes(3), 3, noise=10, blur=1)
    first = find_instances(colors)
    for _ in range(2):
        again = find_instances(np.asfortranarray(colors))
        np.testing.assert_array_equal(again.labels, first.labels)
        assert again.records == first.records


@pytest.mark.parametrize(
    "options", [{"distance": 0}, {"min_area": 0}, {"distance": float("nan")}, {"background": float("inf")}]
)
def test_wrong_options_are_refused(options: dict[str, float]):
    with pytest.raises(ImageError, match="distance > 0"):
        find_instances(np.zeros((4, 4, 3), np.uint8), **options)  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"fill_holes": -1}, "fill_holes must be"),
        ({"fill_holes": 2.5}, "fill_holes must be"),
        ({"most": 0}, "most must be"),
        ({"most": True}, "most must be"),
        ({"hierarchy": 1}, "hierarchy must be"),
    ],
)
def test_wrong_kinds_of_options_are_refused(options: dict[str, Any], message: str):
    with pytest.raises(ImageError, match=message):
        find_instances(np.zeros((4, 4, 3), np.uint8), **options)


def test_numbers_beyond_any_picture_are_no_trouble(squares: np.ndarray):
    assert len(find_instances(squares, min_area=10**30)) == 0
    assert len(find_instances(squares, fill_holes=10**30, most=10**30, hierarchy=True)) == 2


@pytest.mark.skipif(not DATA.is_dir(), reason="needs the evaluation images, GEN2SEG_DATA")
@pytest.mark.parametrize(
    ("name", "noise", "blur", "least"), [("dsb2018", 4, 1, 0.93), ("mushrooms", 8, 0, 0.93), ("bsds500", 4, 1, 0.93)]
)
def test_real_label_maps_painted(name: str, noise: float, blur: float, least: float):
    ious = []
    for path in sorted((DATA / name / "instances").glob("*.png"))[:3]:
        labels = np.asarray(Image.open(path)).astype(np.int64)
        labels = np.unique(np.append(0, labels), return_inverse=True)[1][1:].reshape(labels.shape)
        found = find_instances(painted(labels, 0, noise, blur)).labels
        ious.append(best_ious(labels, found))
    assert np.concatenate(ious).mean() >= least


@pytest.mark.parametrize("distance", [math.inf, math.nan, True, "20", None])
def test_distances_that_are_none(squares: np.ndarray, distance: Any):
    with pytest.raises(ImageError, match="; distance is "):
        find_instances(squares, distance=distance)


@pytest.mark.parametrize("distance", [1e308, 10**400])
def test_a_distance_beyond_all_colours_is_one(squares: np.ndarray, distance: float):
    assert len(find_instances(squares, distance=distance)) == len(find_instances(squares, distance=1000))
