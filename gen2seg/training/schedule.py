"""Learning rate by step."""

import math

from gen2seg.config import OptimizerConfig


def lr_factor(step: int, steps: int, config: OptimizerConfig) -> float:
    """What the learning rate is multiplied by in a step (the first is 0) of `steps`.

    - "linear": warm-up to 1 in `warmup_steps`, constant, then linear to `final_lr_ratio` over the last `decay_steps`.
    - "exponential": warm-up from 0, then exponential decay that reaches `final_lr_ratio` at step `decay_steps` and
      stays there. Source: the reference code of gen2seg (arXiv 2505.15263), which takes it from Marigold.
    - "cosine": the same with half a cosine, as the paper's text says.

    Only "linear" looks at `steps`, and only in its last part, so that a run can be resumed with more of them.
    """
    if config.schedule == "linear":
        warm = min(1.0, (step + 1) / max(1, config.warmup_steps))
        remaining = steps - step
        if remaining >= config.decay_steps:
            return warm
        return warm * (config.final_lr_ratio + (1 - config.final_lr_ratio) * remaining / config.decay_steps)
    if step < config.warmup_steps:
        return step / config.warmup_steps
    done = min(1.0, (step - config.warmup_steps) / (config.decay_steps - config.warmup_steps))
    if config.schedule == "exponential":
        return config.final_lr_ratio**done
    return config.final_lr_ratio + (1 - config.final_lr_ratio) * (1 + math.cos(math.pi * done)) / 2
