"""Contact sheets of an evaluation: picture, colours, ground truth and every system's masks, to look at."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
from PIL import Image

from gen2seg.contact_sheet import TILE, draw_clicks, fit_tile, make_sheet
from gen2seg.evaluation.automatic import best_first
from gen2seg.evaluation.clicks import Click
from gen2seg.evaluation.systems import Proposals, Segments, Setting
from gen2seg_runtime.formats import overlay

SHOWN_MASKS = 100  # automatic masks in a tile, the best ones


@dataclass(frozen=True)
class GalleryRow:
    """The small pictures of one image.

    Attributes:
        id: the image's id.
        image: uint8 [h, w, 3], with the clicks drawn in.
        plain: the same without the clicks.
        truth: int32 [h, w], the clicked instances.
        colors: by system, uint8 [h, w, 3]; only systems that work on colours of their own.
        masks: by system and setting, int32 [h, w]: the label of the click whose mask covers a pixel.
        instances: int32 [h, w], all instances.
        found: by system and setting, int32 [h, w]: the number of the automatic mask that covers a pixel.
    """

    id: str
    image: np.ndarray
    plain: np.ndarray
    truth: np.ndarray
    colors: dict[str, np.ndarray]
    masks: dict[tuple[str, Setting], np.ndarray]
    instances: np.ndarray
    found: dict[tuple[str, Setting], np.ndarray]


@dataclass(frozen=True)
class Column:
    """One column of a sheet: a system's masks at one setting."""

    title: str
    system: str
    setting: Setting


class GalleryRowBuilder:
    """Collects a GalleryRow while an image is judged; masks are kept at tile size only."""

    def __init__(self, id: str, image: np.ndarray, labels: np.ndarray, clicks: Sequence[Click]) -> None:
        """Start the row of an image uint8 [H, W, 3] with its labels int [H, W] and its clicks."""
        self._id = id
        self._plain = fit_tile(image)
        height, width = self._plain.shape[:2]
        # Labels must not be averaged: take the pixel at each tile pixel's centre.
        rows = ((np.arange(height) + 0.5) * image.shape[0] / height).astype(int)
        columns = ((np.arange(width) + 0.5) * image.shape[1] / width).astype(int)
        self._picked = np.ix_(rows, columns)
        clicked = [click.instance for click in clicks]
        small = labels[self._picked].astype(np.int32)
        self._instances = small
        self._truth = np.where(np.isin(small, clicked), small, 0)
        scale = width / image.shape[1]
        self._image = draw_clicks(self._plain, [(c.x * scale, c.y * scale) for c in clicks])
        self._colors: dict[str, np.ndarray] = {}
        self._masks: dict[tuple[str, Setting], np.ndarray] = {}
        self._found: dict[tuple[str, Setting], np.ndarray] = {}

    def color_tile(self, colors: np.ndarray | None) -> np.ndarray | None:
        """A system's colours uint8 [H, W, 3] at tile size."""
        return None if colors is None else fit_tile(colors)

    def shrink_mask(self, mask: np.ndarray) -> np.ndarray:
        """A mask bool [H, W] at tile size."""
        return mask[self._picked]

    def start_painting(self) -> "Painting":
        """An empty picture for one system's masks at one setting."""
        return Painting(self._truth.shape)

    def add_system(
        self, name: str, settings: Sequence[Setting], colors: np.ndarray | None, masks: np.ndarray | None
    ) -> None:
        """Note a system's tiles: its colours, if it has some, and int32 [S, h, w], the painting of each setting."""
        if colors is not None:
            self._colors[name] = colors
        if masks is not None:
            self._masks.update({(name, setting): mask for setting, mask in zip(settings, masks, strict=True)})

    def watch(self, proposals: Proposals) -> tuple[Proposals, "FoundTile"]:
        """Automatic masks as they are, and the tile that has seen them once they were taken one by one."""
        tile = FoundTile(self._truth.shape)
        if isinstance(proposals, Segments):
            kept = np.zeros(len(proposals.scores) + 1, np.int32)
            best = best_first(proposals.scores)[:SHOWN_MASKS]
            kept[best + 1] = best + 1
            tile.whole = kept[proposals.labels[self._picked]]
            return proposals, tile
        return self._seen(proposals, tile), tile

    def _seen(self, pairs: Iterable[tuple[np.ndarray, float]], tile: "FoundTile") -> Iterator[tuple[np.ndarray, float]]:
        for mask, score in pairs:
            tile.seen.append((float(score), int(np.count_nonzero(mask)), self.shrink_mask(mask)))
            yield mask, score

    def add_found(self, name: str, settings: Sequence[Setting], tiles: np.ndarray | None) -> None:
        """Note the tiles int32 [M, h, w] of a system's automatic masks at each of its settings."""
        if tiles is not None:
            self._found.update({(name, setting): tile for setting, tile in zip(settings, tiles, strict=True)})

    def finish(self) -> GalleryRow:
        return GalleryRow(
            self._id, self._image, self._plain, self._truth, self._colors, self._masks, self._instances, self._found
        )


def draw_gallery(rows: Sequence[GalleryRow], columns: Sequence[Column]) -> Image.Image:
    """One contact sheet: a line per image; picture, ground truth, colours, then `columns`."""
    painted = [name for name in (rows[0].colors if rows else ()) if any(name == c.system for c in columns)]
    titles = ["image", "ground truth", *(f"{name}: colours" for name in painted), *(c.title for c in columns)]
    lines = [
        [
            row.image,
            overlay(row.plain, row.truth, 0.6),
            *(row.colors[name] for name in painted),
            *(overlay(row.plain, row.masks[c.system, c.setting], 0.6) for c in columns),
        ]
        for row in rows
    ]
    return make_sheet(titles, [row.id for row in rows], lines, TILE)


def draw_found(rows: Sequence[GalleryRow], columns: Sequence[Column]) -> Image.Image:
    """One contact sheet of masks without a click: a line per image; picture, all instances, then `columns`."""
    lines = [
        [
            row.plain,
            overlay(row.plain, row.instances, 0.6),
            *(overlay(row.plain, row.found[c.system, c.setting], 0.6) for c in columns),
        ]
        for row in rows
    ]
    titles = ["image", "ground truth", *(column.title for column in columns)]
    return make_sheet(titles, [row.id for row in rows], lines, TILE)


@dataclass
class FoundTile:
    """A system's best SHOWN_MASKS automatic masks at tile size, (h, w); of those that overlap the smaller lies on top.

    Attributes:
        whole: the finished tile, of masks that share no pixel; else None.
        seen: score, pixels of the whole mask, and the mask at tile size.
    """

    shape: tuple[int, int]
    whole: np.ndarray | None = None
    seen: list[tuple[float, int, np.ndarray]] = field(default_factory=list)

    def labels(self) -> np.ndarray:
        """int32 [h, w], 0 = none."""
        if self.whole is not None:
            return self.whole
        labels = np.zeros(self.shape, np.int32)
        best = best_first([score for score, _, _ in self.seen])[:SHOWN_MASKS]
        for place in sorted(best.tolist(), key=lambda place: -self.seen[place][1]):
            labels[self.seen[place][2]] = place + 1
        return labels


@dataclass
class Painting:
    """A label picture in which smaller instances lie on top, whatever the order of painting."""

    shape: tuple[int, int]
    labels: np.ndarray = field(init=False)
    areas: np.ndarray = field(init=False)

    def __post_init__(self) -> None:
        self.labels = np.zeros(self.shape, np.int32)
        self.areas = np.full(self.shape, np.iinfo(np.int64).max)

    def add(self, click: Click, mask: np.ndarray) -> None:
        free = mask & (click.area < self.areas)
        self.labels[free] = click.instance
        self.areas[free] = click.area
