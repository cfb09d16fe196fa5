"""Instance data sets in their published layout: listed, read one picture at a time, never converted.

files = open_set("hypersim", "/data/hypersim", {})
sample = files.read(files.frames[0])
"""

from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

from .base import DataSet, DataSetError, Frame, Sample

__all__ = ["KINDS", "DataSet", "DataSetError", "Frame", "Sample", "open_set"]

# kind -> module and class; each takes (root, options)
KINDS = {
    "hypersim": ("hypersim", "Hypersim"),
    "virtual-kitti-2": ("virtual_kitti2", "VirtualKitti2"),
    "coco": ("coco", "Coco"),
    "bsds500": ("bsds500", "Bsds500"),
    "dram": ("dram", "Dram"),
    "egohos": ("egohos", "EgoHos"),
    "ishape": ("ishape", "IShape"),
    "pidray": ("pidray", "PidRay"),
    "clevrtex": ("clevrtex", "ClevrTex"),
    "folder": ("folder", "Folder"),
}


def open_set(kind: str, root: str | Path, options: Mapping[str, Any] | None = None) -> DataSet:
    """List the pictures of a data set.

    Args:
        kind: one of `KINDS`.
        root: its folder.
        options: settings of that kind, see its class.
    Raises:
        DataSetError: an unknown kind or option, or a folder that does not look like the data set; the message
            says what was expected.
    """
    if kind not in KINDS:
        raise DataSetError(f"unknown data set {kind!r}; known: {', '.join(KINDS)}")
    module, name = KINDS[kind]
    found: DataSet = getattr(import_module(f"{__name__}.{module}"), name)(Path(root), dict(options or {}))
    return found
