"""Hypersim (Roberts et al., ICCV 2021): rendered rooms."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from .base import DataSet, DataSetError, Frame, Sample, expect_folder, nothing_found, read_options, read_rgb

LAYOUT = (
    "[rgb/]SCENE/images/scene_cam_XX_final_preview/frame.NNNN.color.jpg with "
    "[rgb/]SCENE/images/scene_cam_XX_geometry_hdf5/frame.NNNN.semantic_instance.hdf5, or with "
    "instance-rgb/SCENE/images/scene_cam_XX_geometry_hdf5/frame.NNNN.png"
)
_CAMERA = re.compile(r"scene_(cam_\d+)_final_preview$")

# The 40 classes of NYUv2 in the order of their numbers, which Hypersim's semantic maps hold.
NYU40 = tuple(
    "wall floor cabinet bed chair sofa table door window bookshelf picture counter blinds desk shelves curtain "  # noqa: SIM905
    "dresser pillow mirror floor-mat clothes ceiling books refrigerator television paper towel shower-curtain box "
    "whiteboard person night-stand toilet sink lamp bathtub bag other-structure other-furniture other-prop".split()
)


@dataclass(frozen=True)
class HypersimOptions:
    """preview: which of the published previews is the picture: "color", as the reference takes, or "tonemap"."""

    preview: str = "color"

    def __post_init__(self) -> None:
        if self.preview not in ("color", "tonemap"):
            raise ValueError(f"preview must be color or tonemap, got {self.preview!r}")


class Hypersim(DataSet):
    """Previews with instance maps, the published HDF5 ones where they are there, else the reference's coloured PNGs.

    In the HDF5 maps -1 is no instance; ids begin at 1 (0 is read as no instance too). In the coloured PNGs black is.
    Categories come from `frame.NNNN.semantic.hdf5` beside the instance map.
    """

    kind = "hypersim"

    def __init__(self, root: Path, options: Mapping[str, Any]) -> None:
        chosen = read_options(HypersimOptions, options, self.kind)
        expect_folder(root, self.kind, LAYOUT)
        prefix = "rgb/" if (root / "rgb").is_dir() else ""
        frames = list(_find(root, prefix, chosen.preview))
        if not frames:
            others = sorted(_previews(root, prefix) - {chosen.preview})
            if others:
                raise DataSetError(
                    f"{root}: no *.{chosen.preview}.jpg, but {', '.join(others)}: set the option preview"
                )
            raise nothing_found(root, self.kind, LAYOUT)
        super().__init__(root, frames)

    def read(self, frame: Frame, *, categories: bool = False) -> Sample:
        rgb = read_rgb(self.root / frame.image)
        path = self.root / frame.labels
        ids = _read_colored(path) if path.suffix == ".png" else np.maximum(_read_hdf5(path), 0)
        self.check(rgb, ids, frame)
        return Sample(rgb, ids, categories=self._categories(frame, ids) if categories else None)

    def category_names(self) -> frozenset[str]:
        return frozenset(NYU40)

    def _categories(self, frame: Frame, ids: np.ndarray) -> dict[int, str]:
        """The class of most pixels of each instance."""
        folder, _, name = frame.image.replace("final_preview", "geometry_hdf5").rpartition("/")
        semantic = _read_hdf5(self.root / folder / f"{'.'.join(name.split('.')[:2])}.semantic.hdf5")
        self.check(semantic, ids, frame)
        present, dense = np.unique(ids, return_inverse=True)
        # Row 0 collects pixels without a class (-1), and never wins against one.
        votes = np.zeros((len(present), len(NYU40) + 1), np.int64)
        np.add.at(votes, (dense.ravel(), np.clip(semantic, 0, len(NYU40)).ravel()), 1)
        best = votes[:, 1:].argmax(1)
        return {int(i): NYU40[best[n]] if votes[n, 1:].any() else "unlabelled" for n, i in enumerate(present) if i > 0}


def _find(root: Path, prefix: str, preview: str) -> Iterator[Frame]:
    for folder in sorted(root.glob(f"{prefix}*/images/scene_cam_*_final_preview")):
        camera = _CAMERA.search(folder.name)
        if camera is None:
            continue
        scene = folder.parent.parent.name
        geometry = f"images/scene_{camera[1]}_geometry_hdf5"
        hdf5, colored = root / prefix / scene / geometry, root / "instance-rgb" / scene / geometry
        known = {path.name for place in (hdf5, colored) if place.is_dir() for path in place.iterdir()}
        for path in sorted(folder.glob(f"frame.*.{preview}.jpg")):
            stem = path.name.removesuffix(f".{preview}.jpg")
            image = path.relative_to(root).as_posix()
            if f"{stem}.semantic_instance.hdf5" in known:
                yield Frame(image, f"{prefix}{scene}/{geometry}/{stem}.semantic_instance.hdf5", scene)
            elif f"{stem}.png" in known:
                yield Frame(image, f"instance-rgb/{scene}/{geometry}/{stem}.png", scene)


def _previews(root: Path, prefix: str) -> set[str]:
    """Which kinds of previews there are."""
    found = root.glob(f"{prefix}*/images/scene_cam_*_final_preview/frame.*.jpg")
    return {path.name.split(".")[2] for path in found if path.name.count(".") == 3}


def _read_hdf5(path: Path) -> np.ndarray:
    import h5py

    try:
        with h5py.File(path, "r") as file:
            values = np.asarray(file["dataset"])
    except Exception as error:  # h5py passes on what its library finds
        raise DataSetError(f"cannot read {path}: {error}") from error
    if values.ndim != 2 or values.dtype.kind not in "iu":
        raise DataSetError(f"{path}: expected (H, W) integers in 'dataset', got {values.shape} {values.dtype}")
    return values.astype(np.int32)


def _read_colored(path: Path) -> np.ndarray:
    """One colour per instance, black = none -> the colours as numbers."""
    try:
        with Image.open(path) as picture:
            colors = np.asarray(picture.convert("RGB")).astype(np.int32)
    except Exception as error:  # on damaged files, decoders raise what comes
        raise DataSetError(f"cannot read the label map {path}: {error}") from error
    return colors[..., 0] << 16 | colors[..., 1] << 8 | colors[..., 2]
