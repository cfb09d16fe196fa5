"""Checkpoints in the hub's layouts: what is found, and one error for each way they can be wrong."""

import json

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from gen2seg.backbones import hub
from gen2seg.errors import (
    CheckpointError,
    HubError,
    LayoutError,
    MissingFileError,
    MissingTensorError,
    TensorShapeError,
    UnexpectedTensorError,
)


@pytest.fixture
def tensors():
    return {"weight": torch.randn(3, 2), "bias": torch.randn(3)}


def test_a_folder_is_taken_as_it_is(tmp_path):
    assert hub.resolve_folder(tmp_path, ["x"]) == tmp_path


def test_a_hub_that_cannot_be_reached_says_what_to_fetch(monkeypatch):
    import huggingface_hub

    def offline(*_args, **_options):
        raise OSError("no network")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", offline)
    with pytest.raises(HubError, match=r"no network.*unet/config\.json, unet/\*\.safetensors"):
        hub.resolve_folder("owner/name", ["unet/config.json", "unet/*.safetensors"])


def test_only_the_files_asked_for_are_fetched(monkeypatch, tmp_path):
    import huggingface_hub

    asked = {}

    def fetch(name, allow_patterns):
        asked[name] = allow_patterns
        return str(tmp_path)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", fetch)
    assert hub.resolve_folder("owner/name", ["a", "b"]) == tmp_path
    assert asked == {"owner/name": ["a", "b"]}


@pytest.mark.parametrize("name", ["./owner/name", "/nowhere/at/all", "name", "a/b/c"])
def test_what_is_no_folder_and_no_hub_id_is_missing(name):
    with pytest.raises(MissingFileError, match="no folder"):
        hub.resolve_folder(name, [])


def test_errors_are_of_the_kinds_callers_expect():
    assert issubclass(MissingFileError, FileNotFoundError)
    assert issubclass(HubError, OSError)
    assert issubclass(MissingFileError, CheckpointError)
    assert issubclass(CheckpointError, ValueError)


@pytest.mark.parametrize(
    ("content", "error"),
    [(None, MissingFileError), ("{", LayoutError), ("[1]", LayoutError), (" " * (1 << 20) + "{}", LayoutError)],
    ids=["missing", "broken", "list", "huge"],
)
def test_configurations_that_cannot_be_read(tmp_path, content, error):
    if content is not None:
        (tmp_path / "config.json").write_text(content)
    with pytest.raises(error, match=r"config\.json"):
        hub.read_config(tmp_path)


@pytest.mark.parametrize("name", ["model.safetensors", "model.fp16.safetensors"])
def test_one_file(tmp_path, tensors, name):
    save_file(tensors, tmp_path / name)
    found = hub.read_tensors(tmp_path, "model")
    assert all(torch.equal(found[key], tensors[key]) for key in tensors)


def test_full_precision_is_preferred(tmp_path, tensors):
    save_file(tensors, tmp_path / "model.safetensors")
    save_file({key: value.half() for key, value in tensors.items()}, tmp_path / "model.fp16.safetensors")
    assert hub.read_tensors(tmp_path, "model")["weight"].dtype == torch.float32


@pytest.mark.parametrize("index", ["model.safetensors.index.json", "model.safetensors.index.fp16.json"])
def test_shards(tmp_path, tensors, index):
    names = {"weight": "model-00001-of-00002.safetensors", "bias": "model-00002-of-00002.safetensors"}
    for key, name in names.items():
        save_file({key: tensors[key]}, tmp_path / name)
    (tmp_path / index).write_text(json.dumps({"weight_map": names}))
    assert hub.read_tensors(tmp_path, "model").keys() == tensors.keys()

    (tmp_path / names["bias"]).unlink()
    with pytest.raises(MissingFileError, match="00002-of-00002"):
        hub.read_tensors(tmp_path, "model")


@pytest.mark.parametrize("table", [{}, {"weight_map": {}}, {"weight_map": {"weight": "../model.safetensors"}}])
def test_an_index_that_is_none(tmp_path, table):
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps(table))
    with pytest.raises(LayoutError, match="index"):
        hub.read_tensors(tmp_path, "model")


@pytest.mark.parametrize(("stem", "file"), [("model", "pytorch_model.bin"), ("net", "net.bin")])
def test_pickles_are_read_on_request_only(tmp_path, tensors, stem, file):
    torch.save(tensors, tmp_path / file)
    with pytest.raises(MissingFileError, match="allow-pickle"):
        hub.read_tensors(tmp_path, stem)
    assert torch.equal(hub.read_tensors(tmp_path, stem, allow_pickle=True)["bias"], tensors["bias"])


def test_a_pickle_of_something_else_is_refused(tmp_path):
    torch.save({"weight": print}, tmp_path / "net.bin")
    with pytest.raises(LayoutError, match=r"net\.bin"):
        hub.read_tensors(tmp_path, "net", allow_pickle=True)


def test_a_damaged_file_is_refused(tmp_path):
    (tmp_path / "model.safetensors").write_bytes(b"not a tensor file")
    with pytest.raises(LayoutError, match=r"model\.safetensors"):
        hub.read_tensors(tmp_path, "model")


def test_a_folder_without_weights_says_what_it_holds(tmp_path):
    (tmp_path / "readme.md").touch()
    with pytest.raises(MissingFileError, match=r"readme\.md"):
        hub.read_tensors(tmp_path, "model")


@pytest.mark.parametrize(
    ("change", "error"),
    [
        (lambda t: t.pop("bias"), MissingTensorError),
        (lambda t: t.update(extra=torch.zeros(1)), UnexpectedTensorError),
        (lambda t: t.update(weight=torch.zeros(2, 3)), TensorShapeError),
    ],
    ids=["missing", "unexpected", "shape"],
)
def test_tensors_must_match(tensors, change, error):
    change(tensors)
    with pytest.raises(error, match=r"file: .*(bias|extra|weight)"):
        hub.fill_module(nn.Linear(2, 3), tensors, "file")


def test_a_module_without_storage_is_filled_in_float32(tensors):
    with torch.device("meta"):
        module = nn.Linear(2, 3)
    tensors = {key: value.half() for key, value in tensors.items()}
    hub.fill_module(module, {**tensors, "old.weight": torch.zeros(1)}, "file", ignore=["old"])
    assert module.weight.dtype == torch.float32
    assert torch.equal(module.weight, tensors["weight"].float())
