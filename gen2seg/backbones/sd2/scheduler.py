"""The scheduler of a checkpoint, and what one step of it amounts to."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from diffusers.schedulers.scheduling_ddim import DDIMScheduler
from diffusers.schedulers.scheduling_ddpm import DDPMScheduler

from gen2seg.backbones.hub import check_class
from gen2seg.errors import LayoutError

from .parts import Scheduler

TRAINED_TIMESTEP = 999  # what gen2seg was trained at, and what trailing spacing gives
_CLASSES: dict[str, type[Scheduler]] = {"DDIMScheduler": DDIMScheduler, "DDPMScheduler": DDPMScheduler}
_PREDICTIONS = ("v_prediction", "epsilon", "sample")
_SPACINGS = ("trailing", "leading", "linspace")


@dataclass(frozen=True)
class OneStep:
    """x0 = clip(sample_factor * latent + output_factor * U-Net output); no clipping where `clip` is None."""

    timestep: int
    prediction_type: str
    spacing: str
    sample_factor: float
    output_factor: float
    clip: float | None


def build_scheduler(config: Mapping[str, Any], where: str | Path) -> Scheduler:
    """The scheduler that a `scheduler_config.json` describes.

    Raises:
        LayoutError: it is neither DDIM nor DDPM, or asks for what one exact step cannot do: another prediction
            type or spacing, dynamic thresholding, a learned variance.
    """
    kind: Any = _CLASSES[check_class(config, where, tuple(_CLASSES))]
    try:
        scheduler = kind.from_config(dict(config))
    except (TypeError, ValueError, NotImplementedError) as error:
        raise LayoutError(f"{where}: cannot be built: {error}") from error
    known: Any = scheduler.config
    for name, choices in (("prediction_type", _PREDICTIONS), ("timestep_spacing", _SPACINGS)):
        if known[name] not in choices:
            raise LayoutError(f"{where}: {name} must be {' or '.join(choices)}, got {known[name]!r}")
    if known["thresholding"]:
        raise LayoutError(f"{where}: thresholding must be false: one exact step takes no quantile of the picture")
    if str(known.get("variance_type", "fixed_small")).startswith("learned"):
        raise LayoutError(f"{where}: variance_type must be a fixed one, got {known['variance_type']!r}")
    scheduler.set_timesteps(1)
    one_step(scheduler, where)
    return scheduler


def one_step(scheduler: Scheduler, where: str | Path = "scheduler") -> OneStep:
    """The single step of `set_timesteps(1)`: Salimans and Ho, arXiv 2202.00512, appendix D, for v-prediction.

    Raises:
        LayoutError: the step divides by zero (epsilon prediction at zero signal).
    """
    config: Any = scheduler.config
    timestep = int(scheduler.timesteps[0])
    signal = float(scheduler.alphas_cumprod[timestep])
    kind = config["prediction_type"]
    if kind == "v_prediction":
        factors = signal**0.5, -((1 - signal) ** 0.5)
    elif kind == "sample":
        factors = 0.0, 1.0
    elif signal > 0:
        factors = signal**-0.5, -((1 - signal) ** 0.5) * signal**-0.5
    else:
        raise LayoutError(
            f"{where}: epsilon prediction cannot give a picture at timestep {timestep}, where the schedule leaves no "
            "signal (rescale_betas_zero_snr); expected v_prediction"
        )
    clip = float(config["clip_sample_range"]) if config["clip_sample"] else None
    return OneStep(timestep, kind, config["timestep_spacing"], *factors, clip)


def step_warnings(step: OneStep) -> tuple[str, ...]:
    """What is unusual about a checkpoint's step."""
    found = []
    if step.timestep != TRAINED_TIMESTEP:
        found.append(
            f"the checkpoint's scheduler ({step.spacing} spacing) gives timestep {step.timestep} for one step, not "
            f"{TRAINED_TIMESTEP}; it is used as it says"
        )
    if step.clip is not None:
        found.append(f"the checkpoint's scheduler clips its latent to {step.clip:g} (clip_sample); it is clipped")
    return tuple(found)
