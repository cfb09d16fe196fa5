"""A report as Markdown tables."""

from collections.abc import Iterable, Sequence

from gen2seg.evaluation.automatic import LIMITS
from gen2seg.evaluation.bootstrap import Interval
from gen2seg.evaluation.edge_scores import TOLERANCE
from gen2seg.evaluation.run import EvaluationConfig, best_name
from gen2seg.evaluation.summary import SIZE_LIMITS, Report, SetReport

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
AUTOMATIC_PROTOCOL = (
    "Masks without a click, against all instances. AR@K: share of the instances that the K best masks of each image "
    "take one to one at IoU .50, .55 ... .95, mean over these, as in COCO's evaluation without categories; mIoU: mean "
    "over the instances of the IoU with the best mask. Segments without a score of their own count the larger ones "
    "first. A system with several settings gets the best one of each set by AR@100, chosen with the ground truth."
)
_PLACES = {
    "distance": "the pixel of that part farthest from what is outside of it",
    "centroid": "the pixel of that part closest to its centroid",
}


def clicks_protocol(config: EvaluationConfig) -> str:
    """What the table of several clicks shows."""
    if config.next_click == "error":
        where = (
            "Each further click lies in the largest 8-connected part of what is wrong in the answer, on the instance "
            "or beside it (then it is a negative click)"
        )
    else:
        where = "Each further click lies in the largest part (8-connected) of the instance that the answer lacks"
    return f"{where}, at {_PLACES[config.center]}. Mean over the sets, without the small instances of COCO's."


def to_markdown(report: Report) -> str:
    """All tables: masks by set, clicks, sizes, distortions, edges; those without content are left out."""
    config = report.evaluation.config
    parts = ["# Evaluation", ""]
    if report.columns:
        parts += [PROTOCOL, "", *to_table(*mask_rows(report)), "", *notes(report)]
        if config.clicks > 1:
            parts += _section("Clicks", clicks_protocol(config), clicks_rows(report))
        parts += _section("Sizes", "COCO's classes, in pixels: small < 32², large >= 96².", size_rows(report))
        explained = "mIoU of one click on distorted pictures, mean over the sets; settings are chosen again for each."
        parts += _section("Robustness", explained, robustness_rows(report))
    parts += _section("Automatic masks", AUTOMATIC_PROTOCOL, automatic_rows(report))
    parts += _section("AR@100 by set", "The same at 100 masks an image.", automatic_set_rows(report))
    parts += _section("Edges", EDGE_PROTOCOL, edge_rows(report))
    absent: list[list[object]] = [[name, why] for name, why in report.evaluation.not_run.items()]
    parts += _section("Not run", "No figures are given for these.", (["system", "why"], absent))
    return "\n".join(parts).rstrip() + "\n"


def _section(title: str, explained: str, rows: "Rows") -> list[str]:
    return ["", f"## {title}", "", explained, "", *to_table(*rows)] if rows[1] else []


# Titles, and lines of cells.
Rows = tuple[list[str], list[list[object]]]


def to_table(titles: Iterable[str], lines: Iterable[Iterable[object]]) -> list[str]:
    """Lines of Markdown."""
    rows = [list(titles), *([str(cell) for cell in line] for line in lines)]
    return ["| " + " | ".join(row) + " |" for row in (rows[0], ["---"] * len(rows[0]), *rows[1:])]


def mask_rows(report: Report, *, intervals: bool = True) -> Rows:
    """mIoU of one click by set and column, and the mean over the sets."""
    columns = report.columns
    lines: list[list[object]] = []
    for name, set_report in report.sets.items():
        if not set_report.scores:
            continue
        scores = [set_report.scores[column] for column in columns]
        cells = _bold([score.miou for score in scores])
        if intervals:
            cells = [cell + _between(score.interval) for cell, score in zip(cells, scores, strict=True)]
        lines.append([name, set_report.images, set_report.instances, *cells])
    images = sum(set_report.images for set_report in report.sets.values())
    instances = sum(set_report.instances for set_report in report.sets.values())
    lines.append(["mean over sets", images, instances, *_bold([report.mean_over_sets(c) for c in columns])])
    return ["set", "images", "instances", *columns], lines


def clicks_rows(report: Report, *, intervals: bool = True) -> Rows:
    """mIoU after 1, 2 ... clicks by column."""
    curves = [report.clicks_over_sets(column) for column in report.columns]
    bands = [report.clicks_intervals(column) if intervals else [] for column in report.columns]
    lines: list[list[object]] = []
    for index, values in enumerate(zip(*curves, strict=True)):
        cells = zip(_bold(values), bands, strict=True)
        lines.append([index + 1, *(cell + _between(band[index] if band else None) for cell, band in cells)])
    return ["clicks", *report.columns], lines


def size_rows(report: Report) -> Rows:
    """mIoU of one click by COCO's sizes."""
    lines: list[list[object]] = []
    for name, set_report in report.sets.items():
        scores = [set_report.scores[column] for column in report.columns if column in set_report.scores]
        for size in SIZE_LIMITS:
            found = [score.sizes[size] for score in scores if size in score.sizes]
            if found and found[0].instances:
                lines.append([name, size, found[0].instances, *_bold([f.miou for f in found if f.miou is not None])])
    return ["set", "size", "instances", *report.columns], lines


def robustness_rows(report: Report) -> Rows:
    """mIoU of one click by distortion, of the systems that were judged on distorted pictures."""
    table = report.robustness()
    columns = list(table.get("none", ()))
    lines: list[list[object]] = [[name, *_bold([row[c] for c in columns])] for name, row in table.items()]
    return ["pictures", *columns], lines


def automatic_rows(report: Report) -> Rows:
    """Masks without a click by system, mean over the sets."""
    systems = report.automatic_systems
    means = [report.automatic_over_sets(system) for system in systems]
    kinds = [*(str(limit) for limit in LIMITS), "miou"]
    columns = [_bold([mean[kind] for mean in means]) for kind in kinds]
    lines: list[list[object]] = [
        [system, *cells, f"{mean['masks']:.0f}"] for system, mean, *cells in zip(systems, means, *columns, strict=True)
    ]
    return ["system", *(f"AR@{limit}" for limit in LIMITS), "mIoU", "masks an image"], lines


def automatic_set_rows(report: Report) -> Rows:
    """AR@100 by set and system."""
    systems = report.automatic_systems
    lines: list[list[object]] = []
    for name, set_report in report.sets.items():
        scores = [set_report.automatic[system] for system in systems if system in set_report.automatic]
        if scores:
            cells = zip(_bold([score.recall["100"] for score in scores]), scores, strict=True)
            lines.append([name, *(cell + _between(score.interval) for cell, score in cells)])
    return ["set", *systems], lines


def edge_rows(report: Report) -> Rows:
    """The benchmark's figures by set and system."""
    lines: list[list[object]] = []
    for name, set_report in report.sets.items():
        best = _bold([score.ods for score in set_report.edges.values()])
        for (system, s), ods in zip(set_report.edges.items(), best, strict=True):
            figures = [f"{value:.3f}" for value in (s.ois, s.ap, s.ap_low, s.precision, s.recall)]
            shown = ods + _between(set_report.edge_intervals[system])
            lines.append([name, system, shown, *figures, f"{s.threshold:.4f}"])
    titles = ["set", "system", "ODS", "OIS", "AP", "AP, recall < 20 %", "precision", "recall", "threshold"]
    return titles, lines


def notes(report: Report) -> list[str]:
    """Which settings were chosen, and who is better than whom on how many sets; Markdown lines."""
    found = []
    plain = [info for info in report.evaluation.systems if not info.distortion]
    for info in plain:
        for column in (info.name, best_name(info.name)):
            settings = [s.scores[column].setting for s in report.sets.values() if column in s.scores]
            if column in report.columns and len(info.settings) > 1 and any(s is not None for s in settings):
                low, high = info.settings[int(info.settings[0] is None)], info.settings[-1]
                found.append(
                    f"`{column}`: the best of {len(info.settings)} settings ({low:g} to {high:g}) for each "
                    "set, chosen with the ground truth."
                )
        later = info.description.get("later_distance")
        if later is not None and report.evaluation.config.clicks > 1:
            found.append(f"`{info.name}`: all clicks but the first at colour distance {later:g}.")
    for info in plain:
        if not info.learned:
            continue
        sets = list(report.sets.values())
        wins = [
            f"{rival} on {sum(_beats(s, info.name, rival) for s in sets)} of {len(sets)}"
            for rival in report.columns
            if rival not in (info.name, best_name(info.name))
        ]
        if wins:
            found.append(f"`{info.name}` is better than " + ", ".join(wins) + " sets.")
    return [f"- {note}" for note in found]


def _beats(set_report: SetReport, name: str, rival: str) -> bool:
    scores = set_report.scores
    return name in scores and rival in scores and scores[name].miou > scores[rival].miou


def _bold(values: Sequence[float]) -> list[str]:
    best = max(values, default=0.0)
    return [f"**{value:.3f}**" if value == best else f"{value:.3f}" for value in values]


def _between(interval: Interval | None) -> str:
    return "" if interval is None else f" [{interval[0]:.3f}, {interval[1]:.3f}]"
