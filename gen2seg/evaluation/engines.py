"""Where images are judged: in this process, in several, or on a Ray cluster. The results do not depend on it."""

import os
import signal
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from multiprocessing import get_context
from typing import TypeVar

import cv2

from gen2seg.evaluation.distortions import open_systems
from gen2seg.evaluation.errors import EvaluationError
from gen2seg.evaluation.systems import System, SystemSpec

ENGINES = ("processes", "ray")

# What the numeric libraries read at start: one thread per process, the images are the parallel part.
_THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMEXPR_NUM_THREADS")

Task = TypeVar("Task")
Result = TypeVar("Result")
Judge = Callable[[Task, Mapping[str, System]], Result]
# (tasks, their indices in the order of beginning) -> (index, result) as they are done
Run = Callable[[Sequence[Task], Sequence[int]], Iterator[tuple[int, Result]]]


@contextmanager
def open_engine(
    engine: str, judge: Judge[Task, Result], specs: Sequence[SystemSpec], systems: Mapping[str, System], jobs: int
) -> Iterator[Run[Task, Result]]:
    """What judges tasks, several times if need be: workers open the systems once.

    Args:
        engine: one of ENGINES.
        judge: a function of a module, so that it can be named in another process.
        specs, systems: of the same systems; other processes open the former.
        jobs: processes.

    Raises:
        EvaluationError: a worker died; with Ray: died again and again.
        MissingExtraError: Ray is asked for and not installed.
        Gen2SegError: what `judge` raises.
    """
    if engine == "ray":
        from gen2seg.evaluation.ray_engine import open_cluster

        with open_cluster(judge, specs, jobs) as run:
            yield run
    elif jobs == 1:
        yield lambda tasks, order: _run_here(judge, tasks, systems)
    else:
        # Spawned, not forked: a fork would copy the parent's threads' locks but not the threads.
        context = get_context("spawn")
        with (
            _single_threaded_children(),
            ProcessPoolExecutor(jobs, context, _open_in_worker, (tuple(specs),)) as pool,
        ):
            try:
                yield lambda tasks, order: _run_in_processes(pool, judge, tasks, order)
            finally:
                pool.shutdown(wait=True, cancel_futures=True)


def _run_here(
    judge: Judge[Task, Result], tasks: Sequence[Task], systems: Mapping[str, System]
) -> Iterator[tuple[int, Result]]:
    threads = cv2.getNumThreads()
    cv2.setNumThreads(1)
    try:
        for index, task in enumerate(tasks):
            yield index, judge(task, systems)
    finally:
        cv2.setNumThreads(threads)


def _run_in_processes(
    pool: ProcessPoolExecutor, judge: Judge[Task, Result], tasks: Sequence[Task], order: Sequence[int]
) -> Iterator[tuple[int, Result]]:
    try:
        futures: dict[Future[Result], int] = {
            pool.submit(_judge_in_worker, judge, tasks[index]): index for index in order
        }
        for future in as_completed(futures):
            yield futures[future], future.result()
    except BrokenProcessPool as error:
        raise EvaluationError(
            "a worker process died, perhaps for want of memory; try fewer jobs, and --resume to go on"
        ) from error


_worker_systems: dict[str, System] = {}


def _open_in_worker(specs: tuple[SystemSpec, ...]) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to answer, once
    cv2.setNumThreads(1)
    _worker_systems.update(open_systems(specs))


def _judge_in_worker(judge: Judge[Task, Result], task: Task) -> Result:
    return judge(task, _worker_systems)


@contextmanager
def _single_threaded_children() -> Iterator[None]:
    before = {name: os.environ.get(name) for name in _THREAD_VARIABLES}
    os.environ.update(dict.fromkeys(_THREAD_VARIABLES, "1"))
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
