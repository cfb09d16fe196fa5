"""Pictures with what the bundle must give for them, stored inside the bundle."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from PIL import Image

from gen2seg_export.cases import Case, References
from gen2seg_export.parity import ParityReport
from gen2seg_export.tolerances import TOLERANCES
from gen2seg_runtime.difference import Difference
from gen2seg_runtime.manifest import GoldenRecord

# Another CPU sums in another order, which can move a truncated value by one; one more for safety.
MARGIN = 2
UNTRAINED_MARGIN = 6.0  # dB
# Rows of the table under which another machine differs by no more than that.
_STEADY = ("float32", "stored float16")
LARGEST_STAGE = 4 << 20  # bytes of a stage's output that travels along


def write_goldens(root: Path, cases: Sequence[Case], references: References) -> list[GoldenRecord]:
    """Write each golden picture and its colours by the PyTorch network, as PNG, under `root`/goldens.

    The colours are those before any rounding of the weights: whoever checks a bundle against them, without
    torch, repeats the parity check and not only the machine's own past. What the stages before the last give goes
    along for the first golden, where it is small.
    """
    (root / "goldens").mkdir()
    goldens = []
    for case in cases:
        if case.kind != "golden" or case.image is None:
            continue
        golden = GoldenRecord(image=f"goldens/{case.name}.png", colors=f"goldens/{case.name}.colors.png")
        Image.fromarray(case.image).save(root / golden.image, optimize=True)
        Image.fromarray(references.colors(case)).save(root / golden.colors, optimize=True)
        stages = {} if goldens else _write_stages(root, case, references)
        goldens.append(replace(golden, stages=stages))
    return goldens


def _write_stages(root: Path, case: Case, references: References) -> dict[str, str]:
    written = {}
    for name, value in list(references.stages(case).items())[:-1]:
        if value.nbytes <= LARGEST_STAGE:
            written[name] = f"goldens/{case.name}.{name}.npy"
            np.save(root / written[name], np.ascontiguousarray(value, np.float32), allow_pickle=False)
    return written


def limited_goldens(
    goldens: Sequence[GoldenRecord], reports: Sequence[ParityReport], trained: bool
) -> list[GoldenRecord]:
    """The goldens with the limits that this bundle keeps in every backend it was verified with.

    The largest difference is limited to what was seen plus the margin where the arithmetic is float32, and left
    free elsewhere: another machine rounds narrow formats in other places. The tolerance's PSNR holds in any case, but
    for random weights that were below it here (see `Tolerance.untrained_failures`): they may be off twice as far.
    """
    rows = {name for report in reports for name in report.tolerances.values()}
    loosest = [row for row in TOLERANCES if row in rows][-1]
    carried = TOLERANCES[loosest].carried(max((len(report.tolerances) for report in reports), default=1))
    limited = []
    for golden in goldens:
        seen = [found for report in reports if (found := _seen(report, Path(golden.image).stem)) is not None]
        limit = min(int(max(found.max for found in seen)) + MARGIN, 255) if loosest in _STEADY and seen else 255
        least = carried.color_psnr
        if not trained and seen:
            least = min(least, round(min(found.psnr for found in seen) - UNTRAINED_MARGIN, 1))
        limits: Mapping[str, float] = {
            "min_psnr": least,
            "max_relative": carried.stage_relative,
        }
        limited.append(replace(golden, max_difference=limit, **limits))
    return limited


def _seen(report: ParityReport, name: str) -> Difference | None:
    """The colours' difference that one backend showed for a golden."""
    return next((case.colors for case in report.cases if case.name == name and case.colors is not None), None)
