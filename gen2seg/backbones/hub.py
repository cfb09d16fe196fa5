"""Checkpoints in the layouts of the hub: a folder, or a hub id; configurations and tensors of its parts.

Every way in which a checkpoint can be wrong has its own error (`gen2seg.errors`), all of them `CheckpointError`.
"""

import hashlib
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from gen2seg.errors import (
    HubError,
    LayoutError,
    MissingFileError,
    MissingTensorError,
    TensorShapeError,
    UnexpectedTensorError,
)

_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
_PICKLE_STEMS = {"model": "pytorch_model"}  # transformers' pickles have another stem than its safetensors
MAX_CONFIG_BYTES = 1 << 20


def resolve_folder(source: str | Path, files: Iterable[str]) -> Path:
    """The local folder of a checkpoint, fetched from the hub first where `source` is a hub id.

    Args:
        source: a folder, or a hub id "owner/name". A folder of that name wins.
        files: what is needed of it, as patterns ("unet/*.safetensors"); only these are fetched.
    Raises:
        MissingFileError: no such folder, and `source` is no hub id.
        HubError: the hub cannot be reached or has no such repository.
    """
    folder = Path(source).expanduser()
    if folder.is_dir():
        return folder
    files = list(files)
    text = str(source)
    if not _HUB_ID.fullmatch(text):
        raise MissingFileError(f"{text} is no folder, and no hub id (owner/name)")
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils import disable_progress_bars

    disable_progress_bars()
    try:
        return Path(snapshot_download(text, allow_patterns=files))
    except (OSError, HFValidationError) as error:
        raise HubError(
            f"{text} is no folder here, and it cannot be fetched from the hub ({_first_line(error)}); on a machine "
            f"with network fetch {', '.join(files)} of it, keep their folders, and pass the folder that holds them"
        ) from error


def read_config(folder: Path, name: str = "config.json") -> dict[str, Any]:
    """The JSON table `name` in a folder.

    Raises:
        MissingFileError: it is not there.
        LayoutError: it is no JSON table, or larger than 1 MiB.
    """
    path = folder / name
    try:
        if path.stat().st_size > MAX_CONFIG_BYTES:
            raise LayoutError(f"{path}: larger than {MAX_CONFIG_BYTES} bytes, which no configuration is")
        config = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise MissingFileError(f"{path} does not exist{_content(folder)}") from error
    except (OSError, ValueError) as error:
        if isinstance(error, LayoutError):
            raise
        raise LayoutError(f"{path}: cannot be read as JSON: {error}") from error
    if not isinstance(config, dict):
        raise LayoutError(f"{path}: expected a table, got {type(config).__name__}")
    return config


def check_class(config: Mapping[str, Any], where: str | Path, expected: Sequence[str], key: str = "_class_name") -> str:
    """The class that a configuration is of.

    Raises:
        LayoutError: another one than `expected`, or none.
    """
    found = config.get(key)
    if isinstance(found, list) and len(found) == 1:  # transformers: "architectures": [...]
        found = found[0]
    if found not in expected:
        raise LayoutError(f"{where}: {key} must be {' or '.join(expected)}, got {found!r}")
    return str(found)


def tensor_files(folder: Path, stem: str, allow_pickle: bool = False) -> list[Path]:
    """The files that hold the tensors of one network, full precision first, float16 variants after.

    Args:
        folder: where they are.
        stem: "diffusion_pytorch_model" for diffusers, "model" for transformers.
        allow_pickle: take `.bin` files where there is no safetensors.
    Raises:
        MissingFileError: none is there, one that the index names is not there, or only pickles are and they are
            not allowed.
        LayoutError: the index is no index.
    """
    found = _stored(folder, stem, "safetensors")
    if found:
        return found
    pickles = _stored(folder, _PICKLE_STEMS.get(stem, stem), "bin")
    if not pickles:
        raise MissingFileError(f"{folder / stem}.safetensors does not exist{_content(folder)}")
    if not allow_pickle:
        raise MissingFileError(
            f"{folder}: {', '.join(path.name for path in pickles)} is a pickle, which can run code when it is read; "
            f"convert it to {stem}.safetensors, or pass --allow-pickle (allow_pickle=True) if you trust it"
        )
    return pickles


def read_tensors(folder: Path, stem: str, allow_pickle: bool = False) -> dict[str, Tensor]:
    """All tensors of one network by name, on the CPU, in the number format they are stored in.

    Args: as `tensor_files`.
    Raises:
        MissingFileError: as `tensor_files`.
        LayoutError: a file is damaged, or two files hold the same tensor.
    """
    tensors: dict[str, Tensor] = {}
    for path in tensor_files(folder, stem, allow_pickle):
        part = _load(path)
        twice = sorted(tensors.keys() & part.keys())
        if twice:
            raise LayoutError(f"{path}: {twice[0]!r} is in another file of the network too")
        tensors.update(part)
    return tensors


def fill_module(
    module: nn.Module, tensors: Mapping[str, Tensor], where: str | Path, ignore: Sequence[str] = ()
) -> nn.Module:
    """Give `module` its weights, as float32; every tensor must match. The module may be on the meta device.

    Args:
        module: the network; its own tensors are replaced, not copied into.
        tensors: by name; float32 ones are taken as they are, without a copy.
        where: named in messages.
        ignore: tensors that may be there and are not needed (regular expressions that match a name's start).
    Returns: `module`.
    Raises:
        MissingTensorError, UnexpectedTensorError, TensorShapeError: name the tensor.
    """
    expected = module.state_dict()
    missing = [name for name in expected if name not in tensors]
    if missing:
        raise MissingTensorError(f"{where}: the tensor {missing[0]!r} is missing ({len(missing)} in all)")
    unknown = sorted(n for n in tensors if n not in expected and not any(re.match(rule, n) for rule in ignore))
    if unknown:
        raise UnexpectedTensorError(f"{where}: unexpected tensor {unknown[0]!r} ({len(unknown)} in all)")
    for name, value in expected.items():
        if tensors[name].shape != value.shape:
            raise TensorShapeError(f"{where}: {name!r} must be {tuple(value.shape)}, got {tuple(tensors[name].shape)}")
    state = {
        name: tensors[name].to(torch.float32) if tensors[name].is_floating_point() else tensors[name]
        for name in expected
    }
    module.load_state_dict(state, assign=True)
    return module


def files_digest(files: Iterable[Path]) -> str:
    """SHA-256, in hex, of the content of files one after the other."""
    digest = hashlib.sha256()
    for path in files:
        with path.open("rb") as file:
            while block := file.read(1 << 22):
                digest.update(block)
    return digest.hexdigest()


def _stored(folder: Path, stem: str, kind: str) -> list[Path]:
    for variant in ("", ".fp16"):
        whole = folder / f"{stem}{variant}.{kind}"
        if whole.is_file():
            return [whole]
        for index in (f"{stem}.{kind}.index{variant}.json", f"{stem}{variant}.{kind}.index.json"):
            if (folder / index).is_file():
                return _shards(folder, index)
    return []


def _shards(folder: Path, index: str) -> list[Path]:
    names = read_config(folder, index).get("weight_map")
    if not isinstance(names, dict) or not names:
        raise LayoutError(f"{folder / index}: expected a table 'weight_map' of tensor names and files")
    paths = []
    for name in sorted({str(file) for file in names.values()}):
        path = folder / name
        if Path(name).name != name:
            raise LayoutError(f"{folder / index}: {name!r} is not the name of a file beside it")
        if not path.is_file():
            raise MissingFileError(f"{path} does not exist, but {index} names it")
        paths.append(path)
    return paths


def _load(path: Path) -> dict[str, Tensor]:
    if path.suffix == ".safetensors":
        try:
            return load_file(path)
        except (OSError, SafetensorError) as error:
            raise LayoutError(f"{path}: cannot be read as safetensors: {error}") from error
    try:
        state = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except Exception as error:  # the unpickler raises whatever the file makes it raise
        raise LayoutError(f"{path}: cannot be read as a table of tensors: {_first_line(error)}") from error
    if not isinstance(state, dict) or not all(isinstance(value, Tensor) for value in state.values()):
        raise LayoutError(f"{path}: expected a table of tensors")
    return state


def _content(folder: Path) -> str:
    if not folder.is_dir():
        return f"; there is no folder {folder}"
    names = sorted(path.name for path in folder.iterdir())
    return f"; {folder} holds {', '.join(names[:8]) or 'nothing'}{', ...' if len(names) > 8 else ''}"


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
