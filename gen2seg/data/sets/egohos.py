"""EgoHOS (Zhang, Zhou, Stent and Shi, ECCV 2022): hands and what they hold, seen from the head.

Read of it: the authors' repository (owenzlz/EgoHOS) for folders, suffixes and numbers. The archive was not at hand.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from .base import DataSet, DataSetError, Frame, Sample, expect_folder, nothing_found, pair_files, read_options

LAYOUT = (
    "SPLIT/image/NAME.jpg and SPLIT/label/NAME.png (option split: train, val, test_indomain, test_outdomain, "
    "or test for the last two)"
)
CATEGORIES = {
    1: "left hand",
    2: "right hand",
    3: "object held by the left hand",
    4: "object held by the right hand",
    5: "object held by both hands",
    6: "object acted on with the left hand",
    7: "object acted on with the right hand",
    8: "object acted on with both hands",
}
_SPLITS = {
    **{name: (name,) for name in ("train", "val", "test_indomain", "test_outdomain")},
    "test": ("test_indomain", "test_outdomain"),
}


@dataclass(frozen=True)
class EgoHosOptions:
    """split: as in LAYOUT."""

    split: str = "test"

    def __post_init__(self) -> None:
        if self.split not in _SPLITS:
            raise ValueError(f"unknown split {self.split!r}; known: {', '.join(_SPLITS)}")


class EgoHos(DataSet):
    """Each hand and each role of an object is an instance; two objects in one role share its number."""

    kind = "egohos"

    def __init__(self, root: Path, options: Mapping[str, Any]) -> None:
        chosen = read_options(EgoHosOptions, options, self.kind)
        expect_folder(root, self.kind, LAYOUT)
        frames = []
        for split in _SPLITS[chosen.split]:
            for path in sorted((root / split / "image").glob("*.jpg")):
                frames.append(pair_files(root, path, root / split / "label" / f"{path.stem}.png"))
        if not frames:
            raise nothing_found(root, self.kind, LAYOUT)
        super().__init__(root, frames)

    def read(self, frame: Frame, *, categories: bool = False) -> Sample:
        sample = super().read(frame)
        numbers = [int(number) for number in np.unique(sample.ids) if number]
        if unknown := [number for number in numbers if number not in CATEGORIES]:
            raise DataSetError(f"{self.root / frame.labels}: expected 0 to {max(CATEGORIES)}, found {unknown[0]}")
        return replace(sample, categories={n: CATEGORIES[n] for n in numbers}) if categories else sample

    def category_names(self) -> frozenset[str]:
        return frozenset(CATEGORIES.values())
