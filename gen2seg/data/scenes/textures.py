"""Surfaces: a bank of grey fields (noise, stripes, cells, strokes) and the palettes that colour them."""

import math
from functools import lru_cache

import cv2
import numpy as np
from numpy.random import Generator

from .chance import angle, between, chance, count, pick

FIELD_SIZE = 320  # side of a field in the bank, pixels
BANK_FIELDS = 200

Field = np.ndarray  # (FIELD_SIZE, FIELD_SIZE)
Palette = np.ndarray  # (256, 1, 3) RGB: grey level -> colour


def _power_noise(rng: Generator, exponent: float, stretch: tuple[float, float] | None = None) -> np.ndarray:
    """Noise whose amplitude falls as frequency**-exponent (natural pictures: about 1), unit variance."""
    size = FIELD_SIZE
    fy, fx = np.fft.fftfreq(size)[:, None], np.fft.rfftfreq(size)[None]
    if stretch is not None:
        direction, factor = stretch
        c, s = math.cos(direction), math.sin(direction)
        fx, fy = c * fx + s * fy, (c * fy - s * fx) * factor
    radius = np.hypot(fx, fy)
    radius[0, 0] = 1
    spectrum = np.fft.rfft2(rng.standard_normal((size, size))) * radius**-exponent
    spectrum[0, 0] = 0
    field = np.fft.irfft2(spectrum, s=(size, size)).astype(np.float32)
    return field / (field.std() + 1e-6)


def _stripes(rng: Generator) -> np.ndarray:
    ys, xs = np.mgrid[0:FIELD_SIZE, 0:FIELD_SIZE].astype(np.float32)
    direction, period = angle(rng), between(rng, 5, 50)
    bend = _power_noise(rng, 2.0) * pick(rng, (0, 3, 12))
    field = np.sin((xs * math.cos(direction) + ys * math.sin(direction) + bend) * (2 * math.pi / period))
    if chance(rng, 0.5):
        field = np.sign(field)
    return field + _power_noise(rng, 1.0) * between(rng, 0, 0.3)


def _checks(rng: Generator) -> np.ndarray:
    ys, xs = np.mgrid[0:FIELD_SIZE, 0:FIELD_SIZE].astype(np.float32)
    direction, step = angle(rng), 2 * math.pi / between(rng, 8, 50)
    c, s = math.cos(direction), math.sin(direction)
    field = np.sign(np.sin((c * xs + s * ys) * step) * np.sin((c * ys - s * xs) * step))
    return field + _power_noise(rng, 1.0) * between(rng, 0, 0.4)


def _cells(rng: Generator) -> np.ndarray:
    seeds = np.full((FIELD_SIZE, FIELD_SIZE), 255, np.uint8)
    spots = rng.integers(0, FIELD_SIZE, (2, count(rng, 20, 400)))
    seeds[spots[0], spots[1]] = 0
    distance, index = cv2.distanceTransformWithLabels(seeds, cv2.DIST_L2, 3, labelType=cv2.DIST_LABEL_PIXEL)
    if chance(rng, 0.5):
        field = rng.standard_normal(int(index.max()) + 1).astype(np.float32)[np.asarray(index, np.int64)]
    else:
        field = np.minimum(distance, float(np.percentile(distance, 90)))
    return field + _power_noise(rng, 1.2) * float(field.std()) * between(rng, 0, 0.4)


def _dots(rng: Generator) -> np.ndarray:
    field = np.zeros((FIELD_SIZE, FIELD_SIZE), np.uint8)
    radius = count(rng, 2, 8)
    step = int(radius * between(rng, 2.5, 5))
    for y in range(0, FIELD_SIZE, step):
        for x in range(0, FIELD_SIZE, step):
            jitter = rng.integers(-radius // 2, radius // 2 + 1, 2)
            shade = count(rng, 120, 254)
            cv2.circle(field, (x + int(jitter[0]), y + int(jitter[1])), radius, shade, -1, cv2.LINE_AA)
    return field + _power_noise(rng, 1.0) * between(rng, 0, 30)


def _strokes(rng: Generator) -> np.ndarray:
    field = np.zeros((FIELD_SIZE, FIELD_SIZE), np.uint8)
    for _ in range(count(rng, 60, 400)):
        x, y = (int(v) for v in rng.integers(0, FIELD_SIZE, 2))
        direction, length = angle(rng), between(rng, 5, 60)
        end = (int(x + length * math.cos(direction)), int(y + length * math.sin(direction)))
        cv2.line(field, (x, y), end, count(rng, 80, 254), count(rng, 1, 3), cv2.LINE_AA)
    return field + _power_noise(rng, 1.2) * 20


def _print(rng: Generator) -> np.ndarray:
    """Lines of letters: the busy prints that thin objects lie on."""
    field = np.zeros((FIELD_SIZE, FIELD_SIZE), np.uint8)
    scale = between(rng, 0.4, 1.6)
    step = int(26 * scale) + 4
    letters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789 "
    font = pick(rng, (0, 2, 3, 4))
    for y in range(step, FIELD_SIZE + step, step):
        line = "".join(pick(rng, letters) for _ in range(40))
        cv2.putText(field, line, (-5, y), font, scale, count(rng, 100, 255), count(rng, 1, 3), cv2.LINE_AA)
    return field + _power_noise(rng, 1.2) * between(rng, 0, 25)


def _marble(rng: Generator) -> np.ndarray:
    field = _power_noise(rng, 1.8)
    return np.abs(field) if chance(rng, 0.5) else np.sin(field * between(rng, 2, 6))


def _natural(rng: Generator) -> np.ndarray:
    return _power_noise(rng, between(rng, 0.6, 2.3))


def _brushed(rng: Generator) -> np.ndarray:
    return _power_noise(rng, between(rng, 0.8, 2.0), (angle(rng), between(rng, 3, 12)))


# Natural-statistics noise is the commonest surface out of doors, so it has most of the places.
_MAKERS = (
    *(_natural,) * 6,
    *(_brushed,) * 2,
    _stripes,
    _checks,
    _cells,
    _dots,
    _strokes,
    _print,
    _marble,
    _marble,
)


def _to_grey(field: np.ndarray) -> Field:
    low, high = np.percentile(field[::4, ::4], [1, 99])
    return np.clip((field - low) / (high - low + 1e-6) * 255, 0, 255).astype(np.uint8)


class TextureBank:
    """Grey fields to cut surfaces from. The same seed gives the same bank."""

    def __init__(self, seed: int) -> None:
        rng = np.random.default_rng([seed, 0x7E87])
        makers = [_MAKERS[i % len(_MAKERS)] for i in range(BANK_FIELDS)]
        self.fields = [_to_grey(maker(rng)) for maker in makers]
        smooth = [i for i, maker in enumerate(makers) if maker is _natural]
        self.smooth_fields = [cv2.GaussianBlur(self.fields[i], (0, 0), 4) for i in smooth]

    def surface(self, rng: Generator, height: int, width: int, palette: Palette) -> np.ndarray:
        """A coloured surface, (height, width, 3) uint8 RGB."""
        colored = cv2.applyColorMap(self._cut(rng, pick(rng, self.fields), height, width), palette)
        if chance(rng, 0.25):  # a second field in brightness only: surfaces are seldom one pattern
            grain = self._cut(rng, pick(rng, self.fields), height, width)
            strength = between(rng, 0.1, 0.4)
            grey = cv2.cvtColor(grain, cv2.COLOR_GRAY2RGB)
            colored = cv2.addWeighted(colored, 1.0, grey, strength, -128 * strength)
        return colored

    def smooth(self, rng: Generator, height: int, width: int) -> np.ndarray:
        """A smooth field in about [-1, 1], for warps, lights and ragged shapes."""
        half = FIELD_SIZE // 2
        x, y = count(rng, 0, half), count(rng, 0, half)
        cut = pick(rng, self.smooth_fields)[y : y + half, x : x + half]
        return cv2.resize(cut, (width, height)).astype(np.float32) / 128 - 1

    @staticmethod
    def _cut(rng: Generator, field: Field, height: int, width: int) -> Field:
        zoom = pick(rng, (0.6, 1, 1, 1, 1.7, 3))
        rows = min(FIELD_SIZE, max(4, int(height / zoom)))
        columns = min(FIELD_SIZE, max(4, int(width / zoom)))
        y, x = count(rng, 0, FIELD_SIZE - rows), count(rng, 0, FIELD_SIZE - columns)
        cut = field[y : y + rows, x : x + columns]
        if chance(rng, 0.5):
            cut = cut[:, ::-1]
        if (rows, columns) == (height, width):
            return np.ascontiguousarray(cut)
        return cv2.resize(cut, (width, height), interpolation=cv2.INTER_LINEAR)


@lru_cache(maxsize=2)
def texture_bank(seed: int) -> TextureBank:
    """The bank of `seed`; the last two are kept, as consecutive scenes share one."""
    return TextureBank(seed)


def random_color(rng: Generator) -> np.ndarray:
    """An RGB colour in 0..255: half of them even in RGB, half even in hue, saturation and value."""
    if chance(rng, 0.5):
        return (rng.random(3) * 255).astype(np.float32)
    hsv = np.array([[[rng.random() * 180, rng.random() * 255, rng.random() * 255]]], np.uint8)
    return cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB)[0, 0].astype(np.float32)


def random_palette(rng: Generator, base: np.ndarray | None = None, contrast: float | None = None) -> Palette:
    """A ramp through 2..4 colours around `base`; `contrast` is their spread in 0..255."""
    base = random_color(rng) if base is None else base
    if contrast is None:
        contrast = pick(rng, (4, 4, 12, 12, 12, 30, 30, 30, 60, 60, 110))
    stops = count(rng, 2, 4)
    colors = base + rng.standard_normal((stops, 1)) * contrast + rng.standard_normal((stops, 3)) * contrast * 0.45
    if chance(rng, 0.12):
        colors[count(rng, 0, stops - 1)] = random_color(rng)
    at = np.linspace(0, stops - 1, 256)
    ramp = np.stack([np.interp(at, np.arange(stops), colors[:, c]) for c in range(3)], axis=-1)
    return np.clip(ramp, 0, 255).astype(np.uint8).reshape(256, 1, 3)


def dim(palette: Palette, factor: float) -> Palette:
    return np.clip(palette.astype(np.float32) * factor, 0, 255).astype(np.uint8)
