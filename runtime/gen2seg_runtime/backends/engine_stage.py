"""Backends "tensorrt" and "tensorrt_rtx": a stage from its engine, on the GPU and nowhere else."""

import threading
from typing import Any

import numpy as np

from gen2seg_runtime.backends.engine import Engine, read_engine
from gen2seg_runtime.backends.engine_runner import EngineRunner
from gen2seg_runtime.bundle import Bundle
from gen2seg_runtime.gpu.cuda import CudaDevice
from gen2seg_runtime.gpu.device import Device
from gen2seg_runtime.manifest import StageSpec


class EngineStage:
    """A stage of a bundle as an engine; a `StageSession`."""

    def __init__(self, device: Device, engine: Engine):
        self.backend = engine.package
        self.device = device.name
        self.engine = engine
        self._place = device
        self._runner: EngineRunner | None = None
        self._lock = threading.Lock()

    @property
    def place(self) -> Device:
        """The GPU."""
        return self._place

    @property
    def runner(self) -> EngineRunner:
        """What runs this stage by itself; made when it is first asked for, as chains have one of their own."""
        with self._lock:
            if self._runner is None:
                self._runner = EngineRunner(self._place, [self.engine])
            return self._runner

    def run(self, x: np.ndarray) -> np.ndarray:
        """(N, C, H, W) float32 -> (N, C', H', W') float32; see `StageSession.run`."""
        return self.runner.run(x)


def open_tensorrt(bundle: Bundle, stage: StageSpec, threads: int, options: dict[str, Any] | None = None) -> EngineStage:
    """Open a stage's TensorRT engine; `threads` has no effect.

    Args:
        options: `device_id` of the GPU, 0 if not given.
    Raises:
        BackendError: no driver or GPU, a missing library, or an engine that this machine cannot run.
    """
    return _open(bundle, stage, "tensorrt", options)


def open_tensorrt_rtx(
    bundle: Bundle, stage: StageSpec, threads: int, options: dict[str, Any] | None = None
) -> EngineStage:
    """Open a stage's TensorRT-RTX engine; as `open_tensorrt`."""
    return _open(bundle, stage, "tensorrt_rtx", options)


def _open(bundle: Bundle, stage: StageSpec, library: str, options: dict[str, Any] | None) -> EngineStage:
    # The device first: without its context the library would make one of its own.
    device = CudaDevice((options or {}).get("device_id", 0))
    return EngineStage(device, read_engine(bundle, stage, library, device.capability))
