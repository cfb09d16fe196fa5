"""Numbering instances in PyTorch operations against NumPy's np.unique and stable sort."""

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from gen2seg_kernels.loss.relabel import number_rows  # noqa: E402

TYPES = [torch.uint8, torch.int8, torch.int16, torch.uint16, torch.int32, torch.int64]


def assert_matches(labels, valid=None):
    """`labels` (images, pixels) int64 array."""
    rows = number_rows(torch.tensor(labels), None if valid is None else torch.tensor(valid))
    instances = []
    for b, ids in enumerate(labels):
        take = np.ones(len(ids), bool) if valid is None else valid[b]
        names = np.unique(ids[take & (ids > 0)])
        dense = np.where(take, np.where(ids > 0, np.searchsorted(names, ids) + 1, 0), -1)
        assert np.array_equal(rows.dense[b], dense)
        assert np.array_equal(rows.order[b], np.argsort(dense, kind="stable"))
        assert np.array_equal(rows.starts[b], np.searchsorted(np.sort(dense), np.arange(rows.n_rows + 1)))
        instances.append(len(names))
    assert rows.instances.tolist() == instances
    assert rows.n_rows == max(instances) + 1
    assert rows.dense.dtype == rows.order.dtype == rows.starts.dtype == rows.instances.dtype == torch.int32


@pytest.mark.parametrize("highest", [1, 5, 300, 2**40, 2**63 - 1])
def test_any_ids(rng, highest):
    labels = np.concatenate([rng.integers(0, highest, (3, 200), endpoint=True), np.zeros((1, 200), np.int64)])
    labels[1] = np.minimum(labels[1], 3)
    assert_matches(labels)
    assert_matches(labels, rng.random(labels.shape) < 0.7)
    assert_matches(labels + (labels < highest), rng.random(labels.shape) < 0.7)  # no background


def test_negative_labels_count_only_where_valid():
    labels, valid = np.array([[-7, 0, 4, 4, -(2**63)]]), np.array([[False, True, True, True, False]])
    assert_matches(labels, valid)
    for mask in (torch.tensor(valid | True), None):
        with pytest.raises(ValueError, match=f"valid, got {-(2**63)}"):
            number_rows(torch.tensor(labels), mask)


def test_nothing_valid():
    assert_matches(np.array([[3, 4], [0, 1]]), np.zeros((2, 2), bool))


@pytest.mark.parametrize("dtype", TYPES, ids=str)
def test_types(rng, dtype):
    labels = torch.tensor(rng.integers(0, 128, (2, 90)))
    valid = torch.tensor(rng.random((2, 90)) < 0.5)
    for mask in (valid, None):
        got, expected = number_rows(labels.to(dtype), mask), number_rows(labels, mask)
        assert all(torch.equal(a, b) for a, b in zip(got[:4], expected[:4], strict=True))
