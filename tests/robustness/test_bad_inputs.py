"""Whatever is broken gives a typed error or a valid result. GEN2SEG_BAD_INPUTS sets how many are tried."""

import os
import sys
from pathlib import Path

import pytest

from tests.robustness import entries
from tests.robustness.bad_inputs import run_bad_inputs

ROOT = Path(__file__).parents[2]


@pytest.mark.skipif(sys.platform != "linux", reason="limits of the child process")
def test_bad_inputs_give_typed_errors():
    report = run_bad_inputs(int(os.environ.get("GEN2SEG_BAD_INPUTS", "1000")))
    assert not report.failures, str(report)
    assert set(report.outcomes) == {entry.__name__ for entry in entries.ENTRIES}
    # The damage must be neither hopeless nor harmless: some of it is read, most is refused.
    results = sum(counts.get("result", 0) for counts in report.outcomes.values())
    assert 0.02 < results / report.inputs < 0.5, str(report)


@pytest.mark.skipif(sys.platform != "linux", reason="limits of the child process")
def test_the_harness_sees_what_it_is_for(monkeypatch: pytest.MonkeyPatch):
    """A bare exception, a hang, a crash and a bomb are each told, with the number of the input."""
    monkeypatch.setenv("GEN2SEG_HARNESS_SELFTEST", "1")
    report = run_bad_inputs(4)
    assert len(report.failures) == 4, str(report)
    for number, (failure, word) in enumerate(
        zip(report.failures, ("ZeroDivisionError", "SIGPROF", "SIGSEGV", "MemoryError"), strict=True)
    ):
        assert failure.startswith(f"input {number} ")
        assert word in failure
