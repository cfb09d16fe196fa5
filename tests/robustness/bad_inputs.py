"""Give the runtime N seeded bad inputs, in a child process that is limited in time and memory.

    python -m tests.robustness.bad_inputs --inputs 10000 [--seed 0] [--first 0]

Allowed: an error that is a `Gen2SegError`, or a valid result. All else is a failure and is told with the number of
the input, which `--first NUMBER --inputs 1` repeats: another exception, more than a gigabyte (MemoryError), more than
ten seconds of processor time or five minutes for one input, a crash.
"""

import argparse
import faulthandler
import json
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback
import warnings
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
CPU_SECONDS = 10.0  # for one input
WALL_SECONDS = 300.0  # likewise, for what waits and does not work; far beyond a busy machine
MEMORY = 1 << 30  # bytes of address space beyond what the process has once everything is loaded
MAX_PIXELS = 3_000_000


@dataclass(frozen=True)
class Report:
    """What came of it: results and errors by entry, failures in words, the child's peak memory in MiB."""

    inputs: int
    outcomes: dict[str, dict[str, int]]
    failures: list[str]
    peak_mib: float
    seconds: float

    def __str__(self) -> str:
        lines = [
            f"{self.inputs} bad inputs, {len(self.failures)} failures, {self.seconds:.0f} s, {self.peak_mib:.0f} MiB"
        ]
        for entry, counts in sorted(self.outcomes.items()):
            shown = ", ".join(f"{name} {count}" for name, count in sorted(counts.items(), key=lambda item: -item[1]))
            lines.append(f"  {entry:18} {sum(counts.values()):6}: {shown}")
        return "\n".join([*lines, *self.failures])


def run_bad_inputs(inputs: int, seed: int = 0, first: int = 0) -> Report:
    """Run inputs number `first` and on; a child that dies is followed by another one from the next input."""
    outcomes: dict[str, Counter[str]] = {}
    failures: list[str] = []
    peak, done, start = 0.0, first, time.monotonic()
    while done < first + inputs:
        command = [sys.executable, "-m", "tests.robustness.bad_inputs", "--child"]
        command += ["--inputs", str(first + inputs - done), "--seed", str(seed), "--first", str(done)]
        path = os.pathsep.join(str(ROOT / part) for part in ("", "export", "runtime", "kernels"))
        environment = os.environ | {"PYTHONPATH": path, "GEN2SEG_MAX_PIXELS": str(MAX_PIXELS)}
        with tempfile.TemporaryDirectory(prefix="gen2seg-bad-") as folder:  # some inputs are names of files to write
            child = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
        lines = [json.loads(line) for line in child.stdout.splitlines() if line.startswith("{")]
        for line in lines:
            if "outcome" in line:
                outcomes.setdefault(line["entry"], Counter())[line["outcome"]] += 1
                done = line["number"] + 1
            if "failure" in line:
                failures.append(f"input {line['number']} ({line['entry']}): {line['failure']}")
            peak = max(peak, line.get("peak_mib", 0.0))
        if child.returncode != 0:
            begun = [line for line in lines if "begun" in line]
            if not begun or begun[-1]["begun"] < done:
                raise RuntimeError(f"the child cannot run: {child.stderr[-3000:]}")
            why = f"killed by {signal.Signals(-child.returncode).name}" if child.returncode < 0 else "exit"
            failures.append(f"input {done} ({begun[-1]['entry']}): {why}: {child.stderr[-1500:]}")
            done += 1
    return Report(inputs, {k: dict(v) for k, v in outcomes.items()}, failures, peak, time.monotonic() - start)


def _child(inputs: int, seed: int, first: int) -> None:
    from gen2seg_runtime import Segmenter
    from gen2seg_runtime.errors import Gen2SegError
    from tests.robustness.entries import ENTRIES, Case
    from tests.robustness.seeds import make_seeds
    from tests.runtime.conftest import write_bundle

    warnings.simplefilter("ignore")
    faulthandler.enable()
    # Ends the process also where it hangs in C code; the traceback goes to stderr first.
    faulthandler.register(signal.SIGPROF, chain=True)
    faulthandler.register(signal.SIGALRM, chain=True)
    folder = Path(tempfile.mkdtemp(prefix="gen2seg-bad-"))
    try:
        seeds = make_seeds(folder)
        segmenter = Segmenter.open(write_bundle(folder / "good", {"model.onnx": ("model", seeds.graph)}), threads=1)
        encoding = segmenter.encode(seeds.encoding.colors)
        encoding.mask([(3, 3)], mode="reference")
        encoding.instances()
        work = folder / "work"
        work.mkdir()
        (work / "folder").mkdir()
        pages = int(Path("/proc/self/statm").read_text().split()[0])
        limit = pages * resource.getpagesize() + MEMORY
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
        entries = _SELFTEST if os.environ.get("GEN2SEG_HARNESS_SELFTEST") else None
        for number in range(first, first + inputs):
            rng = random.Random(f"{seed}-{number}")
            entry = entries[number] if entries else rng.choice(ENTRIES)
            _say(begun=number, entry=entry.__name__)
            signal.setitimer(signal.ITIMER_PROF, CPU_SECONDS)
            signal.setitimer(signal.ITIMER_REAL, WALL_SECONDS)
            failure = ""
            try:
                entry(Case(rng, seeds, segmenter, work))
                outcome = "result"
            except Gen2SegError as error:
                outcome = type(error).__name__
            except BaseException as error:
                outcome = f"FAILURE {type(error).__name__}"
                failure = "".join(traceback.format_exception(error))[-1800:]
            signal.setitimer(signal.ITIMER_PROF, 0)
            signal.setitimer(signal.ITIMER_REAL, 0)
            if failure:
                _say(number=number, entry=entry.__name__, failure=failure)
            _say(number=number, entry=entry.__name__, outcome=outcome)
        _say(peak_mib=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _bare(_: object) -> None:
    raise ZeroDivisionError


def _hang(_: object) -> None:
    signal.setitimer(signal.ITIMER_PROF, 0.2)  # in place of the full time
    while True:
        pass


def _crash(_: object) -> None:
    os.kill(os.getpid(), signal.SIGSEGV)


def _bomb(_: object) -> None:
    bytearray(4 * MEMORY)


_SELFTEST = (_bare, _hang, _crash, _bomb)  # what the harness must notice


def _say(**line: object) -> None:
    print(json.dumps(line), flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--inputs", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.child:
        _child(asked.inputs, asked.seed, asked.first)
        return 0
    report = run_bad_inputs(asked.inputs, asked.seed, asked.first)
    print(report)
    return 1 if report.failures else 0


if __name__ == "__main__":
    sys.exit(main())
