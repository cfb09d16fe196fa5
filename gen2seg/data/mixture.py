"""Micro-batches drawn from several data sets: which pictures micro-batch number n holds is fixed by the seed.

Each micro-batch comes from one data set, chosen by the sources' weights, so that the gradients of the sets mix in
accumulation (as gen2seg, arXiv 2505.15263, mixes Hypersim and Virtual KITTI 2 as 9 : 1). Every set is gone through
in random order, all of it before any picture comes again. Several processes deal the micro-batches of a step out
among them, so that their number does not change what a step learns from.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from .augment import augmented
from .categories import restricted
from .sets import DataSet, DataSetError, Frame, Sample

MOST_BROKEN = 20  # files in a row that cannot be read before the run gives up


class Batch(NamedTuple):
    """What one micro-batch holds.

    Attributes:
        images: (B, 3, H, W) uint8 RGB.
        labels: (B, H, W) int32, 0 = background, 1..K the instances of each picture without gaps.
        valid: (B, H, W) bool, or None where all pixels are valid.
        ignore_background: (B,) bool.
        broken: a message for each file that could not be read; other pictures took their places.
    """

    images: Tensor
    labels: Tensor
    valid: Tensor | None
    ignore_background: Tensor
    broken: tuple[str, ...] = ()

    def to(self, device: torch.device) -> "Batch":
        """The batch with its tensors on a device."""
        return self._replace(
            images=self.images.to(device),
            labels=self.labels.to(device),
            valid=None if self.valid is None else self.valid.to(device),
            ignore_background=self.ignore_background.to(device),
        )


@dataclass(frozen=True)
class Source:
    """A cleaned data set and how its pictures are shown.

    Attributes:
        data, frames: the data set and what is left of it.
        weight: its share of the micro-batches, relative to the others'.
        size: (height, width) that its pictures are brought to.
        fit, flip: see `augmented`.
        ignore_background: whether what has no label is unlabelled rather than background.
        categories: train on these only; none for all.
    """

    data: DataSet
    frames: tuple[Frame, ...]
    weight: float
    size: tuple[int, int]
    fit: str = "resize"
    flip: float = 0.5
    ignore_background: bool = False
    categories: tuple[str, ...] = ()


class MixedBatches(Dataset[Batch]):
    """Micro-batches by number, for one of several processes.

    Item i of process `rank` is micro-batch `i * world + rank` of the run.
    """

    def __init__(
        self, sources: Sequence[Source], batch: int, micro_batches: int, seed: int, rank: int = 0, world: int = 1
    ) -> None:
        """
        Args:
            sources: at least one.
            batch: pictures in a micro-batch.
            micro_batches: of the whole run, over all processes; a multiple of `world`.
            seed: of all that is drawn.
            rank, world: which process of how many.
        """
        self.sources = tuple(sources)
        self.batch = batch
        self.rank = rank
        self.world = world
        self.seed = seed
        self._length = micro_batches // world
        weights = np.array([source.weight for source in self.sources], np.float64)
        drawn = np.random.default_rng([seed, 0]).random(micro_batches)
        last = len(self.sources) - 1
        self.chosen = np.minimum(np.searchsorted(np.cumsum(weights / weights.sum()), drawn, side="right"), last)
        # How many micro-batches of the same source came before each one.
        self._before = np.zeros(micro_batches, np.int64)
        for number in range(len(self.sources)):
            mine = self.chosen == number
            self._before[mine] = np.arange(mine.sum())

    def __len__(self) -> int:
        return self._length

    def __getitem__(self, index: int) -> Batch:
        cv2.setNumThreads(1)  # the processes are the parallelism; OpenCV's pool would fight them
        micro = index * self.world + self.rank
        number = int(self.chosen[micro])
        source = self.sources[number]
        first = int(self._before[micro]) * self.batch
        broken: list[str] = []
        samples = [self._sample(source, number, first + i, broken) for i in range(self.batch)]
        valid = None
        if any(sample.valid is not None for sample in samples):
            valid = torch.from_numpy(np.stack([_valid(sample) for sample in samples]))
        images = np.stack([sample.rgb for sample in samples]).transpose(0, 3, 1, 2)
        return Batch(
            torch.from_numpy(np.ascontiguousarray(images)),
            torch.from_numpy(np.stack([_dense(sample.ids) for sample in samples])),
            valid,
            torch.full((self.batch,), source.ignore_background),
            tuple(broken),
        )

    def _sample(self, source: Source, number: int, position: int, broken: list[str]) -> Sample:
        """Picture number `position` of a source's endless sequence, as it is trained on."""
        rng = np.random.default_rng([self.seed, 1 + number, position])
        frame = source.frames[_order(self.seed, number, len(source.frames), position)]
        for _ in range(MOST_BROKEN):
            try:
                sample = source.data.read(frame, categories=bool(source.categories))
                break
            except DataSetError as error:
                broken.append(str(error))
                frame = source.frames[int(rng.integers(len(source.frames)))]
        else:
            raise DataSetError(f"{MOST_BROKEN} files in a row cannot be read; the last: {broken[-1]}")
        if source.categories:
            sample = restricted(sample, source.categories)
        return augmented(sample, source.size, source.fit, source.flip, rng)


def _dense(ids: np.ndarray) -> np.ndarray:
    values, dense = np.unique(ids, return_inverse=True)
    return (dense.reshape(ids.shape) + (values[0] != 0)).astype(np.int32)


def _valid(sample: Sample) -> np.ndarray:
    return np.ones(sample.ids.shape, bool) if sample.valid is None else sample.valid


def _order(seed: int, source: int, length: int, position: int) -> int:
    """Which picture comes at a position of the endless sequence of shuffled rounds."""
    turn, place = divmod(position, length)
    return int(_shuffled(seed, source, length, turn)[place])


@lru_cache(maxsize=16)
def _shuffled(seed: int, source: int, length: int, turn: int) -> np.ndarray:
    return np.random.default_rng([seed, 1 + source, length, turn]).permutation(length)
