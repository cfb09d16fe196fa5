"""Families of scenes: what kinds of things lie where. Each function paints one scene onto a canvas."""

import math
from collections.abc import Callable

import cv2
import numpy as np

from .canvas import Canvas, Finish
from .chance import angle, between, chance, count, log_between, pick, weighted
from .shapes import (
    SOLID_KINDS,
    Silhouette,
    curve_points,
    outline_points,
    polygon_silhouette,
    silhouette,
    stroke,
    turned,
)
from .textures import dim, random_color, random_palette


def _solid(canvas: Canvas, cx: float, cy: float, radius: float) -> Silhouette:
    return silhouette(canvas.rng, weighted(canvas.rng, SOLID_KINDS), cx, cy, radius, canvas.bank)


def _anywhere(canvas: Canvas) -> tuple[float, float]:
    return canvas.rng.random() * canvas.size, canvas.rng.random() * canvas.size


def _background(canvas: Canvas) -> np.ndarray:
    """One surface, or a few unlabelled ones (wall and floor); returns the colour of the first."""
    rng = canvas.rng
    base = random_color(rng)
    canvas.cover(random_palette(rng, base))
    if chance(rng, 0.3):
        for region in _regions(canvas, count(rng, 2, 3))[1:]:
            canvas.cover(random_palette(rng, base + rng.normal(size=3) * 30), region)
    return base


def scattered(canvas: Canvas) -> None:
    """1..25 unlike objects on a surface; some nearly the colour of what they lie on."""
    rng = canvas.rng
    base = _background(canvas)
    number = int(log_between(rng, 1, 26))
    typical = between(rng, 0.25, 0.5) * canvas.size / math.sqrt(number)
    for _ in range(number):
        radius = max(5.0, typical * math.exp(between(rng, -0.8, 0.6)))
        palette = random_palette(rng, base + rng.normal(size=3) * 30) if chance(rng, 0.15) else None
        canvas.add(_solid(canvas, *_anywhere(canvas), radius), Finish(palette=palette))


def still_life(canvas: Canvas) -> None:
    """A few large objects of several materials, close together, as in photographs of people and things."""
    rng = canvas.rng
    _background(canvas)
    number = count(rng, 1, 6)
    middle = np.array(_anywhere(canvas)) * 0.5 + canvas.size * 0.25
    for _ in range(number):
        cx, cy = middle + rng.normal(size=2) * canvas.size * 0.25
        radius = canvas.size * log_between(rng, 0.12, 0.45)
        kind = pick(rng, ("body", "body", "blob", "box", "ellipse", "ragged", "polygon"))
        canvas.add(silhouette(rng, kind, cx, cy, radius, canvas.bank), Finish(parts=0.75, glass=0.05))
    for _ in range(count(rng, 0, 8) if chance(rng, 0.5) else 0):
        radius = max(5.0, canvas.size * log_between(rng, 0.025, 0.08))
        canvas.add(_solid(canvas, *_anywhere(canvas), radius), Finish())


def _regions(canvas: Canvas, number: int) -> list[np.ndarray]:
    """Cut the picture into `number` regions by bent bands, cells or boxes."""
    rng, size = canvas.rng, canvas.size
    ys, xs = np.mgrid[0:size, 0:size].astype(np.float32)
    bend = pick(rng, (0, 8, 30))
    if bend:
        xs = xs + canvas.bank.smooth(rng, size, size) * bend
        ys = ys + canvas.bank.smooth(rng, size, size) * bend
    kind = rng.random()
    if kind < 0.4:
        cuts = np.sort(0.1 + 0.8 * rng.random(number - 1)) * size
        turn = rng.normal() * 0.4 if chance(rng, 0.7) else angle(rng)
        along = (ys - size / 2) * math.cos(turn) + (xs - size / 2) * math.sin(turn) + size / 2
        index = np.searchsorted(cuts, along.ravel()).reshape(size, size)
    elif kind < 0.8:
        seeds = rng.random((number, 2)) * size
        index = np.argmin(np.stack([(xs - x) ** 2 + (ys - y) ** 2 for x, y in seeds]), axis=0)
    else:
        index = np.zeros((size, size), np.int64)
        for i in range(1, number):
            x0, y0 = (rng.random(2) - 0.2) * size
            w, h = (0.2 + 0.6 * rng.random(2)) * size
            index[(xs > x0) & (xs < x0 + w) & (ys > y0) & (ys < y0 + h)] = i
    return [index == i for i in range(number)]


def landscape(canvas: Canvas) -> None:
    """Regions that cover everything and are instances themselves, with objects on them."""
    rng = canvas.rng
    for region in _regions(canvas, count(rng, 2, 8)):
        canvas.cover(random_palette(rng), region, labelled=True)
    for _ in range(count(rng, 0, 8)):
        radius = max(7.0, canvas.size * log_between(rng, 0.05, 0.35))
        canvas.add(_solid(canvas, *_anywhere(canvas), radius), Finish(parts=0.5))


def _packed_centres(canvas: Canvas, number: int, radius: float, spread: float) -> list[tuple[float, float, float]]:
    """(x, y, radius) of discs in touching heaps; `spread` is their least distance in sums of radii."""
    rng = canvas.rng
    placed = np.zeros((number, 3))
    n = 0
    clumped = between(rng, 0.2, 0.8)
    for _ in range(number):
        for _ in range(8):
            if n == 0 or not chance(rng, clumped):
                at = rng.random(2) * canvas.size
            else:
                at = placed[int(rng.random() * n), :2] + rng.normal(size=2) * radius * 1.8
            own = radius * math.exp(rng.normal() * 0.25)
            gap = np.hypot(placed[:n, 0] - at[0], placed[:n, 1] - at[1])
            if np.all(gap > (placed[:n, 2] + own) * spread):
                placed[n] = at[0], at[1], own
                n += 1
                break
    return [tuple(row) for row in placed[:n]]


def crowd(canvas: Canvas) -> None:
    """Many look-alikes that touch: nuclei, cells, powder, coins, mushrooms, nuts."""
    rng, size = canvas.rng, canvas.size
    style = weighted(
        rng, (("fluorescence", 0.24), ("stain", 0.2), ("bright-field", 0.1), ("powder", 0.16), ("table", 0.3))
    )
    number = int(log_between(rng, 5, 80))
    radius = float(np.clip(size * between(rng, 0.18, 0.5) / math.sqrt(number), 3.5, size * 0.2))
    finish = Finish(parts=0.08, glass=0.0, outline=0.3 if chance(rng, 0.25) else 0.0)
    if style == "fluorescence":
        dark = np.full(3, between(rng, 0, 35), np.float32)
        canvas.cover(random_palette(rng, dark, pick(rng, (2, 5, 10))))
        base = random_color(rng) if chance(rng, 0.3) else np.full(3, between(rng, 60, 255), np.float32)
    elif style == "stain":
        light = np.array([between(rng, 170, 250), between(rng, 120, 235), between(rng, 170, 250)])
        canvas.cover(random_palette(rng, light, pick(rng, (6, 14, 25, 40))))
        base = np.array([between(rng, 60, 160), between(rng, 30, 120), between(rng, 90, 180)])
        if chance(rng, 0.5):  # tissue around the nuclei, unlabelled
            for _ in range(count(rng, 2, 12)):
                tissue = silhouette(rng, "ragged", *_anywhere(canvas), size * between(rng, 0.1, 0.4), canvas.bank)
                soft = random_palette(rng, light * between(rng, 0.75, 0.95), 10)
                canvas.add(tissue, Finish(palette=soft, parts=0, shadow=0, glass=0, opacity=0.7), labelled=False)
    elif style == "bright-field":
        base = random_color(rng) * 0.4 + 100
        canvas.cover(random_palette(rng, base, pick(rng, (3, 8))))
        base = base + rng.normal(size=3) * 12
        finish = Finish(parts=0.1, glass=0.3, outline=0.7)
    elif style == "powder":
        canvas.cover(random_palette(rng, np.full(3, between(rng, 10, 90), np.float32), pick(rng, (4, 10, 20))))
        base = np.full(3, between(rng, 90, 220), np.float32)
        finish = Finish(parts=0.05, glass=0.0, outline=0.1, shading=1.0, shadow=0.4)
    else:
        _background(canvas)
        base = random_color(rng)
        finish = Finish(parts=0.35, glass=0.02, outline=0.15, shadow=0.5)
    palette = random_palette(rng, base)
    common = outline_points(rng, pick(rng, ("ellipse", "blob", "star", "polygon", "box"))) if chance(rng, 0.4) else None
    spread = between(rng, 0.75, 1.05) if chance(rng, 0.7) else 0.4
    soft_edge = style in ("fluorescence", "stain", "bright-field") and chance(rng, 0.5)
    for cx, cy, own in _packed_centres(canvas, number, radius, spread):
        outline = outline_points(rng, "blob" if chance(rng, 0.3) else "ellipse") if common is None else common
        shape = polygon_silhouette(turned(outline, angle(rng)), cx, cy, own)
        if soft_edge:
            shape = Silhouette(cv2.GaussianBlur(shape.alpha, (0, 0), 0.9), shape.x, shape.y)
        factor = between(rng, 0.3, 1.1) if style == "fluorescence" else between(rng, 0.75, 1.1)
        surface = dim(palette, factor) if chance(rng, 0.85) else random_palette(rng, base * factor)
        canvas.add(shape, Finish(**{**vars(finish), "palette": surface}))


def _lay_wire(canvas: Canvas, width: int, length: float, palette: np.ndarray | None) -> None:
    """A bent tube across the picture: a core, a lighter line along it, perhaps a shadow."""
    rng, size = canvas.rng, canvas.size
    path = curve_points(rng, length, wander=pick(rng, (0.15, 0.5, 0.9))) + _anywhere(canvas)
    alpha = np.zeros((size, size), np.uint8)
    stroke(alpha, path, width, closed=chance(rng, 0.08))
    tube = Finish(palette=palette, parts=0, glass=0, outline=0, shading=0.2, shadow=0.5)
    if not canvas.add(Silhouette(alpha, 0, 0), tube) or width < 4 or not chance(rng, 0.7):
        return
    shine = np.zeros((size, size), np.uint8)
    stroke(shine, path + rng.normal(size=2) * width * 0.12, max(1, width // 3))
    shine = np.where(alpha > 127, shine, np.uint8(0))
    light = cv2.GaussianBlur(shine, (0, 0), width / 6 + 0.5).astype(np.float32) * (between(rng, -0.4, 0.8) / 255)
    mask = canvas.labels == canvas.count
    brighter = np.clip(canvas.image * (1 + light[..., None]), 0, 255).astype(np.uint8)
    cv2.copyTo(brighter, mask.astype(np.uint8), canvas.image)


def wires(canvas: Canvas) -> None:
    """Cables, fences, rings and letters, often over a busy print, crossing one another."""
    rng, size = canvas.rng, canvas.size
    _background(canvas)
    base = random_color(rng) if chance(rng, 0.3) else None
    usual_width = int(log_between(rng, 2, 14))
    for _ in range(count(rng, 1, 9)):
        palette = random_palette(rng, base, pick(rng, (3, 8, 20)))
        _lay_wire(canvas, max(2, usual_width + count(rng, -1, 1)), size * log_between(rng, 0.4, 1.8), palette)
    for _ in range(count(rng, 0, 6)):
        kind = pick(rng, ("ring", "letter", "bar"))
        radius = max(7.0, size * log_between(rng, 0.04, 0.2))
        canvas.add(silhouette(rng, kind, *_anywhere(canvas), radius, canvas.bank), Finish(parts=0))


def rooftops(canvas: Canvas) -> None:
    """Boxes in rows as seen from above, with shadows to one side, over patched ground."""
    rng, size = canvas.rng, canvas.size
    for region in _regions(canvas, count(rng, 3, 8)):
        canvas.cover(random_palette(rng, contrast=pick(rng, (8, 15, 30))), region)
    turn, step = angle(rng), size * log_between(rng, 0.06, 0.3)
    usual = random_color(rng)
    c, s = math.cos(turn), math.sin(turn)
    reach = int(size / step) + 1
    for i in range(-reach, reach + 1):
        for j in range(-reach, reach + 1):
            cx, cy = size / 2 + step * (c * i - s * j), size / 2 + step * (s * i + c * j)
            if not (0 <= cx < size and 0 <= cy < size) or chance(rng, 0.3) or canvas.count > 80:
                continue
            half = np.array([between(rng, 0.2, 0.52), between(rng, 0.2, 0.52)])
            corners = np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]]) * half
            if chance(rng, 0.25):  # an L: one corner folded in
                corners = np.insert(corners, 2, [[half[0], 0], [0, 0], [0, half[1]]], axis=0)[[0, 1, 2, 3, 4, 6]]
            roof = random_palette(rng, usual + rng.normal(size=3) * pick(rng, (10, 60)), pick(rng, (4, 10, 25)))
            shape = polygon_silhouette(turned(corners, turn), cx, cy, step)
            canvas.add(shape, Finish(palette=roof, parts=0.3, shadow=0.7, glass=0, outline=0.05, shading=0.3))


def particles(canvas: Canvas) -> None:
    """Small or faint things on an even ground: flakes, precipitates, dust, birds in the sky."""
    rng, size = canvas.rng, canvas.size
    ground = random_color(rng)
    canvas.cover(random_palette(rng, ground, pick(rng, (2, 4, 10, 25))))
    step = rng.normal(size=3) * pick(rng, (10, 20, 40, 80)) + pick(rng, (-20, 20))
    for _ in range(int(log_between(rng, 3, 80))):
        radius = max(3.0, size * log_between(rng, 0.012, 0.09))
        kind = pick(rng, ("polygon", "blob", "ellipse", "box", "ragged"))
        palette = random_palette(rng, ground + step * between(rng, 0.6, 1.3), pick(rng, (2, 5, 12)))
        shape = silhouette(rng, kind, *_anywhere(canvas), radius, canvas.bank)
        canvas.add(shape, Finish(palette=palette, parts=0.05, glass=0, shadow=0.05, shading=0.2))


# Families and how often each comes.
LAYOUTS: tuple[tuple[Callable[[Canvas], None], float], ...] = (
    (scattered, 0.22),
    (still_life, 0.16),
    (landscape, 0.18),
    (crowd, 0.22),
    (wires, 0.10),
    (rooftops, 0.05),
    (particles, 0.07),
)
