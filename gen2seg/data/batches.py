"""Training batches of procedural scenes; batch number `step` is the same in every run of a config."""

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from gen2seg.config import ConfigError, DataConfig, StageConfig

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
                raise ConfigError(f"a batch of {stage.batch} cannot be split over {world} processes")

    def __len__(self) -> int:
        return self.micro_batches

    def stage_of(self, step: int) -> StageConfig:
        """Size and batch of the scenes of a step."""
        stages = self.config.stages
        if self.config.cycle:
            return stages[step % len(stages)]
        return max((stage for stage in stages if stage.from_step <= step), key=lambda stage: stage.from_step)

    def scenes_before(self, step: int) -> int:
        """How many scenes the steps before `step` take, over all processes."""
        stages = self.config.stages
        if self.config.cycle:
            rounds, rest = divmod(step, len(stages))
            scenes = rounds * sum(s.batch for s in stages) + sum(s.batch for s in stages[:rest])
        else:
            ends = [min(step, following.from_step) for following in stages[1:]] + [step]
            scenes = sum(max(0, end - s.from_step) * s.batch for s, end in zip(stages, ends, strict=True))
        return scenes * self.accumulate

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        cv2.setNumThreads(1)  # the processes are the parallelism; OpenCV's pool would fight them
        step, micro = divmod(index, self.accumulate)
        stage = self.stage_of(step)
        share = stage.batch // self.world
        first = self.config.first_seed + self.scenes_before(step) + micro * stage.batch + self.rank * share
        scenes = [render_scene(first + i, stage.size) for i in range(share)]
        images = np.stack([rgb for rgb, _ in scenes]).transpose(0, 3, 1, 2)
        labels = np.stack([ids for _, ids in scenes])
        return torch.from_numpy(np.ascontiguousarray(images)), torch.from_numpy(labels)
