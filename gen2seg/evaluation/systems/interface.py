"""What a system is to the evaluation."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

Setting = float | None
Points = list[tuple[int, int]]
# One a point: 1 = on the object, 0 = beside it. None where all are 1.
Signs = tuple[int, ...] | None


@dataclass(frozen=True)
class Segments:
    """Automatic masks that share no pixel.

    Attributes:
        labels: int [H, W]: 0 = none, k = the mask k.
        scores: of the masks 1, 2 ..., in any unit; more is better.
    """

    labels: np.ndarray
    scores: Sequence[float]


# Automatic masks: Segments, or pairs of bool [H, W] and score, in any order.
Proposals = Segments | Iterable[tuple[np.ndarray, float]]


class System(Protocol):
    """Answers clicks on an image.

    Attributes:
        settings: the settings that `mask` may be asked for; None stands for the system's own default. Empty
            for a system that finds edges only.
        has_edges: whether `edges` may be called.
        mask_settings: the settings that `masks` may be asked for, as `settings`; empty for a system that finds nothing
            without a click.
    """

    @property
    def settings(self) -> tuple[Setting, ...]: ...

    @property
    def has_edges(self) -> bool: ...

    @property
    def mask_settings(self) -> tuple[Setting, ...]: ...

    def prepare(self, image: np.ndarray) -> Any:
        """Do what is done once per image; `image` is uint8 [H, W, 3] RGB."""
        ...

    def mask(
        self,
        state: Any,
        points: Points,
        setting: Setting,
        before: np.ndarray | None = None,
        labels: Signs = None,
    ) -> np.ndarray:
        """bool [H, W] for clicks on one object at `points`, each (x, y) in pixels.

        before: the system's own answer to all points but the last, where there are several.
        labels: which of the points are on the object; the first one is.
        """
        ...

    def edges(self, state: Any) -> np.ndarray:
        """float32 [H, W] in [0, 1], thinned; only asked for where `has_edges`."""
        ...

    def masks(self, state: Any, setting: Setting) -> Proposals:
        """What it finds without any click; only asked for at one of `mask_settings`."""
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
