"""Pictures made worse, to see what a system still knows: the distortions of gen2seg (arXiv 2505.15263, Table 6).

The paper names them; the formulas are those of Pillow and of torchvision's functions on Pillow pictures.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
from PIL import Image, ImageEnhance, ImageOps

from gen2seg.evaluation.errors import EvaluationError
from gen2seg.evaluation.systems import Points, Proposals, Setting, Signs, System, SystemSpec


def _contrast(picture: Image.Image, factor: float) -> Image.Image:
    """Away from (factor > 1) or toward the picture's mean grey."""
    return ImageEnhance.Contrast(picture).enhance(factor)


def _grey(picture: Image.Image) -> Image.Image:
    """ITU-R 601-2 luma in all channels."""
    return picture.convert("L")


def _hue(picture: Image.Image, turn: float) -> Image.Image:
    """Hue turned by `turn` of the circle; a step of hue is 1/255 of it (76 steps for 0.3), as in torchvision."""
    hue, saturation, value = picture.convert("HSV").split()
    turned = (np.asarray(hue, np.int64) + int(turn * 255)) % 256
    return Image.merge("HSV", (Image.fromarray(turned.astype(np.uint8)), saturation, value))


DISTORTIONS: dict[str, Callable[[Image.Image], Image.Image]] = {
    "solarise": partial(ImageOps.solarize, threshold=128),  # 128 and more becomes 255 minus it
    "contrast-2.0": partial(_contrast, factor=2.0),
    "contrast-0.5": partial(_contrast, factor=0.5),
    "grey": _grey,
    "hue+0.3": partial(_hue, turn=0.3),
    "hue-0.3": partial(_hue, turn=-0.3),
}


def distort(image: np.ndarray, name: str) -> np.ndarray:
    """A distorted copy of uint8 [H, W, 3]; `name` is a key of DISTORTIONS."""
    return np.array(DISTORTIONS[name](Image.fromarray(image)).convert("RGB"))


def with_distortions(specs: Sequence[SystemSpec], names: Sequence[str]) -> list[SystemSpec]:
    """The systems, and after them each that can be opened as it is on distorted pictures, called SYSTEM+NAME; "all"
    names all distortions.

    Raises:
        EvaluationError: an unknown name.
    """
    for name in names:
        if name not in DISTORTIONS and name != "all":
            raise EvaluationError(f"unknown distortion {name!r}; known: all, {', '.join(DISTORTIONS)}")
    wanted = [name for name in DISTORTIONS if name in names or "all" in names]
    return [
        *specs,
        *(
            replace(s, name=f"{s.name}+{name}", of=s.name, distortion=name)
            for name in wanted
            for s in specs
            if not s.missing
        ),
    ]


def open_systems(specs: Sequence[SystemSpec]) -> dict[str, System]:
    """Open the systems, by name; one on distorted pictures shares the system it follows.

    Raises:
        Gen2SegError: one cannot be opened.
    """
    systems: dict[str, System] = {}
    for spec in specs:
        if spec.distortion:
            systems[spec.name] = DistortedSystem(systems[spec.of], spec.of, spec.distortion)
        else:
            systems[spec.name] = spec.open()
    return systems


class DistortedSystem:
    """Answers clicks on a picture that was distorted before; edges and automatic masks are not judged so."""

    has_edges = False
    mask_settings: tuple[Setting, ...] = ()

    def __init__(self, system: System, of: str, distortion: str) -> None:
        self._system, self._of, self._name = system, of, distortion

    @property
    def settings(self) -> tuple[Setting, ...]:
        return self._system.settings

    def prepare(self, image: np.ndarray) -> Any:
        return self._system.prepare(distort(image, self._name))

    def mask(
        self,
        state: Any,
        points: Points,
        setting: Setting,
        before: np.ndarray | None = None,
        labels: Signs = None,
    ) -> np.ndarray:
        return self._system.mask(state, points, setting, before, labels)

    def edges(self, state: Any) -> np.ndarray:
        return self._system.edges(state)

    def masks(self, state: Any, setting: Setting) -> Proposals:
        return self._system.masks(state, setting)

    def colors(self, state: Any) -> np.ndarray | None:
        return self._system.colors(state)

    def describe(self) -> dict[str, Any]:
        return {**self._system.describe(), "of": self._of, "distortion": self._name}
