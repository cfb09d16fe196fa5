"""`tiny`: a small one-step image-to-colours U-Net that this project trains from scratch.

Its shape follows what was found to work on procedural scenes: most of the work at 1/4 to 1/16 of the
picture, attention and position only at 1/32 (positions fed earlier make the network paint a ramp), and
thin skips at full and half resolution that bring the object borders back. Features are brought up by
resize + convolution: pixel shuffles leave a grid of dots in flat regions.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn


@dataclass(frozen=True)
class TinyConfig:
    """Widths of the network. The defaults give 3.5 M parameters and 2.4 GFLOP at 256x256."""

    full_channels: int = 8  # skip at full resolution
    half_channels: int = 16  # skip at 1/2
    channels: tuple[int, int, int, int] = (40, 80, 144, 208)  # at 1/4, 1/8, 1/16, 1/32
    heads: int = 4  # attention heads at 1/32
    attention_layers: int = 2

    def __post_init__(self) -> None:
        if len(self.channels) != 4 or any(c % 8 for c in self.channels):
            raise ValueError(f"channels must be four multiples of 8, got {self.channels}")
        if self.full_channels % 4 or self.half_channels % 8:
            raise ValueError(
                "full_channels must be a multiple of 4 and half_channels of 8, "
                f"got {self.full_channels} and {self.half_channels}"
            )
        if self.channels[-1] % self.heads:
            raise ValueError(f"heads must divide {self.channels[-1]} channels, got {self.heads}")


def _norm(channels: int) -> nn.GroupNorm:
    return nn.GroupNorm(8 if channels % 8 == 0 else 4, channels)


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions behind GroupNorm and SiLU; starts as the identity."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm1 = _norm(channels)
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1)
        self.norm2 = _norm(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1)
        nn.init.zeros_(self.conv2.weight)
        nn.init.zeros_(self.conv2.bias)  # type: ignore[arg-type]

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv1(F.silu(self.norm1(x)))
        return x + self.conv2(F.silu(self.norm2(y)))


class AttentionBlock(nn.Module):
    """Pre-norm self-attention over all positions, then an MLP; starts as the identity."""

    def __init__(self, channels: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm1 = nn.LayerNorm(channels)
        self.qkv = nn.Linear(channels, 3 * channels)
        self.out = nn.Linear(channels, channels)
        self.norm2 = nn.LayerNorm(channels)
        self.mlp1 = nn.Linear(channels, 2 * channels)
        self.mlp2 = nn.Linear(2 * channels, channels)
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.mlp2.weight)

    def forward(self, x: Tensor) -> Tensor:
        batch, channels, height, width = x.shape
        tokens = x.flatten(2).transpose(1, 2)
        q, k, v = (
            part.unflatten(-1, (self.heads, channels // self.heads)).transpose(1, 2)
            for part in self.qkv(self.norm1(tokens)).chunk(3, dim=-1)
        )
        mixed = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)
        tokens = tokens + self.out(mixed)
        tokens = tokens + self.mlp2(F.silu(self.mlp1(self.norm2(tokens))))
        return tokens.transpose(1, 2).reshape(batch, channels, height, width)


def _positions(like: Tensor) -> Tensor:
    """Where each cell of `like` (B, C, h, w) lies in the picture: (1, 6, h, w), in [-1, 1]."""
    height, width = like.shape[-2:]
    ys = (torch.arange(height, device=like.device, dtype=torch.float32) + 0.5) * (2 / height) - 1
    xs = (torch.arange(width, device=like.device, dtype=torch.float32) + 0.5) * (2 / width) - 1
    grid = torch.stack([xs[None, :].expand(height, width), ys[:, None].expand(height, width)])
    return torch.cat([grid, torch.sin(grid * torch.pi * 2), torch.cos(grid * torch.pi * 2)])[None]


def _up(x: Tensor) -> Tensor:
    return F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)


class TinyNet(nn.Module):
    """Picture to instance colours in one pass.

    Input: (B, 3, H, W) float, RGB as (value / 255 - 0.5) / 0.5; H and W multiples of `STRIDE`.
    Output: (B, 3, H, W) float32 colours in [0, 255]; black is background.
    """

    STRIDE = 32

    def __init__(self, config: TinyConfig | None = None) -> None:
        super().__init__()
        self.config = config = config or TinyConfig()
        full, half = config.full_channels, config.half_channels
        c4, c8, c16, c32 = config.channels

        self.full_in = nn.Conv2d(3, full, 3, padding=1)
        self.half_in = nn.Conv2d(3, half, 4, stride=2, padding=1)
        self.down4 = nn.Conv2d(half, c4, 2, stride=2)
        self.encode4 = ResidualBlock(c4)
        self.down8 = nn.Conv2d(c4, c8, 2, stride=2)
        self.encode8 = ResidualBlock(c8)
        self.down16 = nn.Conv2d(c8, c16, 2, stride=2)
        self.encode16 = ResidualBlock(c16)
        self.down32 = nn.Conv2d(c16, c32, 2, stride=2)
        self.position = nn.Conv2d(6, c32, 1)
        middle: list[nn.Module] = []
        for _ in range(config.attention_layers):
            middle += [ResidualBlock(c32), AttentionBlock(c32, config.heads)]
        self.middle = nn.Sequential(*middle)

        self.up16 = nn.Conv2d(c32, c16, 1)
        self.decode16 = ResidualBlock(c16)
        self.up8 = nn.Conv2d(c16, c8, 1)
        self.decode8 = ResidualBlock(c8)
        self.up4 = nn.Conv2d(c8, c4, 1)
        self.decode4 = ResidualBlock(c4)
        self.up2 = nn.Conv2d(c4, half, 1)
        self.merge2 = nn.Conv2d(2 * half, half + 8, 3, padding=1)
        self.norm2 = _norm(half + 8)
        self.up1 = nn.Conv2d(half + 8, full, 1)
        self.merge1 = nn.Conv2d(2 * full, 2 * full, 3, padding=1)
        self.out = nn.Conv2d(2 * full, 3, 1)

    def forward(self, image: Tensor) -> Tensor:
        full = self.full_in(image)
        half = self.half_in(image)
        x4 = self.encode4(self.down4(F.silu(half)))
        x8 = self.encode8(self.down8(x4))
        x16 = self.encode16(self.down16(x8))
        x32 = self.down32(x16)
        x = self.middle(x32 + self.position(_positions(x32).to(x32.dtype)))

        x = self.decode16(x16 + _up(self.up16(x)))
        x = self.decode8(x8 + _up(self.up8(x)))
        x = self.decode4(x4 + _up(self.up4(x)))
        x = F.silu(self.norm2(self.merge2(torch.cat([_up(self.up2(x)), half], dim=1))))
        x = F.silu(self.merge1(F.silu(torch.cat([_up(self.up1(x)), full], dim=1))))
        return 255 * torch.sigmoid(self.out(x).float())
