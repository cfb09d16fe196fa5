"""SVG: one path for each instance, holes by the even-odd rule, in pixels of the picture."""

import os
import re
from collections.abc import Iterator
from xml.etree import ElementTree

import numpy as np

from gen2seg_runtime.errors import ImageError
from gen2seg_runtime.files import atomic_write
from gen2seg_runtime.formats.json_file import read_text
from gen2seg_runtime.formats.pictures import label_color
from gen2seg_runtime.formats.shapes import check_id, check_size, instance_polygons, paint_rings
from gen2seg_runtime.instances import Instances

_NAMESPACE = "http://www.w3.org/2000/svg"
_ID = re.compile(r"instance-(\d{1,10})")
_SIDE = re.compile(r"\d{1,9}")
_SUBPATH = re.compile(r"M(\d{1,9}),(\d{1,9})((?:[HV]\d{1,9})+)Z")


def svg_text(instances: Instances) -> str:
    """An SVG document: paths "instance-ID" in the colours of `label_color`, with area and score as data."""
    height, width = instances.labels.shape
    lines = [
        f'<svg xmlns="{_NAMESPACE}" width="{width}" height="{height}" viewBox="0 0 {width} {height}">',
        '<g fill-rule="evenodd" fill-opacity="0.5" shape-rendering="crispEdges">',
    ]
    for record in instances.records:
        path = "".join(_subpath(ring) for part in instance_polygons(instances, record) for ring in part.rings)
        color = "#{:02x}{:02x}{:02x}".format(*label_color(record.id))
        lines.append(
            f'<path id="instance-{record.id}" fill="{color}" data-area="{record.area}" '
            f'data-score="{record.score:.6g}" d="{path}"/>'
        )
    return "\n".join([*lines, "</g>", "</svg>", ""])


def write_svg(path: str | os.PathLike[str], instances: Instances) -> None:
    """Write `svg_text(instances)`.

    Raises:
        OutputError: the file cannot be written.
    """
    text = svg_text(instances)
    with atomic_write(path) as file:
        file.write(text.encode())


def read_svg(path: str | os.PathLike[str]) -> np.ndarray:
    """The label map (H, W) int32 of a file that `write_svg` wrote (no other SVG is understood).

    Raises:
        ImageReadError: the file cannot be read.
        ImageError: it is no SVG, has entities of its own, or was not written by `write_svg`.
    """
    where, text = str(path), read_text(path)
    if "<!" in text:  # a document type may define entities that unfold to any size; ours has none
        raise ImageError(f"{where}: an SVG with a document type or comments is not one of ours")
    try:
        root = ElementTree.fromstring(text)
    except ElementTree.ParseError as error:
        raise ImageError(f"{where}: not an SVG document: {error}") from error
    sides = root.get("height", ""), root.get("width", "")
    if not all(_SIDE.fullmatch(side) for side in sides):
        raise ImageError(f"{where}: width and height must be whole numbers of pixels, found {sides!r}")
    labels = np.zeros(check_size(int(sides[0]), int(sides[1]), where), np.int32)
    for element in root.iter(f"{{{_NAMESPACE}}}path"):
        name = _ID.fullmatch(element.get("id", ""))
        if name is None:
            raise ImageError(f"{where}: a path is called instance-ID, found {element.get('id')!r}")
        place = f"{where}: {name[0]}"
        paint_rings(labels, list(_rings(element.get("d", ""), place)), check_id(int(name[1]), place))
    return labels


def _subpath(ring: np.ndarray) -> str:
    """A ring as "Mx,yHxVy...Z": its sides are horizontal and vertical in turn."""
    (x, y), rest = ring[0], ring[1:]
    horizontal = rest[0, 1] == y
    sides = []
    for corner in rest:
        sides.append(f"H{corner[0]}" if horizontal else f"V{corner[1]}")
        horizontal = not horizontal
    return f"M{x},{y}{''.join(sides)}Z"


def _rings(path: str, where: str) -> Iterator[np.ndarray]:
    end = 0
    for match in _SUBPATH.finditer(path):
        if match.start() != end:
            break
        end = match.end()
        x, y = int(match[1]), int(match[2])
        corners = [(x, y)]
        for kind, value in re.findall(r"([HV])(\d+)", match[3]):
            x, y = (int(value), y) if kind == "H" else (x, int(value))
            corners.append((x, y))
        yield np.array(corners)
    if end != len(path) or not path:
        raise ImageError(f"{where}: expected subpaths of the form Mx,yHxVy...Z")
