"""Leaves and their tree by the C extension; `reference.py` takes the same steps."""

from types import ModuleType

import numpy as np
from numpy.typing import NDArray

from gen2seg_kernels.instances.tree import Tree
from gen2seg_kernels.native import load_native


def find_leaves(colors: NDArray[np.uint8], least: int) -> NDArray[np.int32]:
    """See `dispatch.find_leaves`. Scratch: 18 bytes a pixel.

    Raises:
        ImportError: the extension is not installed.
        MemoryError: the scratch memory cannot be had.
    """
    labels = np.empty(colors.shape[:2], np.int32)
    _native().instance_leaves(np.ascontiguousarray(colors), *labels.shape, least, labels)
    return labels


def merge_leaves(
    colors: NDArray[np.uint8],
    leaves: NDArray[np.int32],
    distance: float,
    min_area: int,
    background: float = 0,
    largest_hole: int = 0,
) -> Tree:
    """See `dispatch.merge_leaves`. Scratch: 6 bytes a pixel and at most 188 a leaf; the tree: 136 a leaf.

    Raises:
        ImportError, MemoryError: as for `find_leaves`.
        ValueError: a number from 0 to the largest is not the number of any leaf.
    """
    leaves = np.ascontiguousarray(leaves)
    count = int(leaves.max()) + 1
    nodes = 2 * count - 1
    child = np.empty((count - 1, 2), np.int32)
    begin, size = np.empty(nodes, np.int32), np.empty(nodes, np.int32)
    area, color = np.empty(nodes, np.int64), np.empty((nodes, 3), np.int64)
    birth, outline = np.empty(nodes), np.empty((nodes, 2), np.int64)
    outputs = (child, begin, size, area, color, birth, outline)
    cut = (distance, min_area, background, largest_hole)
    merges = _native().instance_tree(np.ascontiguousarray(colors), *leaves.shape, leaves, count, *cut, *outputs)
    return Tree(count + merges, *outputs)


def _native() -> ModuleType:
    native = load_native()
    if native is None:
        raise ImportError("the compiled kernels are not installed; instances/reference.py runs without them")
    return native
