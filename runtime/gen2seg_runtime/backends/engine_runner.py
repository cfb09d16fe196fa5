"""Runs engines on one GPU from host arrays to host arrays, or leaves the output there."""

import threading
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np

from gen2seg_runtime.backends.engine import Engine
from gen2seg_runtime.backends.engine_plan import Plan
from gen2seg_runtime.gpu.device import Device

MOST_PLANS = 4  # shapes kept ready; each holds its buffers and execution memory


class EngineRunner:
    """Engines one after the other on one stream; calls from several threads take turns.

    Attributes:
        device: where they run.
        stream: on which; whoever reads an output there uses it, too.
    """

    def __init__(self, device: Device, engines: Sequence[Engine]) -> None:
        self.device = device
        self._engines = tuple(engines)
        self._lock = threading.Lock()
        self._plans: OrderedDict[tuple[int, ...], Plan] = OrderedDict()
        device.enter()
        self.stream = device.open_stream()

    @property
    def engines(self) -> tuple[Engine, ...]:
        return self._engines

    def run(self, x: np.ndarray) -> np.ndarray:
        """(N, C, H, W) float32 -> the last engine's output; pictures one by one where engines take one only.

        Raises:
            BackendError: an engine takes no such shape, or the driver or the library refuses.
        """
        if len(x) > 1 and all(most[0] == 1 for _, _, most in self._engines[0].profiles()):
            return np.concatenate([self._run(x[i : i + 1]) for i in range(len(x))])
        return self._run(x)

    @contextmanager
    def output_on_device(self, x: np.ndarray) -> Iterator[tuple[int, tuple[int, ...]]]:
        """Address and shape of the float32 output in GPU memory; nobody else runs here inside the block.

        Raises:
            as `run`.
        """
        x = np.ascontiguousarray(x, np.float32)
        with self._lock:
            self.device.enter()
            plan = self._plan(x.shape)
            try:
                self.device.upload(plan.input, x, self.stream)
                plan.run()
                yield plan.output, plan.output_shape
            finally:
                self.device.wait(self.stream)  # before x may go, or the next call writes here

    def close(self) -> None:
        """Free everything; may be called twice. Nothing may run here afterwards."""
        with self._lock:
            self.device.enter()
            self.device.wait(self.stream)
            while self._plans:
                self._plans.popitem()[1].close()

    def captured(self) -> dict[tuple[int, ...], bool]:
        """Input shape -> whether it runs as a CUDA graph, of the shapes kept ready."""
        return {shape: plan.captured for shape, plan in self._plans.items()}

    def _run(self, x: np.ndarray) -> np.ndarray:
        with self.output_on_device(x) as (address, shape):
            result = np.empty(shape, np.float32)
            self.device.download(result, address, self.stream)
        return result

    def _plan(self, shape: tuple[int, ...]) -> Plan:
        if shape in self._plans:
            self._plans.move_to_end(shape)
            return self._plans[shape]
        while len(self._plans) >= MOST_PLANS:
            self._plans.popitem(last=False)[1].close()  # every call has waited for the stream
        self._plans[shape] = plan = Plan(self.device, self._engines, shape, self.stream)
        return plan
