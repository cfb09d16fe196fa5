"""Results as files: masks, label maps, run lengths, polygons, and pictures to look at.

One module for each format; all are reachable from here and loaded when they are used. Every writer goes through
a temporary name (`gen2seg_runtime.files.atomic_write`).
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gen2seg_runtime.formats.coco import coco_document, decode_rle, encode_rle, instances_to_coco, write_coco
    from gen2seg_runtime.formats.geojson import geojson_document, read_geojson, write_geojson
    from gen2seg_runtime.formats.interop import to_supervision
    from gen2seg_runtime.formats.labelme import labelme_document, read_labelme, write_labelme
    from gen2seg_runtime.formats.npz import read_npz, write_npz
    from gen2seg_runtime.formats.pictures import colorize_labels, label_color, overlay
    from gen2seg_runtime.formats.png import (
        MAX_LABEL,
        read_label_png,
        write_edges_png,
        write_label_png,
        write_mask_png,
        write_png,
    )
    from gen2seg_runtime.formats.polygons import Polygon, mask_to_polygons, polygons_to_mask, rings_to_mask
    from gen2seg_runtime.formats.svg import read_svg, svg_text, write_svg
    from gen2seg_runtime.formats.writers import FORMATS, InstanceFormat

_HOME = {
    "FORMATS": "writers",
    "MAX_LABEL": "png",
    "InstanceFormat": "writers",
    "Polygon": "polygons",
    "coco_document": "coco",
    "colorize_labels": "pictures",
    "decode_rle": "coco",
    "encode_rle": "coco",
    "geojson_document": "geojson",
    "instances_to_coco": "coco",
    "label_color": "pictures",
    "labelme_document": "labelme",
    "mask_to_polygons": "polygons",
    "overlay": "pictures",
    "polygons_to_mask": "polygons",
    "read_geojson": "geojson",
    "read_label_png": "png",
    "read_labelme": "labelme",
    "read_npz": "npz",
    "read_svg": "svg",
    "rings_to_mask": "polygons",
    "svg_text": "svg",
    "to_supervision": "interop",
    "write_coco": "coco",
    "write_edges_png": "png",
    "write_geojson": "geojson",
    "write_label_png": "png",
    "write_labelme": "labelme",
    "write_mask_png": "png",
    "write_npz": "npz",
    "write_png": "png",
    "write_svg": "svg",
}

__all__ = [
    "FORMATS",
    "MAX_LABEL",
    "InstanceFormat",
    "Polygon",
    "coco_document",
    "colorize_labels",
    "decode_rle",
    "encode_rle",
    "geojson_document",
    "instances_to_coco",
    "label_color",
    "labelme_document",
    "mask_to_polygons",
    "overlay",
    "polygons_to_mask",
    "read_geojson",
    "read_label_png",
    "read_labelme",
    "read_npz",
    "read_svg",
    "rings_to_mask",
    "svg_text",
    "to_supervision",
    "write_coco",
    "write_edges_png",
    "write_geojson",
    "write_label_png",
    "write_labelme",
    "write_mask_png",
    "write_npz",
    "write_png",
    "write_svg",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
    globals()[name] = value
    return value
