"""What a run says while it goes on: a CSV file, TensorBoard if asked for, a bar or plain lines."""

import csv
import io
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn
from torch import Tensor

from gen2seg.data.cleaning import Cleaned
from gen2seg_runtime.files import atomic_write

MOST_SAID = 20  # skipped files that are named on the screen; the file has them all


class RunLog:
    """Averages the numbers of `every` steps and writes them; a context manager.

    Rows of an earlier, killed part of the run that lie past `first_step` (the steps already done) are dropped,
    so the CSV has each step once.
    """

    def __init__(self, run: Path, first_step: int, steps: int, every: int, tensorboard: bool, quiet: bool) -> None:
        self.path = run / "log.csv"
        self.every = every
        self._skipped: dict[str, None] = {}
        self._last = first_step
        self._sums: dict[str, float] = {}
        self._count = 0
        self._images = 0
        self._since = time.monotonic()
        self._rows = [] if quiet else _rows_before(self.path, first_step)
        self._quiet = quiet
        self._writer = _summary_writer(run, first_step) if tensorboard and not quiet else None
        self._console = Console(stderr=True, quiet=quiet)
        self._bar = Progress(
            TextColumn("[bold]training"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[note]}"),
            TimeRemainingColumn(),
            console=self._console,
            disable=quiet or not sys.stderr.isatty(),
        )
        self._task = self._bar.add_task("training", total=steps, completed=first_step, note="")

    def __enter__(self) -> "RunLog":
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._count:  # the steps since the last row
            self._flush(self._last)
        self._bar.stop()
        if self._writer is not None:
            self._writer.close()

    @property
    def skipped(self) -> list[str]:
        """A message for each file that could not be read, once."""
        return list(self._skipped)

    def source(self, name: str, cleaned: Cleaned) -> None:
        """Say what is left of a data set."""
        self.say(f"{name}: {cleaned.describe()}")
        self.skip(cleaned.unreadable)

    def skip(self, messages: Iterable[str]) -> None:
        """Say, once each, which files could not be read."""
        for message in messages:
            if message in self._skipped:
                continue
            self._skipped[message] = None
            if len(self._skipped) <= MOST_SAID:
                self.say(f"skipped: {message}")

    def say_skipped(self) -> None:
        """Count the files that could not be read, and list them all in `skipped.txt`."""
        if not self._skipped or self._quiet:
            return
        path = self.path.with_name("skipped.txt")
        with atomic_write(path) as file:
            file.write("".join(f"{message}\n" for message in self._skipped).encode())
        self.say(f"{len(self._skipped):,} file(s) could not be read: {path}")

    def say(self, text: str) -> None:
        self._console.print(text, highlight=False)

    def step(self, step: int, images: int, values: dict[str, Tensor | float]) -> None:
        """Count one finished step (numbered from 1) with its values."""
        for name, value in values.items():
            self._sums[name] = self._sums.get(name, 0.0) + float(value)
        self._count += 1
        self._last = step
        self._images += images
        self._bar.update(self._task, completed=step)
        if step % self.every == 0:
            self._flush(step)

    def _flush(self, step: int) -> None:
        elapsed = time.monotonic() - self._since
        row: dict[str, Any] = {"step": step}
        row |= {name: round(total / self._count, 6) for name, total in self._sums.items()}
        row["images_per_second"] = round(self._images / max(elapsed, 1e-9), 2)
        self._sums, self._count, self._images, self._since = {}, 0, 0, time.monotonic()
        if self._quiet:
            return
        self._rows.append(row)
        _write_rows(self.path, self._rows)
        if self._writer is not None:
            for name, value in row.items():
                if name != "step":
                    self._writer.add_scalar(name, value, step)
        note = f"loss {row.get('loss', float('nan')):.3f}  {row['images_per_second']:.1f} images/s"
        self._bar.update(self._task, note=note)
        if self._bar.disable:
            self.say("  ".join(f"{name} {value:g}" for name, value in row.items()))


class ReadingBar:
    """A bar for each data set whose label maps are read for the first time; a context manager."""

    def __init__(self, quiet: bool = False) -> None:
        self._bar = Progress(
            TextColumn("[bold]reading the labels of {task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            console=Console(stderr=True, quiet=quiet),
            disable=quiet or not sys.stderr.isatty(),
        )
        self._tasks: dict[str, TaskID] = {}

    def __enter__(self) -> "ReadingBar":
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def update(self, name: str, done: int, count: int) -> None:
        """Say how many pictures of a source have been looked at."""
        if name not in self._tasks:
            self._tasks[name] = self._bar.add_task(name, total=count)
        self._bar.update(self._tasks[name], completed=done)


def _summary_writer(run: Path, first_step: int) -> Any:
    from torch.utils.tensorboard import SummaryWriter

    return SummaryWriter(str(run / "tensorboard"), purge_step=first_step + 1)


def _rows_before(path: Path, step: int) -> list[dict[str, Any]]:
    if not path.exists():
        return []
    with path.open(newline="", encoding="utf-8") as file:
        return [row for row in csv.DictReader(file) if int(row["step"]) <= step]


def _write_rows(path: Path, rows: list[dict[str, Any]]) -> None:
    columns = list(dict.fromkeys(name for row in rows for name in row))
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, columns)
    writer.writeheader()
    writer.writerows(rows)
    with atomic_write(path) as file:  # a run killed here must find a whole file when it resumes
        file.write(text.getvalue().encode())
