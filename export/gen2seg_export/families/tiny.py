"""`tiny` ready to export: this project's own network, one stage, any size."""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from gen2seg.backbones import get_backbone
from gen2seg.backbones.defaults import BundleDefaults
from gen2seg_export.cost import measure_cost
from gen2seg_export.errors import ExportError
from gen2seg_export.model import ExportModel, Stage
from gen2seg_export.source import Source, load_source, random_source
from gen2seg_runtime.manifest import (
    InputSpec,
    InstanceSpec,
    LicenceInfo,
    OutputSpec,
    PadSpec,
    PromptSpec,
    ResizeSpec,
    WeightsInfo,
)

USE_LIMITS = (
    "Not a medical device: not for diagnosis, treatment decisions or the interpretation of results.",
    "Not for safety-critical use without your own validation on your own data.",
)
ATTRIBUTION = (
    "Trained from scratch by the gen2seg project on procedurally generated scenes; no third-party weights or pictures."
)
NO_TRAINING = "No trained weights: the colours mean nothing."


def open_tiny(
    checkpoint: str | Path | None = None,
    *,
    random_weights: bool = False,
    architecture: Mapping[str, Any] | None = None,
    settings: Mapping[str, float] | None = None,
) -> ExportModel:
    """Read or build a tiny network.

    Args:
        checkpoint: a folder with config.json and model.safetensors; or:
        random_weights: build it with seeded random weights.
        architecture: of the random network (a checkpoint brings its own).
        settings: values for `BundleDefaults`; they win over the checkpoint's own `metadata.bundle_defaults`.
    Raises:
        CheckpointError: the checkpoint is missing or is not what the backbone needs.
        BundleDefaultsError: a setting is unknown or out of range.
        ExportError: arguments that exclude each other.
    """
    if random_weights == (checkpoint is not None):
        raise ExportError("tiny needs either --checkpoint DIR or --random-weights, and not both")
    if checkpoint is not None and architecture is not None:
        raise ExportError("a checkpoint brings its own architecture; the argument is for random weights")
    source = random_source("tiny", architecture) if checkpoint is None else load_source("tiny", Path(checkpoint))
    record = get_backbone("tiny")
    defaults = _defaults(record.defaults, source, settings or {})
    resize = ResizeSpec(rule="longest_side", size=defaults.size, enlarge_below=defaults.enlarge_below)
    # Of a 4:3 picture at full processing size.
    height, width = (record.stride * math.ceil(part * defaults.size / record.stride) for part in (0.75, 1))
    cost = measure_cost(source.module, [source.module], (height, width))
    return ExportModel(
        backbone="tiny",
        stages=(Stage("network", source.module),),
        reference=lambda picture: {"network": _run(source.module, picture)},
        input=InputSpec(mean=record.mean, std=record.std, resize=resize, pad=PadSpec(multiple=record.stride)),
        output=OutputSpec(normalization=record.normalization),
        prompt=PromptSpec(mode=record.prompt_mode, distance=defaults.distance),
        instances=InstanceSpec(
            distance=defaults.instance_distance, background=defaults.background, min_area=defaults.min_area
        ),
        weights=WeightsInfo(
            state=source.state, source=source.description, sha256=source.sha256, parameters=source.parameters
        ),
        licence=LicenceInfo(
            code="Apache-2.0",
            weights="Apache-2.0",
            use_limits=USE_LIMITS,
            attribution=ATTRIBUTION if source.state == "trained" else NO_TRAINING,
        ),
        before=cost,
        after=cost,
    )


@torch.no_grad()
def _run(module: nn.Module, picture: Tensor) -> Tensor:
    return module(picture)


def _defaults(usual: BundleDefaults, source: Source, settings: Mapping[str, float]) -> BundleDefaults:
    own = source.metadata.get("bundle_defaults", {})
    if not isinstance(own, Mapping):
        raise ExportError(f"metadata.bundle_defaults must be a table, got {own!r}")
    return usual.updated({**own, **settings})
