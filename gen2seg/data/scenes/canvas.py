"""The picture being painted and its label map, kept exact: whoever is painted last owns the pixel."""

from dataclasses import dataclass, replace

import cv2
import numpy as np
from numpy.random import Generator

from .chance import between, chance, count, pick
from .shapes import Silhouette, fill, outline_points
from .textures import Palette, TextureBank, random_color, random_palette

MIN_VISIBLE = 14  # pixels: smaller remains of an object are no instance


@dataclass(frozen=True)
class Finish:
    """How a surface is treated when an object is painted; probabilities in [0, 1]."""

    palette: Palette | None = None  # None: a random one
    parts: float = 0.3  # inner parts of another material
    outline: float = 0.12
    shadow: float = 0.25
    shading: float = 0.6
    glass: float = 0.04  # seen through, with a bright or dark rim
    opacity: float = 1.0


class Canvas:
    """`image` (S, S, 3) uint8 RGB and `labels` (S, S) int32, 0 = background, 1..count = instances."""

    def __init__(self, size: int, rng: Generator, bank: TextureBank) -> None:
        self.size = size
        self.rng = rng
        self.bank = bank
        self.image = np.zeros((size, size, 3), np.uint8)
        self.labels = np.zeros((size, size), np.int32)
        self.count = 0

    def cover(self, palette: Palette, mask: np.ndarray | None = None, labelled: bool = False) -> None:
        """Paint a surface over everything, or over `mask`; `labelled` makes it an instance."""
        surface = self.bank.surface(self.rng, self.size, self.size, palette)
        if chance(self.rng, 0.4):
            surface = lit(surface, self._slope(self.size, self.size, 0.3))
        if mask is None:
            self.image = surface
        else:
            cv2.copyTo(surface, mask.astype(np.uint8), self.image)
        if labelled and mask is not None and mask.any():
            self.count += 1
            self.labels[mask] = self.count

    def add(self, shape: Silhouette, finish: Finish, labelled: bool = True) -> bool:
        """Paint one object; False where too little of it lies on the canvas."""
        clipped = self._clip(shape)
        if clipped is None:
            return False
        alpha, x, y = clipped
        solid = alpha > 127
        if int(np.count_nonzero(solid)) < MIN_VISIBLE:
            return False
        if chance(self.rng, finish.shadow):
            self._cast_shadow(shape)
        h, w = alpha.shape
        window = self.image[y : y + h, x : x + w]
        glass = chance(self.rng, finish.glass)
        if glass:
            surface, opacity = self._glass(window, alpha), 1.0
        else:
            surface, opacity = self._surface(alpha, finish), finish.opacity
        cover = alpha.astype(np.float32) * (opacity / 255)
        window[:] = cv2.blendLinear(surface, np.ascontiguousarray(window), cover, 1 - cover)
        if labelled:
            self.count += 1
            self.labels[y : y + h, x : x + w][solid] = self.count
        return True

    def finished_labels(self) -> np.ndarray:
        """Labels renumbered 1..N; remains under MIN_VISIBLE pixels become background."""
        areas = np.bincount(self.labels.ravel(), minlength=self.count + 1)
        kept = areas >= MIN_VISIBLE
        kept[0] = False
        ids = np.where(kept, np.cumsum(kept), 0).astype(np.int32)
        return ids[self.labels]

    def _clip(self, shape: Silhouette) -> tuple[np.ndarray, int, int] | None:
        x0, y0 = max(0, shape.x), max(0, shape.y)
        x1 = min(self.size, shape.x + shape.alpha.shape[1])
        y1 = min(self.size, shape.y + shape.alpha.shape[0])
        if x1 - x0 < 3 or y1 - y0 < 3:
            return None
        alpha = shape.alpha[y0 - shape.y : y1 - shape.y, x0 - shape.x : x1 - shape.x]
        bx, by, bw, bh = cv2.boundingRect(alpha)  # curves leave most of their patch empty
        if bw < 3 or bh < 3:
            return None
        return np.ascontiguousarray(alpha[by : by + bh, bx : bx + bw]), x0 + bx, y0 + by

    def _surface(self, alpha: np.ndarray, finish: Finish) -> np.ndarray:
        rng = self.rng
        h, w = alpha.shape
        palette = random_palette(rng) if finish.palette is None else finish.palette
        surface = self.bank.surface(rng, h, w, palette)
        if min(h, w) > 12 and chance(rng, finish.parts):
            surface = self._with_parts(surface, palette)
        if chance(rng, finish.shading):
            surface = lit(surface, self._light(alpha))
        if chance(rng, finish.outline):
            surface[_rim(alpha, count(rng, 1, 2))] = (
                random_color(rng).astype(np.uint8) if chance(rng, 0.4) else pick(rng, (0, 20, 235, 255))
            )
        return surface

    def _with_parts(self, surface: np.ndarray, palette: Palette) -> np.ndarray:
        """Stripes, patches and halves of other materials that belong to the same object."""
        rng = self.rng
        h, w = surface.shape[:2]
        own = palette[128, 0].astype(np.float32)
        for _ in range(count(rng, 1, 4)):
            part = np.zeros((h, w), np.uint8)
            if chance(rng, 0.4):  # a straight split: trousers and shirt, lid and cup
                cut = between(rng, 0.2, 0.8)
                if chance(rng, 0.6):
                    part[int(cut * h) :] = 255
                else:
                    part[:, int(cut * w) :] = 255
            else:
                outline = outline_points(rng, pick(rng, ("ellipse", "box", "blob")))
                reach = max(w, h) * between(rng, 0.1, 0.4)
                fill(part, outline * reach + rng.random(2) * (w, h))
            base = None if chance(rng, 0.5) else own + rng.normal(size=3) * 40
            cover = part.astype(np.float32) / 255
            material = self.bank.surface(rng, h, w, random_palette(rng, base))
            surface = cv2.blendLinear(material, surface, cover, 1 - cover)
        return surface

    def _light(self, alpha: np.ndarray) -> np.ndarray:
        """Brightness over an object: a slope, a rounded body, or a bright rim (electron microscopes)."""
        rng = self.rng
        h, w = alpha.shape
        kind = rng.random()
        if kind < 0.4 or min(h, w) < 6:
            return self._slope(h, w, 0.35)
        inside = cv2.copyMakeBorder((alpha > 127).astype(np.uint8), 1, 1, 1, 1, cv2.BORDER_CONSTANT, value=0)
        depth = cv2.distanceTransform(inside, cv2.DIST_L2, 3)[1:-1, 1:-1]
        depth = np.sqrt(depth / (float(depth.max()) + 1e-3))
        if kind < 0.55:
            depth = 1 - depth
        dark = between(rng, 0.35, 0.9)
        light = dark + (1.15 - dark) * depth
        if kind > 0.8:  # a ball lit from one side
            light = light * self._slope(h, w, 0.35)
        return light

    def _slope(self, height: int, width: int, strength: float) -> np.ndarray:
        dx, dy = self.rng.normal(size=2) * strength
        xs = np.linspace(-dx, dx, width, dtype=np.float32)[None]
        ys = np.linspace(-dy, dy, height, dtype=np.float32)[:, None]
        return np.clip(1 + xs + ys, 1 - 2 * strength, 1 + 2 * strength)

    def _glass(self, window: np.ndarray, alpha: np.ndarray) -> np.ndarray:
        """What lies behind, moved a little and tinted, with a rim and a highlight."""
        rng = self.rng
        h, w = alpha.shape
        shift = np.array([[1, 0, rng.normal() * 3], [0, 1, rng.normal() * 3]], np.float32)
        seen = cv2.warpAffine(np.ascontiguousarray(window), shift, (w, h), borderMode=cv2.BORDER_REFLECT)
        tint = np.full_like(seen, random_color(rng).astype(np.uint8))
        strength = between(rng, 0.02, 0.3)
        seen = cv2.addWeighted(seen, 1 - strength, tint, strength, rng.normal() * 10)
        rim = cv2.GaussianBlur(_rim(alpha, count(rng, 1, 3)).astype(np.float32), (0, 0), 0.8)
        gleam = between(rng, 40, 140) * pick(rng, (1, 1, -1))
        return np.clip(seen + (rim * gleam)[..., None], 0, 255).astype(np.uint8)

    def _cast_shadow(self, shape: Silhouette) -> None:
        """Darken what lies behind the object, soft and to one side."""
        rng = self.rng
        reach = max(2.0, 0.08 * max(shape.alpha.shape))
        dx, dy = (rng.normal(size=2) * reach).astype(int)
        pad = int(2 * reach) + 1
        soft = cv2.copyMakeBorder(shape.alpha, pad, pad, pad, pad, cv2.BORDER_CONSTANT, value=0)
        soft = cv2.blur(soft, (2 * (pad // 2) + 1, 2 * (pad // 2) + 1))
        clipped = self._clip(replace(shape, alpha=soft, x=shape.x - pad + int(dx), y=shape.y - pad + int(dy)))
        if clipped is None:
            return
        alpha, x, y = clipped
        h, w = alpha.shape
        window = self.image[y : y + h, x : x + w]
        window[:] = lit(np.ascontiguousarray(window), 1 - alpha.astype(np.float32) * (between(rng, 0.2, 0.6) / 255))


def _rim(alpha: np.ndarray, width: int) -> np.ndarray:
    solid = cv2.copyMakeBorder((alpha > 127).astype(np.uint8), 2, 2, 2, 2, cv2.BORDER_CONSTANT, value=0)
    core = cv2.erode(solid, np.ones((3, 3), np.uint8), iterations=width)
    return (solid - core)[2:-2, 2:-2] > 0


def lit(surface: np.ndarray, light: np.ndarray) -> np.ndarray:
    """`surface` (h, w, 3) uint8 times `light` (h, w), saturated."""
    factor = np.ascontiguousarray(light, np.float32)
    return cv2.multiply(surface, cv2.merge((factor, factor, factor)), dtype=cv2.CV_8U)
