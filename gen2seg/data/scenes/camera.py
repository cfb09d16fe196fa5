"""What lens, sensor and file do to a scene; none of it moves a pixel, so labels stay exact."""

import cv2
import numpy as np
from numpy.random import Generator

from .canvas import lit
from .chance import between, chance, count, pick

Image = np.ndarray  # (S, S, 3) RGB


def photograph(image: Image, rng: Generator) -> Image:
    """Uneven light, blur, noise, tone and colour changes, odd looks and JPEG, each now and then."""
    if chance(rng, 0.25):
        image = _uneven_light(image, rng)
    if chance(rng, 0.35):
        image = cv2.GaussianBlur(image, (0, 0), between(rng, 0.4, 1.8))
    if chance(rng, 0.12):
        image = _low_resolution(image, rng)
    if chance(rng, 0.4):
        image = _noisy(image, rng)
    if chance(rng, 0.5):
        image = _tone(image, rng)
    if chance(rng, 0.25):
        image = _hue(image, rng)
    image = _look(image, rng)
    if chance(rng, 0.25):
        image = _jpeg(image, rng)
    return image


def _uneven_light(image: Image, rng: Generator) -> Image:
    size = image.shape[0]
    dx, dy = rng.normal(size=2) * 0.4
    at = np.linspace(-1, 1, size, dtype=np.float32)
    return lit(image, np.clip(1 + dx * at[None] + dy * at[:, None], 0.4, 1.6))


def _low_resolution(image: Image, rng: Generator) -> Image:
    factor, size = between(rng, 0.4, 0.8), image.shape[0]
    small = cv2.resize(image, None, fx=factor, fy=factor, interpolation=cv2.INTER_AREA)
    return cv2.resize(small, (size, size), interpolation=cv2.INTER_LINEAR)


def _noisy(image: Image, rng: Generator) -> Image:
    spread = between(rng, 2, 22)
    shape = image.shape[:2] if chance(rng, 0.5) else image.shape
    noise = rng.standard_normal(shape, dtype=np.float32) * spread
    if noise.ndim == 2:
        noise = noise[..., None]
    return np.clip(image + noise, 0, 255).astype(np.uint8)


def _tone(image: Image, rng: Generator) -> Image:
    gamma, contrast, brightness = (
        np.exp(rng.normal() * 0.35),
        between(rng, 0.5, 1.3),
        between(rng, -0.15, 0.15),
    )
    curve = ((np.linspace(0, 1, 256) ** gamma - 0.5) * contrast + 0.5 + brightness) * 255
    return cv2.LUT(image, np.clip(curve, 0, 255).astype(np.uint8))


def _hue(image: Image, rng: Generator) -> Image:
    levels = np.arange(256)
    curves = np.stack(
        [
            (levels + count(rng, -15, 15)) % 180,
            np.clip(levels * between(rng, 0.3, 1.6), 0, 255),
            levels,
        ],
        axis=-1,
    ).astype(np.uint8)
    hsv = cv2.cvtColor(image, cv2.COLOR_RGB2HSV)
    return cv2.cvtColor(cv2.LUT(hsv, curves.reshape(1, 256, 3)), cv2.COLOR_HSV2RGB)


def _look(image: Image, rng: Generator) -> Image:
    """Grey (microscopes, X-ray), swapped channels, negatives, solarised film."""
    kind = rng.random()
    if kind < 0.18:
        image = cv2.cvtColor(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)
    elif kind < 0.26:
        image = np.ascontiguousarray(image[..., rng.permutation(3)])
    if chance(rng, 0.08):
        image = 255 - image
    if chance(rng, 0.02):
        image = np.where(image > pick(rng, (110, 150, 190)), 255 - image, image)
    return image


def _jpeg(image: Image, rng: Generator) -> Image:
    _, data = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, count(rng, 20, 90)])
    decoded = cv2.imdecode(data, cv2.IMREAD_COLOR)
    assert decoded is not None  # we encoded it ourselves
    return decoded
