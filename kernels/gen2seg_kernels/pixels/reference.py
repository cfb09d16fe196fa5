"""What the two conversions compute, in plain NumPy."""

import numpy as np
from numpy.typing import NDArray


def picture_to_planes(
    rgb: NDArray[np.uint8], table: NDArray[np.float32], padded: tuple[int, int]
) -> NDArray[np.float32]:
    """A picture as planes, its right and bottom edges repeated.

    Args:
        rgb: (h, w, 3) uint8, h and w >= 1.
        table: (3, 256) float32: plane c holds table[c, v] where the picture's channel c holds v.
        padded: (H, W) of the planes, at least (h, w).
    Returns:
        (3, H, W) float32.
    """
    height, width = rgb.shape[:2]
    planes = np.empty((3, *padded), np.float32)
    for channel in range(3):
        planes[channel, :height, :width] = table[channel][rgb[..., channel]]
    planes[:, :height, width:] = planes[:, :height, width - 1 : width]
    planes[:, height:] = planes[:, height - 1 : height]
    return planes


def planes_to_colors(planes: NDArray[np.float32], low: float, high: float) -> NDArray[np.uint8]:
    """Planes clipped to [low, high], that range spread over 0..255, truncated to whole numbers; all in float32.

    Args:
        planes: (3, h, w) float32, finite.
        low, high: low < high.
    Returns:
        (h, w, 3) uint8.
    """
    least, most = np.float32(low), np.float32(high)
    values = (np.clip(planes, least, most) - least) * (np.float32(255) / (most - least))
    # Rounding may leave 255.00002, which uint8 would turn to 0.
    colors = np.clip(values, 0, 255).astype(np.uint8)
    return np.ascontiguousarray(colors.transpose(1, 2, 0))
