"""The command line `gen2seg`: picks the verb, and turns errors into exit codes.

Exit codes: 0 done, 1 some of several files failed or a bundle did not verify, 2 bad input, 130 interrupted. Only
the verb that is called is imported, so `gen2seg segment` never meets the training side.
"""

import importlib
import os
import sys
import warnings
from collections.abc import Sequence

import click

from gen2seg_runtime.errors import Gen2SegError

# One line each, shown by `gen2seg --help` without importing the verb.
_VERBS = {
    "demo": "Segment some real photographs, or your own, and show the pictures.",
    "segment": "Mask of the object under the given points.",
    "instances": "All objects of pictures: label maps and COCO run-length JSON.",
    "edges": "Edges between objects.",
    "video": "Objects of a video or a camera, each in a colour that lasts.",
    "inspect": "What a model bundle holds, after checking it.",
    "verify": "Repeat a bundle's own verification on this machine, without PyTorch.",
    "doctor": "What will run a bundle on this machine, and what will not, and why.",
    "train": "Train a network from a configuration.",
    "evaluate": "Measure bundles and rivals on a folder of labelled sets.",
}


class _LazyGroup(click.Group):
    """A group whose verbs live in gen2seg.commands.<verb> and are imported when they are called."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_VERBS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _VERBS:
            return None
        return importlib.import_module(f"gen2seg.commands.{cmd_name}").command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(_VERBS.items()))


@click.command(cls=_LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="gen2seg")
def cli() -> None:
    """Objects in pictures: a model paints each object in a colour of its own, the rest is colour arithmetic.

    \b
    Examples:
      gen2seg demo
      gen2seg segment photo.jpg --point 120,80 -o mask.png
      gen2seg instances photos/ -o out/
      gen2seg inspect
    """


def main(args: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code; errors end as one line on stderr."""
    with warnings.catch_warnings():
        warnings.showwarning = _show_warning
        return _run(args)


def _run(args: Sequence[str] | None) -> int:
    try:
        code = cli.main(args=args, prog_name="gen2seg", standalone_mode=False)
    except click.UsageError as error:
        where = error.ctx.command_path if error.ctx else "gen2seg"
        return _fail(where, f"{error.format_message()} (see {where} --help)", error.exit_code)
    except click.ClickException as error:
        return _fail("gen2seg", error.format_message(), 2)
    except Gen2SegError as error:
        return _fail("gen2seg", str(error), 2)
    except (KeyboardInterrupt, click.Abort):
        return _fail("gen2seg", "interrupted", 130)
    except BrokenPipeError:
        # The reader of stdout went away (`| head`): nothing to tell it, and nothing more to flush.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:  # a full disk, a folder that may not be entered
        return _fail("gen2seg", str(error), 2)
    return code if isinstance(code, int) else 0


def _show_warning(message: Warning | str, *where: object) -> None:
    """One line, in place of the file and the line of code that Python would show."""
    print(f"gen2seg: warning: {' '.join(str(message).split())}", file=sys.stderr)


def _fail(where: str, message: str, code: int) -> int:
    print(f"{where}: error: {' '.join(message.split())}", file=sys.stderr)
    return code


if __name__ == "__main__":
    sys.exit(main())
