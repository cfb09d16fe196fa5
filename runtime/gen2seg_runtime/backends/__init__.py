"""What runs the network: one protocol, one registry, one look-up."""

from collections.abc import Callable
from importlib import import_module
from typing import Protocol

import numpy as np

from gen2seg_runtime.bundle import Bundle
from gen2seg_runtime.errors import BackendError
from gen2seg_runtime.threads import thread_count


class Backend(Protocol):
    """An opened network.

    Attributes:
        name: as in the registry.
        device: where it runs, in words ("cpu").
    """

    name: str
    device: str

    def run(self, x: np.ndarray) -> np.ndarray:
        """(N, 3, H, W) float32 -> (N, 3, H, W) float32. May be called from several threads at once.

        Raises:
            BackendError: the library refused to run.
        """
        ...


# name -> module and function (bundle, threads) -> Backend; the module is imported when it is asked for
_REGISTRY = {"onnxruntime": ("gen2seg_runtime.backends.onnxruntime", "OnnxRuntimeBackend")}
DEFAULT_BACKEND = "onnxruntime"


def available_backends() -> tuple[str, ...]:
    """The names that `open_backend` knows (its library may still be missing)."""
    return tuple(sorted(_REGISTRY))


def open_backend(bundle: Bundle, name: str = "auto", threads: int | None = None) -> Backend:
    """Open the network of a bundle.

    Args:
        bundle: a verified bundle.
        name: a registered name, or "auto" for the one that runs everywhere.
        threads: see `gen2seg_runtime.threads.thread_count`.
    Raises:
        BackendError: unknown name, missing library, or the library refuses the model.
    """
    if name == "auto":
        name = DEFAULT_BACKEND
    if name not in _REGISTRY:
        raise BackendError(f"unknown backend {name!r}; this version has: auto, {', '.join(available_backends())}")
    module, function = _REGISTRY[name]
    opener: Callable[[Bundle, int], Backend] = getattr(import_module(module), function)
    return opener(bundle, thread_count(threads))
