"""A GPU in main memory that checks every call, and TensorRT as a module whose engines multiply: nothing here is CUDA.

The device does nothing before a stream is waited for, so that whoever reads too early, or lets go of an array that is
still to be copied, sees it. What is checked: memory is allocated, large enough and freed once; streams are open; the
context is current on the thread; a graph holds what was enqueued and nothing else happens while it is captured.
"""

import json
import math
import threading
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np

from gen2seg_runtime.errors import BackendError

ALIGNMENT = 256


class FakeDevice:
    """`Device` in main memory."""

    def __init__(self, index: int = 0, limit: int = 1 << 30) -> None:
        self.name = f"cuda:{index}"
        self.capability = 86
        self.limit = limit
        self.memory: dict[int, tuple[int, Any]] = {}  # address -> (size, what holds it)
        self.streams: dict[int, list[Callable[[], None]]] = {}
        self.graphs: list[Any] = []
        self.captured = self.replayed = self.waits = 0
        self._capturing: tuple[int, list[Callable[[], None]]] | None = None
        self._thread = threading.local()

    # What `Device` asks for.

    def enter(self) -> None:
        self._thread.entered = True

    def allocate(self, size: int) -> int:
        self._check("memory is allocated")
        assert size > 0
        if sum(taken for taken, _ in self.memory.values()) + size > self.limit:
            raise BackendError(f"{self.name}: the CUDA driver's cuMemAlloc failed: CUDA_ERROR_OUT_OF_MEMORY")
        block = np.full(size + ALIGNMENT, 0xA5, np.uint8)  # what nobody wrote is no zero
        address = -(-block.ctypes.data // ALIGNMENT) * ALIGNMENT
        self.memory[address] = (size, block)
        return address

    def free(self, address: int) -> None:
        self._check("memory is freed")
        assert address in self.memory, "freed twice, or never allocated"
        for stream in self.streams:  # as the driver does, which first lets all work end
            self._finish(stream)
        del self.memory[address]

    def open_stream(self) -> int:
        self._check("a stream is opened")
        stream = 7001 + len(self.streams)
        self.streams[stream] = []
        return stream

    def close_stream(self, stream: int) -> None:
        assert not self.streams.pop(stream), "closed with work under way"

    def upload(self, address: int, array: np.ndarray, stream: int) -> None:
        assert array.flags.c_contiguous
        self.enqueue(stream, lambda: np.copyto(self.view(address, array.nbytes), _bytes(array)))

    def download(self, array: np.ndarray, address: int, stream: int) -> None:
        assert array.flags.c_contiguous
        assert array.flags.writeable
        self.enqueue(stream, lambda: np.copyto(_bytes(array), self.view(address, array.nbytes)))

    def clear(self, address: int, size: int, stream: int) -> None:
        self.enqueue(stream, lambda: self.view(address, size).fill(0))

    def wait(self, stream: int) -> None:
        self._check("a stream is waited for")
        self.waits += 1
        self._finish(stream)

    def capture(self, stream: int, work: Callable[[], None]) -> Any:
        self._check("a capture begins")
        assert not self.streams[stream], "captured with work under way"
        self._capturing = (stream, [])
        try:
            work()
            graph = SimpleNamespace(work=self._capturing[1])
        finally:
            self._capturing = None
        assert graph.work, "an empty graph"
        self.captured += 1
        self.graphs.append(graph)
        return graph

    def replay(self, graph: Any, stream: int) -> None:
        assert graph in self.graphs, "a graph that was closed"
        self.replayed += 1
        for step in graph.work:
            self.enqueue(stream, step)

    def close_graph(self, graph: Any) -> None:
        self.graphs.remove(graph)

    # What the fakes of TensorRT and of the launcher ask for.

    def enqueue(self, stream: int, step: Callable[[], None]) -> None:
        assert getattr(self._thread, "entered", False), "the context is not current on this thread"
        assert stream in self.streams, "no such stream"
        if self._capturing is None:
            self.streams[stream].append(step)
        else:
            assert stream == self._capturing[0], "another stream than the captured one"
            self._capturing[1].append(step)

    def view(self, address: int, size: int) -> np.ndarray:
        """Allocated bytes from an address on."""
        for start, (taken, block) in self.memory.items():
            if start <= address and address + size <= start + taken:
                offset = address - block.ctypes.data
                return block[offset : offset + size]
        raise AssertionError(f"{size} bytes at {address} are not allocated")

    def _check(self, what: str) -> None:
        assert getattr(self._thread, "entered", False), "the context is not current on this thread"
        assert self._capturing is None, f"{what} while a graph is captured"

    def _finish(self, stream: int) -> None:
        steps, self.streams[stream] = self.streams[stream], []
        for step in steps:
            step()


def _bytes(array: np.ndarray) -> np.ndarray:
    return array.reshape(-1).view(np.uint8)


def engine_bytes(
    factor: float = 2.0,
    profiles: tuple[tuple[int, ...], ...] = ((1, 3, 32, 64),),
    channels: int = 3,
    names: tuple[str, str] = ("image", "colors"),
    **faults: Any,
) -> bytes:
    """An engine that gives `channels` copies of factor times the first channel, for `fake_tensorrt` to read."""
    made = {"factor": factor, "profiles": profiles, "channels": channels, "names": names, "faults": faults}
    return json.dumps(made).encode()


class _Context:
    """IExecutionContext: refuses what comes in the wrong order."""

    def __init__(self, device: FakeDevice, made: dict[str, Any]) -> None:
        self._device, self._made = device, made
        self._input, self._output = made["names"]
        self._profile: int | None = None
        self._shape: tuple[int, ...] | None = None
        self._addresses: dict[str, int] = {}
        self._runs = 0

    def set_optimization_profile_async(self, profile_index: int, stream_handle: int) -> bool:
        assert stream_handle in self._device.streams
        self._profile = profile_index
        return self._made["faults"].get("refuses") != "profile"

    def set_input_shape(self, name: str, shape: tuple[int, ...]) -> bool:
        assert self._profile is not None, "a shape before its profile"
        assert name == self._input
        self._shape = tuple(shape)
        return list(self._shape) == list(self._made["profiles"][self._profile])

    def infer_shapes(self) -> list[str]:
        return [self._input] if self._shape is None or self._made["faults"].get("unsettled") else []

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        assert self._shape is not None
        assert name == self._output
        return (self._shape[0], self._made["channels"], *self._shape[2:])

    def set_tensor_address(self, name: str, memory: int) -> bool:
        shape = self._shape if name == self._input else self.get_tensor_shape(name)
        assert shape is not None
        self._device.view(memory, 4 * math.prod(shape))  # allocated, and large enough
        assert memory % ALIGNMENT == 0
        self._addresses[name] = memory
        return True

    def execute_async_v3(self, stream_handle: int) -> bool:
        assert set(self._addresses) == {self._input, self._output}, "run before all addresses are set"
        self._runs += 1
        self._device.enqueue(stream_handle, self._compute)
        return self._made["faults"].get("fails_at") != self._runs

    def _compute(self) -> None:
        assert self._shape is not None
        made = self.get_tensor_shape(self._output)
        source = self._device.view(self._addresses[self._input], 4 * math.prod(self._shape))
        target = self._device.view(self._addresses[self._output], 4 * math.prod(made))
        x = source.view(np.float32).reshape(self._shape)
        target.view(np.float32).reshape(made)[:] = np.float32(self._made["factor"]) * x[:, :1]


class _CapturableContext(_Context):
    """TensorRT-RTX's, which tells whether it can be captured."""

    def is_stream_capturable(self, stream: int) -> bool:
        assert stream in self._device.streams
        assert self._runs == 1, "asked before the first run"
        return not self._made["faults"].get("uncapturable")


class _Engine:
    """ICudaEngine."""

    def __init__(self, device: FakeDevice, made: dict[str, Any], module: Any) -> None:
        self._device, self._made, self._module = device, made, module
        self.num_io_tensors = 2
        self.num_optimization_profiles = len(made["profiles"])

    def get_tensor_name(self, index: int) -> str:
        return self._made["names"][index]

    def get_tensor_mode(self, name: str) -> str:
        return "in" if name == self._made["names"][0] else "out"

    def get_tensor_dtype(self, name: str) -> str:
        return self._made["faults"].get("dtype", "float")

    def get_tensor_profile_shape(self, name: str, profile_index: int) -> list[tuple[int, ...]]:
        assert name == self._made["names"][0]
        return [tuple(self._made["profiles"][profile_index])] * 3

    def create_execution_context(self, *config: Any) -> _Context | None:
        if self._made["faults"].get("no_context"):
            return None
        return _Context(self._device, self._made)


class _RtxEngine(_Engine):
    def create_runtime_config(self) -> Any:
        return SimpleNamespace(dynamic_shapes_kernel_specialization_strategy=None)

    def create_execution_context(self, *config: Any) -> _Context | None:
        [given] = config
        assert given.dynamic_shapes_kernel_specialization_strategy == "eager"
        return _CapturableContext(self._device, self._made)


def fake_tensorrt(device: FakeDevice, rtx: bool = True) -> Any:
    """A module in place of tensorrt_rtx, or of tensorrt."""

    class ILogger:
        ERROR, INTERNAL_ERROR, WARNING = "error", "internal", "warning"

        def __init__(self) -> None:
            pass

    class Runtime:
        def __init__(self, logger: ILogger) -> None:
            self._logger = logger

        def deserialize_cuda_engine(self, serialized_engine: memoryview) -> _Engine | None:
            try:
                made = json.loads(bytes(serialized_engine))
            except ValueError:
                self._logger.log(ILogger.WARNING, "beside the point")  # pyright: ignore[reportAttributeAccessIssue]
                self._logger.log(ILogger.ERROR, "magic tag")  # pyright: ignore[reportAttributeAccessIssue]
                return None
            return (_RtxEngine if rtx else _Engine)(device, made, module)

    module = SimpleNamespace(
        __version__="1.7.1.116",
        ILogger=ILogger,
        Runtime=Runtime,
        TensorIOMode=SimpleNamespace(INPUT="in", OUTPUT="out"),
        DataType=SimpleNamespace(FLOAT="float"),
        DynamicShapesKernelSpecializationStrategy=SimpleNamespace(EAGER="eager"),
    )
    return module


# Real class -> the names that our code calls, for a test that they exist.
CALLED = {
    "Runtime": ["deserialize_cuda_engine"],
    "ICudaEngine": [
        "num_io_tensors",
        "num_optimization_profiles",
        "create_runtime_config",
        *(name for name in vars(_Engine) if not name.startswith("_")),
    ],
    "IExecutionContext": [name for kind in (_Context, _CapturableContext) for name in vars(kind) if name[0] != "_"],
    "IRuntimeConfig": ["dynamic_shapes_kernel_specialization_strategy"],
    "ILogger": ["ERROR", "INTERNAL_ERROR", "log"],
    "TensorIOMode": ["INPUT", "OUTPUT"],
    "DataType": ["FLOAT"],
    "DynamicShapesKernelSpecializationStrategy": ["EAGER"],
}
