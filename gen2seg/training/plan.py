"""What a run would do, without doing it."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import nn

from gen2seg.config import TrainConfig
from gen2seg.data.batches import SceneBatches, open_source
from gen2seg.data.sets import DataSetError
from gen2seg.errors import CheckpointError

from .families import open_network
from .log import ReadingBar


@dataclass(frozen=True)
class Plan:
    """Steps, pictures, parameters and a lower bound of the memory, as lines of text; and what the run would miss."""

    lines: tuple[str, ...]
    missing: tuple[str, ...]

    def __str__(self) -> str:
        return "\n".join([*self.lines, *(f"missing       {what}" for what in self.missing)])


def describe(config: TrainConfig) -> Plan:
    """Read the data sets and the first weights, as far as they are on this machine; nothing is fetched.

    Raises:
        ConfigError, BackboneError: the config asks for what its data sets or its backbone have not.
    """
    missing: list[str] = []
    data = _data_lines(config, missing.append)
    module = _network(config, missing.append)
    trained = sum(p.numel() for p in module.parameters() if p.requires_grad)
    frozen = sum(p.numel() for p in module.parameters()) - trained
    copies = 4 + bool(config.optimizer.ema_decay)
    # Weights, gradients, two AdamW moments and the average, float32 each; activations come on top.
    fixed = 4 * (copies * trained + (1 + bool(config.optimizer.ema_decay)) * frozen)
    lines = [
        f"backbone      {config.backbone}, {trained:,} trained parameters" + (f", {frozen:,} frozen" if frozen else ""),
        f"first weights {config.init or 'random'}" + (", from the hub when the run begins" * _is_remote(config)),
        f"steps         {config.steps:,} of {config.optimizer.accumulate} micro-batch(es), "
        f"{_pictures(config):,} pictures",
        *data,
        f"memory        {fixed / 2**20:,.0f} MiB for weights and optimizer, plus activations",
        f"learning rate {config.optimizer.lr:g}, {_schedule(config)}",
        f"precision     {config.mixed_precision}, torch {torch.__version__}",
        f"output        {config.output}",
    ]
    return Plan(tuple(lines), tuple(missing))


def _network(config: TrainConfig, miss: Callable[[str], None]) -> nn.Module:
    """The network of a run; without its weights where they are not in a folder here."""
    if not _is_remote(config):
        try:
            return open_network(config).module
        except CheckpointError as error:
            miss(str(error))
    # The usual architecture stands in for that of weights which are not there; it takes no memory on this device.
    with torch.device("meta"):
        return open_network(replace(config, init=None, model=replace(config.model, vae=None))).module


def _is_remote(config: TrainConfig) -> bool:
    """Whether first weights come from the hub."""
    named = (config.init, config.model.vae)
    return any(name is not None and not Path(name).expanduser().is_dir() and name.count("/") == 1 for name in named)


def _pictures(config: TrainConfig) -> int:
    accumulate = config.optimizer.accumulate
    if config.data.sources:
        return config.steps * accumulate * config.data.batch
    return SceneBatches(config.data, config.steps * accumulate, accumulate).scenes_before(config.steps)


def _data_lines(config: TrainConfig, miss: Callable[[str], None]) -> list[str]:
    if not config.data.sources:
        return [
            f"  {'in turn' if config.data.cycle else f'from step   {stage.from_step:,}'}: "
            f"{stage.batch} scenes of {stage.size}x{stage.size}"
            for stage in config.data.stages
        ]
    total = sum(source.weight for source in config.data.sources.values())
    lines = []
    with ReadingBar() as bar:
        for name, settings in config.data.sources.items():
            try:
                found = open_source(name, settings, bar.update)[1].describe()
            except DataSetError as error:
                miss(f"data.sources.{name}: {error}")
                found = "missing"
            lines.append(
                f"  {name}: {found}; {settings.weight / total:.0%} of the micro-batches, "
                f"{config.data.batch} pictures of {settings.size[0]}x{settings.size[1]} each"
            )
    return lines


def _schedule(config: TrainConfig) -> str:
    settings = config.optimizer
    if settings.schedule != "linear":
        return f"{settings.schedule} to {settings.final_lr_ratio:g} of it at step {settings.decay_steps:,}"
    return f"falling over the last {min(config.steps, settings.decay_steps):,} steps{_never_full(config)}"


def _never_full(config: TrainConfig) -> str:
    if config.steps > config.optimizer.decay_steps + config.optimizer.warmup_steps:
        return ""
    return " (the run is too short to reach it: lower optimizer.decay_steps)"
