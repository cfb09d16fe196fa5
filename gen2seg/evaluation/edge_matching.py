"""One-to-one matching of edge pixels with a human's boundary pixels, at every threshold of the edge strength.

The benchmark (BSDS500: Arbelaez et al., TPAMI 2011; the matching: Martin, Fowlkes and Malik, TPAMI 2004) pairs edge
pixels with boundary pixels at most 0.0075 of the image's diagonal apart, each at most once, so that as few as possible
stay alone and, among those pairings, the sum of the distances is least; alone costs 100 tolerances a pixel. It solves
that from scratch at each threshold. Here the thresholds are one sequence: a lower threshold only adds edge pixels, and
adding a pixel to an optimal matching takes one shortest augmenting path (the Hungarian method with Dijkstra's search:
Edmonds and Karp 1972; Jonker and Volgenant 1987). So every matching on the way down is optimal, at the price of one.

The benchmark thins each thresholded map again. That is left out, as edges come thinned (on pictures of BSDS500 it would
take another 0.4 to 3 % of the pixels of `color_edges`, which count as wrong here).
"""

import heapq
import itertools
import math
from collections.abc import Iterator

import numpy as np

# As a share of the image's diagonal.
TOLERANCE = 0.0075
# Cost of a pixel that stays alone, in tolerances.
_ALONE = 100.0
# Gains below this are rounding: distances are square roots of integers, prices sums of a few of them.
_NOTHING = 1e-9


def tolerance_of(size: tuple[int, int]) -> float:
    """The matching distance for an image of `size` = (H, W), in pixels."""
    return TOLERANCE * float(np.hypot(*size))


def match_boundary(groups: list[np.ndarray], boundary: np.ndarray, tolerance: float) -> Iterator[np.ndarray]:
    """Match growing sets of edge pixels with one boundary.

    Args:
        groups: the edge pixels that each threshold adds, highest first: int64 [N_t], indices into the flat image.
        boundary: bool [H, W].
        tolerance: largest distance of a pair in pixels, inclusive.
    Yields:
        For each group the matched edge pixels (int64 [M], flat indices) once it has been added.
    """
    matching = Matching(int(np.count_nonzero(boundary)), 2 * _ALONE * tolerance)
    candidates = _candidates(np.concatenate(groups) if groups else np.zeros(0, np.int64), boundary, tolerance)
    for group in groups:
        for pixel, pairs in itertools.islice(candidates, len(group)):
            matching.add(pixel, [(column, matching.worth - distance) for column, distance in pairs])
        yield matching.matched()


class Matching:
    """A matching of greatest worth between rows that come one by one and a fixed number of columns.

    A pair is worth `worth` minus its distance. Duals: every column has a price >= 0, every row a profit >= 0, profit +
    price >= worth of each pair, equal on the matched ones; a free column costs nothing, a row left alone gains nothing.
    """

    def __init__(self, columns: int, worth: float) -> None:
        self.worth = worth
        self._price = [0.0] * columns
        self._holder = [-1] * columns  # -1: free; rows are numbers from 0 on
        self._pairs: dict[int, list[tuple[int, float]]] = {}
        self._profit: dict[int, float] = {}
        self._column: dict[int, int] = {}

    def matched(self) -> np.ndarray:
        """The matched rows, int64."""
        return np.fromiter(self._column, np.int64, len(self._column))

    def pairs(self) -> dict[int, int]:
        """Column by matched row."""
        return dict(self._column)

    def add(self, row: int, pairs: list[tuple[int, float]]) -> None:
        """Add a row (a number >= 0, a new one each time) with its (column, worth) pairs and mend the matching."""
        price = self._price
        top, first = 0.0, -1
        for column, worth in pairs:
            gain = worth - price[column]
            if gain > top:
                top, first = gain, column
        if top <= _NOTHING:
            return  # nobody would give way: prices never fall, so it can be forgotten
        self._pairs[row], self._profit[row] = pairs, top
        if self._holder[first] < 0:
            self._holder[first], self._column[row] = row, first
        else:
            self._search(row)

    def _search(self, start: int) -> None:
        """The cheapest way to give `start` a column: at its end is a free column, or a row that loses its own."""
        price, holder, profit = self._price, self._holder, self._profit
        distance: dict[int, float] = {}  # by column
        came: dict[int, int] = {}  # the row before it
        heap: list[tuple[float, int]] = []
        row, reached, least = start, 0.0, profit[start]
        loser: int | None = start
        free = -1
        rows = [(start, 0.0)]
        while True:
            base = reached + profit[row]
            for column, worth in self._pairs[row]:
                there = base + price[column] - worth
                if there < least and there < distance.get(column, least):
                    distance[column], came[column] = there, row
                    if holder[column] < 0:
                        least, free, loser = there, column, None
                    else:
                        heapq.heappush(heap, (there, column))
            while heap and heap[0][0] > distance[heap[0][1]]:
                heapq.heappop(heap)
            if not heap or heap[0][0] >= least:
                break
            reached, column = heapq.heappop(heap)
            distance[column] = -math.inf  # settled: rounding must not lead back here
            row = holder[column]
            rows.append((row, reached))
            if reached + profit[row] < least:
                least, loser = reached + profit[row], row
        for row, reached in rows:
            profit[row] -= least - reached
            if row != start:
                price[self._column[row]] += least - reached
        if loser == start:
            del self._pairs[start], profit[start]
            return
        column = free
        if loser is not None:
            column = self._column.pop(loser)
            del self._pairs[loser], profit[loser]
        while column >= 0:
            row = came[column]
            before = self._column.get(row, -1)
            holder[column], self._column[row] = row, column
            column = before


def _candidates(
    pixels: np.ndarray, boundary: np.ndarray, tolerance: float
) -> Iterator[tuple[int, list[tuple[int, float]]]]:
    """For each pixel: (pixel, [(number of a boundary pixel, distance), ...]), the nearest first."""
    reach = int(tolerance)
    down, right = np.mgrid[-reach : reach + 1, -reach : reach + 1]
    distances = np.hypot(down, right).ravel()
    order = np.flatnonzero(distances <= tolerance)
    order = order[np.argsort(distances[order], kind="stable")]
    numbers = np.full(boundary.shape, -1, np.int64)
    numbers[boundary] = np.arange(np.count_nonzero(boundary))
    numbers = np.pad(numbers, reach, constant_values=-1)
    y, x = np.divmod(pixels, boundary.shape[1])
    found = numbers[y[:, None] + down.ravel()[order] + reach, x[:, None] + right.ravel()[order] + reach]
    row, place = np.nonzero(found >= 0)
    pairs = list(zip(found[row, place].tolist(), distances[order][place].tolist(), strict=True))
    ends = np.cumsum(np.bincount(row, minlength=len(pixels))).tolist()
    begin = 0
    for pixel, end in zip(pixels.tolist(), ends, strict=True):
        yield pixel, pairs[begin:end]
        begin = end
