"""What the verbs share: option types, the JSON document on stdout, the progress bar on stderr."""

import json
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from gen2seg_runtime.errors import ImageReadError

IMAGE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".tif", ".tiff", ".bmp", ".webp", ".gif", ".pgm", ".ppm"})

_Item = TypeVar("_Item")
_Command = TypeVar("_Command", bound=Callable[..., Any])


class PointType(click.ParamType):
    """A point `X,Y` in pixels of the picture."""

    name = "X,Y"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if isinstance(value, tuple):
            return value
        try:
            x, y = (float(part) for part in value.split(","))
        except ValueError:
            self.fail(f"{value!r} is no point; expected X,Y in pixels, such as 120,80", param, ctx)
        if not (math.isfinite(x) and math.isfinite(y)):
            self.fail(f"{value!r} is no point: both numbers must be finite", param, ctx)
        return x, y


class LabelsType(click.ParamType):
    """Labels `1,0,...`, one per point: 1 belongs to the object, 0 does not."""

    name = "1,0,..."

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if isinstance(value, list):
            return value
        parts = value.split(",")
        if any(part.strip() not in ("0", "1") for part in parts):
            self.fail(f"{value!r}: labels are 1 (object) or 0 (not), separated by commas", param, ctx)
        return [int(part) for part in parts]


def bundle_option(command: _Command) -> _Command:
    """Add --bundle: a bundle directory; without it the embedded model."""
    return click.option(
        "--bundle", type=click.Path(path_type=Path), help="Bundle directory; default: the embedded model."
    )(command)


def json_option(command: _Command) -> _Command:
    """Add --json, which makes stdout one JSON document."""
    return click.option("--json", "as_json", is_flag=True, help="Print one JSON document on stdout.")(command)


def emit(document: dict[str, Any], text: str | None, as_json: bool) -> None:
    """Print the outcome: the document alone on stdout with --json, else the text for people."""
    if as_json:
        click.echo(json.dumps(document, allow_nan=False))
    elif text:
        click.echo(text)


def human_console(as_json: bool) -> Console:
    """Where tables for people go: stdout, or stderr where stdout belongs to a JSON document."""
    return Console(stderr=as_json)


def open_progress() -> Progress:
    """A progress bar on stderr; silent where stderr is no terminal."""
    console = Console(stderr=True)
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=console,
        disable=not console.is_terminal,
    )


def with_progress(items: Sequence[_Item], description: str) -> Iterator[_Item]:
    """Go through the items with a bar where there is more than one."""
    if len(items) < 2:
        yield from items
        return
    with open_progress() as progress:
        yield from progress.track(items, description=description)


def expand_inputs(inputs: Iterable[Path]) -> list[Path]:
    """Files as given, folders as their pictures (by suffix, sorted by name, not the folders below).

    Raises:
        ImageReadError: an input does not exist, or a folder holds no picture.
    """
    files: list[Path] = []
    for path in inputs:
        if path.is_dir():
            found = sorted(p for p in path.iterdir() if p.is_file() and p.suffix.lower() in IMAGE_SUFFIXES)
            if not found:
                raise ImageReadError(f"{path} holds no picture ({', '.join(sorted(IMAGE_SUFFIXES))})")
            files += found
        elif path.exists():
            files.append(path)
        else:
            raise ImageReadError(f"{path} does not exist")
    return files


def refuse_own_inputs(files: Iterable[Path], outputs: Iterable[Path]) -> None:
    """Check that no output would replace a picture that is read.

    Raises:
        click.UsageError: an output is one of the files.
    """
    read = {path.resolve() for path in files}
    for output in outputs:
        if output.resolve() in read:
            raise click.UsageError(f"{output} is a picture to read and would be overwritten; write elsewhere")


def unique_stems(files: Sequence[Path], folder: Path) -> dict[Path, str]:
    """The name, without suffix, that each file's outputs get in `folder`.

    Raises:
        click.UsageError: two files would write the same outputs.
    """
    owners: dict[str, Path] = {}
    for path in files:
        # Case-folded: some file systems take A and a for one name.
        other = owners.setdefault(path.stem.casefold(), path)
        if other is not path:
            raise click.UsageError(f"{other} and {path} would both write {folder / path.stem}.*; run them apart")
    return {path: path.stem for path in files}
