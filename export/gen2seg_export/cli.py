"""The command line `gen2seg-export`.

Exit codes: 0 written, 1 the bundle fails the gate (nothing written), 2 bad input, 130 interrupted.
"""

import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from rich.console import Console
from rich.table import Table

from gen2seg_export.backbones import get_export_spec
from gen2seg_export.errors import ParityError
from gen2seg_runtime.errors import Gen2SegError, NetworkOutputError

if TYPE_CHECKING:
    from gen2seg_export.pipeline import ExportReport

_STAGES = ("load", "export", "round", "write", "verify", "control", "measure")


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="gen2seg")
@click.option("--backbone", required=True, metavar="NAME", help="Which network to export: tiny.")
@click.option("--checkpoint", type=click.Path(path_type=Path), help="Folder: config.json, model.safetensors.")
@click.option("--random-weights", is_flag=True, help="Seeded random weights instead; says 'untrained'.")
@click.option("--fp16", is_flag=True, help="Store weights as float16 (half the file); computes in float32.")
@click.option("--height", type=click.IntRange(1), help="Fix the height; a multiple of the stride.")
@click.option("--width", type=click.IntRange(1), help="Fix the width; a multiple of the stride.")
@click.option("--size", type=click.IntRange(1), help="Shrink pictures whose longer side exceeds this.")
@click.option("--enlarge-below", type=click.IntRange(0), help="Enlarge pictures whose longer side is less.")
@click.option("--distance", type=float, help="Default colour distance of a click's mask, 0..442.")
@click.option("--name", help="Name of the bundle; default: the backbone's.")
@click.option("--images", type=click.Path(path_type=Path), help="Real pictures to verify on; else GEN2SEG_DATA.")
@click.option("--max-images", type=click.IntRange(1), default=12, show_default=True, help="How many of them.")
@click.option("--max-bytes", type=click.IntRange(1), help="Fail if all files together are larger.")
@click.option("--threads", type=click.IntRange(1), help="Threads of the runtime while verifying.")
@click.option("--force", is_flag=True, help="Write the bundle even if it fails the gate, and record that.")
@click.option("--overwrite", is_flag=True, help="Replace an existing output folder.")
@click.option("--json", "as_json", is_flag=True, help="Print the report as one JSON document on stdout.")
@click.option("-o", "--output", type=click.Path(path_type=Path), required=True, help="The bundle's folder.")
def cli(
    backbone: str,
    checkpoint: Path | None,
    random_weights: bool,
    size: int | None,
    enlarge_below: int | None,
    distance: float | None,
    as_json: bool,
    output: Path,
    **options: Any,
) -> int:
    """Turn a checkpoint into a bundle, verify it through the runtime, and write it only if it passes.

    \b
    Examples:
      gen2seg-export --backbone tiny --checkpoint runs/tiny/weights --fp16 -o build/tiny
      gen2seg-export --backbone tiny --random-weights -o build/latency-only
    """
    get_export_spec(backbone)  # before torch is loaded: a wrong name should not cost seconds
    if random_weights == (checkpoint is not None):
        raise click.UsageError("give either --checkpoint DIR or --random-weights")
    chosen = {"size": size, "enlarge_below": enlarge_below, "distance": distance}
    console = Console(stderr=True)

    from gen2seg_export.pipeline import export_bundle

    with _StageDisplay(console) as display:
        report = export_bundle(
            output,
            backbone=backbone,
            checkpoint=checkpoint,
            random_weights=random_weights,
            settings={key: value for key, value in chosen.items() if value is not None},
            progress=display.update,
            **options,
        )
    _show(report, console)
    if as_json:
        click.echo(json.dumps(report.to_json(), allow_nan=False))
    return 0


class _StageDisplay:
    """One line on stderr for each stage that has ended, with its time; a spinner while one runs."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._status = console.status("starting")
        self._stage = ""
        self._since = 0.0

    def __enter__(self) -> "_StageDisplay":
        if self._console.is_terminal:
            self._status.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, *_rest: object) -> None:
        self._status.stop()
        if kind is None:
            self._end_stage()

    def update(self, stage: str, detail: str) -> None:
        if stage != self._stage:
            self._end_stage()
            self._stage, self._since = stage, time.perf_counter()
        self._status.update(f"{stage}: {detail}")

    def _end_stage(self) -> None:
        if self._stage:
            seconds = time.perf_counter() - self._since
            self._console.print(f"{self._stage:<8} {seconds:6.1f} s", highlight=False)


def _show(report: "ExportReport", console: Console) -> None:
    summary = report.parity.summary()
    table = Table(title=f"{report.path}: {report.bytes:,} bytes, {report.manifest.weights.state}")
    table.add_column("against PyTorch float32, worst case")
    table.add_column("figure", justify="right")
    for key, value in summary.items():
        table.add_row(key.replace("_", " "), "-" if value is None else f"{value:.5g}")
    console.print(table)
    if report.forced:
        console.print("[bold red]written by force: it fails the gate, and its manifest says so[/]")
        for failure in report.parity.failures:
            console.print(f"  {failure}", markup=False)
    if report.manifest.weights.state == "untrained":
        console.print("untrained weights: the colours mean nothing; for latency work only")


def main(args: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code; errors end as one line on stderr."""
    try:
        code = cli.main(args=args, prog_name="gen2seg-export", standalone_mode=False)
    except click.UsageError as error:
        return _fail(f"{error.format_message()} (see gen2seg-export --help)", 2)
    except click.ClickException as error:
        return _fail(error.format_message(), 2)
    except (ParityError, NetworkOutputError) as error:
        return _fail(str(error), 1)
    except Gen2SegError as error:
        return _fail(str(error), 2)
    except ModuleNotFoundError as error:
        if error.name in ("torch", "onnx", "onnxscript", "safetensors"):
            return _fail(f"{error.name} is missing; exporting needs: pip install 'gen2seg[export]'", 2)
        raise
    except (KeyboardInterrupt, click.Abort):
        return _fail("interrupted; nothing was written", 130)
    return code if isinstance(code, int) else 0


def _fail(message: str, code: int) -> int:
    print(f"gen2seg-export: error: {' '.join(message.split())}", file=sys.stderr)
    return code


if __name__ == "__main__":
    sys.exit(main())
