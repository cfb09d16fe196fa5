"""The same networks with seeded random weights: for latency work, tests, and training from nothing."""

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from diffusers.models.autoencoders.autoencoder_tiny import AutoencoderTiny
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from torch import nn

from gen2seg.backbones.hub import check_class
from gen2seg.backbones.randomize import randomize_constants
from gen2seg.backbones.record import SEED, describe_random
from gen2seg.errors import LayoutError

from .architecture import SD2, TAESD, Sd2Architecture
from .load import load_vae
from .parts import Sd2Parts, Vae, check_fit, vae_scaling
from .scheduler import build_scheduler, one_step, step_warnings
from .text import LENGTHS

M = TypeVar("M", bound=nn.Module)


def random_sd2(
    architecture: Sd2Architecture = SD2, *, vae: str = "full", seed: int = SEED, allow_pickle: bool = False
) -> Sd2Parts:
    """Build `sd2` with random weights; no file and no hub is needed.

    Args:
        architecture: the full one, or a smaller one of the same block types.
        vae: "full" for the architecture's, "taesd" for a random light one, or a folder to read one from.
        seed: of all weights.
    Raises:
        LayoutError: the architecture cannot be built.
    """
    unet = _seeded(lambda: _build(UNet2DConditionModel, architecture.unet, "unet"), seed)
    coder = (
        random_vae(architecture.vae if vae == "full" else TAESD, seed)
        if vae in ("full", "taesd")
        else load_vae(vae, allow_pickle=allow_pickle)[0]
    )
    with torch.device("cpu"):  # these hold values that are looked at, also where the networks are only counted
        scheduler = build_scheduler(architecture.scheduler, "architecture.scheduler")
        width = int(architecture.unet.get("cross_attention_dim", 1280))
        generator = torch.Generator().manual_seed(seed)
        text = {tokens: torch.randn(1, tokens, width, generator=generator) for tokens in LENGTHS}
    check_fit(unet, coder, text)
    return Sd2Parts(
        unet=unet,
        vae=coder,
        scheduler=scheduler,
        text=text,
        state="untrained",
        description=describe_random(seed),
        warnings=step_warnings(one_step(scheduler)),
    )


def random_vae(config: Mapping[str, Any] = SD2.vae, seed: int = SEED) -> Vae:
    """A VAE (`AutoencoderKL` or `AutoencoderTiny`, by `_class_name`) with random weights."""
    kinds = {"AutoencoderKL": AutoencoderKL, "AutoencoderTiny": AutoencoderTiny}
    kind = kinds[check_class(config, "architecture.vae", tuple(kinds))]
    vae = _seeded(lambda: _build(kind, config, "vae"), seed + 1)
    vae_scaling(vae)
    return vae


def _build(kind: Any, config: Mapping[str, Any], name: str) -> Any:
    try:
        return kind.from_config({key: value for key, value in config.items() if key != "_class_name"})
    except (TypeError, ValueError, ZeroDivisionError) as error:
        raise LayoutError(f"architecture.{name}: cannot be built: {error}") from error


def _seeded(build: Callable[[], M], seed: int) -> M:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        module = build().eval()
    randomize_constants(module, seed)
    return module
