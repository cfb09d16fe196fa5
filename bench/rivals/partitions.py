"""Pictures cut into regions without learning: every method with the settings of which the best is taken."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import cv2
import numpy as np
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components
from skimage.segmentation import felzenszwalb

from gen2seg.evaluation.systems.rivals import WatershedSystem

_SPATIAL_RADIUS = 8  # pixels, of the mean shift
_SAME = 4  # largest difference of a channel between filtered neighbours of one region


@dataclass(frozen=True)
class Partitioner:
    """A method: `cut(picture, setting)` gives int [H, W] regions from 0 for uint8 [H, W, 3]."""

    settings: tuple[float, ...]
    cut: Callable[[np.ndarray, float], np.ndarray]


def _felzenszwalb(picture: np.ndarray, scale: float) -> np.ndarray:
    """Felzenszwalb and Huttenlocher 2004, scikit-image's defaults but for the scale."""
    return felzenszwalb(picture, scale=scale)


def _watershed(picture: np.ndarray, depth: float) -> np.ndarray:
    """The evaluation's rival of that name."""
    return WatershedSystem().segment(picture, depth)


def _mean_shift(picture: np.ndarray, radius: float) -> np.ndarray:
    """Comaniciu and Meer 2002: OpenCV's filter with a colour radius, then neighbours that have become alike."""
    filtered = cv2.pyrMeanShiftFiltering(np.ascontiguousarray(picture), _SPATIAL_RADIUS, radius).astype(np.int16)
    height, width = picture.shape[:2]
    places = np.arange(height * width).reshape(height, width)
    across = np.abs(np.diff(filtered, axis=1)).max(axis=2) <= _SAME
    down = np.abs(np.diff(filtered, axis=0)).max(axis=2) <= _SAME
    one = np.concatenate([places[:, :-1][across], places[:-1][down]])
    other = np.concatenate([places[:, 1:][across], places[1:][down]])
    links = coo_matrix((np.ones(len(one), np.int8), (one, other)), shape=(places.size, places.size))
    return connected_components(links, directed=False)[1].reshape(height, width)


@cache
def partitioners() -> dict[str, Partitioner]:
    """The rivals by name."""
    return {
        "felzenszwalb": Partitioner((150, 400, 1000, 2500), _felzenszwalb),
        "watershed": Partitioner((3, 8, 16), _watershed),
        "mean shift": Partitioner((8, 16, 32, 64), _mean_shift),
    }
