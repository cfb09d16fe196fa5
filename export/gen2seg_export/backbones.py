"""What the exporter must know of a backbone beside its network: names, terms, settings."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

from gen2seg_export.errors import ExportError, UnsupportedBackboneError

LARGEST_DISTANCE = 442  # from black to white, rounded up

TINY_USE_LIMITS = (
    "Not a medical device: not for diagnosis, treatment decisions or the interpretation of results.",
    "Not for safety-critical use without your own validation on your own data.",
)


@dataclass(frozen=True)
class BundleDefaults:
    """Settings that a checkpoint or a command may change. Lengths in pixels, colour distances in 0..255.

    Raises:
        ExportError: a value is out of range.
    """

    size: int = 640  # the longer side is brought down to this
    enlarge_below: int = 384  # and up to this where it is smaller; 0 never enlarges
    distance: float = 40.0  # colour distance that cuts a mask from a click
    instance_distance: float = 40.0
    background: float = 40.0  # colours nearer to black than this are background
    min_area: int = 16  # smallest instance, in pixels of the processed picture

    def __post_init__(self) -> None:
        if self.size < 32:
            raise ExportError(f"size must be at least 32 pixels, got {self.size}")
        if not 0 <= self.enlarge_below <= self.size:
            raise ExportError(f"enlarge_below must lie in 0..size ({self.size}), got {self.enlarge_below}")
        for name in ("distance", "instance_distance"):
            if not 0 < getattr(self, name) <= LARGEST_DISTANCE:
                raise ExportError(f"{name} must lie in (0, {LARGEST_DISTANCE}], got {getattr(self, name)}")
        if not 0 <= self.background <= LARGEST_DISTANCE:
            raise ExportError(f"background must lie in 0..{LARGEST_DISTANCE}, got {self.background}")
        if self.min_area < 1:
            raise ExportError(f"min_area must be at least 1 pixel, got {self.min_area}")

    def updated(self, values: Mapping[str, Any]) -> "BundleDefaults":
        """These defaults with `values` in their place."""
        known = {field.name: field.type for field in fields(self)}
        for name, value in values.items():
            if name not in known:
                raise ExportError(f"unknown bundle default {name!r}; known: {', '.join(known)}")
            if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
                raise ExportError(f"{name} must be a finite number, got {value!r}")
            if known[name] is int and value != int(value):
                raise ExportError(f"{name} must be a whole number, got {value!r}")
        return replace(self, **{k: (int(v) if known[k] is int else float(v)) for k, v in values.items()})


@dataclass(frozen=True)
class ExportSpec:
    """What the manifest of one backbone's bundle says beyond the backbone's own record."""

    bundle_name: str
    licence: str  # of the weights, when they are this project's own
    attribution: str
    use_limits: tuple[str, ...]
    defaults: BundleDefaults


EXPORT_SPECS = {
    "tiny": ExportSpec(
        bundle_name="gen2seg-tiny",
        licence="Apache-2.0",
        attribution=(
            "Trained from scratch by the gen2seg project on procedurally generated scenes; "
            "no third-party weights or pictures."
        ),
        use_limits=TINY_USE_LIMITS,
        defaults=BundleDefaults(),
    ),
}


def get_export_spec(name: str) -> ExportSpec:
    """Look up a backbone.

    Raises:
        UnsupportedBackboneError: this version cannot export it.
    """
    if name not in EXPORT_SPECS:
        raise UnsupportedBackboneError(
            f"backbone {name!r} is not available in this version; known: {', '.join(sorted(EXPORT_SPECS))}"
        )
    return EXPORT_SPECS[name]
