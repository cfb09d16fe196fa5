"""Stable Diffusion's VAE for one picture: the encoder to the posterior's mode, the decoder, scaling folded in."""

from typing import Any

import torch
from diffusers.models.autoencoders.autoencoder_tiny import AutoencoderTiny
from torch import Tensor, nn
from torch.nn import functional as F

from gen2seg.backbones.sd2.parts import Vae, vae_scaling
from gen2seg_export.errors import ExportError

from .attention import PixelAttention
from .layers import Downsample, UpsampledConv, bias_of, conv, group_norm, residual_block, upsampling


def specialize_vae(vae: Vae) -> tuple[nn.Module, nn.Module]:
    """Encoder and decoder of diffusers' AutoencoderKL or AutoencoderTiny, in eval mode.

    Raises:
        ExportError: the VAE has parts that are not known here.
    """
    if isinstance(vae, AutoencoderTiny):
        return TinyVaeEncoder(vae).eval(), TinyVaeDecoder(vae).eval()
    return VaeEncoder(vae).eval(), VaeDecoder(vae).eval()


class VaeEncoder(nn.Module):
    """Picture (N, 3, H, W) in [-1, 1] to the scaled latent (N, 4, H/8, W/8).

    The last convolution gives the mean only, with quant_conv, shift and scaling factor in its weights: the half
    that is the posterior's variance is never computed.
    """

    def __init__(self, vae: Any) -> None:
        super().__init__()
        encoder = vae.encoder
        factor, shift = vae_scaling(vae)
        channels = vae.config.latent_channels
        layers: list[nn.Module] = [conv(encoder.conv_in)]
        for block in encoder.down_blocks:
            layers += [residual_block(resnet) for resnet in _plain(block, "DownEncoderBlock2D").resnets]
            layers += [Downsample(resize) for resize in block.downsamplers or []]
        self.layers = nn.Sequential(*layers, *_middle(encoder.mid_block))
        self.norm_out = group_norm(encoder.conv_norm_out)
        weight, bias = encoder.conv_out.weight.detach().double(), bias_of(encoder.conv_out)
        if vae.quant_conv is not None:
            mean = vae.quant_conv.weight.detach().double().flatten(1)[:channels]
            weight, bias = torch.einsum("oi,ichw->ochw", mean, weight), mean @ bias + bias_of(vae.quant_conv)[:channels]
        self.conv_out = conv(encoder.conv_out, weight[:channels] * factor, (bias[:channels] - shift) * factor)

    def forward(self, picture: Tensor) -> Tensor:
        return self.conv_out(F.silu(self.norm_out(self.layers(picture))))


class VaeDecoder(nn.Module):
    """Scaled latent (N, 4, h, w) to raw colours (N, 3, 8h, 8w).

    Scaling goes into post_quant_conv. That one cannot go into the convolution behind it: its bias must not reach
    into the zero padding there.
    """

    def __init__(self, vae: Any) -> None:
        super().__init__()
        decoder = vae.decoder
        factor, shift = vae_scaling(vae)
        layers: list[nn.Module] = []
        if vae.post_quant_conv is not None:
            weight = vae.post_quant_conv.weight.detach().double()
            bias = bias_of(vae.post_quant_conv) + weight.flatten(1).sum(1) * shift
            layers += [conv(vae.post_quant_conv, weight / factor, bias), conv(decoder.conv_in)]
        elif shift:
            raise ExportError("vae/config.json: a shift_factor needs use_post_quant_conv to be folded into")
        else:
            layers += [conv(decoder.conv_in, decoder.conv_in.weight.detach().double() / factor)]
        layers += _middle(decoder.mid_block)
        for block in decoder.up_blocks:
            layers += [residual_block(resnet) for resnet in _plain(block, "UpDecoderBlock2D").resnets]
            layers += [UpsampledConv(upsampling(resize)) for resize in block.upsamplers or []]
        self.layers = nn.Sequential(*layers)
        self.norm_out = group_norm(decoder.conv_norm_out)
        self.conv_out = conv(decoder.conv_out)

    def forward(self, latent: Tensor) -> Tensor:
        return self.conv_out(F.silu(self.norm_out(self.layers(latent))))


class TinyVaeEncoder(nn.Module):
    """The light VAE's encoder: picture in [-1, 1] to latent, by the VAE's own scaling factor.

    Its latents are the scaled ones of the full VAE already, so the factor is one in the published weights. It
    works on pictures in [0, 1]: the halving is part of the first convolution, the shift must stay in front of the
    zero padding.
    """

    def __init__(self, vae: Any) -> None:
        super().__init__()
        factor, shift = vae_scaling(vae)
        first, *middle, last = vae.encoder.layers
        self.first = conv(first, first.weight.detach().double() / 2)
        self.middle = nn.Sequential(*middle)
        self.last = conv(last, last.weight.detach().double() * factor, (bias_of(last) - shift) * factor)

    def forward(self, picture: Tensor) -> Tensor:
        return self.last(self.middle(self.first(picture + 1)))


class TinyVaeDecoder(nn.Module):
    """The light VAE's decoder: latent (N, 4, h, w) to raw colours (N, 3, 8h, 8w).

    3 tanh(x / 3) bounds the latent; its outer factor is part of the first convolution (zero padding does not mind
    a factor), the way from [0, 1] back to [-1, 1] of the last one.
    """

    def __init__(self, vae: Any) -> None:
        super().__init__()
        if vae.config.upsampling_scaling_factor != 2 or vae.config.upsample_fn != "nearest":
            raise ExportError("vae/config.json: upsample_fn must be 'nearest' with upsampling_scaling_factor 2")
        factor, shift = vae_scaling(vae)
        first, *middle, last = vae.decoder.layers
        self.inside, self.offset = 1 / (3 * factor), shift / 3
        layers: list[nn.Module] = [conv(first, first.weight.detach().double() * 3)]
        pending = False
        for layer in middle:
            if isinstance(layer, nn.Upsample):
                pending = True
            elif pending:
                layers.append(UpsampledConv(layer))
                pending = False
            else:
                layers.append(layer)
        layers.append(conv(last, last.weight.detach().double() * 2, bias_of(last) * 2 - 1))
        self.layers = nn.Sequential(*layers)

    def forward(self, latent: Tensor) -> Tensor:
        x = latent * self.inside
        return self.layers(torch.tanh(x + self.offset if self.offset else x))


def _middle(block: Any) -> list[nn.Module]:
    layers: list[nn.Module] = [residual_block(block.resnets[0])]
    for attention, resnet in zip(block.attentions, block.resnets[1:], strict=True):
        layers += [] if attention is None else [PixelAttention(attention)]
        layers.append(residual_block(resnet))
    return layers


def _plain(block: Any, kind: str) -> Any:
    if type(block).__name__ != kind:
        raise ExportError(f"vae/config.json: blocks must be {kind}, got {type(block).__name__}")
    return block
