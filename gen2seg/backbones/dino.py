"""`dino-b`: DINO ViT-B/16, one up-convolution to a latent, and the decoder of Stable Diffusion's VAE.

    picture 224x224 -> patches 14x14x768 -> ConvTranspose2d(768, 4, 2, 2) -> latent 28x28x4 -> VAE decoder -> 224x224

This is our reading of the paper's "single up-convolution" (gen2seg, arXiv 2505.15263): the final norm of the ViT
stays, the class token is left out, and the latent is divided by the VAE's scaling factor before it is decoded, as
Stable Diffusion does with its own.

A checkpoint is a folder:

    config.json               {"model_type": "gen2seg-dino", ...}: the fields of DinoConfig
    model.safetensors         backbone.* in timm's names; up.weight (width, latents, 2, 2), up.bias (latents)
    preprocessor_config.json  how pictures come in, in transformers' ViT layout
    gen2seg.json              {"state": "trained"} or "untrained"
    vae/                      an AutoencoderKL (or AutoencoderTiny) in diffusers' layout
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn

from gen2seg.backbones.hub import files_digest, fill_module, read_config, read_tensors, resolve_folder, tensor_files
from gen2seg.backbones.randomize import randomize_constants, tensors_digest
from gen2seg.backbones.record import RECORD_FILE, SEED, describe_random, describe_source, read_state
from gen2seg.backbones.sd2 import SD2, Vae, load_vae, random_vae
from gen2seg.backbones.sd2.parts import vae_scaling
from gen2seg.backbones.vit_files import CONFIG_FILE, STEM, VitCheckpoint, wanted_files, write_json
from gen2seg.backbones.vit_images import PROCESSOR_FILE, ImageRule, read_image_rule
from gen2seg.errors import LayoutError
from gen2seg_runtime.files import atomic_directory

BASE_HUB_ID = "timm/vit_base_patch16_224.dino"
MODEL_TYPE = "gen2seg-dino"
UP = 2  # latent cells per patch and side


@dataclass(frozen=True)
class DinoConfig:
    """Shape of the ViT; the defaults are DINO ViT-B/16.

    Raises:
        LayoutError: a value of the wrong type or out of range.
    """

    image_size: int = 224  # pixels
    patch_size: int = 16
    embed_dim: int = 768
    depth: int = 12
    num_heads: int = 12
    mlp_ratio: float = 4.0

    def __post_init__(self) -> None:
        for item in fields(self):
            value = getattr(self, item.name)
            if isinstance(value, bool) or not isinstance(value, int | float if item.type is float else int):
                raise LayoutError(f"{item.name} must be {getattr(item.type, '__name__', item.type)}, got {value!r}")
            if value <= 0:
                raise LayoutError(f"{item.name} must be positive, got {value}")
        if self.image_size % self.patch_size:
            raise LayoutError(f"image_size must be a multiple of patch_size {self.patch_size}, got {self.image_size}")
        if self.embed_dim % self.num_heads:
            raise LayoutError(f"embed_dim must be a multiple of its {self.num_heads} heads, got {self.embed_dim}")

    @property
    def grid(self) -> int:
        """Patches along a side."""
        return self.image_size // self.patch_size


class DinoNet(nn.Module):
    """ViT and up-convolution, both trainable, and a frozen VAE decoder.

    Input: (B, 3, S, S) float, normalised RGB, S = `config.image_size`.
    Output: (B, 3, S, S), unbounded; normalisation "mae" makes colours of it.
    """

    def __init__(self, config: DinoConfig, vae: Vae) -> None:
        super().__init__()
        _check_vae(vae, config)
        self.config = config
        self.factor, self.shift = vae_scaling(vae)
        self.backbone = make_vit(config)
        self.up = nn.ConvTranspose2d(config.embed_dim, vae.config["latent_channels"], UP, UP)
        self.vae = vae.requires_grad_(False)

    def latent(self, images: Tensor) -> Tensor:
        """(B, 3, S, S) -> scaled latent (B, latents, 2 grid, 2 grid)."""
        grid = self.config.grid
        patches = self.backbone.forward_features(images)[:, 1:]
        return self.up(patches.transpose(1, 2).unflatten(2, (grid, grid)))

    def decode(self, latent: Tensor) -> Tensor:
        """Scaled latent -> raw colours (B, 3, S, S)."""
        vae: Any = self.vae
        return vae.decode(latent / self.factor + self.shift).sample

    def forward(self, images: Tensor) -> Tensor:
        return self.decode(self.latent(images))

    def train(self, mode: bool = True) -> "DinoNet":
        super().train(mode)
        self.vae.eval()
        return self


def make_vit(config: DinoConfig) -> VisionTransformer:
    """timm's ViT of that shape, without a head."""
    return VisionTransformer(
        img_size=config.image_size,
        patch_size=config.patch_size,
        embed_dim=config.embed_dim,
        depth=config.depth,
        num_heads=config.num_heads,
        mlp_ratio=config.mlp_ratio,
        num_classes=0,
        global_pool="token",
    )


def dino_config(overrides: Mapping[str, Any] | None = None) -> DinoConfig:
    """ViT-B/16 with some fields replaced.

    Raises:
        LayoutError: an unknown key or a wrong value.
    """
    known = [item.name for item in fields(DinoConfig)]
    for key in overrides or {}:
        if key not in known:
            raise LayoutError(f"unknown key {key!r}; known: {', '.join(sorted(known))}")
    return DinoConfig(**(overrides or {}))


def build_dino(architecture: Mapping[str, Any], seed: int = SEED, vae: Vae | None = None) -> DinoNet:
    """All of it with seeded random weights; the global random state is left as it was.

    Args:
        architecture: fields of `DinoConfig` to change; under "vae" those of Stable Diffusion 2's VAE.
        seed: of all random weights.
        vae: to take instead of a random one; `architecture` then holds no "vae".
    Raises:
        LayoutError: an unknown key, or parts that do not fit.
    """
    changes = dict(architecture)
    if vae is None:
        vae = random_vae({**SD2.vae, **changes.pop("vae", {})}, seed)
    return _seeded(dino_config(changes), vae, seed)


def random_dino(
    architecture: Mapping[str, Any] | None = None, seed: int = SEED, vae: Vae | None = None
) -> VitCheckpoint[DinoNet]:
    """As `build_dino`, with no tensor of the ViT left constant, so that export's checks see every branch."""
    net = build_dino(architecture or {}, seed, vae)
    randomize_constants(net.backbone, seed)
    randomize_constants(net.up, seed)
    return VitCheckpoint(net, ImageRule(net.config.image_size), "untrained", describe_random(seed), tensors_digest(net))


def start_dino(
    backbone: str | Path, vae: str | Path, *, seed: int = SEED, allow_pickle: bool = False
) -> VitCheckpoint[DinoNet]:
    """DINO's own weights with a fresh, seeded up-convolution: where training begins.

    Args:
        backbone: a folder in timm's hub layout (config.json, model.safetensors), or a hub id (`BASE_HUB_ID`). Its
            mean and std are taken; crop and interpolation there are those of timm's classification and do not
            apply: pictures are squashed.
        vae: a VAE's folder, a Stable Diffusion checkpoint with a vae/, or a hub id.
        allow_pickle: read `.bin` files where there is no safetensors.
    Raises:
        CheckpointError: as `load_dino`.
    """
    folder = resolve_folder(backbone, wanted_files(allow_pickle))
    config, image = _read_timm_config(read_config(folder, CONFIG_FILE), folder / CONFIG_FILE)
    coder, files = load_vae(vae, allow_pickle=allow_pickle)
    net = _seeded(config, coder, seed)
    fill_module(net.backbone, read_tensors(folder, STEM, allow_pickle), folder)
    return VitCheckpoint(
        net=net,
        image=image,
        state="untrained",
        description=f"DINO and VAE weights with a random up-convolution, seed {seed}: where training begins",
        sha256=files_digest([*tensor_files(folder, STEM, allow_pickle), *files]),
    )


def load_dino(
    source: str | Path, *, vae: str | Path | None = None, allow_pickle: bool = False
) -> VitCheckpoint[DinoNet]:
    """Read a dino-b checkpoint in the layout above.

    Args:
        source: a folder, or a hub id.
        vae: another VAE of the same latent space (a folder or hub id, such as a light one); None: the checkpoint's.
        allow_pickle: read `.bin` files where there is no safetensors.
    Raises:
        CheckpointError: a file is missing or damaged, is of another model, or holds a value, a tensor or a shape
            that does not fit.
    """
    folder = resolve_folder(source, wanted_files(allow_pickle, *([] if vae else ["vae/*"])))
    config = read_dino_config(read_config(folder, CONFIG_FILE), folder / CONFIG_FILE)
    path = folder / PROCESSOR_FILE
    image = read_image_rule(read_config(folder, PROCESSOR_FILE), config.image_size, path)
    coder, files = load_vae(vae or folder / "vae", allow_pickle=allow_pickle)
    with torch.device("meta"):
        net = DinoNet(config, coder)
    trained = nn.ModuleDict({"backbone": net.backbone, "up": net.up})
    fill_module(trained, read_tensors(folder, STEM, allow_pickle), folder)
    state = read_state(folder)
    return VitCheckpoint(
        net=net.eval(),
        image=image,
        state=state,
        description=describe_source(source, folder, state, "a gen2seg-dino checkpoint"),
        sha256=files_digest([*tensor_files(folder, STEM, allow_pickle), *files]),
    )


def read_dino_config(config: Mapping[str, Any], where: str | Path) -> DinoConfig:
    """The content of `config.json` as a checked record.

    Raises:
        LayoutError: another model, a missing or unknown key, a wrong value.
    """
    if "pretrained_cfg" in config:
        raise LayoutError(
            f"{where}: these are timm's weights of the ViT alone; a {MODEL_TYPE} checkpoint has an up-convolution "
            "and a VAE beside it (training starts from such weights and writes one)"
        )
    if config.get("model_type") != MODEL_TYPE:
        raise LayoutError(f"{where}: model_type must be {MODEL_TYPE}, got {config.get('model_type')!r}")
    values = {key: value for key, value in config.items() if key != "model_type"}
    missing = [item.name for item in fields(DinoConfig) if item.name not in values]
    if missing:
        raise LayoutError(f"{where}: {missing[0]} is missing")
    try:
        return dino_config(values)
    except LayoutError as error:
        raise LayoutError(f"{where}: {error}") from error


def save_dino(
    net: DinoNet, folder: str | Path, *, image: ImageRule | None = None, state: str = "trained", overwrite: bool = False
) -> None:
    """Write a checkpoint folder in the layout above, float32; it appears whole or not at all.

    Args:
        image: how pictures come in; None: squashed, ImageNet statistics.
        state: "trained" or "untrained".
        overwrite: replace a folder that exists.
    Raises:
        OutputExistsError, OutputError: `folder` exists, or cannot be written.
    """
    trained = {"backbone": net.backbone, "up": net.up}
    tensors = {
        f"{part}.{name}": value.detach().to("cpu", torch.float32).contiguous()
        for part, module in trained.items()
        for name, value in module.state_dict().items()
    }
    with atomic_directory(folder, overwrite=overwrite) as root:
        save_file(tensors, root / f"{STEM}.safetensors", metadata={"format": "pt"})
        write_json(root / CONFIG_FILE, {"model_type": MODEL_TYPE, **asdict(net.config)})
        write_json(root / PROCESSOR_FILE, (image or ImageRule(net.config.image_size)).processor_config())
        write_json(root / RECORD_FILE, {"state": state})
        net.vae.save_pretrained(root / "vae")


def _read_timm_config(config: Mapping[str, Any], where: Path) -> tuple[DinoConfig, ImageRule]:
    if config.get("architecture") != "vit_base_patch16_224":
        raise LayoutError(f"{where}: architecture must be vit_base_patch16_224, got {config.get('architecture')!r}")
    arguments = dict(config.get("model_args") or {})
    expected = {"num_classes": 0, "in_chans": 3, "global_pool": "token"}
    for key, value in expected.items():
        if arguments.pop(key, value) != value:
            raise LayoutError(f"{where}: model_args.{key} must be {value!r}, got {config['model_args'][key]!r}")
    size = arguments.pop("img_size", 224)
    if isinstance(size, list) and len(size) == 2 and size[0] == size[1]:
        size = size[0]
    try:
        shape = dino_config({"image_size": size, **arguments})
    except LayoutError as error:
        raise LayoutError(f"{where}: model_args: {error}") from error
    given = config.get("pretrained_cfg") or {}
    statistics = {"image_mean": given.get("mean"), "image_std": given.get("std"), "size": shape.image_size}
    if statistics["image_mean"] is None or statistics["image_std"] is None:
        raise LayoutError(f"{where}: pretrained_cfg must hold mean and std")
    return shape, read_image_rule(statistics, shape.image_size, where)


def _check_vae(vae: Vae, config: DinoConfig) -> None:
    """Raises LayoutError where the VAE's pictures are of another size."""
    kinds: Any = vae.config
    channels = kinds.get("block_out_channels") or kinds["decoder_block_out_channels"]
    pixels = UP * config.grid * 2 ** (len(channels) - 1)
    if pixels != config.image_size:
        raise LayoutError(
            f"vae/config.json: it makes {pixels} pixels of {UP * config.grid} latents a side, but the ViT takes "
            f"{config.image_size}"
        )
    if kinds["out_channels"] != 3:
        raise LayoutError(f"vae/config.json: out_channels must be 3, got {kinds['out_channels']}")


def _seeded(config: DinoConfig, vae: Vae, seed: int) -> DinoNet:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return DinoNet(config, vae).eval()
