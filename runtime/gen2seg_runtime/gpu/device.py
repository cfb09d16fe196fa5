"""The few things that engines and prompting need of a GPU; tests put a fake in its place that checks every call."""

from collections.abc import Callable, Mapping
from typing import Any, Protocol

import numpy as np

_ALIGNMENT = 256  # of addresses; what the driver's own allocations have


class Device(Protocol):
    """One GPU. Addresses and streams are ints; all copies are asynchronous, in the order of their stream.

    Attributes:
        name: in words, with its number ("cuda:0").
        capability: compute capability times ten, e.g. 86.
    """

    name: str
    capability: int

    def enter(self) -> None:
        """Make the device's context current on this thread; before any other call from it."""
        ...

    def allocate(self, size: int) -> int:
        """Address of `size` > 0 bytes, a multiple of 256."""
        ...

    def free(self, address: int) -> None: ...

    def open_stream(self) -> int: ...

    def close_stream(self, stream: int) -> None: ...

    def upload(self, address: int, array: np.ndarray, stream: int) -> None:
        """Copy a C-contiguous array to the device. It may be changed once the stream was waited for."""
        ...

    def download(self, array: np.ndarray, address: int, stream: int) -> None:
        """Fill a C-contiguous array from the device; it holds its values once the stream was waited for."""
        ...

    def clear(self, address: int, size: int, stream: int) -> None:
        """Set bytes to zero."""
        ...

    def wait(self, stream: int) -> None:
        """Return when all work of the stream is done."""
        ...

    def capture(self, stream: int, work: Callable[[], None]) -> Any:
        """Record what `work` enqueues on the stream, without running it; returns the graph."""
        ...

    def replay(self, graph: Any, stream: int) -> None: ...

    def close_graph(self, graph: Any) -> None: ...


class Buffers:
    """Device memory that is freed together."""

    def __init__(self, device: Device) -> None:
        self._device = device
        self._addresses: list[int] = []

    def take(self, size: int) -> int:
        """Address of at least one byte."""
        address = self._device.allocate(max(1, size))
        self._addresses.append(address)
        return address

    def put(self, array: np.ndarray, stream: int) -> int:
        """Address of a copy of the array, which is complete once the stream was waited for."""
        address = self.take(array.nbytes)
        self._device.upload(address, array, stream)
        return address

    def close(self) -> None:
        """Free all; may be called twice."""
        while self._addresses:
            self._device.free(self._addresses.pop())


class Arena:
    """One block of device memory that short-lived arrays share; it grows when it must."""

    def __init__(self, device: Device) -> None:
        self._device = device
        self._address = self._size = 0

    def lay_out(self, sizes: Mapping[str, int]) -> dict[str, int]:
        """Addresses, multiples of 256, of arrays of these sizes in bytes; those given before are gone.

        No work that uses them may be under way.
        """
        offsets: dict[str, int] = {}
        total = 0
        for name, size in sizes.items():
            offsets[name] = total
            total += -(-max(1, size) // _ALIGNMENT) * _ALIGNMENT
        if total > self._size:
            self.close()
            self._address, self._size = self._device.allocate(total), total
        return {name: self._address + offset for name, offset in offsets.items()}

    def close(self) -> None:
        """Free the block; may be called twice."""
        if self._size:
            self._device.free(self._address)
        self._address = self._size = 0
