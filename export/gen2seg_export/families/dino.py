"""`dino-b` ready to export: the ViT with its up-convolution, then the VAE's decoder."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from gen2seg.backbones import get_backbone
from gen2seg.backbones.dino import UP, DinoNet, load_dino, random_dino
from gen2seg.backbones.record import SEED
from gen2seg.backbones.sd2 import TAESD, TAESD_HUB_ID, Vae, load_vae, random_vae
from gen2seg.backbones.specs import instance_spec, output_spec, prompt_spec, square_input_spec
from gen2seg_export.cost import measure_cost
from gen2seg_export.errors import ExportError
from gen2seg_export.families.vit_spec import NO_MEDICAL_USE, check_sizes, weights_info
from gen2seg_export.model import ExportModel, Stage
from gen2seg_export.specialize.dino import SpecializedDino
from gen2seg_export.specialize.vae import specialize_vae
from gen2seg_runtime.manifest import LicenceInfo

LICENCE = LicenceInfo(
    code="Apache-2.0",
    weights="Apache-2.0 (DINO ViT-B/16) and CreativeML OpenRAIL++-M (Stable Diffusion VAE)",
    use_limits=(
        "The VAE's decoder derives from Stable Diffusion 2: the use restrictions of CreativeML OpenRAIL++-M "
        "(Attachment A) apply and must be passed on, among them no medical advice and no interpretation of medical "
        "results.",
        NO_MEDICAL_USE,
    ),
    attribution=(
        "DINO weights by Caron et al., Emerging Properties in Self-Supervised Vision Transformers (Meta Platforms, "
        "Inc.), Apache-2.0; Stable Diffusion VAE by Stability AI and CompVis, CreativeML OpenRAIL++-M; instance "
        "colouring after gen2seg (Khangaonkar and Pirsiavash, arXiv 2505.15263)."
    ),
)
RANDOM_LICENCE = LicenceInfo(code="Apache-2.0", weights="Apache-2.0", use_limits=(NO_MEDICAL_USE,))


def open_dino(
    checkpoint: str | Path | None = None,
    *,
    random_weights: bool = False,
    architecture: Mapping[str, Any] | None = None,
    sizes: Sequence[tuple[int, int]] = (),
    vae: str | Path | None = None,
    seed: int = SEED,
    allow_pickle: bool = False,
) -> ExportModel:
    """Read or build a dino-b network and specialise it.

    Args:
        checkpoint: folder in the layout of `gen2seg.backbones.dino`, or hub id.
        random_weights: build it with random weights instead; `checkpoint` must then be None.
        architecture: of the random network: fields of `DinoConfig` that differ from ViT-B/16, and under "vae" those
            of the VAE that differ from Stable Diffusion 2.
        sizes: (height, width) that the bundle is to run at; only the network's own is possible, which () takes.
        vae: None or "full" for the checkpoint's own (or a random one of Stable Diffusion 2), "taesd" for the light
            one of the same latent space, or the folder or hub id of another.
        seed: of the random weights.
        allow_pickle: read `.bin` files where there is no safetensors.
    Raises:
        CheckpointError: the checkpoint cannot be used, or `architecture` cannot be built.
        ExportError: no weights to take, arguments that exclude each other, or another picture size.
    """
    if random_weights:
        if checkpoint is not None:
            raise ExportError("checkpoint and random_weights exclude each other")
        source = random_dino(architecture, seed, _other_vae(vae, seed, allow_pickle))
    else:
        if architecture:
            raise ExportError("architecture is for random weights; a checkpoint's config.json says its own")
        if checkpoint is None:
            raise ExportError("dino-b has no published weights: name a checkpoint, or take random weights")
        other = None if vae in (None, "full") else TAESD_HUB_ID if vae == "taesd" else vae
        source = load_dino(checkpoint, vae=other, allow_pickle=allow_pickle)
    record, net, config = get_backbone("dino-b"), source.net, source.net.config
    check_sizes(sizes, config.image_size, record.name)
    size = (config.image_size, config.image_size)
    network = SpecializedDino(net).eval()
    _, decoder = specialize_vae(net.vae)
    latents, scale = net.up.out_channels, config.patch_size // UP
    stages = (
        Stage("network", network, in_channels=3, out_channels=latents, in_scale=1, out_scale=scale),
        Stage("decoder", decoder, in_channels=latents, out_channels=3, in_scale=scale, out_scale=1),
    )
    before = measure_cost(net, _run_modules(net), size)
    return ExportModel(
        backbone=record.name,
        stages=stages,
        reference=lambda picture: reference_dino(net, picture),
        input=square_input_spec(source.image, config.patch_size),
        output=output_spec(record),
        prompt=prompt_spec(record),
        instances=instance_spec(record),
        weights=weights_info(source, before.parameters),
        licence=RANDOM_LICENCE if random_weights else LICENCE,
        folded={
            "class_token": "a constant row of the position table",
            "attention_scale": (config.embed_dim // config.num_heads) ** -0.5,
            "layer_norms": "scale and shift in the linear layer behind",
            "key_bias": "dropped: softmax does not see it",
            "value_bias": "in the projection's bias",
            "up_convolution": "a linear layer per patch, behind the last norm",
            "scaling_factor": net.factor,
        },
        before=before,
        after=measure_cost(nn.Sequential(network, decoder), [network, decoder], size),
        warnings=source.warnings,
    )


@torch.no_grad()
def reference_dino(net: DinoNet, picture: Tensor) -> dict[str, Tensor]:
    """By stage: timm's ViT with torch's up-convolution, then diffusers' VAE, which undoes its own scaling."""
    latent = net.latent(picture)
    return {"network": latent, "decoder": net.decode(latent)}


def _other_vae(name: str | Path | None, seed: int, allow_pickle: bool) -> Vae | None:
    """What stands in for the random full VAE of a random network; None: nothing does."""
    if name in (None, "full"):
        return None
    return random_vae(TAESD, seed) if name == "taesd" else load_vae(name, allow_pickle=allow_pickle)[0]


def _run_modules(net: DinoNet) -> list[nn.Module]:
    """What runs of the network: the VAE's encoder does not."""
    used: list[nn.Module] = [net.backbone, net.up, net.vae.decoder]
    behind = getattr(net.vae, "post_quant_conv", None)
    return used if behind is None else [*used, behind]
