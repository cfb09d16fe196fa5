"""The plain way from a picture to colours: PIL and PyTorch float32, no ONNX, nothing of the runtime.

The bundle is judged against this, so it is written apart from the runtime's own preprocessing on purpose: a
wrong mean, channel order, resize or crop in either shows up as a colour difference.
"""

from fractions import Fraction
from math import floor, prod

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from gen2seg_runtime.manifest import InputSpec, OutputSpec


def reference_input(image: np.ndarray, spec: InputSpec) -> tuple[Tensor, tuple[int, int]]:
    """Bring a picture into the form the network takes.

    Args:
        image: uint8 [H, W, 3] RGB.
        spec: the pixel pipeline that the bundle's manifest promises.
    Returns:
        float32 [1, 3, h, w], padded to the multiple or the bucket; and the (height, width) of its content.
    """
    (height, width), (full_height, full_width) = target_size(image.shape[0], image.shape[1], spec)
    x = _resized(image, height, width, spec.resize.interpolation) / spec.scale
    if spec.color_order == "BGR":
        x = x.flip(1)
    x = (x - torch.tensor(spec.mean)[:, None, None]) / torch.tensor(spec.std)[:, None, None]
    return F.pad(x, (0, full_width - width, 0, full_height - height), mode="replicate"), (height, width)


def _resized(image: np.ndarray, height: int, width: int, interpolation: str) -> Tensor:
    if interpolation == "bilinear_antialias_float":
        # PyTorch's own filter, not PIL's: both widen with the factor. In float64, since its float32 form places
        # the taps in float32 too, which is off by 1e-5 of the range where a small picture is enlarged.
        x = torch.from_numpy(image.copy()).permute(2, 0, 1).double()[None]
        return F.interpolate(x, (height, width), mode="bilinear", antialias=True, align_corners=False).float()
    picture = Image.fromarray(image)
    if picture.size != (width, height):
        picture = picture.resize((width, height), Image.Resampling.BILINEAR)
    return torch.from_numpy(np.array(picture)).permute(2, 0, 1).float()[None]


def target_size(height: int, width: int, spec: InputSpec) -> tuple[tuple[int, int], tuple[int, int]]:
    """(height, width) of the content of a picture of that height and width, and of the whole input."""
    if spec.resize.rule == "longest_side":
        longest = max(height, width)
        wanted = min(max(longest, spec.resize.enlarge_below), spec.resize.size)
        # In whole numbers: floats and banker's rounding would part from the rule at ties.
        factor = Fraction(wanted, longest)
        content = _rounded(height * factor, spec), _rounded(width * factor, spec)
        multiple = spec.pad.multiple
        return content, (content[0] + -content[0] % multiple, content[1] + -content[1] % multiple)
    picture = Fraction(height, width)
    shapes = [Fraction(*bucket) for bucket in spec.buckets]
    fills = [min(picture / shape, shape / picture) for shape in shapes]
    best = [bucket for bucket, fill in zip(spec.buckets, fills, strict=True) if fill == max(fills)]
    whole = [bucket for bucket in best if bucket[0] >= height and bucket[1] >= width]
    bucket = min(whole, key=prod) if whole else max(best, key=prod)
    if spec.resize.rule == "fixed":
        return bucket, bucket
    factors = [Fraction(bucket[0], height), Fraction(bucket[1], width)]
    factor = min(factors)
    if spec.resize.rounding == "down":
        # The longer side fills its own, if rounding the other one down lets both in.
        along = factors[0] if height > width else factors[1]
        if floor(height * along) <= bucket[0] and floor(width * along) <= bucket[1]:
            factor = along
    return (_rounded(height * factor, spec), _rounded(width * factor, spec)), bucket


def _rounded(value: Fraction, spec: InputSpec) -> int:
    return max(1, floor(value if spec.resize.rounding == "down" else value + Fraction(1, 2)))


def reference_colors(raw: Tensor, content: tuple[int, int], spec: OutputSpec) -> np.ndarray:
    """Raw colours (1, 3, H, W) of one picture as uint8 [h, w, 3]: normalised, truncated, cropped to the content."""
    height, width = content
    p = raw[0]
    scale = 255.0
    if spec.normalization == "fixed":
        assert spec.range is not None
        low, high = spec.range
        unit, scale = p.clamp(low, high) - low, 255.0 / (high - low)
    elif spec.normalization == "sd":
        shifted = p + p.min().abs()
        unit = shifted / (shifted.max().abs() + shifted.min().abs()).clamp(min=torch.finfo(torch.float32).tiny)
    else:
        unit = (p + p.min().abs()) / (p.max().abs() + p.min().abs() + 1e-5)
    if spec.gamma is not None:
        unit, scale = (unit * (scale / 255)) ** spec.gamma, 255.0
    return (unit * scale).clamp(0, 255).permute(1, 2, 0)[:height, :width].numpy().astype(np.uint8)
