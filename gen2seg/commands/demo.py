"""`gen2seg demo`: the whole chain on real photographs, as pictures and a table."""

from dataclasses import asdict
from pathlib import Path

import click
from rich.table import Table

from gen2seg.commands.options import PointType, bundle_option, emit, human_console, json_option


@click.command("demo")
@click.option("--image", type=click.Path(path_type=Path), help="A picture of your own instead of the shipped ones.")
@click.option("--point", "points", type=PointType(), multiple=True, help="Click on --image here; repeatable.")
@bundle_option
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("demo-out"),
    show_default=True,
    help="Folder for the pictures.",
)
@json_option
def command(
    image: Path | None,
    points: tuple[tuple[float, float], ...],
    bundle: Path | None,
    output: Path,
    as_json: bool,
) -> int:
    """Segment real photographs and show the pictures: colours, objects, masks of clicks, edges.

    \b
    Examples:
      gen2seg demo
      gen2seg demo --image photo.jpg --point 120,80
    """
    if points and image is None:
        raise click.UsageError("--point needs --image: the shipped photographs have clicks of their own")
    from gen2seg.demo import Photograph, run_demo, shipped_photographs
    from gen2seg_runtime import Segmenter

    photographs = [Photograph(image, points)] if image else shipped_photographs()
    results, sheet = run_demo(Segmenter.open(bundle), photographs, output)
    table = Table("image", "size", "objects", "encode ms", "click ms", "objects ms", "edges ms")
    for result in results:
        times = (result.encode_ms, result.click_ms, result.instances_ms, result.edges_ms)
        height, width = result.size
        table.add_row(result.name, f"{width}x{height}", str(result.instances), *(f"{ms:.1f}" for ms in times))
    console = human_console(as_json)
    console.print(table)
    console.print(f"pictures: {output} (all on one sheet: {sheet})", soft_wrap=True, highlight=False)
    entries = [{**asdict(result), "files": [str(path) for path in result.files]} for result in results]
    emit({"images": entries, "contact_sheet": str(sheet)}, None, as_json)
    return 0
