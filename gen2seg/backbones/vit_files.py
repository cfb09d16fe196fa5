"""What the checkpoints of `mae-b`, `mae-h` and `dino-b` have in common."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

from torch import nn

from gen2seg.backbones.hub import read_config
from gen2seg.backbones.vit_images import PROCESSOR_FILE, ImageRule
from gen2seg.errors import LayoutError

CONFIG_FILE = "config.json"
RECORD_FILE = "gen2seg.json"  # what this project adds to the layout: whether the weights were ever trained
STEM = "model"
SEED = 20250

STATES = ("trained", "untrained")
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


def read_state(folder: Path) -> str:
    """ "trained" or "untrained", as `gen2seg.json` says; without that file weights are taken for trained ones.

    Raises:
        LayoutError: it says something else.
    """
    if not (folder / RECORD_FILE).is_file():
        return "trained"
    state = read_config(folder, RECORD_FILE).get("state")
    if state not in STATES:
        raise LayoutError(f"{folder / RECORD_FILE}: state must be {' or '.join(STATES)}, got {state!r}")
    return state


def describe_source(source: str | Path, folder: Path, state: str, kind: str) -> str:
    """Free text for a manifest: the hub id, or what kind of folder it was; never a path."""
    if state == "untrained":
        return "a checkpoint that records no training"
    return kind if folder == Path(source).expanduser() else f"{source} (hub)"


def describe_random(seed: int) -> str:
    """Free text for a manifest."""
    return f"random weights, seed {seed}: for latency only, the colours mean nothing"


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Indented, keys sorted, final newline; not atomic: `path` lies in a folder that is."""
    path.write_text(json.dumps(content, indent=2, sort_keys=True) + "\n", encoding="utf-8")
