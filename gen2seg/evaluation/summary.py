"""From the results of single images to figures of sets: means, edge scores and their confidence intervals."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from gen2seg.evaluation.automatic import MaskScore, score_masks
from gen2seg.evaluation.bootstrap import LEVEL, Interval, draw_images, interval_of_mean
from gen2seg.evaluation.edge_scores import EdgeScore, interval_of_ods, score_edges
from gen2seg.evaluation.run import Evaluation, ImageResult, SystemInfo, best_name, columns_of, mean_by_setting
from gen2seg.evaluation.systems import Setting

# COCO's own classes, in pixels of its pictures (cocodataset.org, detection evaluation): small < 32², large >= 96².
# Sets whose name begins with "coco" are split by them; elsewhere pixels mean something else.
SIZE_LIMITS = {"small": (0, 32**2), "medium": (32**2, 96**2), "large": (96**2, None)}


@dataclass(frozen=True)
class SizeScore:
    """Mean IoU over the instances of one size; None where there is none."""

    instances: int
    miou: float | None


@dataclass(frozen=True)
class Score:
    """A column's result on a set.

    Attributes:
        miou: mean over the instances, in [0, 1].
        interval: 95 % of the bootstrap over images; None for fewer than two images.
        image_miou: mean over the images of the mean over their instances.
        setting: at which setting; None is the system's default. Chosen by the first click.
        clicks: mIoU after 1, 2 ... clicks.
        clicks_larger: the same without the small instances; None where sizes are not told apart.
        sizes: by size, after the first click; empty where sizes are not told apart.
    """

    miou: float
    interval: Interval | None
    image_miou: float
    setting: Setting
    clicks: list[float]
    clicks_larger: list[float] | None
    sizes: dict[str, SizeScore]


@dataclass(frozen=True)
class Latency:
    """Medians over the images, in milliseconds, on the machine and beside whatever else ran there.

    Attributes:
        prepare: what is done once for an image.
        click: a first click after that, at the setting of the column.
    """

    prepare: float
    click: float


@dataclass(frozen=True)
class SetReport:
    """All that was measured on one set.

    Attributes:
        images, instances: how many were judged.
        scores: by column of the table.
        sweeps: by system, its mIoU at every setting (setting None under the key "default").
        edges: by system; empty where the set has no edges.
        edge_intervals: by system, of ODS; None for fewer than two images.
        per_image: by image id, by column, the mean over the image's instances; None if it has none.
        automatic: by system, of its masks without a click, against all instances of the set.
    """

    images: int
    instances: int
    scores: dict[str, Score]
    sweeps: dict[str, dict[str, float]]
    edges: dict[str, EdgeScore]
    edge_intervals: dict[str, Interval | None]
    per_image: dict[str, dict[str, float | None]]
    automatic: dict[str, MaskScore]


@dataclass(frozen=True)
class Report:
    """The whole evaluation, by set."""

    evaluation: Evaluation
    sets: dict[str, SetReport]

    @property
    def all_columns(self) -> list[str]:
        """Columns of all systems, in their order."""
        return list(dict.fromkeys(name for report in self.sets.values() for name in report.scores))

    @property
    def columns(self) -> list[str]:
        """Those on pictures as they are."""
        return [column for column in self.all_columns if not self.system_of(column).distortion]

    def system_of(self, column: str) -> SystemInfo:
        """The system that a column is about."""
        return next(info for info in self.evaluation.systems if column in (info.name, best_name(info.name)))

    def mean_over_sets(self, column: str) -> float:
        """Every set counts alike."""
        return float(np.mean([s.scores[column].miou for s in self.sets.values() if column in s.scores]))

    def clicks_over_sets(self, column: str) -> list[float]:
        """After 1, 2 ... clicks, without COCO's small instances, as in the paper's Figure 6."""
        scores = [s.scores[column] for s in self.sets.values() if column in s.scores]
        curves = [score.clicks if score.clicks_larger is None else score.clicks_larger for score in scores]
        return [float(mean) for mean in np.mean([curve for curve in curves if curve], axis=0)]

    def clicks_intervals(self, column: str) -> list[Interval]:
        """Of `clicks_over_sets` after 1, 2 ... clicks: the images of each set are drawn again, set by set; empty where
        a set has fewer than two images with instances."""
        return self._clicks_intervals[column]

    @cached_property
    def _clicks_intervals(self) -> dict[str, list[Interval]]:
        return {column: self._draw_clicks(column) for column in self.columns}

    def _draw_clicks(self, column: str) -> list[Interval]:
        evaluation, info = self.evaluation, self.system_of(column)
        rounds = []
        for name, report in self.sets.items():
            score = report.scores.get(column)
            if score is None or not (score.clicks if score.clicks_larger is None else score.clicks_larger):
                continue
            row = info.settings.index(score.setting)
            sums, counts = [], []
            for result in (r for r in evaluation.results if r.sample.set_name == name):
                areas = np.array([click.area for click in result.clicks])
                kept = areas >= (0 if score.clicks_larger is None else SIZE_LIMITS["medium"][0])
                sums.append(result.ious[info.name][row][kept].sum(axis=0))
                counts.append(np.count_nonzero(kept))
            if np.count_nonzero(counts) < 2:
                return []
            draws = draw_images(len(counts), evaluation.config.seed, name)
            instances = np.maximum(draws @ np.array(counts), 1)
            rounds.append((draws @ np.array(sums)) / instances[:, None])
        if not rounds:
            return []
        means = np.mean(rounds, axis=0)
        low, high = np.quantile(means, [(1 - LEVEL) / 2, (1 + LEVEL) / 2], axis=0)
        return [(float(one), float(other)) for one, other in zip(low, high, strict=True)]

    @property
    def automatic_systems(self) -> list[str]:
        """Those whose masks without a click were judged, in their order."""
        return list(dict.fromkeys(name for report in self.sets.values() for name in report.automatic))

    def automatic_over_sets(self, system: str) -> dict[str, float]:
        """AR by the number of masks, "miou" and "masks"; every set counts alike."""
        scores = [s.automatic[system] for s in self.sets.values() if system in s.automatic]
        means = {limit: float(np.mean([s.recall[limit] for s in scores])) for limit in scores[0].recall}
        return {**means, **{key: float(np.mean([getattr(s, key) for s in scores])) for key in ("miou", "masks")}}

    def latency(self) -> dict[str, Latency]:
        """By column, of pictures as they are; see Latency."""
        table = {}
        for column in self.columns:
            info = self.system_of(column)
            pairs = []
            for result in self.evaluation.results:
                if info.name in result.seconds and len(result.clicks):
                    setting = self.sets[result.sample.set_name].scores[column].setting
                    pairs.append(result.seconds[info.name][:, info.settings.index(setting)])
            prepare, click = np.median(pairs, axis=0)
            table[column] = Latency(1000 * float(prepare), 1000 * float(click))
        return table

    def robustness(self) -> dict[str, dict[str, float]]:
        """By distortion ("none" first) and column, the mean over the sets; empty if nothing was distorted."""
        table: dict[str, dict[str, float]] = {}
        for column in self.all_columns:
            info = self.system_of(column)
            if info.distortion:
                plain = column.replace(info.name, info.of, 1)
                table.setdefault("none", {})[plain] = self.mean_over_sets(plain)
                table.setdefault(info.distortion, {})[plain] = self.mean_over_sets(column)
        return table


def summarize(evaluation: Evaluation) -> Report:
    """Average the results over each set, at the settings that `columns_of` chooses."""
    by_set: dict[str, list[ImageResult]] = {}
    for result in evaluation.results:
        by_set.setdefault(result.sample.set_name, []).append(result)
    return Report(evaluation, {name: _summarize_set(name, r, evaluation) for name, r in by_set.items()})


def _summarize_set(name: str, results: list[ImageResult], evaluation: Evaluation) -> SetReport:
    scores: dict[str, Score] = {}
    sweeps: dict[str, dict[str, float]] = {}
    edges: dict[str, EdgeScore] = {}
    edge_intervals: dict[str, Interval | None] = {}
    automatic: dict[str, MaskScore] = {}
    per_image: dict[str, dict[str, float | None]] = {result.sample.id: {} for result in results}
    instances = sum(len(result.clicks) for result in results)
    draws = draw_images(len(results), evaluation.config.seed, name)
    for info in evaluation.systems:
        counts = [result.edges[info.name] for result in results if info.name in result.edges]
        if counts:
            edges[info.name] = score_edges(counts)
            whole = len(counts) == len(results)
            edge_draws = draws if whole else draw_images(len(counts), evaluation.config.seed, name)
            edge_intervals[info.name] = interval_of_ods(edge_draws, counts)
        found = [result.automatic[info.name] for result in results if info.name in result.automatic]
        score = score_masks(list(zip(*found, strict=True)), info.mask_settings, draws) if found else None
        if score:
            automatic[info.name] = score
        if not info.settings or instances == 0:
            continue
        means = mean_by_setting(info.name, results)
        if len(info.settings) > 1:
            sweeps[info.name] = {_key(s): float(m) for s, m in zip(info.settings, means, strict=True)}
        for column, row in columns_of(info, means).items():
            ious = [result.ious[info.name][row] for result in results]
            scores[column] = _score(name, results, ious, info.settings[row], draws)
            for result, iou in zip(results, ious, strict=True):
                per_image[result.sample.id][column] = _mean(iou[:, 0])
    return SetReport(len(results), instances, scores, sweeps, edges, edge_intervals, per_image, automatic)


def _score(
    name: str, results: Sequence[ImageResult], ious: Sequence[np.ndarray], setting: Setting, draws: np.ndarray
) -> Score:
    """One column; `ious` [N, C] by image."""
    every = np.concatenate(ious)
    areas = np.array([click.area for result in results for click in result.clicks])
    sizes: dict[str, SizeScore] = {}
    larger = None
    if name.startswith("coco"):
        for size, (low, high) in SIZE_LIMITS.items():
            chosen = every[(areas >= low) & (areas < (np.inf if high is None else high)), 0]
            sizes[size] = SizeScore(len(chosen), _mean(chosen))
        without_small = every[areas >= SIZE_LIMITS["medium"][0]]
        larger = [float(mean) for mean in without_small.mean(axis=0)] if len(without_small) else []
    sums, counts = np.array([iou[:, 0].sum() for iou in ious]), np.array([len(iou) for iou in ious])
    return Score(
        miou=float(every[:, 0].mean()),
        interval=interval_of_mean(draws, sums, counts),
        image_miou=float(np.mean([iou[:, 0].mean() for iou in ious if len(iou)])),
        setting=setting,
        clicks=[float(mean) for mean in every.mean(axis=0)],
        clicks_larger=larger,
        sizes=sizes,
    )


def _mean(values: np.ndarray) -> float | None:
    return float(values.mean()) if values.size else None


def _key(setting: Setting) -> str:
    return "default" if setting is None else f"{setting:g}"
