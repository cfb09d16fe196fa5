"""From a picture of any size to the size that is trained on, with its labels, as the reference does it."""

import math
from dataclasses import replace

import numpy as np
from PIL import Image

from .sets import Sample

MOST_CROPS = 1000


def augmented(sample: Sample, size: tuple[int, int], fit: str, flip: float, rng: np.random.Generator) -> Sample:
    """Flip at random, then bring to `size`.

    Args:
        size: (height, width).
        fit: "resize" to the size whatever the proportions, bilinear, ids by nearest; "crop" a random part, enlarged
            first where the picture is smaller; "cover": scaled to just cover the size, then a random part.
        flip: probability of a horizontal flip.
        rng: what is drawn comes from here.
    """
    if rng.random() < flip:
        sample = _apply(sample, lambda array: array[:, ::-1])
    if fit == "resize":
        return _resized(sample, size)
    return _cropped(_large_enough(sample, size, shrink=fit == "cover"), size, rng)


def _apply(sample: Sample, change) -> Sample:
    arrays = {"rgb": sample.rgb, "ids": sample.ids, "valid": sample.valid}
    return replace(sample, **{k: np.ascontiguousarray(change(a)) for k, a in arrays.items() if a is not None})


def _resized(sample: Sample, size: tuple[int, int]) -> Sample:
    if sample.ids.shape == size:
        return sample
    wanted = (size[1], size[0])
    rgb = np.asarray(Image.fromarray(sample.rgb).resize(wanted, Image.Resampling.BILINEAR))
    ids = np.asarray(Image.fromarray(sample.ids).resize(wanted, Image.Resampling.NEAREST))
    valid = sample.valid
    if valid is not None:
        valid = np.asarray(Image.fromarray(valid.view(np.uint8)).resize(wanted, Image.Resampling.NEAREST)).astype(bool)
    return replace(sample, rgb=rgb, ids=ids, valid=valid)


def _large_enough(sample: Sample, size: tuple[int, int], shrink: bool) -> Sample:
    height, width = sample.ids.shape
    scale = max(size[0] / height, size[1] / width)
    if scale <= 1 and not shrink:
        return sample
    # Rounding up in floats may add a pixel, never take one that the crop needs.
    return _resized(sample, (max(size[0], math.ceil(height * scale)), max(size[1], math.ceil(width * scale))))


def _cropped(sample: Sample, size: tuple[int, int], rng: np.random.Generator) -> Sample:
    """A random part in which neither picture nor ids are all black; after many tries any part."""
    height, width = sample.ids.shape
    rows = columns = slice(0, 0)
    for _ in range(MOST_CROPS):
        top, left = int(rng.integers(height - size[0] + 1)), int(rng.integers(width - size[1] + 1))
        rows, columns = slice(top, top + size[0]), slice(left, left + size[1])
        if sample.ids[rows, columns].any() and sample.rgb[rows, columns].any():
            break
        if (height, width) == size:
            break
    return _apply(sample, lambda array: array[rows, columns])
