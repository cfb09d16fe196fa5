"""SimpleClick from a folder with config.json and model.safetensors."""

from pathlib import Path
from typing import Any

from gen2seg.errors import CheckpointError
from gen2seg.toml_records import ConfigError

from .model import SimpleClick, SimpleClickConfig

NAME = "simpleclick"


def build(architecture: dict[str, Any]) -> SimpleClick:
    """A fresh network.

    Raises:
        ConfigError: an unknown key, or a size that cannot be.
    """
    try:
        return SimpleClick(SimpleClickConfig(**architecture))
    except TypeError as error:
        raise ConfigError(f"SimpleClick's architecture: {error}") from error


def load(folder: Path) -> SimpleClick:
    """The trained network, in eval mode.

    Raises:
        CheckpointError: a file is missing or damaged, or of another network.
    """
    from gen2seg.training.checkpoint import load_state, read_config

    config = read_config(folder)
    if config["backbone"] != NAME:
        raise CheckpointError(f"{folder}/config.json: expected backbone {NAME!r}, got {config['backbone']!r}")
    module = build(config.get("architecture", {}))
    load_state(module, folder)
    return module.eval()
