"""The tree of regions of a picture: which of them are instances, how good they are, which others are worth showing."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from gen2seg_kernels.instances.dispatch import find_leaves, merge_leaves
from gen2seg_kernels.instances.tree import Tree

_LEAF = 16  # pixels: the colours of a smaller piece are not worth a decision
_STEADY = 1.0  # what a region that stays the same over all thresholds gains, as a share of its score
_SIZE_POWER = 0.4
_HALF = 500.0  # a score of one half: about 100 pixels behind an outline of 50 that stay the same over half of it
_ALIKE = 0.85  # overlap beyond which two nested regions are one
_GROUND_SHARE = 0.1  # of a group's pixels that may be background
_FAINTEST = 0.2  # of the distance: the weakest outline that parts a nested region from another


def grow_tree(colors: np.ndarray, distance: float, background: float, min_area: int, fill_holes: int) -> "RegionTree":
    """The tree of a colour image, (h, w, 3) uint8; see `gen2seg_runtime.instances.find_instances`."""
    colors = np.ascontiguousarray(colors)
    leaves = find_leaves(colors, min(min_area, _LEAF))
    return RegionTree(leaves, merge_leaves(colors, leaves, distance, min_area, background, fill_holes))


@dataclass(frozen=True, eq=False)
class RegionTree:
    """Leaves (h, w) int32 and how they merge. Arrays over the N nodes of the tree are in their order."""

    leaves: np.ndarray
    tree: Tree

    @property
    def begin(self) -> np.ndarray:
        return self.tree.begin

    @cached_property
    def parent(self) -> np.ndarray:
        """(N,) int64; that of the last node, the picture, is N."""
        nodes = len(self.tree.area)
        parent = np.full(nodes, nodes)
        parent[self.tree.child] = np.arange(nodes - len(self.tree.child), nodes)[:, None]
        return parent

    @cached_property
    def means(self) -> np.ndarray:
        """(N, 3) float64 mean colours."""
        return self.tree.color / self.tree.area[:, None]

    @cached_property
    def end(self) -> np.ndarray:
        """(N,) float64, the threshold at which a region merges with another; the picture's is its birth."""
        return np.append(self.tree.birth, self.tree.birth[-1])[np.minimum(self.parent, len(self.tree.area))]

    @cached_property
    def scores(self) -> np.ndarray:
        """(N,) float64 in [0, 1).

        q = sqrt(s · e) · (1 + (e − b) / e) · area^0.4 with s the strength of the outline and b..e the thresholds
        between which the region is one and has not merged with another; the score is q / (q + 500). The constants were
        chosen on one half of the development sets (docs/instances.md).
        """
        tree, end = self.tree, self.end
        strength = tree.outline[:, 1] / np.maximum(tree.outline[:, 0], 1) / 16
        steady = np.maximum(end - tree.birth, 0) / np.maximum(end, 1e-9)
        quality = np.sqrt(strength * end) * (1 + _STEADY * steady) * tree.area**_SIZE_POWER
        return quality / (quality + _HALF)

    def regions(self, background: float, min_area: int) -> np.ndarray:
        """(K,) nodes that are instances, in the order of the tree."""
        regions = self._cut
        return regions[self._bright(regions, background) & (self.tree.area[regions] >= min_area)]

    @cached_property
    def _cut(self) -> np.ndarray:
        """(R,) nodes that are the regions of the cut, in the order of the tree."""
        inside = np.arange(self.tree.cut)
        regions = inside[self.parent[inside] >= self.tree.cut]
        return regions[np.argsort(self.begin[regions])]

    def nested(self, shown: np.ndarray, background: float, min_area: int, distance: float, most: int) -> np.ndarray:
        """(up to `most`,) further nodes, the best first, none of them much like another or like one of `shown`."""
        tree = self.tree
        wanted = (tree.area >= min_area) & (self.end >= _FAINTEST * distance)
        wanted[-1] = False  # the whole picture
        wanted &= self._bright(np.arange(len(wanted)), background)
        wanted[tree.cut :] &= self._ground(background)[tree.cut :] <= _GROUND_SHARE * tree.area[tree.cut :]
        blocked = ~wanted
        area, parent, child = tree.area, self.parent, tree.child
        leaves = len(area) - len(child)

        def block(node: int) -> None:
            """The node, and those above and below that are much like it: a single path, as parts are disjoint."""
            blocked[node] = True
            above = parent[node]
            while above < len(area) and area[node] > _ALIKE * area[above]:
                blocked[above] = True
                above = parent[above]
            below = node
            while below >= leaves:
                low, high = child[below - leaves]
                below = low if area[low] > area[high] else high
                if area[below] <= _ALIKE * area[node]:
                    break
                blocked[below] = True

        for node in shown.tolist():
            block(node)
        open_nodes = np.flatnonzero(~blocked)
        chosen: list[int] = []
        for node in open_nodes[np.lexsort((open_nodes, -self.scores[open_nodes]))].tolist():
            if len(chosen) >= most:
                break
            if not blocked[node]:
                chosen.append(node)
                block(node)
        return np.array(chosen, np.int64)

    def paint(self, nodes: np.ndarray) -> np.ndarray:
        """(h, w) int32: i + 1 within node i of some that are disjoint and in the order of the tree, 0 elsewhere."""
        places = np.zeros(len(self.tree.area) - len(self.tree.child), np.int32)
        begin, count = self.begin[nodes], self.tree.count[nodes]
        for i, (first, length) in enumerate(zip(begin.tolist(), count.tolist(), strict=True)):
            places[first : first + length] = i + 1
        return self._spread(places)

    def atoms(self, nodes: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Cut the picture into the fewest atoms of which all of some nodes consist.

        Returns:
            (K,) the first atom of each node and (K,) one past its last; atoms count from 1.
            (h, w) int32 atoms.
        """
        begin = self.begin[nodes].astype(np.int64)
        end = begin + self.tree.count[nodes]
        edges = np.unique(np.concatenate([[0], begin, end]))
        places = np.zeros(len(self.tree.area) - len(self.tree.child), np.int32)
        places[edges[edges < len(places)]] = 1
        atoms = self._spread(np.cumsum(places, dtype=np.int32))
        return np.searchsorted(edges, begin) + 1, np.searchsorted(edges, end) + 1, atoms

    def _ground(self, background: float) -> np.ndarray:
        """(N,) int64 pixels of regions of the cut that are background, within nodes that are none of their parts."""
        dark = self._cut[~self._bright(self._cut, background)]
        pixels = np.zeros(len(self.tree.area) - len(self.tree.child) + 1, np.int64)
        pixels[self.begin[dark] + 1] = self.tree.area[dark]
        pixels = np.cumsum(pixels)
        return pixels[self.begin + self.tree.count] - pixels[self.begin]

    def _spread(self, places: np.ndarray) -> np.ndarray:
        """Values of the leaves in the order of the tree -> (h, w)."""
        return places[self.begin[: len(places)]][self.leaves]

    def _bright(self, nodes: np.ndarray, background: float) -> np.ndarray:
        if background < 0:
            return np.ones(len(nodes), bool)
        # As the kernel tells dark regions, so that a hole is never an instance.
        sums = self.tree.color[nodes].astype(np.float64)
        return (sums**2).sum(axis=1) > (background * self.tree.area[nodes]) ** 2
