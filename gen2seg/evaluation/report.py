"""Writes an evaluation: JSON, Markdown, charts and contact sheets."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from gen2seg.evaluation.bootstrap import LEVEL, ROUNDS
from gen2seg.evaluation.charts import Line, draw_chart
from gen2seg.evaluation.gallery import Column, draw_gallery
from gen2seg.evaluation.summary import Report, SetReport, summarize
from gen2seg.evaluation.tables import EDGE_PROTOCOL, PROTOCOL, clicks_protocol, to_markdown
from gen2seg.folders import make_folder
from gen2seg_runtime.files import atomic_write
from gen2seg_runtime.formats import write_png

__all__ = ["SCHEMA", "Report", "summarize", "to_document", "to_json", "to_markdown", "write_report"]

SCHEMA = "gen2seg.evaluation/2.0"


def write_report(report: Report, folder: Path) -> list[Path]:
    """Write evaluation.json, evaluation.md, gallery/<set>.png, clicks.png (several clicks) and edges-<set>.png (sets
    with edges) into `folder`; older ones are replaced.

    Returns:
        The written files.

    Raises:
        OutputError: a file cannot be written.
    """
    make_folder(folder / "gallery")
    written = []
    for name, text in (("evaluation.json", to_json(report)), ("evaluation.md", to_markdown(report))):
        with atomic_write(folder / name) as file:
            file.write(text.encode())
        written.append(folder / name)
    for name, picture in _pictures(report).items():
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
            "seed": config.seed,
            "bootstrap": {"over": "images", "rounds": ROUNDS, "level": LEVEL},
        },
        "systems": {
            info.name: {**info.description, "settings": list(info.settings)} for info in report.evaluation.systems
        },
        "not_run": report.evaluation.not_run,
        "sets": {name: asdict(set_report) for name, set_report in report.sets.items()},
        "mean_over_sets": {column: report.mean_over_sets(column) for column in report.columns},
        "clicks_over_sets": {column: report.clicks_over_sets(column) for column in report.columns},
        "robustness": report.robustness(),
    }


def _pictures(report: Report) -> dict[str, Image.Image]:
    """By file name."""
    pictures = {}
    for name, set_report in report.sets.items():
        results = [result for result in report.evaluation.results if result.sample.set_name == name]
        rows = [result.gallery for result in results if result.gallery]
        if rows:
            pictures[f"gallery/{name}.png"] = draw_gallery(rows, _gallery_columns(report, set_report))
    count = report.evaluation.config.clicks
    if count > 1 and report.columns:
        curves = [(column, report.clicks_over_sets(column)) for column in report.columns]
        lines = [Line(column, list(enumerate(curve, 1))) for column, curve in curves]
        pictures["clicks.png"] = draw_chart(
            "mIoU by clicks, mean over the sets",
            "clicks",
            "mIoU",
            lines,
            x_range=(1, count),
            x_ticks=range(1, count + 1),
        )
    for name, set_report in report.sets.items():
        if set_report.edges:
            lines = [Line(f"{system}  ODS {s.ods:.3f}", s.curve) for system, s in set_report.edges.items()]
            pictures[f"edges-{name}.png"] = draw_chart(f"Edges of {name}", "recall", "precision", lines, x_range=(0, 1))
    return pictures


def _gallery_columns(report: Report, set_report: SetReport) -> list[Column]:
    columns = []
    for title, score in set_report.scores.items():
        shown = f"{title} {score.miou:.3f}" + ("" if score.setting is None else f" @ {score.setting:g}")
        columns.append(Column(shown, report.system_of(title).name, score.setting))
    return columns
