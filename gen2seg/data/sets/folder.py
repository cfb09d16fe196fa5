"""A plain folder of pictures and label maps: what most people have."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .base import (
    DataSet,
    expect_folder,
    nothing_found,
    pair_files,
    read_options,
)

IMAGE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".tif", ".tiff", ".bmp", ".webp"})
LAYOUT = "images/NAME.jpg (or png, tif, ...) and instances/NAME.png (grey, 8 or 16 bits: 0 background, 1.. instances)"


@dataclass(frozen=True)
class FolderOptions:
    """images, instances: names of the two sub-folders."""

    images: str = "images"
    instances: str = "instances"


class Folder(DataSet):
    """`images/NAME.jpg` with `instances/NAME.png`; a picture without a label map is an error, it may be a typo."""

    kind = "folder"

    def __init__(self, root: Path, options: Mapping[str, Any]) -> None:
        chosen = read_options(FolderOptions, options, self.kind)
        expect_folder(root, self.kind, LAYOUT)
        images = root / chosen.images
        if not images.is_dir() or not (root / chosen.instances).is_dir():
            raise nothing_found(root, self.kind, LAYOUT)
        frames = []
        for path in sorted(images.iterdir()):
            if path.suffix.lower() not in IMAGE_SUFFIXES:
                continue
            labels = root / chosen.instances / f"{path.stem}.png"
            frames.append(pair_files(root, path, labels, "label map"))
        if not frames:
            raise nothing_found(root, self.kind, LAYOUT)
        super().__init__(root, frames)
