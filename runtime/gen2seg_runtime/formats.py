"""Results as files: masks, label maps, run-length encoding (COCO) and pictures to look at.

Every writer goes through a temporary name (`gen2seg_runtime.files.atomic_write`).
"""

import io
import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from gen2seg_runtime.errors import ImageError, ImageReadError, OutputError
from gen2seg_runtime.files import atomic_write
from gen2seg_runtime.instances import Instances

MAX_LABEL = 65535


def write_png(path: str | os.PathLike[str], pixels: np.ndarray) -> None:
    """Write (H, W) uint8, (H, W) uint16 or (H, W, 3) uint8 as PNG, whatever the file is called.

    Raises:
        ImageError: another shape or type.
        OutputError: the file cannot be written.
    """
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
        OutputError: a label is negative or above 65535, or the file cannot be written.
    """
    if labels.size and not 0 <= int(labels.min()) <= int(labels.max()) <= MAX_LABEL:
        raise OutputError(f"{path}: a 16-bit label map holds labels 0..{MAX_LABEL}, got {labels.min()}..{labels.max()}")
    write_png(path, labels.astype(np.uint16))


def read_label_png(path: str | os.PathLike[str]) -> np.ndarray:
    """Read a grey PNG of 8 or 16 bits as (H, W) int32 labels, values unchanged.

    Raises:
        ImageReadError: missing or damaged file.
        ImageError: a picture, but not a grey one.
    """
    try:
        with Path(path).open("rb") as file, Image.open(file) as image:
            if image.mode not in ("L", "I", "I;16", "I;16B", "1"):
                raise ImageError(f"{path}: a label map is a grey picture, this one has mode {image.mode}")
            return np.asarray(image).astype(np.int32)
    except (OSError, SyntaxError) as error:
        raise ImageReadError(f"{path}: cannot be read as a label map: {error}") from error


def encode_rle(mask: np.ndarray) -> dict[str, Any]:
    """A bool (H, W) mask as COCO's compressed run-length encoding.

    Returns:
        {"size": [H, W], "counts": str}: runs of zeros and ones in turn down the columns, beginning
        with zeros, in the text code of pycocotools (`maskApi.c`, rleToString).
    """
    height, width = mask.shape
    return {"size": [height, width], "counts": _counts_text(_runs(np.flatnonzero(mask.T), height * width))}


def decode_rle(rle: dict[str, Any]) -> np.ndarray:
    """The bool (H, W) mask of an encoding as `encode_rle` makes it.

    Raises:
        ImageError: the runs do not fill the size exactly or the text is damaged.
    """
    height, width = rle["size"]
    counts = rle["counts"]
    runs = _parse_counts(counts if isinstance(counts, str) else counts.decode("ascii"))
    if (runs.size and runs.min() < 0) or int(runs.sum()) != height * width:
        raise ImageError(f"the run lengths do not fill {width}×{height} pixels")
    flat = np.repeat(np.arange(runs.size) % 2 == 1, runs)
    return flat.reshape(width, height).T.copy()


def instances_to_coco(instances: Instances, image_id: int = 1, category_id: int = 1, first_id: int = 1) -> list[dict]:
    """The instances as COCO annotations.

    Returns:
        One dict an instance, in the order of `instances.records`: id (from `first_id` on), image_id,
        category_id, segmentation (compressed run lengths), area in pixels, bbox [x, y, width, height],
        iscrowd 0, score 0..1, color [r, g, b].
    """
    height, width = instances.labels.shape
    annotations = []
    for offset, record in enumerate(instances.records):
        x0, y0, x1, y1 = record.box
        # The box is enough: run lengths are made from the sorted column-major places of the ones.
        inside = np.equal(instances.labels[y0:y1, x0:x1].T, record.id)
        columns, rows = np.nonzero(inside)
        places = (columns + x0) * height + (rows + y0)
        annotations.append(
            {
                "id": first_id + offset,
                "image_id": image_id,
                "category_id": category_id,
                "segmentation": {
                    "size": [height, width],
                    "counts": _counts_text(_runs(places, height * width)),
                },
                "area": record.area,
                "bbox": [x0, y0, x1 - x0, y1 - y0],
                "iscrowd": 0,
                "score": record.score,
                "color": list(record.color),
            }
        )
    return annotations


def coco_document(items: Iterable[tuple[str, Instances]]) -> dict[str, Any]:
    """One COCO document (images, annotations, one category "object") for named results."""
    images: list[dict] = []
    annotations: list[dict] = []
    for image_id, (name, instances) in enumerate(items, 1):
        height, width = instances.labels.shape
        images.append({"id": image_id, "file_name": name, "height": height, "width": width})
        annotations += instances_to_coco(instances, image_id, first_id=len(annotations) + 1)
    return {"images": images, "annotations": annotations, "categories": [{"id": 1, "name": "object"}]}


def write_coco(path: str | os.PathLike[str], items: Iterable[tuple[str, Instances]]) -> None:
    """Write `coco_document(items)` as JSON."""
    text = json.dumps(coco_document(items), separators=(",", ":"), allow_nan=False)
    with atomic_write(path) as file:
        file.write(text.encode())


def label_color(label: int) -> tuple[int, int, int]:
    """The RGB colour in which label 1, 2, ... is drawn; the same one in every picture."""
    r, g, b = _palette(np.array([label]))[0]
    return int(r), int(g), int(b)


def colorize_labels(labels: np.ndarray) -> np.ndarray:
    """(H, W) integer labels -> (H, W, 3) uint8; background black, neighbouring numbers far apart in hue."""
    if labels.size and labels.min() >= 0 and labels.max() <= MAX_LABEL:
        ids, places = np.arange(int(labels.max()) + 1), labels
    else:  # far-flung numbers, such as panoptic ids: a table for all of them would be too large
        ids, inverse = np.unique(labels, return_inverse=True)
        places = inverse.reshape(labels.shape)
    colors = _palette(ids)
    colors[ids <= 0] = 0
    return colors[places]


def overlay(image: np.ndarray, labels: np.ndarray, alpha: float = 0.5) -> np.ndarray:
    """Lay label colours over a picture and draw the outlines of the instances in full colour.

    Args:
        image: (H, W, 3) uint8.
        labels: (H, W) integers, 0 = background (left as it is).
        alpha: weight of the colours, 0..1.
    Returns:
        (H, W, 3) uint8.
    Raises:
        ImageError: sizes differ or `alpha` is outside 0..1.
    """
    if image.shape != (*labels.shape, 3) or image.dtype != np.uint8:
        raise ImageError(
            f"overlay needs an (H, W, 3) uint8 image at the size of the labels, got {image.shape} "
            f"{image.dtype} and labels {labels.shape}"
        )
    if not 0 <= alpha <= 1:
        raise ImageError(f"alpha must be from 0 to 1, got {alpha}")
    colors = colorize_labels(labels)
    blended = np.rint(image * (1 - alpha) + colors * float(alpha)).astype(np.uint8)
    result = np.where(labels[..., None] > 0, blended, image)
    outline = _outline(labels)
    result[outline] = colors[outline]
    return result


def _outline(labels: np.ndarray) -> np.ndarray:
    """Foreground pixels with a 4-neighbour of another label."""
    edge = np.zeros(labels.shape, bool)
    across = labels[:, 1:] != labels[:, :-1]
    down = labels[1:] != labels[:-1]
    edge[:, 1:] |= across
    edge[:, :-1] |= across
    edge[1:] |= down
    edge[:-1] |= down
    return edge & (labels > 0)


def _palette(ids: np.ndarray) -> np.ndarray:
    """(N,) label numbers -> (N, 3) uint8: hue by the golden ratio, brightness in three steps."""
    hue = (ids * 0.6180339887498949) % 1.0
    value = 1.0 - 0.2 * (ids % 3)
    # HSV to RGB at saturation 0.75, as a clipped triangle wave a channel.
    wave = np.clip(np.abs((hue[:, None] * 6 + np.array([0.0, 4.0, 2.0])) % 6 - 3) - 1, 0, 1)
    return np.rint(255 * value[:, None] * (0.25 + 0.75 * wave)).astype(np.uint8)


def _runs(places: np.ndarray, total: int) -> np.ndarray:
    """Sorted flat places of the ones -> run lengths, zeros first (a length of 0 if it starts with ones)."""
    if places.size == 0:
        return np.array([total], np.int64)
    starts = np.flatnonzero(np.diff(places, prepend=places[0] - 2) > 1)
    first = places[starts]
    last = places[np.append(starts[1:] - 1, places.size - 1)] + 1
    edges = np.stack([first, last], axis=1).ravel()
    runs = np.diff(edges, prepend=0, append=total)
    return runs[:-1] if runs[-1] == 0 else runs


def _counts_text(runs: np.ndarray) -> str:
    """Run lengths as text: from the fourth on the difference to the run two before, in signed groups of
    five bits, lowest first, bit 5 set while more follow, plus 48."""
    values = runs.astype(np.int64)
    values[3:] -= runs[1:-2]
    groups, more_of = [], []
    active = np.ones(values.shape, bool)
    while active.any():
        low = values & 31
        values = values >> 5
        # The sign of the last group is its bit 4, so that it must agree with what is left.
        more = np.where(low & 16, values != -1, values != 0)
        groups.append(np.where(more, low | 32, low) + 48)
        more_of.append(active)
        active = active & more
    characters = np.stack(groups, axis=1).astype(np.uint8)
    return characters[np.stack(more_of, axis=1)].tobytes().decode("ascii")


def _parse_counts(text: str) -> np.ndarray:
    runs: list[int] = []
    value = shift = 0
    for character in text:
        code = ord(character) - 48
        if not 0 <= code < 64:
            raise ImageError(f"{character!r} does not occur in run lengths")
        value |= (code & 31) << shift
        shift += 5
        if not code & 32:
            if code & 16:
                value -= 1 << shift
            runs.append(value + runs[-2] if len(runs) > 2 else value)
            value = shift = 0
    if shift:
        raise ImageError("the run lengths end in the middle of a number")
    return np.array(runs, np.int64)
