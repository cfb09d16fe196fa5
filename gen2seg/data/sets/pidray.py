"""PIDray (Zhang et al., IJCV 2023; Wang et al., ICCV 2021): forbidden things in X-rayed luggage, in COCO's format.

Read of it: several readers of others, which agree on folders and names (annotations/xray_test_easy.json with
easy/xray_easy00000.png); the authors' repository (lutao2021/PIDray) shows the format but with other names. The archive
was not at hand.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .base import expect_folder, nothing_found, read_options
from .coco import Coco

LAYOUT = (
    "annotations/xray_test_easy.json and easy/xray_easyNNNNN.png, in it or in pidray/ "
    "(option split: train, easy, hard or hidden)"
)
_FILES = {
    "train": "xray_train.json",
    "easy": "xray_test_easy.json",
    "hard": "xray_test_hard.json",
    "hidden": "xray_test_hidden.json",
}


@dataclass(frozen=True)
class PidRayOptions:
    """split: as in LAYOUT."""

    split: str = "easy"

    def __post_init__(self) -> None:
        if self.split not in _FILES:
            raise ValueError(f"unknown split {self.split!r}; known: {', '.join(_FILES)}")


class PidRay(Coco):
    """As Coco; the pictures have three equal channels or colours of the scanner."""

    kind = "pidray"

    def __init__(self, root: Path, options: Mapping[str, Any]) -> None:
        split = read_options(PidRayOptions, options, self.kind).split
        expect_folder(root, self.kind, LAYOUT)
        for inner in (root, root / "pidray"):
            file = inner / "annotations" / _FILES[split]
            if file.is_file() and (inner / split).is_dir():
                self.list_pictures(root, file, inner / split)
                return
        raise nothing_found(root, self.kind, LAYOUT)


def find_annotations(root: Path) -> bool:
    """Whether a folder holds the easy test part."""
    return any((inner / "annotations" / _FILES["easy"]).is_file() for inner in (root, root / "pidray"))
