"""The matching of edges: against a solver from scratch, and the compiled version against the plain one."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gen2seg_kernels import match_boundary
from gen2seg_kernels.boundary import cpu, dispatch, reference
from gen2seg_kernels.boundary.reference import Matching
from gen2seg_kernels.native import load_native

WORTH = 100.0


@settings(max_examples=150, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 9), st.integers(1, 6), st.booleans())
def test_each_step_is_as_good_as_a_matching_from_scratch(seed, rows, columns, ties):
    optimize = pytest.importorskip("scipy.optimize")
    rng = np.random.default_rng(seed)
    distances = rng.integers(0, 4, (rows, columns)) if ties else rng.random((rows, columns)) * 5
    allowed = rng.random((rows, columns)) < 0.5
    matching = Matching(columns, WORTH)
    for row in range(rows):
        near = np.flatnonzero(allowed[row])
        matching.add(row, [(int(c), WORTH - float(distances[row, c])) for c in near])
        worth = np.where(allowed, WORTH - distances, 0.0)[: row + 1]
        best = optimize.linear_sum_assignment(worth, maximize=True)
        pairs = matching.pairs()
        assert len(set(pairs.values())) == len(pairs)
        assert all(allowed[r, c] for r, c in pairs.items())
        assert sum(worth[r, c] for r, c in pairs.items()) == pytest.approx(worth[best].sum())
        assert sorted(matching.matched()) == sorted(pairs)


def random_edges(seed: int, size: tuple[int, int], share: float) -> tuple[list[np.ndarray], np.ndarray]:
    """Edge pixels in four groups, the strongest first, and a boundary."""
    rng = np.random.default_rng(seed)
    strength = rng.random(size) * (rng.random(size) < share)
    groups = [np.flatnonzero((strength > low) & (strength <= low + 0.25)) for low in (0.75, 0.5, 0.25, 0.0)]
    return groups, rng.random(size) < share / 2


def test_pairs_lie_within_the_tolerance_and_groups_add_up():
    optimize = pytest.importorskip("scipy.optimize")
    groups, boundary = random_edges(1, (14, 17), 0.3)
    edge = np.zeros(boundary.size, bool)
    pixels = np.concatenate(groups)
    for group, matched in zip(groups, match_boundary(groups, boundary, 2.3), strict=True):
        edge[group] = True
        ys, xs = np.divmod(np.flatnonzero(edge), 17)
        by, bx = np.nonzero(boundary)
        distance = np.hypot(ys[:, None] - by, xs[:, None] - bx)
        worth = np.where(distance <= 2.3, 460 - distance, 0.0)
        rows, columns = optimize.linear_sum_assignment(worth, maximize=True)
        assert np.count_nonzero(matched) == np.count_nonzero(worth[rows, columns])
        assert edge[pixels[matched]].all()


@pytest.mark.skipif(load_native() is None, reason="the package was installed without its C extension")
@settings(max_examples=60, deadline=None)
@given(
    st.integers(0, 2**32 - 1),
    st.tuples(st.integers(1, 23), st.integers(1, 23)),
    st.sampled_from([0.1, 0.5, 1.0]),
    st.sampled_from([0.4, 1.0, 2.3, 4.6]),
)
def test_the_compiled_version_takes_the_same_steps(seed, size, share, tolerance):
    groups, boundary = random_edges(seed, size, share)
    fast, plain = (version.match_boundary(groups, boundary, tolerance) for version in (cpu, reference))
    assert np.array_equal(fast, plain)


def test_without_the_extension_the_plain_version_runs(monkeypatch):
    groups, boundary = random_edges(5, (9, 11), 0.4)
    expected = match_boundary(groups, boundary, 1.5)
    monkeypatch.setattr(dispatch, "load_native", lambda: None)
    monkeypatch.setattr(cpu, "load_native", lambda: None)
    assert np.array_equal(match_boundary(groups, boundary, 1.5), expected)
    with pytest.raises(ImportError, match="not installed"):
        cpu.match_boundary(groups, boundary, 1.5)


def test_nothing_to_match():
    boundary = np.zeros((4, 5), bool)
    assert match_boundary([], boundary, 1.0).shape == (0, 0)
    assert match_boundary([np.array([], int)], boundary, 1.0).shape == (1, 0)
    assert not match_boundary([np.array([3, 7])], boundary, 1.0).any()


@pytest.mark.parametrize(
    ("groups", "boundary", "tolerance", "error"),
    [
        ([np.array([20])], np.zeros((4, 5), bool), 1.0, ValueError),
        ([np.array([-1])], np.zeros((4, 5), bool), 1.0, ValueError),
        ([np.array([1.0])], np.zeros((4, 5), bool), 1.0, TypeError),
        ([np.array([1])], np.zeros((4, 5)), 1.0, TypeError),
        ([np.array([1])], np.zeros((4, 5), bool), 0.0, ValueError),
    ],
    ids=["beyond", "negative", "float places", "float boundary", "tolerance"],
)
def test_what_does_not_fit_is_refused(groups, boundary, tolerance, error):
    with pytest.raises(error):
        match_boundary(groups, boundary, tolerance)


@pytest.mark.skipif(load_native() is None, reason="the package was installed without its C extension")
def test_buffers_that_would_be_read_beyond_their_end_are_refused():
    native = load_native()
    assert native is not None
    good = {
        "pixels": np.array([4], np.int64),
        "numbers": np.array([-1, -1, -1, -1, 0, -1, -1, -1, -1], np.int32),
        "columns": 1,
        "reach": np.array([0, -4, 4], np.int64),
        "distances": np.array([0.0, 1.4, 1.4]),
        "ends": np.array([1], np.int64),
        "worth": 200.0,
        "matched": np.zeros((1, 1), bool),
    }
    native.boundary_match(*good.values())
    assert good["matched"].all()
    for name, value in (
        ("pixels", np.array([5], np.int64)),
        ("columns", 0),
        ("distances", np.zeros(2)),
        ("ends", np.array([2], np.int64)),
        ("matched", np.zeros((2, 1), bool)),
    ):
        with pytest.raises(ValueError, match="do not fit"):
            native.boundary_match(*{**good, name: value}.values())
