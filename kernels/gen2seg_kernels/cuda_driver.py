"""The few calls of the CUDA driver that a launch needs, through cuda-python; nothing is loaded before `open_driver`.

Launch code sees the `Driver` protocol only, so that tests can put a fake in its place.
"""

from collections.abc import Sequence
from importlib import import_module
from typing import Any, Protocol

from gen2seg_kernels.aot.errors import DriverError


class Driver(Protocol):
    """Handles are opaque; `stream` is a CUstream as an int, `arguments` the address of one address per parameter."""

    def compute_capability(self) -> int: ...

    def max_shared_bytes(self) -> int: ...

    def load(self, cubin: bytes, entry: str) -> tuple[Any, Any]: ...

    def allow_shared_bytes(self, function: Any, size: int) -> None: ...

    def launch(
        self, function: Any, grid: Sequence[int], block: Sequence[int], shared_bytes: int, stream: int, arguments: int
    ) -> None: ...

    def unload(self, module: Any) -> None: ...


def open_driver(device: int = 0) -> "CudaPython":
    """The driver on a device's primary context, the one that PyTorch uses too.

    Raises:
        ImportError: cuda-python is not installed.
        DriverError: there is no driver, or it has no such device.
    """
    return CudaPython(device)


class CudaPython:
    """`Driver` by `cuda.bindings.driver`; the context is made current on the calling thread."""

    def __init__(self, device: int) -> None:
        try:
            self._cuda: Any = import_module("cuda.bindings.driver")
        except ImportError as error:
            raise ImportError("launching compiled kernels needs cuda-python: pip install 'gen2seg[gpu]'") from error
        try:
            self._call("cuInit", 0)
        except RuntimeError as error:  # cuda-python's own, where the driver's library is not installed
            raise DriverError(f"no CUDA driver here: {error}") from error
        self._device = self._call("cuDeviceGet", device)
        self._call("cuCtxSetCurrent", self._call("cuDevicePrimaryCtxRetain", self._device))

    def compute_capability(self) -> int:
        return 10 * self.attribute("COMPUTE_CAPABILITY_MAJOR") + self.attribute("COMPUTE_CAPABILITY_MINOR")

    def max_shared_bytes(self) -> int:
        return self.attribute("MAX_SHARED_MEMORY_PER_BLOCK_OPTIN")

    def load(self, cubin: bytes, entry: str) -> tuple[Any, Any]:
        module = self._call("cuModuleLoadData", cubin)
        return module, self._call("cuModuleGetFunction", module, entry.encode())

    def allow_shared_bytes(self, function: Any, size: int) -> None:
        attribute = self._cuda.CUfunction_attribute.CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES
        self._call("cuFuncSetAttribute", function, attribute, size)

    def launch(
        self, function: Any, grid: Sequence[int], block: Sequence[int], shared_bytes: int, stream: int, arguments: int
    ) -> None:
        self._call("cuLaunchKernel", function, *grid, *block, shared_bytes, stream, arguments, 0)

    def unload(self, module: Any) -> None:
        self._call("cuModuleUnload", module)

    def attribute(self, name: str) -> int:
        """A device attribute by its name without CU_DEVICE_ATTRIBUTE_."""
        known = getattr(self._cuda.CUdevice_attribute, f"CU_DEVICE_ATTRIBUTE_{name}")
        return self._call("cuDeviceGetAttribute", known, self._device)

    def _call(self, name: str, *arguments: Any) -> Any:
        status, *values = getattr(self._cuda, name)(*arguments)
        if int(status) != 0:
            raise DriverError(f"the CUDA driver's {name} failed: {getattr(status, 'name', status)}")
        return values[0] if values else None
