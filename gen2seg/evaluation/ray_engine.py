"""The images of an evaluation spread over a Ray cluster: one task an image.

A cluster that RAY_ADDRESS names, or that the caller has joined, is used as it is; else one is started on this machine
for the run. All its machines must see the data and the cache under the same paths and have gen2seg installed. Ray runs
a task again whose worker died; what that worker had saved in the cache is taken from there.
"""

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import ModuleType
from typing import TYPE_CHECKING, Any

import cv2

from gen2seg.errors import MissingExtraError
from gen2seg.evaluation.distortions import open_systems
from gen2seg.evaluation.errors import EvaluationError
from gen2seg.evaluation.systems import System, SystemSpec
from gen2seg_runtime.errors import Gen2SegError

if TYPE_CHECKING:
    from gen2seg.evaluation.engines import Judge, Result, Run, Task

ATTEMPTS = 4  # of a task whose worker dies


@contextmanager
def open_cluster(judge: "Judge[Task, Result]", specs: Sequence[SystemSpec], jobs: int) -> "Iterator[Run[Task, Result]]":
    """See `engines.open_engine`; jobs: CPUs of a cluster that is started here."""
    ray = _import_ray()
    started = not ray.is_initialized()
    if started and os.environ.get("RAY_ADDRESS"):
        ray.init(log_to_driver=False)
    elif started:
        ray.init(address="local", num_cpus=jobs, log_to_driver=False, include_dashboard=False)
    try:
        work = ray.remote(max_retries=ATTEMPTS - 1, num_cpus=1)(_judge_in_worker)
        shared = ray.put(tuple(specs))

        def run(tasks: "Sequence[Task]", order: Sequence[int]) -> "Iterator[tuple[int, Result]]":
            waiting = {work.remote(judge, tasks[index], shared): index for index in order}
            while waiting:
                done, _ = ray.wait(list(waiting))
                for reference in done:
                    yield waiting.pop(reference), _result(ray, reference)

        yield run
    finally:
        if started:
            ray.shutdown()


def _result(ray: ModuleType, reference: Any) -> Any:
    try:
        return ray.get(reference)
    except ray.exceptions.RayTaskError as error:
        # Ray's own message holds the worker's traceback; ours is one line.
        raise (error.cause if isinstance(error.cause, Gen2SegError) else error) from None
    except ray.exceptions.RayError as error:
        raise EvaluationError(
            f"a Ray worker died {ATTEMPTS} times over one image, perhaps for want of memory"
        ) from error


def _import_ray() -> ModuleType:
    try:
        import ray
        import ray.exceptions
    except ImportError as error:
        raise MissingExtraError(f"the engine ray needs Ray ({error}): pip install 'gen2seg[ray]'") from error
    return ray


_opened: dict[tuple[str, ...], Mapping[str, System]] = {}


def _judge_in_worker(judge: "Judge[Task, Result]", task: "Task", specs: tuple[SystemSpec, ...]) -> "Result":
    key = tuple(repr(spec) for spec in specs)
    if key not in _opened:
        cv2.setNumThreads(1)
        _opened.clear()
        _opened[key] = open_systems(specs)
    return judge(task, _opened[key])
