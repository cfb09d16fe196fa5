"""Layers that several specialised networks are made of, and how a library's layer is taken over or folded."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gen2seg_export.errors import ExportError


def frozen(value: Tensor) -> nn.Parameter:
    """`value` as a float32 parameter without a gradient; float32 storage is shared."""
    return nn.Parameter(value.detach().to(torch.float32), requires_grad=False)


def linear(weight: Tensor, bias: Tensor | None) -> nn.Linear:
    """A linear layer with weight (out, in) and bias (out)."""
    layer = nn.Linear(weight.shape[1], weight.shape[0], bias=bias is not None, device="meta")
    layer.weight = frozen(weight)
    if bias is not None:
        layer.bias = frozen(bias)
    return layer


def conv(source: nn.Conv2d, weight: Tensor | None = None, bias: Tensor | None = None) -> nn.Conv2d:
    """A convolution with the geometry of `source`, and its weights where none are given."""
    if source.groups != 1 or source.padding_mode != "zeros":
        raise ExportError(f"convolutions must have one group and zero padding, got {source}")
    weight = source.weight if weight is None else weight
    bias = source.bias if bias is None else bias
    padding: Any = source.padding
    stride: Any = source.stride
    layer = nn.Conv2d(
        weight.shape[1],
        weight.shape[0],
        (weight.shape[2], weight.shape[3]),
        stride=stride,
        padding=padding,
        bias=bias is not None,
        device="meta",
    )
    layer.weight = frozen(weight)
    layer.bias = None if bias is None else frozen(bias)
    return layer


def group_norm(source: nn.GroupNorm, affine: bool = True) -> nn.GroupNorm:
    """The same normalisation; without scale and shift where they went elsewhere."""
    layer = nn.GroupNorm(source.num_groups, source.num_channels, eps=source.eps, affine=affine, device="meta")
    if affine:
        layer.weight, layer.bias = frozen(source.weight), frozen(source.bias)
    return layer


def bias_of(layer: nn.Linear | nn.Conv2d) -> Tensor:
    """The layer's bias in float64; zeros where it has none."""
    if layer.bias is None:
        return layer.weight.new_zeros(layer.weight.shape[0], dtype=torch.float64)
    return layer.bias.detach().double()


class ResidualBlock(nn.Module):
    """x + conv(silu(norm(conv(silu(norm(x)))))); a 1x1 convolution on the skip where the channels change."""

    def __init__(
        self, norm1: nn.GroupNorm, conv1: nn.Conv2d, norm2: nn.GroupNorm, conv2: nn.Conv2d, skip: nn.Conv2d | None
    ) -> None:
        super().__init__()
        self.norm1, self.conv1, self.norm2, self.conv2, self.skip = norm1, conv1, norm2, conv2, skip

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv1(F.silu(self.norm1(x)))
        y = self.conv2(F.silu(self.norm2(y)))
        return (x if self.skip is None else self.skip(x)) + y


def residual_block(block: Any, time: Tensor | None = None) -> ResidualBlock:
    """diffusers' ResnetBlock2D; the constant time embedding (1, D) becomes part of the first bias."""
    plain = (
        (block.time_embedding_norm == "default" or block.time_emb_proj is None)
        and not block.skip_time_act
        and block.upsample is None
        and block.downsample is None
        and block.output_scale_factor == 1
        and isinstance(block.nonlinearity, nn.SiLU)
    )
    if not plain:
        raise ExportError(f"only plain residual blocks with SiLU can be specialised, got {type(block).__name__}")
    bias = None
    if block.time_emb_proj is not None:
        if time is None:
            raise ExportError("a residual block that takes the time embedding needs one")
        shift = block.time_emb_proj(F.silu(time))[0]
        bias = bias_of(block.conv1) + shift.detach().double()
    return ResidualBlock(
        group_norm(block.norm1),
        conv(block.conv1, bias=bias),
        group_norm(block.norm2),
        conv(block.conv2),
        None if block.conv_shortcut is None else conv(block.conv_shortcut),
    )


class UpsampledConv(nn.Module):
    """Nearest-neighbour doubling and the 3x3 convolution behind it, as one 2x2 convolution: 4/9 of the work.

    An output pixel sees each source pixel once to four times, so the nine taps add up to four, another four for
    each of the pixel's places in its 2x2 square. These four sets are the channels of one convolution at the small
    size, which the shuffle then spreads; zero padding stays exact. The places are numbered from the lower right,
    so that all four squares line up after dropping one row and column at every side.
    """

    def __init__(self, source: nn.Conv2d) -> None:
        super().__init__()
        if source.kernel_size != (3, 3) or source.padding != (1, 1) or source.stride != (1, 1):
            raise ExportError(f"an upsampling convolution must be 3x3 with padding 1, got {source}")
        weight = source.weight.detach().double()
        places = [_pair(_pair(weight, 2, 1 - y), 3, 1 - x) for y in (0, 1) for x in (0, 1)]
        folded = torch.stack(places, dim=1).flatten(0, 1)
        bias = None if source.bias is None else source.bias.detach().repeat_interleave(4)
        self.conv = conv(source, folded, bias)

    def forward(self, x: Tensor) -> Tensor:
        height, width = x.shape[-2:]
        return F.pixel_shuffle(self.conv(x), 2)[:, :, 1 : 2 * height + 1, 1 : 2 * width + 1]


def _pair(weight: Tensor, dim: int, place: int) -> Tensor:
    """Three taps along `dim` over doubled pixels as two over the source pixels, for place 0 or 1 of a pair."""
    before, middle, after = weight.unbind(dim)
    taps = [before, middle + after] if place == 0 else [before + middle, after]
    return torch.stack(taps, dim)


class Downsample(nn.Module):
    """A convolution with stride 2; `edge` pads one row and column of zeros at the lower right only."""

    def __init__(self, source: Any) -> None:
        super().__init__()
        if not isinstance(source.conv, nn.Conv2d) or source.norm is not None:
            raise ExportError("only downsampling by a plain convolution can be specialised")
        self.conv = conv(source.conv)
        self.edge = source.padding == 0

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(F.pad(x, (0, 1, 0, 1)) if self.edge else x)


class ResizedConv(nn.Module):
    """Nearest-neighbour enlargement to a size, and the convolution behind it, as they are."""

    def __init__(self, source: nn.Conv2d) -> None:
        super().__init__()
        self.conv = conv(source)

    def forward(self, x: Tensor, size: tuple[int, int]) -> Tensor:
        """(N, C, h, w) -> (N, C, *size), for sides of `size` that are twice those of x, or one less."""
        return self.conv(F.interpolate(x, size=size, mode="nearest"))


def upsampling(source: Any) -> nn.Conv2d:
    """The convolution of diffusers' Upsample2D, which must be a plain one behind a doubling."""
    if source.use_conv_transpose or not source.use_conv or source.norm is not None or not source.interpolate:
        raise ExportError("only nearest-neighbour upsampling with a convolution behind it can be specialised")
    return source.conv
