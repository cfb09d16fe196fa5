"""Runs the test files of Triton kernels in Triton's interpreter, each in a process of its own.

Whether `triton.jit` interprets or compiles is settled when Triton is first imported, so one process cannot do both.
A file `test_*_triton.py` is an ordinary test file that may count on the interpreter; in the test run it is one item,
which runs pytest on that file with TRITON_INTERPRET=1. To see its tests one by one:

    TRITON_INTERPRET=1 python -m pytest tests/kernels/test_prompt_triton.py
"""

import os
import subprocess
import sys

import pytest

VARIABLE = "TRITON_INTERPRET"


def interpreting() -> bool:
    return os.environ.get(VARIABLE) == "1"


class InterpretedFile(pytest.File):
    """A test file as a single item."""

    def collect(self):
        yield InterpretedRun.from_parent(self, name="in_triton_interpreter")


class InterpretedRun(pytest.Item):
    """Passes if pytest on the file passes in a process where Triton interprets."""

    def runtest(self) -> None:
        command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(self.path)]
        environment = os.environ | {VARIABLE: "1"}
        if self.config.pluginmanager.has_plugin("_cov"):  # the parent's report takes in files with its name as prefix
            command += [f"--cov={source}" for source in self.config.option.cov_source]
            command += ["--cov-report=", "--cov-fail-under=0"]
            environment["COVERAGE_FILE"] = str(self.config.rootpath / f".coverage.{self.path.stem}")
        done = subprocess.run(command, cwd=self.config.rootpath, env=environment, capture_output=True, text=True)
        if done.returncode == pytest.ExitCode.NO_TESTS_COLLECTED:
            pytest.skip(done.stdout.strip().splitlines()[-1])
        if done.returncode != 0:
            raise InterpretedFailure(done.stdout + done.stderr)

    def repr_failure(self, excinfo, style=None):
        if isinstance(excinfo.value, InterpretedFailure):
            return str(excinfo.value)
        return super().repr_failure(excinfo, style)

    def reportinfo(self):
        return self.path, 0, f"{self.path.name} in Triton's interpreter"


class InterpretedFailure(Exception):
    """What the child process printed."""
