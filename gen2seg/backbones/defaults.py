"""How a backbone's bundles treat pictures and colours unless told otherwise."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

from gen2seg_runtime.errors import Gen2SegError

LARGEST_DISTANCE = 442  # from black to white, rounded up


class BundleDefaultsError(Gen2SegError, ValueError):
    """A setting that is unknown or out of range."""


@dataclass(frozen=True)
class BundleDefaults:
    """Settings that a checkpoint or a command may change. Lengths in pixels, colour distances in 0..255.

    Raises:
        BundleDefaultsError: a value is out of range.
    """

    size: int  # the longer side is brought down to this
    enlarge_below: int  # and up to this where it is smaller; 0 never enlarges
    distance: float  # colour distance that cuts a mask from a click
    instance_distance: float  # touching regions with mean colours closer than this are one instance
    background: float  # colours nearer to black than this are background
    min_area: int  # smallest instance, in pixels of the processed picture

    def __post_init__(self) -> None:
        if self.size < 32:
            raise BundleDefaultsError(f"size must be at least 32 pixels, got {self.size}")
        if not 0 <= self.enlarge_below <= self.size:
            raise BundleDefaultsError(f"enlarge_below must lie in 0..size ({self.size}), got {self.enlarge_below}")
        for name in ("distance", "instance_distance"):
            if not 0 < getattr(self, name) <= LARGEST_DISTANCE:
                raise BundleDefaultsError(f"{name} must lie in (0, {LARGEST_DISTANCE}], got {getattr(self, name)}")
        if not 0 <= self.background <= LARGEST_DISTANCE:
            raise BundleDefaultsError(f"background must lie in 0..{LARGEST_DISTANCE}, got {self.background}")
        if self.min_area < 1:
            raise BundleDefaultsError(f"min_area must be at least 1 pixel, got {self.min_area}")

    def updated(self, values: Mapping[str, Any]) -> "BundleDefaults":
        """These defaults with `values` in their place."""
        known = {field.name: field.type for field in fields(self)}
        for name, value in values.items():
            if name not in known:
                raise BundleDefaultsError(f"unknown bundle default {name!r}; known: {', '.join(known)}")
            if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
                raise BundleDefaultsError(f"{name} must be a finite number, got {value!r}")
            if known[name] is int and value != int(value):
                raise BundleDefaultsError(f"{name} must be a whole number, got {value!r}")
        return replace(self, **{k: (int(v) if known[k] is int else float(v)) for k, v in values.items()})
