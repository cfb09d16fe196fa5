"""The networks that paint instance colours, by name. Looking one up imports no torch; building one does."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gen2seg_runtime.errors import Gen2SegError

from .defaults import BundleDefaults

if TYPE_CHECKING:
    from torch import nn


class BackboneError(Gen2SegError, ValueError):
    """An unknown backbone, or an architecture that it cannot be built with."""


@dataclass(frozen=True)
class Backbone:
    """What training and export need to know of a network."""

    name: str
    build: Callable[[dict[str, Any]], "nn.Module"]  # architecture -> module with random weights
    stride: int  # height and width of the input must be multiples of it
    mean: tuple[float, float, float]  # of RGB in [0, 1]
    std: tuple[float, float, float]
    normalization: str  # how raw output becomes colours, as in the bundle's manifest
    prompt_mode: str  # the mode that suits its colours
    defaults: BundleDefaults
    gamma: float | None = None  # of the colours, in bundles; training does without
    fixed_size: tuple[int, int] | None = None  # (height, width), where the usual architecture takes no other
    weights: str | None = None  # hub id of published gen2seg weights
    base: str | None = None  # hub id of the weights that training starts from
    # Checkpoints in the hub's layout: (folder or hub id) -> module in eval mode, and (module, new folder) -> None.
    # None: the checkpoints are this project's own (`gen2seg.training.checkpoint`).
    load: Callable[[str | Path], "nn.Module"] | None = None
    save: Callable[["nn.Module", Path], None] | None = None


def _build_tiny(architecture: dict[str, Any]) -> "nn.Module":
    from .tiny import TinyConfig, TinyNet

    options: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in architecture.items()}
    try:
        return TinyNet(TinyConfig(**options))
    except (TypeError, ValueError) as error:
        raise BackboneError(f"tiny cannot be built with {architecture}: {error}") from error


def _mae_builder(name: str) -> Callable[[dict[str, Any]], "nn.Module"]:
    def build(architecture: dict[str, Any]) -> "nn.Module":
        from .mae import MaeNet, mae_config

        try:
            return MaeNet(mae_config(name, architecture))
        except ValueError as error:
            raise BackboneError(f"{name} cannot be built with {architecture}: {error}") from error

    return build


def _load_mae(source: str | Path) -> "nn.Module":
    from .mae import load_mae

    return load_mae(source).net


def _save_mae(module: "nn.Module", folder: Path) -> None:
    from .mae import MaeNet, save_mae

    if not isinstance(module, MaeNet):
        raise BackboneError(f"expected a MaeNet, got {type(module).__name__}")
    save_mae(module, folder, overwrite=True)


def _build_dino(architecture: dict[str, Any]) -> "nn.Module":
    from .dino import build_dino

    try:
        return build_dino(architecture)
    except ValueError as error:
        raise BackboneError(f"dino-b cannot be built with {architecture}: {error}") from error


def _load_dino(source: str | Path) -> "nn.Module":
    from .dino import load_dino

    return load_dino(source).net


def _save_dino(module: "nn.Module", folder: Path) -> None:
    from .dino import DinoNet, save_dino

    if not isinstance(module, DinoNet):
        raise BackboneError(f"expected a DinoNet, got {type(module).__name__}")
    save_dino(module, folder, overwrite=True)


def _build_sd2(architecture: dict[str, Any]) -> "nn.Module":
    from .sd2 import SD2, Sd2Net, random_sd2

    tables = dict(architecture)
    options = {name: tables.pop(name) for name in ("x0_sample", "text_tokens") if name in tables}
    return Sd2Net(random_sd2(SD2.updated(tables)), **options)


def _load_sd2(source: str | Path) -> "nn.Module":
    from .sd2 import Sd2Net, load_sd2

    return Sd2Net(load_sd2(source)).eval()


def _save_sd2(module: "nn.Module", folder: Path) -> None:
    from .sd2 import Sd2Net, save_sd2

    if not isinstance(module, Sd2Net):
        raise BackboneError(f"expected an Sd2Net, got {type(module).__name__}")
    save_sd2(module.parts, folder, state="trained", overwrite=True)


_IMAGENET_MEAN = (0.485, 0.456, 0.406)
_IMAGENET_STD = (0.229, 0.224, 0.225)

# Both ViTs squash every picture to 224x224; the distances are those of the manifest, nothing was tuned.
_VIT_DEFAULTS = BundleDefaults(
    size=224, enlarge_below=224, distance=40, instance_distance=40, background=40, min_area=16
)


def _mae(name: str, patch: int, weights: str | None, base: str) -> Backbone:
    return Backbone(
        name=name,
        build=_mae_builder(name),
        stride=patch,
        mean=_IMAGENET_MEAN,
        std=_IMAGENET_STD,
        normalization="mae",
        prompt_mode="reference",
        defaults=_VIT_DEFAULTS,
        gamma=0.7,
        fixed_size=(224, 224),
        weights=weights,
        base=base,
        load=_load_mae,
        save=_save_mae,
    )


BACKBONES = {
    "tiny": Backbone(
        name="tiny",
        build=_build_tiny,
        stride=32,
        mean=(0.5, 0.5, 0.5),
        std=(0.5, 0.5, 0.5),
        normalization="fixed",
        prompt_mode="metric",
        # Chosen on the development sets; how, is in docs/embedded-model.md.
        defaults=BundleDefaults(
            size=640, enlarge_below=384, distance=30, instance_distance=25, background=20, min_area=16
        ),
    ),
    "sd2": Backbone(
        name="sd2",
        build=_build_sd2,
        stride=8,
        mean=(0.5, 0.5, 0.5),
        std=(0.5, 0.5, 0.5),
        normalization="sd",
        prompt_mode="reference",
        # The reference's working size; the distances are those of the manifest, nothing was tuned.
        defaults=BundleDefaults(
            size=768, enlarge_below=768, distance=40, instance_distance=40, background=40, min_area=16
        ),
        weights="reachomk/gen2seg-sd",
        base="stabilityai/stable-diffusion-2",
        load=_load_sd2,
        save=_save_sd2,
    ),
    "mae-b": _mae("mae-b", patch=16, weights=None, base="facebook/vit-mae-base"),
    "mae-h": _mae("mae-h", patch=14, weights="reachomk/gen2seg-mae-h", base="facebook/vit-mae-huge"),
    "dino-b": Backbone(
        name="dino-b",
        build=_build_dino,
        stride=16,
        mean=_IMAGENET_MEAN,
        std=_IMAGENET_STD,
        normalization="mae",
        prompt_mode="reference",
        defaults=_VIT_DEFAULTS,
        gamma=0.7,
        fixed_size=(224, 224),
        base="timm/vit_base_patch16_224.dino",
        load=_load_dino,
        save=_save_dino,
    ),
}


def get_backbone(name: str) -> Backbone:
    """Raises BackboneError (a ValueError) that lists the known names."""
    if name not in BACKBONES:
        raise BackboneError(f"unknown backbone {name!r}; known: {', '.join(sorted(BACKBONES))}")
    return BACKBONES[name]
