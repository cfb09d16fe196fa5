"""`sd2` ready to export: VAE encoder, one-step U-Net, VAE decoder."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from gen2seg.backbones import get_backbone
from gen2seg.backbones.hub import files_digest
from gen2seg.backbones.record import SEED
from gen2seg.backbones.sd2 import SD2, OneStep, Sd2Net, Sd2Parts, load_sd2, one_step, random_sd2
from gen2seg.backbones.specs import instance_spec, output_spec, prompt_spec
from gen2seg_export.cost import measure_cost
from gen2seg_export.errors import ExportError
from gen2seg_export.families.vit_spec import NO_MEDICAL_USE
from gen2seg_export.model import ExportModel, Stage
from gen2seg_export.specialize.unet import OneStepUNet
from gen2seg_export.specialize.vae import specialize_vae
from gen2seg_runtime.manifest import InputSpec, LicenceInfo, PadSpec, ResizeSpec, WeightsInfo

BACKBONE = "sd2"
STRIDE = Sd2Net.STRIDE
DEFAULT_SIZES = ((480, 640),)
# Latents of 8 shrink to 1 on the way down, which a tracer takes for a case of its own; the graph that it makes for
# larger ones is right for those as well.
FREE_LEAST = 9

LICENCE = LicenceInfo(
    code="Apache-2.0",
    weights="CreativeML OpenRAIL++-M",
    use_limits=(
        "The weights derive from Stable Diffusion 2: the use restrictions of CreativeML OpenRAIL++-M (Attachment A) "
        "apply and must be passed on, among them no medical advice and no interpretation of medical results.",
        NO_MEDICAL_USE,
    ),
    attribution=(
        "Stable Diffusion 2 by Stability AI, CreativeML OpenRAIL++-M; instance colouring after gen2seg "
        "(Khangaonkar and Pirsiavash, arXiv 2505.15263)."
    ),
)
RANDOM_LICENCE = LicenceInfo(code="Apache-2.0", weights="Apache-2.0", use_limits=(NO_MEDICAL_USE,))


def open_sd2(
    checkpoint: str | Path | None = None,
    *,
    base: str | Path | None = None,
    sizes: Sequence[tuple[int, int]] = DEFAULT_SIZES,
    random_weights: bool = False,
    architecture: Mapping[str, Mapping[str, Any]] | None = None,
    vae: str = "full",
    allow_pickle: bool = False,
    text_embedding: str | Path | None = None,
    seed: int = SEED,
) -> ExportModel:
    """Read or build Stable Diffusion 2 for one step and specialise it.

    Args:
        checkpoint: a folder in the diffusers layout or a hub id; None takes the published gen2seg weights.
        base: another such folder or hub id, for the parts that the checkpoint lacks (all but the U-Net).
        sizes: the (height, width) that the bundle will run at, multiples of 8; empty leaves them free.
        random_weights: build it with random weights instead; `checkpoint`, `base` and `text_embedding` must be None.
        architecture: of the random network: entries of diffusers' configurations that differ from Stable Diffusion
            2's, in tables "unet", "vae" and "scheduler".
        vae: "full", "taesd" (the light one of the same latent space), or the folder or hub id of another.
        allow_pickle: read `.bin` files where there is no safetensors.
        text_embedding: a safetensors file with the empty prompt's embedding, in place of the text encoder.
        seed: of the random weights.
    Raises:
        CheckpointError: the checkpoint cannot be used, or `architecture` cannot be built.
        ExportError: arguments that exclude each other, sizes that are no multiples of 8, parts of the networks that
            Stable Diffusion 2 does not have.
    """
    sizes = tuple((int(height), int(width)) for height, width in sizes)
    if any(side < STRIDE or side % STRIDE for size in sizes for side in size):
        raise ExportError(f"height and width must be positive multiples of {STRIDE}, got {sizes}")
    if random_weights:
        if checkpoint is not None or base is not None or text_embedding is not None:
            raise ExportError("random_weights excludes a checkpoint, its base and its text embedding")
        parts = random_sd2(SD2.updated(architecture or {}), vae=vae, seed=seed, allow_pickle=allow_pickle)
    else:
        if architecture:
            raise ExportError("architecture is for random weights; a checkpoint's configurations say its own")
        given = checkpoint if checkpoint is not None else str(get_backbone(BACKBONE).weights)
        parts = load_sd2(given, base=base, vae=vae, text_embedding=text_embedding, allow_pickle=allow_pickle)
    return specialized_sd2(parts, sizes)


def specialized_sd2(parts: Sd2Parts, sizes: Sequence[tuple[int, int]]) -> ExportModel:
    """The parts of a checkpoint as a chain of specialised stages; weights that stay the same are shared."""
    record = get_backbone(BACKBONE)
    net = Sd2Net(parts).eval()
    step, text = one_step(parts.scheduler), parts.text_of()
    latents = [(height // STRIDE, width // STRIDE) for height, width in sizes]
    encoder, decoder = specialize_vae(parts.vae)
    unet = OneStepUNet(parts.unet, text, step, latents)
    chain = nn.Sequential(encoder, unet, decoder).eval()
    channels = int(parts.unet.config["in_channels"])
    measured = sizes[0] if sizes else (record.defaults.size, record.defaults.size)
    before = measure_cost(net, [parts.vae, parts.unet], measured)
    return ExportModel(
        backbone=record.name,
        stages=(
            Stage("encoder", encoder, out_channels=channels, out_scale=STRIDE),
            Stage("unet", unet, channels, channels, STRIDE, STRIDE, free_least=FREE_LEAST),
            Stage("decoder", decoder, in_channels=channels, in_scale=STRIDE),
        ),
        reference=lambda picture: reference_sd2(net, picture),
        input=input_spec(sizes, record.defaults.size),
        output=output_spec(record),
        prompt=prompt_spec(record),
        instances=instance_spec(record),
        weights=WeightsInfo(
            state=parts.state,
            source=parts.description,
            sha256=files_digest(parts.files) if parts.files else None,
            parameters=before.parameters,
        ),
        licence=RANDOM_LICENCE if parts.folder is None else LICENCE,
        folded=_folded(net, step, text),
        before=before,
        after=measure_cost(chain, [chain], measured),
        warnings=parts.warnings,
    )


@torch.no_grad()
def reference_sd2(net: Sd2Net, picture: Tensor) -> dict[str, Tensor]:
    """By stage, as the reference pipeline runs diffusers' modules: latents of picture and colours, raw colours."""
    latent = net.encode(picture)
    colours = net.denoise(latent)
    return {"encoder": latent, "unet": colours, "decoder": net.decode(colours)}


def input_spec(sizes: Sequence[tuple[int, int]], longest: int) -> InputSpec:
    """The reference's preprocessing: resized in float, padded to a multiple of 8 by repeating the edge, [-1, 1].

    With free sizes the longer side becomes `longest`, as in the reference; fixed sizes are buckets that the picture
    is fitted into, and give the same tensor where the bucket is the size that the reference would pad to.
    """
    return InputSpec(
        resize=ResizeSpec(
            rule="fit" if sizes else "longest_side",
            size=max((max(size) for size in sizes), default=longest),
            enlarge_below=0 if sizes else longest,
            interpolation="bilinear_antialias_float",
            rounding="down",
        ),
        pad=PadSpec(multiple=STRIDE),
        dynamic=not sizes,
        buckets=tuple(sizes),
    )


def _folded(net: Sd2Net, step: OneStep, text: Tensor) -> dict[str, Any]:
    return {
        "timestep": step.timestep,
        "timestep_spacing": step.spacing,
        "prediction_type": step.prediction_type,
        "x0": {"sample_factor": step.sample_factor, "output_factor": step.output_factor, "clip": step.clip},
        "text_tokens": text.shape[1],
        "cross_attention": "a sigmoid gate per head" if text.shape[1] == 2 else "constant keys and values",
        "vae": type(net.vae).__name__,
        "scaling_factor": net.factor,
        "shift_factor": net.shift,
        "posterior": "mean only",
        "upsampling": "2x2 convolutions at the small size where sides double exactly",
    }
