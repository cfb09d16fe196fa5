"""dino-b specialised for export equals timm's ViT, torch's up-convolution and diffusers' VAE in a row."""

from pathlib import Path
from typing import Any

import onnx
import onnxruntime
import pytest
import torch

from gen2seg.backbones.dino import random_dino, save_dino
from gen2seg.backbones.sd2 import TAESD, random_vae
from gen2seg.errors import LayoutError
from gen2seg_export.errors import ExportError
from gen2seg_export.families.dino import open_dino
from gen2seg_export.model import ExportModel
from gen2seg_export.onnx_graph import GraphSpec, write_graph
from gen2seg_export.specialize.dino import SpecializedDino

SMALL: dict[str, Any] = {
    "image_size": 24,
    "patch_size": 8,
    "embed_dim": 32,
    "depth": 2,
    "num_heads": 4,
    "vae": {
        "block_out_channels": [8, 16, 16],
        "down_block_types": ["DownEncoderBlock2D"] * 3,
        "up_block_types": ["UpDecoderBlock2D"] * 3,
        "layers_per_block": 1,
        "norm_num_groups": 4,
    },
}
RTOL = 1e-4


def picture(count: int = 2, side: int = 24) -> torch.Tensor:
    return torch.randn(count, 3, side, side, generator=torch.Generator().manual_seed(7))


def relative(found: Any, expected: torch.Tensor) -> float:
    return float((torch.as_tensor(found) - expected).abs().max() / expected.abs().max())


@pytest.fixture(scope="module")
def model() -> ExportModel:
    return open_dino(random_weights=True, architecture=SMALL, seed=3)


@torch.no_grad()
def test_each_stage_equals_the_libraries(model: ExportModel) -> None:
    expected = model.reference(picture())
    x = picture()
    for stage in model.stages:
        assert x.shape[1] == stage.in_channels
        assert x.shape[-1] * stage.in_scale == 24
        x = stage.module(x)
        assert x.shape[1] == stage.out_channels
        assert x.shape[-1] * stage.out_scale == 24
        assert relative(x, expected[stage.name]) < RTOL
    assert [stage.name for stage in model.stages] == list(expected) == ["network", "decoder"]


@torch.no_grad()
def test_every_weight_takes_part() -> None:
    net = random_dino(SMALL).net
    before = SpecializedDino(net)(picture())
    generator = torch.Generator().manual_seed(1)
    width = net.config.embed_dim
    for name, parameter in [*net.backbone.named_parameters(), *net.up.named_parameters()]:
        kept = parameter.clone()
        parameter.add_(0.1 * torch.randn(parameter.shape, generator=generator))
        assert relative(SpecializedDino(net)(picture()), before) > 1e-6, name
        parameter.copy_(kept)
        if name.endswith("qkv.bias"):  # softmax does not see the key's
            parameter[width : 2 * width] += 1
            assert relative(SpecializedDino(net)(picture()), before) < 1e-6
            assert relative(net.latent(picture()), before) < 1e-4
            parameter.copy_(kept)


def test_graph_equals_the_reference(model: ExportModel, tmp_path: Path) -> None:
    path = tmp_path / "network.onnx"
    write_graph(model.stages[0].module, GraphSpec(stride=8, size=(24, 24)), path)
    found = {node.op_type for node in onnx.load(path).graph.node}
    assert not found & {"Gather", "GatherElements", "GatherND", "TopK", "ScatterND", "Where", "Expand", "ConvTranspose"}
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    x = picture(count=1)
    assert relative(session.run(None, {"image": x.numpy()})[0], model.reference(x)["network"]) < RTOL


def test_model_says_what_the_bundle_needs(model: ExportModel, tmp_path: Path) -> None:
    assert (model.output.normalization, model.output.gamma) == ("mae", 0.7)
    assert model.prompt.mode == "reference"
    assert model.input.buckets == ((24, 24),)
    assert model.weights.state == "untrained"
    assert model.folded["scaling_factor"] == 0.18215
    assert model.before is not None
    assert model.after is not None
    assert model.before.parameters == model.weights.parameters
    assert model.after.flops < model.before.flops

    save_dino(random_dino(SMALL).net, tmp_path / "dino")
    read = open_dino(tmp_path / "dino")
    assert read.weights.state == "trained"
    assert "OpenRAIL++-M" in read.licence.weights
    assert "Apache-2.0 (DINO" in read.licence.weights
    assert any("medical" in limit for limit in read.licence.use_limits)
    assert str(tmp_path) not in read.weights.source


@torch.no_grad()
def test_the_light_vae_fits_the_same_latents(tmp_path: Path) -> None:
    """AutoencoderTiny makes 8 pixels of a latent, as the full VAE: patches of 16."""
    architecture = {**SMALL, "image_size": 32, "patch_size": 16, "vae": {**SMALL["vae"]}}
    architecture["vae"].update(
        block_out_channels=[8, 8, 16, 16],
        down_block_types=["DownEncoderBlock2D"] * 4,
        up_block_types=["UpDecoderBlock2D"] * 4,
    )
    save_dino(random_dino(architecture).net, tmp_path / "dino")
    light = {**TAESD, "encoder_block_out_channels": [8] * 4, "decoder_block_out_channels": [8] * 4}
    light |= {"num_encoder_blocks": [1, 1, 1, 1], "num_decoder_blocks": [1, 1, 1, 1]}
    vae: Any = random_vae(light)
    vae.save_pretrained(tmp_path / "light")
    assert open_dino(tmp_path / "dino", vae="full", sizes=[(32, 32)]).folded["scaling_factor"] == 0.18215
    model = open_dino(tmp_path / "dino", vae=tmp_path / "light")
    x = picture(side=32)
    expected = model.reference(x)
    assert relative(model.stages[1].module(expected["network"]), expected["decoder"]) < RTOL
    assert model.stages[1].in_scale == 8


def test_arguments_and_parts_that_do_not_fit(tmp_path: Path) -> None:
    with pytest.raises(ExportError, match="no published weights"):
        open_dino()
    with pytest.raises(ExportError, match="exclude each other"):
        open_dino(tmp_path, random_weights=True)
    with pytest.raises(ExportError, match="architecture is for random weights"):
        open_dino(tmp_path, architecture=SMALL)
    with pytest.raises(ExportError, match="24x24 only"):
        open_dino(random_weights=True, architecture=SMALL, sizes=[(48, 24)])
    with pytest.raises(LayoutError, match="unknown key 'heads'"):
        open_dino(random_weights=True, architecture={**SMALL, "heads": 2})
