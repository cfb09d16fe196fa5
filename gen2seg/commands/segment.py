"""`gen2seg segment`: one mask from points."""

from pathlib import Path
from typing import Any

import click

from gen2seg.commands.options import LabelsType, PointType, bundle_option, emit, json_option, refuse_own_inputs


@click.command("segment")
@click.argument("image", type=click.Path(path_type=Path))
@click.option(
    "--point",
    "points",
    type=PointType(),
    multiple=True,
    required=True,
    help="Pixel of the picture; repeatable.",
)
@click.option("--label", "labels", type=LabelsType(), help="1 or 0 for each point; default: all 1.")
@click.option("--mode", type=click.Choice(["reference", "metric"]), help="Prompt mode; default: the bundle's.")
@click.option("--distance", type=float, help="Mode metric: largest colour distance to the point, 0..442.")
@bundle_option
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    required=True,
    help="The mask, a PNG: 255 object, 0 not.",
)
@json_option
def command(
    image: Path,
    points: tuple[tuple[float, float], ...],
    labels: list[int] | None,
    mode: str | None,
    distance: float | None,
    bundle: Path | None,
    output: Path,
    as_json: bool,
) -> int:
    """Mask of the object under the given points, at the size of the picture.

    Several points join their objects; points with label 0 take theirs away.

    \b
    Examples:
      gen2seg segment photo.jpg --point 120,80 -o mask.png
      gen2seg segment photo.jpg --point 120,80 --point 300,90 --label 1,0 -o mask.png
      gen2seg segment photo.jpg --point 120,80 -o mask.png --json
    """
    if labels is not None and len(labels) != len(points):
        raise click.UsageError(f"{len(points)} points need as many labels, got {len(labels)}")
    if distance is not None and mode == "reference":
        raise click.UsageError("--distance belongs to mode metric")
    refuse_own_inputs([image], [output])
    from gen2seg_runtime import Segmenter
    from gen2seg_runtime.formats import write_mask_png
    from gen2seg_runtime.images import read_image

    picture = read_image(image)
    encoding = Segmenter.open(bundle).encode(picture)
    options: dict[str, Any] = {} if distance is None else {"distance": distance}
    mask = encoding.mask(list(points), labels=labels, mode=mode, **options)
    write_mask_png(output, mask)
    area = int(mask.sum())
    document = {
        "image": str(image),
        "size": list(encoding.size),
        "points": [list(point) for point in points],
        "labels": labels or [1] * len(points),
        "mode": mode or encoding.prompt.mode,
        "area": area,
        "bundle": encoding.bundle_name,
        "output": str(output),
    }
    emit(document, f"{output}: {area} of {mask.size} pixels ({area / mask.size:.1%})", as_json)
    return 0
