"""Run a builder in a process of its own: its memory is given back, its crash is an error, its kill leaves nothing.

`python -m gen2seg_export.targets.child MODULE:FUNCTION` reads a job as JSON from stdin and calls
FUNCTION(job, tell). It answers on stdout with one JSON object a line: {"progress": text}, then {"result": ...}
or {"error": ...}. Whatever the libraries print goes to stderr.
"""

import ctypes
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from typing import Any

from gen2seg_export.errors import ExportError
from gen2seg_export.targets import errors
from gen2seg_export.targets.errors import Int8RefusedError, TargetError

Tell = Callable[[str], None]
_TAIL = 2000  # characters of stderr in a message
_DIE_WITH_PARENT = 1  # PR_SET_PDEATHSIG


def run_in_child(function: str, job: Mapping[str, Any], progress: Tell | None = None) -> dict[str, Any]:
    """Call `function` ("module:name") in a child process and wait for its result.

    Args:
        job: JSON values.
        progress: called with each line that the builder tells.
    Returns:
        The builder's JSON object with `seconds` and `peak_memory_bytes` of the child added.
    Raises:
        TargetError: what the builder raised, by its own class; or the child died.
    """
    command = [sys.executable, "-m", "gen2seg_export.targets.child", function]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    start = time.perf_counter()
    answer: dict[str, Any] = {}
    with tempfile.TemporaryFile("w+", errors="replace") as stderr:
        child = subprocess.Popen(
            command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=stderr, text=True
        )
        try:
            assert child.stdin is not None
            assert child.stdout is not None
            with suppress(BrokenPipeError):  # a child that died at once is reported below
                child.stdin.write(json.dumps(job))
                child.stdin.close()
            for line in child.stdout:
                answer = json.loads(line)
                if progress is not None and "progress" in answer:
                    progress(answer["progress"])
            code = child.wait()
        finally:
            if child.poll() is None:
                child.kill()
                child.wait()
        if "error" in answer:
            raise _rebuilt(answer["error"])
        if code or "result" not in answer:
            stderr.seek(0)
            end = "killed by the system (out of memory?)" if code == -signal.SIGKILL else f"exit code {code}"
            raise TargetError(f"the builder {function} died: {end}: {stderr.read()[-_TAIL:].strip()}")
    return {**answer["result"], "seconds": round(time.perf_counter() - start, 2)}


def _rebuilt(error: Mapping[str, Any]) -> TargetError:
    kind = getattr(errors, error["kind"], TargetError)
    if kind is Int8RefusedError:
        return Int8RefusedError(error["message"], error["figures"])
    return kind(error["message"])


def _main(function: str) -> None:
    with suppress(AttributeError, OSError):
        ctypes.CDLL(None).prctl(_DIE_WITH_PARENT, signal.SIGKILL)
    # Our lines go out on a copy of stdout; what libraries print there goes to stderr instead.
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)

    def answer(**values: Any) -> None:
        answers.write(json.dumps(values) + "\n")

    module, _, name = function.partition(":")
    job = json.loads(sys.stdin.read())
    try:
        result = getattr(import_module(module), name)(job, lambda text: answer(progress=text))
    except ExportError as error:
        figures = getattr(error, "figures", {})
        answer(error={"kind": type(error).__name__, "message": str(error), "figures": figures})
        sys.exit(1)
    answer(result={**result, "peak_memory_bytes": _peak_memory()})


def _peak_memory() -> int | None:
    status = Path("/proc/self/status")
    if status.is_file():
        for line in status.read_text().splitlines():
            if line.startswith("VmHWM:"):
                return 1024 * int(line.split()[1])
    return None


if __name__ == "__main__":
    _main(sys.argv[1])
