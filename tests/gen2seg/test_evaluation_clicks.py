"""Clicks lie where the definition says, whatever the shape of an instance."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from gen2seg.evaluation.clicks import choose_clicks, find_center, find_clicks
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
