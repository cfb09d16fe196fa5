"""Bring masks, label maps and points from processing size to the size of the picture and back.

Pixel centres: pixel i of n covers [i, i + 1), its centre is i + 0.5, and a size is a linear stretch of
the other one. So x in a picture of width W is (x + 0.5) · w / W − 0.5 at width w.
"""

import numpy as np
from PIL import Image

_STRIP_PIXELS = 1 << 20  # bounds the temporaries of `resize_labels`


def resize_colors(colors: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """(h, w, 3) uint8 -> (H, W, 3) uint8 with PIL's Lanczos filter, as the reference code does."""
    if colors.shape[:2] == size:
        return colors
    image = Image.fromarray(colors).resize((size[1], size[0]), Image.Resampling.LANCZOS)
    return np.asarray(image)


def map_points(points: np.ndarray, source: tuple[int, int], target: tuple[int, int]) -> np.ndarray:
    """(N, 2) float (x, y) in a picture of (height, width) `source` -> the same places in one of `target`.

    The result is clipped to pixel centres of the target (0 .. side − 1).
    """
    factor = np.array([target[1] / source[1], target[0] / source[0]])
    limit = np.array([target[1] - 1, target[0] - 1])
    return np.clip((points + 0.5) * factor - 0.5, 0, limit)


def resize_mask(mask: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Bool (h, w) -> bool (H, W) with smooth outlines: the level line 0.5 of the interpolated mask.

    A reduced mask is averaged over what a pixel covers. One that is to be enlarged is first smoothed a
    little, which rounds the stairs of slanted outlines off; what is only one pixel wide is kept.
    """
    if mask.shape == size:
        return mask
    if size[0] < mask.shape[0] or size[1] < mask.shape[1]:
        values, rule = mask.astype(np.float32), Image.Resampling.BOX
    else:
        values, rule = _smoothed(mask), Image.Resampling.BILINEAR
    return np.asarray(Image.fromarray(values).resize((size[1], size[0]), rule)) >= 0.5


def _smoothed(mask: np.ndarray) -> np.ndarray:
    """Bool (h, w) -> float32: a Gaussian of 0.8 pixels, but lines and gaps of one pixel stay 1 and 0."""
    import cv2

    values = cv2.GaussianBlur(mask.astype(np.float32), (5, 5), 0.8, borderType=cv2.BORDER_REPLICATE)
    values[mask & ~_two_wide(mask)] = 1
    values[~mask & ~_two_wide(~mask)] = 0
    return values


def _two_wide(mask: np.ndarray) -> np.ndarray:
    """Pixels of a mask that lie in some 2 by 2 square of it (what the frame cuts off is taken to go on)."""
    wide = np.pad(mask, 1, mode="edge")
    squares = wide[:-1, :-1] & wide[1:, :-1] & wide[:-1, 1:] & wide[1:, 1:]
    return squares[:-1, :-1] | squares[1:, :-1] | squares[:-1, 1:] | squares[1:, 1:]


def resize_labels(labels: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Int32 (h, w) -> int32 (H, W), no new labels.

    Each pixel of an enlarged map takes the label with the largest share among the four neighbours of linear
    interpolation (a tie goes to the upper left one); a reduced map takes the label under the pixel's centre.
    """
    height, width = labels.shape
    if labels.shape == size:
        return labels
    if size[0] < height or size[1] < width:
        rows = np.minimum(((np.arange(size[0]) + 0.5) * height / size[0]).astype(np.int64), height - 1)
        columns = np.minimum(((np.arange(size[1]) + 0.5) * width / size[1]).astype(np.int64), width - 1)
        return labels[rows[:, None], columns]
    result = np.empty(size, np.int32)
    left, right, right_share = _neighbors(size[1], width)
    step = max(1, _STRIP_PIXELS // size[1])
    for start in range(0, size[0], step):
        stop = min(size[0], start + step)
        upper, lower, lower_share = (part[start:stop, None] for part in _neighbors(size[0], height))
        result[start:stop] = _heaviest(
            [labels[upper, left], labels[upper, right], labels[lower, left], labels[lower, right]],
            [
                (1 - lower_share) * (1 - right_share),
                (1 - lower_share) * right_share,
                lower_share * (1 - right_share),
                lower_share * right_share,
            ],
        )
    return result


def _neighbors(count: int, source: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """For `count` pixels over `source` ones: the two nearest source pixels and the share of the second."""
    place = np.clip((np.arange(count) + 0.5) * source / count - 0.5, 0, source - 1)
    first = np.floor(place).astype(np.int64)
    return first, np.minimum(first + 1, source - 1), (place - first).astype(np.float32)


def _heaviest(labels: list[np.ndarray], shares: list[np.ndarray]) -> np.ndarray:
    best = labels[0]
    best_share = np.full(best.shape, -1, np.float32)
    for candidate in labels:
        share = np.zeros(best.shape, np.float32)
        for other, weight in zip(labels, shares, strict=True):
            share += np.where(other == candidate, weight, np.float32(0))
        better = share > best_share
        best = np.where(better, candidate, best)
        best_share = np.maximum(best_share, share)
    return best
