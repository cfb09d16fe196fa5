"""Numbers of label maps against the plain way, across strips and on odd sizes."""

import numpy as np
import pytest

from gen2seg_runtime import label_stats
from gen2seg_runtime.label_stats import find_centers, measure_labels


def blocky(shape: tuple[int, int], count: int, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, count + 1, (-(-shape[0] // 3), -(-shape[1] // 3)))
    return np.kron(coarse, np.ones((3, 3), np.int32))[: shape[0], : shape[1]].astype(np.int32)


@pytest.mark.parametrize("strip", [1, 40, 1 << 20])
@pytest.mark.parametrize("shape", [(1, 1), (1, 17), (17, 1), (31, 22)], ids=str)
def test_area_box_and_first_pixel(shape: tuple[int, int], strip: int, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(label_stats, "_STRIP_PIXELS", strip)
    labels = blocky(shape, 5)
    stats = measure_labels(labels, 6)
    assert stats.area.shape == stats.first.shape == (6,)
    for label in range(1, 7):
        rows, columns = np.nonzero(labels == label)
        assert stats.area[label - 1] == len(rows)
        expected = (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1) if len(rows) else (0, 0, 0, 0)
        assert tuple(stats.box[label - 1]) == expected
        assert stats.first[label - 1] == (rows[0] * shape[1] + columns[0] if len(rows) else 0)


def plain_centers(labels: np.ndarray, count: int) -> list[tuple[int, int]]:
    """The first pixel with the largest distance to any pixel that touches another label or the frame."""
    padded = np.pad(labels, 1, constant_values=-1)
    middle = padded[1:-1, 1:-1]
    inside = np.ones(labels.shape, bool)
    for other in (padded[:-2, 1:-1], padded[2:, 1:-1], padded[1:-1, :-2], padded[1:-1, 2:]):
        inside &= other == middle
    # Beyond the frame there are outline pixels too.
    outline = np.argwhere(~np.pad(inside & (labels > 0), 1)) - 1
    centers = []
    for label in range(1, count + 1):
        places = np.argwhere(labels == label)
        depths = [((outline - place) ** 2).sum(axis=1).min() for place in places]
        y, x = places[int(np.argmax(depths))]
        centers.append((int(x), int(y)))
    return centers


@pytest.mark.parametrize("strip", [1, 60, 1 << 20])
def test_centers_are_the_deepest_pixels(strip: int, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(label_stats, "_STRIP_PIXELS", strip)
    labels = np.kron(blocky((9, 12), 3, seed=3), np.ones((4, 3), np.int32))
    labels[3:6, 3:9] = count = 4
    assert [tuple(center) for center in find_centers(labels, count).tolist()] == plain_centers(labels, count)
    for shape in ((1, 1), (1, 9), (9, 1)):
        assert find_centers(np.ones(shape, np.int32), 1).tolist() == [[0, 0]]
