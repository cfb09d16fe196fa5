"""What runs the networks of a bundle: `open_backend` gives the whole chain as one `Backend`.

A backend opens one stage (`stage.py`), the registry knows them by name (`registry.py`), and the chain
composes them (`chain.py`).
"""

from typing import Protocol

import numpy as np

from gen2seg_runtime.backends.chain import Chain
from gen2seg_runtime.backends.registry import BACKENDS, DEFAULT_BACKEND, can_run, get_backend, open_stage
from gen2seg_runtime.backends.stage import StageSession as StageSession
from gen2seg_runtime.bundle import Bundle
from gen2seg_runtime.manifest import StageSpec
from gen2seg_runtime.threads import thread_count


class Backend(Protocol):
    """The opened networks of a bundle.

    Attributes:
        name: as in the registry; several joined by "+" where the stages run in different libraries.
        device: where they run, in words ("cpu").
    """

    name: str
    device: str

    def run(self, x: np.ndarray) -> np.ndarray:
        """(N, 3, H, W) float32 -> (N, 3, H, W) float32. May be called from several threads at once.

        Raises:
            BackendError: the library refused to run.
            NetworkOutputError: a stage gave NaN or infinity; the message names it.
        """
        ...

    def run_stages(self, x: np.ndarray) -> dict[str, np.ndarray]:
        """As `run`, but returns what each stage gave, by its name, for verification."""
        ...


def available_backends() -> tuple[str, ...]:
    """The names that `open_backend` knows (its library may still be missing)."""
    return tuple(sorted(BACKENDS))


def usable_backends(bundle: Bundle) -> tuple[str, ...]:
    """The names of those that can run every stage of this bundle here."""
    chain = bundle.manifest.chain
    return tuple(name for name in available_backends() if all(can_run(name, stage) for stage in chain))


def open_backend(bundle: Bundle, name: str = "auto", threads: int | None = None) -> Backend:
    """Open the networks of a bundle.

    Args:
        bundle: a verified bundle.
        name: a registered name for all stages, or "auto": for each stage the backend it prefers where that can
            run it here, else ONNX Runtime, which runs everything.
        threads: see `gen2seg_runtime.threads.thread_count`.
    Raises:
        BackendError: unknown name, a missing library or artifact, or the library refuses a model.
    """
    if name != "auto":
        get_backend(name)
    count = thread_count(threads)
    sessions = []
    for stage in bundle.manifest.chain:
        chosen = _preferred(stage) if name == "auto" else name
        sessions.append((stage.name, open_stage(chosen, bundle, stage, count)))
    return Chain(sessions)


def _preferred(stage: StageSpec) -> str:
    return stage.backend if stage.backend is not None and can_run(stage.backend, stage) else DEFAULT_BACKEND
