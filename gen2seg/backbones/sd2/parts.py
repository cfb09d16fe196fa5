"""The parts of an `sd2` checkpoint, and what is read off their configurations."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from diffusers.models.autoencoders.autoencoder_tiny import AutoencoderTiny
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from diffusers.schedulers.scheduling_ddim import DDIMScheduler
from diffusers.schedulers.scheduling_ddpm import DDPMScheduler
from torch import Tensor

from gen2seg.errors import LayoutError

Vae = AutoencoderKL | AutoencoderTiny
Scheduler = DDIMScheduler | DDPMScheduler


@dataclass(frozen=True)
class Sd2Parts:
    """The libraries' modules, float32, in eval mode, on the CPU.

    Attributes:
        unet, vae, scheduler: diffusers' own.
        text: embeddings of the empty prompt, (1, T, D) by their number of tokens T.
        state: "trained" or "untrained".
        description: where the weights come from, free text without a path.
        files: the weight files that were read.
        folder: the checkpoint's, None for random weights.
        warnings: what the user should be told.
    """

    unet: UNet2DConditionModel
    vae: Vae
    scheduler: Scheduler
    text: Mapping[int, Tensor]
    state: str
    description: str
    files: tuple[Path, ...] = ()
    folder: Path | None = None
    warnings: tuple[str, ...] = ()

    def text_of(self, tokens: int | None = None) -> Tensor:
        """The embedding of that many tokens; None takes the pipeline's two, or the only one there is.

        Raises:
            LayoutError: there is none of that length.
        """
        if tokens is None:
            tokens = 2 if 2 in self.text else min(self.text)
        if tokens not in self.text:
            raise LayoutError(f"no embedding of {tokens} tokens; there is one of {sorted(self.text)}")
        return self.text[tokens]


def vae_scaling(vae: Vae) -> tuple[float, float]:
    """(factor, shift) with latent = (encoder's output - shift) * factor, by the VAE's own configuration.

    Raises:
        LayoutError: it normalises its latents in a way that this project does not know.
    """
    config: Any = vae.config
    for name in ("latents_mean", "latents_std"):
        if config.get(name) is not None:
            raise LayoutError(f"vae/config.json: {name} must be null (not supported), got {config[name]}")
    factor, shift = float(config["scaling_factor"]), float(config.get("shift_factor") or 0.0)
    if not factor > 0:
        raise LayoutError(f"vae/config.json: scaling_factor must be positive, got {factor}")
    return factor, shift


def check_fit(unet: UNet2DConditionModel, vae: Vae, text: Mapping[int, Tensor]) -> None:
    """Raises LayoutError where the parts do not belong together."""
    config: Any = unet.config
    coder: Any = vae.config
    latents = coder["latent_channels"]
    for name in ("in_channels", "out_channels"):
        if config[name] != latents:
            raise LayoutError(f"unet/config.json: {name} must be {latents}, as the VAE's latents, got {config[name]}")
    for embedding in text.values():
        if embedding.shape[-1] != config["cross_attention_dim"]:
            raise LayoutError(
                f"the text embedding must have the U-Net's cross_attention_dim, {config['cross_attention_dim']}, "
                f"as its last side, got {tuple(embedding.shape)}"
            )
