"""Silhouettes: each function returns the alpha of one object, uint8, on a patch of its own."""

import math
import string
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.random import Generator

from .chance import angle, between, chance, count, pick
from .textures import TextureBank

_SUBPIXEL_BITS = 4


@dataclass(frozen=True)
class Silhouette:
    """`alpha` (h, w) uint8, its top-left corner at (x, y) of the canvas, which may lie outside."""

    alpha: np.ndarray
    x: int
    y: int


def outline_points(rng: Generator, kind: str) -> np.ndarray:
    """A closed outline within the unit circle, (N, 2), at a random turn."""
    turns = np.linspace(0, 2 * math.pi, 64, endpoint=False)
    if kind == "ellipse":
        points = np.stack([np.cos(turns), np.sin(turns) * between(rng, 0.35, 1)], axis=-1)
    elif kind == "polygon":
        corners = count(rng, 3, 8)
        if chance(rng, 0.6):
            at = np.sort(rng.random(corners) * 2 * math.pi)
        else:
            at = np.arange(corners) * (2 * math.pi / corners)
        radius = 0.55 + 0.45 * rng.random(corners)
        points = np.stack([np.cos(at) * radius, np.sin(at) * radius * between(rng, 0.5, 1)], axis=-1)
    elif kind == "box":
        half = between(rng, 0.15, 1)
        points = np.array([[-1, -half], [1, -half], [1, half], [-1, half]])
        if chance(rng, 0.4):
            points = points * (1 + 0.35 * (2 * rng.random((4, 2)) - 1))
    elif kind == "star":
        lobes, n1, n2, n3 = count(rng, 2, 8), between(rng, 0.4, 3), between(rng, 0.4, 4), between(rng, 0.4, 4)
        inner = np.abs(np.cos(lobes * turns / 4)) ** n2 + np.abs(np.sin(lobes * turns / 4)) ** n3
        radius = (inner + 1e-6) ** (-1 / n1)
        radius = np.maximum(radius / radius.max(), 0.12)
        points = np.stack([np.cos(turns) * radius, np.sin(turns) * radius], axis=-1)
    else:  # "blob": a few Fourier terms
        radius = np.ones(64)
        for k in range(2, 8):
            radius = radius + rng.normal() * between(rng, 0.1, 0.6) / k * np.cos(k * turns + angle(rng))
        radius = np.maximum(radius, 0.15)
        radius = radius / radius.max()
        points = np.stack([np.cos(turns) * radius, np.sin(turns) * radius * between(rng, 0.5, 1)], axis=-1)
    return turned(points, angle(rng))


def turned(points: np.ndarray, turn: float) -> np.ndarray:
    c, s = math.cos(turn), math.sin(turn)
    return points @ np.array([[c, s], [-s, c]])


def fill(alpha: np.ndarray, points: np.ndarray, value: int = 255) -> None:
    fixed = np.round(points * (1 << _SUBPIXEL_BITS)).astype(np.int32)
    cv2.fillPoly(alpha, [fixed], value, cv2.LINE_AA, _SUBPIXEL_BITS)


def stroke(alpha: np.ndarray, points: np.ndarray, width: int, closed: bool = False, value: int = 255) -> None:
    fixed = np.round(points * (1 << _SUBPIXEL_BITS)).astype(np.int32)
    cv2.polylines(alpha, [fixed], closed, value, width, cv2.LINE_AA, _SUBPIXEL_BITS)


def polygon_silhouette(points: np.ndarray, cx: float, cy: float, radius: float) -> Silhouette:
    """The filled outline `points` (unit circle) at radius `radius` pixels around (cx, cy)."""
    patch, centre, x, y = _patch(cx, cy, radius)
    fill(patch, points * radius + centre)
    return Silhouette(patch, x, y)


def _patch(cx: float, cy: float, radius: float) -> tuple[np.ndarray, np.ndarray, int, int]:
    reach = math.ceil(radius) + 2
    x, y = int(cx) - reach, int(cy) - reach
    return np.zeros((2 * reach + 1, 2 * reach + 1), np.uint8), np.array([cx - x, cy - y]), x, y


def curve_points(rng: Generator, length: float, wander: float = 0.8, knots: int | None = None) -> np.ndarray:
    """A smooth open curve of about `length` pixels, centred on its mean, (60, 2)."""
    knots = count(rng, 3, 6) if knots is None else knots
    direction = angle(rng)
    points = [np.zeros(2)]
    for _ in range(knots):
        direction += rng.normal() * wander
        points.append(points[-1] + length / knots * np.array([math.cos(direction), math.sin(direction)]))
    at = np.linspace(0, knots, 60)
    path = np.stack([np.interp(at, np.arange(knots + 1), np.array(points)[:, axis]) for axis in (0, 1)], axis=-1)
    kernel = np.ones(13) / 13
    path = np.stack([np.convolve(np.pad(path[:, a], 6, mode="edge"), kernel, "valid") for a in (0, 1)], axis=-1)
    return path - path.mean(axis=0)


def _bar(rng: Generator, cx: float, cy: float, radius: float) -> Silhouette:
    patch, centre, x, y = _patch(cx, cy, radius * 1.3)
    stroke(patch, curve_points(rng, 1.5 * radius) + centre, int(max(4, between(rng, 0.2, 0.5) * radius)))
    return Silhouette(patch, x, y)


def _ring(rng: Generator, cx: float, cy: float, radius: float) -> Silhouette:
    width = max(2, int(radius * between(rng, 0.1, 0.4)))
    patch, centre, x, y = _patch(cx, cy, radius + width)
    axes = (int(radius), max(2, int(radius * between(rng, 0.5, 1))))
    cv2.ellipse(patch, tuple(int(v) for v in centre), axes, between(rng, 0, 180), 0, 360, 255, width, cv2.LINE_AA)
    return Silhouette(patch, x, y)


def _letter(rng: Generator, cx: float, cy: float, radius: float) -> Silhouette:
    patch, centre, x, y = _patch(cx, cy, radius * 1.5)
    character = pick(rng, string.ascii_letters + string.digits)
    font, scale = pick(rng, (0, 2, 3, 4, 6, 7)), radius / 11
    width = max(2, int(radius * between(rng, 0.12, 0.35)))
    (w, h), _ = cv2.getTextSize(character, font, scale, width)
    at = (int(centre[0] - w / 2), int(centre[1] + h / 2))
    cv2.putText(patch, character, at, font, scale, 255, width, cv2.LINE_AA)
    return Silhouette(patch, x, y)


def _body(rng: Generator, cx: float, cy: float, radius: float) -> Silhouette:
    """A body with limbs and lobes: one object of several convex parts."""
    patch, centre, x, y = _patch(cx, cy, radius * 1.35)
    fill(patch, outline_points(rng, "ellipse") * radius * 0.65 + centre)
    for _ in range(count(rng, 1, 5)):
        direction = angle(rng)
        toward = np.array([math.cos(direction), math.sin(direction)]) * radius
        if chance(rng, 0.5):
            lobe = outline_points(rng, pick(rng, ("ellipse", "blob"))) * radius * between(rng, 0.2, 0.45)
            fill(patch, lobe + centre + toward * 0.6)
        else:
            width = int(max(2, radius * between(rng, 0.08, 0.3)))
            bent = centre + toward * between(rng, 0.4, 0.8) + rng.normal(size=2) * radius * 0.15
            stroke(patch, np.array([centre, bent, centre + toward * 1.2]), width)
    return Silhouette(patch, x, y)


def _ragged(rng: Generator, cx: float, cy: float, radius: float, bank: TextureBank) -> Silhouette:
    size = max(8, int(2 * radius))
    field = bank.smooth(rng, size, size)
    at = np.linspace(-1, 1, size, dtype=np.float32)
    inside = (field - field.mean()) / (float(field.std()) + 1e-3) * 0.5 + 1.1 - 2.2 * (at[None] ** 2 + at[:, None] ** 2)
    alpha = np.where(inside > 0, np.uint8(255), np.uint8(0))
    return Silhouette(alpha, int(cx - size / 2), int(cy - size / 2))


# Kinds of solid objects and how often they come.
SOLID_KINDS = (
    ("ellipse", 1.2),
    ("blob", 1.6),
    ("polygon", 1.0),
    ("box", 1.2),
    ("star", 0.6),
    ("body", 1.8),
    ("bar", 0.7),
    ("ring", 0.35),
    ("letter", 0.35),
    ("ragged", 0.8),
)


def silhouette(rng: Generator, kind: str, cx: float, cy: float, radius: float, bank: TextureBank) -> Silhouette:
    """An object of `kind` (see SOLID_KINDS) around (cx, cy), about `radius` pixels large."""
    if kind == "bar":
        return _bar(rng, cx, cy, radius)
    if kind == "ring":
        return _ring(rng, cx, cy, radius)
    if kind == "letter":
        return _letter(rng, cx, cy, radius)
    if kind == "body":
        return _body(rng, cx, cy, radius)
    if kind == "ragged":
        return _ragged(rng, cx, cy, radius, bank)
    return polygon_silhouette(outline_points(rng, kind), cx, cy, radius)
