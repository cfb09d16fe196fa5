"""How far the whole picture moved between two frames.

Phase correlation (Kuglin and Hines 1975) of small grey pictures: one shift for everything, good for a camera that
pans. What moves by itself is the tracker's business.
"""

import numpy as np

_LONGEST = 192  # side of the small pictures, pixels


def small_grey(rgb: np.ndarray) -> np.ndarray:
    """(H, W, 3) uint8 -> float32 grey whose longer side is at most 192."""
    import cv2

    height, width = rgb.shape[:2]
    factor = min(1.0, _LONGEST / max(height, width))
    size = max(1, round(width * factor)), max(1, round(height * factor))
    # On every few pixels first: the filter needs no more, and a large frame costs no more than a small one.
    step = max(1, int(1 / (4 * factor)))
    small = cv2.resize(np.ascontiguousarray(rgb[::step, ::step]), size, interpolation=cv2.INTER_AREA)
    return cv2.cvtColor(small, cv2.COLOR_RGB2GRAY).astype(np.float32)


def estimate_shift(before: np.ndarray, now: np.ndarray, size: tuple[int, int]) -> tuple[float, float]:
    """The shift (dx, dy), in pixels of a picture of (H, W) `size`, that takes `before` to `now`.

    Args:
        before, now: from `small_grey`.
    Returns:
        (0, 0) where the frames have another size, are too small or show nothing.
    """
    import cv2

    if before.shape != now.shape or min(now.shape) < 8 or min(before.std(), now.std()) < 1:
        return 0.0, 0.0
    window = cv2.createHanningWindow((now.shape[1], now.shape[0]), cv2.CV_32F)
    (dx, dy), _ = cv2.phaseCorrelate(before - before.mean(), now - now.mean(), window)
    if not (np.isfinite(dx) and np.isfinite(dy)):
        return 0.0, 0.0
    return dx * size[1] / now.shape[1], dy * size[0] / now.shape[0]
