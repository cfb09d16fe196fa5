"""Learned weights in a folder: whose they are, and what to do where they are not there. Knows them without PyTorch."""

import hashlib
import json
from functools import partial
from pathlib import Path
from typing import Any

from gen2seg.backbones import get_backbone
from gen2seg.evaluation.errors import EvaluationError

from .interface import SystemSpec

# Name in tables -> repository on the hub. Licence of code and weights: Apache 2.0.
SAM_HUB = {"sam-b": "facebook/sam-vit-base", "sam-l": "facebook/sam-vit-large", "sam-h": "facebook/sam-vit-huge"}
# The paper's own networks.
NETWORKS = ("sd2", "mae-h", "mae-b", "dino-b")
# Known by name, once their weights are there.
WEIGHTED = (*NETWORKS, *SAM_HUB, "simpleclick")

_FILES = ("config.json", "model.safetensors")
_SD2_FILES = ("unet/config.json", "vae/config.json", "scheduler/scheduler_config.json")
_MODEL_TYPES = {"sam": "sam", "vit_mae": "mae", "gen2seg-dino": "dino"}


def kind_of(folder: Path) -> str | None:
    """What a folder of weights holds: "bundle", "sam", "simpleclick", "mae", "dino", "sd2", or "own" for a network of
    this project that `gen2seg train` wrote; None: no weights."""
    if (folder / "bundle.json").is_file():
        return "bundle"
    if (folder / _SD2_FILES[0]).is_file():
        return "sd2"
    config = _read_config(folder)
    known = _MODEL_TYPES.get(str(config.get("model_type")))
    if known is not None:
        return known
    if config.get("backbone") == "simpleclick":
        return "simpleclick"
    return "own" if (folder / "model.safetensors").is_file() else None


def find_weights(name: str) -> Path | None:
    """The folder of a name in WEIGHTED in the hub's cache on this machine; None if it is not there."""
    repository = SAM_HUB.get(name) or (get_backbone(name).weights if name in NETWORKS else None)
    if repository is None:
        return None
    try:
        from huggingface_hub import try_to_load_from_cache
    except ImportError:
        return None
    files = _SD2_FILES if name == "sd2" else _FILES
    paths = [try_to_load_from_cache(repository, file) for file in files]
    if not all(isinstance(path, str) for path in paths):
        return None
    return Path(str(paths[0])).parents[files[0].count("/")]


def absent(name: str, how: str | None = None) -> SystemSpec:
    """A system with learned weights that are not here; `how` says how they are had, None: by its name in WEIGHTED."""
    how = how or _how_to_get(name)
    return SystemSpec(name, partial(_refuse, name, how), learned=True, missing=how)


def file_digest(path: Path) -> str:
    """SHA-256, hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _how_to_get(name: str) -> str:
    if name in SAM_HUB:
        return f"fetch {' and '.join(_FILES)} of {SAM_HUB[name]}, then pass --bundle {name}=FOLDER"
    repository = get_backbone(name).weights if name in NETWORKS else None
    if repository is None:
        return f"train it with `gen2seg train {name}`, then pass --bundle {name}=RUN/weights"
    return f"fetch {repository}, then pass --bundle {name}=FOLDER; or the folder of a bundle that was made of it"


def _refuse(name: str, how: str) -> Any:
    raise EvaluationError(f"{name} has no weights here: {how}")


def _read_config(folder: Path) -> dict[str, Any]:
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return config if isinstance(config, dict) else {}
