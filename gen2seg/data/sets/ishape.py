"""iShape (Yang et al., arXiv 2109.15068): thin and tangled things, six sub-sets of pictures of 1024 x 1024.

Read of it: the archive's own README as published for folders and 16-bit maps, and the project's tool that makes COCO
files of them (iShape/build_synthetic_ishape, tool/instance_map_to_coco.py), which takes numbers from 1000 on as objects
and finds picture and map by their name without the suffix. The archive was not at hand.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from .base import DataSet, Frame, Sample, expect_folder, nothing_found, pair_files, read_options
from .folder import IMAGE_SUFFIXES

LAYOUT = "PART/SPLIT/image/NAME.jpg and PART/SPLIT/instance_map/NAME.png (options split: val, parts: empty = all six)"
PARTS = ("antenna", "branch", "fence", "hanger", "log", "wire")
_FIRST_OBJECT = 1000


@dataclass(frozen=True)
class IShapeOptions:
    """split: train or val. parts: names of sub-sets; empty = all that are there."""

    split: str = "val"
    parts: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for name in self.parts:
            if name not in PARTS:
                raise ValueError(f"unknown part {name!r}; known: {', '.join(PARTS)}")


class IShape(DataSet):
    """The parts one after the other."""

    kind = "ishape"

    def __init__(self, root: Path, options: Mapping[str, Any]) -> None:
        chosen = read_options(IShapeOptions, options, self.kind)
        expect_folder(root, self.kind, LAYOUT)
        frames = []
        for part in chosen.parts or PARTS:
            folder = root / part / chosen.split
            if not (folder / "image").is_dir():
                if chosen.parts:
                    raise nothing_found(root, self.kind, LAYOUT)
                continue
            for path in sorted((folder / "image").iterdir()):
                if path.suffix.lower() not in IMAGE_SUFFIXES:
                    continue
                labels = folder / "instance_map" / f"{path.stem}.png"
                frames.append(pair_files(root, path, labels, "instance map", scene=part))
        if not frames:
            raise nothing_found(root, self.kind, LAYOUT)
        super().__init__(root, frames)

    def read(self, frame: Frame, *, categories: bool = False) -> Sample:
        sample = super().read(frame)
        ids = np.where(sample.ids >= _FIRST_OBJECT, sample.ids, 0).astype(np.int32)
        named = {int(number): frame.scene for number in np.unique(ids) if number} if categories else None
        return replace(sample, ids=ids, categories=named)

    def category_names(self) -> frozenset[str]:
        return frozenset(frame.scene for frame in self.frames)
