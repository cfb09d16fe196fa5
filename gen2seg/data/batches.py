"""Training batches of procedural scenes; batch number `step` is the same in every run of a config."""

from itertools import pairwise

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from gen2seg.config import DataConfig, StageConfig

from .scenes import render_scene


class SceneBatches(Dataset[tuple[Tensor, Tensor]]):
    """Whole micro-batches by number, so that resuming is starting at another number.

    Item i: images (B, 3, S, S) uint8 RGB and labels (B, S, S) int32. Every scene has its own seed; with
    several processes each renders its share of the batch.
    """

    def __init__(self, config: DataConfig, micro_batches: int, accumulate: int, rank: int = 0, world: int = 1):
        self.config = config
        self.micro_batches = micro_batches
        self.accumulate = accumulate
        self.rank = rank
        self.world = world
        for stage in config.stages:
            if stage.batch % world:
                raise ValueError(f"a batch of {stage.batch} cannot be split over {world} processes")
        self._first_seeds = self._seeds_at_stages()

    def __len__(self) -> int:
        return self.micro_batches

    def stage_of(self, step: int) -> tuple[int, StageConfig]:
        index = max(i for i, stage in enumerate(self.config.stages) if stage.from_step <= step)
        return index, self.config.stages[index]

    def _seeds_at_stages(self) -> list[int]:
        seeds = [self.config.first_seed]
        stages = self.config.stages
        for stage, following in pairwise(stages):
            micro = (following.from_step - stage.from_step) * self.accumulate
            seeds.append(seeds[-1] + micro * stage.batch)
        return seeds

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        cv2.setNumThreads(1)  # the processes are the parallelism; OpenCV's pool would fight them
        step = index // self.accumulate
        which, stage = self.stage_of(step)
        share = stage.batch // self.world
        within = index - stage.from_step * self.accumulate
        first = self._first_seeds[which] + within * stage.batch + self.rank * share
        scenes = [render_scene(first + i, stage.size) for i in range(share)]
        images = np.stack([rgb for rgb, _ in scenes]).transpose(0, 3, 1, 2)
        labels = np.stack([ids for _, ids in scenes])
        return torch.from_numpy(np.ascontiguousarray(images)), torch.from_numpy(labels)
