"""The plain way through `sd2`: diffusers' own modules, run as the reference pipeline runs them."""

from typing import Any

import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from torch import Tensor, nn

from gen2seg.errors import LayoutError

from .parts import Sd2Parts, vae_scaling
from .scheduler import one_step

X0_SAMPLES = ("image", "zero")


class Sd2Net(nn.Module):
    """Picture to raw colours in one step. The U-Net can be trained; the VAE and the text stay as they are.

    Input: (N, 3, H, W) float in [-1, 1], RGB; H and W multiples of `STRIDE`.
    Output: (N, 3, H, W) float raw colours, about -1..1 and not bounded.

    Args:
        parts: the networks; they are used, not copied.
        x0_sample: what the scheduler's formula takes as its sample: the "image" latent, as the inference pipeline
            does, or "zero", as the reference's training code does.
        text_tokens: length of the empty prompt: 2 (pipeline) or 77 (training code); None takes 2 where there is one.
    """

    STRIDE = 8
    text: Tensor

    def __init__(self, parts: Sd2Parts, *, x0_sample: str = "image", text_tokens: int | None = None) -> None:
        super().__init__()
        if x0_sample not in X0_SAMPLES:
            raise LayoutError(f"x0_sample must be {' or '.join(X0_SAMPLES)}, got {x0_sample!r}")
        self.parts = parts
        self.unet = parts.unet
        self.vae = parts.vae.requires_grad_(False)
        self.scheduler = parts.scheduler
        self.x0_sample = x0_sample
        self.timestep = one_step(parts.scheduler).timestep
        self.factor, self.shift = vae_scaling(parts.vae)
        self.register_buffer("text", parts.text_of(text_tokens).clone(), persistent=False)
        # DDPM draws noise for a next step that is never taken; this keeps the global generator out of it.
        self._unused_noise = torch.Generator().manual_seed(0)

    def forward(self, images: Tensor) -> Tensor:
        return self.decode(self.denoise(self.encode(images)))

    def encode(self, images: Tensor) -> Tensor:
        """Pictures to scaled latents (N, 4, H/8, W/8): the mode of the posterior, without gradients."""
        with torch.no_grad():
            coded: Any = self.vae.encode(images)
            latent = coded.latent_dist.mode() if isinstance(self.vae, AutoencoderKL) else coded.latents
            return (latent - self.shift) * self.factor

    def predict(self, latents: Tensor) -> Tensor:
        """The U-Net's output (N, 4, H/8, W/8) for scaled latents."""
        text = self.text.to(latents.dtype).expand(len(latents), -1, -1)
        unet: Any = self.unet
        return unet(latents, self.timestep, encoder_hidden_states=text).sample

    def denoise(self, latents: Tensor) -> Tensor:
        """Scaled latents of pictures to scaled latents of colours, by the scheduler's own step."""
        sample = latents if self.x0_sample == "image" else torch.zeros_like(latents)
        output = self.predict(latents)
        step: Any = self.scheduler.step(output, self.timestep, sample, generator=self._unused_noise)  # type: ignore[arg-type]
        return step.pred_original_sample

    def decode(self, latents: Tensor) -> Tensor:
        """Scaled latents to raw colours."""
        vae: Any = self.vae
        return vae.decode(latents / self.factor + self.shift).sample

    def train(self, mode: bool = True) -> "Sd2Net":
        super().train(mode)
        self.vae.eval()
        return self

    def enable_gradient_checkpointing(self) -> None:
        """Trade time for memory in training: the U-Net and the decoder keep only their blocks' inputs."""
        self.unet.enable_gradient_checkpointing()
        self.vae.enable_gradient_checkpointing()
