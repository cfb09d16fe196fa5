"""Edges of the colour image: Sobel, magnitude over channels, non-maximum suppression.

The value of an edge is the colour distance across it as a share of the distance from black to white
(255·√3): 1.0 is a straight step of full range in all channels. The constant is the same for every picture,
so values can be compared between pictures. Sobel: Sobel and Feldman 1968; gradient of a colour image as a
tensor over channels: Di Zenzo 1986; suppression with interpolation along the gradient: Canny 1986.
"""

import numpy as np

from gen2seg_runtime.colors import check_colors

# A straight step of 255 gives Sobel 4 · 255 in each of the three channels.
_FULL_STEP = 4 * 255 * 3**0.5
_STRIP_ROWS = 256  # bounds the temporaries of the suppression


def color_edges(colors: np.ndarray, size: tuple[int, int] | None = None) -> np.ndarray:
    """Thin edges of a colour image.

    The gradient is measured at the size of `colors`; for another `size` it is interpolated (cubic when
    enlarged, averaged when reduced) and thinned there, so that edges stay one pixel wide.

    Args:
        colors: (h, w, 3) uint8.
        size: (H, W) of the result; None: (h, w).
    Returns:
        (H, W) float32 in [0, 1], 0 where there is no local maximum across the edge. The outermost pixels
        are treated as repeated, so the frame of the picture is no edge.
    Raises:
        ImageError: `colors` has another shape or type.
    """
    check_colors(colors)
    if size is not None and size != colors.shape[:2]:
        return thin_gradient(_resize_tensor(_gradient_tensor(colors), size))
    result = np.empty(colors.shape[:2], np.float32)
    for start in range(0, len(result), _STRIP_ROWS):
        stop = min(len(result), start + _STRIP_ROWS)
        # One row of gradients around the strip for the suppression, and one of colours around that for Sobel.
        outer, last = max(0, start - 2), min(len(result), stop + 2)
        first, end = max(0, start - 1), min(len(result), stop + 1)
        tensor = _gradient_tensor(colors[outer:last])[first - outer : end - outer]
        magnitude = np.pad(_magnitude(tensor), ((start == 0, stop == len(result)), (1, 1)))
        result[start:stop] = _suppress(magnitude, tensor[start - first : stop - first])
    return _finish(result)


def _gradient_tensor(colors: np.ndarray) -> np.ndarray:
    """(h, w, 3) uint8 -> (h, w, 3) float32: sums over channels of gx², gx·gy, gy²."""
    import cv2

    tensor = np.zeros(colors.shape, np.float32)
    for channel in range(3):
        # float64 out of a small kernel on integers is exact; replicate: no gradient across the frame
        plane = np.ascontiguousarray(colors[..., channel])
        gx = cv2.Sobel(plane, cv2.CV_32F, 1, 0, ksize=3, borderType=cv2.BORDER_REPLICATE)
        gy = cv2.Sobel(plane, cv2.CV_32F, 0, 1, ksize=3, borderType=cv2.BORDER_REPLICATE)
        tensor[..., 0] += gx * gx
        tensor[..., 1] += gx * gy
        tensor[..., 2] += gy * gy
    return tensor


def _resize_tensor(tensor: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    import cv2

    shrinks = size[0] < tensor.shape[0] or size[1] < tensor.shape[1]
    return cv2.resize(tensor, (size[1], size[0]), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_CUBIC)


def thin_gradient(tensor: np.ndarray) -> np.ndarray:
    """Magnitude of a gradient tensor where it is a maximum along the gradient, else 0.

    Args:
        tensor: (h, w, 3) float32: gx², gx·gy and gy² of the gradient at each pixel.
    Returns:
        (h, w) float32 in [0, 1]; 1 is a magnitude of 4·255·√3, and more is cut there.
    """
    # Zero beyond the frame: an edge in the outermost row can be a maximum.
    padded = np.pad(_magnitude(tensor), 1)
    result = np.empty(tensor.shape[:2], np.float32)
    for start in range(0, len(result), _STRIP_ROWS):
        stop = min(len(result), start + _STRIP_ROWS)
        result[start:stop] = _suppress(padded[start : stop + 2], tensor[start:stop])
    return _finish(result)


def _magnitude(tensor: np.ndarray) -> np.ndarray:
    """(h, w) length of the gradient; cubic interpolation may undershoot a little below zero."""
    return np.sqrt(np.maximum(tensor[..., 0] + tensor[..., 2], 0))


def _finish(result: np.ndarray) -> np.ndarray:
    """Corners cut and values as shares of a full step, in place."""
    _cut_corners(result)
    result *= np.float32(1 / _FULL_STEP)
    return np.minimum(result, 1, out=result)


def _suppress(magnitude: np.ndarray, tensor: np.ndarray) -> np.ndarray:
    """Keep (h, w) of the padded (h + 2, w + 2) `magnitude` where it is a maximum along the gradient.

    Ahead it must be at least, behind it must be more: of two equal ridge pixels exactly one stays.
    """
    height, width = tensor.shape[:2]
    angle = 0.5 * np.arctan2(2 * tensor[..., 1], tensor[..., 0] - tensor[..., 2])  # (-pi/2, pi/2]
    dx, dy = np.cos(angle), np.sin(angle)
    # Rounding must not decide about ties along straight edges, nor whether ahead is up or down.
    dx = np.where(dx < 1e-4, 0, dx)
    up = (dy < 0) & (dx > 0)
    dy = np.where(np.abs(dy) < 1e-4, 0, np.abs(dy))

    def shifted(down: int, right: int) -> np.ndarray:
        return magnitude[1 + down : 1 + down + height, 1 + right : 1 + right + width]

    center = shifted(0, 0)

    def along(sign: int) -> np.ndarray:
        """Magnitude one pixel length ahead (sign 1) or behind (-1), bilinear. (Samples farther off, such as
        the diagonal neighbours, would let two diagonals beside each other pass.)"""
        vertical = np.where(up, shifted(-sign, 0), shifted(sign, 0))
        diagonal = np.where(up, shifted(-sign, sign), shifted(sign, sign))
        near = center + dx * (shifted(0, sign) - center)
        return near + dy * (vertical + dx * (diagonal - vertical) - near)

    return np.where((center >= along(1)) & (center > along(-1)), center, 0)


def _cut_corners(edges: np.ndarray) -> None:
    """Where a line takes a right-angled corner, remove the corner pixel in place: its two neighbours touch
    diagonally, so the line stays whole and is one pixel wide in every direction."""
    height, width = edges.shape
    for down, right in ((-1, -1), (-1, 1), (1, -1), (1, 1)):
        line = np.pad(edges > 0, 1)
        vertical = line[1 + down : 1 + down + height, 1:-1]
        horizontal = line[1:-1, 1 + right : 1 + right + width]
        opposite = line[1 - down : 1 - down + height, 1:-1] | line[1:-1, 1 - right : 1 - right + width]
        edges[line[1:-1, 1:-1] & vertical & horizontal & ~opposite] = 0
