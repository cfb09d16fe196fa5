"""From a picture to the network's input, by the rule the bundle names.

    picture H×W ── resize ──► content h×w ── repeat right and bottom edge ──► padded ph×pw
    x = (padded / scale − mean) / std

The geometry is plain arithmetic on integers, so that exporters, tests and other languages can repeat it.
"""

import math
from dataclasses import dataclass

import numpy as np
from PIL import Image

from gen2seg_runtime.errors import ImageError
from gen2seg_runtime.manifest import InputSpec, ResizeSpec


@dataclass(frozen=True)
class Geometry:
    """Sizes (height, width) of a picture on its way into the network."""

    image: tuple[int, int]
    content: tuple[int, int]  # after the resize; the size of the colours
    padded: tuple[int, int]  # what the network sees


def plan_geometry(image_size: tuple[int, int], spec: InputSpec) -> Geometry:
    """The sizes for a picture of (height, width) `image_size` >= 1."""
    if spec.resize.rule == "longest_side":
        content = _longest_side(image_size, spec.resize)
        multiple = spec.pad.multiple
        padded = (-(-content[0] // multiple) * multiple, -(-content[1] // multiple) * multiple)
        return Geometry(image_size, content, padded)
    bucket = choose_bucket(image_size, spec.buckets)
    content = bucket if spec.resize.rule == "fixed" else _inside(image_size, bucket, spec.resize)
    return Geometry(image_size, content, bucket)


def check_geometry(geometry: Geometry, limit: int) -> None:
    """Raise ImageError where the network would see more pixels than a picture may have.

    A manifest may enlarge small pictures to any size; this holds the memory for that under the user's own limit.
    """
    height, width = geometry.padded
    if height * width > max(limit, math.prod(geometry.image)):
        raise ImageError(
            f"the bundle brings a picture of {geometry.image[1]}×{geometry.image[0]} pixels to {width}×{height}, "
            f"more than the limit of {limit:,}; raise it with max_pixels or GEN2SEG_MAX_PIXELS if you trust the bundle"
        )


def choose_bucket(size: tuple[int, int], buckets: tuple[tuple[int, int], ...]) -> tuple[int, int]:
    """The bucket that a picture of (height, width) `size`, fitted into it, fills best.

    The share that a picture h×w fills of a bucket H×W is min(H·w, W·h) / max(H·w, W·h), before rounding: how
    near their aspect ratios are, whatever their sizes. It is compared in whole numbers. Of equals it is the
    smallest that takes the picture without shrinking it, where there is none the largest; then the first.
    """
    best: list[tuple[int, int]] = []
    most, whole = 0, 1
    for bucket in buckets:
        low, high = sorted((bucket[0] * size[1], bucket[1] * size[0]))
        if low * whole > most * high:
            best, most, whole = [], low, high
        if low * whole == most * high:
            best.append(bucket)
    roomy = [bucket for bucket in best if bucket[0] >= size[0] and bucket[1] >= size[1]]
    return min(roomy, key=math.prod) if roomy else max(best, key=math.prod)


def _inside(size: tuple[int, int], bucket: tuple[int, int], rule: ResizeSpec) -> tuple[int, int]:
    """The largest (height, width) with the aspect ratio of `size` inside the bucket."""
    height, width = size
    tall = bucket[0] * width <= bucket[1] * height  # the height is what limits
    if rule.rounding == "down":
        # What is rounded away can make room for the longer side to fill its own.
        tall = width * bucket[0] // height <= bucket[1] if height > width else height * bucket[1] // width > bucket[0]
    if tall:
        return bucket[0], _scaled(width, bucket[0], height, rule)
    return _scaled(height, bucket[1], width, rule), bucket[1]


def _longest_side(size: tuple[int, int], rule: ResizeSpec) -> tuple[int, int]:
    longest = max(size)
    target = min(max(longest, rule.enlarge_below), rule.size)

    return _scaled(size[0], target, longest, rule), _scaled(size[1], target, longest, rule)


def _scaled(side: int, target: int, whole: int, rule: ResizeSpec) -> int:
    """side · target / whole, rounded by the rule (to nearest with halves up, or down), without floats; at least 1."""
    if rule.rounding == "down":
        return max(1, side * target // whole)
    return max(1, (2 * side * target + whole) // (2 * whole))


def network_input(rgb: np.ndarray, spec: InputSpec, geometry: Geometry) -> np.ndarray:
    """Resize, pad and normalise a picture.

    Args:
        rgb: (H, W, 3) uint8.
        spec: the bundle's input contract.
        geometry: `plan_geometry(rgb.shape[:2], spec)`.
    Returns:
        (1, 3, ph, pw) float32, C-contiguous.
    """
    from gen2seg_kernels.pixels.cpu import picture_to_planes

    height, width = geometry.content
    if geometry.content != geometry.image:
        if spec.resize.interpolation != "bilinear_antialias":
            return _from_floats(rgb, spec, geometry)
        # PIL's bilinear filter widens with the factor (antialias) and is the same on every machine.
        rgb = np.asarray(Image.fromarray(rgb).resize((width, height), Image.Resampling.BILINEAR))
    if spec.color_order == "BGR":
        rgb = rgb[..., ::-1]
    levels = np.arange(256, dtype=np.float32) / np.float32(spec.scale)
    # 256 levels: a table gives the same float32 as the formula, in a fraction of the time.
    table = np.stack([_normalized(levels, spec, channel) for channel in range(3)])
    return picture_to_planes(rgb, table, geometry.padded)[None]


def _from_floats(rgb: np.ndarray, spec: InputSpec, geometry: Geometry) -> np.ndarray:
    """The input by the same filter on float32 (PIL's mode F): no value is rounded to a whole number."""
    height, width = geometry.content
    x = np.empty((1, 3, *geometry.padded), np.float32)
    for channel, source in enumerate((0, 1, 2) if spec.color_order == "RGB" else (2, 1, 0)):
        plane = Image.fromarray(rgb[..., source].astype(np.float32))
        values = np.asarray(plane.resize((width, height), Image.Resampling.BILINEAR)) / np.float32(spec.scale)
        x[0, channel, :height, :width] = _normalized(values, spec, channel)
    x[:, :, :height, width:] = x[:, :, :height, width - 1 : width]
    x[:, :, height:] = x[:, :, height - 1 : height]
    return x


def _normalized(values: np.ndarray, spec: InputSpec, channel: int) -> np.ndarray:
    return (values - np.float32(spec.mean[channel])) / np.float32(spec.std[channel])
