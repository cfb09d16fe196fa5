"""Systems of colours: bundles, run by the runtime."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from .interface import Points, Segments, Setting

if TYPE_CHECKING:
    from gen2seg_runtime import Encoding
    from gen2seg_runtime.refine import Refinement

# Colour distances (colours run 0..255) tried for prompting by colour; None is the default.
COLOR_DISTANCES = (None, 8.0, 12.0, 16.0, 20.0, 25.0, 30.0, 50.0, 65.0, 80.0)


class ColorSystem:
    """Shared by the systems whose state is an `Encoding`: prompted as its bundle says, or at a distance."""

    has_edges = True
    mask_settings: tuple[Setting, ...] = (None,)

    def __init__(self, sweep: bool, mode: str | None = None) -> None:
        self.settings: tuple[Setting, ...] = COLOR_DISTANCES if sweep else (None,)
        self._mode = mode
        self._last: tuple[Encoding, Setting, Points, Refinement] | None = None

    def mask(self, state: "Encoding", points: Points, setting: Setting, before: np.ndarray | None = None) -> np.ndarray:
        """One click more after the last answer costs that click alone; its mask is that of all of them."""
        last, seen = self._last, None
        if len(points) > 1 and last is not None and last[0] is state and last[1:3] == (setting, points[:-1]):
            seen = last[3]
        for point in points if seen is None else points[-1:]:
            if seen is not None:
                seen = state.refine(point, after=seen)
            elif setting is None:
                seen = state.refine(point, mode=self._mode)
            else:
                seen = state.refine(point, mode="metric", distance=setting)
        assert seen is not None
        self._last = (state, setting, list(points), seen)
        return seen.mask

    def edges(self, state: "Encoding") -> np.ndarray:
        return state.edges()

    def masks(self, state: "Encoding", setting: Setting) -> Segments:
        """The instances of the runtime, scored by their stability."""
        found = state.instances()
        return Segments(found.labels, [record.score for record in found.records])

    def colors(self, state: "Encoding") -> np.ndarray | None:
        return state.color_image()


class BundleSystem(ColorSystem):
    """A bundle, run by the runtime."""

    def __init__(self, path: Path | None, *, sweep: bool = False, mode: str | None = None) -> None:
        """Open the bundle at `path` (None: the embedded one); `sweep` also tries COLOR_DISTANCES.

        mode: how clicks become masks; None as the bundle says.
        """
        from gen2seg_runtime import Segmenter

        super().__init__(sweep, mode)
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
        }
