"""Launches kernels compiled by `gen2seg_kernels.aot`, without Triton and without PyTorch.

    with CompiledKernels("build/kernels") as kernels:
        kernels.launch("prompt_range", {"colors": address, "n_pixels": 307200, ...})

Every launch goes by the folder's contract (kernels.json): the file for the device's architecture, its digest, the
order and types of the arguments, grid, block and shared memory.
"""

import ctypes
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from gen2seg_kernels.aot.architectures import fitting_architecture
from gen2seg_kernels.aot.contract import Kernel, Parameter, Target, architectures, read_contract, read_cubin
from gen2seg_kernels.aot.errors import LaunchError, NoCubinError
from gen2seg_kernels.aot.grid import check_grid, evaluate_grid
from gen2seg_kernels.aot.types import pack
from gen2seg_kernels.cuda_driver import Driver, open_driver

_SHARED_WITHOUT_ASKING = 48 << 10  # bytes; above it the driver wants to be told first


@dataclass(frozen=True)
class _Loaded:
    module: Any
    function: Any
    kernel: Kernel
    target: Target


class CompiledKernels:
    """The compiled kernels of a folder on one device; each is read, checked and loaded when it is first launched.

    Launches come from the thread that made the object, or from one where the device's primary context is current.
    Leaving the `with` block, or `close()`, unloads them.
    """

    def __init__(self, folder: str | os.PathLike[str], device: int = 0, *, driver: Driver | None = None) -> None:
        """Reads the contract and opens the device.

        Args:
            folder: with kernels.json and the files that it names.
            device: the CUDA device's number.
            driver: in place of the real one; for tests.

        Raises:
            ContractError: the contract is missing or wrong.
            ImportError: cuda-python is not installed.
            DriverError: no driver, or no such device.
        """
        self._folder = Path(folder)
        self.contract = read_contract(self._folder)
        self.driver = open_driver(device) if driver is None else driver
        self._capability = self.driver.compute_capability()
        self._loaded: dict[str, _Loaded] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Unloads everything; may be called twice."""
        while self._loaded:
            self.driver.unload(self._loaded.popitem()[1].module)

    def target(self, name: str) -> Target:
        """The compiled file that the device runs for a kernel.

        Raises:
            ContractError: unknown kernel.
            NoCubinError: none fits the device; the message names what there is.
        """
        kernel = self.contract.kernel(name)
        sm = fitting_architecture(self._capability, ((target.sm, target.exact) for target in kernel.targets))
        if sm is None:
            raise NoCubinError(
                f"kernel {name!r}: nothing compiled runs on this device, sm_{self._capability}; "
                f"{self._folder} has {architectures(kernel)}. Compile for it where Triton is installed: "
                "python -m gen2seg_kernels.aot --all -o DIR"
            )
        return kernel.target(sm)

    def launch(
        self,
        name: str,
        arguments: Mapping[str, int | float],
        *,
        grid: tuple[int, int, int] | None = None,
        stream: int = 0,
    ) -> None:
        """Launches a kernel and returns at once, as the driver does.

        Args:
            name: of the kernel.
            arguments: by the kernel's own names: addresses in device memory as ints, numbers as they are, and the
                whole numbers that only the grid needs. Triton's scratch pointers are not among them.
            grid: blocks in x, y, z in place of what the contract's rules give; then what only the grid needs may be
                left out of the arguments.
            stream: a CUstream as an int; 0 is the default stream.

        Raises:
            ContractError: unknown kernel; NoCubinError: none for this device; CubinIntegrityError: its file is not
                the contract's.
            LaunchError: an argument is missing, unknown, of another type or not aligned, or the grid is none.
            DriverError: the driver refuses.
        """
        loaded = self._loaded.get(name) or self._load(name)
        values = [_checked(parameter, arguments) for parameter in loaded.kernel.parameters]
        _refuse_unknown(loaded.kernel, arguments)
        if grid is None:
            grid = evaluate_grid(loaded.target.grid, _grid_values(loaded, arguments))
        else:
            check_grid(grid)
        buffers = [ctypes.create_string_buffer(value, len(value)) for value in values]
        pointers = (ctypes.c_void_p * len(buffers))(*map(ctypes.addressof, buffers))
        self.driver.launch(
            loaded.function, grid, loaded.target.block, loaded.target.shared_bytes, stream, ctypes.addressof(pointers)
        )

    def _load(self, name: str) -> _Loaded:
        kernel, target = self.contract.kernel(name), self.target(name)
        if target.shared_bytes > self.driver.max_shared_bytes():
            raise LaunchError(
                f"kernel {name!r} needs {target.shared_bytes} bytes of shared memory, "
                f"the device has {self.driver.max_shared_bytes()}"
            )
        module, function = self.driver.load(read_cubin(self._folder, target), kernel.entry)
        self._loaded[name] = loaded = _Loaded(module, function, kernel, target)
        if target.shared_bytes > _SHARED_WITHOUT_ASKING:
            self.driver.allow_shared_bytes(function, target.shared_bytes)
        return loaded


def _checked(parameter: Parameter, arguments: Mapping[str, int | float]) -> bytes:
    """The bytes of one parameter."""
    if parameter.scratch:
        return pack(parameter.name, parameter.type, 0)
    if parameter.name not in arguments:
        raise LaunchError(f"argument {parameter.name} ({parameter.type}) is missing")
    value = arguments[parameter.name]
    data = pack(parameter.name, parameter.type, value)
    if parameter.alignment > 1 and value % parameter.alignment:
        raise LaunchError(f"argument {parameter.name} must be a multiple of {parameter.alignment}, got {value}")
    return data


def _refuse_unknown(kernel: Kernel, arguments: Mapping[str, int | float]) -> None:
    known = [parameter.name for parameter in kernel.parameters if not parameter.scratch] + list(kernel.grid_arguments)
    unknown = sorted(set(arguments) - set(known))
    if unknown:
        raise LaunchError(f"kernel {kernel.name!r} has no arguments {unknown}; it takes {', '.join(known)}")


def _grid_values(loaded: _Loaded, arguments: Mapping[str, int | float]) -> dict[str, int]:
    numbers = {**loaded.target.constants, **arguments}
    return {name: value for name, value in numbers.items() if isinstance(value, int)}
