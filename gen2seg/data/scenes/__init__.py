"""Procedural scenes with exact instance labels: endless, seeded, nothing downloaded.

rgb, labels = render_scene(seed=7, size=256)
"""

import cv2
import numpy as np
from numpy.random import Generator

from .camera import photograph
from .canvas import Canvas
from .chance import chance, weighted
from .layouts import LAYOUTS
from .textures import texture_bank

SCENES_PER_BANK = 4096  # consecutive seeds that share one texture bank
MIN_SIZE = 64


def render_scene(seed: int, size: int) -> tuple[np.ndarray, np.ndarray]:
    """One scene.

    Args:
        seed: 0 or more; the same seed and size give the same scene.
        size: side of the square picture, pixels, at least 64.
    Returns:
        rgb (size, size, 3) uint8 and labels (size, size) int32: 0 background, else an instance; there is at
        least one, mostly up to 80. Numbers may be left out where a bend hid the last pixel of an instance.
    Raises:
        ValueError: a negative seed or a size below 64.
    """
    if seed < 0 or size < MIN_SIZE:
        raise ValueError(f"seed must be >= 0 and size >= {MIN_SIZE}, got seed {seed} and size {size}")
    bank = texture_bank(seed // SCENES_PER_BANK)
    rng = np.random.default_rng([seed, size])
    while True:
        canvas = Canvas(size, rng, bank)
        weighted(rng, LAYOUTS)(canvas)
        image, labels = canvas.image, canvas.finished_labels()
        if chance(rng, 0.2):
            image, labels = _bent(image, labels, rng, canvas)
        if labels.any():
            return np.ascontiguousarray(photograph(image, rng)), labels


def _bent(image: np.ndarray, labels: np.ndarray, rng: Generator, canvas: Canvas) -> tuple[np.ndarray, np.ndarray]:
    """Bend picture and labels together, so that straight and round outlines become less perfect."""
    size = canvas.size
    ys, xs = np.mgrid[0:size, 0:size].astype(np.float32)
    strength = 2 + 6 * rng.random()
    xs += canvas.bank.smooth(rng, size, size) * strength
    ys += canvas.bank.smooth(rng, size, size) * strength
    image = cv2.remap(image, xs, ys, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT)
    moved = cv2.remap(labels.astype(np.float32), xs, ys, cv2.INTER_NEAREST, borderMode=cv2.BORDER_REFLECT)
    return image, moved.astype(np.int32)
