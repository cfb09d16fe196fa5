"""Where the weights come from: a checkpoint folder, or seeded random numbers."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from gen2seg.backbones import get_backbone
from gen2seg.backbones.hub import files_digest
from gen2seg.backbones.randomize import tensors_digest
from gen2seg.backbones.record import SEED, describe_random
from gen2seg.errors import CheckpointError
from gen2seg.training.checkpoint import CONFIG_FILE, WEIGHTS_FILE, load_weights, read_config

PICKLE_SUFFIXES = frozenset({".bin", ".pt", ".pth", ".ckpt", ".pkl"})


@dataclass(frozen=True)
class Source:
    """A network ready to export.

    Attributes:
        module: in eval mode, float32, on the CPU.
        metadata: the checkpoint's own, may hold `bundle_defaults`.
        state: "trained" or "untrained".
        description: free text for the manifest; holds no path.
        sha256: digest of the weights file, or of the random tensors.
        parameters: how many numbers the network has.
    """

    module: nn.Module
    metadata: Mapping[str, Any]
    state: str
    description: str
    sha256: str
    parameters: int


def load_source(backbone: str, checkpoint: Path) -> Source:
    """Read a checkpoint folder (`config.json`, `model.safetensors`).

    Raises:
        CheckpointError: the folder or a file of it is missing, damaged or a pickle, the config is for another
            backbone, or a tensor is missing, unexpected or of another shape.
    """
    _check_files(checkpoint)
    config = read_config(checkpoint)
    _check_config(checkpoint / CONFIG_FILE, config, backbone)
    module, config = load_weights(checkpoint)
    steps = config.get("training", {}).get("step")
    trained = isinstance(steps, int) and steps > 0
    return Source(
        module=module,
        metadata=config.get("metadata", {}),
        state="trained" if trained else "untrained",
        description=(
            f"trained from scratch on procedurally generated scenes, {steps:,} steps"
            if trained
            else "a checkpoint that records no training"
        ),
        sha256=files_digest([checkpoint / WEIGHTS_FILE]),
        parameters=_count(module),
    )


def random_source(backbone: str, architecture: Mapping[str, Any] | None = None, seed: int = SEED) -> Source:
    """The backbone with seeded random weights, for latency work and tests.

    Tensors that the network initialises to zero get small random numbers too: behind a zero, whole branches
    would take no part in the output and parity would not see them.
    """
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(seed)
        module = get_backbone(backbone).build(dict(architecture or {})).eval()
        for parameter in module.parameters():
            if parameter.dim() > 1 and not parameter.any():
                parameter.normal_(std=0.5 * parameter[0].numel() ** -0.5)
    return Source(
        module=module,
        metadata={},
        state="untrained",
        description=describe_random(seed),
        sha256=tensors_digest(module),
        parameters=_count(module),
    )


def _check_files(checkpoint: Path) -> None:
    if not checkpoint.is_dir():
        raise CheckpointError(
            f"{checkpoint} is no folder; a checkpoint is a folder with {CONFIG_FILE} and {WEIGHTS_FILE}"
        )
    if (checkpoint / WEIGHTS_FILE).is_file():
        return
    pickles = sorted(path.name for path in checkpoint.iterdir() if path.suffix in PICKLE_SUFFIXES)
    if pickles:
        raise CheckpointError(
            f"{checkpoint} holds {', '.join(pickles)} but no {WEIGHTS_FILE}: pickled weights can run code "
            f"and are not read; convert them to {WEIGHTS_FILE}"
        )
    raise CheckpointError(f"{checkpoint / WEIGHTS_FILE} does not exist")


def _check_config(path: Path, config: Mapping[str, Any], backbone: str) -> None:
    if config["backbone"] != backbone:
        raise CheckpointError(f"{path} is for backbone {config['backbone']!r}, expected {backbone!r}")
    for key in ("architecture", "training", "metadata"):
        if not isinstance(config.get(key, {}), dict):
            raise CheckpointError(f"{path}: {key} must be a table, got {config[key]!r}")


def _count(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())
