import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from gen2seg.errors import CheckpointError
from gen2seg_export.source import Source, load_source, random_source
from gen2seg_runtime.errors import Gen2SegError


def test_random_weights_are_repeatable_and_reach_every_tensor(source: Source, architecture: dict):
    again = random_source("tiny", architecture)
    assert again.sha256 == source.sha256
    assert random_source("tiny", architecture, seed=1).sha256 != source.sha256
    assert source.state == "untrained"
    assert not source.module.training
    assert source.parameters == sum(p.numel() for p in source.module.parameters())
    assert all(p.any() for p in source.module.parameters() if p.dim() > 1)


def test_random_weights_leave_the_callers_generator_alone(architecture: dict):
    torch.manual_seed(3)
    expected = torch.rand(4)
    torch.manual_seed(3)
    random_source("tiny", architecture)
    assert torch.equal(torch.rand(4), expected)


def test_a_checkpoint_comes_back_as_it_was_saved(checkpoint: Path, source: Source):
    loaded = load_source("tiny", checkpoint)
    assert loaded.state == "trained"
    assert "1,200 steps" in loaded.description
    assert loaded.metadata["bundle_defaults"]["size"] == 512
    assert str(checkpoint) not in loaded.description
    for name, tensor in source.module.state_dict().items():
        assert torch.equal(loaded.module.state_dict()[name], tensor)


def test_a_checkpoint_without_training_is_untrained(checkpoint: Path):
    _edit_config(checkpoint, lambda config: config.pop("training"))
    assert load_source("tiny", checkpoint).state == "untrained"


def _edit_config(folder: Path, change: Callable[[dict], object]) -> None:
    path = folder / "config.json"
    config = json.loads(path.read_text())
    change(config)
    path.write_text(json.dumps(config))


def _edit_weights(folder: Path, change: Callable[[dict[str, torch.Tensor]], object]) -> None:
    path = folder / "model.safetensors"
    state = load_file(path)
    change(state)
    save_file(state, path)


def _pickle_instead(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    torch.save({}, folder / "pytorch_model.bin")


def _truncate(path: Path, size: int) -> None:
    path.write_bytes(path.read_bytes()[:size])


FAULTS: dict[str, tuple[Callable[[Path], object], str]] = {
    "no config": (lambda f: (f / "config.json").unlink(), "config.json"),
    "config is no JSON": (lambda f: _truncate(f / "config.json", 20), "config.json"),
    "config is a list": (lambda f: (f / "config.json").write_text("[]"), "config.json"),
    "other backbone": (
        lambda f: _edit_config(f, lambda c: c.update(backbone="sd2")),
        "'sd2', expected 'tiny'",
    ),
    "architecture is a list": (
        lambda f: _edit_config(f, lambda c: c.update(architecture=[1])),
        "architecture must be a table",
    ),
    "unknown architecture key": (
        lambda f: _edit_config(f, lambda c: c["architecture"].update(depth=3)),
        "depth",
    ),
    "no weights": (lambda f: (f / "model.safetensors").unlink(), "model.safetensors does not exist"),
    "pickled weights": (_pickle_instead, "pytorch_model.bin.*pickled weights"),
    "truncated weights": (lambda f: _truncate(f / "model.safetensors", 5000), "model.safetensors"),
    "empty weights": (lambda f: _truncate(f / "model.safetensors", 0), "model.safetensors"),
    "missing key": (lambda f: _edit_weights(f, lambda s: s.pop("up8.weight")), "'up8.weight' is missing"),
    "wrong shape": (
        lambda f: _edit_weights(f, lambda s: s.update({"out.bias": torch.zeros(4)})),
        r"'out.bias' must be \(3,\), got \(4,\)",
    ),
    "unknown key": (lambda f: _edit_weights(f, lambda s: s.update(extra=torch.zeros(1))), "'extra'"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_each_fault_is_one_clear_error(fault: str, checkpoint: Path):
    plant, message = FAULTS[fault]
    plant(checkpoint)
    with pytest.raises(Gen2SegError, match=message) as caught:
        load_source("tiny", checkpoint)
    assert isinstance(caught.value, ValueError)


def test_a_missing_folder_is_named(tmp_path: Path):
    with pytest.raises(CheckpointError, match=r"nowhere is no folder"):
        load_source("tiny", tmp_path / "nowhere")
