"""The matching in plain Python.

The benchmark (BSDS500: Arbelaez et al., TPAMI 2011; the matching: Martin, Fowlkes and Malik, TPAMI 2004) pairs edge
pixels with boundary pixels at most a tolerance apart, each at most once, so that as few as possible stay alone and,
among those pairings, the sum of the distances is least; alone costs 100 tolerances a pixel. It solves that from
scratch at each threshold. Here the thresholds are one sequence: a lower threshold only adds edge pixels, and
adding a pixel to an optimal matching takes one shortest augmenting path (the Hungarian method with Dijkstra's search:
Edmonds and Karp 1972; Jonker and Volgenant 1987). So every matching on the way down is optimal, at the price of one.
"""

import heapq
import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from gen2seg_kernels.boundary.layout import lay_out

# Gains below this are rounding: distances are square roots of integers, prices sums of a few of them.
_NOTHING = 1e-9


def match_boundary(
    groups: Sequence[NDArray[np.int64]], boundary: NDArray[np.bool_], tolerance: float
) -> NDArray[np.bool_]:
    """See `dispatch.match_boundary`."""
    layout = lay_out(groups, boundary, tolerance)
    matching = Matching(layout.columns, layout.worth)
    matched = np.zeros((len(groups), len(layout.pixels)), bool)
    start = 0
    for group, end in enumerate(layout.ends.tolist()):
        for row in range(start, end):
            columns = layout.numbers[layout.pixels[row] + layout.reach]
            near = np.flatnonzero(columns >= 0)
            worths = layout.worth - layout.distances[near]
            matching.add(row, list(zip(columns[near].tolist(), worths.tolist(), strict=True)))
        start = end
        matched[group, matching.matched()] = True
    return matched


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
