"""`Device` by cuda-python's driver interface, on the device's primary context. Not run on hardware so far."""

from collections.abc import Callable
from importlib import import_module
from typing import Any

import numpy as np

from gen2seg_runtime.errors import BackendError


class CudaDevice:
    """See `Device`."""

    def __init__(self, index: int = 0) -> None:
        """Open a GPU.

        Raises:
            BackendError: cuda-python or a driver is missing, or there is no such GPU.
        """
        try:
            self._cuda: Any = import_module("cuda.bindings.driver")
        except ImportError as error:
            raise BackendError("engines and prompting on a GPU need cuda-python: pip install 'gen2seg[gpu]'") from error
        self.name = f"cuda:{index}"
        try:
            self._call("cuInit", 0)
        except BackendError:
            raise
        except RuntimeError as error:  # cuda-python's own, where the driver's library is not installed
            raise BackendError(f"no CUDA driver here: {error}") from error
        device = self._call("cuDeviceGet", index)
        kinds = self._cuda.CUdevice_attribute
        major = self._call("cuDeviceGetAttribute", kinds.CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR, device)
        minor = self._call("cuDeviceGetAttribute", kinds.CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR, device)
        self.capability = 10 * int(major) + int(minor)
        self._context = self._call("cuDevicePrimaryCtxRetain", device)
        self.enter()

    def enter(self) -> None:
        self._call("cuCtxSetCurrent", self._context)

    def allocate(self, size: int) -> int:
        return int(self._call("cuMemAlloc", size))

    def free(self, address: int) -> None:
        self._call("cuMemFree", address)

    def open_stream(self) -> int:
        return int(self._call("cuStreamCreate", self._cuda.CUstream_flags.CU_STREAM_NON_BLOCKING.value))

    def close_stream(self, stream: int) -> None:
        self._call("cuStreamDestroy", stream)

    def upload(self, address: int, array: np.ndarray, stream: int) -> None:
        self._call("cuMemcpyHtoDAsync", address, _host(array), array.nbytes, stream)

    def download(self, array: np.ndarray, address: int, stream: int) -> None:
        self._call("cuMemcpyDtoHAsync", _host(array), address, array.nbytes, stream)

    def clear(self, address: int, size: int, stream: int) -> None:
        self._call("cuMemsetD8Async", address, 0, size, stream)

    def wait(self, stream: int) -> None:
        self._call("cuStreamSynchronize", stream)

    def capture(self, stream: int, work: Callable[[], None]) -> Any:
        # Thread-local: what other threads do meanwhile is none of this capture's business.
        mode = self._cuda.CUstreamCaptureMode.CU_STREAM_CAPTURE_MODE_THREAD_LOCAL
        self._call("cuStreamBeginCapture", stream, mode)
        try:
            work()
        except BaseException:
            self._cuda.cuStreamEndCapture(stream)  # leaves the stream usable; the first error is the one to tell
            raise
        graph = self._call("cuStreamEndCapture", stream)
        try:
            return self._call("cuGraphInstantiate", graph, 0)
        finally:
            self._call("cuGraphDestroy", graph)

    def replay(self, graph: Any, stream: int) -> None:
        self._call("cuGraphLaunch", graph, stream)

    def close_graph(self, graph: Any) -> None:
        self._call("cuGraphExecDestroy", graph)

    def _call(self, name: str, *arguments: Any) -> Any:
        status, *values = getattr(self._cuda, name)(*arguments)
        if int(status) != 0:
            raise BackendError(f"{self.name}: the CUDA driver's {name} failed: {getattr(status, 'name', status)}")
        return values[0] if values else None


def _host(array: np.ndarray) -> int:
    if not array.flags.c_contiguous:
        raise ValueError("only C-contiguous arrays are copied to and from a GPU")
    return array.ctypes.data
