"""`gen2seg evaluate`: accuracy of bundles and rivals on a folder of labelled sets."""

from pathlib import Path
from typing import Any

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


def _name_paths(
    systems: tuple[str, ...] | None, bundles: dict[str, Path]
) -> tuple[tuple[str, ...] | None, dict[str, Path]]:
    """Names alone, and NAME=PATH among them beside the bundles."""
    pairs = [name.partition("=") if "/" not in name.partition("=")[0] else (name, "", "") for name in systems or ()]
    for name, equals, path in pairs:
        if equals and not (name and path):
            raise click.BadParameter(f"{name}={path}: expected NAME=PATH", param_hint="--system")
    named = {name: Path(path).resolve() for name, equals, path in pairs if equals}
    return systems and tuple(name for name, _, _ in pairs), {**bundles, **named}


@click.command("evaluate")
@click.option(
    "--data",
    type=click.Path(path_type=Path),
    envvar="GEN2SEG_DATA",
    required=True,
    help="Folder of sets: <set>/images, <set>/instances and perhaps <set>/edges; or as published COCO val2017 (also as "
    "<set>_exc), BSDS500, DRAM, EgoHOS, iShape, PIDray. [env: GEN2SEG_DATA]",
)
@click.option(
    "--table",
    type=click.Choice(["1", "2", "3", "4", "5", "6", "7", "figure-6", "automatic"]),
    help="One table or figure of the paper, or masks without a click: its protocol, sets and rows, where other options "
    "do not say otherwise. "
    "Rows are looked for in --runs; those without weights are listed as not run. Default: all of the systems' figures.",
)
@click.option(
    "--runs",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("runs"),
    show_default=True,
    help="Folder of training runs and bundles, for the rows of --table.",
)
@click.option(
    "--system",
    "systems",
    metavar="NAMES",
    callback=_split,
    help="tiny, tiny-reference (its colours in mode reference), rgb, floodfill, felzenszwalb, watershed, "
    "meanshift, grabcut, sobel; with weights of their own sd2, mae-h, mae-b, dino-b, sam-h, sam-l, sam-b, simpleclick; "
    "or the path of a folder of weights, also as NAME=PATH; separated by commas. Default: tiny and those without "
    "weights, or the given bundles beside rgb and floodfill.",
)
@click.option(
    "--bundle",
    "bundles",
    metavar="NAME=PATH",
    multiple=True,
    callback=_named_path,
    help="One more folder of weights, of whatever kind: a bundle, a checkpoint, SAM, SimpleClick.",
)
@click.option("--sets", metavar="NAMES", callback=_split, help="Only these sets, separated by commas.")
@click.option("--limit", type=click.IntRange(1), help="At most so many images a set.")
@click.option("--max-instances", type=click.IntRange(1), help="At most so many clicks an image, chosen by --seed.")
@click.option(
    "--clicks", type=click.IntRange(1), help="Clicks on every instance, one by one. Default: 9, or the table's."
)
@click.option(
    "--centre",
    type=click.Choice(["distance", "centroid"]),
    default="distance",
    show_default=True,
    help="Where in the largest missing part the next click lies: farthest from its outside, or by its centroid.",
)
@click.option(
    "--next-click",
    type=click.Choice(["missing", "error"]),
    default="missing",
    show_default=True,
    help="missing: the paper's protocol, positive clicks alone. error: the next click lies in the largest part that is "
    "wrong, and is negative where that is no part of the object.",
)
@click.option(
    "--later-distance",
    type=click.FloatRange(0, 442, min_open=True),
    help="Colour distance at which bundles and checkpoints answer all clicks but the first. Default: as the first.",
)
@click.option(
    "--distort",
    metavar="NAMES",
    callback=_split,
    help="Also judge every system on distorted pictures: all, or some of solarise, contrast-2.0, contrast-0.5, grey, "
    "hue+0.3, hue-0.3; or none; separated by commas. Default: the table's, or all, for systems with learned weights.",
)
@click.option("--edges-only", is_flag=True, help="No clicks: edges alone.")
@click.option(
    "--automatic/--no-automatic",
    default=None,
    help="Masks without a click too, of the systems that find some. Default: the table's, or yes.",
)
@click.option("--seed", type=int, default=0, show_default=True, help="Of the choice of clicks and the bootstrap.")
@click.option("--jobs", type=click.IntRange(1), default=1, show_default=True, help="Processes.")
@click.option(
    "--engine",
    type=click.Choice(["processes", "ray"]),
    default="processes",
    show_default=True,
    help="ray: a task an image on the cluster that RAY_ADDRESS names, or on one of --jobs CPUs that is started here.",
)
@click.option(
    "--resume", is_flag=True, help="Take over what a run into the same folder, killed or not, has reached (cache/)."
)
@click.option("--sweep", is_flag=True, help="Bundles also try other colour distances (column NAME-best).")
@click.option(
    "--device",
    default="cpu",
    show_default=True,
    help="Where checkpoints, SAM and SimpleClick run: cpu, cuda or cuda:1. Bundles choose by their backend.",
)
@click.option("--gallery", type=click.IntRange(0), default=4, show_default=True, help="Images a contact sheet.")
@click.option(
    "--readme",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Also put the tables between the markers of this file.",
)
@click.option("-o", "--output", type=click.Path(path_type=Path, file_okay=False), required=True, help="Folder.")
@json_option
def command(
    data: Path,
    table: str | None,
    runs: Path,
    systems: tuple[str, ...] | None,
    bundles: dict[str, Path],
    sets: tuple[str, ...] | None,
    limit: int | None,
    max_instances: int | None,
    clicks: int | None,
    centre: str,
    next_click: str,
    later_distance: float | None,
    distort: tuple[str, ...] | None,
    edges_only: bool,
    automatic: bool | None,
    seed: int,
    jobs: int,
    engine: str,
    resume: bool,
    sweep: bool,
    device: str,
    gallery: int,
    readme: Path | None,
    output: Path,
    as_json: bool,
) -> int:
    """Accuracy on a folder of labelled sets, by the paper's protocols.

    A click at each instance's centre and up to eight more where something is missing, mean IoU over instances; the
    first click on distorted pictures; masks without a click; ODS, OIS and AP of edges on sets that have some, beside
    Sobel on the image.
    Rivals get their best setting of each set. Writes evaluation.json, evaluation.md, charts and contact sheets.

    \b
    Examples:
      gen2seg evaluate --data data --system tiny,sobel,floodfill,felzenszwalb -o reports/evaluation
      gen2seg evaluate --data data --table 4 --runs runs -o reports/table-4
      gen2seg evaluate --data data --bundle new=build/tiny --sets dsb2018 --clicks 1 --distort none --jobs 2 -o out
    """
    from gen2seg.evaluation.distortions import with_distortions
    from gen2seg.evaluation.presets import PRESETS, choose_sets, find_systems
    from gen2seg.evaluation.readme import accuracy_section, read_with_markers, write_section
    from gen2seg.evaluation.report import summarize, to_document, to_markdown, write_report
    from gen2seg.evaluation.run import EvaluationConfig, evaluate
    from gen2seg.evaluation.systems import BUNDLES, RIVALS, device_of, get_systems

    if readme is not None:
        read_with_markers(readme)  # before hours of work
    if device != "cpu":
        device_of(device)  # also where nothing asked for would run there
    systems, bundles = _name_paths(systems, bundles)
    options: dict[str, Any] = {"sweep": sweep, "later": later_distance, "device": device}
    if table is None:
        if systems is None:
            systems = ("rgb", "floodfill") if bundles else (*BUNDLES, *RIVALS)
        specs = get_systems(systems, bundles, **options)
        clicks, masks = clicks or 9, not edges_only
        automatic = automatic if automatic is not None else not edges_only
    else:
        preset = PRESETS[table]
        sets = sets or choose_sets(preset, data)
        specs = find_systems(systems or preset.systems, runs, bundles, **options)
        clicks, masks = clicks or preset.clicks, preset.masks and not edges_only
        distort = preset.distort if distort is None else distort
        automatic = automatic if automatic is not None else preset.automatic and not edges_only
    learned = [spec for spec in specs if spec.learned]
    distorted = learned if distort is None else specs
    names = ("all",) if distort is None else tuple(name for name in distort if name != "none")
    specs += with_distortions(distorted, names if masks else ())[len(distorted) :]
    config = EvaluationConfig(
        data.resolve(),  # Ray's workers are somewhere else
        sets,
        limit,
        max_instances,
        jobs,
        seed,
        gallery if masks or automatic else 0,
        clicks,
        centre,
        next_click,
        output.resolve() / "cache",
        resume,
        engine,
        masks,
        automatic,
    )
    with open_progress() as progress:
        bar = progress.add_task("evaluate", total=None)

        def show(done: int, total: int) -> None:
            progress.update(bar, completed=done, total=total)

        evaluation = evaluate(config, specs, show)
    report = summarize(evaluation)
    for path in write_report(report, output, specs):
        human_console(as_json=True).print(str(path), soft_wrap=True, highlight=False)
    if readme is not None:
        write_section(readme, accuracy_section(report, _as_typed(click.get_current_context())))
    emit(to_document(report), to_markdown(report), as_json)
    return 0


def _as_typed(context: click.Context) -> str:
    """The command with the options that decide its figures; where the data lie is left to the reader."""
    parts = ['gen2seg evaluate --data "$GEN2SEG_DATA"']
    for name in (
        "table",
        "systems",
        "sets",
        "limit",
        "max_instances",
        "clicks",
        "centre",
        "next_click",
        "later_distance",
        "distort",
        "seed",
    ):
        given = context.get_parameter_source(name) is click.core.ParameterSource.COMMANDLINE
        value = context.params[name]
        if name == "systems" and value:
            value = tuple(f"{one}=PATH" if path else one for one, _, path in (each.partition("=") for each in value))
        if given and value is not None:
            option = {"systems": "system"}.get(name, name).replace("_", "-")
            parts.append(f"--{option} {','.join(value) if isinstance(value, tuple) else value}")
    parts += [f"--bundle {name}=PATH" for name in context.params["bundles"]]
    parts += [f"--{name.replace('_', '-')}" for name in ("edges_only", "sweep") if context.params[name]]
    if context.params["automatic"] is not None:
        parts.append("--automatic" if context.params["automatic"] else "--no-automatic")
    return " ".join(parts)
