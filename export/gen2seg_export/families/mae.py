"""`mae-b` and `mae-h` ready to export: one stage, one picture size, no shuffle."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from gen2seg.backbones import get_backbone
from gen2seg.backbones.mae import ARCHITECTURES, MaeConfig, MaeNet, load_mae, mae_config, random_mae
from gen2seg.backbones.record import SEED
from gen2seg.backbones.specs import instance_spec, output_spec, prompt_spec, square_input_spec
from gen2seg_export.cost import measure_cost
from gen2seg_export.errors import ExportError
from gen2seg_export.families.vit_spec import NO_MEDICAL_USE, check_sizes, weights_info
from gen2seg_export.model import ExportModel, Stage
from gen2seg_export.specialize.vit_mae import SpecializedMae
from gen2seg_runtime.manifest import LicenceInfo

LICENCE = LicenceInfo(
    code="Apache-2.0",
    weights="CC-BY-NC-4.0",
    use_limits=(
        "Non-commercial use only: the weights derive from MAE (facebookresearch/mae), licensed CC BY-NC 4.0.",
        NO_MEDICAL_USE,
    ),
    attribution=(
        "MAE weights by He et al., Masked Autoencoders Are Scalable Vision Learners (Meta Platforms, Inc.), "
        "CC BY-NC 4.0; instance colouring after gen2seg (Khangaonkar and Pirsiavash, arXiv 2505.15263)."
    ),
)
RANDOM_LICENCE = LicenceInfo(code="Apache-2.0", weights="Apache-2.0", use_limits=(NO_MEDICAL_USE,))

# What tells the sizes apart; the rest of a configuration may differ.
_SHAPE = ("hidden_size", "num_hidden_layers", "num_attention_heads", "patch_size")


def open_mae(
    backbone: str,
    checkpoint: str | Path | None = None,
    *,
    random_weights: bool = False,
    architecture: Mapping[str, Any] | None = None,
    sizes: Sequence[tuple[int, int]] = (),
    seed: int = SEED,
    allow_pickle: bool = False,
) -> ExportModel:
    """Read or build a ViTMAE and specialise it.

    Args:
        backbone: "mae-b" or "mae-h".
        checkpoint: folder in the hub's layout or hub id; None takes the backbone's published weights.
        random_weights: build it with random weights instead; `checkpoint` must then be None.
        architecture: of the random network: keys of the hub's `config.json` that differ from the usual.
        sizes: (height, width) that the bundle is to run at; only the network's own is possible, which () takes.
        seed: of the random weights.
        allow_pickle: read `pytorch_model.bin` where there is no safetensors.
    Raises:
        CheckpointError: the checkpoint cannot be used, or `architecture` cannot be built.
        ExportError: no weights to take, arguments that exclude each other, another picture size, a network of the
            other name, or an activation that has no exporter.
    """
    record = get_backbone(backbone)
    warnings: list[str] = []
    if random_weights:
        if checkpoint is not None:
            raise ExportError("checkpoint and random_weights exclude each other")
        source = random_mae(mae_config(backbone, architecture), seed)
    else:
        if architecture:
            raise ExportError("architecture is for random weights; a checkpoint's config.json says its own")
        if checkpoint is None and record.weights is None:
            raise ExportError(f"{backbone} has no published weights: name a checkpoint, or take random weights")
        source = load_mae(checkpoint or str(record.weights), allow_pickle=allow_pickle)
        warnings += _check_shape(backbone, source.net.config)
    net, config = source.net, source.net.config
    check_sizes(sizes, config.image_size, backbone)
    stage = SpecializedMae(net).eval()
    size = (config.image_size, config.image_size)
    before = measure_cost(lambda picture: net.model(pixel_values=picture), [net.model], size)
    return ExportModel(
        backbone=backbone,
        stages=(Stage("network", stage),),
        reference=lambda picture: {"network": reference_mae(net, picture)},
        input=square_input_spec(source.image, config.patch_size),
        output=output_spec(record),
        prompt=prompt_spec(record),
        instances=instance_spec(record),
        weights=weights_info(source, before.parameters),
        licence=RANDOM_LICENCE if random_weights else LICENCE,
        folded={
            "mask_ratio": 0.0,
            "shuffle": "none: every patch stays in its place",
            "mask_tokens": "none",
            "class_token": "a constant row of the position table",
            "attention_scale": [
                (config.hidden_size // config.num_attention_heads) ** -0.5,
                (config.decoder_hidden_size // config.decoder_num_attention_heads) ** -0.5,
            ],
            "layer_norms": "scale and shift in the linear layer behind",
            "key_bias": "dropped: softmax does not see it",
            "value_bias": "in the projection's bias",
        },
        before=before,
        after=measure_cost(stage, [stage], size),
        warnings=(*warnings, *source.warnings),
    )


@torch.no_grad()
def reference_mae(net: MaeNet, picture: Tensor) -> Tensor:
    """Raw colours (N, 3, S, S) as the original pipeline makes them: the library's whole forward, shuffle and all.

    The noise that it shuffles by is drawn from a fixed seed; the global random state is left as it was.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return net.model.unpatchify(net.model(pixel_values=picture).logits)


def _check_shape(backbone: str, found: MaeConfig) -> list[str]:
    """Warnings for a network that is not the usual one of that name; the other one of the two is an error."""
    shapes = {name: _shape(mae_config(name)) for name in ARCHITECTURES}
    if _shape(found) == shapes[backbone]:
        return []
    for other, shape in shapes.items():
        if _shape(found) == shape:
            raise ExportError(f"config.json describes {other}, not {backbone}: {_difference(shape, shapes[backbone])}")
    difference = _difference(_shape(found), shapes[backbone])
    return [f"config.json describes another network than the usual {backbone}: {difference}; it is exported as it is"]


def _shape(config: MaeConfig) -> dict[str, int]:
    return {name: getattr(config, name) for name in _SHAPE}


def _difference(found: Mapping[str, int], usual: Mapping[str, int]) -> str:
    return ", ".join(f"{name} is {found[name]}, not {usual[name]}" for name in found if found[name] != usual[name])
