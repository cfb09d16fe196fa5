"""The state of a run on disk, so that a killed run goes on exactly where its last checkpoint was."""

import random
import re
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from gen2seg.errors import CheckpointError
from gen2seg_runtime.files import atomic_directory

_NAME = re.compile(r"step-(\d{8})$")
_FILE = "state.pt"


@dataclass
class TrainState:
    """All that a step depends on besides its number and the config."""

    module: nn.Module
    ema: nn.Module | None  # the averaged weights, where an average is kept
    optimizer: torch.optim.Optimizer
    generator: torch.Generator  # draws pixel pairs
    scaler: Any = None  # gradient scaler of fp16 runs
    step: int = 0

    @property
    def result(self) -> nn.Module:
        """The network that a run ends with."""
        return self.module if self.ema is None else self.ema

    def save(self, run: Path, keep: int) -> None:
        """Write `run/checkpoints/step-N` whole or not at all, then drop all but the newest `keep`."""
        content = {
            "step": self.step,
            "module": _changing(self.module, self.module),
            "ema": None if self.ema is None else _changing(self.ema, self.module),
            "optimizer": self.optimizer.state_dict(),
            "generator": self.generator.get_state(),
            "scaler": self.scaler.state_dict() if self.scaler is not None else None,
            "torch_rng": torch.get_rng_state(),
        }
        folder = _folder(run)
        folder.mkdir(parents=True, exist_ok=True)
        for half in folder.glob(".step-*.tmp"):  # a kill in the middle of `save` leaves one
            shutil.rmtree(half, ignore_errors=True)
        with atomic_directory(folder / f"step-{self.step:08d}", overwrite=True) as temporary:
            torch.save(content, temporary / _FILE)
        for old in list_checkpoints(run)[:-keep]:
            shutil.rmtree(old, ignore_errors=True)

    def restore(self, checkpoint: Path) -> None:
        """Go back to a checkpoint written by `save`."""
        path = checkpoint / _FILE
        try:
            content = torch.load(path, map_location="cpu", weights_only=True)
            _restore(self.module, content["module"], self.module)
            if self.ema is not None:
                _restore(self.ema, content["ema"], self.module)
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


def _changing(module: nn.Module, trained: nn.Module) -> dict[str, Tensor]:
    """The tensors that training changes: those with a gradient in `trained`, and buffers. A frozen VAE stays out."""
    frozen = {name for name, p in trained.named_parameters() if not p.requires_grad}
    return {name: value for name, value in module.state_dict().items() if name not in frozen}


def _restore(module: nn.Module, saved: dict[str, Tensor] | None, trained: nn.Module) -> None:
    expected = _changing(module, trained).keys()
    if saved is None or saved.keys() != expected:
        raise ValueError("it holds other tensors than this run trains; was it made with another config?")
    module.load_state_dict(saved, strict=False)


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
