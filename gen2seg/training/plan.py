"""What a run would do, without doing it."""

import torch

from gen2seg.backbones import get_backbone
from gen2seg.config import TrainConfig
from gen2seg.data.batches import SceneBatches


def describe(config: TrainConfig) -> str:
    """Steps, pictures, parameters and a lower bound of the memory, as lines of text."""
    module = get_backbone(config.backbone).build(config.architecture)
    trained = sum(p.numel() for p in module.parameters() if p.requires_grad)
    accumulate = config.optimizer.accumulate
    batches = SceneBatches(config.data, config.steps * accumulate, accumulate)
    pictures = batches.scenes_before(config.steps)
    # Weights, gradients, two AdamW moments and the average, float32 each; activations come on top.
    fixed = 5 * 4 * sum(p.numel() for p in module.parameters())
    lines = [
        f"backbone      {config.backbone}, {trained:,} trained parameters",
        f"steps         {config.steps:,} of {accumulate} micro-batch(es), {pictures:,} pictures",
        *(
            f"  {'in turn' if config.data.cycle else f'from step   {stage.from_step:,}'}: "
            f"{stage.batch} scenes of {stage.size}x{stage.size}"
            for stage in config.data.stages
        ),
        f"memory        {fixed / 2**20:.0f} MiB for weights and optimizer, plus activations",
        f"learning rate {config.optimizer.lr:g}, falling over the last "
        f"{min(config.steps, config.optimizer.decay_steps):,} steps{_never_full(config)}",
        f"precision     {config.mixed_precision}, torch {torch.__version__}",
        f"output        {config.output}",
    ]
    return "\n".join(lines)


def _never_full(config: TrainConfig) -> str:
    if config.steps > config.optimizer.decay_steps + config.optimizer.warmup_steps:
        return ""
    return " (the run is too short to reach it: lower optimizer.decay_steps)"
