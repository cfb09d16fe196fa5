"""The code blocks of a Markdown page: found, and run as they stand or left out for a reason that is written down.

A reason is a comment above the block, `<!-- not run: needs an NVIDIA GPU -->`, or a rule of `RULES` that fits the
command. What is left out is still looked at: options, extras, targets of make and imports must exist.
"""

import ast
import importlib
import importlib.util
import json
import os
import re
import shlex
import tomllib
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

ROOT = Path(__file__).parents[2]
_MARK = re.compile(r"<!-- not run: (\S.*\S) -->")
_FENCE = re.compile(r"```(\w*)$")

# What a command looks like -> why no page's test runs it.
RULES = {
    r"pip ": "it would change the environment of the tests",
    r"make ": "each target makes an environment of its own; .ci/run uses them",
    r".*(build/sd2|gen2seg-sd)": "it needs the weights of the paper",
    r"gen2seg train ": "minutes to days of training; tests/gen2seg/test_training*.py run the verb",
    r"gen2seg evaluate ": "minutes, and GEN2SEG_DATA; tests/gen2seg/test_evaluation_run.py runs the verb",
    r"gen2seg-export ": "half a minute and a checkpoint; tests/export/test_cli.py runs it",
    r"python -m gen2seg_kernels.aot ": "minutes of compilation; tests/kernels/test_aot_gate.py runs it",
    r"pytest bench": "minutes of measuring",
    r"python -m bench\.": "minutes of measuring",
    r"python -m tests\.robustness\.": "minutes; tests/robustness runs shorter forms",
}


@dataclass(frozen=True)
class Block:
    """A block of a page.

    Attributes:
        line: of its first line of code, from 1.
        language: of its fence; "console" where it names none.
        reason: why it is not run, as the comment above it says; "" where there is none.
    """

    line: int
    language: str
    text: str
    reason: str


class BlockError(AssertionError):
    """A block failed, or nothing says why it is not run."""


def find_blocks(text: str) -> list[Block]:
    """Fenced blocks, and blocks indented by four columns after an empty line."""
    lines = text.splitlines()
    blocks: list[Block] = []
    at, reason = 0, ""
    while at < len(lines):
        line = lines[at]
        fence = _FENCE.match(line)
        if fence:
            end = lines.index("```", at + 1)
            blocks.append(Block(at + 2, fence[1] or "console", "\n".join(lines[at + 1 : end]) + "\n", reason))
        elif line.startswith("    ") and (at == 0 or not lines[at - 1].strip()):
            end = at
            while end < len(lines) and (lines[end].startswith("    ") or not lines[end].strip()):
                end += 1
            code = "\n".join(each[4:] for each in lines[at:end]).rstrip() + "\n"
            blocks.append(Block(at + 1, "console", code, reason))
            end -= 1
        else:
            mark = _MARK.fullmatch(line.strip())
            reason = mark[1] if mark else reason if not line.strip() else ""
            at += 1
            continue
        at, reason = end + 1, ""
    return blocks


def run_page(path: Path) -> int:
    """Run a page's blocks in their order in the working folder; Python blocks share their names.

    Returns:
        How many blocks and commands were run, data that was parsed included.
    Raises:
        BlockError: see there.
    """
    names: dict[str, Any] = {"__name__": "page"}
    count = 0
    for block in find_blocks(path.read_text(encoding="utf-8")):
        try:
            count += _run(block, names)
        except BlockError as error:
            raise BlockError(f"{path.name}:{block.line}: {error}") from error
        except Exception as error:
            raise BlockError(f"{path.name}:{block.line}: {type(error).__name__}: {error}\n{block.text}") from error
    return count


def _run(block: Block, names: dict[str, Any]) -> int:
    if block.language == "python":
        tree = ast.parse(block.text)
        if block.reason:
            imports: list[ast.stmt] = [node for node in tree.body if isinstance(node, ast.Import | ast.ImportFrom)]
            tree = ast.Module(imports, [])
        exec(compile(tree, "page", "exec"), names)
        return 0 if block.reason else 1
    if block.language == "console":
        return sum(_run_command(command, block.reason) for command in commands(block.text, bool(block.reason)))
    if block.language == "json":
        _check_json(block.text)
        return 1
    if block.language == "toml":
        tomllib.loads(block.text)
        return 1
    if block.language == "text":
        return 0
    raise BlockError(f"nothing here runs {block.language!r}")


def commands(text: str, loosely: bool = False) -> Iterator[str]:
    """The commands of a block without their comments; `loosely` leaves what is no plain command to the reader."""
    for line in text.replace("\\\n", " ").splitlines():
        try:
            words = shlex.split(line, comments=True)
        except ValueError:
            if not loosely:
                raise
            continue
        for part in shlex.join(words).split(" '&&' "):
            if part:
                yield part


def _run_command(command: str, reason: str) -> int:
    reason = reason or next((why for pattern, why in RULES.items() if re.match(pattern, command)), "")
    words = [os.path.expandvars(word) for word in shlex.split(command)]
    _check(words)
    if reason:
        return 0
    if words[0] != "gen2seg":
        raise BlockError(f"{command!r} is not run, and nothing says why")
    from gen2seg.cli import main

    code = main(words[1:])
    if code != 0:
        raise BlockError(f"{command!r} ended with exit code {code}")
    return 1


def _check(words: list[str]) -> None:
    """What can be said of a command without running it."""
    name, *arguments = words
    if name == "gen2seg":
        verb = importlib.import_module(f"gen2seg.commands.{arguments[0]}").command
        _check_options(f"{name} {arguments[0]}", verb, arguments[1:])
    elif name == "gen2seg-export":
        _check_options(name, importlib.import_module("gen2seg_export.cli").cli, arguments)
    elif name == "make":
        targets = re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
        _check_known("target of make", [word for word in arguments if "=" not in word], targets)
    elif name == "pip":
        project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
        extras = [extra for word in arguments for found in re.findall(r"\[(.*)\]", word) for extra in found.split(",")]
        _check_known("extra", extras, project["optional-dependencies"])
    elif words[:2] == ["python", "-m"] and importlib.util.find_spec(words[2]) is None:
        raise BlockError(f"there is no module {words[2]}")


def _check_options(name: str, command: click.Command, arguments: list[str]) -> None:
    known = {option for each in command.params for option in (*each.opts, *each.secondary_opts)} | {"--help", "-h"}
    _check_known(f"option of {name}", [word.split("=")[0] for word in arguments if re.match(r"--?[a-z]", word)], known)


def _check_known(what: str, found: list[str], known: Any) -> None:
    for each in found:
        if each not in known:
            raise BlockError(f"{each!r} is no {what}; there are {', '.join(sorted(known))}")


def _check_json(text: str) -> None:
    data = json.loads(text)
    if str(data.get("schema", "")).startswith("gen2seg.bundle/"):
        from gen2seg_runtime import Manifest

        with warnings.catch_warnings():
            warnings.simplefilter("error")  # an unknown field warns only
            Manifest.from_json(text)
