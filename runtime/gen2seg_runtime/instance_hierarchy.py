"""Instances together with their parts and groups: records, and which lies in which."""

from dataclasses import replace

import numpy as np

from gen2seg_runtime.instance_records import InstanceRecord, Instances, describe_in_order, four, three
from gen2seg_runtime.instance_tree import RegionTree
from gen2seg_runtime.label_stats import LabelStats, measure_labels
from gen2seg_runtime.resample import resize_labels


def with_hierarchy(tree: RegionTree, shown: np.ndarray, nested: np.ndarray, size: tuple[int, int]) -> Instances:
    """All masks are made of the same atoms, so that what is nested in the tree is so in pixels.

    Args:
        shown: (K,) disjoint nodes, the instances, in the order of the tree.
        nested: (M,) other nodes.
        size: (H, W) of the result.
    """
    first, end, atoms = tree.atoms(np.concatenate([shown, nested]))
    atoms = resize_labels(atoms, size)
    atoms.flags.writeable = False
    label = np.zeros(int(atoms.max()) + 2, np.int32)
    for i in range(len(shown)):
        label[first[i] : end[i]] = i + 1
    plain, order = describe_in_order(label[atoms], tree.scores[shown], tree.means[shown])

    stats = _measure_spans(atoms, first[len(shown) :], end[len(shown) :])
    kept = np.flatnonzero(stats.area)
    kept = kept[np.lexsort((stats.first[kept], -stats.area[kept]))]
    spans = [(int(first[len(shown) + i]), int(end[len(shown) + i])) for i in kept]
    records = [
        InstanceRecord(
            id=len(order) + 1 + number,
            area=int(stats.area[i]),
            box=four(stats.box[i]),
            score=float(tree.scores[nested[i]]),
            color=three(tree.means[nested[i]]),
            center=_center(atoms, spans[number], four(stats.box[i])),
        )
        for number, i in enumerate(kept.tolist())
    ]
    nodes = np.concatenate([shown[order], nested[kept]])
    begin, count = tree.begin[nodes].astype(np.int64), tree.tree.count[nodes].astype(np.int64)
    family = _link([*plain.records, *records], begin, begin + count)
    return Instances(plain.labels, family[: len(order)], family[len(order) :], atoms, spans)


def _measure_spans(atoms: np.ndarray, first: np.ndarray, end: np.ndarray) -> LabelStats:
    """Area, box and first pixel of runs of atoms, `first`..`end` − 1 each."""
    count = int(max(end.max(initial=1) - 1, atoms.max()))
    each = measure_labels(atoms, count)
    there = np.append(0, np.cumsum(each.area))
    area = there[end - 1] - there[first - 1]
    box, start = np.zeros((len(first), 4), np.int64), np.zeros(len(first), np.int64)
    for i in range(len(first)):
        span = np.arange(first[i] - 1, end[i] - 1)
        span = span[each.area[span] > 0]
        if len(span):
            boxes = each.box[span]
            box[i] = *boxes[:, :2].min(axis=0), *boxes[:, 2:].max(axis=0)
            start[i] = each.first[span].min()
    return LabelStats(area, box, start)


def _center(atoms: np.ndarray, span: tuple[int, int], box: tuple[int, int, int, int]) -> tuple[int, int]:
    """(x, y) of the first pixel of a mask that is farthest from all that is not in it, what is beyond the frame too."""
    import cv2

    x0, y0, x1, y1 = box
    part = atoms[y0:y1, x0:x1]
    mask = np.zeros((y1 - y0 + 2, x1 - x0 + 2), np.uint8)
    np.logical_and(part >= span[0], part < span[1], out=mask[1:-1, 1:-1].view(bool))
    y, x = divmod(int(cv2.distanceTransform(mask, cv2.DIST_L2, cv2.DIST_MASK_PRECISE).argmax()), mask.shape[1])
    return x0 + x - 1, y0 + y - 1


def _link(records: list[InstanceRecord], begin: np.ndarray, end: np.ndarray) -> list[InstanceRecord]:
    """Fill in parents and children: of spans that are nested or disjoint, the parent is the smallest around."""
    parent: list[int | None] = [None] * len(records)
    children: list[list[int]] = [[] for _ in records]
    around: list[int] = []
    for i in np.lexsort((-end, begin)).tolist():
        while around and end[around[-1]] < end[i]:
            around.pop()
        if around:
            parent[i] = records[around[-1]].id
            children[around[-1]].append(records[i].id)
        around.append(i)
    return [replace(record, parent=parent[i], children=tuple(sorted(children[i]))) for i, record in enumerate(records)]
