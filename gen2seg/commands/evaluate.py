"""`gen2seg evaluate`: accuracy of bundles and rivals on a folder of labelled sets."""

from pathlib import Path

import click

from gen2seg.commands.options import emit, human_console, json_option, open_progress


def _split(ctx: click.Context, param: click.Parameter, value: str | None) -> tuple[str, ...] | None:
    if value is None:
        return None
    names = tuple(part.strip() for part in value.split(",") if part.strip())
    if not names:
        raise click.BadParameter("expected names separated by commas", ctx, param)
    return names


def _named_path(ctx: click.Context, param: click.Parameter, values: tuple[str, ...]) -> dict[str, Path]:
    bundles = {}
    for value in values:
        name, equals, path = value.partition("=")
        if not (name and equals and path):
            raise click.BadParameter(f"{value!r}: expected NAME=PATH", ctx, param)
        bundles[name] = Path(path).resolve()
    return bundles


@click.command("evaluate")
@click.option(
    "--data",
    type=click.Path(path_type=Path),
    envvar="GEN2SEG_DATA",
    required=True,
    help="Folder of sets: <set>/images, <set>/instances and perhaps <set>/edges; or COCO val2017 (also as <set>_exc) "
    "or BSDS500 as published. [env: GEN2SEG_DATA]",
)
@click.option(
    "--system",
    "systems",
    metavar="NAMES",
    callback=_split,
    help="tiny, tiny-reference (its colours in mode reference), rgb, floodfill, felzenszwalb, watershed, "
    "grabcut, sobel, sam-b, sam-l, sam-h or the path of a "
    "bundle or checkpoint; separated by commas. "
    "Default: all of these but SAM, or the given bundles beside rgb and floodfill.",
)
@click.option(
    "--bundle",
    "bundles",
    metavar="NAME=PATH",
    multiple=True,
    callback=_named_path,
    help="One more bundle, checkpoint, or folder of SAM (config.json, model.safetensors).",
)
@click.option("--sets", metavar="NAMES", callback=_split, help="Only these sets, separated by commas.")
@click.option("--limit", type=click.IntRange(1), help="At most so many images a set.")
@click.option("--max-instances", type=click.IntRange(1), help="At most so many clicks an image, chosen by --seed.")
@click.option(
    "--clicks", type=click.IntRange(1), default=1, show_default=True, help="Clicks on every instance, one by one."
)
@click.option(
    "--centre",
    type=click.Choice(["distance", "centroid"]),
    default="distance",
    show_default=True,
    help="Where in the largest missing part the next click lies: farthest from its outside, or by its centroid.",
)
@click.option(
    "--distort",
    metavar="NAMES",
    callback=_split,
    help="Also judge every system on distorted pictures: all, or some of solarise, contrast-2.0, contrast-0.5, grey, "
    "hue+0.3, hue-0.3; separated by commas.",
)
@click.option("--seed", type=int, default=0, show_default=True, help="Of the choice of clicks and the bootstrap.")
@click.option("--jobs", type=click.IntRange(1), default=1, show_default=True, help="Processes.")
@click.option(
    "--resume", is_flag=True, help="Take over what a run into the same folder, killed or not, has reached (cache/)."
)
@click.option("--sweep", is_flag=True, help="Bundles also try other colour distances (column NAME-best).")
@click.option("--gallery", type=click.IntRange(0), default=4, show_default=True, help="Images a contact sheet.")
@click.option("-o", "--output", type=click.Path(path_type=Path, file_okay=False), required=True, help="Folder.")
@json_option
def command(
    data: Path,
    systems: tuple[str, ...] | None,
    bundles: dict[str, Path],
    sets: tuple[str, ...] | None,
    limit: int | None,
    max_instances: int | None,
    clicks: int,
    centre: str,
    distort: tuple[str, ...] | None,
    seed: int,
    jobs: int,
    resume: bool,
    sweep: bool,
    gallery: int,
    output: Path,
    as_json: bool,
) -> int:
    """Accuracy on a folder of labelled sets: a click at each instance's centre, mean IoU over instances.

    Writes evaluation.json, evaluation.md, charts and one contact sheet a set. Rivals get their best setting of each
    set. Sets with edges also give ODS, OIS and AP, beside Sobel on the image.

    \b
    Examples:
      gen2seg evaluate --data data --system tiny,rgb,floodfill,felzenszwalb -o reports/evaluation
      gen2seg evaluate --data data --system tiny,floodfill --clicks 9 --distort all -o reports/clicks
      gen2seg evaluate --data data --bundle new=build/tiny --sets dsb2018,bsds500 --limit 20 --jobs 2 -o out
    """
    from gen2seg.evaluation.distortions import with_distortions
    from gen2seg.evaluation.report import summarize, to_document, to_markdown, write_report
    from gen2seg.evaluation.run import EvaluationConfig, evaluate
    from gen2seg.evaluation.systems import BUNDLES, RIVALS, get_systems

    if systems is None:
        systems = ("rgb", "floodfill") if bundles else (*BUNDLES, *RIVALS)
    config = EvaluationConfig(
        data, sets, limit, max_instances, jobs, seed, gallery, clicks, centre, output / "cache", resume
    )
    specs = with_distortions(get_systems(systems, bundles, sweep=sweep), distort or ())
    with open_progress() as progress:
        bar = progress.add_task("evaluate", total=None)
        evaluation = evaluate(config, specs, lambda done, total: progress.update(bar, completed=done, total=total))
    report = summarize(evaluation)
    for path in write_report(report, output):
        human_console(as_json=True).print(str(path), soft_wrap=True, highlight=False)
    emit(to_document(report), to_markdown(report), as_json)
    return 0
