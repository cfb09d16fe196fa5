"""Writes an evaluation: JSON, Markdown, charts and contact sheets."""

import json
import math
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from gen2seg.evaluation.bootstrap import LEVEL, ROUNDS
from gen2seg.evaluation.charts import Line, draw_chart
from gen2seg.evaluation.gallery import Column, draw_found, draw_gallery
from gen2seg.evaluation.summary import Report, SetReport, summarize
from gen2seg.evaluation.systems import Setting, SystemSpec
from gen2seg.evaluation.tables import AUTOMATIC_PROTOCOL, EDGE_PROTOCOL, PROTOCOL, clicks_protocol, to_markdown
from gen2seg.evaluation.worst import draw_worst
from gen2seg.folders import make_folder
from gen2seg_runtime.files import atomic_write
from gen2seg_runtime.formats import write_png

__all__ = ["SCHEMA", "Report", "summarize", "to_document", "to_json", "to_markdown", "write_report"]

SCHEMA = "gen2seg.evaluation/2.2"


def write_report(report: Report, folder: Path, specs: Sequence[SystemSpec] = ()) -> list[Path]:
    """Write evaluation.json and evaluation.md, latency.json (which differs from run to run), and pictures into
    `folder`: contact sheets gallery/<set>.png (clicks) and gallery/<set>-automatic.png (masks without a click),
    clicks.png (several clicks), latency.png, edges-<set>.png (sets with edges), worst-<system>.png. Older ones are
    replaced.

    Args:
        specs: the systems, to look again at their worst answers; without them there are no such pictures.

    Returns:
        The written files.

    Raises:
        OutputError: a file cannot be written.
    """
    make_folder(folder / "gallery")
    written = []
    texts = {"evaluation.json": to_json(report), "evaluation.md": to_markdown(report)}
    if report.columns:
        texts["latency.json"] = _latency_json(report)
    for name, text in texts.items():
        with atomic_write(folder / name) as file:
            file.write(text.encode())
        written.append(folder / name)
    for name, picture in (*_pictures(report).items(), *draw_worst(report, specs)):
        write_png(folder / name, np.asarray(picture))
        written.append(folder / name)
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
            "masks": PROTOCOL,
            "clicks": clicks_protocol(config),
            "edges": EDGE_PROTOCOL,
            "limit": config.limit,
            "max_instances": config.max_instances,
            "clicks_per_instance": config.clicks,
            "center": config.center,
            "next_click": config.next_click,
            "masks_judged": config.masks,
            "automatic_masks": AUTOMATIC_PROTOCOL if config.automatic else None,
            "seed": config.seed,
            "bootstrap": {"over": "images", "rounds": ROUNDS, "level": LEVEL},
        },
        "systems": {
            info.name: {**info.description, "settings": list(info.settings)} for info in report.evaluation.systems
        },
        "not_run": dict(report.evaluation.not_run),
        "sets": {name: asdict(set_report) for name, set_report in report.sets.items()},
        "mean_over_sets": {column: report.mean_over_sets(column) for column in report.columns},
        "clicks_over_sets": {column: report.clicks_over_sets(column) for column in report.columns},
        "clicks_over_sets_intervals": {column: report.clicks_intervals(column) for column in report.columns},
        "robustness": report.robustness(),
        "automatic_over_sets": {system: report.automatic_over_sets(system) for system in report.automatic_systems},
    }


def _pictures(report: Report) -> dict[str, Image.Image]:
    """By file name."""
    pictures = {}
    for name, set_report in report.sets.items():
        results = [result for result in report.evaluation.results if result.sample.set_name == name]
        rows = [result.gallery for result in results if result.gallery]
        if rows and set_report.scores:
            pictures[f"gallery/{name}.png"] = draw_gallery(rows, _gallery_columns(report, set_report))
        if rows and set_report.automatic:
            columns = [
                Column(_shown(f"{system} {score.recall['100']:.3f}", score.setting), system, score.setting)
                for system, score in set_report.automatic.items()
            ]
            pictures[f"gallery/{name}-automatic.png"] = draw_found(rows, columns)
    count = report.evaluation.config.clicks
    if count > 1 and report.columns:
        lines = [
            Line(column, list(enumerate(report.clicks_over_sets(column), 1)), report.clicks_intervals(column))
            for column in report.columns
        ]
        pictures["clicks.png"] = draw_chart(
            "mIoU by clicks, mean over the sets, and 95 % of a bootstrap over the images",
            "clicks",
            "mIoU",
            lines,
            x_range=(1, count),
            x_ticks=range(1, count + 1),
        )
    if report.columns:
        pictures["latency.png"] = _latency_chart(report)
    for name, set_report in report.sets.items():
        if set_report.edges:
            lines = [Line(f"{system}  ODS {s.ods:.3f}", s.curve) for system, s in set_report.edges.items()]
            pictures[f"edges-{name}.png"] = draw_chart(f"Edges of {name}", "recall", "precision", lines, x_range=(0, 1))
    return pictures


def _latency_json(report: Report) -> str:
    table = {
        column: {"prepare_ms": latency.prepare, "click_ms": latency.click, "miou": report.mean_over_sets(column)}
        for column, latency in report.latency().items()
    }
    about = "medians over the images; one thread, other processes of the run beside it; see docs/evaluation.md"
    return json.dumps({"about": about, "systems": table}, indent=1, allow_nan=False) + "\n"


def _latency_chart(report: Report) -> Image.Image:
    """Accuracy of one click by what it takes from the picture to the mask."""
    points = {
        column: (max(latency.prepare + latency.click, 1e-3), report.mean_over_sets(column))
        for column, latency in report.latency().items()
    }
    low = math.floor(math.log10(min(x for x, _ in points.values())))
    high = max(math.ceil(math.log10(max(x for x, _ in points.values()))), low + 1)
    return draw_chart(
        "mIoU of one click by time from picture to mask, mean over the sets",
        "milliseconds",
        "mIoU",
        [Line(column, [point]) for column, point in points.items()],
        x_range=(10.0**low, 10.0**high),
        x_ticks=[10.0**k for k in range(low, high + 1)],
        logarithmic=True,
    )


def _gallery_columns(report: Report, set_report: SetReport) -> list[Column]:
    """The systems on pictures as they are: the sheet's pictures are not distorted."""
    columns = []
    for title, score in set_report.scores.items():
        if report.system_of(title).distortion:
            continue
        shown = _shown(f"{title} {score.miou:.3f}", score.setting)
        columns.append(Column(shown, report.system_of(title).name, score.setting))
    return columns


def _shown(title: str, setting: Setting) -> str:
    return title if setting is None else f"{title} @ {setting:g}"
