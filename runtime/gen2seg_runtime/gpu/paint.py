"""Raw output in GPU memory becomes colours there, by kernels that were compiled ahead of time; see `colors.py`."""

import threading
from collections.abc import Mapping

import numpy as np

from gen2seg_runtime.errors import NetworkOutputError
from gen2seg_runtime.gpu.colors import EMPTY_RANGE, decode_range, paint_rule
from gen2seg_runtime.gpu.device import Arena, Device
from gen2seg_runtime.gpu.launcher import Launcher, constants_of, run_kernel
from gen2seg_runtime.gpu.prompt import DeviceColors
from gen2seg_runtime.io_spec import OutputSpec


class DevicePainter:
    """Colours from raw output on one GPU; calls from several threads take turns."""

    def __init__(self, device: Device, kernels: Launcher) -> None:
        """Raises BackendError if nothing was compiled for this GPU."""
        self._device, self._kernels = device, kernels
        constants_of(kernels, device, "colors_paint")
        self._arena = Arena(device)
        self._lock = threading.Lock()

    def paint(
        self, raw: int, padded: tuple[int, int], content: tuple[int, int], spec: OutputSpec, stream: int
    ) -> tuple[DeviceColors, np.ndarray]:
        """Colours of one picture, in GPU memory as prompting wants them, and a copy in main memory.

        Args:
            raw: address of (3, *padded) float32.
            padded, content: (height, width) of the planes, and of the upper left part that is the picture.
            spec: the bundle's output contract.
            stream: that `raw` is made on; it is waited for.
        Returns:
            (the colours there, (height, width, 3) uint8).
        Raises:
            NetworkOutputError: NaN or infinity among the raw values, or in the normalised ones.
            BackendError: the driver or the launcher refuses.
        """
        device = self._device
        height, width = content
        n_pixels, n_padded = height * width, padded[0] * padded[1]
        colors = np.empty((height, width, 3), np.uint8)
        found = EMPTY_RANGE.copy()
        with self._lock:
            device.enter()
            places = self._arena.lay_out({"found": found.nbytes, "colors": colors.nbytes})
            device.upload(places["found"], found, stream)
            device.wait(stream)
            self._run("colors_range", {**places, "raw": raw, "n_values": 3 * n_padded}, stream)
            device.download(found, places["found"], stream)
            device.wait(stream)
            rule = paint_rule(spec, *decode_range(found))
            sizes = {"height": height, "width": width, "padded_width": padded[1], "n_padded": n_padded}
            numbers = {
                "low": rule.low,
                "high": rule.high,
                "offset": rule.offset,
                "divisor": rule.divisor,
                "factor": rule.factor,
                "gamma": 1.0 if rule.gamma is None else rule.gamma,
            }
            name = "colors_paint" if rule.gamma is None else "colors_paint_gamma"
            self._run(name, {**places, "raw": raw, **sizes, **numbers}, stream)
            kept = DeviceColors(device, 4 * n_pixels, content)
            pack = {"colors": places["colors"], "pixels": kept.pixels, "n_pixels": n_pixels, "n_images": 1}
            self._run("prompt_pack", pack, stream)
            device.download(colors, places["colors"], stream)
            device.wait(stream)
        return kept, colors

    def close(self) -> None:
        """Free what this object holds; may be called twice."""
        with self._lock:
            self._device.enter()
            self._arena.close()

    def _run(self, name: str, arguments: Mapping[str, int | float], stream: int) -> None:
        run_kernel(self._kernels, self._device, name, arguments, stream)


def check_raw(shape: tuple[int, ...], expected: tuple[int, ...]) -> None:
    """Raise NetworkOutputError unless the raw output has the input's shape."""
    if shape != expected:
        raise NetworkOutputError(
            f"network output: expected {expected}, got {shape}; the engine does not keep what its manifest promises"
        )
