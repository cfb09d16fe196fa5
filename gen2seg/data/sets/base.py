"""What the data sets have in common: frames, samples, and the reading of pictures and label maps."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, ClassVar, TypeVar

import numpy as np
from PIL import Image

from gen2seg_runtime.errors import Gen2SegError


class DataSetError(Gen2SegError, ValueError):
    """A data set that cannot be used, or a file of it that cannot be read; the message names the path."""


@dataclass(frozen=True)
class Frame:
    """One picture of a data set and where its labels are.

    Attributes:
        image, labels: paths relative to the data set's root; `labels` may name an entry of a common file.
        scene: what belongs together (a Hypersim scene), for cleaning.
    """

    image: str
    labels: str
    scene: str = ""


@dataclass(frozen=True)
class Sample:
    """A picture with its instances.

    Attributes:
        rgb: (H, W, 3) uint8.
        ids: (H, W) int32, 0 = background or unlabelled, other ids in any order and with any gaps.
        valid: (H, W) bool, False where a pixel is to take part in nothing; None = all valid.
        categories: the category of each id, where the data set has categories and they were asked for.
    """

    rgb: np.ndarray
    ids: np.ndarray
    valid: np.ndarray | None = None
    categories: Mapping[int, str] | None = None


class DataSet:
    """A listed data set; the classes beside this file say what their layout is.

    Attributes:
        root: its folder.
        frames: its pictures, in a fixed order.
        ignore_background: whether what has no label is unlabelled rather than background.
    """

    kind: ClassVar[str]
    ignore_background: ClassVar[bool] = False

    def __init__(self, root: Path, frames: Sequence[Frame]) -> None:
        self.root = root
        self.frames = tuple(frames)

    def read(self, frame: Frame, *, categories: bool = False) -> Sample:
        """Read one picture; here for data sets of pictures and label maps, others say how.

        Raises:
            DataSetError: a file is missing or damaged, sizes disagree, or `categories` are asked for and the
                data set has none.
        """
        if categories:
            raise DataSetError(f"{self.root}: a data set of kind {self.kind} is read without categories")
        rgb, ids = read_rgb(self.root / frame.image), read_label_map(self.root / frame.labels)
        self.check(rgb, ids, frame)
        return Sample(rgb, ids)

    def category_names(self) -> frozenset[str]:
        """The categories that `read` may give; empty where the data set has none."""
        return frozenset()

    def check(self, rgb: np.ndarray, ids: np.ndarray, frame: Frame) -> None:
        """Raises DataSetError unless picture and labels have one size."""
        if rgb.shape[:2] != ids.shape:
            raise DataSetError(
                f"{self.root / frame.labels}: its picture is {rgb.shape[:2]} (height, width), the labels {ids.shape}"
            )


Options = TypeVar("Options")


def read_options(kind: type[Options], values: Mapping[str, Any], data_set: str) -> Options:
    """The options of a data set as a record.

    Raises:
        DataSetError: an unknown key, or a value that the record refuses.
    """
    known = {item.name for item in fields(kind)}  # type: ignore[arg-type]
    for key in values:
        if key not in known:
            raise DataSetError(f"unknown option {key!r} of data set {data_set}; known: {', '.join(sorted(known))}")
    try:
        return kind(**{key: tuple(value) if isinstance(value, list) else value for key, value in values.items()})
    except (TypeError, ValueError) as error:
        raise DataSetError(f"options of data set {data_set}: {error}") from error


def read_rgb(path: Path) -> np.ndarray:
    """A picture as (H, W, 3) uint8.

    Raises:
        DataSetError: it is missing or damaged.
    """
    try:
        with Image.open(path) as picture:
            return np.asarray(picture.convert("RGB"))
    except Exception as error:  # on damaged files, decoders raise what comes
        raise DataSetError(f"cannot read the picture {path}: {error}") from error


def read_label_map(path: Path) -> np.ndarray:
    """A picture of one integer channel (grey of 1, 8, 16 or 32 bits, or palette indices) as (H, W) int32.

    Raises:
        DataSetError: it is missing, damaged, or has several channels or fractions.
    """
    try:
        with Image.open(path) as picture:
            labels = np.asarray(picture)
    except Exception as error:  # as above
        raise DataSetError(f"cannot read the label map {path}: {error}") from error
    if labels.ndim != 2 or labels.dtype.kind not in "uib":
        raise DataSetError(f"{path}: a label map has one integer channel, got {labels.shape} {labels.dtype}")
    return labels.astype(np.int32)


def expect_folder(root: Path, kind: str, layout: str) -> None:
    """Raises DataSetError that says which layout was expected unless `root` is a folder."""
    if not root.is_dir():
        raise DataSetError(f"{root}: no such folder; {kind} expects there {layout}")


def pair_files(root: Path, image: Path, labels: Path, what: str = "labels", scene: str = "") -> Frame:
    """The frame of a picture and the file of its labels, both below `root`.

    Raises:
        DataSetError: there are no labels; `what` is their name in the message.
    """
    if not labels.is_file():
        raise DataSetError(f"{image} has no {what}: expected {labels}")
    return Frame(image.relative_to(root).as_posix(), labels.relative_to(root).as_posix(), scene)


def nothing_found(root: Path, kind: str, layout: str) -> DataSetError:
    """The error for a folder that does not look like the data set."""
    return DataSetError(f"{root} does not look like {kind}: expected there {layout}")
