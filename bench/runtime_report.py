"""What the runtime benchmark measured, as a Markdown table and a plot of clicks against seconds."""

import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

ENCODE, CLICKS, WHOLE, MEMORY = "One picture to colours", "Clicks on one encoding", "The whole picture", "Memory"


@dataclass(frozen=True)
class Row:
    """One way of one job.

    Attributes:
        part: heading of its table.
        what: the job.
        way: who does it.
        seconds: of each run; empty where it was not run or is no time.
        note: what else is to be said, or why it was not run.
    """

    part: str
    what: str
    way: str
    seconds: Sequence[float] = ()
    note: str = ""

    @property
    def median(self) -> float:
        """Seconds."""
        return statistics.median(self.seconds)

    def time(self) -> str:
        """Median, extremes and number of runs in milliseconds."""
        if not self.seconds:
            return ""
        numbers = (1e3 * value for value in (self.median, min(self.seconds), max(self.seconds)))
        return "{:.2f} ({:.2f} to {:.2f}, {})".format(*numbers, len(self.seconds))


@dataclass
class Report:
    """Rows in the order they were measured; the ways whose clicks are drawn: name -> seconds of encode and click."""

    rows: list[Row] = field(default_factory=list)

    def add(self, *row: object) -> None:
        """A `Row` of these fields."""
        self.rows.append(Row(*row))  # type: ignore[arg-type]

    def find(self, part: str, what: str, way: str) -> Row | None:
        """The row of that name, if it has times."""
        return next(
            (row for row in self.rows if (row.part, row.what, row.way) == (part, what, way) and row.seconds), None
        )

    def markdown(self, machine: str) -> str:
        """A table for each part."""
        return "\n".join(["# Runtime: encode, click, instances, edges, streams", "", machine, "", *self._tables()])

    def _tables(self) -> Iterator[str]:
        for part in (ENCODE, CLICKS, WHOLE, MEMORY):
            mine = [row for row in self.rows if row.part == part]
            if not mine:
                continue
            yield from (
                f"## {part}",
                "",
                "| what | way | median ms (min to max, runs) | |",
                "| --- | --- | --- | --- |",
            )
            yield from (f"| {row.what} | {row.way} | {row.time()} | {row.note} |" for row in mine)
            yield ""

    def curves(self) -> dict[str, tuple[float, float]]:
        """way -> seconds of an encode and of one more click, for ways that have both."""
        found = {}
        for encode in (row for row in self.rows if (row.part, row.what) == (ENCODE, "encode") and row.seconds):
            for click in (row for row in self.rows if row.part == CLICKS and row.way == encode.way and row.seconds):
                if click.what.startswith("1 click"):
                    found[f"{encode.way}, {click.what.partition(', ')[2]}".rstrip(", ")] = (encode.median, click.median)
        return found

    def plot(self, path: Path) -> None:
        """Seconds from the picture to the last mask, against the number of clicks."""
        import matplotlib

        matplotlib.use("Agg")
        from matplotlib import pyplot

        figure, axis = pyplot.subplots(figsize=(6, 4))
        counts = [1, 3, 10, 30, 100, 300, 1000]
        for way, (encode, click) in self.curves().items():
            axis.plot(counts, [encode + count * click for count in counts], marker=".", label=way)
        axis.set(xscale="log", yscale="log", xlabel="clicks on one picture", ylabel="seconds, encode and clicks")
        axis.legend(fontsize=7)
        figure.tight_layout()
        figure.savefig(path, dpi=120)
        pyplot.close(figure)
