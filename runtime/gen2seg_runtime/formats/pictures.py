"""Label maps as pictures to look at."""

import numpy as np

from gen2seg_runtime.errors import ImageError
from gen2seg_runtime.formats.png import MAX_LABEL


def label_color(label: int) -> tuple[int, int, int]:
    """The RGB colour in which label 1, 2, ... is drawn; the same one in every picture."""
    r, g, b = _palette(np.array([label]))[0]
    return int(r), int(g), int(b)


def colorize_labels(labels: np.ndarray) -> np.ndarray:
    """(H, W) integer labels -> (H, W, 3) uint8; background black, neighbouring numbers far apart in hue."""
    if labels.size and labels.min() >= 0 and labels.max() <= MAX_LABEL:
        ids, places = np.arange(int(labels.max()) + 1), labels
    else:  # far-flung numbers, such as panoptic ids: a table for all of them would be too large
        ids, inverse = np.unique(labels, return_inverse=True)
        places = inverse.reshape(labels.shape)
    colors = _palette(ids)
    colors[ids <= 0] = 0
    return colors[places]


def overlay(image: np.ndarray, labels: np.ndarray, alpha: float = 0.5) -> np.ndarray:
    """Lay label colours over a picture and draw the outlines of the instances in full colour.

    Args:
        image: (H, W, 3) uint8.
        labels: (H, W) integers, 0 = background (left as it is).
        alpha: weight of the colours, 0..1.
    Returns:
        (H, W, 3) uint8.
    Raises:
        ImageError: sizes differ or `alpha` is outside 0..1.
    """
    if image.shape != (*labels.shape, 3) or image.dtype != np.uint8:
        raise ImageError(
            f"overlay needs an (H, W, 3) uint8 image at the size of the labels, got {image.shape} "
            f"{image.dtype} and labels {labels.shape}"
        )
    if not 0 <= alpha <= 1:
        raise ImageError(f"alpha must be from 0 to 1, got {alpha}")
    colors = colorize_labels(labels)
    blended = np.rint(image * (1 - alpha) + colors * float(alpha)).astype(np.uint8)
    result = np.where(labels[..., None] > 0, blended, image)
    outline = _outline(labels)
    result[outline] = colors[outline]
    return result


def _outline(labels: np.ndarray) -> np.ndarray:
    """Foreground pixels with a 4-neighbour of another label."""
    edge = np.zeros(labels.shape, bool)
    across = labels[:, 1:] != labels[:, :-1]
    down = labels[1:] != labels[:-1]
    edge[:, 1:] |= across
    edge[:, :-1] |= across
    edge[1:] |= down
    edge[:-1] |= down
    return edge & (labels > 0)


def _palette(ids: np.ndarray) -> np.ndarray:
    """(N,) label numbers -> (N, 3) uint8: hue by the golden ratio, brightness in three steps."""
    hue = (ids * 0.6180339887498949) % 1.0
    value = 1.0 - 0.2 * (ids % 3)
    # HSV to RGB at saturation 0.75, as a clipped triangle wave a channel.
    wave = np.clip(np.abs((hue[:, None] * 6 + np.array([0.0, 4.0, 2.0])) % 6 - 3) - 1, 0, 1)
    return np.rint(255 * value[:, None] * (0.25 + 0.75 * wave)).astype(np.uint8)
