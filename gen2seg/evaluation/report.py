"""From the results of single images to the tables: JSON, Markdown and contact sheets."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from gen2seg.evaluation.charts import Line, draw_chart
from gen2seg.evaluation.edge_matching import TOLERANCE
from gen2seg.evaluation.edge_scores import EdgeScore, score_edges
from gen2seg.evaluation.gallery import Column, draw_gallery
from gen2seg.evaluation.run import Evaluation, ImageResult, SystemInfo
from gen2seg.evaluation.systems import Setting
from gen2seg.folders import make_folder
from gen2seg_runtime.files import atomic_write
from gen2seg_runtime.formats import write_png

SCHEMA = "gen2seg.evaluation/2.0"

_PROTOCOL = (
    "One click per instance, at the pixel farthest from the instance's boundary (exact Euclidean distance, "
    "the image's border counts as boundary, the first such pixel in row-major order); intersection over "
    "union of the answered mask with the instance; mean over all instances of a set."
)
_EDGE_PROTOCOL = (
    f"Edge pixels are matched one to one with each annotator's boundary, at most {TOLERANCE:g} of the image's diagonal "
    "apart, as in the BSDS500 benchmark; an edge pixel is right if any annotator's pixel is matched with it, recall "
    "counts the boundary pixels of all annotators. ODS: best F-measure at one threshold for the set (precision and "
    "recall there); OIS: at each image's own; AP: mean precision over all recalls, and over those up to 20 %."
)


@dataclass(frozen=True)
class Score:
    """A column's result on a set.

    Attributes:
        miou: mean over the instances, in [0, 1].
        image_miou: mean over the images of the mean over their instances.
        setting: at which setting; None is the system's default.
    """

    miou: float
    image_miou: float
    setting: Setting


@dataclass(frozen=True)
class SetReport:
    """All that was measured on one set.

    Attributes:
        images, instances: how many were judged.
        scores: by column of the table.
        sweeps: by system, its mIoU at every setting (setting None under the key "default").
        edges: by system; empty where the set has no edges.
        per_image: by image id, by column, the mean over the image's instances; None if it has none.
    """

    images: int
    instances: int
    scores: dict[str, Score]
    sweeps: dict[str, dict[str, float]]
    edges: dict[str, EdgeScore]
    per_image: dict[str, dict[str, float | None]]


@dataclass(frozen=True)
class Report:
    """The whole evaluation, by set."""

    evaluation: Evaluation
    sets: dict[str, SetReport]

    @property
    def columns(self) -> list[str]:
        """Columns of the table, in the order of the systems."""
        return list(dict.fromkeys(name for report in self.sets.values() for name in report.scores))


def summarize(evaluation: Evaluation) -> Report:
    """Average the results over each set and choose the settings that the columns name.

    A system with a default setting gets a column at that; one with several settings gets another at its best
    setting of each set (the first among equals), called `<name>-best` beside a default.
    """
    by_set: dict[str, list[ImageResult]] = {}
    for result in evaluation.results:
        by_set.setdefault(result.sample.set_name, []).append(result)
    return Report(evaluation, {name: _summarize_set(r, evaluation.systems) for name, r in by_set.items()})


def write_report(report: Report, folder: Path) -> list[Path]:
    """Write evaluation.json, evaluation.md, gallery/<set>.png and edges-<set>.png into `folder`, over older ones.

    Returns:
        The written files.

    Raises:
        OutputError: a file cannot be written.
    """
    gallery = make_folder(folder / "gallery")
    written = []
    for name, text in (("evaluation.json", to_json(report)), ("evaluation.md", to_markdown(report))):
        with atomic_write(folder / name) as file:
            file.write(text.encode())
        written.append(folder / name)
    for name, set_report in report.sets.items():
        results = [result for result in report.evaluation.results if result.sample.set_name == name]
        rows = [result.gallery for result in results if result.gallery]
        if rows:
            sheet = draw_gallery(rows, _gallery_columns(set_report, report.evaluation.systems))
            written.append(gallery / f"{name}.png")
            write_png(written[-1], np.asarray(sheet))
        if set_report.edges:
            lines = [Line(f"{system}  ODS {s.ods:.3f}", s.curve) for system, s in set_report.edges.items()]
            chart = draw_chart(f"Edges of {name}", "recall", "precision", lines, x_range=(0, 1))
            written.append(folder / f"edges-{name}.png")
            write_png(written[-1], np.asarray(chart))
    return written


def to_json(report: Report) -> str:
    """The report as one JSON document; equal results give equal text."""
    return json.dumps(to_document(report), indent=1, sort_keys=False, allow_nan=False) + "\n"


def to_document(report: Report) -> dict[str, Any]:
    """The report as JSON values."""
    config = report.evaluation.config
    return {
        "schema": SCHEMA,
        "protocol": {
            "masks": _PROTOCOL,
            "edges": _EDGE_PROTOCOL,
            "limit": config.limit,
            "max_instances": config.max_instances,
            "seed": config.seed,
        },
        "systems": {
            info.name: {**info.description, "settings": list(info.settings)} for info in report.evaluation.systems
        },
        "sets": {name: asdict(set_report) for name, set_report in report.sets.items()},
        "mean_over_sets": {column: _mean_over_sets(report, column) for column in report.columns},
    }


def to_markdown(report: Report) -> str:
    """The tables as Markdown: masks by set and column, edges by system."""
    parts = ["# Evaluation", "", _PROTOCOL, ""]
    columns = report.columns
    if columns:
        parts += _mask_table(report, columns)
        parts += ["", *_notes(report, columns)]
    edge_sets = {name: set_report for name, set_report in report.sets.items() if set_report.edges}
    if edge_sets:
        parts += ["", "## Edges", "", _EDGE_PROTOCOL, ""]
        parts += [
            "| set | system | ODS | OIS | AP | AP, recall < 20 % | precision | recall | threshold |",
            "| --- | --- | --- | --- | --- | --- | --- | --- | --- |",
        ]
        for name, set_report in edge_sets.items():
            best = max(score.ods for score in set_report.edges.values())
            parts += [
                f"| {name} | {system} | {_bold(s.ods, best)} | {s.ois:.3f} | {s.ap:.3f} | {s.ap_low:.3f} | "
                f"{s.precision:.3f} | {s.recall:.3f} | {s.threshold:.4f} |"
                for system, s in set_report.edges.items()
            ]
    return "\n".join(parts) + "\n"


def _summarize_set(results: list[ImageResult], systems: list[SystemInfo]) -> SetReport:
    scores: dict[str, Score] = {}
    sweeps: dict[str, dict[str, float]] = {}
    edges: dict[str, EdgeScore] = {}
    per_image: dict[str, dict[str, float | None]] = {result.sample.id: {} for result in results}
    instances = sum(len(result.clicks) for result in results)
    for info in systems:
        counts = [result.edges[info.name] for result in results if info.name in result.edges]
        if counts:
            edges[info.name] = score_edges(counts)
        if not info.settings or instances == 0:
            continue
        ious = np.concatenate([result.ious[info.name] for result in results], axis=1)
        means = ious.mean(axis=1)
        if len(info.settings) > 1:
            sweeps[info.name] = {_key(s): float(m) for s, m in zip(info.settings, means, strict=True)}
        for column, row in _columns_of(info, means).items():
            image_means = [_mean(result.ious[info.name][row]) for result in results]
            present = [mean for mean in image_means if mean is not None]
            scores[column] = Score(float(means[row]), float(np.mean(present)), info.settings[row])
            for result, mean in zip(results, image_means, strict=True):
                per_image[result.sample.id][column] = mean
    return SetReport(len(results), instances, scores, sweeps, edges, per_image)


def _columns_of(info: SystemInfo, means: np.ndarray) -> dict[str, int]:
    """Name of each column of a system, and the row of `means` [S] that it shows."""
    best = int(np.argmax(means))
    if None not in info.settings:
        return {info.name: best}
    default = {info.name: info.settings.index(None)}
    return default if len(info.settings) == 1 else {**default, f"{info.name}-best": best}


def _gallery_columns(set_report: SetReport, systems: list[SystemInfo]) -> list[Column]:
    columns = []
    for title, score in set_report.scores.items():
        system = next(s.name for s in systems if title in (s.name, f"{s.name}-best"))
        shown = f"{title} {score.miou:.3f}" + ("" if score.setting is None else f" @ {score.setting:g}")
        columns.append(Column(shown, system, score.setting))
    return columns


def _mask_table(report: Report, columns: list[str]) -> list[str]:
    lines = [
        "| set | images | instances | " + " | ".join(columns) + " |",
        "| --- | --- | --- |" + " --- |" * len(columns),
    ]
    for name, set_report in report.sets.items():
        if not set_report.scores:
            continue
        best = max(score.miou for score in set_report.scores.values())
        cells = [_bold(set_report.scores[column].miou, best) for column in columns]
        lines.append(f"| {name} | {set_report.images} | {set_report.instances} | " + " | ".join(cells) + " |")
    means = [_mean_over_sets(report, column) for column in columns]
    images = sum(set_report.images for set_report in report.sets.values())
    instances = sum(set_report.instances for set_report in report.sets.values())
    cells = [_bold(mean, max(means)) for mean in means]
    lines.append(f"| mean over sets | {images} | {instances} | " + " | ".join(cells) + " |")
    return lines


def _notes(report: Report, columns: list[str]) -> list[str]:
    notes = []
    for info in report.evaluation.systems:
        for column in (info.name, f"{info.name}-best"):
            settings = [s.scores[column].setting for s in report.sets.values() if column in s.scores]
            if column in columns and len(info.settings) > 1 and any(s is not None for s in settings):
                low, high = info.settings[int(info.settings[0] is None)], info.settings[-1]
                notes.append(
                    f"`{column}`: the best of {len(info.settings)} settings ({low:g} to {high:g}) for each "
                    "set, chosen with the ground truth."
                )
    bundles = [info for info in report.evaluation.systems if info.description.get("kind") != "rival"]
    for info in bundles:
        sets = list(report.sets.values())
        wins = [
            f"{rival} on {sum(_beats(s, info.name, rival) for s in sets)} of {len(sets)}"
            for rival in columns
            if rival not in (info.name, f"{info.name}-best")
        ]
        if wins:
            notes.append(f"`{info.name}` is better than " + ", ".join(wins) + " sets.")
    return [f"- {note}" for note in notes]


def _beats(set_report: SetReport, name: str, rival: str) -> bool:
    scores = set_report.scores
    return name in scores and rival in scores and scores[name].miou > scores[rival].miou


def _mean_over_sets(report: Report, column: str) -> float:
    return float(np.mean([s.scores[column].miou for s in report.sets.values() if column in s.scores]))


def _mean(values: np.ndarray) -> float | None:
    return float(values.mean()) if values.size else None


def _key(setting: Setting) -> str:
    return "default" if setting is None else f"{setting:g}"


def _bold(value: float, best: float) -> str:
    return f"**{value:.3f}**" if value == best else f"{value:.3f}"
