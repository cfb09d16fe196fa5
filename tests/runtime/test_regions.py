"""Region merging on graphs small enough to follow by hand."""

import numpy as np

from gen2seg_runtime.regions import between_two, compact, merge_similar, region_graph, unique_pairs


def row(*blocks: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """A strip of grey blocks (level, width): its colours (1, w, 3) and block numbers."""
    levels = np.concatenate([np.full(width, level, np.uint8) for level, width in blocks])
    numbers = np.concatenate([np.full(width, i) for i, (_, width) in enumerate(blocks)])
    return np.repeat(levels[None, :, None], 3, axis=2), numbers[None]


def merge(blocks: list[tuple[int, int]], limit: float, apart: list[int] | None = None) -> list[int]:
    colors, labels = row(*blocks)
    closed = np.isin(np.arange(len(blocks)), apart or [])
    return merge_similar(region_graph(colors, labels, len(blocks)), limit, closed).tolist()


def test_graph_by_hand():
    labels = np.array([[0, 0, 1], [2, 0, 1]])
    colors = np.arange(18, dtype=np.uint8).reshape(2, 3, 3)
    graph = region_graph(colors, labels, 3)
    assert graph.area.tolist() == [3, 2, 1]
    assert graph.color_sum[:, 0].tolist() == [0 + 3 + 12, 6 + 15, 9]
    assert graph.pairs.tolist() == [[0, 1], [0, 2]]
    joined = graph.joined(np.array([0, 1, 0]))
    assert joined.area.tolist() == [4, 2]
    assert joined.pairs.tolist() == [[0, 1]]


def test_closest_merge_first_and_the_limit_is_exclusive():
    # distances in colour are sqrt(3) times those in level
    assert merge([(100, 5), (110, 5), (130, 5)], 10 * 3**0.5 + 0.01) == [0, 0, 1]
    assert merge([(100, 5), (110, 5)], 10 * 3**0.5) == [0, 1]
    # 100 and 108 first: their mean 104 is then too far from 120, though 108 was not
    assert merge([(100, 5), (108, 5), (120, 5)], 13 * 3**0.5) == [0, 0, 1]


def test_only_neighbours_merge_and_closed_regions_do_not():
    assert merge([(100, 5), (200, 5), (100, 5)], 50) == [0, 1, 2]
    assert merge([(100, 5), (101, 5), (102, 5)], 50, apart=[1]) == [0, 1, 2]


def test_specks_join_the_large_region_together():
    blocks = [(100, 100), (104, 1), (96, 100), (99, 1), (101, 100)]
    assert merge(blocks, 20) == [0] * 5


def test_merging_does_not_depend_on_direction():
    rng = np.random.default_rng(0)
    blocks = [
        (int(level), int(width)) for level, width in zip(rng.integers(0, 255, 60), rng.integers(1, 40, 60), strict=True)
    ]
    forward, backward = merge(blocks, 60), merge(blocks[::-1], 60)
    assert np.array_equal(np.diff(forward) != 0, (np.diff(backward) != 0)[::-1])


def test_no_two_mergeable_neighbours_are_left():
    rng = np.random.default_rng(1)
    colors = rng.integers(0, 256, (30, 30, 3), np.uint8)
    labels = np.arange(900).reshape(30, 30)
    graph = region_graph(colors, labels, 900)
    group = merge_similar(graph, 70.0, np.zeros(900, bool))
    assert graph.joined(group).pair_distance().min() >= 70.0


def test_blurred_outline_is_between_two():
    colors, labels = row((0, 20), (100, 2), (200, 20))
    colors, labels = np.repeat(colors, 30, axis=0), np.repeat(labels, 30, axis=0)
    graph = region_graph(colors, labels, 3)
    assert between_two(graph, labels, 5.0, 20.0).tolist() == [False, True, False]
    # too wide
    assert not between_two(graph, labels, 1.5, 20.0).any()
    # another colour than those between the two
    colors[labels == 1] = (100, 0, 0)
    assert not between_two(region_graph(colors, labels, 3), labels, 5.0, 20.0).any()


def test_thin_object_on_one_ground_is_kept():
    colors, labels = row((0, 20), (100, 2), (0, 20))
    labels = np.where(labels == 2, 0, labels)
    assert not between_two(region_graph(colors, labels, 2), labels, 5.0, 20.0).any()


def test_thin_object_that_only_touches_another_is_kept():
    labels = np.zeros((40, 40), int)
    labels[20:22, :30] = 1  # a wire on the ground ...
    labels[15:27, 30:] = 2  # ... whose end meets a brighter object
    colors = np.array([0, 100, 200], np.uint8)[labels][..., None].repeat(3, axis=2)
    assert not between_two(region_graph(colors, labels, 3), labels, 5.0, 20.0).any()


def test_a_single_region_has_no_neighbours():
    colors, labels = row((9, 4))
    graph = region_graph(colors, labels, 1)
    assert graph.pairs.shape == (0, 2)
    assert merge_similar(graph, 40.0, np.zeros(1, bool)).tolist() == [0]
    assert between_two(graph, labels, 5.0, 20.0).tolist() == [False]


def test_helpers():
    assert compact(np.array([[7, 3], [3, 9]])).tolist() == [[1, 0], [0, 2]]
    assert unique_pairs(np.array([[2, 1], [1, 2], [3, 3], [0, 3]]), 4).tolist() == [[0, 3], [1, 2]]
    assert unique_pairs(np.zeros((0, 2), int), 4).shape == (0, 2)
