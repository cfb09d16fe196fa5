"""Extend a partial labelling over the pixels that have no label yet.

An open pixel looks in eight directions for the nearest pixel with a label (diagonally only a few pixels far,
which is what the corners of sharp outlines need) and takes the label whose colour is most like its own. On a
blurred outline that is a cut halfway between the two colours, wherever the steepest place or the noise may
be; on a sharp one it is the outline itself.
"""

from collections.abc import Iterator

import numpy as np

# Colour units that a pixel of distance costs: of two equally similar labels the nearer one is right.
_DISTANCE_COST = 4.0
_DIAGONAL_REACH = 3  # pixels


def extend_labels(colors: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Fill the open pixels.

    Args:
        colors: (h, w, 3) uint8.
        labels: (h, w) integers from 0: 0 = open, at least one pixel is not.
    Returns:
        (h, w) int32, `labels` with the open pixels filled; deterministic.
    """
    labels = labels.astype(np.int32)
    values = colors.astype(np.float32)
    while (labels == 0).any():
        means = _mean_colors(colors, labels)
        rows, columns = np.nonzero(labels == 0)
        own = values[rows, columns]
        best = np.full(len(rows), np.inf, np.float32)
        chosen = np.zeros(len(rows), np.int32)
        for y, x in _nearest_labelled(labels, rows, columns):
            seen = (y >= 0) & (x >= 0)
            y, x = np.where(seen, y, 0), np.where(seen, x, 0)
            label = labels[y, x]
            # The mean is free of noise, the single pixel is right where a region drifts in colour.
            difference = np.minimum(_distance(own, means[label]), _distance(own, values[y, x]))
            cost = difference + _DISTANCE_COST * (np.abs(y - rows) + np.abs(x - columns))
            cost = np.where(seen, cost, np.inf)
            chosen = np.where(cost < best, label, chosen)
            best = np.minimum(best, cost)
        # Pixels that see no label in any direction wait for the next round.
        labels[rows, columns] = chosen
    return labels


def _mean_colors(colors: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """(n, 3) float32 mean colours of labels 0..n-1."""
    flat = labels.ravel()
    area = np.maximum(np.bincount(flat), 1)
    sums = [np.bincount(flat, weights=colors[..., channel].ravel()) for channel in range(3)]
    return (np.stack(sums, axis=1) / area[:, None]).astype(np.float32)


def _distance(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """(n, 3), (n, 3) float32 -> (n,) Euclidean distance."""
    d0, d1, d2 = (a[:, i] - b[:, i] for i in range(3))
    return np.sqrt(d0 * d0 + d1 * d1 + d2 * d2)


def _nearest_labelled(
    labels: np.ndarray, rows: np.ndarray, columns: np.ndarray
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Rows and columns of the nearest pixels with a label, direction by direction, as seen from the given
    ones; one of the two is negative where there is none."""
    height, width = labels.shape
    x = np.where(labels > 0, np.arange(width, dtype=np.int32), -1)
    yield rows, np.maximum.accumulate(x, axis=1)[rows, columns]
    x = np.where(labels > 0, np.arange(width, dtype=np.int32), width)
    right = np.minimum.accumulate(x[:, ::-1], axis=1)[:, ::-1][rows, columns]
    yield rows, np.where(right < width, right, -1)
    y = np.where(labels > 0, np.arange(height, dtype=np.int32)[:, None], -1)
    yield np.maximum.accumulate(y, axis=0)[rows, columns], columns
    y = np.where(labels > 0, np.arange(height, dtype=np.int32)[:, None], height)
    below = np.minimum.accumulate(y[::-1], axis=0)[::-1][rows, columns]
    yield np.where(below < height, below, -1), columns
    for down, right in ((-1, -1), (-1, 1), (1, -1), (1, 1)):
        y, x = np.full(len(rows), -1), np.full(len(rows), -1)
        for reach in range(_DIAGONAL_REACH, 0, -1):
            row, column = rows + reach * down, columns + reach * right
            inside = (row >= 0) & (row < height) & (column >= 0) & (column < width)
            row, column = np.where(inside, row, 0), np.where(inside, column, 0)
            found = inside & (labels[row, column] > 0)
            y, x = np.where(found, row, y), np.where(found, column, x)
        yield y, x
