"""What is known of the machine at hand, without loading a model: libraries, processor, memory, GPUs.

Everything that decides where a bundle can run asks a `Probes`; tests hand over a fake one.
"""

import os
from dataclasses import dataclass
from functools import cached_property
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Protocol

from gen2seg_runtime.cuda_probe import CudaFacts, Gpu, read_cuda


@dataclass(frozen=True)
class Memory:
    """Bytes of main memory: what this process may use at most, and what is free of it now."""

    total: int
    available: int


class Probes(Protocol):
    """What the checks ask of a machine."""

    def installed(self, module: str) -> bool:
        """Whether Python finds the module; it is not imported."""
        ...

    def version(self, distribution: str) -> str | None:
        """Version of an installed distribution; None: not installed."""
        ...

    def load_error(self, module: str) -> str | None:
        """Why the module cannot be imported; None: it can."""
        ...

    def onnx_providers(self) -> tuple[str, ...]:
        """Execution providers of the installed ONNX Runtime; empty if there is none."""
        ...

    def gpus(self) -> tuple[Gpu, ...]:
        """The NVIDIA GPUs that the driver offers, in its order."""
        ...

    def cuda_version(self) -> int | None:
        """The newest CUDA that the driver knows, as 1000 major + 10 minor; None: no driver."""
        ...

    def driver_version(self) -> str | None:
        """The driver's own version, where the system tells."""
        ...

    def cpu_features(self) -> frozenset[str]:
        """Names as in /proc/cpuinfo ("avx512_bf16"); empty where the system does not tell."""
        ...

    def cpu_name(self) -> str: ...

    def memory(self) -> Memory: ...


class Machine:
    """`Probes` of this machine. The GPUs are asked once; the rest each time."""

    def installed(self, module: str) -> bool:
        try:
            return find_spec(module) is not None
        except (ImportError, ValueError):  # None in sys.modules is a ValueError
            return False

    def version(self, distribution: str) -> str | None:
        from importlib import metadata  # a tenth of a start without it

        try:
            return metadata.version(distribution)
        except metadata.PackageNotFoundError:
            return None

    def load_error(self, module: str) -> str | None:
        try:
            import_module(module)
        except Exception as error:  # a missing shared library is an OSError, a RuntimeError or an ImportError
            return f"{type(error).__name__}: {error}"
        return None

    def onnx_providers(self) -> tuple[str, ...]:
        try:
            return tuple(import_module("onnxruntime").get_available_providers())
        except Exception:  # `load_error` says why
            return ()

    def gpus(self) -> tuple[Gpu, ...]:
        return self._cuda.gpus

    def cuda_version(self) -> int | None:
        return self._cuda.cuda_version

    def driver_version(self) -> str | None:
        return self._cuda.driver_version

    def cpu_features(self) -> frozenset[str]:
        return frozenset((_cpuinfo("flags") or _cpuinfo("Features") or "").split())

    def cpu_name(self) -> str:
        import platform

        return _cpuinfo("model name") or platform.processor() or platform.machine()

    def memory(self) -> Memory:
        total, available = _system_memory()
        limit, used = _container_memory()
        if limit is not None and limit < total:
            total, available = limit, min(available, max(0, limit - used))
        return Memory(total, available)

    @cached_property
    def _cuda(self) -> CudaFacts:
        return read_cuda()


MACHINE = Machine()


def _cpuinfo(key: str, path: Path = Path("/proc/cpuinfo")) -> str | None:
    try:
        lines = path.read_text().splitlines()
    except OSError:
        return None
    return next((line.partition(":")[2].strip() for line in lines if line.partition(":")[0].strip() == key), None)


def _system_memory(path: Path = Path("/proc/meminfo")) -> tuple[int, int]:
    try:
        entries = dict(line.split(":", 1) for line in path.read_text().splitlines())
        return tuple(1024 * int(entries[key].split()[0]) for key in ("MemTotal", "MemAvailable"))  # pyright: ignore[reportReturnType]
    except (OSError, KeyError, ValueError):
        pass
    try:
        pages = [os.sysconf(name) for name in ("SC_PHYS_PAGES", "SC_AVPHYS_PAGES")]
        return pages[0] * os.sysconf("SC_PAGE_SIZE"), pages[1] * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, OSError, ValueError):  # Windows; macOS does not know the second
        return 1 << 62, 1 << 62  # unknown: never a reason to refuse


def _container_memory(group: Path = Path("/sys/fs/cgroup")) -> tuple[int | None, int]:
    """A container's limit, None if it has none, and what it uses of it; files that it read can be dropped again."""
    try:
        limit, used = (int((group / name).read_text()) for name in ("memory.max", "memory.current"))
        entries = dict(line.split(" ", 1) for line in (group / "memory.stat").read_text().splitlines())
        return limit, max(0, used - int(entries["inactive_file"]))
    except (OSError, ValueError, KeyError):  # "max" is no number
        return None, 0
