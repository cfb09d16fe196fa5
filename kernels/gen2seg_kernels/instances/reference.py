"""What leaves and their tree are, in plain Python: slow, and for reading.

Sources: watershed by flooding (Vincent and Soille 1991); merging by the mean strength of the outline, as in the
region trees of Arbelaez et al., Contour Detection and Hierarchical Image Segmentation (2011).
"""

import heapq
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gen2seg_kernels.instances.tree import Tree

_SIXTEENTHS = 16  # weight of the smoothing: colours are counted in sixteenths of a unit
_UNLIKE = 32  # units of colour: what differs by less may stay in its leaf
_SIDES = ((-1, 0), (0, -1), (0, 1), (1, 0))


def smooth(colors: NDArray[np.uint8]) -> NDArray[np.int64]:
    """Weights 1 2 1 along both axes, the frame repeated; in sixteenths."""
    wide = np.pad(colors.astype(np.int64), ((1, 1), (1, 1), (0, 0)), mode="edge")
    rows = wide[:-2] + 2 * wide[1:-1] + wide[2:]
    return rows[:, :-2] + 2 * rows[:, 1:-1] + rows[:, 2:]


def find_leaves(colors: NDArray[np.uint8], least: int) -> NDArray[np.int32]:
    """See `dispatch.find_leaves`.

    Every plateau of the slope without a lower neighbour is a basin. They grow over the rest, the lowest slope first;
    where slopes are equal, the pixel that was reached first. Corners, which the smoothing rounds off, are squared. Then
    all leaves that are too small go with the neighbour to which the smallest step of colour leads, all at once,
    until none is left.
    """
    smoothed = smooth(colors)
    slope = _slope(smoothed)
    labels = _square_corners(colors.astype(np.int64), _flood(slope, _basins(slope)))
    while _join_small(smoothed, labels, least):
        pass
    _, first, inverse = np.unique(labels, return_index=True, return_inverse=True)
    return np.argsort(np.argsort(first))[inverse].reshape(labels.shape).astype(np.int32)


def _slope(smoothed: NDArray[np.int64]) -> NDArray[np.int64]:
    """In whole units of colour, at most 255: the mean of the largest step to a neighbour and of the least step by which
    the colour moves on in one direction over the pixel, 0 on a ridge."""
    largest, onward = np.zeros((2, *smoothed.shape[:2]), np.int64)
    for axis in (0, 1):
        steps = np.diff(smoothed, axis=axis, prepend=smoothed.take([0], axis), append=smoothed.take([-1], axis))
        before, after = (steps.take(range(i, smoothed.shape[axis] + i), axis) for i in (0, 1))
        one, other = _squared(before), _squared(after)
        largest = np.maximum(largest, np.maximum(one, other))
        onward = np.maximum(onward, np.where((before * after).sum(axis=-1) > 0, np.minimum(one, other), 0))
    roots = np.sqrt(largest).astype(np.int64) + np.sqrt(onward).astype(np.int64)
    return np.minimum(roots // (2 * _SIXTEENTHS), 255)


def _squared(step: NDArray[Any]) -> NDArray[Any]:
    return (step**2).sum(axis=-1)


def _around(at: tuple[int, int], shape: tuple[int, ...]) -> list[tuple[int, int]]:
    places = [(at[0] + down, at[1] + right) for down, right in _SIDES]
    return [(y, x) for y, x in places if 0 <= y < shape[0] and 0 <= x < shape[1]]


def _basins(slope: NDArray[np.int64]) -> NDArray[np.int64]:
    """Plateaus without a lower neighbour under the flat place of their first pixel; elsewhere −1."""
    labels = np.full(slope.shape, -1)
    seen = np.zeros(slope.shape, bool)
    for start in np.ndindex(*slope.shape):
        if seen[start]:
            continue
        plateau, lowest = [start], True
        seen[start] = True
        for at in plateau:
            for there in _around(at, slope.shape):
                lowest &= bool(slope[there] >= slope[at])
                if slope[there] == slope[at] and not seen[there]:
                    seen[there] = True
                    plateau.append(there)
        if lowest:
            for at in plateau:
                labels[at] = start[0] * slope.shape[1] + start[1]
    return labels


def _flood(slope: NDArray[np.int64], labels: NDArray[np.int64]) -> NDArray[np.int64]:
    queue = []
    for y, x in np.ndindex(*slope.shape):
        if labels[y, x] >= 0:
            heapq.heappush(queue, (slope[y, x], len(queue), y, x))
    turn = len(queue)
    while queue:
        _, _, *at = heapq.heappop(queue)
        for there in _around((at[0], at[1]), slope.shape):
            if labels[there] < 0:
                labels[there] = labels[at[0], at[1]]
                heapq.heappush(queue, (slope[there], turn, *there))
                turn += 1
    return labels


def _square_corners(colors: NDArray[np.int64], labels: NDArray[np.int64]) -> NDArray[np.int64]:
    """A pixel in a leaf unlike it, beside one that is like it, goes over, unless the neighbour there moves too."""
    target = {}
    for at in np.ndindex(*labels.shape):
        around = [(int(_squared(colors[at] - colors[there])), there) for there in _around(at, labels.shape)]
        own = [difference for difference, there in around if labels[there] == labels[at]]
        others = [(difference, there) for difference, there in around if labels[there] != labels[at]]
        if not own or not others:
            continue
        nearest, there = min(others, key=lambda other: other[0])
        if min(own) >= max(_UNLIKE**2, 16 * nearest):
            target[at] = there
    result = labels.copy()
    for at, there in target.items():
        if there not in target:
            result[at] = labels[there]
    return result


def _join_small(smoothed: NDArray[np.int64], labels: NDArray[np.int64], least: int) -> bool:
    """One round, in place; whether anything was joined. A leaf is known by its first pixel, which settles ties."""
    _, first, inverse, area = np.unique(labels, return_index=True, return_inverse=True, return_counts=True)
    labels[:] = first[inverse].reshape(labels.shape)
    areas = dict(zip(first.tolist(), area.tolist(), strict=True))
    best: dict[int, tuple[int, int]] = {}
    for at in np.ndindex(*labels.shape):
        for there in _around(at, labels.shape):
            here, other = int(labels[at]), int(labels[there])
            if here != other and areas[here] < least:
                offer = (int(_squared(smoothed[at] - smoothed[there])), other)
                best[here] = min(best.get(here, offer), offer)
    name = {leaf: leaf for leaf in areas}

    def first_of(leaf: int) -> int:
        while name[leaf] != leaf:
            leaf = name[leaf]
        return leaf

    for leaf, (_, other) in best.items():
        one, two = sorted((first_of(leaf), first_of(other)))
        name[two] = one
    for at in np.ndindex(*labels.shape):
        labels[at] = first_of(int(labels[at]))
    return bool(best)


@dataclass
class _Border:
    """Between two regions; `number` settles ties: the older border first."""

    number: int
    length: int = 0
    steps: int = 0

    @property
    def strength(self) -> float:
        return self.steps / self.length


class _Growth:
    """Regions while they merge: lists over nodes, and around those that are nobody's child borders by neighbour."""

    def __init__(self, colors: NDArray[np.uint8], leaves: NDArray[np.int32]):
        count = int(leaves.max()) + 1
        if len(np.unique(leaves)) != count or leaves.min() < 0:
            raise ValueError("leaves must be numbered from 0 without a gap")
        self.area = np.bincount(leaves.ravel()).tolist()
        sums = [np.bincount(leaves.ravel(), weights=colors[..., c].ravel()) for c in range(3)]
        self.color = [np.array(values, np.int64) for values in zip(*sums, strict=True)]
        means = np.array(self.color) / np.array(self.area)[:, None]
        self.around = _borders(smooth(colors), leaves, means)
        self.outline = [
            np.array([sum(border.length for border in each.values()), sum(border.steps for border in each.values())])
            for each in self.around
        ]
        self.birth = [0.0] * count
        frame = {*leaves[0], *leaves[-1], *leaves[:, 0], *leaves[:, -1]}
        self.at_frame = [leaf in frame for leaf in range(count)]
        self.child: list[tuple[int, int]] = []
        self.parent: dict[int, int] = {}
        self._queue: list[tuple[float, int, int, int]] = []

    def pairs(self) -> Iterator[tuple[int, int]]:
        """Touching regions, the lower node first."""
        return ((low, high) for low, each in enumerate(self.around) for high in each if low < high)

    def queue_all(self) -> None:
        """Begin to take pairs anew."""
        self._queue = [self._entry(*pair) for pair in self.pairs()]
        heapq.heapify(self._queue)

    def weakest(self) -> tuple[float, tuple[int, int]] | None:
        """Take the pair with the weakest border of those that are queued, and its strength."""
        while self._queue:
            entry = heapq.heappop(self._queue)
            strength, _, low, high = entry
            # Borders that have been pooled, and regions that are gone, leave entries that say so no longer.
            if high in self.around[low] and entry == self._entry(low, high):
                return strength, (low, high)
        return None

    def now(self, pair: tuple[int, int]) -> tuple[int, int]:
        """The regions in which two that touched lie by now."""
        low, high = sorted(self._whole(node) for node in pair)
        return low, high

    def larger(self, pair: tuple[int, int]) -> int:
        low, high = pair
        return low if self.area[low] >= self.area[high] else high

    def merge(self, pair: tuple[int, int], birth: float) -> None:
        low, high = pair
        gone = self.around[low][high]
        node = len(self.area)
        self.birth.append(birth)
        self.area.append(self.area[low] + self.area[high])
        self.color.append(self.color[low] + self.color[high])
        self.outline.append(self.outline[low] + self.outline[high] - 2 * np.array([gone.length, gone.steps]))
        self.at_frame.append(self.at_frame[low] or self.at_frame[high])
        self.child.append(pair)
        self.parent |= {low: node, high: node}
        pooled: dict[int, _Border] = {}
        for part in pair:
            for neighbor, border in self.around[part].items():
                if neighbor in pair:
                    continue
                if neighbor in pooled:  # two borders are one now, under the older number
                    known = pooled[neighbor]
                    number = min(border.number, known.number)
                    border = _Border(number, border.length + known.length, border.steps + known.steps)
                pooled[neighbor] = border
                self.around[neighbor].pop(part)
            self.around[part] = {}
        self.around.append(pooled)
        for neighbor, border in pooled.items():
            self.around[neighbor][node] = border
            heapq.heappush(self._queue, self._entry(neighbor, node))

    def is_hole(self, node: int, background: float, largest: int) -> bool:
        red, green, blue = (float(value) for value in self.color[node])
        dark = background >= 0 and red**2 + green**2 + blue**2 <= (background * self.area[node]) ** 2
        return dark and len(self.around[node]) == 1 and not self.at_frame[node] and self.area[node] <= largest

    def _whole(self, node: int) -> int:
        while node in self.parent:
            node = self.parent[node]
        return node

    def _entry(self, low: int, high: int) -> tuple[float, int, int, int]:
        border = self.around[low][high]
        return border.strength, border.number, low, high


def merge_leaves(
    colors: NDArray[np.uint8],
    leaves: NDArray[np.int32],
    distance: float,
    min_area: int,
    background: float = 0,
    largest_hole: int = 0,
) -> Tree:
    """See `dispatch.merge_leaves`.

    A region's birth is the strongest outline merged within it: at least those of its parts, and above the cut at least
    `distance`. Where something too small or a hole is taken in, the birth is that of the larger of the two.
    """
    growth = _Growth(colors, leaves)
    area, birth = growth.area, growth.birth

    def grow(below: float, least: float) -> None:
        growth.queue_all()
        while (weakest := growth.weakest()) and weakest[0] < below:
            strength, (low, high) = weakest
            growth.merge((low, high), max(least, strength / _SIXTEENTHS, birth[low], birth[high]))

    grow(distance * _SIXTEENTHS, 0)
    growth.queue_all()
    while weakest := growth.weakest():
        pair = weakest[1]
        if min(area[pair[0]], area[pair[1]]) < min_area:
            growth.merge(pair, birth[growth.larger(pair)])
    for pair in sorted(growth.pairs(), key=lambda pair: growth.around[pair[0]][pair[1]].number):
        # What lies around a hole may have taken in another one.
        pair = growth.now(pair)
        if any(growth.is_hole(node, background, largest_hole) for node in pair):
            growth.merge(pair, birth[growth.larger(pair)])
    cut = len(area)
    grow(np.inf, distance)
    begin, count = _order(growth.child, int(leaves.max()) + 1)
    return Tree(
        cut=cut,
        child=np.array(growth.child, np.int32).reshape(-1, 2),
        begin=begin,
        count=count,
        area=np.array(area),
        color=np.array(growth.color),
        birth=np.array(birth),
        outline=np.array(growth.outline),
    )


def _borders(
    smoothed: NDArray[np.int64], leaves: NDArray[np.int32], means: NDArray[np.float64]
) -> list[dict[int, _Border]]:
    """Around each leaf its borders by neighbour; the two leaves share the object.

    A step is the mean of the one across the outline there and of that between the mean colours of the two leaves.
    """
    height, width = leaves.shape
    around: list[dict[int, _Border]] = [{} for _ in means]
    number = 0
    for y in range(height):
        for x in range(width):
            sides = []
            # Between the pixels one further from the outline than the two that it parts: outlines are blurred.
            if x and leaves[y, x] != leaves[y, x - 1]:
                sides.append((leaves[y, x - 1], smoothed[y, max(x - 2, 0)] - smoothed[y, min(x + 1, width - 1)]))
            if y and leaves[y, x] != leaves[y - 1, x]:
                sides.append((leaves[y - 1, x], smoothed[max(y - 2, 0), x] - smoothed[min(y + 1, height - 1), x]))
            for other, difference in sides:
                low, high = int(min(leaves[y, x], other)), int(max(leaves[y, x], other))
                if high not in around[low]:
                    around[low][high] = around[high][low] = _Border(number)
                    number += 1
                between = int(_SIXTEENTHS * np.sqrt(_squared(means[low] - means[high])))
                border = around[low][high]
                border.length += 1
                border.steps += (int(np.sqrt(_squared(difference))) + between) // 2
    return around


def _order(child: list[tuple[int, int]], leaves: int) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """`begin` and `count` of `Tree`."""
    count = np.ones(leaves + len(child), np.int32)
    for node, (low, high) in enumerate(child, leaves):
        count[node] = count[low] + count[high]
    begin = np.zeros(leaves + len(child), np.int32)
    for node in range(leaves + len(child) - 1, leaves - 1, -1):
        low, high = child[node - leaves]
        begin[low] = begin[node]
        begin[high] = begin[node] + count[low]
    return begin, count
