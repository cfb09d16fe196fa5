"""The evaluation: every system answers the same clicks on every image, one or several processes."""

import os
import signal
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass, field
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from gen2seg.evaluation.cache import Cache, outcome_key
from gen2seg.evaluation.clicks import CENTERS, Click, choose_clicks, find_clicks
from gen2seg.evaluation.datasets import Sample, find_samples, read_boundaries, read_labels
from gen2seg.evaluation.distortions import open_systems
from gen2seg.evaluation.edge_scores import EdgeCounts
from gen2seg.evaluation.errors import EvaluationError
from gen2seg.evaluation.gallery import GalleryRow, GalleryRowBuilder
from gen2seg.evaluation.judge import Truth, judge
from gen2seg.evaluation.systems import Setting, System, SystemSpec, get_system
from gen2seg_runtime.images import read_image

# What the numeric libraries read at start: one thread per process, the images are the parallel part.
_THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMEXPR_NUM_THREADS")


@dataclass(frozen=True)
class EvaluationConfig:
    """What to evaluate on, and how.

    Attributes:
        data: folder of the sets, see datasets.py.
        sets: names of the sets; None takes all.
        limit: at most so many images a set; None takes all.
        max_instances: at most so many clicks an image, chosen by `seed`, the same for all systems.
        jobs: processes; the result does not depend on it.
        seed: of the choice of clicks.
        gallery: images a set in the contact sheet.
        clicks: clicks on every instance, one after the other.
        center: where all clicks but the first lie, a key of clicks.CENTERS.
        cache: folder that keeps the outcome of each image; None keeps nothing.
        resume: whether outcomes that are there already are taken from it.
    """

    data: Path
    sets: tuple[str, ...] | None = None
    limit: int | None = None
    max_instances: int | None = None
    jobs: int = 1
    seed: int = 0
    gallery: int = 4
    clicks: int = 1
    center: str = "distance"
    cache: Path | None = None
    resume: bool = False

    def __post_init__(self) -> None:
        if self.jobs < 1:
            raise EvaluationError(f"jobs must be at least 1, got {self.jobs}")
        if self.max_instances is not None and self.max_instances < 1:
            raise EvaluationError(f"max_instances must be at least 1, got {self.max_instances}")
        if self.clicks < 1:
            raise EvaluationError(f"clicks must be at least 1, got {self.clicks}")
        if self.center not in CENTERS:
            raise EvaluationError(f"unknown centre {self.center!r}; known: {', '.join(CENTERS)}")
        if self.gallery < 0:
            raise EvaluationError(f"gallery must not be negative, got {self.gallery}")


@dataclass(frozen=True)
class ImageResult:
    """What all systems reached on one image.

    Attributes:
        sample: the image.
        clicks: the clicked instances, N of them.
        ious: by system, float64 [S, N, C]: at each of its S settings, for each instance, after 1 .. C clicks.
        edges: by system, counts against the annotators; empty where the set has no edges.
        gallery: tiles for the contact sheet, or None for an image that is not shown.
    """

    sample: Sample
    clicks: list[Click]
    ious: dict[str, np.ndarray]
    edges: dict[str, EdgeCounts]
    gallery: GalleryRow | None


@dataclass(frozen=True)
class SystemInfo:
    """A system as the report names it: its settings and its own description."""

    name: str
    settings: tuple[Setting, ...]
    has_edges: bool
    description: dict[str, Any]

    @property
    def distortion(self) -> str:
        """How its pictures were distorted; empty for pictures as they are."""
        return self.description.get("distortion", "")

    @property
    def of(self) -> str:
        """The system itself, where the pictures were distorted."""
        return self.description.get("of", self.name)


@dataclass(frozen=True)
class Evaluation:
    """All results, in the order of the sets and of their sorted image ids.

    Attributes:
        not_run: by name, how to get the weights of a system that was asked for and has none here.
    """

    config: EvaluationConfig
    systems: list[SystemInfo]
    results: list[ImageResult]
    not_run: dict[str, str] = field(default_factory=dict)


def evaluate(
    config: EvaluationConfig,
    specs: Sequence[SystemSpec],
    on_image: Callable[[int, int], None] | None = None,
) -> Evaluation:
    """Let every system answer every click.

    Where a set has edges and a system finds some, the system `sobel` is added for comparison.

    Args:
        config: images, clicks and processes.
        specs: the systems, with names of their own.
        on_image: called with (images done, images in all) after each image.

    Raises:
        EvaluationError: a wrong option, or a system answers with something that is no mask.
        DataSetError: the data folder is not as expected.
        Gen2SegError: a system cannot be opened or an image cannot be read.
    """
    samples = find_samples(config.data, config.sets, config.limit)
    not_run = {spec.name: spec.missing for spec in specs if spec.missing}
    specs = [spec for spec in specs if spec.name not in not_run and spec.of not in not_run]
    if not specs:
        raise EvaluationError("no system can run: " + "; ".join(f"{name}: {how}" for name, how in not_run.items()))
    systems = open_systems(specs)
    finds_edges = any(system.has_edges for system in systems.values())
    if finds_edges and "sobel" not in systems and any(sample.edges for sample in samples):
        specs = [*specs, get_system("sobel")]
        systems["sobel"] = specs[-1].open()
    infos = [SystemInfo(n, s.settings, s.has_edges, s.describe()) for n, s in systems.items()]
    shown = _choose_shown(samples, config.gallery)
    tasks = [_Task(sample, index in shown, config) for index, sample in enumerate(samples)]
    jobs = min(config.jobs, len(tasks))
    judged = _judge_here(tasks, systems) if jobs == 1 else _judge_in_processes(tasks, specs, jobs)
    results: dict[int, ImageResult] = {}
    for index, result in judged:
        results[index] = result
        if on_image:
            on_image(len(results), len(tasks))
    return Evaluation(config, infos, [results[index] for index in range(len(tasks))], not_run)


@dataclass(frozen=True)
class _Task:
    sample: Sample
    shown: bool
    config: EvaluationConfig


def _judge(task: _Task, systems: dict[str, System]) -> ImageResult:
    """One image, all systems; what the cache holds is not done again."""
    sample, config = task.sample, task.config
    image = read_image(sample.image)
    size = (image.shape[0], image.shape[1])
    labels = read_labels(sample, size)
    key = f"{config.seed}/{sample.set_name}/{sample.id}"
    clicks = choose_clicks(find_clicks(labels), config.max_instances, key)
    boundaries = read_boundaries(sample, size) if sample.edges else None
    truth = Truth(labels, clicks, boundaries)
    gallery = GalleryRowBuilder(sample.id, image, labels, clicks) if task.shown else None
    cache = Cache(config.cache, config.resume)
    outcomes = {}
    for name, system in systems.items():
        if not system.settings and not (system.has_edges and boundaries is not None):
            continue
        known = outcome_key(
            {**system.describe(), "settings": system.settings},
            [image, labels] if boundaries is None else [image, labels, boundaries],
            clicks,
            count=config.clicks,
            center=config.center,
            shown=task.shown,
        )
        outcome = cache.load(known)
        if outcome is None:
            outcome = judge(system, image, truth, config.clicks, config.center, gallery)
            cache.save(known, outcome)
        outcomes[name] = outcome
        if gallery:
            gallery.add_system(name, system.settings, outcome.colors, outcome.masks)
    return ImageResult(
        sample,
        clicks,
        {name: outcome.ious for name, outcome in outcomes.items()},
        {name: outcome.edges for name, outcome in outcomes.items() if outcome.edges},
        gallery.finish() if gallery else None,
    )


def _judge_here(tasks: list[_Task], systems: dict[str, System]) -> Iterator[tuple[int, ImageResult]]:
    threads = cv2.getNumThreads()
    cv2.setNumThreads(1)
    try:
        for index, task in enumerate(tasks):
            yield index, _judge(task, systems)
    finally:
        cv2.setNumThreads(threads)


def _judge_in_processes(
    tasks: list[_Task], specs: Sequence[SystemSpec], jobs: int
) -> Iterator[tuple[int, ImageResult]]:
    # Spawned, not forked: a fork would copy the parent's threads' locks but not the threads.
    context = get_context("spawn")
    # The crowded images first, so that none of them is left for the end.
    order = sorted(range(len(tasks)), key=lambda i: (-tasks[i].sample.instances.stat().st_size, i))
    with (
        _single_threaded_children(),
        ProcessPoolExecutor(jobs, context, _open_in_worker, (tuple(specs),)) as pool,
    ):
        futures: dict[Future[ImageResult], int] = {
            pool.submit(_judge_in_worker, tasks[index]): index for index in order
        }
        try:
            for future in as_completed(futures):
                yield futures[future], future.result()
        except BrokenProcessPool as error:
            raise EvaluationError("a worker process died, perhaps for want of memory; try fewer jobs") from error
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


_worker_systems: dict[str, System] = {}


def _open_in_worker(specs: tuple[SystemSpec, ...]) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to answer, once
    cv2.setNumThreads(1)
    _worker_systems.update(open_systems(specs))


def _judge_in_worker(task: _Task) -> ImageResult:
    return _judge(task, _worker_systems)


@contextmanager
def _single_threaded_children() -> Iterator[None]:
    before = {name: os.environ.get(name) for name in _THREAD_VARIABLES}
    os.environ.update(dict.fromkeys(_THREAD_VARIABLES, "1"))
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def _choose_shown(samples: list[Sample], count: int) -> set[int]:
    """Indices of up to `count` images a set, spread evenly."""
    by_set: dict[str, list[int]] = {}
    for index, sample in enumerate(samples):
        by_set.setdefault(sample.set_name, []).append(index)
    shown = set()
    for indices in by_set.values():
        wanted = min(count, len(indices))
        shown.update(indices[k * len(indices) // wanted] for k in range(wanted))
    return shown
