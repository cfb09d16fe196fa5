"""What is found in a picture: a label map with a record for every instance, and masks nested in one another."""

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np

from gen2seg_runtime.errors import ImageError
from gen2seg_runtime.label_stats import find_centers, measure_labels


@dataclass(frozen=True)
class InstanceRecord:
    """One instance, part or group. Lengths are pixels of the label map.

    Attributes:
        id: its number in the label map, from 1; parts and groups, which are not in it, come after the instances.
        area: number of pixels.
        box: x0, y0, x1, y1; x1 and y1 are one past the last column and row.
        score: in [0, 1): strong outline, same region over many thresholds, size.
        color: mean colour (r, g, b), 0..255.
        center: (x, y) of the pixel farthest from the outline; always inside, so a good place to click.
        parent: id of the smallest mask around it, if a hierarchy was asked for and there is one.
        children: ids of the masks whose parent it is.
    """

    id: int
    area: int
    box: tuple[int, int, int, int]
    score: float
    color: tuple[int, int, int]
    center: tuple[int, int]
    parent: int | None = None
    children: tuple[int, ...] = ()


@dataclass(frozen=True, eq=False)
class Instances:
    """All instances of a picture, largest first.

    Attributes:
        labels: (H, W) int32, read-only: 0 = background, else the id of a record.
        records: record i has id i + 1.
        nested: with a hierarchy, the parts of instances and the groups of them, largest first; ids go on from
            those of the records.
    """

    labels: np.ndarray
    records: list[InstanceRecord]
    nested: list[InstanceRecord] = field(default_factory=list)
    # Of the hierarchy: (H, W) int32 pieces of which all masks consist, and from which to which each nested one does.
    _atoms: np.ndarray | None = None
    _spans: list[tuple[int, int]] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.records)

    def mask(self, instance_id: int) -> np.ndarray:
        """Bool (H, W) mask of one instance, part or group.

        Raises:
            ImageError: there is no such id.
        """
        count = len(self.records) + len(self.nested)
        whole = isinstance(instance_id, int | np.integer) and not isinstance(instance_id, bool)
        if not whole or not 1 <= instance_id <= count:
            raise ImageError(f"no instance {instance_id!r:.100}; ids run from 1 to {count}")
        return self._crop(int(instance_id), slice(None), slice(None))

    def mask_in_box(self, record: InstanceRecord) -> np.ndarray:
        """Bool (y1 − y0, x1 − x0) mask of one of the records within its box."""
        x0, y0, x1, y1 = record.box
        return self._crop(record.id, slice(y0, y1), slice(x0, x1))

    def _crop(self, number: int, rows: slice, columns: slice) -> np.ndarray:
        if number <= len(self.records):
            return self.labels[rows, columns] == number
        assert self._atoms is not None
        first, end = self._spans[number - len(self.records) - 1]
        atoms = self._atoms[rows, columns]
        return (atoms >= first) & (atoms < end)

    def masks(self) -> Iterator[tuple[np.ndarray, float]]:
        """Pairs of a mask, bool (H, W), and its score: instances, parts and groups, the best first.

        They are made one by one; of equal scores the lower id comes first.
        """
        for record in sorted([*self.records, *self.nested], key=lambda record: (-record.score, record.id)):
            yield self.mask(record.id), record.score


def describe(labels: np.ndarray, scores: np.ndarray, means: np.ndarray) -> Instances:
    """Records for a label map whose label i + 1 has score i and mean colour i.

    Labels are renumbered by falling area (equal areas: by their first pixel); those without a pixel vanish.

    Args:
        labels: (H, W) integers from 0.
    """
    return describe_in_order(labels, scores, means)[0]


def describe_in_order(labels: np.ndarray, scores: np.ndarray, means: np.ndarray) -> tuple[Instances, np.ndarray]:
    """As `describe`, and for each record in order the index into `scores` that it came from."""
    stats = measure_labels(labels, len(scores))
    present = np.flatnonzero(stats.area)
    order = present[np.lexsort((stats.first[present], -stats.area[present]))]
    rank = np.zeros(len(scores) + 1, np.int32)
    rank[order + 1] = np.arange(1, len(order) + 1)
    labels = rank[labels]
    labels.flags.writeable = False
    centers = find_centers(labels, len(order))
    records = [
        InstanceRecord(
            id=i + 1,
            area=int(stats.area[old]),
            box=four(stats.box[old]),
            score=float(scores[old]),
            color=three(means[old]),
            center=(int(centers[i, 0]), int(centers[i, 1])),
        )
        for i, old in enumerate(order.tolist())
    ]
    return Instances(labels, records), order


def four(box: np.ndarray) -> tuple[int, int, int, int]:
    """A box as whole numbers of Python."""
    x0, y0, x1, y1 = box.tolist()
    return x0, y0, x1, y1


def three(color: np.ndarray) -> tuple[int, int, int]:
    """A colour as whole numbers of Python."""
    r, g, b = color.tolist()
    return round(r), round(g), round(b)
