"""The weights of the instance colouring loss, checked once and handed over whole."""

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class LossConfig:
    """Weights of the instance colouring loss; colours run 0..255.

    Attributes:
        inter_weight: weight of the push of pixels away from the means of other instances, before the
            division by the square root of the instance's area.
        separation: numerator of that push, `separation / (1 + distance²)`.
        mean_separation: numerator of the push between the means themselves.
        huber_delta: colour units at which the pull toward the mean turns from quadratic to linear.
        intra_weight: weight of the pull toward the mean.
        mean_weight: weight of the push between the means.

    Raises:
        ValueError: a weight is negative or not finite, or `huber_delta` is not positive.
    """

    inter_weight: float = 10.0
    separation: float = 300.0
    mean_separation: float = 300.0
    huber_delta: float = 1.0
    intra_weight: float = 1.0
    mean_weight: float = 1.0

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if not math.isfinite(value) or value < 0:
                raise ValueError(f"{name} must be a finite number >= 0, got {value}")
        if self.huber_delta == 0:
            raise ValueError("huber_delta must be positive, got 0")
