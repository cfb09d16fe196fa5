"""A backbone as the training loop sees it: pictures in, raw output, colours, parts to train, a folder to save to."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from gen2seg.config import ModelConfig
from gen2seg.data.mixture import Batch
from gen2seg.toml_records import ConfigError

Save = Callable[[nn.Module, Path, dict[str, Any]], None]  # module, folder, what the checkpoint says of itself

# module (perhaps wrapped), prepared pictures, batch, generator -> loss and its terms
OwnLoss = Callable[[nn.Module, Tensor, Batch, torch.Generator], tuple[Tensor, dict[str, Any]]]


@dataclass(frozen=True)
class Parts:
    """What of a network can be trained by itself.

    Attributes:
        blocks: from the input to the last one before the head; each a list of modules.
        decoder: how many of the last blocks make the decoder (with the head).
        head: the last layer.
    """

    blocks: Sequence[Sequence[nn.Module]]
    decoder: int
    head: Sequence[nn.Module]


@dataclass(frozen=True)
class Network:
    """An opened backbone.

    Attributes:
        module: normalised pictures (B, 3, H, W) to raw output (B, 3, H, W).
        mean, std: of RGB in [0, 1]; what `module` takes is (rgb - mean) / std.
        stretch: whether raw output is stretched over 0..255 picture by picture; else it is affine colours:
        scale, offset: colours = scale * raw + offset, for a network whose output is not stretched.
        parts: see there; None where only the whole network can be trained.
        save: writes the layout that export and the original scripts read.
        loss: a network that paints no colours brings its own; `objective` is not used then.
        checkpointing: turns gradient checkpointing on; None where the network has none.
    """

    module: nn.Module
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    stretch: bool
    save: Save
    parts: Parts | None = None
    scale: float = 1.0
    offset: float = 0.0
    checkpointing: Callable[[], None] | None = None
    loss: OwnLoss | None = None

    def prepare(self, images: Tensor) -> Tensor:
        """(B, 3, H, W) uint8 -> what the module takes, float32."""
        mean, std = (images.new_tensor(v, dtype=torch.float32).view(1, 3, 1, 1) for v in (self.mean, self.std))
        return (images.to(torch.float32) / 255 - mean) / std

    def colors(self, raw: Tensor, normalize: bool = True) -> Tensor:
        """Raw output (B, 3, H, W) -> colours for the loss, float32, 0..255 where stretched."""
        raw = raw.float()
        if not (self.stretch and normalize):
            return raw * self.scale + self.offset
        return stretched(raw)


def stretched(raw: Tensor) -> Tensor:
    """255 (p + |min p|) / (|max p| + |min p| + 1e-5), per picture; differentiable also through the extremes.

    Source: the training code of gen2seg (arXiv 2505.15263), which takes the extremes over the batch.
    """
    low = raw.amin((1, 2, 3), keepdim=True).abs()
    high = raw.amax((1, 2, 3), keepdim=True).abs()
    return 255 * (raw + low) / (high + low + 1e-5)


def freeze(network: Network, model: ModelConfig, backbone: str) -> None:
    """Leave gradients to the parts that `model` names; what is frozen already (a VAE) stays so.

    Raises:
        ConfigError: the network has no parts, or fewer blocks than asked for.
    """
    parts = network.parts
    if model.trained == "all":
        return
    if parts is None:
        raise ConfigError(f'backbone {backbone!r} is trained whole: model.trained must be "all"')
    blocks = {"decoder": parts.decoder, "last": model.last_blocks, "head": 0}[model.trained]
    if blocks > len(parts.blocks):
        raise ConfigError(f"backbone {backbone!r} has {len(parts.blocks)} blocks, model.last_blocks is {blocks}")
    network.module.requires_grad_(False)
    for block in [*parts.blocks[len(parts.blocks) - blocks :], parts.head]:
        for module in block:
            module.requires_grad_(True)
