"""What leaves and their tree are, in plain Python: slow, and for reading.

Sources: watershed by flooding (Vincent and Soille 1991); merging by the mean strength of the outline, as in the
region trees of Arbelaez et al., Contour Detection and Hierarchical Image Segmentation (2011).
"""

import heapq
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gen2seg_kernels.instances.tree import Tree

_SIXTEENTHS = 16  # weight of the smoothing: colours are counted in sixteenths of a unit
_SIDES = ((-1, 0), (0, -1), (0, 1), (1, 0))


def smooth(colors: NDArray[np.uint8]) -> NDArray[np.int64]:
    """Weights 1 2 1 along both axes, the frame repeated; in sixteenths."""
    wide = np.pad(colors.astype(np.int64), ((1, 1), (1, 1), (0, 0)), mode="edge")
    rows = wide[:-2] + 2 * wide[1:-1] + wide[2:]
    return rows[:, :-2] + 2 * rows[:, 1:-1] + rows[:, 2:]


def find_leaves(colors: NDArray[np.uint8], least: int) -> NDArray[np.int32]:
    """See `dispatch.find_leaves`.

    Every plateau of the slope without a lower neighbour is a basin. They grow over the rest, the lowest slope first;
    where slopes are equal, the pixel that was reached first. Then all leaves that are too small go with the
    neighbour to which the smallest step of colour leads, all at once, until none is left.
    """
    smoothed = smooth(colors)
    slope = _slope(smoothed)
    labels = _flood(slope, _basins(slope))
    while _join_small(smoothed, labels, least):
        pass
    _, first, inverse = np.unique(labels, return_index=True, return_inverse=True)
    return np.argsort(np.argsort(first))[inverse].reshape(labels.shape).astype(np.int32)


def _slope(smoothed: NDArray[np.int64]) -> NDArray[np.int64]:
    """The largest step of colour to the four neighbours in whole units, at most 255."""
    slope = np.zeros(smoothed.shape[:2], np.int64)
    across, down = (np.sqrt(_squared(np.diff(smoothed, axis=axis))).astype(np.int64) // 16 for axis in (1, 0))
    for step, one, other in ((across, slope[:, :-1], slope[:, 1:]), (down, slope[:-1], slope[1:])):
        np.maximum(one, step, out=one)
        np.maximum(other, step, out=other)
    return np.minimum(slope, 255)


def _squared(step: NDArray[np.int64]) -> NDArray[np.int64]:
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
    for leaf, (_, other) in best.items():
        gone, kept = name[leaf], name[other]
        name = {each: kept if known == gone else known for each, known in name.items()}
    for at in np.ndindex(*labels.shape):
        labels[at] = name[int(labels[at])]
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


def merge_leaves(colors: NDArray[np.uint8], leaves: NDArray[np.int32], distance: float, min_area: int) -> Tree:
    """See `dispatch.merge_leaves`.

    A region's birth is the strongest outline merged within it: at least those of its parts, and above the cut at least
    `distance`. Where something too small is taken in, the birth is that of the larger of the two.
    """
    count = int(leaves.max()) + 1
    if len(np.unique(leaves)) != count or leaves.min() < 0:
        raise ValueError("leaves must be numbered from 0 without a gap")
    borders, outline = _borders(smooth(colors), leaves, count)
    area = np.bincount(leaves.ravel()).tolist()
    color = [np.bincount(leaves.ravel(), weights=colors[..., c].ravel()) for c in range(3)]
    color = [np.array(values, np.int64) for values in zip(*color, strict=True)]
    birth = [0.0] * count
    child: list[tuple[int, int]] = []
    cut = 0
    for phase in ("below", "small", "above"):
        while True:
            candidates = [
                (border.strength, border.number, pair)
                for pair, border in borders.items()
                if phase != "small" or min(area[node] for node in pair) < min_area
            ]
            if not candidates:
                break
            strength, _, pair = min(candidates)
            if phase == "below" and not strength < distance * _SIXTEENTHS:
                break
            low, high = pair
            born = max(strength / _SIXTEENTHS, birth[low], birth[high])
            if phase == "small":
                born = birth[low if area[low] >= area[high] else high]
            if phase == "above":
                born = max(born, distance)
            birth.append(born)
            area.append(area[low] + area[high])
            color.append(color[low] + color[high])
            outline.append(outline[low] + outline[high] - 2 * np.array([borders[pair].length, borders[pair].steps]))
            child.append(pair)
            borders = _joined(borders, pair, len(area) - 1)
        if phase == "small":
            cut = len(area)
    begin, size = _order(child, count)
    return Tree(
        cut=cut,
        child=np.array(child, np.int32).reshape(-1, 2),
        begin=begin,
        count=size,
        area=np.array(area),
        color=np.array(color),
        birth=np.array(birth),
        outline=np.array(outline),
    )


def _borders(
    smoothed: NDArray[np.int64], leaves: NDArray[np.int32], count: int
) -> tuple[dict[tuple[int, int], _Border], list[NDArray[np.int64]]]:
    """Borders under their two leaves, the lower first, and for each leaf the pairs and steps of its outline."""
    height, width = leaves.shape
    borders: dict[tuple[int, int], _Border] = {}
    outline = [np.zeros(2, np.int64) for _ in range(count)]
    for y in range(height):
        for x in range(width):
            sides = []
            # Between the pixels one further from the outline than the two that it parts: outlines are blurred.
            if x:
                sides.append((leaves[y, x - 1], smoothed[y, max(x - 2, 0)] - smoothed[y, min(x + 1, width - 1)]))
            if y:
                sides.append((leaves[y - 1, x], smoothed[max(y - 2, 0), x] - smoothed[min(y + 1, height - 1), x]))
            for other, difference in sides:
                pair = (int(min(leaves[y, x], other)), int(max(leaves[y, x], other)))
                if pair[0] == pair[1]:
                    continue
                step = int(np.sqrt(_squared(difference)))
                border = borders.setdefault(pair, _Border(len(borders)))
                border.length += 1
                border.steps += step
                for leaf in pair:
                    outline[leaf] += (1, step)
    return borders, outline


def _joined(
    borders: dict[tuple[int, int], _Border], pair: tuple[int, int], node: int
) -> dict[tuple[int, int], _Border]:
    """The borders after a pair has become a new node; two borders that are one now keep the older number."""
    result: dict[tuple[int, int], _Border] = {}
    for ends, border in borders.items():
        if ends == pair:
            continue
        low, high = sorted(node if end in pair else end for end in ends)
        known = result.get((low, high))
        if known:
            number = min(border.number, known.number)
            border = _Border(number, border.length + known.length, border.steps + known.steps)
        result[low, high] = border
    return result


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
