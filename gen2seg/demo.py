"""The demonstration: real photographs through the whole chain, with pictures to look at.

The photographs are those that lie inside scikit-image's wheel; they are read from its folder, without
importing it, so nothing is ever downloaded.
"""

import importlib.util
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from gen2seg.contact_sheet import draw_clicks, fit_tile, make_sheet
from gen2seg.errors import MissingExtraError
from gen2seg.folders import make_folder
from gen2seg_runtime import Encoding, Instances, Segmenter, read_image
from gen2seg_runtime.formats import overlay, write_png

_TILE = 300
_OPACITY = 0.6
_TITLES = ("picture and clicks", "colours", "objects", "masks of the clicks", "edges")

Point = tuple[float, float]


@dataclass(frozen=True)
class Photograph:
    """A picture to show and where to click on it; without points, the largest objects are clicked."""

    path: Path
    points: tuple[Point, ...] = ()


@dataclass(frozen=True)
class DemoResult:
    """What was done with one photograph.

    Attributes:
        name: file name without suffix.
        size: (H, W) of the photograph.
        points: the clicks, (x, y).
        areas: pixels of each click's mask.
        instances: how many objects were found.
        encode_ms, click_ms, instances_ms, edges_ms: wall time; of the clicks the median.
        files: the written pictures.
    """

    name: str
    size: tuple[int, int]
    points: tuple[Point, ...]
    areas: tuple[int, ...]
    instances: int
    encode_ms: float
    click_ms: float
    instances_ms: float
    edges_ms: float
    files: tuple[Path, ...]


# Clicked by hand: coins of several sizes; coffee, saucer and spoon; eye, nose and forehead of a cat; suit,
# face, helmet and shuttle tank; a cell; glands in a stained section.
_CLICKS: dict[str, tuple[Point, ...]] = {
    "coins.png": ((44, 54), (348, 185), (172, 261)),
    "coffee.png": ((289, 133), (150, 193), (364, 274)),
    "chelsea.png": ((169, 116), (261, 245), (234, 64)),
    "astronaut.png": ((165, 311), (223, 124), (330, 455), (412, 60)),
    "cell.png": ((427, 377),),
    "ihc.png": ((338, 375), (165, 110), (405, 130)),
}


def shipped_photographs() -> list[Photograph]:
    """The photographs of the demonstration, from the installed scikit-image.

    Raises:
        MissingExtraError: scikit-image is not installed, or lacks one of the pictures.
    """
    spec = importlib.util.find_spec("skimage")
    if spec is None or not spec.submodule_search_locations:
        raise MissingExtraError(
            "the demonstration's photographs come with scikit-image: pip install 'gen2seg[demo]', "
            "or give a picture of your own with --image"
        )
    folder = Path(spec.submodule_search_locations[0]) / "data"
    photographs = [Photograph(folder / name, points) for name, points in _CLICKS.items()]
    for photograph in photographs:
        if not photograph.path.is_file():
            raise MissingExtraError(f"this scikit-image does not ship {photograph.path}; install another version")
    return photographs


def run_demo(segmenter: Segmenter, photographs: Sequence[Photograph], folder: Path) -> tuple[list[DemoResult], Path]:
    """Segment the photographs and write the pictures into `folder`.

    For each photograph NAME: NAME-colors.png, NAME-instances.png, NAME-clicks.png, NAME-edges.png; and
    contact-sheet.png for all.

    Returns:
        The results, and the path of the contact sheet.

    Raises:
        Gen2SegError: a photograph cannot be read, a point lies outside of it, or a file cannot be written.
    """
    make_folder(folder)
    results, lines = [], []
    for photograph in photographs:
        result, line = _show(segmenter, photograph, folder)
        results.append(result)
        lines.append([fit_tile(picture, _TILE) for picture in line])
    sheet_path = folder / "contact-sheet.png"
    sheet = make_sheet(_TITLES, [result.name for result in results], lines, _TILE)
    write_png(sheet_path, np.asarray(sheet))
    return results, sheet_path


def _show(segmenter: Segmenter, photograph: Photograph, folder: Path) -> tuple[DemoResult, list[np.ndarray]]:
    """One photograph: the result, and its pictures in the order of _TITLES."""
    image = read_image(photograph.path)
    name = photograph.path.stem
    encode_ms, encoding = _timed(lambda: segmenter.encode(image))
    instances_ms, found = _timed(encoding.instances)
    edges_ms, edges = _timed(encoding.edges)
    points = photograph.points or _largest_centers(found)
    clicks = [_click(encoding, point) for point in points]
    masks = [mask for _, mask in clicks]
    marked = draw_clicks(image, points, radius=max(3.0, max(image.shape) / 120))
    pictures = {
        "colors": encoding.color_image(),
        "instances": overlay(image, found.labels, _OPACITY),
        "clicks": draw_clicks(
            overlay(image, _paint(masks, image.shape[:2]), _OPACITY), points, max(3.0, max(image.shape) / 120)
        ),
        "edges": _edge_picture(edges),
    }
    files = []
    for kind, picture in pictures.items():
        files.append(folder / f"{name}-{kind}.png")
        write_png(files[-1], picture)
    result = DemoResult(
        name=name,
        size=encoding.size,
        points=tuple(points),
        areas=tuple(int(mask.sum()) for mask in masks),
        instances=len(found.records),
        encode_ms=encode_ms,
        click_ms=statistics.median([ms for ms, _ in clicks]) if clicks else 0.0,
        instances_ms=instances_ms,
        edges_ms=edges_ms,
        files=tuple(files),
    )
    return result, [marked, *pictures.values()]


def _click(encoding: Encoding, point: Point) -> tuple[float, np.ndarray]:
    return _timed(lambda: encoding.mask([point]))


def _largest_centers(found: Instances, count: int = 3) -> tuple[Point, ...]:
    largest = sorted(found.records, key=lambda record: (-record.area, record.id))[:count]
    return tuple((float(record.center[0]), float(record.center[1])) for record in largest)


def _paint(masks: Sequence[np.ndarray], size: tuple[int, int]) -> np.ndarray:
    """Label map int32 [H, W] of the masks, the smaller ones on top."""
    labels = np.zeros(size, np.int32)
    for index in sorted(range(len(masks)), key=lambda i: -int(masks[i].sum())):
        labels[masks[index]] = index + 1
    return labels


def _edge_picture(edges: np.ndarray) -> np.ndarray:
    """Edges as dark lines on white, at full contrast: uint8 [H, W, 3]."""
    strongest = float(edges.max())
    ink = edges / strongest if strongest > 0 else edges
    return np.repeat((255 - np.rint(ink * 255)).astype(np.uint8)[..., None], 3, axis=2)


def _timed(work):
    start = time.perf_counter()
    value = work()
    return (time.perf_counter() - start) * 1e3, value
