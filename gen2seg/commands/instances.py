"""`gen2seg instances`: all objects of pictures, as files."""

from pathlib import Path
from typing import Any

import click

from gen2seg.commands.batch import run_batch
from gen2seg.commands.options import bundle_option, expand_inputs, json_option, refuse_own_inputs, unique_stems

# As in `gen2seg_runtime.formats.FORMATS`, which is not imported to show a help text.
_SUFFIXES = {
    "png": ".png",
    "coco": ".json",
    "geojson": ".geojson",
    "svg": ".svg",
    "labelme": ".labelme.json",
    "npz": ".npz",
}


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
@click.option(
    "--format",
    "formats",
    type=click.Choice(list(_SUFFIXES)),
    multiple=True,
    default=("png", "coco"),
    help="What to write; repeatable. Default: png and coco.",
)
@click.option("--min-area", type=click.IntRange(1), help="Smallest object, in pixels at processing size.")
@click.option(
    "--fill-holes",
    type=click.IntRange(0),
    default=0,
    show_default=True,
    help="Largest hole in an object that is filled, in pixels at processing size.",
)
@click.option("--most", type=click.IntRange(1), help="At most so many masks a picture, those with the best scores.")
@click.option("--hierarchy", is_flag=True, help="Also parts of objects and groups of them; only coco holds them.")
@json_option
def command(
    inputs: tuple[Path, ...],
    bundle: Path | None,
    output: Path,
    formats: tuple[str, ...],
    min_area: int | None,
    fill_holes: int,
    most: int | None,
    hierarchy: bool,
    as_json: bool,
) -> int:
    """All objects of pictures, given as files or folders.

    Writes for each picture a 16-bit label map NAME.png (0 = no object) and NAME.json: a COCO document
    with every object's area, box, score, colour and run-length mask (with --hierarchy also parts and groups,
    each with the id of its parent). Other formats: polygons with holes in
    pixels (geojson: NAME.geojson, svg: NAME.svg), annotations to edit (labelme: NAME.labelme.json), arrays
    (npz: NAME.npz). A broken picture is reported, the others go on.

    \b
    Examples:
      gen2seg instances photo.jpg -o out/
      gen2seg instances photos/ more/*.png -o out/ --json
      gen2seg instances photo.jpg -o out/ --format svg --format npz
      gen2seg instances photo.jpg -o out/ --hierarchy --most 200
    """
    if hierarchy and "coco" not in formats:
        raise click.UsageError("--hierarchy needs --format coco: the other formats hold no masks within masks")
    files = expand_inputs(inputs)
    names = unique_stems(files, output)
    wanted = {kind: _SUFFIXES[kind] for kind in dict.fromkeys(formats)}
    refuse_own_inputs(files, (output / f"{name}{suffix}" for name in names.values() for suffix in wanted.values()))
    from gen2seg.folders import make_folder
    from gen2seg_runtime import Segmenter
    from gen2seg_runtime.formats import FORMATS

    segmenter = Segmenter.open(bundle)
    make_folder(output)

    def work(path: Path) -> tuple[dict[str, Any], str]:
        found = segmenter.encode(path).instances(
            min_area=min_area, fill_holes=fill_holes, most=most, hierarchy=hierarchy
        )
        entry: dict[str, Any] = {"instances": len(found.records)}
        if hierarchy:
            entry["nested"] = len(found.nested)
        for kind, suffix in wanted.items():
            target = output / f"{names[path]}{suffix}"
            FORMATS[kind].write(target, found, path.name)
            entry["labels" if kind == "png" else kind] = str(target)
        written = ", ".join(str(value) for key, value in entry.items() if key not in ("instances", "nested"))
        return entry, f"{path}: {len(found.records)} objects -> {written}"

    return run_batch(files, work, verb="instances", as_json=as_json)
