"""`gen2seg edges`: edges between objects, as pictures."""

from pathlib import Path
from typing import Any

import click

from gen2seg.commands.batch import run_batch
from gen2seg.commands.options import bundle_option, expand_inputs, json_option, refuse_own_inputs, unique_stems


@click.command("edges")
@click.argument("inputs", nargs=-1, required=True, type=click.Path(path_type=Path))
@bundle_option
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    required=True,
    help="A PNG for one picture, else a folder for NAME.png.",
)
@json_option
def command(inputs: tuple[Path, ...], bundle: Path | None, output: Path, as_json: bool) -> int:
    """Edges between objects: thinned, 8-bit grey, 255 the strongest possible.

    \b
    Examples:
      gen2seg edges photo.jpg -o edges.png
      gen2seg edges photos/ -o out/
    """
    files = expand_inputs(inputs)
    into_folder = output.suffix.lower() != ".png"
    if not into_folder:
        if len(files) > 1:
            raise click.UsageError(f"{len(files)} pictures need a folder to write into, not {output}")
        targets = {files[0]: output}
    else:
        targets = {path: output / f"{stem}.png" for path, stem in unique_stems(files, output).items()}
    refuse_own_inputs(files, targets.values())
    from gen2seg.folders import make_folder
    from gen2seg_runtime import Segmenter
    from gen2seg_runtime.formats import write_edges_png

    segmenter = Segmenter.open(bundle)
    if into_folder:
        make_folder(output)

    def work(path: Path) -> tuple[dict[str, Any], str]:
        edges = segmenter.encode(path).edges()
        write_edges_png(targets[path], edges)
        entry = {"output": str(targets[path]), "edge_share": float((edges > 0).mean())}
        return entry, f"{path}: -> {targets[path]}"

    return run_batch(files, work, verb="edges", as_json=as_json)
