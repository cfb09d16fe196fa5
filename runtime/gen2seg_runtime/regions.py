"""Merge regions of a partition by the distance of their mean colours.

Everything here works on arrays over regions and over pairs of neighbouring regions, never on pixels, and a
round of merging is a handful of array operations: the time does not depend on Python loops over regions.
"""

from dataclasses import dataclass

import numpy as np

_SPECK = 16  # a region this many times smaller than another is a speck beside it


@dataclass
class RegionGraph:
    """Regions 0..n−1 of a partition and which of them touch.

    Attributes:
        area: (n,) int64, pixels.
        color_sum: (n, 3) int64, sum of uint8 colours: exact, so results do not depend on any order.
        pairs: (m, 2) int64, regions that touch (corners count), first < second, sorted, each pair once.
    """

    area: np.ndarray
    color_sum: np.ndarray
    pairs: np.ndarray

    @property
    def mean(self) -> np.ndarray:
        """(n, 3) float64 mean colours."""
        return self.color_sum / self.area[:, None]

    def pair_distance(self) -> np.ndarray:
        """(m,) float64 Euclidean distance of the mean colours of each touching pair."""
        mean = self.mean
        return np.sqrt(((mean[self.pairs[:, 0]] - mean[self.pairs[:, 1]]) ** 2).sum(axis=1))

    def joined(self, group: np.ndarray) -> "RegionGraph":
        """The graph after regions with equal `group` (n,) in 0..k−1 have become one."""
        count = int(group.max()) + 1
        area = np.zeros(count, np.int64)
        color_sum = np.zeros((count, 3), np.int64)
        np.add.at(area, group, self.area)
        np.add.at(color_sum, group, self.color_sum)
        return RegionGraph(area, color_sum, unique_pairs(group[self.pairs], count))


def region_graph(colors: np.ndarray, labels: np.ndarray, count: int) -> RegionGraph:
    """The graph of a partition.

    Args:
        colors: (h, w, 3) uint8.
        labels: (h, w) integers 0..count−1, each of which occurs.
    """
    flat = labels.ravel()
    area = np.bincount(flat, minlength=count)
    # float64 sums of integers are exact below 2^53
    sums = [np.bincount(flat, weights=colors[..., c].ravel(), minlength=count) for c in range(3)]
    pairs = []
    for one, other in (
        (labels[:, :-1], labels[:, 1:]),
        (labels[:-1], labels[1:]),
        # Diagonals too: a slanted wire of one pixel holds together by its corners.
        (labels[:-1, :-1], labels[1:, 1:]),
        (labels[:-1, 1:], labels[1:, :-1]),
    ):
        differ = one != other
        pairs.append(unique_pairs(np.stack([one[differ], other[differ]], axis=1), count))
    pairs = unique_pairs(np.concatenate(pairs), count)
    return RegionGraph(area, np.stack(sums, axis=1).astype(np.int64), pairs)


def unique_pairs(pairs: np.ndarray, count: int) -> np.ndarray:
    """(m, 2) numbers below `count` -> the distinct unordered pairs of different numbers, sorted."""
    pairs = pairs.astype(np.int64)
    low, high = pairs.min(axis=1, initial=count), pairs.max(axis=1, initial=0)
    keys, _ = _sorted_counts((low * count + high)[low < high])
    return np.stack([keys // count, keys % count], axis=1)


def merge_similar(graph: RegionGraph, limit: float, apart: np.ndarray) -> np.ndarray:
    """Merge touching regions, closest mean colours first, until none closer than `limit` are left.

    In each round every region names its closest neighbour. Two that name each other merge, as they would in
    plain one-by-one merging; and a region joins the one it names if that is so much larger that its mean
    hardly moves, so that a large region takes all its specks in one round.

    Args:
        graph: the regions.
        limit: Euclidean colour distance, channels 0..255; a pair at exactly `limit` stays apart.
        apart: (n,) bool, regions that take no part.
    Returns:
        (n,) int64 group of each region, 0..k-1.
    """
    group = np.arange(len(graph.area))
    while True:
        distance = graph.pair_distance()
        open_pair = (distance < limit) & ~apart[graph.pairs].any(axis=1)
        partner = _closest_partner(len(graph.area), graph.pairs[open_pair], distance[open_pair])
        each = np.arange(len(partner))
        speck = graph.area * _SPECK <= graph.area[partner]
        speck &= ~speck[partner]
        mutual = (partner != each) & (partner[partner] == each) & ~speck & ~speck[partner]
        if not (speck | mutual).any():
            return group
        step = compact(np.where(speck, partner, np.where(mutual, np.minimum(partner, each), each)))
        still_apart = np.zeros(int(step.max()) + 1, bool)
        still_apart[step[apart]] = True
        graph, group, apart = graph.joined(step), step[group], still_apart


def absorb_small(graph: RegionGraph, min_area: int) -> np.ndarray:
    """Merge every region below `min_area` pixels into its most similar neighbour until none is left.

    A small region goes to a large one at once; between two small ones only if they choose each other, since
    a chain of them would otherwise run along an outline in one round. One without a neighbour stays.

    Returns:
        (n,) int64 group of each region, 0..k-1.
    """
    group = np.arange(len(graph.area))
    while True:
        small = graph.area < min_area
        partner = _closest_partner(len(small), graph.pairs, graph.pair_distance())
        each = np.arange(len(small))
        mutual = small & small[partner] & (partner[partner] == each)
        target = np.where(mutual, np.minimum(partner, each), np.where(small & ~small[partner], partner, each))
        if (target == each).all():
            return group
        step = compact(target)
        graph, group = graph.joined(step), step[group]


def compact(values: np.ndarray) -> np.ndarray:
    """Renumber small whole numbers >= 0 to 0..k-1, keeping their order; int64, same shape."""
    present = np.bincount(values.ravel()) > 0
    return (np.cumsum(present) - 1)[values]


def _closest_partner(count: int, pairs: np.ndarray, distance: np.ndarray) -> np.ndarray:
    """(count,) closest neighbour of each region (itself if none); ties go to the lower numbers."""
    partner = np.arange(count)
    # Stable: pairs come sorted, so every region sees the same order, and the first pair of all is mutual.
    ordered = pairs[np.argsort(distance, kind="stable")][::-1]
    # The last write wins, and the closest pair is written last.
    both = np.stack([ordered, ordered[:, ::-1]], axis=1).reshape(-1, 2)
    partner[both[:, 0]] = both[:, 1]
    return partner


def between_two(graph: RegionGraph, labels: np.ndarray, width: float, tolerance: float) -> np.ndarray:
    """Find the strips that a blurred outline leaves: thin, between two regions in place and in colour.

    Args:
        graph: the graph of the partition `labels`.
        labels: (h, w) integers 0..n-1.
        width: widest strip in pixels, measured as twice the area over the length of the outline.
        tolerance: largest colour distance of its mean from the line between the two means.
    Returns:
        (n,) bool. The two regions with which a strip shares most of its outline must make up most of it, and
        neither less than a fifth.
    """
    count = len(graph.area)
    pairs, length = _directed_borders(labels, count)
    total = np.bincount(pairs[:, 0], weights=length, minlength=count)
    # Sorted by region, longest border first.
    order = np.lexsort((pairs[:, 1], -length, pairs[:, 0]))
    pairs, length = pairs[order], length[order]
    second = np.flatnonzero(pairs[1:, 0] == pairs[:-1, 0]) + 1
    # of each region only the second entry of its list: the one before it is the first
    starts = np.append(True, pairs[1:, 0] != pairs[:-1, 0]) if len(pairs) else np.zeros(0, bool)
    second = second[starts[second - 1]]
    region, first_side, other_side = pairs[second, 0], pairs[second - 1, 1], pairs[second, 1]
    mean = graph.mean
    line = mean[other_side] - mean[first_side]
    offset = mean[region] - mean[first_side]
    share = (offset * line).sum(axis=1) / np.maximum((line**2).sum(axis=1), 1e-9)
    apart = np.sqrt(((offset - share[:, None] * line) ** 2).sum(axis=1))
    strip = (share > 0.1) & (share < 0.9) & (apart < tolerance)
    strip &= length[second] >= 0.2 * total[region]
    strip &= length[second] + length[second - 1] >= 0.6 * total[region]
    strip &= 2 * graph.area[region] <= width * total[region]
    result = np.zeros(count, bool)
    result[region[strip]] = True
    return result


def _directed_borders(labels: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """(m, 2) touching regions in both directions and (m,) the number of pixel edges between them."""
    keys = []
    for one, other in ((labels[:, :-1], labels[:, 1:]), (labels[:-1], labels[1:])):
        differ = one != other
        one, other = one[differ].astype(np.int64), other[differ].astype(np.int64)
        keys += [one * count + other, other * count + one]
    unique, length = _sorted_counts(np.concatenate(keys))
    return np.stack([unique // count, unique % count], axis=1), length


def _sorted_counts(keys: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The distinct numbers, sorted, and how often each occurs. (np.unique hashes, which for a million of
    these keys takes many times longer than sorting them.)"""
    keys = np.sort(keys)
    first = np.flatnonzero(np.append(True, keys[1:] != keys[:-1])[: len(keys)])
    return keys[first], np.diff(first, append=len(keys))
