"""Pictures on which an export is judged: generated scenes, and real ones where a folder is given."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import zip_longest
from pathlib import Path

import numpy as np

from gen2seg_export.errors import ExportError

IMAGE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".tif", ".tiff", ".bmp", ".webp"})


@dataclass(frozen=True)
class Sample:
    """`image` is uint8 [H, W, 3] RGB; `name` never holds a folder of the exporting machine."""

    name: str
    kind: str  # "generated" or "real"
    image: np.ndarray


# Far from the seeds that training draws, so that no network has seen these scenes.
_FIRST_SEED = 1_000_000_000

# Seed offset, side of the square scene, and the part of it that is kept (height, width). Chosen so that a
# picture is enlarged, kept and shrunk by the resize rule, is padded on either side, and once very elongated.
_VERIFICATION_SCENES = (
    (1, 96, (96, 96)),
    (2, 256, (256, 256)),
    (3, 448, (448, 420)),
    (4, 800, (500, 800)),
    (5, 512, (40, 512)),
)
_GOLDEN_SCENES = ((101, 160, (160, 160)), (102, 224, (168, 224)))
_CALIBRATION_SIDES = (640, 512, 384, 768, 320, 448, 576, 224, 704, 256)
_CALIBRATION_SCENES = tuple((300 + i, side, (side * 3 // 4, side)) for i, side in enumerate(_CALIBRATION_SIDES))


def verification_scenes() -> list[Sample]:
    """Generated pictures of several sizes and shapes."""
    return _render(_VERIFICATION_SCENES)


def golden_scenes() -> list[Sample]:
    """Small scenes that travel inside the bundle with their expected colours."""
    return _render(_GOLDEN_SCENES)


def calibration_scenes() -> list[Sample]:
    """Scenes to measure ranges on; no export is judged on them."""
    return _render(_CALIBRATION_SCENES)


def bucket_scene(height: int, width: int) -> Sample:
    """A scene of exactly that size, for a bucket that none of the others falls into."""
    [sample] = _render([(400, max(height, width), (height, width))])
    return replace(sample, name=f"scene-{height}x{width}")


def _render(scenes: Sequence[tuple[int, int, tuple[int, int]]]) -> list[Sample]:
    from gen2seg.data.scenes import render_scene

    samples = []
    for offset, side, (height, width) in scenes:
        image, _ = render_scene(_FIRST_SEED + offset, side)
        samples.append(Sample(f"scene-{offset}", "generated", np.ascontiguousarray(image[:height, :width])))
    return samples


def real_samples(folder: Path, limit: int) -> list[Sample]:
    """Up to `limit` pictures of a folder, taken in turn from each of its sets.

    A set is a sub-folder with `images/`; a folder without such sets is taken as one set of pictures.

    Raises:
        ExportError: the folder is missing or holds no picture, or `limit` is under 1.
        ImageReadError: a chosen picture cannot be read.
    """
    from gen2seg_runtime.images import read_image

    if limit < 1:
        raise ExportError(f"the number of real pictures must be at least 1, got {limit}")
    if not folder.is_dir():
        raise ExportError(f"the picture folder {folder} does not exist")
    sets = sorted(path for path in folder.glob("*/images") if path.is_dir()) or [folder]
    listings = [sorted(p for p in s.iterdir() if p.suffix.lower() in IMAGE_SUFFIXES) for s in sets]
    chosen = [path for row in zip_longest(*listings) for path in row if path is not None][:limit]
    if not chosen:
        raise ExportError(f"{folder} holds no picture ({', '.join(sorted(IMAGE_SUFFIXES))})")
    return [Sample(path.relative_to(folder).as_posix(), "real", read_image(path)) for path in chosen]
