"""Stable Diffusion's U-Net at one timestep with one text: from the picture's latent to the colours' latent."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from gen2seg.backbones.sd2.scheduler import OneStep
from gen2seg_export.errors import ExportError

from .attention import SpatialTransformer
from .layers import (
    Downsample,
    ResidualBlock,
    ResizedConv,
    UpsampledConv,
    bias_of,
    conv,
    group_norm,
    residual_block,
    upsampling,
)

# Everything else that diffusers can build has no part in Stable Diffusion 2 and would have to be checked anew.
_REQUIRED: dict[str, tuple[Any, ...]] = {
    "act_fn": ("silu", "swish"),
    "addition_embed_type": (None,),
    "attention_type": ("default",),
    "center_input_sample": (False,),
    "class_embed_type": (None,),
    "cross_attention_norm": (None,),
    "dual_cross_attention": (False,),
    "encoder_hid_dim": (None,),
    "encoder_hid_dim_type": (None,),
    "mid_block_scale_factor": (1,),
    "mid_block_type": ("UNetMidBlock2DCrossAttn",),
    "num_class_embeds": (None,),
    "only_cross_attention": (False,),
    "resnet_out_scale_factor": (1,),
    "resnet_skip_time_act": (False,),
    "resnet_time_scale_shift": ("default",),
    "time_cond_proj_dim": (None,),
    "time_embedding_type": ("positional",),
}
_BLOCKS = frozenset({"CrossAttnDownBlock2D", "DownBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"})


class Level(nn.Module):
    """What happens at one resolution: residual blocks, attention behind each (or none), a change of size (or none)."""

    def __init__(
        self,
        residuals: list[ResidualBlock],
        attentions: list[SpatialTransformer],
        resize: Downsample | UpsampledConv | ResizedConv | None,
    ) -> None:
        super().__init__()
        self.residuals = nn.ModuleList(residuals)
        self.attentions = nn.ModuleList(attentions)
        self.resize = resize

    def layer(self, index: int, x: Tensor) -> Tensor:
        x = self.residuals[index](x)
        return self.attentions[index](x) if len(self.attentions) else x


class OneStepUNet(nn.Module):
    """z (N, 4, h, w), the scaled latent of the picture, to x0 (N, 4, h, w), the scaled latent of the colours.

    The time embedding is part of the residual blocks' biases, the text of the transformer blocks' weights, and the
    scheduler's factors of the last convolution: x0 = clip(a z + b U-Net(z)).

    Args:
        unet: diffusers' UNet2DConditionModel.
        text: the empty prompt's embedding (1, T, D).
        step: the scheduler's one step.
        sizes: the latents' (height, width) that will come; empty where any may come (traced with free sizes:
            from 9). A level whose side is always even on the way down needs no cut on the way up, and gets the
            cheaper convolution.
    Raises:
        ExportError: the U-Net has parts that Stable Diffusion 2's has not.
    """

    def __init__(self, unet: Any, text: Tensor, step: OneStep, sizes: Sequence[tuple[int, int]] = ()) -> None:
        super().__init__()
        _check(unet.config)
        with torch.no_grad():
            time = unet.time_embedding(unet.get_time_embed(torch.zeros(1), step.timestep))
            if unet.time_embed_act is not None:
                time = unet.time_embed_act(time)
            self.conv_in = conv(unet.conv_in)
            self.downs = nn.ModuleList(_down(block, time, text) for block in unet.down_blocks)
            middle = unet.mid_block
            self.middle = nn.Sequential(residual_block(middle.resnets[0], time))
            for attention, block in zip(middle.attentions, middle.resnets[1:], strict=True):
                self.middle.extend([SpatialTransformer(attention, text), residual_block(block, time)])
            count = len(unet.up_blocks)
            self.ups = nn.ModuleList(
                _up(block, time, text, _doubles(sizes, count - 2 - index)) for index, block in enumerate(unet.up_blocks)
            )
            self.norm_out = group_norm(unet.conv_norm_out)
            weight = unet.conv_out.weight.detach().double() * step.output_factor
            self.conv_out = conv(unet.conv_out, weight, bias_of(unet.conv_out) * step.output_factor)
        self.sample_factor = step.sample_factor
        self.clip = step.clip

    def forward(self, z: Tensor) -> Tensor:
        x = self.conv_in(z)
        skips = [x]
        for level in self.downs:
            assert isinstance(level, Level)
            for index in range(len(level.residuals)):
                x = level.layer(index, x)
                skips.append(x)
            if level.resize is not None:
                x = level.resize(x)
                skips.append(x)
        x = self.middle(x)
        for level in self.ups:
            assert isinstance(level, Level)
            for index in range(len(level.residuals)):
                x = level.layer(index, torch.cat([x, skips.pop()], dim=1))
            if level.resize is not None:
                exact = isinstance(level.resize, UpsampledConv)
                x = level.resize(x) if exact else level.resize(x, skips[-1].shape[-2:])
        x = self.conv_out(F.silu(self.norm_out(x)))
        if self.sample_factor:
            x = x + self.sample_factor * z
        return x if self.clip is None else x.clamp(-self.clip, self.clip)


def _check(config: Any) -> None:
    for name, allowed in _REQUIRED.items():
        value = config.get(name, allowed[0])
        if value is None and name == "mid_block_type":
            raise ExportError("unet/config.json: a U-Net without a middle block cannot be specialised")
        if (list(set(value)) if isinstance(value, list | tuple) else [value]) not in [[choice] for choice in allowed]:
            raise ExportError(f"unet/config.json: {name} must be {' or '.join(map(repr, allowed))}, got {value!r}")
    for name in ("down_block_types", "up_block_types"):
        unknown = sorted(set(config[name]) - _BLOCKS)
        if unknown:
            raise ExportError(f"unet/config.json: {name} may hold {', '.join(sorted(_BLOCKS))}, got {unknown[0]!r}")
    if config["norm_num_groups"] is None:
        raise ExportError("unet/config.json: norm_num_groups must be a number, got null")


def _down(block: Any, time: Tensor, text: Tensor) -> Level:
    resize = None if block.downsamplers is None else Downsample(block.downsamplers[0])
    return Level([residual_block(b, time) for b in block.resnets], _attentions(block, text), resize)


def _doubles(sizes: Sequence[tuple[int, int]], halvings: int) -> bool:
    """Whether every side, halved (rounded up) that many times, is even, so that doubling its half gives it back."""
    return bool(sizes) and all(-(-side // 2**halvings) % 2 == 0 for size in sizes for side in size)


def _up(block: Any, time: Tensor, text: Tensor, doubles: bool) -> Level:
    resize = None
    if block.upsamplers is not None:
        source = upsampling(block.upsamplers[0])
        resize = UpsampledConv(source) if doubles else ResizedConv(source)
    return Level([residual_block(b, time) for b in block.resnets], _attentions(block, text), resize)


def _attentions(block: Any, text: Tensor) -> list[SpatialTransformer]:
    return [SpatialTransformer(attention, text) for attention in getattr(block, "attentions", None) or []]
