"""`python -m gen2seg_kernels.aot`: compile kernels ahead of time, with no GPU."""

import os
import sys
import tempfile
from pathlib import Path

import click
from rich.console import Console
from rich.progress import MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from gen2seg_kernels.aot.architectures import ARCHITECTURES
from gen2seg_kernels.aot.build import build, write_file
from gen2seg_kernels.aot.contract import Contract
from gen2seg_kernels.aot.discover import all_variants, kernels_left_out, triton_modules
from gen2seg_kernels.aot.resources import TABLE, complaints, read_table, table_text


@click.command()
@click.option("--all", "everything", is_flag=True, help="Every kernel for every architecture.")
@click.option("--kernel", "names", multiple=True, metavar="NAME", help="Only this kernel; may be repeated.")
@click.option("--arch", "archs", metavar="75,86,...", help=f"Only these architectures of {ARCHITECTURES}.")
@click.option("--jobs", type=click.IntRange(1), default=min(2, os.cpu_count() or 1), show_default=True)
@click.option("-o", "--output", type=click.Path(path_type=Path), help="Folder for the files and kernels.json.")
@click.option("--check", is_flag=True, help="Fail on spills, growth past the committed table, or a kernel left out.")
@click.option("--update-table", is_flag=True, help="Write the committed table of resources anew (needs --all).")
@click.option("--module", "modules", multiple=True, hidden=True, help="Look for variants() here instead.")
def main(
    everything: bool,
    names: tuple[str, ...],
    archs: str | None,
    jobs: int,
    output: Path | None,
    check: bool,
    update_table: bool,
    modules: tuple[str, ...],
) -> None:
    """Compile the Triton kernels into <kernel>.sm_<cc>.cubin and a launch contract, kernels.json."""
    everything = everything or update_table
    if everything and (names or archs):
        raise click.UsageError("--all and --update-table take every kernel and architecture: drop --kernel and --arch")
    if not (everything or names or archs):
        raise click.UsageError("say what to compile: --all, --kernel NAME or --arch LIST")
    if output is None and not (check or update_table):
        raise click.UsageError("say where the files go: -o DIR")
    if check and not everything:
        raise click.UsageError("--check needs --all")
    modules = modules or tuple(triton_modules())
    try:
        left_out = kernels_left_out(modules, all_variants(modules))
        with tempfile.TemporaryDirectory() as scratch:
            contract = _build(modules, _architectures(archs), output or Path(scratch), names, jobs)
    except (ValueError, OSError, RuntimeError) as error:
        raise click.ClickException(str(error)) from error
    _print_table(contract)
    if update_table:
        write_file(TABLE, table_text(contract).encode())
        click.echo(f"{TABLE.name} written")
    if check:
        found = [f"{name}: no variant compiles it" for name in left_out]
        found += complaints(contract, read_table()[1])
        for text in found:
            click.echo(text, err=True)
        sys.exit(1 if found else 0)


def _architectures(text: str | None) -> list[int]:
    if text is None:
        return list(ARCHITECTURES)
    chosen = [part.strip().removeprefix("sm_") for part in text.split(",")]
    unknown = [part for part in chosen if part not in map(str, ARCHITECTURES)]
    if unknown:
        raise click.UsageError(f"unknown architectures {unknown}; known: {', '.join(map(str, ARCHITECTURES))}")
    return sorted({int(part) for part in chosen})


def _build(modules: tuple[str, ...], archs: list[int], folder: Path, names: tuple[str, ...], jobs: int) -> Contract:
    console = Console(stderr=True)
    columns = (TextColumn("compiling"), MofNCompleteColumn(), TimeElapsedColumn(), TextColumn("{task.description}"))
    with Progress(*columns, console=console, disable=not console.is_terminal) as bar:
        task = bar.add_task("", total=None)
        return build(
            modules,
            archs,
            folder,
            names,
            jobs,
            lambda done, total, name: bar.update(task, completed=done, total=total, description=name),
        )


def _print_table(contract: Contract) -> None:
    """Registers, shared memory and, if any, spills of every kernel on every architecture."""
    archs = sorted({target.sm for kernel in contract.kernels.values() for target in kernel.targets})
    table = Table(title=f"Triton {contract.triton}: registers per thread / shared bytes per block (+ bytes spilled)")
    table.add_column("kernel", no_wrap=True)
    table.add_column("warps", justify="right")
    for sm in archs:
        table.add_column(f"sm_{sm}", justify="right", no_wrap=True)
    total = 0
    for name, kernel in sorted(contract.kernels.items()):
        cells = {}
        for target in kernel.targets:
            spilled = target.spill_store_bytes + target.spill_load_bytes
            total += spilled
            cells[target.sm] = f"{target.registers}/{target.shared_bytes}" + (
                f" [red]+{spilled}[/red]" if spilled else ""
            )
        warps = "/".join(sorted({str(target.block[0] // 32) for target in kernel.targets}))
        table.add_row(name, warps, *(cells.get(sm, "-") for sm in archs))
    console = Console()
    if not console.is_terminal:
        console = Console(width=200)  # a log keeps every column
    console.print(table)
    files = sum(len(kernel.targets) for kernel in contract.kernels.values())
    console.print(f"{len(contract.kernels)} kernels, {files} files, {total} bytes spilled; compiled, not run on a GPU")


if __name__ == "__main__":
    main(prog_name="python -m gen2seg_kernels.aot")
