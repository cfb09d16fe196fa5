"""Numbers and colours that last while pictures move."""

import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image

from bench.identity import RetentionMeter, wander
from gen2seg.data.scenes import render_scene
from gen2seg_runtime import Segmenter
from gen2seg_runtime.errors import ImageError
from gen2seg_runtime.formats import read_label_png
from gen2seg_runtime.instances import Instances, describe
from gen2seg_runtime.stream import InstanceTracker
from gen2seg_runtime.stream.motion import estimate_shift, small_grey


def found(truth: np.ndarray, rng: np.random.Generator, drift: float = 0.0) -> tuple[Instances, dict[int, int]]:
    """Instances as a network gives them: numbers by area, colours that drift; and record id -> true number."""
    numbers = np.unique(truth[truth > 0])
    labels = np.searchsorted(numbers, truth).astype(np.int32) + 1
    labels[truth == 0] = 0
    base = np.random.default_rng(1).integers(40, 255, (int(truth.max(initial=0)) + 1, 3))
    means = np.clip(base[numbers] + rng.normal(0, drift, (len(numbers), 3)), 0, 255)
    instances = describe(labels, np.ones(len(numbers)), means.astype(float))
    true_of = {record.id: int(truth[record.center[1], record.center[0]]) for record in instances.records}
    return instances, true_of


def boxes(*places: tuple[int, int, int, int, int]) -> np.ndarray:
    """(90, 120) labels: number, x0, y0, x1, y1."""
    truth = np.zeros((90, 120), np.int32)
    for number, x0, y0, x1, y1 in places:
        truth[max(y0, 0) : y1, max(x0, 0) : x1] = number
    return truth


def run(frames: list[np.ndarray], pictures: list[np.ndarray] | None = None, **options: int) -> list[dict[int, int]]:
    """True number -> lasting number, frame by frame."""
    tracker, rng = InstanceTracker(**options), np.random.default_rng(0)
    result = []
    for index, truth in enumerate(frames):
        instances, true_of = found(truth, rng, 3.0)
        tracked = tracker.update(instances, None if pictures is None else pictures[index])
        assert len(set(tracked.ids)) == len(tracked.ids)
        for record, number in zip(instances.records, tracked.ids, strict=True):
            assert (tracked.labels[instances.labels == record.id] == number).all()
        result.append(
            {true_of[record.id]: number for record, number in zip(instances.records, tracked.ids, strict=True)}
        )
    return result


def test_two_that_pass_each_other_keep_their_numbers():
    frames = [boxes((1, 10 + 6 * t, 10, 40 + 6 * t, 35), (2, 80 - 6 * t, 50, 105 - 6 * t, 78)) for t in range(10)]
    ids = run(frames)
    assert ids[0] == {1: 1, 2: 2}
    assert all(each == ids[0] for each in ids)


def test_the_larger_one_changes_but_the_numbers_do_not():
    frames = [boxes((1, 10, 10, 30 + 4 * t, 40), (2, 70, 50, 110, 80)) for t in range(8)]
    ids = run(frames)
    assert ids[0] == {2: 1, 1: 2}  # numbered by area at first
    assert all(each == ids[0] for each in ids)


def test_what_is_hidden_for_a_while_comes_back_with_its_number():
    seen, hidden = boxes((1, 10, 10, 40, 40), (2, 60, 50, 90, 80)), boxes((2, 60, 50, 90, 80))
    ids = run([seen, *[hidden] * 3, seen], memory=3)
    assert ids[-1] == ids[0]
    ids = run([seen, *[hidden] * 4, seen], memory=3)
    assert ids[-1] == {2: ids[0][2], 1: 3}


def test_what_slides_in_and_out_keeps_its_number():
    frames = [boxes((1, -45 + 8 * t, 20, -5 + 8 * t, 60)) for t in range(1, 20)]
    ids = [each for each in run(frames) if each]
    assert len(ids) > 15
    assert {number for each in ids for number in each.values()} == {1}


def test_a_small_fast_one_is_found_without_overlap():
    frames = [boxes((1, 5 + 9 * t, 40, 13 + 9 * t, 48), (2, 60, 5, 110, 30)) for t in range(10)]
    ids = run(frames)
    assert all(each == ids[0] for each in ids)


def test_numbers_are_not_given_twice_and_a_new_size_starts_anew():
    tracker, rng = InstanceTracker(memory=0), np.random.default_rng(0)
    one, other = boxes((1, 5, 5, 30, 30)), boxes((7, 80, 60, 110, 85))
    numbers = [tracker.update(found(truth, rng)[0]).ids for truth in (one, other, one, one[:80])]
    assert numbers == [(1,), (2,), (3,), (4,)]
    assert tracker.update(found(np.zeros((90, 120), np.int32), rng)[0]).ids == ()


def test_colours_are_those_of_the_first_sight():
    tracker, rng = InstanceTracker(), np.random.default_rng(0)
    truth = boxes((1, 5, 5, 60, 60), (2, 80, 60, 110, 85))
    first = tracker.update(found(truth, rng)[0])
    assert first.color_image()[10, 10].tolist() == list(first.instances.records[0].color)
    later = first
    for _ in range(4):
        later = tracker.update(found(truth, rng, drift=8)[0])
        np.testing.assert_array_equal(later.color_image(), first.color_image())
    assert [record.color for record in later.instances.records] != [record.color for record in first.instances.records]
    assert not later.labels.flags.writeable


@pytest.mark.parametrize("step", [5.0, 25.0])
def test_a_camera_that_pans_over_a_scene(step: float):
    picture, truth = render_scene(3, 512)
    rng = np.random.default_rng(2)
    with_frames, without, plain = RetentionMeter(), RetentionMeter(), RetentionMeter()
    trackers = InstanceTracker(), InstanceTracker()
    for y, x in wander((512, 512), (320, 320), 25, step):
        view = np.s_[y : y + 320, x : x + 320]
        instances, _ = found(truth[view], rng, 4.0)
        with_frames.add(truth[view], trackers[0].update(instances, picture[view]).labels)
        without.add(truth[view], trackers[1].update(instances).labels)
        plain.add(truth[view], instances.labels)
    assert with_frames.total.seen_again > 100
    assert with_frames.total.percent > 99
    assert with_frames.total.kept >= without.total.kept > plain.total.kept


def test_large_label_maps_are_matched_on_a_grid():
    truth = np.kron(boxes((1, 10, 10, 40, 40), (2, 60, 50, 90, 80)), np.ones((20, 20), np.int32))
    truth[1, 1] = 3  # a single pixel between the points of the grid
    moved = np.roll(truth, 1, axis=1)
    ids = run([truth, moved])
    assert ids[1] == ids[0] == {1: 1, 2: 2, 3: 3}


def test_the_shift_of_a_picture():
    picture, _ = render_scene(5, 512)
    a, b = picture[40:400, 60:420], picture[31:391, 84:444]
    dx, dy = estimate_shift(small_grey(a), small_grey(b), (360, 360))
    assert abs(dx + 24) < 1.5
    assert abs(dy - 9) < 1.5
    flat = small_grey(np.zeros((360, 360, 3), np.uint8))
    assert estimate_shift(flat, flat, (360, 360)) == (0, 0)
    assert estimate_shift(flat, small_grey(a[:, :100]), (360, 360)) == (0, 0)
    tiny = small_grey(np.zeros((1, 9, 3), np.uint8))
    assert estimate_shift(tiny, tiny, (1, 9)) == (0, 0)


SIZES = st.sampled_from([(9, 12), (9, 12), (9, 12), (1, 1), (30, 5)])
FRAMES = st.lists(SIZES.flatmap(lambda size: hnp.arrays(np.int32, size, elements=st.integers(0, 3))), max_size=6)


@settings(max_examples=60, deadline=None)
@given(FRAMES)
def test_any_frames_give_consistent_numbers(frames: list[np.ndarray]):
    def numbers() -> list[tuple[int, ...]]:
        tracker, rng, result = InstanceTracker(memory=2), np.random.default_rng(0), []
        for truth in frames:
            instances, _ = found(truth, rng, 20)
            tracked = tracker.update(instances, np.repeat(truth[..., None] * 60, 3, axis=2).astype(np.uint8))
            assert len(set(tracked.ids)) == len(tracked.ids) == len(instances)
            np.testing.assert_array_equal(tracked.labels > 0, instances.labels > 0)
            result.append(tracked.ids)
        return result

    assert numbers() == numbers()


@pytest.mark.parametrize("memory", [-1, 1.5, True, None])
def test_memory_is_a_whole_number(memory: object):
    with pytest.raises(ImageError, match="memory"):
        InstanceTracker(memory)  # pyright: ignore[reportArgumentType]


def test_a_camera_that_pans_over_a_photograph():
    folder = os.environ.get("GEN2SEG_DATA")
    if not folder or not (Path(folder) / "nuts").is_dir():
        pytest.skip("GEN2SEG_DATA names no folder with the set nuts")
    path = sorted((Path(folder) / "nuts/images").iterdir())[0]
    picture = np.asarray(Image.open(path).convert("RGB").resize((400, 300)))
    truth = read_label_png(Path(folder) / "nuts/instances" / f"{path.stem}.png")
    rows, columns = (np.arange(n) * side // n for n, side in zip((300, 400), truth.shape, strict=True))
    truth = truth[rows[:, None], columns]
    segmenter, tracker, meter = Segmenter.open(threads=2), InstanceTracker(), RetentionMeter()
    for y, x in wander((300, 400), (224, 288), 8, 8.0):
        view = np.s_[y : y + 224, x : x + 288]
        instances = segmenter.encode(picture[view]).instances()
        meter.add(truth[view], tracker.update(instances, picture[view]).labels)
    assert meter.total.seen_again > 10
    assert meter.total.percent >= 90
