"""The state of a run on disk, so that a killed run goes on exactly where its last checkpoint was."""

import random
import re
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from gen2seg.errors import CheckpointError
from gen2seg_runtime.files import atomic_directory

_NAME = re.compile(r"step-(\d{8})$")
_FILE = "state.pt"


@dataclass
class TrainState:
    """All that a step depends on besides its number and the config."""

    module: nn.Module
    ema: nn.Module
    optimizer: torch.optim.Optimizer
    generator: torch.Generator  # draws pixel pairs
    scaler: Any = None  # gradient scaler of fp16 runs
    step: int = 0

    def save(self, run: Path, keep: int) -> None:
        """Write `run/checkpoints/step-N` whole or not at all, then drop all but the newest `keep`."""
        content = {
            "step": self.step,
            "module": self.module.state_dict(),
            "ema": self.ema.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "generator": self.generator.get_state(),
            "scaler": self.scaler.state_dict() if self.scaler is not None else None,
            "torch_rng": torch.get_rng_state(),
        }
        folder = _folder(run)
        folder.mkdir(parents=True, exist_ok=True)
        with atomic_directory(folder / f"step-{self.step:08d}", overwrite=True) as temporary:
            torch.save(content, temporary / _FILE)
        for old in list_checkpoints(run)[:-keep]:
            shutil.rmtree(old, ignore_errors=True)

    def restore(self, checkpoint: Path) -> None:
        """Go back to a checkpoint written by `save`."""
        path = checkpoint / _FILE
        try:
            content = torch.load(path, map_location="cpu", weights_only=True)
            self.module.load_state_dict(content["module"])
            self.ema.load_state_dict(content["ema"])
            settings = [{k: v for k, v in g.items() if k != "params"} for g in self.optimizer.param_groups]
            self.optimizer.load_state_dict(content["optimizer"])
            for group, own in zip(self.optimizer.param_groups, settings, strict=True):
                group.update(own)  # betas and weight decay are the config's, as everything else is
            self.generator.set_state(content["generator"])
            torch.set_rng_state(content["torch_rng"])
            if self.scaler is not None and content["scaler"] is not None:
                self.scaler.load_state_dict(content["scaler"])
            self.step = content["step"]
        except (OSError, RuntimeError, KeyError, ValueError) as error:
            raise CheckpointError(f"{path}: cannot resume from it: {error}") from error


def list_checkpoints(run: Path) -> list[Path]:
    """Checkpoint folders of a run, oldest first."""
    folder = _folder(run)
    if not folder.is_dir():
        return []
    return sorted(item for item in folder.iterdir() if item.is_dir() and _NAME.match(item.name))


def _folder(run: Path) -> Path:
    return run / "checkpoints"


def seed_everything(seed: int) -> None:
    random.seed(seed)
    np.random.seed(seed)  # noqa: NPY002  third-party code still draws from it
    torch.manual_seed(seed)
