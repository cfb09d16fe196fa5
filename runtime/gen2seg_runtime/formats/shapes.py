"""What the polygon formats share: the parts of every instance, and label maps from parts."""

from collections.abc import Iterable
from typing import Any

import numpy as np

from gen2seg_runtime.errors import ImageError
from gen2seg_runtime.formats.polygons import Polygon, mask_to_polygons, rings_to_mask
from gen2seg_runtime.images import pixel_limit
from gen2seg_runtime.instances import InstanceRecord, Instances

MAX_ID = np.iinfo(np.int32).max


def instance_polygons(instances: Instances, record: InstanceRecord) -> list[Polygon]:
    """The parts of one instance, along the outlines of its pixels, in pixels of the label map."""
    x0, y0, x1, y1 = record.box
    return mask_to_polygons(np.equal(instances.labels[y0:y1, x0:x1], record.id), (x0, y0))


def paint_rings(labels: np.ndarray, rings: Iterable[np.ndarray], label: int) -> None:
    """Give the pixels inside rings (even-odd rule, checked by `check_ring`) a label, in place."""
    corners = list(rings)
    if not corners:
        return
    height, width = labels.shape
    everything = np.concatenate(corners)
    # Only the rows and columns that the rings reach: a picture may hold thousands of them.
    x0, y0 = np.clip(np.floor(everything.min(axis=0)), 0, (width, height)).astype(int)
    x1, y1 = np.clip(np.ceil(everything.max(axis=0)), 0, (width, height)).astype(int)
    inside = rings_to_mask([ring - (x0, y0) for ring in corners], (y1 - y0, x1 - x0))
    labels[y0:y1, x0:x1][inside] = label


def check_size(height: Any, width: Any, where: str) -> tuple[int, int]:
    """(H, W) of a label map to make.

    Raises:
        ImageError: not two whole numbers of at least 1, or more pixels than the limit of `read_image`.
    """
    for side in (height, width):
        if isinstance(side, bool) or not isinstance(side, int) or side < 1:
            raise ImageError(f"{where}: the size must be two whole numbers of at least 1, found {height!r}, {width!r}")
    if height * width > pixel_limit():
        raise ImageError(f"{where}: {width}×{height} pixels are more than the limit of {pixel_limit():,}")
    return height, width


def check_id(value: Any, where: str) -> int:
    """An instance number; ImageError unless it is a whole number from 1 to 2^31 − 1."""
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= MAX_ID:
        raise ImageError(f"{where}: an instance id is a whole number from 1 to {MAX_ID}, found {value!r}")
    return value


def check_ring(value: Any, where: str) -> np.ndarray:
    """Corners out of a file: (n, 2) float64, n >= 3; ImageError for anything else."""
    try:
        ring = np.asarray(value, np.float64)
    except (TypeError, ValueError, OverflowError) as error:
        raise ImageError(f"{where}: a ring is a list of corners [x, y]: {error}") from error
    if ring.ndim != 2 or ring.shape[1] != 2 or len(ring) < 3 or not np.isfinite(ring).all():
        raise ImageError(f"{where}: a ring is a list of at least three finite corners [x, y]")
    return ring
