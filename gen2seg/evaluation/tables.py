"""A report as Markdown tables."""

from collections.abc import Iterable, Sequence

from gen2seg.evaluation.bootstrap import Interval
from gen2seg.evaluation.edge_matching import TOLERANCE
from gen2seg.evaluation.run import EvaluationConfig
from gen2seg.evaluation.summary import SIZE_LIMITS, Report, SetReport, best_name

PROTOCOL = (
    "One click per instance, at the pixel farthest from the instance's boundary (exact Euclidean distance, "
    "the image's border counts as boundary, the first such pixel in row-major order); intersection over "
    "union of the answered mask with the instance; mean over all instances of a set. In brackets: 95 % of a bootstrap "
    "over the images."
)
EDGE_PROTOCOL = (
    f"Edge pixels are matched one to one with each annotator's boundary, at most {TOLERANCE:g} of the image's diagonal "
    "apart, as in the BSDS500 benchmark; an edge pixel is right if any annotator's pixel is matched with it, recall "
    "counts the boundary pixels of all annotators. ODS: best F-measure at one threshold for the set (precision and "
    "recall there); OIS: at each image's own; AP: mean precision over all recalls, and over those up to 20 %."
)
_PLACES = {
    "distance": "the pixel of that part farthest from what is outside of it",
    "centroid": "the pixel of that part closest to its centroid",
}


def clicks_protocol(config: EvaluationConfig) -> str:
    """What the table of several clicks shows."""
    return (
        "Each further click lies in the largest part (8-connected) of the instance that the answer lacks, at "
        f"{_PLACES[config.center]}. Mean over the sets, without the small instances of COCO's."
    )


def to_markdown(report: Report) -> str:
    """All tables: masks by set, clicks, sizes, distortions, edges; those without content are left out."""
    config = report.evaluation.config
    parts = ["# Evaluation", "", PROTOCOL, ""]
    if report.columns:
        parts += [*_mask_table(report), "", *_notes(report)]
        if config.clicks > 1:
            parts += ["", "## Clicks", "", clicks_protocol(config), "", *_clicks_table(report)]
        parts += _section("Sizes", "COCO's classes, in pixels: small < 32², large >= 96².", _size_table(report))
        explained = "mIoU of one click on distorted pictures, mean over the sets; settings are chosen again for each."
        parts += _section("Robustness", explained, _robustness_table(report))
    parts += _section("Edges", EDGE_PROTOCOL, _edge_table(report))
    return "\n".join(parts) + "\n"


def _section(title: str, explained: str, table: list[str]) -> list[str]:
    return ["", f"## {title}", "", explained, "", *table] if table else []


def _table(titles: Iterable[str], lines: Iterable[Iterable[object]]) -> list[str]:
    rows = [list(titles), *([str(cell) for cell in line] for line in lines)]
    return ["| " + " | ".join(row) + " |" for row in (rows[0], ["---"] * len(rows[0]), *rows[1:])]


def _mask_table(report: Report) -> list[str]:
    columns = report.columns
    lines: list[list[object]] = []
    for name, set_report in report.sets.items():
        if not set_report.scores:
            continue
        scores = [set_report.scores[column] for column in columns]
        cells = _bold([score.miou for score in scores])
        shown = [cell + _between(score.interval) for cell, score in zip(cells, scores, strict=True)]
        lines.append([name, set_report.images, set_report.instances, *shown])
    images = sum(set_report.images for set_report in report.sets.values())
    instances = sum(set_report.instances for set_report in report.sets.values())
    lines.append(["mean over sets", images, instances, *_bold([report.mean_over_sets(c) for c in columns])])
    return _table(["set", "images", "instances", *columns], lines)


def _clicks_table(report: Report) -> list[str]:
    curves = [report.clicks_over_sets(column) for column in report.columns]
    lines = [[index + 1, *_bold(values)] for index, values in enumerate(zip(*curves, strict=True))]
    return _table(["clicks", *report.columns], lines)


def _size_table(report: Report) -> list[str]:
    lines: list[list[object]] = []
    for name, set_report in report.sets.items():
        scores = [set_report.scores[column] for column in report.columns if column in set_report.scores]
        for size in SIZE_LIMITS:
            found = [score.sizes[size] for score in scores if size in score.sizes]
            if found and found[0].instances:
                lines.append([name, size, found[0].instances, *_bold([f.miou for f in found if f.miou is not None])])
    return _table(["set", "size", "instances", *report.columns], lines) if lines else []


def _robustness_table(report: Report) -> list[str]:
    table = report.robustness()
    if not table:
        return []
    columns = list(table["none"])
    return _table(["pictures", *columns], [[name, *_bold([row[c] for c in columns])] for name, row in table.items()])


def _edge_table(report: Report) -> list[str]:
    lines = []
    for name, set_report in report.sets.items():
        best = _bold([score.ods for score in set_report.edges.values()])
        for (system, s), ods in zip(set_report.edges.items(), best, strict=True):
            figures = [f"{value:.3f}" for value in (s.ois, s.ap, s.ap_low, s.precision, s.recall)]
            shown = ods + _between(set_report.edge_intervals[system])
            lines.append([name, system, shown, *figures, f"{s.threshold:.4f}"])
    titles = ["set", "system", "ODS", "OIS", "AP", "AP, recall < 20 %", "precision", "recall", "threshold"]
    return _table(titles, lines) if lines else []


def _notes(report: Report) -> list[str]:
    notes = [f"`{name}`: not run; {how}." for name, how in report.evaluation.not_run.items()]
    plain = [info for info in report.evaluation.systems if not info.distortion]
    for info in plain:
        for column in (info.name, best_name(info.name)):
            settings = [s.scores[column].setting for s in report.sets.values() if column in s.scores]
            if column in report.columns and len(info.settings) > 1 and any(s is not None for s in settings):
                low, high = info.settings[int(info.settings[0] is None)], info.settings[-1]
                notes.append(
                    f"`{column}`: the best of {len(info.settings)} settings ({low:g} to {high:g}) for each "
                    "set, chosen with the ground truth."
                )
    for info in plain:
        if info.description.get("kind") == "rival":
            continue
        sets = list(report.sets.values())
        wins = [
            f"{rival} on {sum(_beats(s, info.name, rival) for s in sets)} of {len(sets)}"
            for rival in report.columns
            if rival not in (info.name, best_name(info.name))
        ]
        if wins:
            notes.append(f"`{info.name}` is better than " + ", ".join(wins) + " sets.")
    return [f"- {note}" for note in notes]


def _beats(set_report: SetReport, name: str, rival: str) -> bool:
    scores = set_report.scores
    return name in scores and rival in scores and scores[name].miou > scores[rival].miou


def _bold(values: Sequence[float]) -> list[str]:
    best = max(values, default=0.0)
    return [f"**{value:.3f}**" if value == best else f"{value:.3f}" for value in values]


def _between(interval: Interval | None) -> str:
    return "" if interval is None else f" [{interval[0]:.3f}, {interval[1]:.3f}]"
