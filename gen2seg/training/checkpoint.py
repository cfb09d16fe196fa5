"""Weights on disk in the hub layout: a folder with `config.json` and `model.safetensors`."""

import json
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import nn

from gen2seg.backbones import get_backbone
from gen2seg.errors import CheckpointError
from gen2seg_runtime.files import atomic_directory

CONFIG_FILE = "config.json"
WEIGHTS_FILE = "model.safetensors"


def save_weights(module: nn.Module, folder: Path, config: dict[str, Any], dtype: torch.dtype = torch.float32) -> None:
    """Write `module` and `config` (with the keys backbone and architecture) as one checkpoint folder.

    The folder appears whole or not at all; an older checkpoint of that name is replaced.
    """
    state = {name: value.detach().to("cpu", dtype).contiguous() for name, value in module.state_dict().items()}
    folder.parent.mkdir(parents=True, exist_ok=True)
    with atomic_directory(folder, overwrite=True) as temporary:
        save_file(state, temporary / WEIGHTS_FILE)
        text = json.dumps(config, indent=2, sort_keys=True)
        (temporary / CONFIG_FILE).write_text(text + "\n", encoding="utf-8")


def read_config(folder: Path) -> dict[str, Any]:
    """The `config.json` of a checkpoint folder."""
    path = folder / CONFIG_FILE
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise CheckpointError(
            f"{path}: cannot be read: {error}; a checkpoint folder holds {CONFIG_FILE} and {WEIGHTS_FILE}"
        ) from error
    if not isinstance(config, dict) or not isinstance(config.get("backbone"), str):
        raise CheckpointError(f"{path}: expected a table with the key 'backbone'")
    return config


def load_weights(folder: str | Path) -> tuple[nn.Module, dict[str, Any]]:
    """Build the network of a checkpoint folder: (module in eval mode, float32; its config).

    Raises:
        CheckpointError: missing or damaged file, missing or unknown tensor, wrong shape.
    """
    folder = Path(folder)
    config = read_config(folder)
    module = get_backbone(config["backbone"]).build(config.get("architecture", {}))
    load_state(module, folder)
    return module.eval(), config


def load_state(module: nn.Module, folder: str | Path) -> None:
    """Fill `module` with the weights of a checkpoint folder; every tensor must match."""
    path = Path(folder) / WEIGHTS_FILE
    try:
        state = load_file(path)
    except (OSError, SafetensorError) as error:
        raise CheckpointError(f"{path}: cannot be read as safetensors: {error}") from error
    expected = module.state_dict()
    for name, value in expected.items():
        if name not in state:
            raise CheckpointError(f"{path}: the tensor {name!r} is missing")
        if state[name].shape != value.shape:
            raise CheckpointError(f"{path}: {name!r} must be {tuple(value.shape)}, got {tuple(state[name].shape)}")
    unknown = sorted(set(state) - set(expected))
    if unknown:
        raise CheckpointError(f"{path}: unknown tensors {unknown[:3]} ({len(unknown)} in all)")
    module.load_state_dict(state)
