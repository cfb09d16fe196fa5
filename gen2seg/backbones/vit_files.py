"""What the checkpoints of `mae-b`, `mae-h` and `dino-b` have in common."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

from torch import nn

from gen2seg.backbones.record import RECORD_FILE
from gen2seg.backbones.vit_images import PROCESSOR_FILE, ImageRule

CONFIG_FILE = "config.json"
STEM = "model"
Net = TypeVar("Net", bound=nn.Module)


@dataclass(frozen=True)
class VitCheckpoint(Generic[Net]):
    """A network with what its files say.

    Attributes:
        net: in eval mode, float32, on the CPU.
        image: how pictures come in.
        state: "trained" or "untrained".
        description: where the weights come from, free text without a path.
        sha256: of the weight files, or of the random tensors.
        warnings: what the user should be told.
    """

    net: Net
    image: ImageRule
    state: str
    description: str
    sha256: str
    warnings: tuple[str, ...] = ()


def wanted_files(allow_pickle: bool, *more: str) -> list[str]:
    """Patterns of what is fetched from the hub: configurations and weights."""
    kinds = ("safetensors", "bin") if allow_pickle else ("safetensors",)
    return [CONFIG_FILE, PROCESSOR_FILE, RECORD_FILE, *(f"*.{kind}*" for kind in kinds), *more]


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Indented, keys sorted, final newline; not atomic: `path` lies in a folder that is."""
    path.write_text(json.dumps(content, indent=2, sort_keys=True) + "\n", encoding="utf-8")
