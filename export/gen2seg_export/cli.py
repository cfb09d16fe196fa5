"""The command line `gen2seg-export`.

Exit codes: 0 written; 1 the bundle fails the gate or no stage gains from int8 (nothing written), or it is written
without an engine that cannot be built here; 2 bad input; 130 interrupted.
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

from gen2seg_export.errors import EngineMissingError, ExportError
from gen2seg_export.registry import FAMILIES, TARGETS, get_family
from gen2seg_export.sizes import pair_sizes
from gen2seg_runtime.errors import Gen2SegError, NetworkOutputError

if TYPE_CHECKING:
    from gen2seg_export.pipeline import ExportReport


class TargetsType(click.ParamType):
    """Targets separated by commas."""

    name = "NAME,..."

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if isinstance(value, tuple):
            return value
        names = tuple(part.strip() for part in value.split(",") if part.strip())
        unknown = [name for name in names if name not in TARGETS]
        if unknown or not names:
            self.fail(f"{value!r}: targets are {', '.join(TARGETS)}, separated by commas", param, ctx)
        return names


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="gen2seg")
@click.option("--backbone", required=True, metavar="NAME", help=f"Which network to export: {', '.join(FAMILIES)}.")
@click.option("--checkpoint", metavar="DIR_OR_HUB_ID", help="Weights; default: the backbone's published ones.")
@click.option("--base", metavar="DIR_OR_HUB_ID", help="sd2: has what the checkpoint lacks (VAE, scheduler, text).")
@click.option("--random-weights", is_flag=True, help="Seeded random weights instead; says 'untrained'.")
@click.option("--allow-pickle", is_flag=True, help="Read pickled weights, which can run code, for want of others.")
@click.option("--vae", metavar="full|taesd|DIR", help="sd2, dino-b: the VAE variant.")
@click.option("--text-embedding", type=click.Path(path_type=Path), help="sd2: the empty prompt's, as safetensors.")
@click.option("--fp16", is_flag=True, help="float16: for CPUs the weights (half the file), for GPUs the arithmetic.")
@click.option("--bf16", is_flag=True, help="bfloat16 arithmetic but where measured ranges speak against it.")
@click.option("--int8", is_flag=True, help="int8 by calibration, as OpenVINO IR; offered where it is faster here.")
@click.option(
    "--target", "targets", type=TargetsType(), default="onnx", show_default=True, help=f"Of {', '.join(TARGETS)}."
)
@click.option("--turing", is_flag=True, help="tensorrt-rtx: one more engine, for compute capability 7.5.")
@click.option(
    "--height", "heights", type=click.IntRange(1), multiple=True, help="Of a bucket; repeatable, with --width."
)
@click.option("--width", "widths", type=click.IntRange(1), multiple=True, help="Of a bucket, in the order of --height.")
@click.option("--dynamic", is_flag=True, help="Any size in place of fixed buckets.")
@click.option("--size", type=click.IntRange(1), help="tiny: shrink pictures whose longer side exceeds this.")
@click.option("--enlarge-below", type=click.IntRange(0), help="tiny: enlarge pictures whose longer side is less.")
@click.option("--distance", type=float, help="tiny: default colour distance of a click's mask, 0..442.")
@click.option("--name", help="Name of the bundle; default: the backbone's.")
@click.option("--images", type=click.Path(path_type=Path), help="Real pictures to verify on; else GEN2SEG_DATA.")
@click.option("--max-images", type=click.IntRange(1), help="How many pictures to verify on; default: by cost.")
@click.option("--max-bytes", type=click.IntRange(1), help="Fail if all files together are larger.")
@click.option("--threads", type=click.IntRange(1), help="Threads of the runtime while verifying.")
@click.option("--force", is_flag=True, help="Write the bundle even if it fails the gate, and record that.")
@click.option("--overwrite", is_flag=True, help="Replace an existing output folder.")
@click.option("--json", "as_json", is_flag=True, help="Print the report as one JSON document on stdout.")
@click.option("-o", "--output", type=click.Path(path_type=Path), required=True, help="The bundle's folder.")
def cli(
    backbone: str,
    checkpoint: str | None,
    random_weights: bool,
    fp16: bool,
    bf16: bool,
    int8: bool,
    turing: bool,
    heights: tuple[int, ...],
    widths: tuple[int, ...],
    size: int | None,
    enlarge_below: int | None,
    distance: float | None,
    as_json: bool,
    output: Path,
    **options: Any,
) -> int:
    """Turn a checkpoint into a bundle, verify it through the runtime, and write it only if it passes.

    A run that was broken off is continued by the next one with the same output.

    \b
    Examples:
      gen2seg-export --backbone tiny --checkpoint runs/tiny/weights --fp16 -o build/tiny
      gen2seg-export --backbone sd2 --checkpoint gen2seg-sd/ --bf16 --target openvino --height 480 --width 640 -o sd2
      gen2seg-export --backbone mae-b --random-weights -o build/latency-only
    """
    get_family(backbone)  # before torch is loaded: a wrong name should not cost seconds
    if random_weights and checkpoint is not None:
        raise click.UsageError("give either --checkpoint or --random-weights")
    if backbone == "tiny" and not random_weights and checkpoint is None:
        raise click.UsageError("give either --checkpoint DIR or --random-weights")
    asked = [name for name, flag in (("fp16", fp16), ("bf16", bf16), ("int8", int8)) if flag]
    if len(asked) > 1:
        raise click.UsageError(f"--{' and --'.join(asked)} exclude each other")
    if turing and "tensorrt-rtx" not in options["targets"]:
        raise click.UsageError("--turing is for --target tensorrt-rtx")
    sizes = pair_sizes(heights, widths)
    chosen = {"size": size, "enlarge_below": enlarge_below, "distance": distance}
    console = Console(stderr=True)

    from gen2seg_export.pipeline import export_bundle

    missing: EngineMissingError | None = None
    try:
        with _StageDisplay(console) as display:
            report = export_bundle(
                output,
                backbone=backbone,
                checkpoint=checkpoint,
                random_weights=random_weights,
                precision=asked[0] if asked else "fp32",
                target_options={"tensorrt-rtx": {"turing": True}} if turing else {},
                sizes=sizes,
                settings={key: value for key, value in chosen.items() if value is not None},
                progress=display.update,
                **options,
            )
    except EngineMissingError as error:
        report, missing = error.report, error
    _show(report, console)
    if as_json:
        click.echo(json.dumps(report.to_json(), allow_nan=False))
    if missing is not None:
        raise missing
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
            self._console.print(f"{self._stage:<9} {seconds:6.1f} s", highlight=False)


def _show(report: "ExportReport", console: Console) -> None:
    table = Table(title=f"{report.path}: {report.bytes:,} bytes, {report.manifest.weights.state}")
    table.add_column("against PyTorch float32, worst case")
    for column in ("largest", "mean", "relative", "PSNR dB"):
        table.add_column(column, justify="right")
    for parity in (report.parity, *report.others):
        summary = parity.summary()
        rows = {**{f"stage {name}": found for name, found in summary["stages"].items()}, "colours": summary["colors"]}
        for name, found in rows.items():
            if found is not None:
                figures = [_figure(found[key]) for key in ("max", "mean", "relative", "psnr")]
                table.add_row(f"{parity.backend}, {name}", *figures)
        table.add_row(f"{parity.backend}, mask IoU (mean)", _figure(summary["mask_iou"]), "", "", "")
    console.print(table)
    for note in report.notes:
        console.print(f"note: {note}", markup=False)
    if report.forced:
        console.print("[bold red]written by force: it fails the gate, and its manifest says so[/]")
        for failure in report.manifest.verification["failures"]:
            console.print(f"  {failure}", markup=False)
    if report.manifest.weights.state == "untrained":
        console.print("untrained weights: the colours mean nothing; for latency work only")


def _figure(value: float | None) -> str:
    return "-" if value is None else f"{value:.5g}"


def main(args: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code; errors end as one line on stderr."""
    try:
        code = cli.main(args=args, prog_name="gen2seg-export", standalone_mode=False)
    except click.UsageError as error:
        return _fail(f"{error.format_message()} (see gen2seg-export --help)", 2)
    except click.ClickException as error:
        return _fail(error.format_message(), 2)
    except ExportError as error:
        return _fail(str(error), error.exit_code)
    except NetworkOutputError as error:
        return _fail(str(error), 1)
    except Gen2SegError as error:
        return _fail(str(error), 2)
    except ModuleNotFoundError as error:
        if error.name in ("torch", "onnx", "onnxscript", "safetensors", "diffusers", "transformers", "timm"):
            return _fail(f"{error.name} is missing; exporting needs: pip install 'gen2seg[export]'", 2)
        raise
    except OSError as error:  # a full disk, a folder that may not be entered: not code 1, which is the gate's
        return _fail(str(error), 2)
    except (KeyboardInterrupt, click.Abort):
        return _fail("interrupted; no bundle was written, finished parts stay in OUTPUT.parts for the next run", 130)
    return code if isinstance(code, int) else 0


def _fail(message: str, code: int) -> int:
    print(f"gen2seg-export: error: {' '.join(message.split())}", file=sys.stderr)
    return code


if __name__ == "__main__":
    sys.exit(main())
