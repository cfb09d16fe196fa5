"""Learned weights in a folder: whose they are, and what to do where they are not there. Knows them without PyTorch."""

import json
from functools import partial
from pathlib import Path
from typing import Any

from gen2seg.errors import MissingExtraError
from gen2seg.evaluation.errors import EvaluationError

from .interface import SystemSpec

# Name in tables -> repository on the hub. Licence of code and weights: Apache 2.0.
SAM_HUB = {"sam-b": "facebook/sam-vit-base", "sam-l": "facebook/sam-vit-large", "sam-h": "facebook/sam-vit-huge"}


def is_sam(folder: Path) -> bool:
    """Whether a folder's config.json is of SAM."""
    return _read_config(folder).get("model_type") == "sam"


def is_simpleclick(folder: Path) -> bool:
    """Whether a folder's config.json is of SimpleClick."""
    return _read_config(folder).get("backbone") == "simpleclick"


def find_sam(name: str) -> Path | None:
    """The folder of a key of SAM_HUB in the hub's cache on this machine; None if it is not there.

    Raises:
        MissingExtraError: the hub's library is not installed.
    """
    try:
        from huggingface_hub import try_to_load_from_cache
    except ImportError as error:
        raise MissingExtraError(f"the system {name} needs transformers: pip install 'gen2seg[train]'") from error
    paths = [try_to_load_from_cache(SAM_HUB[name], file) for file in ("config.json", "model.safetensors")]
    return Path(str(paths[0])).parent if all(isinstance(path, str) for path in paths) else None


def absent(name: str, how: str) -> SystemSpec:
    """A system with learned weights that are not here; `how` says how they are had."""
    return SystemSpec(name, partial(_refuse, name, how), learned=True, missing=how)


def _refuse(name: str, how: str) -> Any:
    raise EvaluationError(f"{name} has no weights here: {how}")


def _read_config(folder: Path) -> dict[str, Any]:
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return config if isinstance(config, dict) else {}
