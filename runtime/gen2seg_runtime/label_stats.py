"""Area, box, first pixel and deepest pixel of every label of a map.

A label map is read as runs, stretches of one label within a row, of which there are far fewer than pixels, and in
strips of rows, so that little memory is needed beside the map.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

_STRIP_PIXELS = 1 << 20


@dataclass(frozen=True)
class LabelStats:
    """Of labels 1..N in row label − 1; rows of labels that do not occur are 0.

    Attributes:
        area: (N,) int64, pixels.
        box: (N, 4) int64, x0, y0, x1, y1, x1 and y1 one past the last column and row.
        first: (N,) int64, flat place of the first pixel.
    """

    area: np.ndarray
    box: np.ndarray
    first: np.ndarray


def measure_labels(labels: np.ndarray, count: int) -> LabelStats:
    """Measure labels 1..count of a map; 0 is left out.

    Args:
        labels: (H, W) integers from 0 to count.
    """
    height, width = labels.shape
    area = np.zeros(count + 1, np.int64)
    first = np.full(count + 1, labels.size)
    x0, y0 = np.full(count + 1, width), np.full(count + 1, height)
    x1, y1 = np.zeros(count + 1, np.int64), np.zeros(count + 1, np.int64)
    for start, stop in _strips(height, width):
        strip = labels[start:stop]
        begin, length = _runs(strip)
        label = strip.reshape(-1)[begin]
        row, column = begin // width + start, begin % width
        np.add.at(area, label, length)
        np.minimum.at(first, label, begin + start * width)
        np.minimum.at(x0, label, column)
        np.minimum.at(y0, label, row)
        np.maximum.at(x1, label, column + length)
        np.maximum.at(y1, label, row + 1)
    box = np.stack([x0, y0, x1, y1], axis=1)
    box[area == 0] = first[area == 0] = 0
    return LabelStats(area[1:], box[1:], first[1:])


def find_centers(labels: np.ndarray, count: int) -> np.ndarray:
    """(count, 2) int64 (x, y) of the pixel farthest from the outline of labels 1..count, each of which occurs.

    Of several the first one; the frame of the picture counts as outline.

    Args:
        labels: (H, W) integers from 0 to count.
    """
    height, width = labels.shape
    depth = _depths(labels)
    deepest = np.full(count + 1, -1, np.float32)
    place = np.zeros(count + 1, np.int64)
    for start, stop in _strips(height, width):
        begin, length = _runs(labels[start:stop])
        label = labels[start:stop].reshape(-1)[begin]
        values = depth[start:stop].reshape(-1)
        deepest_of_run = np.maximum.reduceat(values, begin)
        # The first run of each label with its largest depth in the strip, then the first such pixel of that run.
        order = np.lexsort((begin, -deepest_of_run, label))
        one = order[np.append(True, label[order][1:] != label[order][:-1])]
        for run in one[deepest_of_run[one] > deepest[label[one]]].tolist():
            deepest[label[run]] = deepest_of_run[run]
            place[label[run]] = start * width + begin[run] + values[begin[run] : begin[run] + length[run]].argmax()
    return np.stack([place % width, place // width], axis=1)[1:]


def _depths(labels: np.ndarray) -> np.ndarray:
    """(H, W) float32: distance to the nearest pixel on an outline; those themselves have 0."""
    import cv2

    height, width = labels.shape
    inside = np.zeros((height + 2, width + 2), np.uint8)
    for start, stop in _strips(height, width):
        above, below = max(start - 1, 0), min(stop + 1, height)
        part = labels[above:below]
        wide = np.pad(part, ((above == start, below == stop), (1, 1)), constant_values=-1)
        middle = wide[1:-1, 1:-1]
        same = middle > 0
        for neighbor in (wide[:-2, 1:-1], wide[2:, 1:-1], wide[1:-1, :-2], wide[1:-1, 2:]):
            same &= neighbor == middle
        inside[start + 1 : stop + 1, 1:-1] = same
    return np.ascontiguousarray(cv2.distanceTransform(inside, cv2.DIST_L2, cv2.DIST_MASK_PRECISE)[1:-1, 1:-1])


def _runs(labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(R,) int64 flat places at which a stretch of one label within a row begins, and (R,) its length."""
    starts = np.ones(labels.shape, bool)
    np.not_equal(labels[:, 1:], labels[:, :-1], out=starts[:, 1:])
    begin = np.flatnonzero(starts)
    return begin, np.diff(begin, append=labels.size)


def _strips(height: int, width: int) -> Iterator[tuple[int, int]]:
    step = max(1, _STRIP_PIXELS // width)
    for start in range(0, height, step):
        yield start, min(height, start + step)
