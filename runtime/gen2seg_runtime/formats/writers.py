"""The file formats of instances by name, for the command line and for programs that let users choose."""

import os
from collections.abc import Callable
from dataclasses import dataclass

from gen2seg_runtime.formats.coco import write_coco
from gen2seg_runtime.formats.geojson import write_geojson
from gen2seg_runtime.formats.labelme import write_labelme
from gen2seg_runtime.formats.npz import write_npz
from gen2seg_runtime.formats.png import write_label_png
from gen2seg_runtime.formats.svg import write_svg
from gen2seg_runtime.instances import Instances


@dataclass(frozen=True)
class InstanceFormat:
    """How instances go into a file.

    Attributes:
        suffix: of the file, with its dot.
        write: takes the path, the instances and the file name of the picture.
    """

    suffix: str
    write: Callable[[str | os.PathLike[str], Instances, str], None]


FORMATS = {
    "png": InstanceFormat(".png", lambda path, found, _: write_label_png(path, found.labels)),
    "coco": InstanceFormat(".json", lambda path, found, name: write_coco(path, [(name, found)])),
    "geojson": InstanceFormat(".geojson", lambda path, found, _: write_geojson(path, found)),
    "svg": InstanceFormat(".svg", lambda path, found, _: write_svg(path, found)),
    "labelme": InstanceFormat(".labelme.json", write_labelme),
    "npz": InstanceFormat(".npz", lambda path, found, _: write_npz(path, found)),
}
