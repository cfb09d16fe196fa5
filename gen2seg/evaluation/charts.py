"""Line charts as pictures, drawn with Pillow alone."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from PIL import Image, ImageDraw, ImageFont

_SIZE = (760, 520)
_LEFT, _TOP, _RIGHT, _BOTTOM = 70, 44, 24, 56
_PAPER, _INK, _GRID = (255, 255, 255), (30, 30, 30), (222, 222, 222)
# Dark and far apart, also for colour-blind readers (after Okabe and Ito, 2008).
_COLORS = ((0, 114, 178), (213, 94, 0), (0, 158, 115), (204, 121, 167), (120, 94, 0), (86, 180, 233), (80, 80, 80))
_TICKS = 5


@dataclass(frozen=True)
class Line:
    """One line: its name in the legend, its points (x, y), and perhaps a band (low, high) around each of them."""

    name: str
    points: Sequence[tuple[float, float]]
    band: Sequence[tuple[float, float]] = ()


def draw_chart(
    title: str,
    x_title: str,
    y_title: str,
    lines: Sequence[Line],
    *,
    x_range: tuple[float, float],
    y_range: tuple[float, float] = (0.0, 1.0),
    x_ticks: Sequence[float] | None = None,
    logarithmic: bool = False,
) -> Image.Image:
    """A chart; points outside the ranges are moved to their ends.

    Args:
        title, x_title, y_title: texts.
        lines: at least one; a single point is drawn as a dot.
        x_range, y_range: (low, high), low < high.
        x_ticks: where to mark the x axis; None: five equal steps.
        logarithmic: the x axis is, and x_range positive; the y axis is linear.
    """
    across_of = math.log if logarithmic else float
    left_end, right_end = (across_of(end) for end in x_range)
    picture = Image.new("RGB", _SIZE, _PAPER)
    draw = ImageDraw.Draw(picture)
    font, small = ImageFont.load_default(15), ImageFont.load_default(12)
    right, bottom = _SIZE[0] - _RIGHT, _SIZE[1] - _BOTTOM

    def place(x: float, y: float) -> tuple[float, float]:
        across = min(max((across_of(x) - left_end) / (right_end - left_end), 0), 1)
        up = min(max((y - y_range[0]) / (y_range[1] - y_range[0]), 0), 1)
        return _LEFT + across * (right - _LEFT), bottom - up * (bottom - _TOP)

    for tick in _steps(x_range) if x_ticks is None else x_ticks:
        x, _ = place(tick, 0)
        draw.line([(x, _TOP), (x, bottom)], _GRID)
        draw.text((x, bottom + 6), f"{tick:.4g}", _INK, small, anchor="mt")
    for tick in _steps(y_range):
        _, y = place(x_range[0], tick)
        draw.line([(_LEFT, y), (right, y)], _GRID)
        draw.text((_LEFT - 8, y), f"{tick:.4g}", _INK, small, anchor="rm")
    draw.rectangle([(_LEFT, _TOP), (right, bottom)], outline=_INK)
    draw.text((_LEFT, 14), title, _INK, font)
    draw.text(((_LEFT + right) / 2, _SIZE[1] - 14), x_title, _INK, small, anchor="mb")
    draw.text((8, _TOP - 26), y_title, _INK, small)
    for index, line in enumerate(lines):
        if line.band:
            _shade(
                picture,
                [[place(x, end) for end in ends] for (x, _), ends in zip(line.points, line.band, strict=True)],
                index,
            )
    draw = ImageDraw.Draw(picture)
    for index, line in enumerate(lines):
        color = _COLORS[index % len(_COLORS)]
        points = [place(x, y) for x, y in line.points]
        if len(points) > 1:
            draw.line(points, color, 2, joint="curve")
        for x, y in points:
            radius = 2 if len(points) > 1 else 5
            draw.ellipse((x - radius, y - radius, x + radius, y + radius), color)
        row = _TOP + 10 + 18 * index
        width = max(draw.textlength(other.name, small) for other in lines)
        draw.rectangle([(right - width - 32, row + 2), (right - width - 18, row + 10)], color)
        draw.text((right - width - 12, row + 6), line.name, _INK, small, anchor="lm")
    return picture


def _shade(picture: Image.Image, ends: Sequence[Sequence[tuple[float, float]]], index: int) -> None:
    """Lay a line's colour thinly over the band between `ends`, (low, high) from left to right."""
    mask = Image.new("L", picture.size, 0)
    outline = [low for low, _ in ends] + [high for _, high in reversed(ends)]
    ImageDraw.Draw(mask).polygon(outline, fill=40)
    picture.paste(_COLORS[index % len(_COLORS)], (0, 0, *picture.size), mask)


def _steps(ends: tuple[float, float]) -> list[float]:
    return [ends[0] + (ends[1] - ends[0]) * k / _TICKS for k in range(_TICKS + 1)]
