"""Systems of colours: bundles, run by the runtime."""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from .interface import Points, Setting, Signs

if TYPE_CHECKING:
    from gen2seg_runtime import Encoding
    from gen2seg_runtime.refine import Refinement

# Colour distances (colours run 0..255) tried for prompting by colour; None is the default.
COLOR_DISTANCES = (None, 8.0, 12.0, 16.0, 20.0, 25.0, 30.0, 50.0, 65.0, 80.0)


class ColorSystem:
    """Shared by the systems whose state is an `Encoding`: prompted as its bundle says, or at a distance."""

    has_edges = True
    mask_settings: tuple[Setting, ...] = (None,)

    def __init__(self, sweep: bool, mode: str | None = None, later: float | None = None) -> None:
        """sweep: also try COLOR_DISTANCES. mode: how clicks become masks; None as the bundle says. later: colour
        distance that all clicks but the first are answered at, in mode metric; None: as the first."""
        self.settings: tuple[Setting, ...] = COLOR_DISTANCES if sweep else (None,)
        self._mode, self._later = mode, later
        self._last: _Seen | None = None

    def mask(
        self,
        state: "Encoding",
        points: Points,
        setting: Setting,
        before: np.ndarray | None = None,
        labels: Signs = None,
    ) -> np.ndarray:
        """One click more after the last answer costs that click alone; its mask is that of all of them."""
        signs = labels or (1,) * len(points)
        seen, last = _Seen(state, setting), self._last
        if last is not None and last.is_before(state, setting, points, signs):
            seen = last
        for point, sign in list(zip(points, signs, strict=True))[len(seen.points) :]:
            seen = self._click(seen, point, sign)
        self._last = seen
        return seen.mask

    def _click(self, seen: "_Seen", point: tuple[int, int], sign: int) -> "_Seen":
        state, setting = seen.state, seen.setting
        clicked = replace(seen, points=[*seen.points, point], signs=(*seen.signs, sign))
        if self._later is not None and seen.points:
            if seen.later is None:
                return replace(clicked, later=state.refine(point, sign, mode="metric", distance=self._later))
            return replace(clicked, later=state.refine(point, sign, after=seen.later))
        if seen.first is not None:
            return replace(clicked, first=state.refine(point, sign, after=seen.first))
        if setting is None:
            return replace(clicked, first=state.refine(point, sign, mode=self._mode))
        return replace(clicked, first=state.refine(point, sign, mode="metric", distance=setting))

    def edges(self, state: "Encoding") -> np.ndarray:
        return state.edges()

    def masks(self, state: "Encoding", setting: Setting) -> Iterator[tuple[np.ndarray, float]]:
        """The instances of the runtime with their parts and groups, best first."""
        return state.instances(hierarchy=True).masks()

    def describe_later(self) -> dict[str, Any]:
        """What a report says of the later clicks; nothing where they are answered as the first."""
        return {} if self._later is None else {"later_distance": self._later}

    def colors(self, state: "Encoding") -> np.ndarray | None:
        return state.color_image()


class BundleSystem(ColorSystem):
    """A bundle, run by the runtime."""

    def __init__(
        self, path: Path | None, *, sweep: bool = False, mode: str | None = None, later: float | None = None
    ) -> None:
        """Open the bundle at `path` (None: the embedded one); sweep, mode, later: see ColorSystem."""
        from gen2seg_runtime import Segmenter

        super().__init__(sweep, mode, later)
        # One thread each: images run side by side, and a sum's order never depends on the machine.
        self._segmenter = Segmenter.open(path, threads=1)

    def prepare(self, image: np.ndarray) -> "Encoding":
        return self._segmenter.encode(image)

    def describe(self) -> dict[str, Any]:
        manifest = self._segmenter.manifest
        return {
            "kind": "bundle",
            "bundle": manifest.name,
            "version": manifest.version,
            "digest": self._segmenter.bundle.id,
            "weights": manifest.weights.state,
            "prompt": {"mode": self._mode or manifest.prompt.mode, "distance": manifest.prompt.distance},
            "backend": self._segmenter.backend_name,
            **self.describe_later(),
        }


@dataclass(frozen=True, eq=False)
class _Seen:
    """The clicks so far on one encoding at one setting.

    Attributes:
        first: the first click; with the later ones where these are answered alike.
        later: the later clicks where they are answered at a distance of their own.
    """

    state: "Encoding"
    setting: Setting
    points: Points = field(default_factory=list)
    signs: tuple[int, ...] = ()
    first: "Refinement | None" = None
    later: "Refinement | None" = None

    def is_before(self, state: "Encoding", setting: Setting, points: Points, signs: tuple[int, ...]) -> bool:
        """Whether these are all clicks but the last of `points`."""
        same = self.state is state and self.setting == setting
        return same and self.points == points[:-1] and self.signs == signs[:-1]

    @property
    def mask(self) -> np.ndarray:
        """bool [H, W]: the union of the positive clicks' masks without the union of the negative ones'."""
        from gen2seg_runtime.resample import resize_mask

        assert self.first is not None
        mask = self.first.mask
        if self.later is not None:
            gained, lost = self.later.state.positive, self.later.state.negative
            if gained is not None:
                mask = mask | resize_mask(gained, self.later.size)
            if lost is not None:
                mask = mask & ~resize_mask(lost, self.later.size)
        return mask
