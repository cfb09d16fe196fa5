"""What the implementations of prompting are asked for, checked."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from gen2seg_kernels.prompt.points import check_labels, check_points


@dataclass(frozen=True)
class Prompt:
    """The points of one mask.

    Attributes:
        points: (N, 2) float64 x and y in pixels, N >= 1, inside the image.
        positive: (N,) bool; the mask is the union of the positive points' masks less that of the others'.
    """

    points: NDArray[np.float64]
    positive: NDArray[np.bool_]


@dataclass(frozen=True)
class ReferenceCut:
    """How mode "reference" cuts a click out.

    Attributes:
        sigma: width of the Gaussian around a point, as a share of each image side.
        threshold: filtered similarity (0..255) above which a pixel belongs.
    """

    sigma: float = 0.01
    threshold: float = 3.0


def check_prompt(points: ArrayLike, labels: ArrayLike | None, height: int, width: int) -> Prompt:
    """Returns the points of one mask on an image of this size.

    Raises:
        TypeError, ValueError: see `check_points` and `check_labels`.
    """
    places = check_points(points, height, width)
    return Prompt(places, check_labels(labels, len(places)))
