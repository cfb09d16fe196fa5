"""COCO (Lin et al., ECCV 2014): everyday photographs, read through pycocotools."""

import contextlib
import io
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from .base import DataSet, DataSetError, Frame, Sample, expect_folder, nothing_found, read_options, read_rgb

LAYOUT = "annotations/instances_train2017.json and train2017/NNNNNNNNNNNN.jpg (option split: another year or part)"


@dataclass(frozen=True)
class CocoOptions:
    """split: names the JSON file and the folder of pictures. categories: objects of others are background, and
    pictures without any of these are left out; empty = all."""

    split: str = "train2017"
    categories: tuple[str, ...] = ()


class Coco(DataSet):
    """Pictures that have at least one object. Where objects overlap the smaller one wins, as it mostly lies on top;
    pixels of crowds, which stand for many objects at once, are not valid."""

    kind = "coco"

    def __init__(self, root: Path, options: Mapping[str, Any]) -> None:
        chosen = read_options(CocoOptions, options, self.kind)
        expect_folder(root, self.kind, LAYOUT)
        path = root / "annotations" / f"instances_{chosen.split}.json"
        if not path.is_file() or not (root / chosen.split).is_dir():
            raise nothing_found(root, self.kind, LAYOUT)
        self.list_pictures(root, path, root / chosen.split, chosen.categories)

    def list_pictures(self, root: Path, file: Path, folder: Path, categories: Collection[str] = ()) -> None:
        """Open the annotations `file`, which names pictures of `folder`; categories: as in CocoOptions."""
        self._annotations = open_annotations(file)
        self._wanted = {
            number
            for number, category in self._annotations.cats.items()
            if not categories or category["name"] in categories
        }
        frames = []
        for number in sorted(self._annotations.imgs):
            annotations = self._annotations.imgToAnns.get(number, ())
            if any(not a.get("iscrowd") and a["category_id"] in self._wanted for a in annotations):
                picture = folder / self._annotations.imgs[number]["file_name"]
                labels = f"{file.relative_to(root).as_posix()}#{number}"
                frames.append(Frame(picture.relative_to(root).as_posix(), labels))
        if not frames:
            raise DataSetError(f"{file} has no object of the wanted categories")
        super().__init__(root, frames)

    def read(self, frame: Frame, *, categories: bool = False) -> Sample:
        rgb = read_rgb(self.root / frame.image)
        annotations = self._annotations.imgToAnns[int(frame.labels.rpartition("#")[2])]
        ids = np.zeros(rgb.shape[:2], np.int32)
        crowd = np.zeros(rgb.shape[:2], bool)
        named = {}
        # The largest first, so that smaller ones are painted over them; ids follow the file's order.
        for number, annotation in sorted(enumerate(annotations, 1), key=lambda item: -item[1].get("area", 0)):
            try:
                mask = self._annotations.annToMask(annotation).astype(bool)
            except Exception as error:  # pycocotools checks little and raises what comes
                raise DataSetError(f"{self.root / frame.labels}: annotation {annotation.get('id')}: {error}") from error
            if mask.shape != ids.shape:
                raise DataSetError(
                    f"{self.root / frame.image}: {ids.shape} (height, width), its annotations say {mask.shape}"
                )
            if annotation.get("iscrowd"):
                crowd |= mask
            else:
                wanted = annotation["category_id"] in self._wanted
                ids[mask] = number if wanted else 0  # an unwanted object still hides what lies under it
                if wanted:
                    named[number] = self._annotations.cats[annotation["category_id"]]["name"]
        valid = ~(crowd & (ids == 0)) if crowd.any() else None
        return Sample(rgb, ids, valid, named if categories else None)

    def category_names(self) -> frozenset[str]:
        return frozenset(category["name"] for category in self._annotations.cats.values())


def open_annotations(path: Path) -> Any:
    """A file in COCO's format as pycocotools' COCO.

    Raises:
        DataSetError: it is missing or damaged, or pycocotools is not installed.
    """
    try:
        from pycocotools.coco import COCO
    except ImportError as error:
        raise DataSetError(
            "COCO's files need pycocotools: pip install 'gen2seg[evaluate]' or 'gen2seg[train]'"
        ) from error
    try:
        with contextlib.redirect_stdout(io.StringIO()):  # it reports its progress there
            return COCO(str(path))
    except (OSError, ValueError, KeyError, TypeError, AssertionError) as error:
        raise DataSetError(f"cannot read the annotations {path}: {error}") from error
