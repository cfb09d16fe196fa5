"""`gen2seg doctor`: will a bundle run here?"""

from pathlib import Path

import click

from gen2seg.commands.options import emit, json_option


@click.command("doctor")
@click.argument("bundle", type=click.Path(path_type=Path), required=False)
@json_option
def command(bundle: Path | None, as_json: bool) -> int:
    """What will run a bundle on this machine, what must be rebuilt, what cannot run it, and why.

    Reads the manifest and asks the machine; no weights are loaded (gen2seg inspect checks the files' digests).
    Without BUNDLE the embedded model. Exit code 0 if something will run it, else 1.

    \b
    Examples:
      gen2seg doctor
      gen2seg doctor build/my-bundle --json
    """
    from gen2seg_runtime.doctor import examine

    report = examine(bundle)
    emit(report.to_json(), report.to_text(), as_json)
    return 0 if report.usable else 1
