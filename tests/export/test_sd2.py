"""`sd2` ready to export: its chain, its preprocessing, its costs and terms."""

import json

import numpy as np
import onnxruntime
import pytest
import torch
from diffusers.pipelines.marigold.marigold_image_processing import MarigoldImageProcessor

from gen2seg.backbones.sd2 import random_sd2, save_sd2
from gen2seg.backbones.sd2.architecture import SD2
from gen2seg.errors import CheckpointError
from gen2seg_export.errors import ExportError
from gen2seg_export.families.sd2 import input_spec, open_sd2
from gen2seg_export.onnx_graph import write_graph
from gen2seg_export.reference import reference_input
from gen2seg_export.sizes import settle_input
from gen2seg_export.stages import plan_stage
from gen2seg_runtime.manifest import InputSpec
from gen2seg_runtime.preprocess import network_input, plan_geometry
from gen2seg_runtime.strict_json import Reader

SMALL = {
    "unet": {
        "block_out_channels": [16, 32, 32, 32],
        "attention_head_dim": [1, 2, 2, 2],
        "cross_attention_dim": 24,
        "norm_num_groups": 8,
        "layers_per_block": 1,
    },
    "vae": {"block_out_channels": [8, 16, 16, 16], "norm_num_groups": 4, "layers_per_block": 1},
}


@pytest.fixture(scope="module")
def model():
    return open_sd2(random_weights=True, architecture=SMALL, sizes=[(72, 104), (64, 64)])


@torch.no_grad()
@pytest.mark.parametrize("size", [(72, 104), (64, 64)], ids=str)
def test_the_chain_is_the_reference(model, size):
    x = torch.rand(1, 3, *size, generator=torch.Generator().manual_seed(1)) * 2 - 1
    expected = model.reference(x)
    assert list(expected) == [stage.name for stage in model.stages] == ["encoder", "unet", "decoder"]
    for stage in model.stages:
        assert x.shape[1] == stage.in_channels
        x = stage.module(x)
        assert x.shape[1:] == (stage.out_channels, size[0] // stage.out_scale, size[1] // stage.out_scale)
        assert float((x - expected[stage.name]).norm() / expected[stage.name].norm()) < 2e-5


@torch.no_grad()
def test_one_graph_of_the_unet_takes_latents_of_any_size(tmp_path):
    """So that --dynamic pads pictures to multiples of 8, as the reference does."""
    model = open_sd2(random_weights=True, architecture=SMALL, sizes=())
    spec = settle_input(model.input, (), dynamic=True)
    assert spec.pad.multiple == 8
    plan = plan_stage(model.stages[1], False, False, spec, "fp32", ("onnx",))
    assert (plan.spec.stride, plan.spec.size) == (1, None)
    write_graph(model.stages[1].module, plan.spec, tmp_path / "unet.onnx")
    session = onnxruntime.InferenceSession(tmp_path / "unet.onnx")
    for size in ((1, 1), (7, 5), (8, 8), (9, 13), (33, 62)):
        x = torch.randn(1, 4, *size)
        got = session.run(None, {plan.spec.input_name: x.numpy()})[0]
        torch.testing.assert_close(torch.from_numpy(got), model.stages[1].module(x), rtol=1e-4, atol=1e-5)


@torch.no_grad()
def test_the_light_vae(tmp_path):
    model = open_sd2(random_weights=True, architecture=SMALL, vae="taesd", sizes=[(16, 24)])
    assert model.folded["vae"] == "AutoencoderTiny"
    x = torch.rand(1, 3, 16, 24)
    expected = model.reference(x)["decoder"]
    for stage in model.stages:
        x = stage.module(x)
    assert float((x - expected).norm() / expected.norm()) < 1e-5


def test_what_is_folded_and_what_it_saves(model):
    assert model.folded["timestep"] == 999
    assert model.folded["text_tokens"] == 2
    json.dumps(model.folded)
    assert model.after.parameters < model.before.parameters
    assert model.after.flops < 0.95 * model.before.flops
    assert model.before.bytes == 4 * model.before.parameters
    assert model.weights.parameters == model.before.parameters
    assert not model.warnings


def test_terms(tmp_path, model):
    assert model.weights.state == "untrained"
    assert model.licence.weights == "Apache-2.0"
    save_sd2(random_sd2(SD2.updated(SMALL)), tmp_path / "checkpoint", state="trained")
    loaded = open_sd2(tmp_path / "checkpoint", sizes=[(16, 16)])
    assert loaded.weights.state == "trained"
    assert str(tmp_path) not in loaded.weights.source
    assert len(loaded.weights.sha256 or "") == 64
    assert loaded.licence.weights == "CreativeML OpenRAIL++-M"
    assert any("medical" in limit for limit in loaded.licence.use_limits)


def test_an_unusual_step_is_told():
    model = open_sd2(
        random_weights=True,
        architecture={**SMALL, "scheduler": {"timestep_spacing": "leading", "prediction_type": "epsilon"}},
        sizes=[(16, 16)],
    )
    assert any("timestep 1 " in text for text in model.warnings)
    assert (model.folded["timestep"], model.folded["prediction_type"]) == (1, "epsilon")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"random_weights": True, "sizes": [(20, 16)]}, "multiples of 8"),
        ({"random_weights": True, "sizes": [(0, 16)]}, "multiples of 8"),
        ({"random_weights": True, "checkpoint": "somewhere"}, "excludes a checkpoint"),
        ({"random_weights": True, "text_embedding": "text.safetensors"}, "excludes"),
        ({"checkpoint": "somewhere", "architecture": {"unet": {}}}, "architecture is for random weights"),
    ],
)
def test_arguments_that_exclude_each_other(options, message):
    with pytest.raises(ExportError, match=message):
        open_sd2(**options)


def test_a_checkpoint_that_is_not_there(tmp_path):
    with pytest.raises(CheckpointError, match="no folder"):
        open_sd2(tmp_path / "nowhere")


# Heights and widths whose longer side is below, at and above 768, with and without a remainder in the shorter one.
@pytest.mark.parametrize("size", [(427, 640), (640, 428), (333, 500), (600, 1000), (768, 500), (900, 900)], ids=str)
@pytest.mark.parametrize("fixed", [True, False])
def test_pictures_come_in_as_the_librarys_processor_brings_them(size, fixed):
    picture = np.random.default_rng(1).integers(0, 256, (*size, 3), dtype=np.uint8)
    processor = MarigoldImageProcessor(vae_scale_factor=8)
    expected, padding, _ = processor.preprocess(picture, 768, "bilinear")
    padded = (expected.shape[-2], expected.shape[-1])
    spec = input_spec([padded] if fixed else [], 768)
    geometry = plan_geometry(size, spec)
    assert geometry.padded == padded
    assert geometry.content == (padded[0] - padding[0], padded[1] - padding[1])
    # The library weighs the pixels in float32, PIL and the exporter's plain way in float64: up to a hundredth of a
    # grey level on noise.
    np.testing.assert_allclose(network_input(picture, spec, geometry), expected.numpy(), atol=2e-4)
    found, content = reference_input(picture, spec)
    assert content == geometry.content
    torch.testing.assert_close(found, expected, atol=2e-4, rtol=0)


def test_rounding_down_is_part_of_the_manifest():
    spec = input_spec([(512, 768)], 768)
    assert spec.resize.rounding == "down"
    table = {
        "name": "image",
        "layout": "NCHW",
        "dtype": "float32",
        "color_order": "RGB",
        "scale": 255.0,
        "mean": [0.5] * 3,
        "std": [0.5] * 3,
        "resize": {"rule": "fit", "size": 768, "interpolation": "bilinear_antialias_float", "rounding": "down"},
        "pad": {"multiple": 8, "mode": "replicate"},
        "dynamic": False,
        "buckets": [[512, 768]],
    }
    assert InputSpec.read(Reader(table, "here", ValueError)).resize == spec.resize
    del table["resize"]["rounding"]
    assert InputSpec.read(Reader(table, "here", ValueError)).resize.rounding == "nearest"
