"""The architecture of Stable Diffusion 2 as diffusers' configurations, so that nothing needs the hub to build it.

The published repositories have been withdrawn; any directory in the diffusers layout serves as the base. The
numbers are those of the model's own configuration files.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from gen2seg.errors import LayoutError


@dataclass(frozen=True)
class Sd2Architecture:
    """What diffusers builds the parts from; a `_class_name` of `vae` and `scheduler` chooses among theirs."""

    unet: Mapping[str, Any] = field(default_factory=dict)
    vae: Mapping[str, Any] = field(default_factory=dict)
    scheduler: Mapping[str, Any] = field(default_factory=dict)

    def updated(self, changes: Mapping[str, Mapping[str, Any]]) -> "Sd2Architecture":
        """This architecture with some entries of its tables changed: {"unet": {"block_out_channels": ...}}.

        Raises:
            LayoutError: a table of another name.
        """
        unknown = set(changes) - {"unet", "vae", "scheduler"}
        if unknown:
            raise LayoutError(f"architecture: unknown table {min(unknown)!r}; known: unet, vae, scheduler")
        return replace(self, **{name: {**getattr(self, name), **table} for name, table in changes.items()})


# 865.9 M parameters.
_UNET = {
    "act_fn": "silu",
    "attention_head_dim": [5, 10, 20, 20],  # diffusers' name for what is the number of heads
    "block_out_channels": [320, 640, 1280, 1280],
    "cross_attention_dim": 1024,
    "down_block_types": ["CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "DownBlock2D"],
    "up_block_types": ["UpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D"],
    "in_channels": 4,
    "out_channels": 4,
    "layers_per_block": 2,
    "norm_num_groups": 32,
    "sample_size": 96,
    "use_linear_projection": True,
}

# 83.7 M parameters.
_VAE = {
    "_class_name": "AutoencoderKL",
    "block_out_channels": [128, 256, 512, 512],
    "down_block_types": ["DownEncoderBlock2D"] * 4,
    "up_block_types": ["UpDecoderBlock2D"] * 4,
    "in_channels": 3,
    "out_channels": 3,
    "latent_channels": 4,
    "layers_per_block": 2,
    "norm_num_groups": 32,
    "sample_size": 768,
    "scaling_factor": 0.18215,
}

# The model's own schedule; "trailing" is what makes one step start from pure noise (timestep 999).
_SCHEDULER = {
    "_class_name": "DDIMScheduler",
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "num_train_timesteps": 1000,
    "prediction_type": "v_prediction",
    "timestep_spacing": "trailing",
    "clip_sample": False,
    "set_alpha_to_one": False,
    "steps_offset": 1,
}

SD2 = Sd2Architecture(unet=_UNET, vae=_VAE, scheduler=_SCHEDULER)

# The light VAE of the same latent space: 2.4 M parameters. Its latents are the scaled ones already (factor 1).
TAESD: Mapping[str, Any] = {"_class_name": "AutoencoderTiny", "scaling_factor": 1.0}
