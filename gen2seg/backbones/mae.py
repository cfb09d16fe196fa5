"""`mae-b`, `mae-h`: a masked autoencoder that sees every patch and paints colours where it would paint pixels.

The network is transformers' `ViTMAEForPreTraining`; checkpoints are its hub layout: `config.json`,
`model.safetensors`, and `preprocessor_config.json` for how pictures come in. Source of the use: gen2seg,
arXiv 2505.15263.
"""

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from transformers import ViTMAEConfig, ViTMAEForPreTraining
from transformers.activations import ACT2FN

from gen2seg.backbones.hub import files_digest, fill_module, read_config, read_tensors, resolve_folder, tensor_files
from gen2seg.backbones.randomize import randomize_constants, tensors_digest
from gen2seg.backbones.record import RECORD_FILE, SEED, describe_random, describe_source, read_state
from gen2seg.backbones.vit_files import CONFIG_FILE, STEM, VitCheckpoint, wanted_files, write_json
from gen2seg.backbones.vit_images import PROCESSOR_FILE, ImageRule, read_image_rule
from gen2seg.errors import LayoutError
from gen2seg_runtime.files import atomic_directory

GEN2SEG_HUB_ID = "reachomk/gen2seg-mae-h"
BASE_HUB_IDS = {"mae-b": "facebook/vit-mae-base", "mae-h": "facebook/vit-mae-huge"}

# What facebook/vit-mae-base and facebook/vit-mae-huge say, where they differ from MaeConfig's defaults.
ARCHITECTURES: dict[str, dict[str, Any]] = {
    "mae-b": {},
    "mae-h": {
        "hidden_size": 1280,
        "num_hidden_layers": 32,
        "num_attention_heads": 16,
        "intermediate_size": 5120,
        "patch_size": 14,
    },
}

# In the order of application: names of today's transformers, and of what it writes, as the hub has them.
_HUB_NAMES = (
    (r"^decoder\.decoder_encoder\.layer\.", "decoder.decoder_layers."),
    (r"^vit\.layers\.", "vit.encoder.layer."),
    (r"\.attention\.q_proj\.", ".attention.attention.query."),
    (r"\.attention\.k_proj\.", ".attention.attention.key."),
    (r"\.attention\.v_proj\.", ".attention.attention.value."),
    (r"\.attention\.o_proj\.", ".attention.output.dense."),
    (r"\.mlp\.fc1\.", ".intermediate.dense."),
    (r"\.mlp\.fc2\.", ".output.dense."),
)


@dataclass(frozen=True)
class MaeConfig:
    """The keys of a ViTMAE `config.json` that the network depends on; defaults as facebook/vit-mae-base.

    Raises:
        LayoutError: a value of the wrong type or out of range.
    """

    hidden_size: int = 768
    num_hidden_layers: int = 12
    num_attention_heads: int = 12
    intermediate_size: int = 3072
    hidden_act: str = "gelu"
    hidden_dropout_prob: float = 0.0
    attention_probs_dropout_prob: float = 0.0
    initializer_range: float = 0.02
    layer_norm_eps: float = 1e-12
    image_size: int = 224  # pixels
    patch_size: int = 16
    num_channels: int = 3
    qkv_bias: bool = True
    decoder_num_attention_heads: int = 16
    decoder_hidden_size: int = 512
    decoder_num_hidden_layers: int = 8
    decoder_intermediate_size: int = 2048
    mask_ratio: float = 0.75  # of pre-training; here every patch is seen, whatever it says
    norm_pix_loss: bool = False  # touches the pre-training loss only, never the output

    def __post_init__(self) -> None:
        for item in fields(self):
            self._check_type(item.name, item.type)
        for name in ("hidden_size", "decoder_hidden_size"):
            heads = getattr(self, name.replace("hidden_size", "num_attention_heads"))
            width = getattr(self, name)
            if width % heads or width % 4:
                raise LayoutError(f"{name} must be a multiple of 4 and of its {heads} heads, got {width}")
        if self.image_size % self.patch_size:
            raise LayoutError(f"image_size must be a multiple of patch_size {self.patch_size}, got {self.image_size}")
        if self.num_channels != 3:
            raise LayoutError(f"num_channels must be 3 (RGB in, colours out), got {self.num_channels}")
        if self.hidden_act not in ACT2FN:
            raise LayoutError(f"hidden_act must be a name that transformers knows, got {self.hidden_act!r}")
        for name in ("hidden_dropout_prob", "attention_probs_dropout_prob", "mask_ratio"):
            if not 0 <= getattr(self, name) < 1:
                raise LayoutError(f"{name} must lie in [0, 1), got {getattr(self, name)}")
        if self.layer_norm_eps <= 0:
            raise LayoutError(f"layer_norm_eps must be positive, got {self.layer_norm_eps}")

    def _check_type(self, name: str, expected: Any) -> None:
        value = getattr(self, name)
        if expected is float and isinstance(value, int) and not isinstance(value, bool):
            object.__setattr__(self, name, float(value))  # JSON writes 0.0 as 0
        elif type(value) is not expected:
            raise LayoutError(f"{name} must be {expected.__name__}, got {value!r}")
        elif expected is int and value < 1:
            raise LayoutError(f"{name} must be positive, got {value}")

    @property
    def grid(self) -> int:
        """Patches along a side."""
        return self.image_size // self.patch_size


class MaeNet(nn.Module):
    """ViTMAE with mask ratio 0 and its tokens in order.

    Input: (B, 3, S, S) float, normalised RGB, S = `config.image_size`.
    Output: (B, 3, S, S), unbounded; normalisation "mae" makes colours of it.
    """

    def __init__(self, config: MaeConfig) -> None:
        super().__init__()
        self.config = config
        # The file that training writes then says 0 as well, which the original scripts rely on.
        self.model = ViTMAEForPreTraining(ViTMAEConfig(**{**asdict(config), "mask_ratio": 0.0}))

    def forward(self, images: Tensor) -> Tensor:
        # The library sorts tokens by noise even where it keeps them all; rising noise leaves them in place. Its
        # own forward would also compute a loss over no masked patch, 0/0.
        order = torch.arange(self.config.grid**2, device=images.device, dtype=torch.float32)
        encoded = self.model.vit(images, noise=order.expand(len(images), -1))
        logits = self.model.decoder(encoded.last_hidden_state, encoded.ids_restore).logits
        return self.model.unpatchify(logits)

    def hub_tensors(self) -> dict[str, Tensor]:
        """All tensors by the names that checkpoints on the hub have, whatever the installed library's are."""
        return {hub_name(name): value for name, value in self.model.state_dict().items()}


def hub_name(name: str) -> str:
    """A ViTMAE tensor's name, as any version of transformers has it, in the spelling of the hub's checkpoints."""
    for pattern, replacement in _HUB_NAMES:
        name = re.sub(pattern, replacement, name)
    return name


def mae_config(name: str, overrides: Mapping[str, Any] | None = None) -> MaeConfig:
    """The configuration of "mae-b" or "mae-h" with some keys replaced.

    Raises:
        LayoutError: an unknown key or a wrong value.
    """
    known = {item.name for item in fields(MaeConfig)}
    for key in overrides or {}:
        if key not in known:
            raise LayoutError(f"unknown key {key!r}; known: {', '.join(sorted(known))}")
    return MaeConfig(**{**ARCHITECTURES[name], **(overrides or {})})


def random_mae(config: MaeConfig, seed: int = SEED) -> VitCheckpoint[MaeNet]:
    """The network with seeded random weights; the global random state is left as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        net = MaeNet(config).eval()
    randomize_constants(net.model, seed)
    digest = tensors_digest(net.model)
    return VitCheckpoint(net, ImageRule(config.image_size), "untrained", describe_random(seed), digest)


def load_mae(source: str | Path = GEN2SEG_HUB_ID, *, allow_pickle: bool = False) -> VitCheckpoint[MaeNet]:
    """Read a ViTMAE checkpoint.

    Without a `preprocessor_config.json` pictures are taken as facebook/vit-mae-huge takes them, whose processor
    the original scripts use for all weights; a warning says so.

    Args:
        source: a folder in the hub's layout, or a hub id ("facebook/vit-mae-base").
        allow_pickle: read `pytorch_model.bin` where there is no safetensors.
    Raises:
        CheckpointError: a file is missing or damaged, is of another model, or holds a value, a tensor or a shape
            that does not fit.
    """
    folder = resolve_folder(source, wanted_files(allow_pickle))
    config = read_mae_config(read_config(folder, CONFIG_FILE), folder / CONFIG_FILE)
    image, warnings = _image_rule(folder, config)
    with torch.device("meta"):
        net = MaeNet(config)
    own = {hub_name(name): name for name in net.model.state_dict()}
    stored = {hub_name(name): value for name, value in read_tensors(folder, STEM, allow_pickle).items()}
    fill_module(net.model, {own.get(name, name): value for name, value in stored.items()}, folder)
    state = read_state(folder)
    return VitCheckpoint(
        net=net.eval(),
        image=image,
        state=state,
        description=describe_source(source, folder, state, "a ViTMAE checkpoint"),
        sha256=files_digest(tensor_files(folder, STEM, allow_pickle)),
        warnings=warnings,
    )


def read_mae_config(config: Mapping[str, Any], where: str | Path) -> MaeConfig:
    """The content of `config.json` as a checked record.

    Raises:
        LayoutError: another model, a wrong value.
    """
    if config.get("model_type") != "vit_mae":
        raise LayoutError(f"{where}: model_type must be vit_mae, got {config.get('model_type')!r}")
    known = {item.name for item in fields(MaeConfig)}
    try:
        return MaeConfig(**{key: value for key, value in config.items() if key in known})
    except LayoutError as error:
        raise LayoutError(f"{where}: {error}") from error


def save_mae(
    net: MaeNet, folder: str | Path, *, image: ImageRule | None = None, state: str = "trained", overwrite: bool = False
) -> None:
    """Write a checkpoint folder in the hub's layout, float32, which the original scripts read.

    The folder appears whole or not at all.

    Args:
        image: how pictures come in; None: squashed, ImageNet statistics.
        state: "trained" or "untrained".
        overwrite: replace a folder that exists.
    Raises:
        OutputExistsError, OutputError: `folder` exists, or cannot be written.
    """
    config = {
        **asdict(net.config),
        "architectures": ["ViTMAEForPreTraining"],
        "mask_ratio": 0.0,
        "model_type": "vit_mae",
        "torch_dtype": "float32",
    }
    tensors = {name: value.detach().to("cpu", torch.float32).contiguous() for name, value in net.hub_tensors().items()}
    with atomic_directory(folder, overwrite=overwrite) as root:
        # Not the library's own writer: its names for the decoder's layers are not those of the hub.
        save_file(tensors, root / f"{STEM}.safetensors", metadata={"format": "pt"})
        write_json(root / CONFIG_FILE, config)
        write_json(root / PROCESSOR_FILE, (image or ImageRule(net.config.image_size)).processor_config())
        write_json(root / RECORD_FILE, {"state": state})


def _image_rule(folder: Path, config: MaeConfig) -> tuple[ImageRule, tuple[str, ...]]:
    warnings: list[str] = []
    if config.mask_ratio:
        warnings.append(
            f"{CONFIG_FILE} says mask_ratio {config.mask_ratio:g}, as weights do that were only pre-trained on masked "
            "pictures; here no patch is masked"
        )
    if config.norm_pix_loss:
        warnings.append(
            f"{CONFIG_FILE} says norm_pix_loss: that is for the loss of pre-training, the output is not changed"
        )
    path = folder / PROCESSOR_FILE
    if path.is_file():
        return read_image_rule(read_config(folder, PROCESSOR_FILE), config.image_size, path), tuple(warnings)
    warnings.append(f"no {PROCESSOR_FILE}: pictures are taken as by that of facebook/vit-mae-huge")
    return ImageRule(config.image_size), tuple(warnings)
