"""The training loop on a small network: it learns, resumes exactly and survives being killed."""

import csv
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState

from gen2seg.backbones import BackboneError, get_backbone
from gen2seg.backbones.tiny import TinyNet
from gen2seg.config import ConfigError, DataConfig, OptimizerConfig, StageConfig, TrainConfig, load_config
from gen2seg.data.batches import SceneBatches, open_batches
from gen2seg.errors import CheckpointError
from gen2seg.training import cli_entry
from gen2seg.training.checkpoint import load_weights, save_weights
from gen2seg.training.run import _begin, _steps, train
from gen2seg.training.schedule import lr_factor
from gen2seg.training.state import list_checkpoints

SMALL = {
    "full_channels": 4,
    "half_channels": 8,
    "channels": [8, 8, 16, 16],
    "heads": 2,
    "attention_layers": 1,
}


def small_config(output: Path, steps: int, **more) -> TrainConfig:
    """A few seconds of training on 64-pixel scenes."""
    settings = {
        "architecture": SMALL,
        "mixed_precision": "no",
        "checkpoint_every": 10,
        "log_every": 5,
        "data": DataConfig(stages=(StageConfig(0, 64, 4),), workers=0),
        "optimizer": OptimizerConfig(lr=3e-3, warmup_steps=5),
        **more,
    }
    return TrainConfig(steps=steps, output=str(output), **settings)


def read_log(run: Path) -> list[dict[str, str]]:
    with (run / "log.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def test_loss_falls(tmp_path: Path) -> None:
    weights = train(small_config(tmp_path / "run", 60))
    rows = read_log(tmp_path / "run")
    assert float(rows[-1]["loss"]) < 0.8 * float(rows[0]["loss"])
    module, config = load_weights(weights)
    assert config["backbone"] == "tiny"
    assert config["training"]["step"] == 60
    assert isinstance(module, TinyNet)
    colors = module(torch.zeros(1, 3, 64, 96))
    assert colors.shape == (1, 3, 64, 96)
    assert colors.min() >= 0
    assert colors.max() <= 255


def test_resume_is_exact(tmp_path: Path) -> None:
    straight = train(small_config(tmp_path / "straight", 20))
    broken = small_config(tmp_path / "broken", 10)
    train(broken)
    resumed = train(small_config(tmp_path / "broken", 20), resume=True)
    for name, value in load_weights(straight)[0].state_dict().items():
        assert torch.equal(value, load_weights(resumed)[0].state_dict()[name]), name
    assert [row["loss"] for row in read_log(tmp_path / "straight")] == [
        row["loss"] for row in read_log(tmp_path / "broken")
    ]


def test_resume_takes_the_optimizer_settings_of_the_config(tmp_path: Path) -> None:
    for decay in (0.02, 0.5):
        config = small_config(tmp_path / "run", 4, checkpoint_every=2, optimizer=OptimizerConfig(weight_decay=decay))
        state, _, _ = _begin(config, Accelerator(mixed_precision="no"))
        if decay == 0.02:
            state.save(tmp_path / "run", 1)
        else:
            state.restore(list_checkpoints(tmp_path / "run")[-1])
        assert [group["weight_decay"] for group in state.optimizer.param_groups] == [decay, 0.0]


def test_reading_batches_leaves_the_global_generator_alone(tmp_path: Path) -> None:
    before = torch.get_rng_state()
    next(_steps(small_config(tmp_path, 4), 0, Accelerator(mixed_precision="no")))
    assert torch.equal(torch.get_rng_state(), before)


def test_accumulation_equals_one_large_batch(tmp_path: Path) -> None:
    data = DataConfig(stages=(StageConfig(0, 64, 2),), workers=0)
    batches = SceneBatches(data, micro_batches=6, accumulate=3)
    whole = SceneBatches(DataConfig(stages=(StageConfig(0, 64, 6),)), micro_batches=2, accumulate=1)
    parts = torch.cat([batches[i][0] for i in range(3)])
    assert torch.equal(parts, whole[0][0])
    assert torch.equal(torch.cat([batches[i][1] for i in range(3, 6)]), whole[1][1])


def test_processes_deal_out_the_micro_batches_of_a_step() -> None:
    data = DataConfig(stages=(StageConfig(0, 64, 4), StageConfig(2, 96, 2)), first_seed=50)
    one = SceneBatches(data, 8, 2)
    two = [SceneBatches(data, 8, 2, rank, world=2) for rank in (0, 1)]
    for index in range(8):
        assert torch.equal(one[index].images, two[index % 2][index // 2].images)
    with pytest.raises(ConfigError, match="cannot be shared by 3"):
        open_batches(data, 4, 2, 0, 0, world=3)


def test_stages_in_turn_use_every_scene_once(tmp_path: Path) -> None:
    stages = (StageConfig(0, 64, 4), StageConfig(0, 96, 2))
    batches = SceneBatches(DataConfig(stages=stages, cycle=True, first_seed=7), 8, accumulate=2)
    assert [batches.stage_of(step).size for step in range(4)] == [64, 96, 64, 96]
    assert [batches.scenes_before(step) for step in range(5)] == [0, 8, 12, 20, 24]
    assert [len(batches[i][0]) for i in range(8)] == [4, 4, 2, 2] * 2
    once = SceneBatches(DataConfig(stages=(StageConfig(0, 64, 24),), first_seed=7), 1, 1)[0][0]
    assert torch.equal(batches[4][0], once[12:16])  # step 2: seeds 7 + 12 and on, at the first stage's size


def test_scenes_before_a_step_of_changing_stages() -> None:
    stages = (StageConfig(0, 64, 4), StageConfig(3, 96, 2))
    batches = SceneBatches(DataConfig(stages=stages), 8, 1)
    assert [batches.scenes_before(step) for step in range(6)] == [0, 4, 8, 12, 14, 16]


def test_a_run_is_not_overwritten(tmp_path: Path) -> None:
    config = small_config(tmp_path / "run", 10)
    train(config)
    with pytest.raises(ConfigError, match="--resume"):
        train(config)


def test_the_last_steps_are_logged_too(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    train(small_config(tmp_path / "run", 7, tensorboard=True))
    rows = read_log(tmp_path / "run")
    assert [row["step"] for row in rows] == ["5", "7"]
    assert {"loss", "push", "pull", "compact", "separate", "gradient_norm", "lr"} <= set(rows[0])
    (events,) = (tmp_path / "run" / "tensorboard").iterdir()
    assert b"gradient_norm" in events.read_bytes()


@pytest.fixture
def fresh_accelerator() -> Iterator[None]:
    """One process trains with one precision: forget that of the other tests, and then this one's."""
    AcceleratorState._reset_state(reset_partial_state=True)
    yield
    AcceleratorState._reset_state(reset_partial_state=True)


@pytest.mark.usefixtures("fresh_accelerator")
def test_float16_needs_a_gpu(tmp_path: Path) -> None:
    if torch.cuda.is_available():
        pytest.skip("there is a GPU")
    with pytest.raises(ConfigError, match="'fp16' cannot be had on cpu"):
        train(small_config(tmp_path / "run", 1, mixed_precision="fp16"))
    with pytest.raises(ConfigError, match="mixed_precision 'no' cannot be had here"):  # one precision a process
        train(small_config(tmp_path / "other", 1))


def test_checkpoints_of_float16_hold_the_gradient_scale(tmp_path: Path) -> None:
    for scale in (8.0, 2.0):
        state, _, _ = _begin(small_config(tmp_path, 4), Accelerator(mixed_precision="no"))
        state.scaler = torch.amp.GradScaler("cpu", init_scale=scale)
        if scale == 8.0:
            state.scaler.scale(torch.ones(()))  # it makes its scale when it is first used
            state.save(tmp_path, 1)
        else:
            state.restore(list_checkpoints(tmp_path)[-1])
            assert state.scaler.get_scale() == 8.0


def test_machines_that_do_not_share_the_output_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    from gen2seg.training import run

    monkeypatch.setattr(run, "gather_object", lambda mine: [*mine, 0])
    with pytest.raises(ConfigError, match=r"different steps \[0, 500\]; put output on a disk"):
        run._refuse_different_steps(Accelerator(mixed_precision="no"), 500, Path("runs/x"))


def test_only_the_newest_checkpoints_stay(tmp_path: Path) -> None:
    train(small_config(tmp_path / "run", 40, keep_checkpoints=2))
    assert [c.name for c in list_checkpoints(tmp_path / "run")] == ["step-00000030", "step-00000040"]


def test_damaged_checkpoint_is_named(tmp_path: Path) -> None:
    train(small_config(tmp_path / "run", 10))
    state = list_checkpoints(tmp_path / "run")[-1] / "state.pt"
    state.write_bytes(state.read_bytes()[:1000])
    with pytest.raises(CheckpointError, match=r"state\.pt"):
        train(small_config(tmp_path / "run", 20), resume=True)


TERMINATED = """
import sys
from gen2seg.training import cli_entry
cli_entry(sys.argv[1], [], False, False)
"""
KILLED_WHILE_SAVING = """
import os, signal, sys, torch
from gen2seg.training import cli_entry
whole = torch.save
def half(content, path):
    whole(content, path)
    if "step-00000015" in str(path):
        os.truncate(path, os.path.getsize(path) // 2)
        os.kill(os.getpid(), signal.SIGKILL)
torch.save = half
cli_entry(sys.argv[1], [], False, False)
"""


@pytest.mark.parametrize("code", [TERMINATED, KILLED_WHILE_SAVING], ids=["terminated", "killed while saving"])
def test_a_stopped_run_goes_on(tmp_path: Path, code: str) -> None:
    """SIGTERM leaves a checkpoint of the step in hand, SIGKILL the last whole one; both resume."""
    run = tmp_path / "run"
    config = tmp_path / "config.toml"
    architecture = ", ".join(f"{key} = {value}" for key, value in SMALL.items())
    config.write_text(
        f'steps = 100000\noutput = "{run}"\narchitecture = {{{architecture}}}\nmixed_precision = "no"\n'
        "checkpoint_every = 5\nlog_every = 5\n[data]\nworkers = 1\nstages = [{from_step = 0, size = 64, batch = 2}]\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code, str(config)],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
    deadline = time.monotonic() + 120
    while code == TERMINATED and len(list_checkpoints(run)) < 2 and process.poll() is None:
        assert time.monotonic() < deadline
        time.sleep(0.1)
    if code == TERMINATED:
        os.killpg(process.pid, signal.SIGTERM)  # as schedulers do: the readers get it too
    process.communicate(timeout=60)
    assert process.returncode == (-signal.SIGKILL if code == KILLED_WHILE_SAVING else 1)
    found = list_checkpoints(run)
    assert all((folder / "state.pt").is_file() for folder in found)
    reached = int(found[-1].name.split("-")[1])
    halves = list((run / "checkpoints").glob(".*"))
    if code == KILLED_WHILE_SAVING:
        assert (reached, len(halves)) == (10, 1)
    resumed = load_config(str(config), [f"steps={reached + 3}"])
    weights = train(resumed, resume=True)
    assert json.loads((weights / "config.json").read_text())["training"]["step"] == reached + 3
    assert not list((run / "checkpoints").glob(".*"))  # the half checkpoint is gone


def test_init_from_weights(tmp_path: Path) -> None:
    first = train(small_config(tmp_path / "first", 10))
    second = train(small_config(tmp_path / "second", 1, init=str(first), optimizer=OptimizerConfig(lr=1e-12)))
    a, b = load_weights(first)[0].state_dict(), load_weights(second)[0].state_dict()
    for name, value in a.items():
        torch.testing.assert_close(value, b[name], rtol=1e-5, atol=1e-6)


def test_checkpoint_errors(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"config\.json"):
        load_weights(tmp_path)
    module = get_backbone("tiny").build(SMALL)
    save_weights(module, tmp_path / "good", {"backbone": "tiny", "architecture": SMALL})
    save_weights(module, tmp_path / "good", {"backbone": "tiny", "architecture": SMALL})  # replaces
    save_weights(module, tmp_path / "wide", {"backbone": "tiny", "architecture": {**SMALL, "half_channels": 16}})
    with pytest.raises(CheckpointError, match="must be"):
        load_weights(tmp_path / "wide")
    save_weights(module, tmp_path / "deep", {"backbone": "tiny", "architecture": {**SMALL, "attention_layers": 2}})
    with pytest.raises(CheckpointError, match="is missing"):
        load_weights(tmp_path / "deep")
    (tmp_path / "good" / "model.safetensors").write_bytes(b"\x80\x04pickle")
    with pytest.raises(CheckpointError, match="safetensors"):
        load_weights(tmp_path / "good")
    with pytest.raises(BackboneError, match=r"unknown backbone 'huge'; known: .*tiny"):
        get_backbone("huge")
    with pytest.raises(BackboneError, match="cannot be built"):
        get_backbone("tiny").build({"heads": 7})


@pytest.mark.parametrize("schedule", ["exponential", "cosine"])
def test_learning_rate_of_the_paper(schedule: str) -> None:
    """Warm-up from 0 in 100 steps; 5 % at step 40,000 and after; exponential: equal ratios."""
    settings = OptimizerConfig(schedule=schedule, warmup_steps=100, decay_steps=40_000, final_lr_ratio=0.05)
    assert lr_factor(0, 30_000, settings) == 0
    assert lr_factor(50, 30_000, settings) == pytest.approx(0.5)
    assert lr_factor(100, 30_000, settings) == pytest.approx(1)
    assert lr_factor(40_000, 50_000, settings) == pytest.approx(0.05)
    assert lr_factor(45_000, 50_000, settings) == pytest.approx(0.05)
    half = lr_factor(100 + 39_900 // 2, 30_000, settings)
    assert half == pytest.approx(0.05**0.5 if schedule == "exponential" else 0.525)


def test_learning_rate_shape() -> None:
    settings = OptimizerConfig(warmup_steps=10, decay_steps=20, final_lr_ratio=0.1)
    assert lr_factor(0, 100, settings) == pytest.approx(0.1)
    assert lr_factor(9, 100, settings) == 1
    assert lr_factor(80, 100, settings) == 1
    assert lr_factor(90, 100, settings) == pytest.approx(0.55)
    assert lr_factor(100, 100, settings) == pytest.approx(0.1)
    assert lr_factor(50, 1000, settings) == lr_factor(50, 100, settings)


def test_dry_run_describes(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli_entry("tiny", ["steps=100"], resume=False, dry_run=True) == 0
    out = capsys.readouterr().out
    assert "3,533,795 trained parameters" in out
    assert "1,600 pictures" in out
