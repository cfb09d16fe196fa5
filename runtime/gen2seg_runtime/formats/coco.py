"""Run-length encoding and JSON documents of COCO, as pycocotools reads them."""

import os
from collections.abc import Iterable
from typing import Any

import numpy as np

from gen2seg_runtime.errors import ImageError
from gen2seg_runtime.formats.json_file import write_json
from gen2seg_runtime.formats.shapes import check_size
from gen2seg_runtime.instances import Instances

_MOST = 1 << 40  # pixels in a run: the sum of as many runs as fit into memory stays within int64


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
        ImageError: the runs do not fill the size exactly, the text is damaged, or the size is no size or too large.
    """
    size = rle.get("size") if isinstance(rle, dict) else None
    if not isinstance(size, list | tuple) or len(size) != 2:
        raise ImageError('run lengths are {"size": [height, width], "counts": text}')
    height, width = check_size(size[0], size[1], "run lengths")
    counts = rle.get("counts")
    if isinstance(counts, bytes):
        counts = counts.decode("latin-1")
    if not isinstance(counts, str):
        raise ImageError(f"the counts of run lengths are text, got {type(counts).__name__}")
    runs = _parse_counts(counts)
    if (runs.size and runs.min() < 0) or int(runs.sum()) != height * width:
        raise ImageError(f"the run lengths do not fill {width}×{height} pixels")
    flat = np.repeat(np.arange(runs.size) % 2 == 1, runs)
    return flat.reshape(width, height).T.copy()


def instances_to_coco(instances: Instances, image_id: int = 1, category_id: int = 1, first_id: int = 1) -> list[dict]:
    """The instances as COCO annotations.

    Returns:
        One dict an instance, in the order of `instances.records`: id (from `first_id` on), image_id,
        category_id, segmentation (compressed run lengths), area in pixels, bbox [x, y, width, height],
        iscrowd 0, score 0..1, color [r, g, b]. With a hierarchy parts and groups follow, and all have a
        parent: the id of the smallest mask around, or None.
    """
    height, width = instances.labels.shape
    annotations = []
    for offset, record in enumerate([*instances.records, *instances.nested]):
        x0, y0, x1, y1 = record.box
        # The box is enough: run lengths are made from the sorted column-major places of the ones.
        inside = instances.mask_in_box(record).T
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
        if instances.nested:
            annotations[-1]["parent"] = None if record.parent is None else first_id + record.parent - 1
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
    write_json(path, coco_document(items))


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
        if shift > 60:
            raise ImageError("the run lengths hold a number that is too large")
        value |= (code & 31) << shift
        shift += 5
        if not code & 32:
            if code & 16:
                value -= 1 << shift
            runs.append(value + runs[-2] if len(runs) > 2 else value)
            value = shift = 0
    if shift:
        raise ImageError("the run lengths end in the middle of a number")
    if any(abs(run) > _MOST for run in runs):
        raise ImageError("the run lengths hold a number that is too large")
    return np.array(runs, np.int64)
