"""ClevrTex (Karazija, Laina and Rupprecht, NeurIPS 2021): rendered textured solids."""

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

SPLITS = {"test": (0.0, 0.1), "val": (0.1, 0.2), "train": (0.2, 1.0), "all": (0.0, 1.0)}
VARIANTS = ("full", "pbg", "vbg", "grassbg", "camo", "outd")
LAYOUT = "[clevrtex_VARIANT/]N/CLEVRTEX_VARIANT_NNNNNN.png with CLEVRTEX_VARIANT_NNNNNN_flat.png beside it"


@dataclass(frozen=True)
class ClevrTexOptions:
    """variant: one of `VARIANTS`; split: shares of the pictures in the order of their numbers, as published."""

    variant: str = "full"
    split: str = "train"

    def __post_init__(self) -> None:
        if self.variant not in VARIANTS or self.split not in SPLITS:
            raise ValueError(
                f"variant must be one of {', '.join(VARIANTS)} and split one of {', '.join(SPLITS)}, "
                f"got {self.variant!r} and {self.split!r}"
            )


class ClevrTex(DataSet):
    """Pictures with flat label maps: 0 background, 1.. objects."""

    kind = "clevrtex"

    def __init__(self, root: Path, options: Mapping[str, Any]) -> None:
        chosen = read_options(ClevrTexOptions, options, self.kind)
        expect_folder(root, self.kind, LAYOUT)
        inner = root / f"clevrtex_{chosen.variant}"
        base = inner if inner.is_dir() else root
        number = "[0-9]" * 6
        images = sorted(base.glob(f"**/CLEVRTEX_{chosen.variant}_{number}.png"), key=lambda path: path.name)
        frames = []
        for image in images:
            labels = image.with_name(f"{image.stem}_flat.png")
            frames.append(pair_files(root, image, labels, "label map"))
        first, last = (int(share * len(frames)) for share in SPLITS[chosen.split])
        if not frames[first:last]:
            raise nothing_found(root, self.kind, LAYOUT)
        super().__init__(root, frames[first:last])
