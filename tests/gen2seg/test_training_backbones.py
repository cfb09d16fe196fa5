"""Every backbone learns four pictures by heart at a small size, and is saved as its own scripts read it."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from gen2seg.config import ModelConfig, ObjectiveConfig, OptimizerConfig, TrainConfig, load_config
from gen2seg.data.batches import open_batches
from gen2seg.training.families import open_network
from gen2seg.training.network import Network
from gen2seg.training.run import train
from gen2seg_kernels import prompt_mask
from tests.gen2seg import data_trees as trees

SIZE = 64
VAE: dict[str, Any] = {
    "block_out_channels": [16, 16, 32, 32],
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
    "patch_size": 8,
    "decoder_hidden_size": 64,
    "decoder_num_hidden_layers": 2,
    "decoder_num_attention_heads": 2,
    "decoder_intermediate_size": 128,
}
DINO: dict[str, Any] = {"image_size": SIZE, "embed_dim": 48, "depth": 2, "num_heads": 2, "vae": VAE}
ARCHITECTURES: dict[str, dict[str, Any]] = {"sd2": {"unet": UNET, "vae": VAE}, "mae-b": MAE, "dino-b": DINO}
MODELS = {"sd2": ModelConfig(text_tokens=2)}


@pytest.fixture(scope="module", autouse=True)
def data(tmp_path_factory: pytest.TempPathFactory):
    root = tmp_path_factory.mktemp("data")
    trees.folder(root / "folder", size=(SIZE, SIZE))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GEN2SEG_CACHE", str(root / "cache"))
        yield root / "folder"


def small(backbone: str, data: Path, output: Path, steps: int, **more: Any) -> TrainConfig:
    source = f"{{kind='folder', root='{data}', size=[{SIZE}, {SIZE}], flip=0.0}}"
    mixed = load_config("tiny", [f"data.sources.mine={source}", "data.stages=[{from_step=0,size=256,batch=8}]"]).data
    settings: dict[str, Any] = {
        "backbone": backbone,
        "architecture": ARCHITECTURES[backbone],
        "mixed_precision": "no",
        "checkpoint_every": steps,
        "log_every": 5,
        "model": MODELS.get(backbone, ModelConfig()),
        "data": replace(mixed, workers=0, batch=4),
        "optimizer": OptimizerConfig(lr=2e-3, warmup_steps=5, ema_decay=0.0, decay_steps=steps // 3),
        "objective": ObjectiveConfig(contrastive=1.0),
    }
    return TrainConfig(steps=steps, output=str(output), **{**settings, **more})


def painted(network: Network, config: TrainConfig) -> list[tuple[np.ndarray, np.ndarray]]:
    """Colours and labels of the four pictures."""
    batch = open_batches(config.data, 1, 1, 0)[0]
    with torch.no_grad():
        colors = network.colors(network.module.eval()(network.prepare(batch.images)))
    shown = colors.clamp(0, 255).to(torch.uint8).permute(0, 2, 3, 1).contiguous()
    return list(zip(shown.numpy(), batch.labels.numpy(), strict=True))


def click_ious(network: Network, config: TrainConfig) -> list[float]:
    ious = []
    for colors, labels in painted(network, config):
        for number in range(1, labels.max() + 1):
            rows, columns = np.nonzero(labels == number)
            mask = prompt_mask(colors, [(columns.mean().round(), rows.mean().round())], mode="metric")
            ious.append(np.sum(mask & (labels == number)) / np.sum(mask | (labels == number)))
    return ious


STEPS = {"sd2": 250, "mae-b": 300, "dino-b": 300}


@pytest.mark.parametrize("backbone", ARCHITECTURES)
def test_four_pictures_are_learnt(backbone: str, data: Path, tmp_path: Path) -> None:
    config = small(backbone, data, tmp_path / "run", STEPS[backbone])
    weights = train(config)
    learnt = open_network(replace(config, architecture={}, init=str(weights)))
    ious = click_ious(learnt, config)
    print(backbone, np.round(sorted(ious), 2))
    assert np.mean(ious) > 0.9
