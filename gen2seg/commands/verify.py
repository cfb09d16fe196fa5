"""`gen2seg verify`: does a bundle still give what it was written with, here?"""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from rich.table import Table

from gen2seg.commands.options import emit, human_console, json_option

if TYPE_CHECKING:
    from gen2seg_runtime import Bundle
    from gen2seg_runtime.verify import Verification


@click.command("verify")
@click.argument("bundle", type=click.Path(path_type=Path), required=False)
@click.option("--backend", "backends", multiple=True, metavar="NAME", help="Only this one, or auto; repeatable.")
@click.option("--threads", type=click.IntRange(1), help="Threads of the network.")
@json_option
def command(bundle: Path | None, backends: tuple[str, ...], threads: int | None, as_json: bool) -> int:
    """Repeat a bundle's own verification on this machine, without PyTorch.

    Every digest is compared, then the pictures that lie in the bundle go through each backend that can run it
    here, and what comes out is compared with what the PyTorch network gave for them. Exit code 1 if it does not
    hold; without BUNDLE the embedded model.

    \b
    Examples:
      gen2seg verify
      gen2seg verify build/my-bundle --backend openvino --json
    """
    from gen2seg_runtime import Bundle, default_bundle_path
    from gen2seg_runtime.verify import verify_goldens

    console = human_console(True)
    opened = Bundle.open(bundle or default_bundle_path())
    with console.status("digests hold; running the goldens") as status:
        found = verify_goldens(
            opened, backends, threads, progress=lambda backend, image: status.update(f"{backend}: {image}")
        )
    manifest = opened.manifest
    document = {
        "path": str(opened.root),
        "id": opened.id,
        "name": manifest.name,
        "state": manifest.weights.state,
        "files": len(manifest.files),
        "forced": bool(manifest.verification.get("forced", False)),
        **found.to_json(),
    }
    if not as_json:
        human_console(False).print(_table(opened, found))
    emit(document, _verdict(opened, found), as_json)
    return 0 if found.passed else 1


def _table(bundle: "Bundle", found: "Verification") -> Table:
    table = Table(title=f"{bundle.manifest.name} against PyTorch float32")
    table.add_column("backend")
    table.add_column("picture")
    table.add_column("compared")
    for column in ("largest", "relative", "PSNR dB", ""):
        table.add_column(column, justify="right")
    for check in found.checks:
        figures: dict[str, Any] = {f"stage {name}": value for name, value in check.stages.items()}
        figures["colours"] = check.colors
        for name, value in figures.items():
            numbers = ("-", "-", "-")
            if value is not None:
                numbers = (f"{value.max:.4g}", f"{value.relative:.3g}", f"{value.psnr:.1f}")
            verdict = "" if name != "colours" else "failed" if check.failures else "holds"
            table.add_row(check.backend, Path(check.image).name, name, *numbers, verdict)
        if check.mask_iou is not None:
            table.add_row(check.backend, Path(check.image).name, "masks", "", "", "", f"IoU {check.mask_iou:.3f}")
    return table


def _verdict(bundle: "Bundle", found: "Verification") -> str:
    manifest = bundle.manifest
    lines = [f"{len(manifest.files)} files have the digests of the manifest"]
    lines += [f"failed: {failure}" for failure in found.failures]
    if manifest.verification.get("forced"):
        lines.append("This bundle failed its export's gate and was written by force.")
    if manifest.weights.state == "untrained":
        lines.append("The weights are untrained: its masks mean nothing.")
    lines.append("verification holds" if found.passed else "verification FAILED")
    return "\n".join(lines)
