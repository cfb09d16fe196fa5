"""DRAM (Cohen, Newman and Shamir, Computer Graphics Forum 41, 2022): paintings of many art movements.

Read of it: the reader in the authors' repository (Nadavc220/SemanticSegmentationInArtPaintings, core/datasets/dram.py)
for folders and numbers of categories, and two readers of others for the archive's name (DRAM_processed). The archive
itself was not at hand.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from .base import DataSet, Frame, Sample, expect_folder, nothing_found, pair_files, read_options

LAYOUT = "test/MOVEMENT/ARTIST/NAME.jpg and labels/MOVEMENT/ARTIST/NAME.png, as in DRAM_processed"
# Pascal VOC's numbers; the others of its 21 are background here.
CATEGORIES = {
    **{3: "bird", 4: "boat", 5: "bottle", 8: "cat", 9: "chair", 10: "cow", 12: "dog", 13: "horse", 15: "person"},
    **{16: "potted plant", 17: "sheep"},
}
_UNKNOWN = 255


@dataclass(frozen=True)
class DramOptions:
    """parts: whether the parts of a category that do not touch are instances of their own. The labels are of
    categories; SAM's authors judge masks of whole categories (arXiv 2304.02643, Table 7: 1,179 on 718 pictures), and so
    does this reader unless told otherwise."""

    parts: bool = False


class Dram(DataSet):
    """The labelled test paintings, those of unseen movements (test/unseen) with them; 255 is not valid."""

    kind = "dram"

    def __init__(self, root: Path, options: Mapping[str, Any]) -> None:
        self._parts = read_options(DramOptions, options, self.kind).parts
        expect_folder(root, self.kind, LAYOUT)
        inner = find_data(root)
        if inner is None:
            raise nothing_found(root, self.kind, LAYOUT)
        frames = []
        for path in sorted((inner / "test").rglob("*.jpg")):
            labels = inner / "labels" / path.relative_to(inner / "test").with_suffix(".png")
            frames.append(pair_files(root, path, labels))
        if not frames:
            raise nothing_found(root, self.kind, LAYOUT)
        super().__init__(root, frames)

    def read(self, frame: Frame, *, categories: bool = False) -> Sample:
        sample = super().read(frame)
        values = np.where(np.isin(sample.ids, list(CATEGORIES)), sample.ids, 0).astype(np.int32)
        valid = sample.ids != _UNKNOWN
        ids, named = values, {int(value): CATEGORIES[int(value)] for value in np.unique(values) if value}
        if self._parts:
            ids, named = _split(values)
        return Sample(sample.rgb, ids, None if valid.all() else valid, named if categories else None)

    def category_names(self) -> frozenset[str]:
        return frozenset(CATEGORIES.values())


def find_data(root: Path) -> Path | None:
    """The folder that holds test and labels: `root` or DRAM_processed inside; None if there is none."""
    for inner in (root, root / "DRAM_processed"):
        if (inner / "test").is_dir() and (inner / "labels").is_dir():
            return inner
    return None


def _split(values: np.ndarray) -> tuple[np.ndarray, dict[int, str]]:
    """8-connected parts of each category, numbered by category and then in row-major order."""
    ids, named = np.zeros(values.shape, np.int32), {}
    for value in np.unique(values[values > 0]).tolist():
        count, parts = cv2.connectedComponents((values == value).astype(np.uint8), connectivity=8)
        ids = np.where(parts > 0, parts + len(named), ids)
        named.update({len(named) + part: CATEGORIES[value] for part in range(1, count)})
    return ids.astype(np.int32), named
