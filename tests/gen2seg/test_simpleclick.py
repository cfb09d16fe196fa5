"""SimpleClick: trained through the one loop, resumed, and judged."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner

from gen2seg.commands.evaluate import command as evaluate_command
from gen2seg.commands.train import command as train_command
from gen2seg.config import (
    ConfigError,
    DataConfig,
    ObjectiveConfig,
    OptimizerConfig,
    SourceConfig,
    StageConfig,
    TrainConfig,
)
from gen2seg.evaluation.systems import get_system
from gen2seg.simpleclick.clicks import normalized_focal_loss
from gen2seg.simpleclick.files import load
from gen2seg.simpleclick.model import draw_clicks
from gen2seg.training.run import train
from gen2seg_runtime.formats.png import write_png

SMALL = {"width": 64, "depth": 2, "heads": 2, "patch": 8, "size": 64, "channels": 32}


def _config(output: Path, steps: int, **more) -> TrainConfig:
    settings = {
        "backbone": "simpleclick",
        "architecture": SMALL,
        "mixed_precision": "no",
        "checkpoint_every": 4,
        "log_every": 4,
        "data": DataConfig(stages=(StageConfig(0, 64, 2),), workers=0),
        "optimizer": OptimizerConfig(lr=1e-3, warmup_steps=2),
        **more,
    }
    return TrainConfig(steps=steps, output=str(output), **settings)


def test_resume_is_exact_and_weights_are_judged(tmp_path: Path) -> None:
    straight = load(train(_config(tmp_path / "straight", 8))).state_dict()
    train(_config(tmp_path / "broken", 4))
    weights = train(_config(tmp_path / "broken", 8), resume=True)
    for name, value in load(weights).state_dict().items():
        assert torch.equal(value, straight[name]), name
    system = get_system(str(weights)).open()
    state = system.prepare(np.zeros((37, 53, 3), np.uint8))
    mask = system.mask(state, [(3, 4), (30, 20)], None)
    assert mask.shape == (37, 53)
    assert mask.dtype == bool
    assert len(state.answers) == 2


def test_learns_one_picture_through_the_loop(tmp_path: Path) -> None:
    labels = np.zeros((64, 64), np.uint8)
    labels[8:32, 8:40], labels[40:60, 30:60] = 1, 2
    image = np.where(labels[..., None] == 1, [220, 60, 30], np.where(labels[..., None] == 2, [40, 80, 220], 90))
    image = image.astype(np.uint8)
    for part, pixels in (("images", image), ("instances", labels)):
        (tmp_path / "own" / part).mkdir(parents=True)
        write_png(tmp_path / "own" / part / "a.png", pixels)
    source = SourceConfig(kind="folder", root=str(tmp_path / "own"), size=(64, 64))
    data = DataConfig(sources={"own": source}, batch=2, workers=0)
    settings = OptimizerConfig(lr=2e-3, warmup_steps=5, ema_decay=0.0)
    weights = train(_config(tmp_path / "run", 120, data=data, optimizer=settings, checkpoint_every=120))
    system = get_system(str(weights)).open()
    state = system.prepare(image)
    for instance, point in ((1, (20, 18)), (2, (45, 50))):
        mask, truth = system.mask(state, [point], None), labels == instance
        assert (mask & truth).sum() / (mask | truth).sum() > 0.9


def test_clicks_are_discs() -> None:
    discs = draw_clicks([(10, 20), (30, 5)], [1, 0], (41, 53))
    assert discs.shape == (2, 41, 53)
    assert discs[0, 20, 10] == discs[0, 20, 15] == discs[1, 5, 30] == 1
    assert discs[0, 20, 16] == discs[1, 20, 10] == 0


def test_focal_loss_against_its_formula() -> None:
    logits, targets = torch.tensor([[[0.5, -1.0]]]), torch.tensor([[[True, True]]])
    p = torch.sigmoid(logits)[0, 0]
    expected = ((1 - p) ** 2 * -p.log()).sum() / ((1 - p) ** 2).sum()
    assert normalized_focal_loss(logits, targets, torch.ones_like(targets)).item() == pytest.approx(
        expected.item(), 1e-4
    )
    nothing = normalized_focal_loss(logits, targets, torch.zeros_like(targets))
    assert nothing.item() == 0


def test_an_objective_of_colours_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="loss of its own"):
        train(_config(tmp_path, 1, objective=ObjectiveConfig(coloring=1.0)))


def test_trained_and_judged_by_the_commands(tmp_path: Path, data_folder: Path) -> None:
    """The shipped configuration at a small size, a few steps, and its weights beside a rival."""
    own = tmp_path / "small.toml"
    own.write_text(
        f"""extends = "simpleclick"
steps = 3
output = "{tmp_path / "runs/simpleclick"}"
checkpoint_every = 3
log_every = 1
tensorboard = false
architecture = {{ width = 64, depth = 1, heads = 2, patch = 8, size = 64, channels = 16 }}

[data]
workers = 0

[data.sources.disks]
kind = "folder"
root = "{data_folder / "disks"}"
size = [64, 64]

[optimizer]
accumulate = 1
"""
    )
    done = CliRunner().invoke(train_command, [str(own)])
    assert done.exit_code == 0, (done.output, done.exception)
    weights = tmp_path / "runs/simpleclick/weights"
    options = ["--data", str(data_folder), "--sets", "disks", "--clicks", "3", "--next-click", "error"]
    by_path = ["--system", f"simpleclick={weights},floodfill", "--distort", "none"]
    by_table = ["--table", "1", "--runs", str(tmp_path / "runs"), "--system", "simpleclick,floodfill"]
    documents = []
    for number, systems in enumerate((by_path, by_table)):
        out = tmp_path / f"out{number}"
        done = CliRunner().invoke(evaluate_command, [*options, *systems, "-o", str(out)])
        assert done.exit_code == 0, (done.output, done.exception)
        documents.append(json.loads((out / "evaluation.json").read_text()))
        assert (out / "worst-simpleclick.png").is_file()
        assert "| set | images | instances | simpleclick | floodfill |" in (out / "evaluation.md").read_text()
    scores = [document["sets"]["disks"]["scores"]["simpleclick"] for document in documents]
    assert len(scores[0]["clicks"]) == 3
    assert scores[0] == scores[1]
    assert documents[0]["systems"]["simpleclick"]["kind"] == "simpleclick"
