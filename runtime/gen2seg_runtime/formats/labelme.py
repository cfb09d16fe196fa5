"""Annotation files of labelme (5 and later).

An instance without holes becomes one polygon for each part, which can be edited there; one with holes becomes a
shape of type "mask", since labelme's polygons have none. The parts of an instance share a group_id. Note that
labelme's own export paints the pixels that a polygon's outline touches as well.
"""

import base64
import io
import os
from typing import Any

import numpy as np
from PIL import Image

from gen2seg_runtime.errors import ImageError, ImageReadError
from gen2seg_runtime.formats.json_file import read_json, write_json
from gen2seg_runtime.formats.shapes import check_id, check_ring, check_size, instance_polygons, paint_rings
from gen2seg_runtime.images import load_picture, pixel_limit, read_image
from gen2seg_runtime.instances import InstanceRecord, Instances

_VERSION = "5.5.0"  # of the file format


def labelme_document(instances: Instances, image_name: str, label: str = "object") -> dict[str, Any]:
    """A labelme document that refers to the picture file `image_name` beside it."""
    height, width = instances.labels.shape
    shapes = [shape for record in instances.records for shape in _shapes(instances, record, label)]
    return {
        "version": _VERSION,
        "flags": {},
        "shapes": shapes,
        "imagePath": image_name,
        "imageData": None,
        "imageHeight": height,
        "imageWidth": width,
    }


def write_labelme(path: str | os.PathLike[str], instances: Instances, image_name: str, label: str = "object") -> None:
    """Write `labelme_document(...)`.

    Raises:
        OutputError: the file cannot be written.
    """
    write_json(path, labelme_document(instances, image_name, label))


def read_labelme(path: str | os.PathLike[str]) -> np.ndarray:
    """The label map (H, W) int32 of a labelme file: a shape's group_id, or a free number where it has none.

    Polygons, rectangles and masks are read; a pixel belongs to a polygon if its centre is inside. Where shapes
    overlap, the later one wins.

    Raises:
        ImageReadError: the file cannot be read.
        ImageError: it is no labelme file or holds other shapes.
    """
    where = str(path)
    document = read_json(path)
    shapes = document.get("shapes")
    if not isinstance(shapes, list) or not all(isinstance(shape, dict) for shape in shapes):
        raise ImageError(f'{where}: "shapes" must be a list of objects')
    labels = np.zeros(check_size(document.get("imageHeight"), document.get("imageWidth"), where), np.int32)
    ids = [shape.get("group_id") for shape in shapes]
    free = max((check_id(each, where) for each in ids if each is not None), default=0)
    for index, (shape, label) in enumerate(zip(shapes, ids, strict=True)):
        if label is None:
            free = label = check_id(free + 1, where)
        _paint(labels, shape, label, f"{where}: shapes[{index}]")
    return labels


def _shapes(instances: Instances, record: InstanceRecord, label: str) -> list[dict[str, Any]]:
    common = {"label": label, "group_id": record.id, "description": f"score {record.score:.3f}", "flags": {}}
    parts = instance_polygons(instances, record)
    if not any(part.holes for part in parts):
        return [
            {**common, "points": part.outer.astype(float).tolist(), "shape_type": "polygon", "mask": None}
            for part in parts
        ]
    x0, y0, x1, y1 = record.box
    buffer = io.BytesIO()
    mask = np.equal(instances.labels[y0:y1, x0:x1], record.id)
    Image.fromarray(mask.astype(np.uint8)).save(buffer, "PNG")
    corners = [[float(x0), float(y0)], [float(x1 - 1), float(y1 - 1)]]  # labelme counts the last pixel in
    text = base64.b64encode(buffer.getvalue()).decode("ascii")
    return [{**common, "points": corners, "shape_type": "mask", "mask": text}]


def _paint(labels: np.ndarray, shape: dict[str, Any], label: int, where: str) -> None:
    kind, points = shape.get("shape_type"), shape.get("points")
    if kind == "polygon":
        paint_rings(labels, [check_ring(points, where)], label)
        return
    if kind not in ("rectangle", "mask"):
        raise ImageError(f"{where}: expected a polygon, a rectangle or a mask, found {kind!r}")
    corners = check_ring([*points, [0, 0]] if isinstance(points, list) else points, where)[:-1]
    if len(corners) != 2:
        raise ImageError(f"{where}: a {kind} has two corners")
    if kind == "rectangle":
        (x0, y0), (x1, y1) = corners.min(axis=0), corners.max(axis=0)
        paint_rings(labels, [np.array([(x0, y0), (x1, y0), (x1, y1), (x0, y1)])], label)
        return
    mask = _read_mask(shape.get("mask"), where)
    x, y = (int(value) for value in corners[0])
    height, width = mask.shape
    if not (0 <= x <= labels.shape[1] - width and 0 <= y <= labels.shape[0] - height):
        raise ImageError(f"{where}: a mask of {width}×{height} pixels at ({x}, {y}) leaves the picture")
    labels[y : y + height, x : x + width][mask] = label


def _read_mask(text: Any, where: str) -> np.ndarray:
    if not isinstance(text, str):
        raise ImageError(f"{where}: a mask is a PNG as base64 text")
    try:
        raw = base64.b64decode(text, validate=True)
    except ValueError as error:
        raise ImageError(f"{where}: the mask is not base64 text: {error}") from error
    try:
        image = load_picture(io.BytesIO(raw), where, pixel_limit(), formats=["PNG"])
        return read_image(image)[..., 0] > 0
    except ImageReadError as error:
        raise ImageError(f"{where}: the mask is no PNG: {error}") from error
