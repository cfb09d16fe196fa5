"""The NVIDIA GPUs of a machine, asked of the driver's own library; no Python package is needed for that."""

import ctypes
import re
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_MAJOR, _MINOR = 75, 76  # CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR and _MINOR
_NAME_BYTES = 256


@dataclass(frozen=True)
class Gpu:
    """One GPU.

    Attributes:
        name: as the driver calls it.
        capability: compute capability times ten, e.g. 86.
        memory: bytes in all.
    """

    name: str
    capability: int
    memory: int


@dataclass(frozen=True)
class CudaFacts:
    """See `Probes.gpus`, `Probes.cuda_version` and `Probes.driver_version`."""

    gpus: tuple[Gpu, ...] = ()
    cuda_version: int | None = None
    driver_version: str | None = None


def read_cuda(open_library: Callable[[str], Any] | None = None) -> CudaFacts:
    """Ask the driver; a machine without one, or with a broken one, has no GPUs.

    Args:
        open_library: in place of ctypes; for tests.
    """
    name = "nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1"
    try:
        cuda = (open_library or ctypes.CDLL)(name)
        if cuda.cuInit(0) != 0:
            return CudaFacts()
        version = ctypes.c_int()
        _check(cuda.cuDriverGetVersion(ctypes.byref(version)))
        count = ctypes.c_int()
        _check(cuda.cuDeviceGetCount(ctypes.byref(count)))
        gpus = tuple(_gpu(cuda, index) for index in range(count.value))
    except (OSError, AttributeError):  # no such library, or one without these calls
        return CudaFacts()
    return CudaFacts(gpus, version.value, _driver_version())


def _gpu(cuda: Any, index: int) -> Gpu:
    device = ctypes.c_int()
    _check(cuda.cuDeviceGet(ctypes.byref(device), index))
    name = ctypes.create_string_buffer(_NAME_BYTES)
    _check(cuda.cuDeviceGetName(name, _NAME_BYTES, device))
    memory = ctypes.c_size_t()
    _check(cuda.cuDeviceTotalMem_v2(ctypes.byref(memory), device))
    numbers = []
    for attribute in (_MAJOR, _MINOR):
        number = ctypes.c_int()
        _check(cuda.cuDeviceGetAttribute(ctypes.byref(number), attribute, device))
        numbers.append(number.value)
    return Gpu(name.value.decode(errors="replace"), 10 * numbers[0] + numbers[1], memory.value)


def _check(status: int) -> None:
    if status != 0:
        raise OSError(f"the CUDA driver answered {status}")


def _driver_version(path: Path = Path("/proc/driver/nvidia/version")) -> str | None:
    try:
        found = re.search(r"\b(\d{3,}\.\d+(?:\.\d+)?)\b", path.read_text())
    except OSError:
        return None
    return found[1] if found else None
