"""Read any picture as H×W×3 uint8 RGB.

What happens to pictures that are not 8-bit RGB:

- EXIF orientation is applied; of an animation or a stack the first frame is read.
- Transparent pixels are laid over white, as image viewers and browsers show them.
- More than 8 bits a pixel (microscopes and depth cameras fill 10, 12 or 16 bits): the picture's own
  range is stretched onto 0..255, from its 0.1 % to its 99.9 % quantile, so that a few hot or dead
  pixels do not darken everything; where the two are equal (a few bright spots on an even ground) from
  its minimum to its maximum. A picture of one single value becomes black.
- Float: values in [0, 1] are multiplied by 255; anything else is stretched from minimum to maximum.
  NaN and infinity are refused.
"""

import os
import struct
import sys
import threading
import warnings
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from PIL import Image, UnidentifiedImageError

from gen2seg_runtime.errors import ImageError, ImageReadError, ImageWarning
from gen2seg_runtime.files import SteadyReader, as_path, check_regular

# Just under Pillow's own hard limit, so that ours speaks first and names the way to raise it.
DEFAULT_MAX_PIXELS = 178_000_000
MAX_PIXELS_VARIABLE = "GEN2SEG_MAX_PIXELS"
# Not all that Pillow knows: some of the rest start other programs (EPS: Ghostscript), unpack without a bound (FITS) or
# pixel by pixel in Python, for minutes (QOI, DDS).
FORMATS = (
    *("PNG", "JPEG", "MPO", "TIFF", "BMP", "DIB", "GIF", "WEBP", "JPEG2000", "AVIF", "PPM"),
    *("TGA", "ICO", "ICNS", "PCX", "SGI", "IM", "SUN", "SPIDER", "PSD"),
)
_LOW_QUANTILE, _HIGH_QUANTILE = 0.001, 0.999
# Bytes of a float type -> below this span of values (halved) 255 / span would leave the type's range.
_LEAST_SPAN = {2: 1.0, 4: 1e-35, 8: 1e-300}
_ENLARGE = 2.0**600
_ORIENTATION_TAG = 0x0112
_BOMBS = (Image.DecompressionBombError, Image.DecompressionBombWarning)
# What decoders raise when they stumble over damaged files; OSError covers Pillow's own "truncated".
_DAMAGE = (
    OSError,
    SyntaxError,
    ValueError,
    TypeError,
    IndexError,
    KeyError,
    EOFError,
    OverflowError,
    AttributeError,
    AssertionError,
    RuntimeError,
    ArithmeticError,
    struct.error,
    zlib.error,
)
_pillow_limit_lock = threading.Lock()


def read_image(source: Any, *, max_pixels: int | None = None) -> np.ndarray:
    """Read a picture as RGB.

    Args:
        source: a path, a PIL image, or an array: (H, W, 3) uint8 RGB, (H, W, 4) uint8 RGBA, (H, W) or
            (H, W, 1) grey of type bool, uint8, uint16, float16, float32 or float64.
        max_pixels: refuse larger pictures (a small file can unpack to any size). None: the environment
            variable GEN2SEG_MAX_PIXELS, else 178,000,000.
    Returns:
        (H, W, 3) uint8, RGB, C-contiguous, never sharing memory with `source`.
    Raises:
        ImageError: another shape or type, NaN or infinity, no pixels or too many.
        ImageReadError: the file is missing, empty, truncated, damaged or of no known format.
    """
    limit = pixel_limit(max_pixels)
    if isinstance(source, np.ndarray):
        return _from_array(source, limit)
    if isinstance(source, Image.Image):
        return _from_pil(source, limit, "the given PIL image")
    if isinstance(source, str | os.PathLike):
        return _from_file(as_path(source, ImageError), limit)
    raise ImageError(f"image must be a path, a PIL image or a NumPy array, got {type(source).__name__}")


def pixel_limit(max_pixels: int | None = None) -> int:
    """How many pixels a picture may have: the argument, else GEN2SEG_MAX_PIXELS, else DEFAULT_MAX_PIXELS.

    Raises:
        ImageError: the argument or the variable is no positive whole number.
    """
    if max_pixels is None:
        text = os.environ.get(MAX_PIXELS_VARIABLE, str(DEFAULT_MAX_PIXELS))
        if not text.isdecimal() or int(text) < 1:
            raise ImageError(f"{MAX_PIXELS_VARIABLE} must be a positive integer, got {text!r}")
        return int(text)
    if isinstance(max_pixels, bool) or not isinstance(max_pixels, int | np.integer) or max_pixels < 1:
        raise ImageError(f"max_pixels must be a positive whole number, got {max_pixels!r:.100}")
    return int(max_pixels)


def load_picture(file: BinaryIO, name: str, limit: int, formats: Sequence[str] = FORMATS) -> Image.Image:
    """Open a picture and unpack its pixels, after its size was compared with a limit.

    Args:
        file: its content.
        name: of the file, for messages.
        limit: most pixels, from `pixel_limit`.
        formats: Pillow's names of those that may be tried.
    Returns:
        The loaded PIL image, of any mode; orientation not yet applied.
    Raises:
        ImageError: no pixels or too many.
        ImageReadError: truncated, damaged or of no known format.
    """
    try:
        return _loaded(_open(file, limit, formats), limit, name)
    except UnidentifiedImageError as error:
        raise ImageReadError(f"{name}: not a picture in a known format") from error
    except _BOMBS as error:
        raise ImageError(f"{name}: more pixels than the limit of {limit:,}: {error}") from error
    except (ImageError, ImageReadError):
        raise
    except _DAMAGE as error:
        raise ImageReadError(f"{name}: cannot be read: {error}") from error


def _check_size(height: int, width: int, limit: int, name: str) -> None:
    if height < 1 or width < 1:
        raise ImageError(f"{name}: has no pixels ({width}×{height})")
    if height * width > limit:
        raise ImageError(
            f"{name}: {width}×{height} pixels are more than the limit of {limit:,}; "
            f"raise it with max_pixels or {MAX_PIXELS_VARIABLE} if you trust the picture"
        )


def _from_file(path: Path, limit: int) -> np.ndarray:
    try:
        check_regular(path, ImageReadError)
        if path.stat().st_size == 0:
            raise ImageReadError(f"{path}: the file is empty")
        with SteadyReader(path) as file, load_picture(file, str(path), limit) as image:
            return _upright(image, str(path))
    except (ImageReadError, ImageError):
        raise
    except OSError as error:
        raise ImageReadError(f"{path}: cannot be read: {error}") from error


def _open(file: BinaryIO, limit: int, formats: Sequence[str]) -> Image.Image:
    """`Image.open` that also lets pass what is between Pillow's own limit and a larger one of ours."""
    if Image.MAX_IMAGE_PIXELS is None or limit <= DEFAULT_MAX_PIXELS:
        return _identify(file, formats)
    with _pillow_limit_lock:  # Pillow's limit is a global
        kept = Image.MAX_IMAGE_PIXELS
        Image.MAX_IMAGE_PIXELS = limit
        try:
            return _identify(file, formats)
        finally:
            Image.MAX_IMAGE_PIXELS = kept


def _identify(file: BinaryIO, formats: Sequence[str]) -> Image.Image:
    Image.preinit()  # the common formats; the others are loaded for a file that is in none of these
    common = [name for name in formats if name in Image.OPEN]
    try:
        return Image.open(file, formats=common)
    except UnidentifiedImageError:
        Image.init()
        others = [name for name in formats if name in Image.OPEN and name not in common]
        if not others:
            raise
    file.seek(0)
    return Image.open(file, formats=others)


def _loaded(image: Image.Image, limit: int, name: str) -> Image.Image:
    _check_size(image.height, image.width, limit, name)
    image.load()
    # Some formats say their size before and keep another one.
    _check_size(image.height, image.width, limit, name)
    return image


def _from_pil(image: Image.Image, limit: int, name: str) -> np.ndarray:
    try:
        _loaded(image, limit, name)
    except ImageError:
        raise
    except _BOMBS as error:
        raise ImageError(f"{name}: more pixels than the limit of {limit:,}: {error}") from error
    except _DAMAGE as error:
        raise ImageReadError(f"{name}: damaged or truncated: {error}") from error
    return _upright(image, name)


def _upright(image: Image.Image, name: str) -> np.ndarray:
    """A loaded PIL image of any mode as (H, W, 3) uint8, its orientation applied."""
    try:
        rgb = _pixels(image, name)
    except ImageError:
        raise
    except _DAMAGE as error:
        raise ImageReadError(f"{name}: damaged or truncated: {error}") from error
    return _orient(rgb, _orientation(image, name))


def _pixels(image: Image.Image, name: str) -> np.ndarray:
    """The pixels of a loaded PIL image of any mode as (H, W, 3) uint8, orientation not yet applied."""
    if image.mode.startswith("I;16") or image.mode == "I":
        return _grey_to_rgb(_stretch_integers(np.asarray(image)))
    if image.mode == "F":
        return _grey_to_rgb(_scale_floats(np.asarray(image), name))
    if image.mode in ("RGBA", "LA", "PA", "RGBa", "La") or "transparency" in image.info:
        return _over_white(np.asarray(image.convert("RGBA")))
    return np.array(image.convert("RGB"))


def _orientation(image: Image.Image, name: str) -> int:
    try:
        return int(image.getexif().get(_ORIENTATION_TAG, 1))
    except Exception as error:  # a broken EXIF block must not hide a good picture
        warnings.warn(f"{name}: EXIF unreadable, orientation ignored: {error}", ImageWarning, stacklevel=2)
        return 1


def _orient(rgb: np.ndarray, orientation: int) -> np.ndarray:
    """Undo an EXIF orientation 1..8 (others mean nothing and change nothing)."""
    if orientation in (5, 6, 7, 8):
        rgb = rgb.transpose(1, 0, 2)
    if orientation in (2, 3, 6, 7):
        rgb = rgb[:, ::-1]
    if orientation in (3, 4, 7, 8):
        rgb = rgb[::-1]
    return np.ascontiguousarray(rgb)


def _from_array(array: np.ndarray, limit: int) -> np.ndarray:
    name = "the given array"
    if _is_masked(array):
        raise ImageError("image is a masked array; fill what is masked first (image.filled(0))")
    if array.ndim == 3 and array.shape[2] == 1:
        array = array[..., 0]
    if array.ndim not in (2, 3) or (array.ndim == 3 and array.shape[2] not in (3, 4)):
        raise ImageError(
            f"image must be (H, W, 3) uint8 RGB, (H, W, 4) uint8 RGBA or (H, W) grey, got shape {array.shape}"
        )
    _check_size(array.shape[0], array.shape[1], limit, name)
    if array.ndim == 3:
        if array.dtype != np.uint8:
            raise ImageError(
                f"a colour image must be uint8 with values 0..255, got {array.dtype}; "
                "for floats in [0, 1] pass (image * 255).round().astype(np.uint8)"
            )
        return _over_white(array) if array.shape[2] == 4 else np.array(array, order="C")
    if array.dtype == np.bool_:
        return _grey_to_rgb(array.astype(np.uint8) * np.uint8(255))
    if array.dtype == np.uint8:
        return _grey_to_rgb(array)
    if array.dtype.kind == "u" and array.dtype.itemsize == 2:
        return _grey_to_rgb(_stretch_integers(array))
    if array.dtype.kind == "f" and array.dtype.itemsize <= 8:
        return _grey_to_rgb(_scale_floats(array, name))
    raise ImageError(f"a grey image must be bool, uint8, uint16 or float, got {array.dtype}")


def _is_masked(array: np.ndarray) -> bool:
    masked = sys.modules.get("numpy.ma")  # who made such an array has loaded it; nobody else need
    return masked is not None and isinstance(array, masked.MaskedArray)


def _grey_to_rgb(grey: np.ndarray) -> np.ndarray:
    return np.repeat(grey[..., None], 3, axis=2)


def _over_white(rgba: np.ndarray) -> np.ndarray:
    """(H, W, 4) uint8, alpha not premultiplied -> (H, W, 3) uint8 over white, rounded to nearest."""
    alpha = rgba[..., 3:].astype(np.uint32)
    color = rgba[..., :3].astype(np.uint32)
    return ((color * alpha + 255 * (255 - alpha) + 127) // 255).astype(np.uint8)


def _stretch_integers(grey: np.ndarray) -> np.ndarray:
    """(H, W) integers -> uint8 by the picture's own range, see the top of this file."""
    last = grey.size - 1
    places = [0, round(last * _LOW_QUANTILE), round(last * _HIGH_QUANTILE), last]
    least, low, high, most = (int(value) for value in np.partition(grey, places, axis=None)[places])
    return _stretch(grey, low, high) if low < high else _stretch(grey, least, most)


def _scale_floats(grey: np.ndarray, name: str) -> np.ndarray:
    if not np.isfinite(grey).all():
        raise ImageError(f"{name}: holds NaN or infinity; fill those pixels first")
    low, high = float(grey.min()), float(grey.max())
    if low >= 0 and high <= 1:
        low, high = 0.0, 1.0
    return _stretch(grey, low, high)


def _stretch(grey: np.ndarray, low: float, high: float) -> np.ndarray:
    if high <= low:
        return np.zeros(grey.shape, np.uint8)
    # Halved first: the difference of two huge floats of opposite sign would overflow.
    span = high / 2 - low / 2
    if span < _LEAST_SPAN[grey.dtype.itemsize if grey.dtype.kind == "f" else 8]:
        grey = grey.astype(np.float64)
        if span < _LEAST_SPAN[8]:
            grey, low, high = grey * _ENLARGE, low * _ENLARGE, high * _ENLARGE
            span = high / 2 - low / 2
    scaled = grey / 2.0
    scaled -= low / 2
    scaled *= 255 / span
    return np.rint(np.clip(scaled, 0, 255, out=scaled)).astype(np.uint8)
