"""A report's figures as the accuracy section of a README: the text between two markers is replaced."""

from pathlib import Path

from gen2seg.evaluation.errors import EvaluationError
from gen2seg.evaluation.summary import Report
from gen2seg.evaluation.tables import (
    automatic_rows,
    clicks_rows,
    edge_rows,
    mask_rows,
    notes,
    robustness_rows,
    to_table,
)
from gen2seg_runtime.files import atomic_write

BEGIN, END = "<!-- accuracy: begin -->", "<!-- accuracy: end -->"
# Of the clicks: the whole curve is in evaluation.md and clicks.png.
_SHOWN_CLICKS = (1, 2, 3, 5, 9)
_CLICKS = {
    "missing": "Several clicks on an instance, each where most is missing and none negative, so that what leaked stays",
    "error": "Several clicks on an instance, each where most is wrong, negative ones where too much is taken",
}


def accuracy_section(report: Report, command: str) -> str:
    """Markdown: mIoU by set with what was chosen, several clicks, distorted pictures, edges.

    command: how to make it again.
    """
    config = report.evaluation.config
    parts = [f"Made by `{command}`.", ""]
    if report.columns:
        parts += ["Mean IoU of one click at the centre of every instance:", ""]
        parts += [*to_table(*mask_rows(report, intervals=False)), "", *notes(report), ""]
    if report.columns and config.clicks > 1:
        titles, lines = clicks_rows(report, intervals=False)
        kept = [line for line in lines if line[0] in _SHOWN_CLICKS]
        parts += [
            _CLICKS[config.next_click] + "; mean over the sets, without COCO's small instances:",
            "",
        ]
        parts += [*to_table(titles, kept), ""]
    if report.robustness():
        parts += ["One click on distorted pictures; mean over the sets:", "", *to_table(*robustness_rows(report)), ""]
    titles, lines = automatic_rows(report)
    if lines:
        parts += ["Masks without a click, against all instances; mean over the sets:", "", *to_table(titles, lines), ""]
    titles, lines = edge_rows(report)
    if lines:
        shown = [titles[:6], *(line[:6] for line in lines)]  # without the one threshold and what is reached there
        parts += ["Edges, in brackets 95 % of a bootstrap over the images:", "", *to_table(shown[0], shown[1:]), ""]
    if report.evaluation.not_run:
        parts += ["Not run: " + ", ".join(report.evaluation.not_run) + ".", ""]
    return "\n".join(parts).rstrip() + "\n"


def read_with_markers(path: Path) -> str:
    """The text of a file that has both markers, once each and in order.

    Raises:
        EvaluationError: it cannot be read or has no such markers.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        raise EvaluationError(f"cannot read {path}: {error}") from error
    if text.count(BEGIN) != 1 or text.count(END) != 1 or text.index(BEGIN) > text.index(END):
        raise EvaluationError(f"{path} must hold the line {BEGIN} and, after it, {END}, once each")
    return text


def write_section(path: Path, section: str) -> None:
    """Put a section between the markers of a file; all else stays.

    Raises:
        EvaluationError: as `read_with_markers`.
        OutputError: the file cannot be written.
    """
    text = read_with_markers(path)
    before, after = text[: text.index(BEGIN) + len(BEGIN)], text[text.index(END) :]
    with atomic_write(path) as file:
        file.write(f"{before}\n\n{section.rstrip()}\n\n{after}".encode())
