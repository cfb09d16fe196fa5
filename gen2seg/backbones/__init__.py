"""The networks that paint instance colours, by name. Looking one up imports no torch; building one does."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from gen2seg_runtime.errors import Gen2SegError

from .defaults import BundleDefaults

if TYPE_CHECKING:
    from torch import nn


class BackboneError(Gen2SegError, ValueError):
    """An unknown backbone, or an architecture that it cannot be built with."""


@dataclass(frozen=True)
class Backbone:
    """What training and export need to know of a network; `gen2seg.training.families` reads and saves it."""

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


def _build_dino(architecture: dict[str, Any]) -> "nn.Module":
    from .dino import build_dino

    try:
        return build_dino(architecture)
    except ValueError as error:
        raise BackboneError(f"dino-b cannot be built with {architecture}: {error}") from error


def _build_sd2(architecture: dict[str, Any]) -> "nn.Module":
    from .sd2 import SD2, Sd2Net, random_sd2

    tables = dict(architecture)
    options = {name: tables.pop(name) for name in ("x0_sample", "text_tokens") if name in tables}
    return Sd2Net(random_sd2(SD2.updated(tables)), **options)


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
    ),
}


def get_backbone(name: str) -> Backbone:
    """Raises BackboneError (a ValueError) that lists the known names."""
    if name not in BACKBONES:
        raise BackboneError(f"unknown backbone {name!r}; known: {', '.join(sorted(BACKBONES))}")
    return BACKBONES[name]
