"""BSDS500 (Arbelaez et al., TPAMI 2011): photographs that several people divided into regions, read through SciPy."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from .base import DataSet, DataSetError, Frame, Sample, expect_folder, nothing_found, pair_files, read_options, read_rgb

LAYOUT = "data/images/SPLIT/NUMBER.jpg and data/groundTruth/SPLIT/NUMBER.mat, as in the archive (option split: test)"


@dataclass(frozen=True)
class Bsds500Options:
    """split: train, val or test."""

    split: str = "test"


class Bsds500(DataSet):
    """The regions of one annotator as instances: of those with the median number of regions (the lower one of two) the
    first. Regions cover the whole picture and mix things, parts and background; `boundaries` gives what all drew.

    The root may be the archive's folder (BSR), BSDS500 or its data folder.
    """

    kind = "bsds500"

    def __init__(self, root: Path, options: Mapping[str, Any]) -> None:
        chosen = read_options(Bsds500Options, options, self.kind)
        expect_folder(root, self.kind, LAYOUT)
        inner = find_data(root)
        if inner is None or not (inner / "images" / chosen.split).is_dir():
            raise nothing_found(root, self.kind, LAYOUT)
        frames = []
        for path in sorted((inner / "images" / chosen.split).glob("*.jpg")):
            truth = inner / "groundTruth" / chosen.split / f"{path.stem}.mat"
            frames.append(pair_files(root, path, truth, "ground truth"))
        if not frames:
            raise nothing_found(root, self.kind, LAYOUT)
        super().__init__(root, frames)

    def read(self, frame: Frame, *, categories: bool = False) -> Sample:
        if categories:
            raise DataSetError(f"{self.root}: BSDS500 has no categories")
        rgb, regions = read_rgb(self.root / frame.image), self._annotations(frame, "Segmentation")
        counts = [len(np.unique(region)) for region in regions]
        ids = regions[counts.index(sorted(counts)[(len(counts) - 1) // 2])].astype(np.int32)
        self.check(rgb, ids, frame)
        return Sample(rgb, ids)

    def boundaries(self, frame: Frame) -> np.ndarray:
        """bool [K, H, W], what each annotator drew.

        Raises:
            DataSetError: the file is missing or damaged.
        """
        return self._annotations(frame, "Boundaries").astype(bool)

    def _annotations(self, frame: Frame, part: str) -> np.ndarray:
        """[K, H, W]: `part` of each annotator's record; the file holds a cell array of structs of 1 x 1."""
        try:
            from scipy.io import loadmat
        except ImportError as error:
            raise DataSetError("BSDS500's files need SciPy: pip install 'gen2seg[evaluate]'") from error
        path = self.root / frame.labels
        try:
            cells = loadmat(path)["groundTruth"].ravel()
            maps = np.stack([cell[part][0, 0] for cell in cells])
        except Exception as error:  # SciPy raises what comes on a damaged file
            raise DataSetError(f"cannot read the ground truth {path}: {error}") from error
        if maps.ndim != 3 or maps.dtype.kind not in "uib":
            raise DataSetError(
                f"{path}: {part} must be whole numbers [height, width], got {maps.shape[1:]} {maps.dtype}"
            )
        return maps


def find_data(root: Path) -> Path | None:
    """The folder of BSDS500 that holds images and groundTruth: `root` or one inside; None if there is none."""
    for inner in (root, root / "data", root / "BSDS500/data"):
        if (inner / "images").is_dir() and (inner / "groundTruth").is_dir():
            return inner
    return None
