"""Find every instance in a colour image, without clicks.

1. Leaves. The basins of the slope of the smoothed colours, of at least 16 pixels (or `min_area`).
2. A tree. The two touching regions with the weakest outline between them merge, again and again. The strength of an
   outline is the mean step of colour across it, over its whole length, so that a gap in it does little.
3. The cut. Regions parted by less than `distance` are one; what is smaller than `min_area` then goes with the
   neighbour from which it is parted least, and so do holes. Dark regions (the norm of their mean colour is
   up to `background`) are background.
4. Scores. How strong the outline is, over how much of the thresholds the region stays the same, and its size.
5. On request the hierarchy: other regions of the same tree, parts of instances and groups of them.

The result does not depend on threads or on chance. Memory, the result included: some 23 bytes for each pixel of the
colours, at most 64 on noise, 72 with the hierarchy (`min_area` 16 or more), where every sixteenth pixel begins a leaf.

Sources: `gen2seg_kernels.instances.reference`; that a mask which stays the same over many thresholds is a good one:
maximally stable regions (Matas et al. 2002) and the stability score of Segment Anything (Kirillov et al. 2023).
"""

import math
from typing import Any

import numpy as np

from gen2seg_runtime.colors import check_colors
from gen2seg_runtime.errors import ImageError
from gen2seg_runtime.instance_hierarchy import with_hierarchy
from gen2seg_runtime.instance_records import InstanceRecord, Instances, describe
from gen2seg_runtime.instance_tree import grow_tree
from gen2seg_runtime.resample import resize_labels

__all__ = ["InstanceRecord", "Instances", "describe", "find_instances"]

_FARTHEST = 1e6  # beyond any distance of colours
_MOST_MASKS = 1000  # with a hierarchy, unless asked otherwise


def find_instances(
    colors: np.ndarray,
    *,
    distance: float = 40.0,
    background: float = 40.0,
    min_area: int = 16,
    fill_holes: int = 0,
    hierarchy: bool = False,
    most: int | None = None,
    size: tuple[int, int] | None = None,
) -> Instances:
    """Find every instance in a colour image.

    Args:
        colors: (h, w, 3) uint8.
        distance: touching regions are one instance if the step of colour across their outline (Euclidean, channels
            0..255) is less than this.
        background: regions whose mean colour has a norm up to this are background; negative: there is none.
        min_area: smallest instance, in pixels of `colors`; smaller holes in an instance are filled too.
        fill_holes: largest hole that is filled, in pixels of `colors`: a background region that one instance
            encloses; 0: none beyond those that `min_area` fills.
        hierarchy: also find parts of instances and groups of them (`Instances.nested`, parents and children).
        most: only the instances with the best scores, so many at most; the others become background. With
            `hierarchy` the number of all masks, instances before nested ones. None: all instances, and nested
            ones up to 1,000 masks.
        size: (H, W) of the label map; None: (h, w).
    Returns:
        Instances at `size`; deterministic. Where it is larger than `colors`, asking for the hierarchy may move
        outlines by a pixel.
    Raises:
        ImageError: wrong shape or type of `colors`, or a parameter out of its range.
    """
    check_colors(colors)
    distance, background = _color_length("distance", distance), _color_length("background", background)
    if distance <= 0 or not _is_whole(min_area, 1):
        raise ImageError(
            f"instances need a distance > 0 and a whole min_area >= 1, got {distance:g} and {min_area!r:.100}"
        )
    if not _is_whole(fill_holes, 0):
        raise ImageError(f"fill_holes must be a whole number of pixels from 0, got {fill_holes!r:.100}")
    if most is not None and not _is_whole(most, 1):
        raise ImageError(f"most must be a whole number of masks from 1, or None, got {most!r:.100}")
    if not isinstance(hierarchy, bool):
        raise ImageError(f"hierarchy must be True or False, got {hierarchy!r:.100}")
    pixels = colors.shape[0] * colors.shape[1]
    # What no picture of this size could tell apart is brought into the range of the kernel's numbers.
    tree = grow_tree(colors, distance, background, min(min_area, pixels + 1), min(fill_holes, pixels))
    shown = tree.regions(background, min_area)
    if most is not None and len(shown) > most:
        best = np.lexsort((tree.begin[shown], -tree.scores[shown]))[:most]
        shown = shown[np.sort(best)]
    size = size or colors.shape[:2]
    if not hierarchy:
        labels = tree.paint(shown)
        return describe(resize_labels(labels, size), tree.scores[shown], tree.means[shown])
    room = (_MOST_MASKS if most is None else most) - len(shown)
    nested = tree.nested(shown, background, min_area, distance, max(room, 0))
    return with_hierarchy(tree, shown, nested, size)


def _color_length(name: str, value: Any) -> float:
    """A length among colours as a float whose square is one too: no two colours are as far apart as the bound."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not -math.inf < value < math.inf:
        raise ImageError(f"instances need a finite distance > 0 and a finite background; {name} is {value!r:.100}")
    return float(max(-_FARTHEST, min(value, _FARTHEST)))


def _is_whole(value: Any, least: int) -> bool:
    return isinstance(value, int | np.integer) and not isinstance(value, bool) and int(value) >= least
