"""Every backbone learns four pictures by heart at a small size, is saved, exported, verified and prompted."""

import csv
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL

from gen2seg.backbones.dino import DinoNet, dino_config, save_dino
from gen2seg.backbones.mae import MaeNet, mae_config, save_mae
from gen2seg.backbones.sd2 import SD2, random_sd2, random_vae, save_sd2
from gen2seg.cli import main
from gen2seg.config import ModelConfig, ObjectiveConfig, OptimizerConfig, TrainConfig, load_config
from gen2seg.data.batches import open_batches
from gen2seg.errors import CheckpointError
from gen2seg.toml_records import ConfigError
from gen2seg.training.families import open_network
from gen2seg.training.network import Network, stretched
from gen2seg.training.run import train
from gen2seg_kernels import prompt_mask
from gen2seg_runtime.segmenter import Segmenter
from tests.gen2seg import data_trees as trees

SIZE = 32
VAE: dict[str, Any] = {
    "block_out_channels": [16, 32],  # one halving: so small a VAE can keep sharp borders
    "down_block_types": ["DownEncoderBlock2D"] * 2,
    "up_block_types": ["UpDecoderBlock2D"] * 2,
    "layers_per_block": 1,
    "norm_num_groups": 4,
    "latent_channels": 4,
}
UNET: dict[str, Any] = {
    "attention_head_dim": [2, 4],
    "block_out_channels": [32, 64],
    "cross_attention_dim": 16,
    "down_block_types": ["CrossAttnDownBlock2D", "DownBlock2D"],
    "up_block_types": ["UpBlock2D", "CrossAttnUpBlock2D"],
    "layers_per_block": 1,
    "norm_num_groups": 8,
}
MAE: dict[str, Any] = {
    "hidden_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 128,
    "image_size": SIZE,
    "patch_size": 4,
    "decoder_hidden_size": 64,
    "decoder_num_hidden_layers": 2,
    "decoder_num_attention_heads": 2,
    "decoder_intermediate_size": 128,
}
BACKBONES = ("sd2", "mae-b", "dino-b")
# Through a VAE so small, stretching by the extremes learns slowly, and the colouring loss collapses.
PLAIN = ObjectiveConfig(contrastive=1.0, normalize=False)
LEARNING: dict[str, dict[str, Any]] = {
    "sd2": {"steps": 150, "objective": PLAIN, "optimizer": {"lr": 6e-3, "decay_steps": 120}},
    "mae-b": {
        "steps": 200,
        "objective": ObjectiveConfig(contrastive=1.0, coloring=0.02),
        "optimizer": {"lr": 3e-3, "decay_steps": 100},
    },
    "dino-b": {"steps": 150, "objective": PLAIN, "optimizer": {"lr": 6e-3, "decay_steps": 120}},
}
# The exporter takes only the three halvings that all of Stable Diffusion's VAEs have.
VAE_OF_EIGHTHS: dict[str, Any] = {
    **VAE,
    "block_out_channels": [8] * 4,
    "down_block_types": ["DownEncoderBlock2D"] * 4,
    "up_block_types": ["UpDecoderBlock2D"] * 4,
}
Learnt = Callable[[str], tuple[TrainConfig, Path]]


@pytest.fixture(scope="module", autouse=True)
def data(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    root = tmp_path_factory.mktemp("data")
    trees.folder(root / "folder", size=(SIZE, SIZE))
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # networks this small only wait for each other's threads
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GEN2SEG_CACHE", str(root / "cache"))
        yield root / "folder"
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def bases(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Folders to start from: random networks, but with a VAE that has learnt to repaint blocks."""
    root = tmp_path_factory.mktemp("bases")
    vae = _repainting_vae(200)
    save_sd2(replace(random_sd2(SD2.updated({"unet": UNET, "vae": VAE})), vae=vae), root / "sd2")
    architecture = dino_config({"image_size": SIZE, "patch_size": 4, "embed_dim": 48, "depth": 2, "num_heads": 2})
    torch.manual_seed(0)
    save_dino(DinoNet(architecture, vae), root / "dino-b")
    torch.manual_seed(0)
    save_mae(MaeNet(mae_config("mae-b", MAE)), root / "mae-b")
    return {name: str(root / name) for name in ("sd2", "dino-b", "mae-b")}


@pytest.fixture(scope="module")
def learnt(bases: dict[str, str], data: Path, tmp_path_factory: pytest.TempPathFactory) -> Learnt:
    """Backbone -> the config of a run on four pictures, and its weights; each is trained once."""

    @cache
    def run(backbone: str) -> tuple[TrainConfig, Path]:
        output = tmp_path_factory.mktemp(backbone) / "run"
        settings = LEARNING[backbone]
        optimizer = OptimizerConfig(warmup_steps=5, ema_decay=0.0, **settings["optimizer"])
        more = {"optimizer": optimizer, "objective": settings["objective"]}
        config = small(backbone, data, bases[backbone], output, settings["steps"], **more)
        return config, train(config)

    return run


def _repainting_vae(steps: int) -> AutoencoderKL:
    vae: Any = random_vae({**SD2.vae, **VAE}).train()
    optimizer = torch.optim.Adam(vae.parameters(), lr=4e-3)
    rng = np.random.default_rng(0)
    latent = torch.ones(1)
    for step in range(steps):
        pictures = [
            rng.uniform(-1, 1, (5, 3))[trees.blocks(int(rng.integers(1_000_000)), (SIZE, SIZE))[1]] for _ in range(4)
        ]
        x = torch.from_numpy(np.stack(pictures)).float().permute(0, 3, 1, 2)
        for group in optimizer.param_groups:
            group["lr"] = 4e-3 * min(1.0, 2 - 2 * step / steps)
        latent = vae.encode(x).latent_dist.mode()
        loss = (vae.decode(latent).sample - x).abs().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    vae.register_to_config(scaling_factor=1 / float(latent.detach().std()))
    return vae.eval()


def small(backbone: str, data: Path, init: str, output: Path, steps: int, **more: Any) -> TrainConfig:
    source = f"{{kind='folder', root='{data}', size=[{SIZE}, {SIZE}], flip=0.0}}"
    shipped = load_config("tiny", [f"data.sources.mine={source}", "data.stages=[{from_step=0,size=256,batch=8}]"])
    settings: dict[str, Any] = {
        "backbone": backbone,
        "init": init,
        "mixed_precision": "no",
        "checkpoint_every": steps,
        "log_every": 5,
        "model": ModelConfig(text_tokens=2) if backbone == "sd2" else ModelConfig(),
        "data": replace(shipped.data, workers=0, batch=4),
        "optimizer": OptimizerConfig(lr=3e-3, warmup_steps=5, ema_decay=0.0, decay_steps=steps // 2),
        "objective": ObjectiveConfig(contrastive=1.0),
    }
    return TrainConfig(steps=steps, output=str(output), **{**settings, **more})


def click_ious(network: Network, config: TrainConfig) -> list[float]:
    """IoU of a click at the centre of every instance of the four pictures."""
    batch = open_batches(config.data, 1, 1, 0)[0]
    with torch.no_grad():
        colors = network.colors(network.module.eval()(network.prepare(batch.images)))
    shown = colors.clamp(0, 255).to(torch.uint8).permute(0, 2, 3, 1).contiguous().numpy()
    ious = []
    for painted, labels in zip(shown, batch.labels.numpy(), strict=True):
        for number in range(1, labels.max() + 1):
            rows, columns = np.nonzero(labels == number)
            mask = prompt_mask(painted, [(columns.mean().round(), rows.mean().round())], mode="metric")
            ious.append(np.sum(mask & (labels == number)) / np.sum(mask | (labels == number)))
    return ious


@pytest.mark.parametrize("backbone", BACKBONES)
def test_four_pictures_are_learnt(backbone: str, learnt: Learnt) -> None:
    config, weights = learnt(backbone)
    with (weights.parent / "log.csv").open(newline="") as file:
        losses = [float(row["loss"]) for row in csv.DictReader(file)]
    assert np.mean(losses[-3:]) < 0.6 * losses[0]
    saved = open_network(replace(config, init=str(weights)))  # what was saved, not what is in memory
    assert np.mean(click_ious(saved, config)) > 0.9


def exported(backbone: str, weights: Path, output: Path, **more: Any) -> Segmenter:
    """The network as a bundle that was written, and verified by the command."""
    pytest.importorskip("onnx", reason="the export extra is not installed")
    from gen2seg_export import export_bundle
    from tests.export.conftest import skip_slow_parts

    with pytest.MonkeyPatch.context() as patch:
        skip_slow_parts(patch)
        export_bundle(output, backbone=backbone, checkpoint=weights, threads=1, max_images=2, **more)
    assert main(["verify", str(output), "--backend", "onnxruntime", "--threads", "1"]) == 0
    return Segmenter.open(output, backend="onnxruntime", threads=1)


def test_what_was_learnt_is_exported_verified_and_prompted(learnt: Learnt, tmp_path: Path) -> None:
    config, weights = learnt("mae-b")
    segmenter = exported("mae-b", weights, tmp_path / "bundle")
    assert segmenter.manifest.weights.state == "trained"
    batch = open_batches(config.data, 1, 1, 0)[0]
    ious = []
    for image, labels in zip(batch.images, batch.labels.numpy(), strict=True):
        encoding = segmenter.encode(image.permute(1, 2, 0).contiguous().numpy())
        for number in range(1, labels.max() + 1):
            rows, columns = np.nonzero(labels == number)
            mask = encoding.mask([(columns.mean().round(), rows.mean().round())], mode="metric")
            ious.append(np.sum(mask & (labels == number)) / np.sum(mask | (labels == number)))
    assert np.mean(ious) > 0.9


def test_sd2_is_trained_exported_verified_and_prompted(data: Path, tmp_path: Path) -> None:
    """A few steps from random weights: the bundle paints what the trained network paints, not what it started from."""
    save_sd2(random_sd2(SD2.updated({"unet": UNET, "vae": VAE_OF_EIGHTHS})), tmp_path / "base")
    model = ModelConfig(timestep=999, text_tokens=2, x0_sample="image")
    config = small("sd2", data, str(tmp_path / "base"), tmp_path / "run", 5, model=model)
    segmenter = exported("sd2", train(config), tmp_path / "bundle", sizes=[(SIZE, SIZE)])
    image = open_batches(config.data, 1, 1, 0)[0].images[:1]
    encoding = segmenter.encode(image[0].permute(1, 2, 0).contiguous().numpy())
    painted = {}
    for name, init in (("before", config.init), ("after", str(tmp_path / "run" / "weights"))):
        network = open_network(replace(config, init=init))
        with torch.no_grad():
            colors = network.colors(network.module.eval()(network.prepare(image)))[0]
        painted[name] = colors.clamp(0, 255).permute(1, 2, 0).numpy()
    difference = {name: np.abs(encoding.colors - colors).max() for name, colors in painted.items()}
    assert difference["after"] < 3 < difference["before"]
    mask = encoding.mask([(9, 9)])
    assert mask[9, 9]
    assert 0 < mask.sum() < SIZE * SIZE


def test_sd2_saves_its_timestep(bases: dict[str, str], data: Path, tmp_path: Path) -> None:
    for timestep in (999, 499, 1):
        model = ModelConfig(timestep=timestep, text_tokens=77, x0_sample="zero")
        config = small("sd2", data, bases["sd2"], tmp_path / str(timestep), 1, model=model)
        net: Any = open_network(config).module
        assert (net.timestep, net.x0_sample, net.text.shape[1]) == (timestep, "zero", 77)
        weights = train(config)
        saved: Any = open_network(replace(config, init=str(weights), model=ModelConfig(text_tokens=2))).module
        assert saved.timestep == timestep


@pytest.mark.parametrize(
    ("backbone", "model", "moves", "stays"),
    [
        ("sd2", ModelConfig(trained="decoder"), "unet.up_blocks", "unet.down_blocks"),
        ("sd2", ModelConfig(trained="head"), "unet.conv_out", "unet.up_blocks"),
        ("mae-b", ModelConfig(trained="decoder"), "model.decoder.decoder_layers", "model.vit"),
        ("mae-b", ModelConfig(trained="last", last_blocks=3), "model.vit.layers.1", "model.vit.layers.0"),
        ("dino-b", ModelConfig(trained="head"), "up", "backbone"),
    ],
    ids=lambda value: value if isinstance(value, str) else value.trained,
)
def test_only_the_named_part_is_trained(
    backbone: str, model: ModelConfig, moves: str, stays: str, bases: dict[str, str], data: Path, tmp_path: Path
) -> None:
    config = small(backbone, data, bases[backbone], tmp_path / "run", 2, model=model)
    before = open_network(config).module.state_dict()
    after = open_network(replace(config, init=str(train(config)))).module.state_dict()
    changed = {name for name, value in before.items() if not torch.equal(value, after[name])}
    assert any(name.startswith(moves) for name in changed)
    assert not any(name.startswith((stays, "vae")) for name in changed)


def test_resuming_partial_training_is_exact(bases: dict[str, str], data: Path, tmp_path: Path) -> None:
    model = ModelConfig(trained="decoder")
    runs = {
        name: small("mae-b", data, bases["mae-b"], tmp_path / name, steps, model=model, checkpoint_every=2)
        for name, steps in (("straight", 4), ("broken", 2))
    }
    slow = OptimizerConfig(lr=1e-3, warmup_steps=1, ema_decay=0.9)
    straight = train(replace(runs["straight"], optimizer=slow))
    train(replace(runs["broken"], optimizer=slow))
    resumed = train(replace(runs["broken"], optimizer=slow, steps=4), resume=True)
    first, second = (open_network(replace(runs["straight"], init=str(w))).module for w in (straight, resumed))
    for (name, a), b in zip(first.state_dict().items(), second.state_dict().values(), strict=True):
        assert torch.equal(a, b), name
    with pytest.raises(CheckpointError, match="other tensors than this run trains"):
        train(replace(runs["broken"], optimizer=slow, model=ModelConfig(), steps=6), resume=True)


@pytest.mark.parametrize("backbone", BACKBONES)
def test_gradient_checkpointing_changes_nothing(
    backbone: str, bases: dict[str, str], data: Path, tmp_path: Path
) -> None:
    grads = []
    for on in (False, True):
        config = small(backbone, data, bases[backbone], tmp_path, 1, model=ModelConfig(gradient_checkpointing=on))
        network = open_network(config)
        images = open_batches(config.data, 1, 1, 0)[0].images
        network.colors(network.module.train()(network.prepare(images))).square().mean().backward()
        grads.append([p.grad for p in network.module.parameters() if p.requires_grad])
    for a, b in zip(*grads, strict=True):
        assert a is not None  # several processes would wait for it forever
        assert b is not None
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-4 * float(a.abs().max() + 1e-6))


def test_colours_are_stretched_picture_by_picture() -> None:
    raw = torch.tensor([[-1.0, 0.0, 3.0], [2.0, 2.5, 4.0]]).view(2, 1, 1, 3).expand(2, 3, 1, 3)
    found = stretched(raw)
    assert found[0, 0, 0].tolist() == pytest.approx([0.0, 255 / 4, 255.0], rel=1e-4)
    assert found[1, 0, 0].tolist() == pytest.approx([255 * 4 / 6, 255 * 4.5 / 6, 255.0], rel=1e-4)
    assert torch.equal(found[:1], stretched(raw[:1]))


def test_keys_of_another_backbone_are_refused(bases: dict[str, str], data: Path, tmp_path: Path) -> None:
    for backbone, model, message in (
        ("mae-b", ModelConfig(timestep=999), "model.timestep is for backbone 'sd2'"),
        ("sd2", ModelConfig(vae="x"), "model.vae is for backbone 'dino-b'"),
        ("mae-b", ModelConfig(trained="last", last_blocks=9), "has 4 blocks"),
    ):
        with pytest.raises(ConfigError, match=message):
            open_network(small(backbone, data, bases[backbone], tmp_path, 1, model=model))
    with pytest.raises(ConfigError, match="one of init and architecture"):
        open_network(small("mae-b", data, bases["mae-b"], tmp_path, 1, architecture=MAE))
