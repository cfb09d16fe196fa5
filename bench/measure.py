"""What the benchmarks measure beside time: peak memory, and the memory bandwidth that bounds every kernel."""

import time
from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np


def peak_growth(call: Callable[[], object]) -> float | None:
    """Megabytes by which the process's resident memory rises at most while `call` runs; None where Linux' /proc
    does not tell."""
    try:
        reset_peak()
        before = _status_kilobytes("VmRSS")
    except OSError:
        return None
    call()
    return (_status_kilobytes("VmHWM") - before) / 1024


def reset_peak() -> None:
    """Let `resident_peak` start anew from here.

    Raises:
        OSError: not Linux.
    """
    Path("/proc/self/clear_refs").write_text("5")


def resident_peak() -> int:
    """The most bytes that were resident since `reset_peak`.

    Raises:
        OSError: not Linux.
    """
    return 1024 * _status_kilobytes("VmHWM")


@cache
def copy_bandwidth() -> float:
    """Bytes per second, read plus written, that one core copies between arrays no cache holds: best of five."""
    source = np.ones(1 << 25)
    target = np.zeros_like(source)
    seconds = []
    for _ in range(5):
        start = time.perf_counter()
        np.copyto(target, source)
        seconds.append(time.perf_counter() - start)
    return 2 * source.nbytes / min(seconds)


def _status_kilobytes(key: str) -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(key + ":"):
            return int(line.split()[1])
    raise OSError(f"/proc/self/status has no {key}")
