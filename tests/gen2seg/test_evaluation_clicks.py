"""Clicks lie where the definition says, whatever the shape of an instance."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from gen2seg.evaluation.clicks import (
    ClickRule,
    choose_clicks,
    click_on,
    find_center,
    find_centroid,
    find_clicks,
    find_error,
    find_next,
)
from gen2seg.evaluation.errors import EvaluationError


def center_by_definition(region: np.ndarray) -> tuple[int, int]:
    """Brute force over all pixels, with a ring of outside around the array."""
    padded = np.pad(region, 1)
    outside = np.argwhere(~padded)
    best, where = -1, (0, 0)
    for y, x in np.argwhere(region):
        nearest = ((outside - (y + 1, x + 1)) ** 2).sum(axis=1).min()
        if nearest > best:
            best, where = nearest, (int(x), int(y))
    return where


def test_center_of_a_square_is_its_middle():
    region = np.zeros((9, 11), bool)
    region[2:7, 3:8] = True
    assert find_center(region) == (5, 4)


def test_the_border_of_the_picture_is_a_boundary():
    assert find_center(np.ones((5, 5), bool)) == (2, 2)


def test_among_equals_the_first_in_row_major_order_wins():
    region = np.zeros((3, 7), bool)
    region[1, 1] = region[1, 5] = region[0, 3] = True
    assert find_center(region) == (3, 0)


@given(arrays.arrays(bool, st.tuples(st.integers(1, 14), st.integers(1, 14))))
def test_center_equals_the_definition(region):
    if not region.any():
        with pytest.raises(EvaluationError):
            find_center(region)
        return
    assert find_center(region) == center_by_definition(region)


@given(arrays.arrays(np.int32, (12, 15), elements=st.integers(0, 5)))
def test_each_instance_is_clicked_inside_itself_as_if_it_were_alone(labels):
    clicks = find_clicks(labels)
    assert [click.instance for click in clicks] == [i for i in np.unique(labels).tolist() if i]
    for click in clicks:
        region = labels == click.instance
        x0, y0, x1, y1 = click.box
        assert labels[click.y, click.x] == click.instance
        assert (click.x, click.y) == center_by_definition(region)
        assert click.area == region.sum() == region[y0:y1, x0:x1].sum()


def test_the_choice_of_clicks_depends_on_the_key_alone():
    clicks = find_clicks(np.arange(1, 101).reshape(10, 10))
    chosen = choose_clicks(clicks, 20, "0/set/image")
    assert chosen == choose_clicks(clicks, 20, "0/set/image")
    assert len(chosen) == len({click.instance for click in chosen}) == 20
    assert [c.instance for c in chosen] == sorted(c.instance for c in chosen)
    assert chosen != choose_clicks(clicks, 20, "0/set/other")
    assert choose_clicks(clicks, None, "k") == choose_clicks(clicks, 100, "k") == clicks


def test_the_next_click_lies_in_the_largest_missing_part():
    missing = np.zeros((9, 20), bool)
    missing[0, 0] = missing[1, 1] = True  # 8-connected: one part of two
    missing[4:7, 10:17] = True
    assert find_next(missing, "distance") == (11, 5)
    assert find_next(missing, "centroid") == (13, 5)
    equal = np.zeros((6, 12), bool)
    equal[3:5, 1:3] = equal[1:3, 8:10] = True
    assert find_next(equal, "distance") == (8, 1)  # the part that begins higher up


@given(arrays.arrays(bool, st.tuples(st.integers(1, 9), st.integers(1, 9))))
def test_the_centroid_pixel_equals_the_definition(region):
    if not region.any():
        with pytest.raises(EvaluationError):
            find_centroid(region)
        return
    points = np.argwhere(region)
    squared = ((points * len(points) - points.sum(axis=0)) ** 2).sum(axis=1)
    y, x = points[np.argmin(squared)]
    assert find_centroid(region) == (x, y)


def test_clicks_go_on_until_nothing_is_missing():
    labels = np.zeros((7, 30), np.int32)
    labels[2:5, 2:27] = 3
    (click,) = find_clicks(labels)
    seen: list[tuple[int, int]] = []

    def answer(points, before, signs):
        """Ten columns around each click, as a system that knows the instance would give them."""
        assert (before is None) == (len(points) == 1)
        assert signs is None
        seen[:] = points
        mask = np.zeros(labels.shape, bool) if before is None else before.copy()
        mask[2:5, max(points[-1][0] - 5, 2) : min(points[-1][0] + 5, 27)] = True
        return mask

    scores, first = click_on(answer, labels, click, ClickRule(6))
    assert seen[0] == (click.x, click.y) == (3, 3)
    assert first.sum() == 3 * 6
    assert (np.diff(scores) >= 0).all()
    assert scores[-1] == scores[-2] == 1.0
    assert len(seen) < 6
    alone, _ = click_on(answer, labels, click, ClickRule(1))
    assert alone.tolist() == [scores[0]]


def test_an_empty_answer_scores_zero_at_every_click():
    labels = np.ones((5, 6), np.int32)
    nothing = np.zeros((5, 6), bool)
    scores, _ = click_on(lambda points, before, signs: nothing, labels, find_clicks(labels)[0], ClickRule(4))
    assert scores.tolist() == [0, 0, 0, 0]


def test_clicks_on_errors_take_back_what_leaked():
    labels = np.zeros((9, 30), np.int32)
    labels[2:7, 2:12] = 1
    (click,) = find_clicks(labels)
    seen = []

    def answer(points, before, signs):
        """The first click leaks far and misses a corner; then each click puts right what it lies in."""
        seen.append((points[-1], None if signs is None else signs[-1]))
        if before is None:
            mask = labels == 1
            mask[2:4, 2:4] = False
            mask[3:6, 15:27] = mask[8, 0:2] = True
            return mask
        mask, (x, y) = before.copy(), points[-1]
        if labels[y, x]:
            mask[2:4, 2:4] = True
        elif y == 8:
            mask[8] = False
        else:
            mask[:, 15:27] = False
        return mask

    scores, _ = click_on(answer, labels, click, ClickRule(9, next_click="error"))
    assert [sign for _, sign in seen] == [None, 0, 1, 0]  # by area: 36, 4, 2
    assert seen[1][0] == (16, 4)
    assert scores[3:].tolist() == [1.0] * 6
    assert (np.diff(scores) >= 0).all()
    seen.clear()
    paper, _ = click_on(answer, labels, click, ClickRule(9))
    assert len(seen) == 2  # nothing is missing any more, what leaked stays
    assert paper[-1] < 0.6


def test_among_errors_of_one_size_what_is_missing_is_clicked_first():
    instance, mask = np.zeros((6, 9), bool), np.zeros((6, 9), bool)
    instance[1:3, 5:8] = mask[3:5, 1:4] = True
    assert find_error(mask, instance, "distance") == ((5, 1), 1)
    mask[5, 1:3] = True
    assert find_error(mask, instance, "centroid") == ((2, 4), 0)
    assert find_error(mask, mask, "distance") is None


@pytest.mark.parametrize("wrong", [{"count": 0}, {"center": "middle"}, {"next_click": "anywhere"}], ids=str)
def test_impossible_rules_are_refused(wrong):
    with pytest.raises(EvaluationError):
        ClickRule(**wrong)
