"""How each backbone is opened for training: its first weights, its parts, and how it is saved."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from torch import nn

from gen2seg.backbones import Backbone, BackboneError, get_backbone
from gen2seg.config import ModelConfig, ObjectiveConfig, TrainConfig
from gen2seg.toml_records import ConfigError

from .checkpoint import load_state, save_weights
from .network import Network, Parts, freeze

Module = TypeVar("Module", bound=nn.Module)
Opener = Callable[[TrainConfig, Backbone], Network]


def open_network(config: TrainConfig) -> Network:
    """Build the backbone of a run with its first weights, and freeze what is not trained.

    Raises:
        BackboneError: an unknown backbone, or an architecture that cannot be built.
        ConfigError: the config asks for something that the backbone has not.
        CheckpointError: `config.init` cannot be used.
    """
    if config.init is not None and config.architecture and config.backbone != "tiny":
        raise ConfigError("init brings its own architecture: give one of init and architecture")
    if config.backbone == "simpleclick":
        return _open_simpleclick(config)
    backbone = get_backbone(config.backbone)
    _refuse_strange_keys(config.model, config.backbone)
    network = _OPENERS[config.backbone](config, backbone)
    if config.model.gradient_checkpointing:
        if network.checkpointing is None:
            raise ConfigError(f"backbone {config.backbone!r} has no gradient checkpointing")
        network.checkpointing()
    freeze(network, config.model, config.backbone)
    return network


def _open_simpleclick(config: TrainConfig) -> Network:
    """The rival that is trained on the same data; it paints no colours, so it is no backbone."""
    from gen2seg.simpleclick.clicks import click_loss
    from gen2seg.simpleclick.files import build
    from gen2seg.simpleclick.model import MEAN, STD

    if config.objective != ObjectiveConfig():
        raise ConfigError("simpleclick has a loss of its own: drop objective")
    if config.model != ModelConfig():
        raise ConfigError("simpleclick is trained whole: drop model")
    if config.sample_every:
        raise ConfigError("simpleclick paints no colours to show: set sample_every to 0")
    module = build(config.architecture)
    if config.init is not None:
        load_state(module, config.init)
    return Network(module, MEAN, STD, stretch=False, save=save_weights, loss=click_loss)


def _refuse_strange_keys(model: ModelConfig, backbone: str) -> None:
    """Raises ConfigError where a key of another backbone is set: it would have no effect."""
    usual = ModelConfig()
    owners = {"timestep": "sd2", "x0_sample": "sd2", "text_tokens": "sd2", "vae": "dino-b"}
    for key, owner in owners.items():
        if owner != backbone and getattr(model, key) != getattr(usual, key):
            raise ConfigError(f"model.{key} is for backbone {owner!r}, not for {backbone!r}")


def _checked(module: nn.Module, kind: type[Module]) -> Module:
    if not isinstance(module, kind):
        raise BackboneError(f"expected a network of the kind {kind.__name__}, got {type(module).__name__}")
    return module


def _open_tiny(config: TrainConfig, backbone: Backbone) -> Network:
    module = backbone.build(config.architecture)
    if config.init is not None:
        load_state(module, config.init)
    return Network(module, backbone.mean, backbone.std, stretch=False, save=save_weights)


def _open_sd2(config: TrainConfig, backbone: Backbone) -> Network:
    from gen2seg.backbones.sd2 import SD2, Sd2Net, load_sd2, random_sd2, save_sd2

    model = config.model
    spacing = _spacing(model.timestep)
    if config.init is not None:
        parts = load_sd2(config.init, scheduler=spacing, allow_pickle=model.allow_pickle)
    else:
        tables: dict[str, Any] = {**config.architecture}
        tables["scheduler"] = {**tables.get("scheduler", {}), **spacing}
        parts = random_sd2(SD2.updated(tables))
    module = Sd2Net(parts, x0_sample=model.x0_sample, text_tokens=model.text_tokens)
    unet: Any = parts.unet
    blocks = [[block] for block in (*unet.down_blocks, unet.mid_block, *unet.up_blocks)]

    def save(trained: nn.Module, folder: Path, _about: dict[str, Any]) -> None:
        save_sd2(_checked(trained, Sd2Net).parts, folder, state="trained", overwrite=True)

    return Network(
        module,
        backbone.mean,
        backbone.std,
        stretch=True,
        save=save,
        parts=Parts(blocks, len(unet.up_blocks), [unet.conv_norm_out, unet.conv_out]),
        scale=127.5,
        offset=127.5,
        checkpointing=module.enable_gradient_checkpointing,
    )


def _spacing(timestep: int | None) -> dict[str, Any]:
    """Settings of a scheduler whose single step is at a timestep, so that the saved checkpoint says so by itself."""
    if timestep is None:
        return {}
    if timestep == 999:
        return {"timestep_spacing": "trailing"}
    return {"timestep_spacing": "leading", "steps_offset": timestep}


def _open_mae(config: TrainConfig, backbone: Backbone) -> Network:
    from gen2seg.backbones.mae import MaeNet, load_mae, save_mae

    image = None
    mean, std = backbone.mean, backbone.std
    if config.init is not None:
        found = load_mae(config.init, allow_pickle=config.model.allow_pickle)
        module, image = found.net, found.image
        mean, std = image.mean, image.std
    else:
        module = _checked(backbone.build(config.architecture), MaeNet)
    model: Any = module.model
    # Stands for patches that are hidden, and none is: several processes would wait for its gradient.
    model.decoder.mask_token.requires_grad_(False)
    encoder = [[layer] for layer in model.vit.layers]
    encoder[-1].append(model.vit.layernorm)
    decoder = [[layer] for layer in model.decoder.decoder_layers]
    decoder[0].insert(0, model.decoder.decoder_embed)

    def save(trained: nn.Module, folder: Path, _about: dict[str, Any]) -> None:
        save_mae(_checked(trained, MaeNet), folder, image=image, state="trained", overwrite=True)

    return Network(
        module,
        mean,
        std,
        stretch=True,
        save=save,
        parts=Parts([*encoder, *decoder], len(decoder), [model.decoder.decoder_norm, model.decoder.decoder_pred]),
        scale=255.0,
        checkpointing=_transformers_checkpointing(model),
    )


def _transformers_checkpointing(model: Any) -> Callable[[], None] | None:
    if not getattr(model, "supports_gradient_checkpointing", False):
        return None
    # Without re-entering autograd, so that a frozen first layer does not cut the gradient off.
    return lambda: model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})


def _open_dino(config: TrainConfig, backbone: Backbone) -> Network:
    from gen2seg.backbones.dino import DinoNet, load_dino, save_dino, start_dino

    image = None
    mean, std = backbone.mean, backbone.std
    pickles = config.model.allow_pickle
    if config.init is None:
        module = _checked(backbone.build(config.architecture), DinoNet)
    else:
        vae = config.model.vae
        found = (
            load_dino(config.init, allow_pickle=pickles)
            if vae is None
            else start_dino(config.init, vae, seed=config.seed, allow_pickle=pickles)
        )
        module, image = found.net, found.image
        mean, std = image.mean, image.std
    vit: Any = module.backbone
    blocks = [[block] for block in vit.blocks]
    blocks[-1].append(vit.norm)

    def save(trained: nn.Module, folder: Path, _about: dict[str, Any]) -> None:
        save_dino(_checked(trained, DinoNet), folder, image=image, state="trained", overwrite=True)

    def checkpointing() -> None:
        vit.set_grad_checkpointing(True)
        module.vae.enable_gradient_checkpointing()

    return Network(
        module,
        mean,
        std,
        stretch=True,
        save=save,
        parts=Parts(blocks, 0, [module.up]),
        scale=127.5,
        offset=127.5,
        checkpointing=checkpointing,
    )


_OPENERS: dict[str, Opener] = {
    "tiny": _open_tiny,
    "sd2": _open_sd2,
    "mae-b": _open_mae,
    "mae-h": _open_mae,
    "dino-b": _open_dino,
}
