"""What runs the networks of a bundle: `open_backend` gives the whole chain as one `Backend`.

A backend opens one stage (`stage.py`), the registry knows them by name (`registry.py`), and the chain
composes them (`chain.py`).
"""

import logging
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np

from gen2seg_runtime.backends.chain import Chain
from gen2seg_runtime.backends.choice import Choice as Choice
from gen2seg_runtime.backends.choice import choose_backends as choose_backends
from gen2seg_runtime.backends.registry import BACKENDS, can_run, open_stage
from gen2seg_runtime.backends.stage import StageSession as StageSession
from gen2seg_runtime.bundle import Bundle
from gen2seg_runtime.threads import thread_count

_log = logging.getLogger(__name__)


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
    return tuple(name for name in available_backends() if all(can_run(name, bundle, stage) for stage in chain))


def open_backend(
    bundle: Bundle, name: str = "auto", threads: int | None = None, options: Mapping[str, Any] | None = None
) -> Chain:
    """Open the networks of a bundle.

    Args:
        bundle: a verified bundle.
        name: a registered name for all stages, or "auto", see `choose_backends`.
        threads: see `gen2seg_runtime.threads.thread_count`.
        options: of the named backend, as its `BackendSpec.options` lists them.
    Raises:
        BackendError: unknown name or option, a missing library, GPU or artifact, or the library refuses a model.
            Nothing is ever run by another backend than the named one.
    """
    return open_chosen(bundle, choose_backends(bundle.manifest, name, options), threads, options)


def open_chosen(
    bundle: Bundle, choices: Sequence[Choice], threads: int | None = None, options: Mapping[str, Any] | None = None
) -> Chain:
    """Open each stage in the backend that was chosen for it; see `open_backend`.

    Stages that all run as engines on one GPU hand their outputs on there (`engine_chain.py`).
    """
    count = thread_count(threads)
    sessions = []
    for stage, choice in zip(bundle.manifest.chain, choices, strict=True):
        _log.info("%s: %s", bundle.manifest.name, choice)
        sessions.append((stage.name, open_stage(choice.backend, bundle, stage, count, options)))
    if len(sessions) > 1 and all(BACKENDS[choice.backend].gpu for choice in choices):
        from gen2seg_runtime.backends.engine_chain import EngineChain

        return EngineChain(sessions)
    return Chain(sessions)
