"""The embedding of the empty prompt: computed by the checkpoint's own text encoder, or read from a file."""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from gen2seg.backbones.hub import read_config, read_tensors, tensor_files
from gen2seg.errors import LayoutError, MissingFileError, MissingTensorError

TEXT_FILE = "text_embedding"  # .safetensors
LENGTHS = (2, 77)  # the inference pipeline's, and the training code's (padded)


def folder_text(folder: Path, allow_pickle: bool = False) -> dict[int, Tensor]:
    """Embeddings (1, T, D) by T of a checkpoint folder: its text encoder's, else its `text_embedding.safetensors`.

    Raises:
        MissingFileError: the folder has neither.
        CheckpointError: what it has cannot be used.
    """
    if (folder / "text_encoder").is_dir() and (folder / "tokenizer").is_dir():
        return _encode_empty(folder, allow_pickle)
    if (folder / f"{TEXT_FILE}.safetensors").is_file():
        return read_text(folder / f"{TEXT_FILE}.safetensors")
    raise MissingFileError(
        f"{folder}: expected text_encoder/ and tokenizer/, or {TEXT_FILE}.safetensors with the embedding of the "
        "empty prompt"
    )


def read_text(path: str | Path) -> dict[int, Tensor]:
    """Embeddings (1, T, D) by T of a safetensors file that holds one or several, each (T, D) or (1, T, D).

    Raises:
        MissingFileError, LayoutError: it is not there, or holds something else.
    """
    path = Path(path)
    if path.suffix != ".safetensors":
        raise LayoutError(f"{path}: a saved text embedding is a .safetensors file")
    found: dict[int, Tensor] = {}
    for name, value in read_tensors(path.parent, path.stem).items():
        value = value[None] if value.dim() == 2 else value
        if value.dim() != 3 or value.shape[0] != 1 or not value.shape[1] or not value.is_floating_point():
            raise LayoutError(f"{path}: {name!r} must be (tokens, width), got {tuple(value.shape)} {value.dtype}")
        if not bool(torch.isfinite(value).all()):
            raise LayoutError(f"{path}: {name!r} holds NaN or infinity")
        found[value.shape[1]] = value.float()
    if not found:
        raise LayoutError(f"{path}: holds no tensor")
    return found


def _encode_empty(folder: Path, allow_pickle: bool) -> dict[int, Tensor]:
    from transformers import CLIPTextModel, CLIPTokenizer

    read_config(folder / "text_encoder")
    tensor_files(folder / "text_encoder", "model", allow_pickle)
    kind: Any = CLIPTextModel
    options = {"use_safetensors": None if allow_pickle else True, **_variant(folder / "text_encoder")}
    try:
        tokenizer: Any = CLIPTokenizer.from_pretrained(folder / "tokenizer", local_files_only=True)
        encoder, report = kind.from_pretrained(
            folder / "text_encoder",
            local_files_only=True,
            dtype=torch.float32,
            output_loading_info=True,
            **options,
        )
    except (OSError, TypeError, ValueError, RuntimeError) as error:
        raise LayoutError(f"{folder}: text_encoder or tokenizer cannot be read: {error}") from error
    missing = sorted(report["missing_keys"])
    if missing:
        raise MissingTensorError(f"{folder / 'text_encoder'}: the tensor {missing[0]!r} is missing")
    found = {}
    for tokens in LENGTHS:
        ids = tokenizer("", padding="max_length", max_length=tokens, truncation=True, return_tensors="pt").input_ids
        if ids.shape[1] != tokens:
            raise LayoutError(f"{folder / 'tokenizer'}: the empty prompt must have 2 tokens, got {ids.shape[1]}")
        with torch.no_grad():
            found[tokens] = encoder.eval()(ids)[0].float()
    return found


def _variant(folder: Path) -> dict[str, str]:
    """transformers' argument for a folder with float16 files only."""
    files = tensor_files(folder, "model", allow_pickle=True)
    return {"variant": "fp16"} if ".fp16" in files[0].name else {}
