"""Find every instance in a colour image, in one pass and without clicks.

1. Seeds. A pixel in the middle of a blurred outline has colours that go on in the same direction on both
   sides (the smaller of the two steps is large); every other pixel is a seed. Touching seeds whose colours
   differ by a small step are one piece; so a piece may drift in colour from end to end. Dark pixels
   (colour norm up to `background`) are one common piece, the background.
2. Outlines. What is no seed goes to the nearest piece of its colour (`extend_labels`).
3. Merging. Touching pieces with mean colours closer than `distance` become one, closest first. Thin strips
   of a colour between those of their two neighbours are what a wide blur leaves; they are shared out like
   other outlines.
4. Cleaning. Fragments smaller than `min_area` go to their most similar neighbour, background included.
5. Stability: the area of an instance under a tighter cut as a share of its area under a looser one.

All of it is array arithmetic; memory is proportional to the number of pixels and
the result does not depend on threads or on chance.

Sources: minmod slope (Roe 1986); region merging by mean colour (as in Nock and Nielsen 2004); the score is
the stability score of Segment Anything (Kirillov et al. 2023) on nested partitions.
"""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from gen2seg_runtime.colors import check_colors
from gen2seg_runtime.errors import ImageError
from gen2seg_runtime.extend import extend_labels
from gen2seg_runtime.regions import RegionGraph, absorb_small, between_two, compact, merge_similar, region_graph
from gen2seg_runtime.resample import resize_labels

_FARTHEST = 1e6  # beyond any distance of colours

_STEP_SHARE = 0.15  # of `distance`: a larger step between smoothed neighbours parts two pieces
_STRIP_WIDTH = 5.0  # pixels: what lies between two instances and is wider is no outline
_MARGIN = 0.25  # tighter and looser cuts of the score, as a share of the thresholds


@dataclass(frozen=True)
class InstanceRecord:
    """One instance. Lengths are pixels of the label map.

    Attributes:
        id: its number in the label map, from 1.
        area: number of pixels.
        box: x0, y0, x1, y1; x1 and y1 are one past the last column and row.
        score: stability in [0, 1].
        color: mean colour (r, g, b), 0..255.
        center: (x, y) of the pixel farthest from the outline; always inside, so a good place to click.
    """

    id: int
    area: int
    box: tuple[int, int, int, int]
    score: float
    color: tuple[int, int, int]
    center: tuple[int, int]


@dataclass(frozen=True, eq=False)
class Instances:
    """All instances of a picture, largest first.

    Attributes:
        labels: (H, W) int32, read-only: 0 = background, else the id of a record.
        records: record i has id i + 1.
    """

    labels: np.ndarray
    records: list[InstanceRecord]

    def __len__(self) -> int:
        return len(self.records)

    def mask(self, instance_id: int) -> np.ndarray:
        """Bool (H, W) mask of one instance.

        Raises:
            ImageError: there is no such id.
        """
        if not 1 <= instance_id <= len(self.records):
            raise ImageError(f"no instance {instance_id}; ids run from 1 to {len(self.records)}")
        return self.labels == instance_id


def find_instances(
    colors: np.ndarray,
    *,
    distance: float = 40.0,
    background: float = 40.0,
    min_area: int = 16,
    size: tuple[int, int] | None = None,
) -> Instances:
    """Find every instance in a colour image.

    Args:
        colors: (h, w, 3) uint8.
        distance: touching regions whose mean colours are closer than this (Euclidean, channels 0..255) are
            one instance.
        background: colours with a norm up to this are background; negative: there is none.
        min_area: smallest instance, in pixels of `colors`.
        size: (H, W) of the label map; None: (h, w).
    Returns:
        Instances at `size`; deterministic.
    Raises:
        ImageError: wrong shape or type of `colors`, or a parameter out of its range.
    """
    check_colors(colors)
    distance, background = _color_length("distance", distance), _color_length("background", background)
    if distance <= 0 or not isinstance(min_area, int) or min_area < 1:
        raise ImageError(
            f"instances need a distance > 0 and a whole min_area >= 1, got {distance:g} and {min_area!r:.100}"
        )
    colors = np.ascontiguousarray(colors)
    pieces = _pieces(colors, distance, background)
    regions = _merge(colors, pieces, distance, background)
    labels, scores, means = _clean(colors, regions, background, min_area)
    return describe(resize_labels(labels, size or labels.shape), scores, means)


@dataclass(frozen=True)
class _Partition:
    labels: np.ndarray  # (h, w) int64, regions 0..n-1, each of which occurs
    ground: np.ndarray  # (n,) bool, which one is the background
    scores: np.ndarray  # (n,) float64


def _color_length(name: str, value: Any) -> float:
    """A length among colours as a float whose square is one too: no two colours are as far apart as the bound."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not -math.inf < value < math.inf:
        raise ImageError(f"instances need a finite distance > 0 and a finite background; {name} is {value!r:.100}")
    return float(max(-_FARTHEST, min(value, _FARTHEST)))


def _pieces(colors: np.ndarray, distance: float, background: float) -> _Partition:
    """Seeds and outlines: steps 1 and 2."""
    step = _STEP_SHARE * distance
    smooth = _smoothed(colors)
    across, down = np.diff(smooth, axis=2), np.diff(smooth, axis=1)
    dark = _norm2(_planes(colors)) <= background * abs(background)
    seed = ~(_slope_above(across, 2, step) | _slope_above(down, 1, step))
    markers = _components(
        seed,
        (_norm2(across) < step**2) & (dark[:, 1:] == dark[:, :-1]),
        (_norm2(down) < step**2) & (dark[1:] == dark[:-1]),
    )
    # Everything dark is one piece, wherever it lies: marker 1.
    markers = np.where(seed, np.where(dark, 1, markers + 1), 0)
    filled = extend_labels(colors, markers)
    labels = compact(filled)
    ground = np.zeros(int(labels.max()) + 1, bool)
    ground[labels[filled == 1]] = True
    return _Partition(labels, ground, np.ones(len(ground)))


def _planes(colors: np.ndarray) -> np.ndarray:
    """(h, w, 3) uint8 -> (3, h, w) float32: sums over channels are several times faster on planes."""
    return np.ascontiguousarray(colors.transpose(2, 0, 1), np.float32)


def _smoothed(colors: np.ndarray) -> np.ndarray:
    """(h, w, 3) uint8 -> (3, h, w) float32, weights 1 2 1 along both axes: noise falls to 3/8."""
    import cv2

    planes = _planes(colors)
    for plane in planes:
        cv2.GaussianBlur(plane, (3, 3), 0, dst=plane, borderType=cv2.BORDER_REPLICATE)
    return planes


def _dot(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Sum over the first axis (3 channels) of the products."""
    return a[0] * b[0] + a[1] * b[1] + a[2] * b[2]


def _norm2(vectors: np.ndarray) -> np.ndarray:
    return _dot(vectors, vectors)


def _slope_above(steps: np.ndarray, axis: int, limit: float) -> np.ndarray:
    """Bool (h, w): on both sides along `axis` the colour moves on by more than `limit`, in one direction.

    The middle of a blurred outline does; a ridge, a flat place beside a sharp step or the frame does not.

    Args:
        steps: (3, h, w - 1) for axis 2 or (3, h - 1, w) for axis 1, differences of neighbours.
    """
    if steps.shape[axis] == 0:  # a single column or row: no steps, so no slopes
        return np.zeros(tuple(n + (i == axis) for i, n in enumerate(steps.shape))[1:], bool)
    before = steps[:, :, :-1] if axis == 2 else steps[:, :-1]
    after = steps[:, :, 1:] if axis == 2 else steps[:, 1:]
    large = _norm2(steps) > limit**2
    both = large[:, :-1] & large[:, 1:] if axis == 2 else large[:-1] & large[1:]
    return np.pad(both & (_dot(before, after) > 0), ((0, 0), (1, 1)) if axis == 2 else ((1, 1), (0, 0)))


def _components(node: np.ndarray, across: np.ndarray, down: np.ndarray) -> np.ndarray:
    """Label pixels connected through open links.

    Args:
        node: (h, w) bool, pixels that take part.
        across: (h, w−1) bool, the link between a pixel and its right neighbour is open.
        down: (h−1, w) bool, likewise downwards.
    Returns:
        (h, w) int32, 0 where `node` is false, else from 1.
    """
    import cv2

    height, width = node.shape
    # A grid of twice the size: pixels on even places, links between them.
    grid = np.zeros((2 * height - 1, 2 * width - 1), np.uint8)
    grid[::2, ::2] = node
    grid[::2, 1::2] = across & node[:, 1:] & node[:, :-1]
    grid[1::2, ::2] = down & node[1:] & node[:-1]
    _, labels = cv2.connectedComponents(grid, connectivity=4, ltype=cv2.CV_32S)
    return labels[::2, ::2]


def _merge(colors: np.ndarray, pieces: _Partition, distance: float, background: float) -> _Partition:
    """Merge pieces, fill the strips of blurred outlines from both sides, and score: steps 3 and 5."""
    ground = pieces.ground
    graph = region_graph(colors, pieces.labels, len(ground))
    # Each cut goes on from the one before, so that the three partitions are nested.
    tight = merge_similar(graph, distance * (1 - _MARGIN), ground)
    named = _merge_on(graph, tight, distance, ground)
    loose = _merge_on(graph, named, distance * (1 + _MARGIN), ground)

    limit = background * (1 + _MARGIN)
    clear = _norm2(_planes(colors)) > limit * abs(limit)
    clear_area = np.bincount(pieces.labels.ravel()[clear.ravel()], minlength=len(ground))
    scores = _stability(graph.area, clear_area, tight, named, loose)
    merged_ground = np.zeros(len(scores), bool)
    merged_ground[named[ground]] = True

    labels = named[pieces.labels]
    strips = between_two(graph.joined(named), labels, _STRIP_WIDTH, distance / 2) & ~merged_ground
    if strips.all():
        return _Partition(labels, merged_ground, scores)
    filled = extend_labels(colors, np.where(strips[labels], 0, labels + 1)) - 1
    return _Partition(compact(filled), merged_ground[~strips], scores[~strips])


def _clean(
    colors: np.ndarray, regions: _Partition, background: float, min_area: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Give fragments to their neighbours (step 4) and number the instances.

    Returns:
        (h, w) int32 labels, 0 = background; score and mean colour of labels 1, 2, ...
    """
    graph = region_graph(colors, regions.labels, len(regions.ground))
    group = absorb_small(graph, min_area)
    final = graph.joined(group)
    kept = (np.sqrt((final.mean**2).sum(axis=1)) > background) & (final.area >= min_area)
    kept[group[regions.ground]] = False
    label = np.where(kept, np.cumsum(kept), 0)
    # The score of an instance is that of its largest part: what it absorbed are fragments.
    scores = np.zeros(len(kept))
    by_area = np.argsort(graph.area, kind="stable")
    scores[group[by_area]] = regions.scores[by_area]
    return label[group][regions.labels].astype(np.int32), scores[kept], final.mean[kept]


def _merge_on(graph: RegionGraph, group: np.ndarray, limit: float, ground: np.ndarray) -> np.ndarray:
    """Merge the groups of a partition further, up to a larger limit."""
    grouped_ground = np.zeros(int(group.max()) + 1, bool)
    grouped_ground[group[ground]] = True
    return merge_similar(graph.joined(group), limit, grouped_ground)[group]


def _stability(
    area: np.ndarray, clear_area: np.ndarray, tight: np.ndarray, named: np.ndarray, loose: np.ndarray
) -> np.ndarray:
    """Per named group: what its largest tight part has clear of the background, over the loose area."""
    named_of_tight = np.zeros(int(tight.max()) + 1, np.int64)
    named_of_tight[tight] = named
    loose_of_named = np.zeros(int(named.max()) + 1, np.int64)
    loose_of_named[named] = loose
    largest = np.zeros(len(loose_of_named))
    np.maximum.at(largest, named_of_tight, np.bincount(tight, weights=clear_area))
    return largest / np.bincount(loose, weights=area)[loose_of_named]


def describe(labels: np.ndarray, scores: np.ndarray, means: np.ndarray) -> Instances:
    """Records for a label map whose label i + 1 has score i and mean colour i.

    Labels are renumbered by falling area (equal areas: by their first pixel); those without a pixel vanish.
    """
    width = labels.shape[1]
    area = np.bincount(labels.ravel(), minlength=len(scores) + 1)
    flat = np.flatnonzero(labels)
    first = np.full(len(area), labels.size)
    np.minimum.at(first, labels.ravel()[flat], flat)
    present = np.flatnonzero(area[1:]) + 1
    order = present[np.lexsort((first[present], -area[present]))]
    rank = np.zeros(len(area), np.int32)
    rank[order] = np.arange(1, len(order) + 1)
    labels = rank[labels]
    labels.flags.writeable = False
    boxes, centers = _boxes(labels, len(order)), _centers(labels, len(order))
    records = [
        InstanceRecord(
            id=i + 1,
            area=int(area[old]),
            box=(int(boxes[i, 0]), int(boxes[i, 1]), int(boxes[i, 2]), int(boxes[i, 3])),
            score=float(scores[old - 1]),
            color=(round(means[old - 1, 0]), round(means[old - 1, 1]), round(means[old - 1, 2])),
            center=(int(centers[i] % width), int(centers[i] // width)),
        )
        for i, old in enumerate(order)
    ]
    return Instances(labels, records)


def _boxes(labels: np.ndarray, count: int) -> np.ndarray:
    """(count, 4) int64 x0, y0, x1, y1 of labels 1..count, each of which occurs."""
    rows, columns = np.nonzero(labels)
    which = labels[rows, columns] - 1
    boxes = np.zeros((count, 4), np.int64)
    boxes[:, 0], boxes[:, 1] = labels.shape[1], labels.shape[0]
    np.minimum.at(boxes[:, 0], which, columns)
    np.minimum.at(boxes[:, 1], which, rows)
    np.maximum.at(boxes[:, 2], which, columns + 1)
    np.maximum.at(boxes[:, 3], which, rows + 1)
    return boxes


def _centers(labels: np.ndarray, count: int) -> np.ndarray:
    """(count,) flat place of the pixel farthest from the outline of labels 1..count (the first one if
    several are); the frame of the picture counts as outline."""
    import cv2

    padded = np.pad(labels, 1)
    middle = padded[1:-1, 1:-1]
    inside = middle > 0
    for neighbor in (padded[:-2, 1:-1], padded[2:, 1:-1], padded[1:-1, :-2], padded[1:-1, 2:]):
        inside &= neighbor == middle
    # Distance to the nearest outline pixel; those themselves have 0.
    depth = cv2.distanceTransform(np.pad(inside, 1).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)[1:-1, 1:-1]
    flat = np.flatnonzero(labels)
    which, depths = labels.ravel()[flat] - 1, depth.ravel()[flat]
    deepest = np.zeros(count, np.float32)
    np.maximum.at(deepest, which, depths)
    at_depth = depths == deepest[which]
    centers = np.full(count, labels.size, np.int64)
    np.minimum.at(centers, which[at_depth], flat[at_depth])
    return centers
