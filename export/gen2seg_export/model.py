"""What the exporter works on: a backbone, specialised for one step, as a chain of stages, and its reference."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor, nn

from gen2seg_runtime.manifest import InputSpec, InstanceSpec, LicenceInfo, OutputSpec, PromptSpec, WeightsInfo


@dataclass(frozen=True)
class Stage:
    """One network of the chain; it takes the tensor that the stage before it gave, the first one the picture.

    Attributes:
        name: unique in the chain: "network", or "encoder", "unet", "decoder".
        module: specialised, float32, in eval mode, on the CPU; one tensor (N, C, H, W) in, one out.
        in_channels, out_channels: of these tensors.
        in_scale, out_scale: the picture's side over the tensor's (8 for latents).
        free_least: where any size may come, what the tracer is told of the sides: no fewer than this many strides.
    """

    name: str
    module: nn.Module
    in_channels: int = 3
    out_channels: int = 3
    in_scale: int = 1
    out_scale: int = 1
    free_least: int = 1


@dataclass(frozen=True)
class Cost:
    """What one picture of `size` (height, width) costs; a multiply-add counts as two operations."""

    parameters: int
    bytes: int  # of the float32 weights
    flops: int
    size: tuple[int, int]


@dataclass(frozen=True)
class ExportModel:
    """A network ready to export.

    Attributes:
        backbone: its name.
        stages: the specialised chain; the last one gives the raw colours.
        reference: the libraries' own modules, float32, run as the reference pipeline runs them: the picture
            (N, 3, H, W) as the first stage takes it -> what each stage should give, by its name.
        input, output, prompt, instances, weights, licence: the manifest's records.
        folded: constants that the specialisation folded in (timestep, tokens, scaling factor, ...), as JSON.
        before, after: the cost of the reference's networks and of the chain.
        warnings: what the user should be told.
    """

    backbone: str
    stages: tuple[Stage, ...]
    reference: Callable[[Tensor], Mapping[str, Tensor]]
    input: InputSpec
    output: OutputSpec
    prompt: PromptSpec
    instances: InstanceSpec
    weights: WeightsInfo
    licence: LicenceInfo
    folded: Mapping[str, Any] = field(default_factory=dict)
    before: Cost | None = None
    after: Cost | None = None
    warnings: tuple[str, ...] = ()
