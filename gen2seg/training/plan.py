"""What a run would do, without doing it."""

import torch

from gen2seg.config import TrainConfig
from gen2seg.data.batches import SceneBatches, open_sources

from .families import open_network
from .log import ReadingBar


def describe(config: TrainConfig) -> str:
    """Steps, pictures, parameters and a lower bound of the memory, as lines of text.

    Raises: what `open_network` and `open_sources` raise: a dry run reads the data sets and the first weights.
    """
    module = open_network(config).module
    trained = sum(p.numel() for p in module.parameters() if p.requires_grad)
    frozen = sum(p.numel() for p in module.parameters()) - trained
    copies = 4 + bool(config.optimizer.ema_decay)
    # Weights, gradients, two AdamW moments and the average, float32 each; activations come on top.
    fixed = 4 * (copies * trained + (1 + bool(config.optimizer.ema_decay)) * frozen)
    lines = [
        f"backbone      {config.backbone}, {trained:,} trained parameters" + (f", {frozen:,} frozen" if frozen else ""),
        f"steps         {config.steps:,} of {config.optimizer.accumulate} micro-batch(es), "
        f"{_pictures(config):,} pictures",
        *_data_lines(config),
        f"memory        {fixed / 2**20:,.0f} MiB for weights and optimizer, plus activations",
        f"learning rate {config.optimizer.lr:g}, {_schedule(config)}",
        f"precision     {config.mixed_precision}, torch {torch.__version__}",
        f"output        {config.output}",
    ]
    return "\n".join(lines)


def _pictures(config: TrainConfig) -> int:
    accumulate = config.optimizer.accumulate
    if config.data.sources:
        return config.steps * accumulate * config.data.batch
    return SceneBatches(config.data, config.steps * accumulate, accumulate).scenes_before(config.steps)


def _data_lines(config: TrainConfig) -> list[str]:
    if not config.data.sources:
        return [
            f"  {'in turn' if config.data.cycle else f'from step   {stage.from_step:,}'}: "
            f"{stage.batch} scenes of {stage.size}x{stage.size}"
            for stage in config.data.stages
        ]
    total = sum(source.weight for source in config.data.sources.values())
    with ReadingBar() as bar:
        sources = open_sources(config.data, bar.update)
    return [
        f"  {name}: {cleaned.describe()}; {source.weight / total:.0%} of the micro-batches, "
        f"{config.data.batch} pictures of {source.size[0]}x{source.size[1]} each"
        for name, (source, cleaned) in sources.items()
    ]


def _schedule(config: TrainConfig) -> str:
    settings = config.optimizer
    if settings.schedule != "linear":
        return f"{settings.schedule} to {settings.final_lr_ratio:g} of it at step {settings.decay_steps:,}"
    return f"falling over the last {min(config.steps, settings.decay_steps):,} steps{_never_full(config)}"


def _never_full(config: TrainConfig) -> str:
    if config.steps > config.optimizer.decay_steps + config.optimizer.warmup_steps:
        return ""
    return " (the run is too short to reach it: lower optimizer.decay_steps)"
