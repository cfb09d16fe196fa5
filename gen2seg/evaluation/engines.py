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


def run_tasks(
    engine: str,
    judge: Judge[Task, Result],
    tasks: Sequence[Task],
    order: Sequence[int],
    specs: Sequence[SystemSpec],
    systems: Mapping[str, System],
    jobs: int,
) -> Iterator[tuple[int, Result]]:
    """Judge all tasks and give (index, result) as they are done.

    Args:
        engine: one of ENGINES.
        judge: a function of a module, so that it can be named in another process.
        order: indices of the tasks, the first to begin first.
        specs, systems: of the same systems; other processes open the former.
        jobs: processes.

    Raises:
        EvaluationError: a worker died; with Ray: died again and again.
        MissingExtraError: Ray is asked for and not installed.
        Gen2SegError: what `judge` raises.
    """
    if engine == "ray":
        from gen2seg.evaluation.ray_engine import run_on_ray

        return run_on_ray(judge, tasks, order, specs, jobs)
    if min(jobs, len(tasks)) == 1:
        return _run_here(judge, tasks, systems)
    return _run_in_processes(judge, tasks, order, specs, min(jobs, len(tasks)))


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
    judge: Judge[Task, Result], tasks: Sequence[Task], order: Sequence[int], specs: Sequence[SystemSpec], jobs: int
) -> Iterator[tuple[int, Result]]:
    # Spawned, not forked: a fork would copy the parent's threads' locks but not the threads.
    context = get_context("spawn")
    with (
        _single_threaded_children(),
        ProcessPoolExecutor(jobs, context, _open_in_worker, (tuple(specs),)) as pool,
    ):
        futures: dict[Future[Result], int] = {
            pool.submit(_judge_in_worker, judge, tasks[index]): index for index in order
        }
        try:
            for future in as_completed(futures):
                yield futures[future], future.result()
        except BrokenProcessPool as error:
            raise EvaluationError(
                "a worker process died, perhaps for want of memory; try fewer jobs, and --resume to go on"
            ) from error
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


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
