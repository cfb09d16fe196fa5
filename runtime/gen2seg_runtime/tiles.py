"""Pictures larger than the network sees: encode them in overlapping tiles and bring their colours together.

1. Each tile is encoded and its instances are found, as if it were a picture of its own. Where it overlaps what is
   there already, an old and a new instance that have more in common with each other than with any third one, at
   least half of the smaller of the two, are the same object. The seam runs through the middle of the overlap.
2. Every object gets one colour: that of its largest piece, or, where an object that touches it has a colour too
   close to that (two tiles know nothing of each other), the nearest of a fixed set that keeps apart.
3. The colours of each piece are shifted by the difference, so that what the network was unsure of stays unsure.

Memory beyond the picture itself: 3 bytes a pixel for the colours and 4 for the numbers of the pieces, the second
later replaced by the encoding's own copy of the colours; and what one tile needs.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from gen2seg_runtime.encoding import Encoding
from gen2seg_runtime.errors import ImageError
from gen2seg_runtime.manifest import InputSpec, InstanceSpec
from gen2seg_runtime.resample import resize_colors

_COMMON = 0.5  # of the smaller of two pieces, within the overlap
_APART = 1.5  # least distance of the colours of touching objects, in units of the instances' `distance`
_STRIP_PIXELS = 1 << 20
_LEVELS = (20, 72, 124, 176, 228)


@dataclass(frozen=True)
class TilePlan:
    """Where the tiles lie.

    Attributes:
        rows, columns: (first, end) of each tile along the axis; all of one length, neighbours overlap.
    """

    rows: tuple[tuple[int, int], ...]
    columns: tuple[tuple[int, int], ...]


def plan_tiles(size: tuple[int, int], spec: InputSpec, tile: int | None, overlap: int | None) -> TilePlan:
    """Tiles for a picture of (H, W) `size`.

    Args:
        tile: side of a tile in pixels of the picture, at least 32; None: what the network sees at most.
        overlap: least overlap of neighbours, at least 2 and at most half a tile; None: a fifth of a tile.
    Raises:
        ImageError: a value out of its range.
    """
    if tile is None:
        tile = max((max(bucket) for bucket in spec.buckets), default=spec.resize.size)
    if overlap is None:
        overlap = max(2, tile // 5)
    for name, value, low, high in (("tile", tile, 32, 1 << 16), ("overlap", overlap, 2, tile)):
        if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
            raise ImageError(f"{name} must be a whole number of pixels from {low} to {high}, got {value!r}")
    if 2 * overlap > tile:
        raise ImageError(f"overlap must be at most half a tile of {tile} pixels, got {overlap}")
    rows, columns = (_spread(side, tile, overlap) for side in size)
    return TilePlan(rows, columns)


def encode_tiles(
    rgb: np.ndarray, encode: Callable[[np.ndarray], Encoding], plan: TilePlan, defaults: InstanceSpec
) -> tuple[np.ndarray, Encoding]:
    """Encode a picture tile by tile.

    Args:
        rgb: (H, W, 3) uint8.
        encode: the network.
        plan: from `plan_tiles`.
        defaults: how instances are found.
    Returns:
        (H, W, 3) uint8 colours, and the encoding of the last tile (for what all have in common).
    """
    height, width = rgb.shape[:2]
    colors = np.empty((height, width, 3), np.uint8)
    pieces = np.zeros((height, width), np.int32)
    found = _Pieces()
    encoding = None
    top_end = 0
    for y0, y1 in plan.rows:
        left_end = 0
        for x0, x1 in plan.columns:
            encoding = encode(rgb[y0:y1, x0:x1])
            painted = resize_colors(encoding.colors, (y1 - y0, x1 - x0))
            instances = encoding.instances()
            records = instances.records
            first = found.add(np.array([r.color for r in records]).reshape(-1, 3), np.array([r.area for r in records]))
            labels = np.where(instances.labels > 0, instances.labels + (first - 1), 0).astype(np.int32)
            above, before = max(0, top_end - y0), max(0, left_end - x0)
            found.join_where_common(pieces[y0:y1, x0:x1], labels, above, before)
            # From the middle of the overlap on; what lies beyond the next seam is written over later.
            top, left = above // 2, before // 2
            pieces[y0 + top : y1, x0 + left : x1] = labels[top:, left:]
            colors[y0 + top : y1, x0 + left : x1] = painted[top:, left:]
            left_end = x1
        top_end = y1
    assert encoding is not None
    objects = found.objects()
    targets = _choose_colors(
        found.largest_colors(objects), found.object_areas(objects), _touching(pieces, objects), defaults
    )
    _repaint(colors, pieces, np.rint(targets[objects] - found.color).astype(np.int16))
    return colors, encoding


class _Pieces:
    """Instances of single tiles, numbered from 1 over all tiles, and which of them are one object."""

    def __init__(self) -> None:
        self.color = np.zeros((1, 3))
        self.area = np.zeros(1, np.int64)
        self._parent: list[int] = [0]

    def add(self, color: np.ndarray, area: np.ndarray) -> int:
        """Take in the instances of a tile; the number of the first."""
        first = len(self._parent)
        self.color = np.concatenate([self.color, color.astype(np.float64)])
        self.area = np.concatenate([self.area, area.astype(np.int64)])
        self._parent += range(first, first + len(area))
        return first

    def join_where_common(self, old: np.ndarray, new: np.ndarray, above: int, before: int) -> None:
        """Join what two tiles call by two numbers, seen in the first `above` rows and `before` columns."""
        both = [(old[:above], new[:above]), (old[above:, :before], new[above:, :before])]
        a = np.concatenate([pair[0].ravel() for pair in both]).astype(np.int64)
        b = np.concatenate([pair[1].ravel() for pair in both]).astype(np.int64)
        # Two pieces of one object may already lie in the old tiles: they count as one.
        roots, a = np.unique(a, return_inverse=True)
        roots = np.array([self._root(int(each)) for each in roots], np.int64)
        a = roots[a]
        count = len(self._parent)
        keys, common = np.unique((a * count + b)[(a > 0) & (b > 0)], return_counts=True)
        if not len(keys):
            return
        one, other = keys // count, keys % count
        area_a, area_b = np.bincount(a, minlength=count), np.bincount(b, minlength=count)
        enough = common >= _COMMON * np.minimum(area_a[one], area_b[other])
        best_a, best_b = np.zeros(count, np.int64), np.zeros(count, np.int64)
        np.maximum.at(best_a, one, common)
        np.maximum.at(best_b, other, common)
        for at in np.flatnonzero(enough & (common == best_a[one]) & (common == best_b[other])):
            self._join(int(one[at]), int(other[at]))

    def objects(self) -> np.ndarray:
        """(pieces + 1,) the object of each piece, from 1; 0 stays 0."""
        roots = np.array([self._root(piece) for piece in range(len(self._parent))])
        return np.unique(roots, return_inverse=True)[1]

    def object_areas(self, objects: np.ndarray) -> np.ndarray:
        """(objects + 1,) pixels of all its pieces together (overlaps count twice)."""
        return np.bincount(objects, weights=self.area).astype(np.int64)

    def largest_colors(self, objects: np.ndarray) -> np.ndarray:
        """(objects + 1, 3) colour of the largest piece of each object."""
        result = np.zeros((int(objects.max()) + 1, 3))
        order = np.lexsort((-np.arange(len(objects)), self.area))  # the largest last; of equals the first
        result[objects[order]] = self.color[order]
        return result

    def _root(self, piece: int) -> int:
        while self._parent[piece] != piece:
            self._parent[piece] = self._parent[self._parent[piece]]
            piece = self._parent[piece]
        return piece

    def _join(self, one: int, other: int) -> None:
        one, other = sorted((self._root(one), self._root(other)))
        self._parent[other] = one


def _spread(side: int, tile: int, overlap: int) -> tuple[tuple[int, int], ...]:
    if side <= tile:
        return ((0, side),)
    count = -(-(side - overlap) // (tile - overlap))
    starts = [(side - tile) * i // (count - 1) for i in range(count)]
    return tuple((start, start + tile) for start in starts)


def _strips(height: int, width: int) -> Iterator[slice]:
    step = max(1, _STRIP_PIXELS // width)
    for start in range(0, height, step):
        yield slice(start, min(height, start + step))


def _touching(pieces: np.ndarray, objects: np.ndarray) -> list[set[int]]:
    """For each object those that touch it, corners included."""
    count = int(objects.max()) + 1
    neighbors: list[set[int]] = [set() for _ in range(count)]
    for rows in _strips(*pieces.shape):
        part = objects[pieces[rows.start : rows.stop + 1]]  # and the next row
        for one, other in (
            (part[:, :-1], part[:, 1:]),
            (part[:-1], part[1:]),
            (part[:-1, :-1], part[1:, 1:]),
            (part[:-1, 1:], part[1:, :-1]),
        ):
            differ = (one != other) & (one > 0) & (other > 0)
            for key in np.unique(one[differ].astype(np.int64) * count + other[differ]).tolist():
                a, b = divmod(key, count)
                neighbors[a].add(b)
                neighbors[b].add(a)
    return neighbors


def _choose_colors(
    wished: np.ndarray, areas: np.ndarray, neighbors: list[set[int]], defaults: InstanceSpec
) -> np.ndarray:
    """(objects + 1, 3) colours: as wished, the largest first, unless a neighbour that has its colour is too close."""
    apart = _APART * defaults.distance
    lattice = np.stack(np.meshgrid(_LEVELS, _LEVELS, _LEVELS, indexing="ij"), axis=-1).reshape(-1, 3).astype(float)
    bright = lattice[np.sqrt((lattice**2).sum(axis=1)) > 2 * max(defaults.background, 0)]
    lattice = bright if len(bright) else lattice
    chosen, settled = wished.copy(), np.zeros(len(wished), bool)
    for each in np.lexsort((np.arange(len(areas)), -areas)).tolist():
        if each == 0:
            continue
        around = chosen[[other for other in neighbors[each] if settled[other]]].reshape(-1, 3)
        settled[each] = True
        if (np.sqrt(((around - wished[each]) ** 2).sum(axis=1)) >= apart).all():
            continue
        room = np.sqrt(((lattice[:, None] - around[None]) ** 2).sum(axis=2)).min(axis=1)
        free = room >= apart
        if free.any():
            candidates = lattice[free]
            chosen[each] = candidates[((candidates - wished[each]) ** 2).sum(axis=1).argmin()]
        else:
            chosen[each] = lattice[room.argmax()]
    return chosen


def _repaint(colors: np.ndarray, pieces: np.ndarray, shift: np.ndarray) -> None:
    """Add `shift[piece]` (int16) to the colours, in place."""
    shift[0] = 0
    for rows in _strips(*pieces.shape):
        moved = colors[rows] + shift[pieces[rows]]
        colors[rows] = np.clip(moved, 0, 255, out=moved)
