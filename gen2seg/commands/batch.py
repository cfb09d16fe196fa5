"""Running one verb over many pictures: a broken one is reported and counted, the others go on."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import click

from gen2seg.commands.options import emit, with_progress
from gen2seg_runtime.errors import Gen2SegError


def run_batch(
    files: Sequence[Path],
    work: Callable[[Path], tuple[dict[str, Any], str]],
    *,
    verb: str,
    as_json: bool,
) -> int:
    """Do `work` on each file, then print the outcome of all.

    Args:
        files: the pictures.
        work: does one picture and gives its entry of the JSON document and a line for people.
        verb: for messages and the progress bar.
        as_json: print {"results": [...], "failed": [...]} instead of lines.

    Returns:
        The exit code: 0, or 1 where some files failed, or 2 where all did.
    """
    results: list[dict[str, Any]] = []
    failed: list[dict[str, str]] = []
    for path in with_progress(files, verb):
        try:
            entry, line = work(path)
        except Gen2SegError as error:
            message = " ".join(str(error).split())
            failed.append({"image": str(path), "error": message})
            click.echo(f"gen2seg {verb}: error: {message}", err=True)
            continue
        results.append({"image": str(path), **entry})
        if not as_json:
            click.echo(line)
    if failed and len(files) > 1:
        click.echo(f"gen2seg {verb}: {len(failed)} of {len(files)} pictures failed", err=True)
    emit({"results": results, "failed": failed}, None, as_json)
    if not failed:
        return 0
    return 1 if results else 2
