"""Learning rate by step."""

from gen2seg.config import OptimizerConfig


def lr_factor(step: int, steps: int, config: OptimizerConfig) -> float:
    """Linear warm-up to 1, constant, then linear to `final_lr_ratio` over the last `decay_steps`.

    The middle does not depend on `steps`, so a run can be resumed with more of them.
    """
    warm = min(1.0, (step + 1) / max(1, config.warmup_steps))
    remaining = steps - step
    if remaining >= config.decay_steps:
        return warm
    return warm * (config.final_lr_ratio + (1 - config.final_lr_ratio) * remaining / config.decay_steps)
