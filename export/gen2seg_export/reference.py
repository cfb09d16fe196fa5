"""The plain way from a picture to colours: PIL and PyTorch float32, no ONNX, nothing of the runtime.

The bundle is judged against this, so it is written apart from the runtime's own preprocessing on purpose: a
wrong mean, channel order, resize or crop in either shows up as a colour difference.
"""

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor, nn

from gen2seg_runtime.manifest import InputSpec


def reference_input(image: np.ndarray, spec: InputSpec) -> tuple[Tensor, tuple[int, int]]:
    """Bring a picture into the form the network takes.

    Args:
        image: uint8 [H, W, 3] RGB.
        spec: the pixel pipeline that the bundle's manifest promises.
    Returns:
        float32 [1, 3, h, w], padded to the multiple; and the (height, width) of its content before padding.
    """
    height, width = target_size(image.shape[0], image.shape[1], spec)
    picture = Image.fromarray(image)
    if picture.size != (width, height):
        picture = picture.resize((width, height), Image.Resampling.BILINEAR)
    x = torch.from_numpy(np.array(picture)).permute(2, 0, 1).float()[None] / spec.scale
    x = (x - torch.tensor(spec.mean)[:, None, None]) / torch.tensor(spec.std)[:, None, None]
    multiple = spec.pad.multiple
    return F.pad(x, (0, -width % multiple, 0, -height % multiple), mode="replicate"), (height, width)


def target_size(height: int, width: int, spec: InputSpec) -> tuple[int, int]:
    """(height, width) at which a picture of that height and width is processed."""
    if spec.resize.rule == "fixed":
        return spec.buckets[0]
    longest = max(height, width)
    wanted = min(max(longest, spec.resize.enlarge_below), spec.resize.size)
    # In whole numbers and half up: floats and banker's rounding would part from the rule at ties.
    return _scaled(height, wanted, longest), _scaled(width, wanted, longest)


def _scaled(side: int, wanted: int, longest: int) -> int:
    return max(1, (2 * side * wanted + longest) // (2 * longest))


def truncated(raw: Tensor, content: tuple[int, int]) -> np.ndarray:
    """The first picture of a network's output (N, 3, H, W) as uint8 [h, w, 3], cropped to its content."""
    height, width = content
    return raw[0].clamp(0, 255).permute(1, 2, 0)[:height, :width].numpy().astype(np.uint8)


@torch.no_grad()
def reference_colors(module: nn.Module, image: np.ndarray, spec: InputSpec) -> np.ndarray:
    """uint8 [h, w, 3] colours of a picture by the network itself, at processing size."""
    x, content = reference_input(image, spec)
    return truncated(module(x), content)
