"""What is judged: bundles, and rivals without weights, behind one small interface.

A system is prepared once per image and then clicked. It may have several *settings* (a tolerance, a scale):
every click is answered at each of them, and the report names the best one of each set. That choice sees the
ground truth, so it favours whoever has settings: the rivals.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import cv2
import numpy as np

from gen2seg.errors import MissingExtraError
from gen2seg.evaluation.errors import EvaluationError

if TYPE_CHECKING:
    from gen2seg_runtime import Encoding
    from gen2seg_runtime.refine import Refinement

# Colour distances (colours run 0..255) tried for prompting by colour; None is the default.
COLOR_DISTANCES = (None, 8.0, 12.0, 16.0, 20.0, 25.0, 30.0, 50.0, 65.0, 80.0)
# Largest difference to the clicked colour, in every channel, that the flood fill crosses.
FLOOD_TOLERANCES = (4.0, 6.0, 8.0, 10.0, 13.0, 16.0, 20.0, 25.0, 32.0, 40.0, 50.0, 65.0)
FELZENSZWALB_SCALES = (30.0, 60.0, 100.0, 200.0, 400.0, 800.0)

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
        of, distortion: for a system on distorted pictures its own name and how they are distorted; else empty.
    """

    name: str
    open: Callable[[], System]
    of: str = ""
    distortion: str = ""


class _ImageSystem:
    """Shared by the systems that work on the image as it is."""

    settings: tuple[Setting, ...] = ()
    has_edges = False

    def prepare(self, image: np.ndarray) -> Any:
        return image

    def mask(self, state: Any, points: Points, setting: Setting, before: np.ndarray | None = None) -> np.ndarray:
        """The union of the clicks' own masks."""
        here = self.mask_at(state, points[-1], setting)
        if len(points) == 1:
            return here
        return here | (self.mask(state, points[:-1], setting) if before is None else before)

    def mask_at(self, state: Any, point: tuple[int, int], setting: Setting) -> np.ndarray:
        """bool [H, W] for one click."""
        raise EvaluationError(f"{type(self).__name__} finds edges only, no masks")

    def edges(self, state: Any) -> np.ndarray:
        raise EvaluationError(f"{type(self).__name__} finds no edges")

    def colors(self, state: Any) -> np.ndarray | None:
        return None


class ColorSystem:
    """Shared by the systems whose state is an `Encoding`: prompted as its bundle says, or at a distance."""

    has_edges = True

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


class RgbSystem(_ImageSystem):
    """The metric prompt of the small bundles, on the image's own colours."""

    settings = COLOR_DISTANCES

    def mask_at(self, state: np.ndarray, point: tuple[int, int], setting: Setting) -> np.ndarray:
        from gen2seg_kernels import prompt_mask

        if setting is None:
            return prompt_mask(state, [point], mode="metric")
        return prompt_mask(state, [point], mode="metric", distance=setting)

    def describe(self) -> dict[str, Any]:
        return {"kind": "rival", "method": "metric prompt on the RGB image"}


class FloodFillSystem(_ImageSystem):
    """OpenCV's flood fill from the click: fixed range, 4-connected."""

    settings = FLOOD_TOLERANCES

    def mask_at(self, state: np.ndarray, point: tuple[int, int], setting: Setting) -> np.ndarray:
        if setting is None:
            raise EvaluationError("the system floodfill has no default tolerance; name one")
        height, width = state.shape[:2]
        # The mask is padded by one pixel, as floodFill asks; MASK_ONLY leaves the image alone.
        filled = np.zeros((height + 2, width + 2), np.uint8)
        tolerance = (setting,) * 3
        flags = 4 | cv2.FLOODFILL_FIXED_RANGE | cv2.FLOODFILL_MASK_ONLY | (1 << 8)
        cv2.floodFill(state, filled, point, (0, 0, 0), tolerance, tolerance, flags)
        return filled[1:-1, 1:-1].view(bool)  # of 0 and 1 alone

    def describe(self) -> dict[str, Any]:
        return {"kind": "rival", "method": "cv2.floodFill, fixed range, 4-connected"}


class FelzenszwalbSystem(_ImageSystem):
    """The segment under the click of scikit-image's felzenszwalb (its defaults but for the scale)."""

    settings = FELZENSZWALB_SCALES

    def __init__(self) -> None:
        try:
            from skimage.segmentation import felzenszwalb
        except ImportError as error:
            raise MissingExtraError(
                "the system felzenszwalb needs scikit-image: pip install 'gen2seg[evaluate]'"
            ) from error
        self._segment = felzenszwalb

    def prepare(self, image: np.ndarray) -> Any:
        # A scale is segmented when it is first clicked at.
        return cache(lambda scale: self._segment(image, scale=scale).astype(np.int32))

    def mask_at(self, state: Any, point: tuple[int, int], setting: Setting) -> np.ndarray:
        segments = state(setting)
        return segments == segments[point[1], point[0]]

    def describe(self) -> dict[str, Any]:
        return {"kind": "rival", "method": "segment of skimage.segmentation.felzenszwalb under the click"}


class SobelSystem(_ImageSystem):
    """Edges of the image's own colours, found and thinned as those of a bundle's colours are."""

    has_edges = True

    def edges(self, state: np.ndarray) -> np.ndarray:
        from gen2seg_runtime.edges import color_edges

        return color_edges(state)

    def describe(self) -> dict[str, Any]:
        return {"kind": "rival", "method": "Sobel and non-maximum suppression on the RGB image"}


# Bundles by name; None is the one that the package ships.
BUNDLES: dict[str, Path | None] = {"tiny": None}
# After a bundle's name: its colours prompted in mode "reference", whatever mode the bundle is for.
REFERENCE_SUFFIX = "-reference"
RIVALS: dict[str, Callable[[], System]] = {
    "rgb": RgbSystem,
    "floodfill": FloodFillSystem,
    "felzenszwalb": FelzenszwalbSystem,
    "sobel": SobelSystem,
}


def get_system(name: str, bundles: Mapping[str, Path] | None = None, *, sweep: bool = False) -> SystemSpec:
    """Look a system up: a name in `bundles`, BUNDLES or RIVALS, a bundle's name with REFERENCE_SUFFIX, or the
    path of a bundle or of a training checkpoint.

    Args:
        name: what to look up; a path's last part becomes the name in the report.
        bundles: more names for bundle directories; they win over the known ones.
        sweep: bundles also try COLOR_DISTANCES, which shows what another default distance would give.

    Raises:
        EvaluationError: nothing has that name.
    """
    named = {**BUNDLES, **(bundles or {})}
    if name in RIVALS and name not in named:
        return SystemSpec(name, RIVALS[name])
    bare = name.removesuffix(REFERENCE_SUFFIX)
    if name not in named and bare in named:
        return SystemSpec(name, partial(BundleSystem, named[bare], mode="reference"))
    path = named[name] if name in named else Path(name).resolve()
    title = name if path is None or name in named else path.name
    if path is not None and (path / "model.safetensors").is_file():
        from gen2seg.evaluation.checkpoints import CheckpointSystem

        return SystemSpec(title, partial(CheckpointSystem, path, sweep=sweep))
    if name in named or (path is not None and (path / "bundle.json").is_file()):
        return SystemSpec(title, partial(BundleSystem, path, sweep=sweep))
    known = ", ".join([*named, *RIVALS])
    raise EvaluationError(f"unknown system {name!r}; known: {known}, or the path of a bundle or checkpoint")


def get_systems(
    names: Sequence[str], bundles: Mapping[str, Path] | None = None, *, sweep: bool = False
) -> list[SystemSpec]:
    """`get_system` for several names; those of `bundles` that are not listed follow at the end.

    Raises:
        EvaluationError: a name is unknown, comes twice or ends in "-best", or there is none.
    """
    bundles = bundles or {}
    wanted = [*names, *(name for name in bundles if name not in names)]
    specs = [get_system(name, bundles, sweep=sweep) for name in wanted]
    if not specs:
        raise EvaluationError(f"no system to evaluate; known: {', '.join([*BUNDLES, *RIVALS])}")
    for index, spec in enumerate(specs):
        if spec.name.endswith("-best"):
            raise EvaluationError(f"{spec.name!r} ends in -best, the report's word; rename it: --bundle NAME=PATH")
        if spec.name in {other.name for other in specs[:index]}:
            raise EvaluationError(f"two systems are called {spec.name!r}; rename one: --bundle NAME=PATH")
    return specs
