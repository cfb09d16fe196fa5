"""How many threads the compiled kernels may use."""

import os

VARIABLE = "GEN2SEG_NUM_THREADS"


def thread_count(threads: int | None = None) -> int:
    """Returns `threads`, or else what the environment variable GEN2SEG_NUM_THREADS says, or else one per usable core.

    Raises:
        TypeError: `threads` is not a whole number.
        ValueError: `threads` or the variable is not a positive whole number.
    """
    if threads is not None:
        if isinstance(threads, bool) or not isinstance(threads, int):
            raise TypeError(f"threads must be a whole number or None, got {type(threads).__name__}")
        if threads < 1:
            raise ValueError(f"threads must be at least 1, got {threads}")
        return threads
    text = os.environ.get(VARIABLE, "").strip()
    if not text:
        return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    if not text.isascii() or not text.isdigit() or int(text) < 1:
        raise ValueError(f"the environment variable {VARIABLE} must be a positive whole number, got {text!r}")
    return int(text)
