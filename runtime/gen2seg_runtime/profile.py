"""Where the time goes: seconds spent in each stage while somebody collects them.

    with seg.profile() as timings:
        seg.encode("photo.jpg").instances()
    print(timings)

Stages: read, resize (with padding and normalising the input), network, normalise (raw output to colours), and of
what is asked of an encoding prompt, instances and edges. Without a collector a stage costs less than a microsecond.
"""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import wraps
from typing import ParamSpec, TypeVar

_P = ParamSpec("_P")
_R = TypeVar("_R")
_collectors: ContextVar[tuple["Timings", ...]] = ContextVar("gen2seg_timings", default=())


class Timings:
    """Seconds and calls by stage, in the order the stages were first met."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self.calls: dict[str, int] = {}
        self._lock = threading.Lock()

    def add(self, stage: str, seconds: float) -> None:
        """Count one call of a stage."""
        with self._lock:  # `encode_batch` reads in a thread beside the network's
            self.seconds[stage] = self.seconds.get(stage, 0.0) + seconds
            self.calls[stage] = self.calls.get(stage, 0) + 1

    def __str__(self) -> str:
        """One line a stage: milliseconds in all, calls."""
        width = max((len(stage) for stage in self.seconds), default=0)
        return "\n".join(
            f"{stage:{width}}  {1000 * seconds:9.2f} ms  {self.calls[stage]:4}×"
            for stage, seconds in self.seconds.items()
        )


@contextmanager
def collect() -> Iterator[Timings]:
    """Collect the stages that run inside the block, in this thread (and in contexts copied from it)."""
    timings = Timings()
    token = _collectors.set((*_collectors.get(), timings))
    try:
        yield timings
    finally:
        _collectors.reset(token)


class stage:  # in small letters: it reads as a verb, with stage("network"): ...
    """Count the block as one call of a stage for every collector around it, also if it raises."""

    __slots__ = ("_name", "_start")

    def __init__(self, name: str) -> None:
        self._name = name

    def __enter__(self) -> None:
        self._start = time.perf_counter() if _collectors.get() else 0.0

    def __exit__(self, *_: object) -> None:
        collectors = _collectors.get()
        if collectors:
            seconds = time.perf_counter() - self._start
            for timings in collectors:
                timings.add(self._name, seconds)


def timed(name: str) -> Callable[[Callable[_P, _R]], Callable[_P, _R]]:
    """Count every call of a function as one of the stage `name`."""

    def decorate(function: Callable[_P, _R]) -> Callable[_P, _R]:
        @wraps(function)
        def run(*args: _P.args, **kwargs: _P.kwargs) -> _R:
            with stage(name):
                return function(*args, **kwargs)

        return run

    return decorate
