"""Masks as polygons along the outlines of their pixels, and back, exactly.

Pixel (x, y) is the square from (x, y) to (x + 1, y + 1), so a corner of a polygon is a whole number from 0 to
the width or height. Two pixels that share an edge are one part; two that only share a corner are two, or
border on two holes. Every ring is simple: it visits no point twice. Rings may touch in single points, which
OGC's and GeoJSON's polygons allow.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from gen2seg_runtime.errors import ImageError

Ring = np.ndarray  # (n, 2) x and y of the corners; the last one is joined to the first


@dataclass(frozen=True, eq=False)
class Polygon:
    """One connected part of a mask.

    Attributes:
        outer: (n, 2) int64 corners (x, y), clockwise as seen on the screen (positive area by the shoelace
            formula, which is what GeoJSON calls counterclockwise).
        holes: rings inside it, the other way round.
    """

    outer: Ring
    holes: tuple[Ring, ...] = ()

    @property
    def rings(self) -> tuple[Ring, ...]:
        """The outer ring, then the holes."""
        return (self.outer, *self.holes)


def mask_to_polygons(mask: np.ndarray, offset: tuple[int, int] = (0, 0)) -> list[Polygon]:
    """Trace a mask.

    Args:
        mask: (H, W) bool.
        offset: (x, y) added to every corner.
    Returns:
        One polygon for each part (4-connected), in the order of their first pixels, row by row.
        `polygons_to_mask` gives the mask back exactly.
    Raises:
        ImageError: not a bool (H, W) array.
    """
    if mask.ndim != 2 or mask.dtype != bool:
        raise ImageError(f"a mask is bool (H, W), got {mask.shape} {mask.dtype}")
    import cv2

    if not mask.any():
        return []
    padded = np.pad(mask, 1).astype(np.uint8)
    _, parts = cv2.connectedComponents(padded, connectivity=4, ltype=cv2.CV_32S)
    outers: dict[int, Ring] = {}
    holes: dict[int, list[Ring]] = {}
    for ring in _rings(padded):
        first = min(range(len(ring)), key=lambda i: (ring[i][1], ring[i][0]))
        x, y = ring[first]  # the top left corner: what the ring encloses begins below it on the right
        ring = ring[first:] + ring[:first]
        rightwards = ring[1][1] == y
        inside = int(parts[y + 1, x + 1])
        corners = np.array(ring if rightwards == bool(inside) else [ring[0], *ring[:0:-1]], np.int64)
        corners += np.array(offset, np.int64)
        if inside:
            outers[inside] = corners
        else:
            holes.setdefault(int(parts[y, x + 1]), []).append(corners)
    return [
        Polygon(outers[part], tuple(holes.get(part, ()))) for part in sorted(outers, key=lambda p: _start(outers[p]))
    ]


def polygons_to_mask(polygons: Iterable[Polygon], size: tuple[int, int]) -> np.ndarray:
    """The bool (H, W) mask of polygons as `mask_to_polygons` makes them.

    Any rings are filled by the even-odd rule: a pixel belongs to the mask if its centre is inside.

    Raises:
        ImageError: see `rings_to_mask`.
    """
    return rings_to_mask((ring for polygon in polygons for ring in polygon.rings), size)


def rings_to_mask(rings: Iterable[np.ndarray], size: tuple[int, int]) -> np.ndarray:
    """Fill rings by the even-odd rule.

    Args:
        rings: (n, 2) corners (x, y), whole or not, within the picture or not; n >= 3.
        size: (H, W) of the mask.
    Returns:
        bool (H, W): the pixels whose centre lies inside an odd number of rings.
    Raises:
        ImageError: a ring of another shape, or a corner that is NaN or infinite.
    """
    height, width = size
    flips = np.zeros((height, width + 1), np.int32)
    for ring in rings:
        corners = np.asarray(ring, np.float64)
        if corners.ndim != 2 or corners.shape[1] != 2 or len(corners) < 3 or not np.isfinite(corners).all():
            raise ImageError(f"a ring is at least three finite corners (x, y), got an array of shape {corners.shape}")
        rows, columns = _crossings(corners, height)
        # The first pixel whose centre is not left of the crossing.
        first = np.clip(np.ceil(columns - 0.5), 0, width).astype(np.int64)
        np.add.at(flips, (rows, first), 1)
    return (np.cumsum(flips[:, :width], axis=1) & 1).astype(bool)


def _crossings(corners: np.ndarray, height: int) -> tuple[np.ndarray, np.ndarray]:
    """Where the edges of a ring cross the middle lines of rows: row and x of each crossing."""
    following = np.roll(corners, -1, axis=0)
    downwards = corners[:, 1] <= following[:, 1]
    upper = np.where(downwards[:, None], corners, following)
    lower = np.where(downwards[:, None], following, corners)
    # Rows y with upper <= y + 0.5 < lower: an end on a middle line counts for one of the two edges that meet.
    begin = np.clip(np.ceil(upper[:, 1] - 0.5), 0, height).astype(np.int64)
    end = np.clip(np.ceil(lower[:, 1] - 0.5), 0, height).astype(np.int64)
    count = end - begin
    edge = np.repeat(np.arange(len(corners)), count)
    rows = np.arange(len(edge)) - np.repeat(np.cumsum(count) - count, count) + begin[edge]
    span = (lower - upper)[edge]
    return rows, upper[edge, 0] + (rows + 0.5 - upper[edge, 1]) * span[:, 0] / span[:, 1]


def _rings(padded: np.ndarray) -> Iterator[list[tuple[int, int]]]:
    """Simple rings around the ones of a mask with an empty frame; corners (x, y) without the frame.

    Corners on a row of the grid pair up, from the left, to horizontal sides, those on a column to vertical
    sides; a ring takes one of each in turn. Where two pixels touch by a corner, that point is two corners,
    each holding the two sides of one of these pixels.
    """
    upper_left, upper_right = padded[:-1, :-1], padded[:-1, 1:]
    lower_left, lower_right = padded[1:, :-1], padded[1:, 1:]
    odd = (upper_left ^ upper_right ^ lower_left ^ lower_right).astype(bool)
    saddle = (upper_left == lower_right) & (upper_right == lower_left) & (upper_left != upper_right)
    y, x = np.nonzero(odd | saddle)
    double = saddle[y, x]
    falling = double & (upper_left[y, x] == 1)  # its pixels lie upper left and lower right
    point = np.repeat(np.arange(len(x)), 1 + double)
    second = np.append(False, point[1:] == point[:-1])
    # At a double point the first corner has the side to the left; which of the sides up or down it has depends.
    has_upper = np.where(falling[point], ~second, second)
    xs, ys = x[point], y[point]
    across = _pair(np.arange(len(point)))
    down = _pair(np.lexsort((~has_upper, ys, xs)))
    places = list(zip(xs.tolist(), ys.tolist(), strict=True))
    seen = bytearray(len(places))
    for start in range(len(places)):
        if seen[start]:
            continue
        ring: list[tuple[int, int]] = []
        corner = start
        while not seen[corner]:
            other = across[corner]
            seen[corner] = seen[other] = 1
            ring += [places[corner], places[other]]
            corner = down[other]
        yield from _simple(ring)


def _pair(order: np.ndarray) -> list[int]:
    """The partner of each corner when those at places 0 and 1, 2 and 3, ... of `order` belong together."""
    partner = np.empty(len(order), np.int64)
    partner[order[::2]], partner[order[1::2]] = order[1::2], order[::2]
    return partner.tolist()


def _simple(ring: list[tuple[int, int]]) -> Iterator[list[tuple[int, int]]]:
    """Part a ring where it comes back to a point it has visited."""
    if len(set(ring)) == len(ring):
        yield ring
        return
    path: list[tuple[int, int]] = []
    at: dict[tuple[int, int], int] = {}
    for place in ring:
        if place in at:
            loop = path[at[place] :]
            for gone in loop:
                del at[gone]
            del path[-len(loop) :]
            yield loop
        at[place] = len(path)
        path.append(place)
    yield path


def _start(ring: Ring) -> tuple[int, int]:
    return int(ring[0, 1]), int(ring[0, 0])
