"""A training checkpoint is judged by the runtime's rules around its own network."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from gen2seg.commands.evaluate import command
from gen2seg.errors import MissingExtraError
from gen2seg.evaluation.report import summarize
from gen2seg.evaluation.run import EvaluationConfig, evaluate
from gen2seg.evaluation.systems import NETWORKS, DeviceError, get_system, kind_of


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    torch = pytest.importorskip("torch")
    from gen2seg.backbones import get_backbone
    from gen2seg.training.checkpoint import save_weights

    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("run") / "weights"
    save_weights(get_backbone("tiny").build({}), folder, {"backbone": "tiny", "architecture": {}})
    return folder


def test_colors_are_those_of_the_network(checkpoint, data_folder):
    import torch

    from gen2seg.training.checkpoint import load_weights

    image = np.asarray(Image.open(data_folder / "disks/images/disks0.png"))
    image = np.pad(image, ((0, 288), (0, 336), (0, 0)), mode="edge")  # 384 x 448: no resize, no padding
    spec = get_system(str(checkpoint))
    assert spec.name == "weights"
    system = spec.open()
    encoding = system.prepare(image)
    module, _ = load_weights(checkpoint)
    with torch.inference_mode():
        x = torch.from_numpy(image.astype(np.float32).transpose(2, 0, 1)[None] / 127.5 - 1)
        expected = module(x)[0].numpy().transpose(1, 2, 0)
    # The colours are cut to whole numbers, and the two ways to normalise differ in the last bit.
    assert np.abs(encoding.colors - np.floor(expected)).max() <= 1
    assert system.mask(encoding, [(20, 24)], None)[24, 20]
    assert system.describe()["kind"] == "checkpoint"


def test_a_checkpoint_is_evaluated_like_a_bundle(checkpoint, data_folder):
    config = EvaluationConfig(data_folder, ("outlines",), limit=1)
    report = summarize(evaluate(config, [get_system("net", {"net": checkpoint}, sweep=True)]))
    outlines = report.sets["outlines"]
    assert list(outlines.scores) == ["net", "net-best"]
    assert 0 <= outlines.scores["net"].miou <= outlines.scores["net-best"].miou <= 1
    assert list(outlines.edges) == ["net", "sobel"]


def test_without_torch_the_extra_is_named(checkpoint, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(MissingExtraError, match=r"gen2seg\[train\]"):
        get_system(str(checkpoint)).open()


VAE = {"block_out_channels": [8, 16, 16, 16], "layers_per_block": 1, "norm_num_groups": 4}
UNET = {
    "block_out_channels": [16, 32, 32, 32],
    "attention_head_dim": [1, 2, 2, 2],
    "cross_attention_dim": 24,
    "norm_num_groups": 8,
    "layers_per_block": 1,
}
MAE = {
    "hidden_size": 32,
    "num_hidden_layers": 1,
    "num_attention_heads": 4,
    "intermediate_size": 48,
    "image_size": 28,
    "decoder_num_attention_heads": 2,
    "decoder_hidden_size": 24,
    "decoder_num_hidden_layers": 1,
    "decoder_intermediate_size": 40,
}
VIT = {"image_size": 24, "patch_size": 8, "embed_dim": 32, "depth": 1, "num_heads": 4}


@pytest.fixture(scope="module")
def hub(tmp_path_factory) -> dict[str, Path]:
    """Small networks with random weights in the hub's layouts, by name."""
    pytest.importorskip("diffusers")
    from gen2seg.backbones.dino import random_dino, save_dino
    from gen2seg.backbones.mae import mae_config, random_mae, save_mae
    from gen2seg.backbones.sd2 import SD2, random_sd2, save_sd2

    root = tmp_path_factory.mktemp("hub")
    save_sd2(random_sd2(SD2.updated({"unet": UNET, "vae": VAE})), root / "sd2")
    for name, patch in (("mae-b", 7), ("mae-h", 14)):
        save_mae(random_mae(mae_config(name, {**MAE, "patch_size": patch})).net, root / name, state="untrained")
    levels = {"block_out_channels": [8, 16, 16], "down_block_types": ["DownEncoderBlock2D"] * 3}
    vae = {**VAE, **levels, "up_block_types": ["UpDecoderBlock2D"] * 3}
    save_dino(random_dino({**VIT, "vae": vae}).net, root / "dino-b", state="untrained")
    return {name: root / name for name in NETWORKS}


def test_networks_in_the_hubs_layout_are_judged_by_name(hub, data_folder, tmp_path):
    wanted = ",".join(f"{name}={path}" for name, path in hub.items())
    options = ["--sets", "outlines", "--limit", "1", "--clicks", "2", "--distort", "none", "--gallery", "1"]
    result = CliRunner().invoke(
        command, ["--data", str(data_folder), "--system", wanted, *options, "-o", str(tmp_path / "out")]
    )
    assert result.exit_code == 0, (result.output, result.exception)
    document = json.loads((tmp_path / "out/evaluation.json").read_text())
    outlines = document["sets"]["outlines"]
    for name in NETWORKS:
        about = document["systems"][name]
        assert (about["kind"], about["backbone"], about["weights"]) == ("checkpoint", name, "untrained")
        assert len(about["digest"]) == 64
        assert about["prompt"]["mode"] == "reference"
        assert 0 <= outlines["scores"][name]["miou"] <= 1
    assert list(outlines["edges"])[:-1] == list(outlines["automatic"]) == list(NETWORKS)
    assert (tmp_path / "out/worst-sd2.png").is_file()
    assert document["not_run"] == {}


def test_pictures_come_in_and_colours_go_out_as_in_the_exporters_bundles(hub):
    from gen2seg.backbones.mae import load_mae
    from gen2seg.evaluation.checkpoints import open_checkpoint
    from gen2seg_export.families import dino, mae, sd2

    exported = {
        "sd2": sd2.open_sd2(hub["sd2"], sizes=()),
        "mae-b": mae.open_mae("mae-b", hub["mae-b"]),
        "mae-h": mae.open_mae("mae-h", hub["mae-h"]),
        "dino-b": dino.open_dino(hub["dino-b"]),
    }
    for name, model in exported.items():
        ours = open_checkpoint(hub[name])
        found = (ours.input, ours.output, ours.prompt, ours.instances, ours.digest, ours.state)
        weights = model.weights
        assert found == (model.input, model.output, model.prompt, model.instances, weights.sha256, weights.state), name
    import torch

    image = np.random.default_rng(0).integers(0, 256, (28, 28, 3)).astype(np.uint8)
    encoding = get_system(str(hub["mae-b"])).open().prepare(image)
    source = load_mae(hub["mae-b"])
    mean, std = np.array(source.image.mean), np.array(source.image.std)
    x = torch.from_numpy(((image / 255 - mean) / std).astype(np.float32).transpose(2, 0, 1)[None])
    with torch.no_grad():
        p = source.net(x)[0].double().numpy()
    p = (p + abs(p.min())) / (abs(p.max()) + abs(p.min()) + 1e-5)
    expected = np.floor(255 * p**0.7).transpose(1, 2, 0)
    assert np.abs(encoding.colors - expected).max() <= 1
    assert encoding.colors.std() > 5


def test_weights_are_known_by_their_files(hub, checkpoint, color_bundle, tmp_path):
    assert [kind_of(hub[name]) for name in NETWORKS] == ["sd2", "mae", "mae", "dino"]
    assert [kind_of(path) for path in (checkpoint, color_bundle, tmp_path)] == ["own", "bundle", None]


def test_a_network_without_weights_says_how_they_are_had(tmp_path, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    missing = {name: get_system(name).missing for name in NETWORKS}
    assert "fetch reachomk/gen2seg-sd, then pass --bundle sd2=FOLDER" in missing["sd2"]
    assert "reachomk/gen2seg-mae-h" in missing["mae-h"]
    assert "`gen2seg train dino-b`" in missing["dino-b"]


@pytest.mark.parametrize("device", ["cuda:99", "gpu", "cuda:-1"])
def test_a_device_that_is_not_there_is_named(checkpoint, device):
    with pytest.raises(DeviceError, match=device):
        get_system(str(checkpoint), device=device).open()


def test_the_command_names_a_device_that_is_not_there(run_cli, data_folder, tmp_path):
    done = run_cli("evaluate", "--data", data_folder, "--system", "rgb", "--device", "cuda:99", "-o", tmp_path / "out")
    assert done.returncode == 2
    assert "device 'cuda:99' is not there: PyTorch" in done.stderr
    assert not (tmp_path / "out").exists()
