"""The compiled kernels of a bundle, as the code here launches them."""

from collections.abc import Mapping
from typing import Any, Protocol

from gen2seg_runtime.bundle import Bundle
from gen2seg_runtime.errors import BackendError
from gen2seg_runtime.gpu.device import Device

KERNELS = "kernels"
_CONTRACT = f"{KERNELS}/kernels.json"


class Launcher(Protocol):
    """What is used of `gen2seg_kernels.launch.CompiledKernels`."""

    contract: Any

    def target(self, name: str) -> Any: ...

    def launch(
        self,
        name: str,
        arguments: Mapping[str, int | float],
        *,
        grid: tuple[int, int, int] | None = None,
        stream: int = 0,
    ) -> None: ...


def open_kernels(bundle: Bundle, device_id: int = 0) -> Launcher:
    """The kernels that a bundle holds, on a GPU whose context is current on this thread.

    Raises:
        BackendError: the bundle holds none, or cuda-python or the driver is missing.
    """
    if all(record.path != _CONTRACT for record in bundle.manifest.files):
        raise BackendError(f"{bundle.root}: holds no compiled kernels; export it with a GPU target")
    from gen2seg_kernels.launch import CompiledKernels

    try:
        return CompiledKernels(bundle.root / KERNELS, device_id)
    except (ValueError, OSError, ImportError) as error:  # the launcher's own errors are among these
        raise BackendError(f"{bundle.root / KERNELS}: {error}") from error


def constants_of(kernels: Launcher, device: Device, name: str) -> Mapping[str, Any]:
    """What was fixed when a kernel was compiled for this GPU.

    Raises:
        BackendError: nothing was compiled for it, or there is no such kernel.
    """
    try:
        return kernels.target(name).constants
    except ValueError as error:  # as all of the launcher's
        raise BackendError(f"{device.name}: {error}") from error


def run_kernel(kernels: Launcher, device: Device, name: str, arguments: Mapping[str, int | float], stream: int) -> None:
    """Launch a kernel on those of the arguments that it has.

    Raises:
        BackendError: an argument is missing or wrong, or the driver refuses.
    """
    try:
        kernel = kernels.contract.kernel(name)
        own = [parameter.name for parameter in kernel.parameters if not parameter.scratch]
        wanted = dict.fromkeys([*own, *kernel.grid_arguments])
        kernels.launch(name, {key: arguments[key] for key in wanted}, stream=stream)
    except (ValueError, KeyError, OSError) as error:
        raise BackendError(f"{device.name}, kernel {name}: {error}") from error
