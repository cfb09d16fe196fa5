"""What a system is to the evaluation."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

Setting = float | None
Points = list[tuple[int, int]]


class System(Protocol):
    """Answers clicks on an image.

    Attributes:
        settings: the settings that `mask` may be asked for; None stands for the system's own default. Empty
            for a system that finds edges only.
        has_edges: whether `edges` may be called.
    """

    @property
    def settings(self) -> tuple[Setting, ...]: ...

    @property
    def has_edges(self) -> bool: ...

    def prepare(self, image: np.ndarray) -> Any:
        """Do what is done once per image; `image` is uint8 [H, W, 3] RGB."""
        ...

    def mask(self, state: Any, points: Points, setting: Setting, before: np.ndarray | None = None) -> np.ndarray:
        """bool [H, W] for clicks on one object at `points`, each (x, y) in pixels.

        before: the system's own answer to all points but the last, where there are several.
        """
        ...

    def edges(self, state: Any) -> np.ndarray:
        """float32 [H, W] in [0, 1], thinned; only asked for where `has_edges`."""
        ...

    def colors(self, state: Any) -> np.ndarray | None:
        """uint8 [H, W, 3], the picture the system works on, or None where that is the image itself."""
        ...

    def describe(self) -> dict[str, Any]:
        """What the report should say about it, as JSON values. Two systems that say the same answer the same: learned
        weights go in by their digest."""
        ...


@dataclass(frozen=True)
class SystemSpec:
    """A name for the report and how to open the system, in this process or another (so it must pickle).

    Attributes:
        learned: whether it has learned weights; else it is a rival that works on the picture as it is.
        missing: why it cannot be opened and how its weights are had; empty for a system that is there.
        of, distortion: for a system on distorted pictures its own name and how they are distorted; else empty.
    """

    name: str
    open: Callable[[], System]
    learned: bool = False
    missing: str = ""
    of: str = ""
    distortion: str = ""
