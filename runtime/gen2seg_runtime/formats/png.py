"""Results as PNG files: masks, edges and label maps."""

import io
import os

import numpy as np
from PIL import Image

from gen2seg_runtime.errors import ImageError, ImageReadError, OutputError
from gen2seg_runtime.files import SteadyReader, as_path, atomic_write, check_regular
from gen2seg_runtime.images import load_picture, pixel_limit

MAX_LABEL = 65535


def write_png(path: str | os.PathLike[str], pixels: np.ndarray) -> None:
    """Write (H, W) uint8, (H, W) uint16 or (H, W, 3) uint8 as PNG, whatever the file is called.

    Raises:
        ImageError: another shape or type.
        OutputError: the file cannot be written.
    """
    if not pixels.size:
        raise ImageError(f"a PNG needs at least one pixel, got {pixels.shape}")
    grey = pixels.ndim == 2 and pixels.dtype in (np.uint8, np.uint16)
    if not grey and not (pixels.ndim == 3 and pixels.shape[2] == 3 and pixels.dtype == np.uint8):
        raise ImageError(f"a PNG takes (H, W) uint8 or uint16 or (H, W, 3) uint8, got {pixels.shape} {pixels.dtype}")
    buffer = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(pixels)).save(buffer, "PNG")
    with atomic_write(path) as file:
        file.write(buffer.getbuffer())


def write_mask_png(path: str | os.PathLike[str], mask: np.ndarray) -> None:
    """Write a bool (H, W) mask as an 8-bit grey PNG of 0 and 255."""
    write_png(path, np.asarray(mask, bool).astype(np.uint8) * np.uint8(255))


def write_edges_png(path: str | os.PathLike[str], edges: np.ndarray) -> None:
    """Write (H, W) floats in [0, 1] as an 8-bit grey PNG, 1 becoming 255."""
    write_png(path, np.rint(np.clip(edges, 0, 1) * 255).astype(np.uint8))


def write_label_png(path: str | os.PathLike[str], labels: np.ndarray) -> None:
    """Write (H, W) integer labels (0 = background) as a 16-bit grey PNG.

    Raises:
        ImageError: another shape or type.
        OutputError: a label is negative or above 65535, or the file cannot be written.
    """
    if labels.ndim != 2 or labels.dtype.kind not in "biu":
        raise ImageError(f"a label map is (H, W) of whole numbers, got {labels.shape} {labels.dtype}")
    if labels.size and not 0 <= int(labels.min()) <= int(labels.max()) <= MAX_LABEL:
        raise OutputError(f"{path}: a 16-bit label map holds labels 0..{MAX_LABEL}, got {labels.min()}..{labels.max()}")
    write_png(path, labels.astype(np.uint16))


def read_label_png(path: str | os.PathLike[str], *, max_pixels: int | None = None) -> np.ndarray:
    """Read a grey PNG of 8 or 16 bits as (H, W) int32 labels, values unchanged.

    Args:
        max_pixels: refuse larger ones, see `gen2seg_runtime.images.pixel_limit`.
    Raises:
        ImageReadError: missing or damaged file.
        ImageError: a picture, but not a grey one, or too large.
    """
    limit = pixel_limit(max_pixels)
    path = as_path(path, ImageReadError)
    try:
        check_regular(path, ImageReadError)
        with SteadyReader(path) as file, load_picture(file, str(path), limit) as image:
            if image.mode not in ("L", "I", "I;16", "I;16B", "1"):
                raise ImageError(f"{path}: a label map is a grey picture, this one has mode {image.mode}")
            return np.asarray(image).astype(np.int32)
    except OSError as error:
        if isinstance(error, ImageReadError):
            raise
        raise ImageReadError(f"{path}: cannot be read as a label map: {error}") from error
