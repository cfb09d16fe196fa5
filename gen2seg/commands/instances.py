"""`gen2seg instances`: all objects of pictures, as files."""

from pathlib import Path
from typing import Any

import click

from gen2seg.commands.batch import run_batch
from gen2seg.commands.options import bundle_option, expand_inputs, json_option, refuse_own_inputs, unique_stems


@click.command("instances")
@click.argument("inputs", nargs=-1, required=True, type=click.Path(path_type=Path))
@bundle_option
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path, file_okay=False),
    required=True,
    help="Folder to write into.",
)
@json_option
def command(inputs: tuple[Path, ...], bundle: Path | None, output: Path, as_json: bool) -> int:
    """All objects of pictures, given as files or folders.

    Writes for each picture a 16-bit label map NAME.png (0 = no object) and NAME.json: a COCO document
    with every object's area, box, score, colour and run-length mask. A broken picture is reported, the
    others go on.

    \b
    Examples:
      gen2seg instances photo.jpg -o out/
      gen2seg instances photos/ more/*.png -o out/ --json
    """
    files = expand_inputs(inputs)
    names = unique_stems(files, output)
    refuse_own_inputs(files, (output / f"{name}.png" for name in names.values()))
    from gen2seg.folders import make_folder
    from gen2seg_runtime import Segmenter
    from gen2seg_runtime.formats import write_coco, write_label_png

    segmenter = Segmenter.open(bundle)
    make_folder(output)

    def work(path: Path) -> tuple[dict[str, Any], str]:
        found = segmenter.encode(path).instances()
        labels_path, coco_path = output / f"{names[path]}.png", output / f"{names[path]}.json"
        write_label_png(labels_path, found.labels)
        write_coco(coco_path, [(path.name, found)])
        count = len(found.records)
        entry = {"instances": count, "labels": str(labels_path), "coco": str(coco_path)}
        return entry, f"{path}: {count} objects -> {labels_path}"

    return run_batch(files, work, verb="instances", as_json=as_json)
