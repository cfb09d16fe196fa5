"""Read `sd2` from a directory in the diffusers layout, or from the hub."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from diffusers.models.autoencoders.autoencoder_tiny import AutoencoderTiny
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from torch import Tensor

from gen2seg.backbones.hub import check_class, fill_module, read_config, read_tensors, resolve_folder, tensor_files
from gen2seg.backbones.record import RECORD_FILE, describe_source, read_state
from gen2seg.errors import LayoutError

from .parts import Sd2Parts, Vae, check_fit, vae_scaling
from .scheduler import build_scheduler, one_step, step_warnings
from .text import TEXT_FILE, folder_text, read_text

GEN2SEG_HUB_ID = "reachomk/gen2seg-sd"
BASE_HUB_ID = "stabilityai/stable-diffusion-2"
TAESD_HUB_ID = "madebyollin/taesd"

_STEM = "diffusion_pytorch_model"
_VAES: dict[str, type[Any]] = {"AutoencoderKL": AutoencoderKL, "AutoencoderTiny": AutoencoderTiny}
_OLD_ATTENTION = re.compile(r"(.*\.attentions\.\d+)\.(query|key|value|proj_attn)\.(weight|bias)")
_NEW_ATTENTION = {"query": "to_q", "key": "to_k", "value": "to_v", "proj_attn": "to_out.0"}


def load_sd2(
    source: str | Path = GEN2SEG_HUB_ID,
    *,
    base: str | Path | None = None,
    vae: str = "full",
    text_embedding: str | Path | None = None,
    scheduler: Mapping[str, Any] | None = None,
    allow_pickle: bool = False,
) -> Sd2Parts:
    """Read the parts of a checkpoint. Nothing is assumed that its files say.

    Args:
        source: a folder with unet/, vae/, scheduler/, and text_encoder/ + tokenizer/ (or text_embedding.safetensors);
            or a hub id. With a `base` it may lack any of them but the U-Net, which may then also lie in it directly.
        base: another such folder or hub id, which gives vae/, scheduler/ and text_encoder/ where `source` has none.
        vae: "full" for the checkpoint's own, "taesd" for the light one of the hub, or the folder of another
            (`AutoencoderKL` or `AutoencoderTiny`).
        text_embedding: a safetensors file with the empty prompt's embedding, in place of the text encoder.
        scheduler: changes of the scheduler's configuration (training sets the spacing by it); None takes it as it is.
        allow_pickle: read `.bin` files where there are no safetensors.
    Raises:
        CheckpointError: a file is missing, damaged or of another model; see `gen2seg.errors` for the kinds.
    """
    kinds = ["safetensors", "bin"] if allow_pickle else ["safetensors"]
    needed = {"scheduler": ["scheduler/scheduler_config.json"]}
    if vae == "full":
        needed["vae"] = ["vae/config.json", *(f"vae/*.{kind}*" for kind in kinds)]
    if text_embedding is None:
        needed["text_encoder"] = ["tokenizer/*", "text_encoder/config.json", f"{TEXT_FILE}.safetensors"]
        needed["text_encoder"] += [f"text_encoder/*.{kind}*" for kind in kinds]
    own = ["model_index.json", RECORD_FILE, "config.json", *(f"{_STEM}*.{kind}*" for kind in kinds)]
    own += ["unet/config.json", *(f"unet/*.{kind}*" for kind in kinds)]
    folder = resolve_folder(source, [*own, *(pattern for patterns in needed.values() for pattern in patterns)])
    unet_folder, homes = _unet_folder(folder), _homes(folder, base, needed)
    where = homes["scheduler"] / "scheduler" / "scheduler_config.json"
    settings = read_config(where.parent, where.name)
    steps = build_scheduler({**settings, **(scheduler or {})}, where)

    unet, files = _load_network(unet_folder, {"UNet2DConditionModel": UNet2DConditionModel}, allow_pickle)
    if vae == "full":
        coder, more = load_vae(homes["vae"] / "vae", allow_pickle=allow_pickle)
    else:
        coder, more = load_vae(TAESD_HUB_ID if vae == "taesd" else vae, allow_pickle=allow_pickle)
    text = read_text(text_embedding) if text_embedding else folder_text(homes["text_encoder"], allow_pickle)
    check_fit(unet, coder, text)
    state = read_state(folder)
    return Sd2Parts(
        unet=unet,
        vae=coder,
        scheduler=steps,
        text=text,
        state=state,
        description=describe_source(source, folder, state, "a diffusers checkpoint"),
        files=(*files, *more),
        folder=folder,
        warnings=step_warnings(one_step(steps)),
    )


def _homes(folder: Path, base: str | Path | None, needed: Mapping[str, list[str]]) -> dict[str, Path]:
    """Which of checkpoint and base gives each part; `needed`: part -> its files, as patterns.

    Raises:
        CheckpointError: see `resolve_folder`.
    """
    lacking = [part for part in needed if not (folder / part).is_dir()]
    if "text_encoder" in lacking and (folder / f"{TEXT_FILE}.safetensors").is_file():
        lacking.remove("text_encoder")
    homes = dict.fromkeys(needed, folder)
    if base is None or not lacking:
        return homes  # what is missing is told by whoever reads it
    other = resolve_folder(base, [pattern for part in lacking for pattern in needed[part]])
    return {**homes, **dict.fromkeys(lacking, other)}


def _unet_folder(folder: Path) -> Path:
    """unet/ of a checkpoint, or the checkpoint itself where it is nothing but a U-Net.

    Raises:
        LayoutError: neither.
    """
    if (folder / "unet").is_dir():
        return folder / "unet"
    if (folder / "config.json").is_file() and not (folder / "vae").is_dir():
        return folder
    names = sorted(path.name for path in folder.iterdir())
    raise LayoutError(
        f"{folder}: expected the diffusers layout (unet/, vae/, scheduler/, text_encoder/, tokenizer/; all but the "
        f"U-Net may come from a base), got {', '.join(names[:8]) or 'an empty folder'}"
    )


def load_vae(source: str | Path, *, allow_pickle: bool = False) -> tuple[Vae, list[Path]]:
    """Read a VAE from its own folder, from the vae/ of a checkpoint, or from the hub: (module, weight files).

    Raises:
        CheckpointError: as `load_sd2`.
    """
    kinds = ["safetensors", "bin"] if allow_pickle else ["safetensors"]
    inside = [f"*.{kind}*" for kind in kinds]
    folder = resolve_folder(source, ["config.json", *inside, "vae/config.json", *(f"vae/{name}" for name in inside)])
    if not (folder / "config.json").is_file() and (folder / "vae").is_dir():
        folder = folder / "vae"
    vae, files = _load_network(folder, _VAES, allow_pickle)
    vae_scaling(vae)
    return vae, files


def _load_network(folder: Path, kinds: Mapping[str, type[Any]], allow_pickle: bool) -> tuple[Any, list[Path]]:
    """A network of diffusers in its folder, float32, in eval mode; and its files."""
    config = read_config(folder)
    kind = kinds[check_class(config, folder / "config.json", tuple(kinds))]
    files = tensor_files(folder, _STEM, allow_pickle)
    tensors = _renamed(read_tensors(folder, _STEM, allow_pickle))
    try:
        with torch.device("meta"):
            module = kind.from_config(config)
    except (TypeError, ValueError, ZeroDivisionError) as error:
        raise LayoutError(f"{folder / 'config.json'}: cannot be built: {error}") from error
    return fill_module(module, tensors, files[0]).eval(), files


def _renamed(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Tensors under the attention names of today; older VAEs were saved with others."""
    renamed = {}
    for name, value in tensors.items():
        match = _OLD_ATTENTION.fullmatch(name)
        renamed[f"{match[1]}.{_NEW_ATTENTION[match[2]]}.{match[3]}" if match else name] = value
    return renamed
