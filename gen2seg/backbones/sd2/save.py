"""Write `sd2` in the diffusers layout, so that the original scripts and pipelines read it."""

import json
import shutil
from pathlib import Path

from safetensors.torch import save_file

from gen2seg.backbones.record import RECORD_FILE
from gen2seg_runtime.files import atomic_directory

from .parts import Sd2Parts
from .text import TEXT_FILE


def save_sd2(parts: Sd2Parts, folder: str | Path, *, state: str | None = None, overwrite: bool = False) -> None:
    """Write the parts as one checkpoint folder, which appears whole or not at all.

    unet/, vae/ and scheduler/ are written by diffusers; text_encoder/ and tokenizer/ are copied from the folder
    that the parts came from, where it has them; `text_embedding.safetensors` holds the embeddings in any case.

    Args:
        state: "trained" or "untrained"; None keeps the parts' own.
        overwrite: replace a folder that exists.
    Raises:
        OutputExistsError, OutputError: `folder` exists, or cannot be written.
    """
    with atomic_directory(folder, overwrite=overwrite) as root:
        parts.unet.save_pretrained(root / "unet")
        parts.vae.save_pretrained(root / "vae")
        parts.scheduler.save_pretrained(root / "scheduler")
        save_file(
            {f"tokens_{count}": value.contiguous() for count, value in parts.text.items()},
            root / f"{TEXT_FILE}.safetensors",
        )
        index: dict[str, object] = {"_class_name": "StableDiffusionPipeline", "_diffusers_version": "0.35.0"}
        for name, part in (("unet", parts.unet), ("vae", parts.vae), ("scheduler", parts.scheduler)):
            index[name] = ["diffusers", type(part).__name__]
        for name, kind in (("text_encoder", "CLIPTextModel"), ("tokenizer", "CLIPTokenizer")):
            copied = _copy(parts.folder, root, name)
            index[name] = ["transformers", kind] if copied else [None, None]
        for name in ("safety_checker", "feature_extractor", "image_encoder"):
            index[name] = [None, None]
        index["requires_safety_checker"] = False
        _write(root / "model_index.json", index)
        _write(root / RECORD_FILE, {"state": state or parts.state})


def _copy(source: Path | None, root: Path, name: str) -> bool:
    if source is None or not (source / name).is_dir():
        return False
    shutil.copytree(source / name, root / name)
    return True


def _write(path: Path, table: dict[str, object]) -> None:
    path.write_text(json.dumps(table, indent=2) + "\n", encoding="utf-8")
