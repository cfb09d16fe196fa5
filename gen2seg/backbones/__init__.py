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
    """What training and export need to know of a network."""

    name: str
    build: Callable[[dict[str, Any]], "nn.Module"]  # architecture -> module
    stride: int  # height and width of the input must be multiples of it
    mean: tuple[float, float, float]  # of RGB in [0, 1]
    std: tuple[float, float, float]
    normalization: str  # how raw output becomes colours, as in the bundle's manifest
    prompt_mode: str  # the mode that suits its colours
    defaults: BundleDefaults


def _build_tiny(architecture: dict[str, Any]) -> "nn.Module":
    from .tiny import TinyConfig, TinyNet

    options: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in architecture.items()}
    try:
        return TinyNet(TinyConfig(**options))
    except (TypeError, ValueError) as error:
        raise BackboneError(f"tiny cannot be built with {architecture}: {error}") from error


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
}


def get_backbone(name: str) -> Backbone:
    """Raises BackboneError (a ValueError) that lists the known names."""
    if name not in BACKBONES:
        raise BackboneError(f"unknown backbone {name!r}; known: {', '.join(sorted(BACKBONES))}")
    return BACKBONES[name]
