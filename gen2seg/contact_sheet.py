"""Contact sheets: small pictures in lines and columns, with titles, for people to look at."""

from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont

# Longest side of a small picture, pixels.
TILE = 240

_GAP = 6
_TITLE_HEIGHT = 20
_PAPER = (255, 255, 255)
_INK = (30, 30, 30)


def fit_tile(image: np.ndarray, size: int = TILE) -> np.ndarray:
    """Scale a picture uint8 [H, W, 3] so that its longer side is `size`; never up."""
    picture = Image.fromarray(image)
    scale = size / max(picture.size)
    if scale < 1:
        width, height = (max(1, round(side * scale)) for side in picture.size)
        picture = picture.resize((width, height), Image.Resampling.BOX)
    return np.asarray(picture)


def draw_clicks(image: np.ndarray, points: Sequence[tuple[float, float]], radius: float = 3.0) -> np.ndarray:
    """A copy of uint8 [H, W, 3] with a ringed dot at each point (x, y), which shows on any ground."""
    picture = Image.fromarray(image.copy())
    draw = ImageDraw.Draw(picture)
    for x, y in points:
        draw.ellipse((x - radius, y - radius, x + radius, y + radius), (255, 40, 40), (255, 255, 255), 1)
    return np.asarray(picture)


def make_sheet(
    titles: Sequence[str], names: Sequence[str], lines: Sequence[Sequence[np.ndarray]], size: int = TILE
) -> Image.Image:
    """Lay small pictures out in a table.

    Args:
        titles: one for each column.
        names: one for each line, written under its first picture.
        lines: for each line its pictures, uint8 [h, w, 3], none larger than `size`.
        size: width of a column.
    """
    font = ImageFont.load_default(12)
    heights = [max((len(picture) for picture in line), default=0) + _TITLE_HEIGHT for line in lines]
    width = _GAP + len(titles) * (size + _GAP)
    sheet = Image.new("RGB", (width, _TITLE_HEIGHT + _GAP + sum(heights) + _GAP * len(lines)), _PAPER)
    draw = ImageDraw.Draw(sheet)
    for column, title in enumerate(titles):
        draw.text((_GAP + column * (size + _GAP), 4), title, _INK, font)
    top = _TITLE_HEIGHT + _GAP
    for line, name, height in zip(lines, names, heights, strict=True):
        for column, picture in enumerate(line):
            sheet.paste(Image.fromarray(picture), (_GAP + column * (size + _GAP), top))
        draw.text((_GAP, top + height - _TITLE_HEIGHT + 2), name, _INK, font)
        top += height + _GAP
    return sheet
