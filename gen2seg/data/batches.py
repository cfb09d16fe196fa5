"""Training batches by number: procedural scenes, or what a mixture of data sets gives."""

import os
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import torch
from torch.utils.data import Dataset

from gen2seg.config import DataConfig, SourceConfig, StageConfig
from gen2seg.toml_records import ConfigError

from .categories import GROUPS
from .cleaning import Cleaned, clean
from .mixture import Batch, MixedBatches, Source
from .scenes import render_scene
from .sets import open_set

Progress = Callable[[str, int, int], None]  # name of the source, pictures looked at, pictures in all


class SceneBatches(Dataset[Batch]):
    """Procedural scenes. Every scene has its own seed; batch number `step` is the same in every run of a config.

    Item i of process `rank` is micro-batch `i * world + rank` of the run.
    """

    def __init__(self, config: DataConfig, micro_batches: int, accumulate: int, rank: int = 0, world: int = 1):
        self.config = config
        self.micro_batches = micro_batches
        self.accumulate = accumulate
        self.rank = rank
        self.world = world

    def __len__(self) -> int:
        return self.micro_batches // self.world

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

    def __getitem__(self, index: int) -> Batch:
        cv2.setNumThreads(1)  # the processes are the parallelism; OpenCV's pool would fight them
        step, micro = divmod(index * self.world + self.rank, self.accumulate)
        stage = self.stage_of(step)
        first = self.config.first_seed + self.scenes_before(step) + micro * stage.batch
        scenes = [render_scene(first + i, stage.size) for i in range(stage.batch)]
        images = np.stack([rgb for rgb, _ in scenes]).transpose(0, 3, 1, 2)
        labels = np.stack([ids for _, ids in scenes])
        nothing = torch.zeros(stage.batch, dtype=torch.bool)
        return Batch(torch.from_numpy(np.ascontiguousarray(images)), torch.from_numpy(labels), None, nothing)


def open_sources(config: DataConfig, progress: Progress | None = None) -> dict[str, tuple[Source, Cleaned]]:
    """List, clean and describe the data sets of a config, by name.

    Raises:
        DataSetError: a folder does not look like its data set, or nothing in it is left.
        ConfigError: an unknown category.
    """
    return {name: open_source(name, source, progress) for name, source in config.sources.items()}


def open_source(name: str, config: SourceConfig, progress: Progress | None = None) -> tuple[Source, Cleaned]:
    """List, clean and describe one data set; `name` is for messages. Raises as `open_sources`."""
    data = open_set(config.kind, Path(os.path.expandvars(config.root)).expanduser(), config.options)
    categories = tuple(c for entry in config.categories for c in GROUPS.get(entry, (entry,)))
    unknown = sorted(set(categories) - data.category_names())
    if unknown:
        known = ", ".join(sorted(data.category_names())) or "none"
        raise ConfigError(f"data.sources.{name}.categories: unknown {', '.join(unknown)}; known: {known}")
    tell = (lambda done, count: progress(name, done, count)) if progress else None
    cleaned = clean(data, config.least_objects, categories, tell)
    ignored = data.ignore_background if config.ignore_background is None else config.ignore_background
    source = Source(data, cleaned.frames, config.weight, config.size, config.fit, config.flip, ignored, categories)
    return source, cleaned


def open_batches(
    config: DataConfig,
    steps: int,
    accumulate: int,
    seed: int,
    rank: int = 0,
    world: int = 1,
    progress: Progress | None = None,
    tell: Callable[[str, Cleaned], None] | None = None,
) -> Dataset[Batch]:
    """The micro-batches of a run for one of several processes: `steps * accumulate / world` items.

    Args:
        progress: told how far the reading of the labels is.
        tell: told what is left of each source.

    Raises:
        ConfigError: the processes cannot share the micro-batches of a step evenly.
        DataSetError: see `open_sources`.
    """
    if accumulate % world:
        raise ConfigError(
            f"optimizer.accumulate counts the micro-batches of a step over all processes: {accumulate} cannot be "
            f"shared by {world}"
        )
    if not config.sources:
        return SceneBatches(config, steps * accumulate, accumulate, rank, world)
    opened = open_sources(config, progress)
    for name, (_, cleaned) in opened.items():
        if tell:
            tell(name, cleaned)
    sources = [source for source, _ in opened.values()]
    return MixedBatches(sources, config.batch, steps * accumulate, seed, rank, world)
