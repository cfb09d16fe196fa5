"""A backbone of two stages with a latent at an eighth of the picture's size, small enough for tests."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from gen2seg_export.cost import measure_cost
from gen2seg_export.model import ExportModel, Stage
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

SCALE = 8


class Encoder(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.pool = nn.Conv2d(3, 16, SCALE, stride=SCALE)
        self.mix = nn.Conv2d(16, 16, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.pool(x)
        return x + self.mix(nn.functional.silu(x))


class Decoder(nn.Module):
    def __init__(self, limit: float | None = None) -> None:
        super().__init__()
        self.limit = limit
        self.mix = nn.Conv2d(16, 32, 3, padding=1)
        self.paint = nn.Conv2d(32, 3 * SCALE * SCALE, 1)

    def forward(self, z: Tensor) -> Tensor:
        x = nn.functional.pixel_shuffle(self.paint(nn.functional.silu(self.mix(z))), SCALE)
        return x if self.limit is None else x.clamp(-self.limit, self.limit)


def open_chain(
    checkpoint: str | None = None,
    *,
    random_weights: bool = False,
    sizes: Sequence[tuple[int, int]] = ((48, 64),),
    architecture: Mapping[str, Any] | None = None,
) -> ExportModel:
    """`architecture` may hold "seed", "state" of the weights, and "limit" of the colours."""
    options = dict(architecture or {})
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(options.get("seed", 0))
        encoder, decoder = Encoder().eval(), Decoder(options.get("limit")).eval()

    @torch.no_grad()
    def reference(picture: Tensor) -> dict[str, Tensor]:
        latent = encoder(picture)
        return {"encoder": latent, "decoder": decoder(latent)}

    cost = measure_cost(nn.Sequential(encoder, decoder), [encoder, decoder], (48, 64))
    return ExportModel(
        backbone="chain",
        stages=(
            Stage("encoder", encoder, out_channels=16, out_scale=SCALE),
            Stage("decoder", decoder, in_channels=16, in_scale=SCALE),
        ),
        reference=reference,
        input=InputSpec(
            resize=ResizeSpec(
                rule="fit" if sizes else "longest_side", size=64, interpolation="bilinear_antialias_float"
            ),
            pad=PadSpec(multiple=SCALE),
            dynamic=not sizes,
            buckets=tuple(sizes),
        ),
        output=OutputSpec(normalization="sd", range=None),
        prompt=PromptSpec(mode="reference"),
        instances=InstanceSpec(),
        weights=WeightsInfo(
            state=options.get("state", "untrained"), source="made by a test", parameters=cost.parameters
        ),
        licence=LicenceInfo(code="Apache-2.0", weights="CC0-1.0"),
        folded={"scale": SCALE},
        before=cost,
        after=cost,
        warnings=("a warning of the network",),
    )
