"""The specialised networks of `sd2` are the libraries' own functions, whatever the checkpoint says."""

from typing import Any

import pytest
import torch
from torch import nn

from gen2seg.backbones.sd2 import SD2, Sd2Net, one_step, random_sd2, random_vae
from gen2seg_export.errors import ExportError
from gen2seg_export.specialize.layers import ResizedConv, UpsampledConv
from gen2seg_export.specialize.unet import OneStepUNet
from gen2seg_export.specialize.vae import VaeDecoder, VaeEncoder, specialize_vae

TOLERANCE = 1e-5  # relative; ten times what rounding gives, a tenth of what the exporter must hold

UNET = {
    "block_out_channels": [16, 32, 32, 32],
    "attention_head_dim": [1, 2, 2, 2],
    "cross_attention_dim": 24,
    "norm_num_groups": 8,
    "layers_per_block": 1,
}
VAE = {"block_out_channels": [8, 16, 16, 16], "norm_num_groups": 4, "layers_per_block": 1}


def small(unet=None, vae=None, scheduler=None):
    changes = {"unet": {**UNET, **(unet or {})}, "vae": {**VAE, **(vae or {})}, "scheduler": scheduler or {}}
    return random_sd2(SD2.updated(changes))


@pytest.fixture(scope="module")
def parts():
    return small()


def pictures(height=72, width=104):
    return torch.rand(2, 3, height, width, generator=torch.Generator().manual_seed(1)) * 2 - 1


def latents(height=9, width=13):
    return torch.randn(2, 4, height, width, generator=torch.Generator().manual_seed(2))


def difference(found, expected):
    assert found.shape == expected.shape
    return float((found - expected).norm() / expected.norm())


@torch.no_grad()
@pytest.mark.parametrize("tokens", [2, 77])
@pytest.mark.parametrize("size", [(9, 13), (8, 16), (10, 6)], ids=str)
def test_the_unet_is_the_librarys(parts, tokens, size):
    net = Sd2Net(parts, text_tokens=tokens).eval()
    unet = OneStepUNet(parts.unet, parts.text_of(tokens), one_step(parts.scheduler), [size]).eval()
    assert difference(unet(latents(*size)), net.denoise(latents(*size))) < TOLERANCE


@torch.no_grad()
@pytest.mark.parametrize("prediction", ["v_prediction", "epsilon", "sample"])
@pytest.mark.parametrize("spacing", ["trailing", "leading", "linspace"])
def test_every_step_of_a_scheduler_is_followed(prediction, spacing):
    parts = small(scheduler={"prediction_type": prediction, "timestep_spacing": spacing})
    net = Sd2Net(parts).eval()
    unet = OneStepUNet(parts.unet, parts.text_of(), one_step(parts.scheduler)).eval()
    assert difference(unet(latents()), net.denoise(latents())) < TOLERANCE


@torch.no_grad()
def test_clipping_is_followed():
    parts = small(scheduler={"prediction_type": "epsilon", "clip_sample": True, "clip_sample_range": 2.0})
    unet = OneStepUNet(parts.unet, parts.text_of(), one_step(parts.scheduler)).eval()
    expected = Sd2Net(parts).eval().denoise(latents())
    assert expected.abs().max() == 2.0
    assert difference(unet(latents()), expected) < TOLERANCE


@torch.no_grad()
@pytest.mark.parametrize(
    "unet",
    [
        {"use_linear_projection": False},
        {"transformer_layers_per_block": 2},
        {"layers_per_block": 2, "time_embedding_act_fn": "silu"},
        {"down_block_types": ["DownBlock2D"] * 2, "up_block_types": ["UpBlock2D"] * 2}
        | {"block_out_channels": [16, 32], "attention_head_dim": [1, 2]},
    ],
    ids=["1x1 convolutions", "two transformers", "two layers", "no attention"],
)
def test_other_shapes_of_the_same_blocks(unet):
    parts = small(unet)
    net = Sd2Net(parts).eval()
    special = OneStepUNet(parts.unet, parts.text_of(), one_step(parts.scheduler)).eval()
    assert difference(special(latents()), net.denoise(latents())) < TOLERANCE


@torch.no_grad()
@pytest.mark.parametrize(
    "vae",
    [
        {},
        {"shift_factor": 0.3, "scaling_factor": 0.5},
        {"use_quant_conv": False, "use_post_quant_conv": False},
        {"mid_block_add_attention": False},
    ],
    ids=["plain", "shift", "no quant_conv", "no attention"],
)
def test_the_vae_is_the_librarys(vae):
    parts = small(vae=vae)
    net = Sd2Net(parts).eval()
    encoder, decoder = specialize_vae(parts.vae)
    assert difference(encoder(pictures()), net.encode(pictures())) < TOLERANCE
    assert difference(decoder(latents()), net.decode(latents())) < TOLERANCE


@torch.no_grad()
@pytest.mark.parametrize("scaling", [{}, {"scaling_factor": 0.7, "shift_factor": 0.2}], ids=["published", "scaled"])
def test_the_light_vae_is_the_librarys(parts, scaling):
    sizes = {"encoder_block_out_channels": [8] * 4, "decoder_block_out_channels": [8] * 4}
    vae: Any = random_vae({"_class_name": "AutoencoderTiny", **sizes, **scaling})
    encoder, decoder = specialize_vae(vae)
    factor, shift = scaling.get("scaling_factor", 1.0), scaling.get("shift_factor", 0.0)
    assert difference(encoder(pictures()), (vae.encode(pictures()).latents - shift) * factor) < TOLERANCE
    assert difference(decoder(latents()), vae.decode(latents() / factor + shift).sample) < TOLERANCE


@torch.no_grad()
@pytest.mark.parametrize("shape", [(1, 1), (2, 5), (7, 4)], ids=str)
@pytest.mark.parametrize("bias", [True, False])
def test_doubling_and_convolution_in_one(shape, bias):
    plain = nn.Conv2d(3, 5, 3, padding=1, bias=bias)
    x = torch.randn(2, 3, *shape)
    expected = plain(nn.functional.interpolate(x, scale_factor=2.0, mode="nearest"))
    assert difference(UpsampledConv(plain)(x), expected) < 1e-6


def test_levels_that_do_not_double_keep_their_cut(parts):
    def kinds(size):
        unet = OneStepUNet(parts.unet, parts.text_of(), one_step(parts.scheduler), [size] if size else [])
        return [type(level.resize) for level in unet.ups[:3]]  # type: ignore[union-attr]

    assert kinds((60, 80)) == [ResizedConv, UpsampledConv, UpsampledConv]
    assert kinds((72, 96)) == [UpsampledConv] * 3
    assert kinds((61, 80)) == [UpsampledConv, ResizedConv, ResizedConv]
    assert kinds(None) == [ResizedConv] * 3


@torch.no_grad()
def test_sizes_can_stay_free(parts):
    unet = OneStepUNet(parts.unet, parts.text_of(), one_step(parts.scheduler)).eval()
    sides = {index: torch.export.Dim(name, min=9, max=512) for index, name in ((2, "height"), (3, "width"))}
    program = torch.export.export(unet, (latents(11, 14),), dynamic_shapes=(sides,), strict=False)
    torch.testing.assert_close(program.module()(latents(9, 20)), unet(latents(9, 20)))


def test_weights_that_stay_the_same_are_shared(parts):
    unet = OneStepUNet(parts.unet, parts.text_of(), one_step(parts.scheduler))
    shared = {parameter.data_ptr() for parameter in parts.unet.parameters()}
    copied = sum(parameter.numel() for parameter in unet.parameters() if parameter.data_ptr() not in shared)
    assert copied < 0.15 * sum(parameter.numel() for parameter in unet.parameters())


def test_what_one_step_does_not_need_is_gone(parts):
    unet = OneStepUNet(parts.unet, parts.text_of(), one_step(parts.scheduler))
    names = " ".join(name for name, _ in unet.named_parameters())
    assert "time" not in names
    assert "to_k" not in names
    assert unet.downs[0].attentions[0].blocks[0].text.gate.weight.shape == (1, 16)  # type: ignore[union-attr,index]
    encoder, _ = specialize_vae(parts.vae)
    assert isinstance(encoder, VaeEncoder)
    assert encoder.conv_out.out_channels == 4


@pytest.mark.parametrize(
    "unet",
    [
        {"resnet_time_scale_shift": "scale_shift"},
        {"class_embed_type": "timestep"},
        {"only_cross_attention": [True, True, True, True]},
        {"addition_embed_type": "text", "encoder_hid_dim": 24, "addition_embed_type_num_heads": 2},
        {"act_fn": "gelu"},
        {"center_input_sample": True},
        {"down_block_types": ["AttnDownBlock2D"] * 4, "up_block_types": ["AttnUpBlock2D"] * 4},
    ],
    ids=lambda unet: next(iter(unet)),
)
def test_unets_of_other_kinds_are_refused(unet):
    parts = small(unet)
    with pytest.raises(ExportError, match=rf"unet/config\.json: {'.*|'.join(unet)}"):
        OneStepUNet(parts.unet, parts.text_of(), one_step(parts.scheduler))


def test_vaes_of_other_kinds_are_refused():
    vae = small(vae={"use_post_quant_conv": False, "shift_factor": 0.1}).vae
    with pytest.raises(ExportError, match="shift_factor"):
        VaeDecoder(vae)
    tiny = random_vae({"_class_name": "AutoencoderTiny", "upsample_fn": "bilinear"})
    with pytest.raises(ExportError, match="upsample_fn"):
        specialize_vae(tiny)
    with pytest.raises(ExportError, match="3x3"):
        UpsampledConv(nn.Conv2d(3, 3, 1))
