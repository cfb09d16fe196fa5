"""All the way: trained on own masks, exported, verified without PyTorch's help, prompted."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from gen2seg.config import load_config
from gen2seg.training.run import train
from gen2seg_export import export_bundle
from gen2seg_runtime import Segmenter
from gen2seg_runtime.bundle import Bundle
from gen2seg_runtime.verify import verify_goldens
from tests.gen2seg import data_trees as trees

from .conftest import skip_slow_parts

SIDE = 64
SD2: dict[str, Any] = {
    "unet": {
        "attention_head_dim": [2, 4],
        "block_out_channels": [16, 32],
        "cross_attention_dim": 16,
        "down_block_types": ["CrossAttnDownBlock2D", "DownBlock2D"],
        "up_block_types": ["UpBlock2D", "CrossAttnUpBlock2D"],
        "layers_per_block": 1,
        "norm_num_groups": 8,
    },
    "vae": {"block_out_channels": [8, 8, 16, 16], "layers_per_block": 1, "norm_num_groups": 4},
}
MAE: dict[str, Any] = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 64,
    "image_size": SIDE,
    "patch_size": 8,
    "decoder_hidden_size": 32,
    "decoder_num_hidden_layers": 1,
    "decoder_num_attention_heads": 2,
    "decoder_intermediate_size": 64,
}


@pytest.mark.parametrize(("backbone", "architecture"), [("sd2", SD2), ("mae-b", MAE)], ids=["sd2", "mae-b"])
def test_from_own_masks_to_a_mask(
    backbone: str, architecture: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GEN2SEG_CACHE", str(tmp_path / "cache"))
    skip_slow_parts(monkeypatch)
    root = trees.folder(tmp_path / "data", size=(SIDE, SIDE))
    path = tmp_path / "own.toml"
    path.write_text(
        f'extends = "{backbone}"\nsteps = 3\noutput = "{tmp_path / "run"}"\ncheckpoint_every = 3\ntensorboard = false\n'
        f'[data]\nworkers = 0\n[data.sources.mine]\nkind = "folder"\nroot = "{root}"\nsize = [{SIDE}, {SIDE}]\n'
        "[optimizer]\naccumulate = 1\n"
    )
    config = load_config(str(path))
    fresh: dict[str, Any] = {"init": None, "architecture": architecture}
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # networks this small only wait for each other's threads
    try:
        weights = train(type(config)(**{**vars(config), **fresh}))
        sizes = [(SIDE, SIDE)] if backbone == "sd2" else []
        report = export_bundle(
            tmp_path / "bundle", backbone=backbone, checkpoint=weights, sizes=sizes, max_images=1, threads=1
        )
    finally:
        torch.set_num_threads(threads)
    assert report.parity.passed
    assert report.manifest.weights.state == "trained"

    assert verify_goldens(Bundle.open(tmp_path / "bundle"), ["onnxruntime"], threads=1).passed
    segmenter = Segmenter.open(tmp_path / "bundle")
    picture = np.asarray(Image.open(next((root / "images").iterdir())))
    mask = segmenter.encode(picture).mask([(SIDE // 4, SIDE // 4)])
    assert mask.shape == (SIDE, SIDE)
    assert mask[SIDE // 4, SIDE // 4]
