"""How many threads the network may use."""

import os
from pathlib import Path

from gen2seg_runtime.errors import BackendError

THREADS_VARIABLE = "GEN2SEG_NUM_THREADS"
_TOPOLOGY = Path("/sys/devices/system/cpu")


def thread_count(threads: int | None = None) -> int:
    """The number of threads to use.

    Args:
        threads: the caller's wish; None: the environment variable GEN2SEG_NUM_THREADS, else one
            thread for each physical core that this process may run on.
    Raises:
        BackendError: a number below 1.
    """
    if threads is not None:
        if isinstance(threads, bool) or not isinstance(threads, int) or threads < 1:
            raise BackendError(f"threads must be a positive integer, got {threads!r}")
        return threads
    text = os.environ.get(THREADS_VARIABLE)
    if text is None:
        return _physical_cores(_usable_cpus())
    if not text.isdecimal() or int(text) < 1:
        raise BackendError(f"{THREADS_VARIABLE} must be a positive integer, got {text!r}")
    return int(text)


def _usable_cpus() -> set[int]:
    if hasattr(os, "sched_getaffinity"):
        return set(os.sched_getaffinity(0))
    return set(range(os.cpu_count() or 1))


def _physical_cores(cpus: set[int], topology: Path = _TOPOLOGY) -> int:
    """Two threads on the two halves of one core share its arithmetic and get in each other's way."""
    try:
        cores = {(topology / f"cpu{cpu}/topology/thread_siblings_list").read_text().strip() for cpu in cpus}
    except OSError:
        return max(1, len(cpus))
    return max(1, len(cores))
