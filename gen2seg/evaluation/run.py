"""The evaluation: every system answers the same clicks on every image, in one or several processes or on a cluster."""

import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from gen2seg.evaluation.automatic import MaskCounts
from gen2seg.evaluation.cache import Cache, outcome_key
from gen2seg.evaluation.clicks import Click, ClickRule, choose_clicks, find_clicks
from gen2seg.evaluation.datasets import Sample, find_samples, read_boundaries, read_labels
from gen2seg.evaluation.distortions import open_systems
from gen2seg.evaluation.edge_scores import EdgeCounts
from gen2seg.evaluation.engines import ENGINES, open_engine
from gen2seg.evaluation.errors import EvaluationError
from gen2seg.evaluation.gallery import GalleryRow, GalleryRowBuilder
from gen2seg.evaluation.judge import Truth, judge
from gen2seg.evaluation.systems import Setting, System, SystemSpec, get_system
from gen2seg_runtime.images import read_image


@dataclass(frozen=True)
class EvaluationConfig:
    """What to evaluate on, and how.

    Attributes:
        data: folder of the sets, see datasets.py.
        sets: names of the sets; None takes all.
        limit: at most so many images a set; None takes all.
        max_instances: at most so many clicks an image, chosen by `seed`, the same for all systems.
        jobs: processes, or CPUs of a Ray cluster that is started for the run; the result does not depend on it.
        seed: of the choice of clicks.
        gallery: images a set in the contact sheet.
        clicks: clicks on every instance, one after the other.
        center: where all clicks but the first lie, a key of clicks.CENTERS.
        next_click: what they lie in, one of clicks.NEXT_CLICKS.
        cache: folder that keeps the outcome of each image; None keeps nothing.
        resume: whether outcomes of earlier runs are taken from it.
        engine: a key of engines.ENGINES.
        masks: whether clicks are judged.
        automatic: whether masks without a click are judged. Edges are wherever a set has some.
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
    next_click: str = "missing"
    cache: Path | None = None
    resume: bool = False
    engine: str = "processes"
    masks: bool = True
    automatic: bool = True

    def __post_init__(self) -> None:
        if self.jobs < 1:
            raise EvaluationError(f"jobs must be at least 1, got {self.jobs}")
        if self.max_instances is not None and self.max_instances < 1:
            raise EvaluationError(f"max_instances must be at least 1, got {self.max_instances}")
        ClickRule(self.clicks, self.center, self.next_click)
        if self.engine not in ENGINES:
            raise EvaluationError(f"unknown engine {self.engine!r}; known: {', '.join(ENGINES)}")
        if self.gallery < 0:
            raise EvaluationError(f"gallery must not be negative, got {self.gallery}")


@dataclass(frozen=True)
class ImageResult:
    """What all systems reached on one image.

    Attributes:
        sample: the image.
        clicks: the clicked instances, N of them.
        ious: by system, float64 [S, N, C]: at each of its S settings, for each instance, after 1 .. C clicks; on
            distorted pictures C = 1; NaN where a setting that no column shows was not clicked on.
        seconds: by system, see cache.Outcome.
        edges: by system, counts against the annotators; empty where the set has no edges.
        automatic: by system, counts of its masks without a click at each of its mask settings, against all instances.
        gallery: tiles for the contact sheet, or None for an image that is not shown.
    """

    sample: Sample
    clicks: list[Click]
    ious: dict[str, np.ndarray]
    seconds: dict[str, np.ndarray]
    edges: dict[str, EdgeCounts]
    automatic: dict[str, tuple[MaskCounts, ...]]
    gallery: GalleryRow | None


@dataclass(frozen=True)
class SystemInfo:
    """A system as the report names it: see SystemSpec and System; its settings and its own description."""

    name: str
    learned: bool
    settings: tuple[Setting, ...]
    has_edges: bool
    mask_settings: tuple[Setting, ...]
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
        not_run: by the name of a system that could not be run, why, and how to get what it lacks.
    """

    config: EvaluationConfig
    systems: list[SystemInfo]
    results: list[ImageResult]
    not_run: Mapping[str, str] = field(default_factory=dict)


def evaluate(
    config: EvaluationConfig,
    specs: Sequence[SystemSpec],
    on_image: Callable[[int, int], None] | None = None,
) -> Evaluation:
    """Let every system answer every click.

    Where a set has edges and a system finds some, the system `sobel` is added for comparison.

    Args:
        config: images, clicks and processes.
        specs: the systems, with names of their own; those that miss something are only named in the report.
        on_image: called with (images done, images in all) after each image.

    Raises:
        EvaluationError: a wrong option, or a system answers with something that is no mask.
        DataSetError: the data folder is not as expected.
        Gen2SegError: a system cannot be opened or an image cannot be read.
    """
    samples = find_samples(config.data, config.sets, config.limit)
    not_run = {spec.name: spec.missing for spec in specs if spec.missing}
    specs = [spec for spec in specs if not spec.missing]
    if not specs:
        raise EvaluationError(
            "none of the systems can be run: " + "; ".join(f"{name}: {why}" for name, why in not_run.items())
        )
    systems = open_systems(specs)
    finds_edges = any(system.has_edges for system in systems.values())
    if finds_edges and "sobel" not in systems and any(sample.edges for sample in samples):
        specs = [*specs, get_system("sobel")]
        systems["sobel"] = specs[-1].open()
    opened = [(spec, systems[spec.name]) for spec in specs]
    infos = [
        SystemInfo(spec.name, spec.learned, s.settings, s.has_edges, s.mask_settings, s.describe())
        for spec, s in opened
    ]
    shown = _choose_shown(samples, config.gallery)
    run = uuid.uuid4().hex
    tasks = [ImageTask(sample, index in shown, config, run) for index, sample in enumerate(samples)]
    # The crowded images first, so that none of them is left for the end.
    order = sorted(range(len(tasks)), key=lambda i: (-tasks[i].sample.instances.stat().st_size, i))
    rounds = 2 if any(_clicked_later(info.settings, bool(info.distortion), config) for info in infos) else 1

    jobs = min(config.jobs, len(tasks))
    with open_engine(config.engine, judge_image, specs, systems, jobs) as run_tasks:

        def judge_all(tasks: list[ImageTask], before: int) -> list[ImageResult]:
            results: dict[int, ImageResult] = {}
            for index, result in run_tasks(tasks, order):
                results[index] = result
                if on_image:
                    on_image(before + len(results), rounds * len(tasks))
            return [results[index] for index in range(len(tasks))]

        results = judge_all(tasks, 0)
        if rounds == 2:
            chosen = _chosen_rows(infos, results, config)
            later = [replace(task, shown=False, rows=chosen[task.sample.set_name]) for task in tasks]
            clicked = judge_all(later, len(tasks))
            results = [_merge(*pair, chosen, config.clicks) for pair in zip(results, clicked, strict=True)]
    return Evaluation(config, infos, results, not_run)


def best_name(system: str) -> str:
    """The column of a system's best setting, beside its default."""
    return f"{system}-best"


def mean_by_setting(name: str, results: Sequence[ImageResult]) -> np.ndarray:
    """Mean IoU of a system's first clicks over all instances, float64 [S]; there must be an instance."""
    return np.concatenate([result.ious[name][..., 0] for result in results], axis=1).mean(axis=1)


def columns_of(info: SystemInfo, means: np.ndarray) -> dict[str, int]:
    """Name of each column of a system in the tables, and the row of `means` [S] that it shows: its default, and the
    best setting where it has several (the first among equals), called `<name>-best` beside a default."""
    best = int(np.argmax(means))
    if None not in info.settings:
        return {info.name: best}
    default = {info.name: info.settings.index(None)}
    return default if len(info.settings) == 1 else {**default, best_name(info.name): best}


def _clicked_later(settings: Sequence[Setting], distorted: bool, config: EvaluationConfig) -> bool:
    """Whether all but the first click wait until it is known which settings are shown: a second round is cheaper than
    nine clicks at a dozen settings."""
    return config.masks and config.clicks > 1 and len(settings) > 1 and not distorted


def _chosen_rows(
    infos: Sequence[SystemInfo], results: Sequence[ImageResult], config: EvaluationConfig
) -> dict[str, dict[str, tuple[int, ...]]]:
    """By set and by system the settings that the set's tables show."""
    by_set: dict[str, list[ImageResult]] = {}
    for result in results:
        by_set.setdefault(result.sample.set_name, []).append(result)
    return {
        name: {
            info.name: tuple(sorted(set(columns_of(info, mean_by_setting(info.name, found)).values())))
            for info in infos
            if _clicked_later(info.settings, bool(info.distortion), config) and any(result.clicks for result in found)
        }
        for name, found in by_set.items()
    }


def _merge(
    first: ImageResult, later: ImageResult, chosen: dict[str, dict[str, tuple[int, ...]]], count: int
) -> ImageResult:
    """Put the several clicks at the chosen settings beside the first ones at all."""
    ious = dict(first.ious)
    for name, rows in chosen[first.sample.set_name].items():
        settings, instances, _ = ious[name].shape
        whole = np.full((settings, instances, count), np.nan)
        whole[..., :1] = ious[name]
        whole[list(rows)] = later.ious[name]
        ious[name] = whole
    return replace(first, ious=ious)


@dataclass(frozen=True)
class ImageTask:
    """One image to judge.

    Attributes:
        shown: whether its pictures are kept.
        run: names the run.
        rows: in the second round by system the settings to click at, as places in its settings; None: first round.
    """

    sample: Sample
    shown: bool
    config: EvaluationConfig
    run: str
    rows: Mapping[str, tuple[int, ...]] | None = None


def judge_image(task: ImageTask, systems: Mapping[str, System]) -> ImageResult:
    """One image, all systems; what the cache holds is not done again."""
    sample, config = task.sample, task.config
    image = read_image(sample.image)
    size = (image.shape[0], image.shape[1])
    labels = read_labels(sample, size)
    key = f"{config.seed}/{sample.set_name}/{sample.id}"
    first_round = task.rows is None
    clicks = choose_clicks(find_clicks(labels), config.max_instances, key) if config.masks else []
    boundaries = read_boundaries(sample, size) if sample.edges and first_round else None
    instances = np.unique(labels[labels > 0]).tolist() if config.automatic and first_round else None
    truth = Truth(labels, clicks, boundaries, instances)
    gallery = GalleryRowBuilder(sample.id, image, labels, clicks) if task.shown else None
    cache = Cache(config.cache, config.resume, task.run)
    outcomes = {}
    for name, system in systems.items():
        if task.rows is not None and name not in task.rows:
            continue
        asked = (
            bool(system.settings) and config.masks,
            system.has_edges and boundaries is not None,
            bool(system.mask_settings) and instances is not None,
        )
        if not any(asked):
            continue
        description = system.describe()
        distorted = "distortion" in description
        settings = system.settings if task.rows is None else tuple(system.settings[row] for row in task.rows[name])
        waits = task.rows is None and _clicked_later(system.settings, distorted, config)
        count = 1 if distorted or waits else config.clicks
        rule = ClickRule(count, config.center, config.next_click)
        known = outcome_key(
            {**description, "settings": settings, "mask_settings": system.mask_settings},
            [image, labels] if boundaries is None else [image, labels, boundaries],
            clicks,
            **asdict(rule),
            shown=task.shown,
            automatic=instances is not None,
        )
        outcome = cache.load(known)
        if outcome is None:
            outcome = judge(system, settings, image, truth, rule, gallery)
            cache.save(known, outcome)
        outcomes[name] = outcome
        if gallery:
            gallery.add_system(name, settings, outcome.colors, outcome.masks)
            gallery.add_found(name, system.mask_settings, outcome.found)
    return ImageResult(
        sample,
        clicks,
        {name: outcome.ious for name, outcome in outcomes.items()},
        {name: outcome.seconds for name, outcome in outcomes.items()},
        {name: outcome.edges for name, outcome in outcomes.items() if outcome.edges},
        {name: outcome.automatic for name, outcome in outcomes.items() if outcome.automatic},
        gallery.finish() if gallery else None,
    )


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
