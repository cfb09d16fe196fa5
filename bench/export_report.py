"""What the export benchmark measured, as a Markdown table and a plot of latency against accuracy."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from gen2seg_runtime.files import atomic_write

BASE = "torch eager fp32"


@dataclass(frozen=True)
class Row:
    """One way on one backbone.

    Attributes:
        group: backbone and, where it is not the full one, VAE.
        found: of `export_way`; None where it was not run.
        psnr: dB of the uint8 colours against `BASE` of the same group; None for that one itself.
        note: why it was not run.
        run: when the run that measured it began; times of different runs are not compared.
    """

    group: str
    way: str
    found: dict[str, Any] | None
    psnr: float | None = None
    note: str = ""
    run: str = ""


def read_rows(path: Path) -> list[Row]:
    """The rows of earlier runs; none where there is no such file."""
    return [Row(**row) for row in json.loads(path.read_text(encoding="utf-8"))] if path.is_file() else []


def write_rows(path: Path, rows: Sequence[Row]) -> None:
    """Keep the rows for a later run."""
    with atomic_write(path) as file:
        file.write(json.dumps([asdict(row) for row in rows], indent=1).encode())


def times_as_fast(row: Row, base: Row | None) -> float | None:
    """How many times as fast as `base`; None where either has no time or they are of different runs."""
    if base is None or base.found is None or row.found is None or base.run != row.run:
        return None
    return base.found["median"] / row.found["median"]


def markdown(rows: Sequence[Row], machine: str) -> str:
    """One table for each group."""
    lines = ["# Export: every way from a picture to colours", "", machine, ""]
    for group in dict.fromkeys(row.group for row in rows):
        mine = [row for row in rows if row.group == group]
        base = next((row for row in mine if row.way == BASE), None)
        lines += [f"## {group}", ""]
        lines += ["| way | median s (min..max, runs) | times as fast | colours dB | peak memory GB | weights MB |"]
        lines += ["| --- | --- | --- | --- | --- | --- |"]
        for row in mine:
            if row.found is None:
                lines.append(f"| {row.way} | {row.note} | | | | |")
                continue
            one = row.found
            times = times_as_fast(row, base)
            other = base is not None and base.found is not None and base.run != row.run
            ratio = "another run" if other else "" if times is None else f"{times:.2f}"
            psnr = "" if row.psnr is None else f"{row.psnr:.1f}"
            lines.append(
                f"| {row.way} | {one['median']:.3f} ({one['least']:.3f}..{one['most']:.3f}, {one['runs']}) | {ratio} "
                f"| {psnr} | {one['peak_bytes'] / 1e9:.2f} | {one['bytes'] / 1e6:.1f} |"
            )
        lines.append("")
    return "\n".join(lines)


def plot(rows: Sequence[Row], path: Path) -> None:
    """Seconds against PSNR, one panel for each group; what is exact to the last bit is drawn at 100 dB."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    shown = [row for row in rows if row.found is not None and row.psnr is not None]
    groups = list(dict.fromkeys(row.group for row in shown))
    figure, axes = pyplot.subplots(1, max(1, len(groups)), figsize=(5 * max(1, len(groups)), 4), squeeze=False)
    for axis, group in zip(axes[0], groups, strict=False):
        for row in (row for row in shown if row.group == group):
            assert row.found is not None
            assert row.psnr is not None
            mark = "o" if row.way.startswith("ours") else "x"
            point = row.found["median"], min(100.0, row.psnr)
            axis.scatter(*point, marker=mark, color="tab:blue" if mark == "o" else "tab:orange")
            axis.annotate(row.way, point, fontsize=7, xytext=(3, 3), textcoords="offset points")
        base = next((row.found for row in rows if row.group == group and row.way == BASE and row.found), None)
        if base:
            axis.axvline(base["median"], color="grey", linewidth=0.8, linestyle="--", label=BASE)
            axis.legend(fontsize=7)
        axis.set(title=group, xlabel="seconds per picture", ylabel="colours, dB against torch float32", xscale="log")
    figure.tight_layout()
    figure.savefig(path, dpi=120)
    pyplot.close(figure)
