"""Prompting in GPU memory by kernels that were compiled ahead of time: no Triton, no PyTorch.

The order of the launches and the scratch arrays are those of `gen2seg_kernels/prompt/triton.py`; the masks are
those of the CPU. Not run on hardware so far.
"""

import math
import threading
import weakref
from collections.abc import Mapping, Sequence

import numpy as np

from gen2seg_kernels.prompt.layout import Cut, filter_weights, point_groups, point_rows
from gen2seg_kernels.prompt.metric import MetricCut
from gen2seg_kernels.prompt.request import Prompt, ReferenceCut
from gen2seg_runtime.colors import check_colors
from gen2seg_runtime.gpu.device import Arena, Device
from gen2seg_runtime.gpu.launcher import Launcher, constants_of, run_kernel

SCRATCH_BYTES = 512 << 20  # about the most that the prompts of a call share at a time; a single one may need more
_MOST_IN_GRID = 65535
_REFERENCE = ("query", "range", "limit", "near", "doubt", "similarity", "filter")
_LINKING = ("label", "link", "keep")


class DevicePrompter:
    """Prompts on colours in the memory of one GPU; calls from several threads take turns."""

    def __init__(self, device: Device, kernels: Launcher) -> None:
        """Prepare.

        Args:
            device: whose memory is used.
            kernels: the compiled prompting kernels, on the same device.
        Raises:
            BackendError: nothing was compiled for this GPU, or the kernels are not those of this version.
        """
        self.device = device
        self._kernels = kernels
        self._lock = threading.RLock()
        device.enter()
        constants = constants_of(kernels, device, "prompt_near")
        self._tile = int(constants["TILE_H"]), int(constants["TILE_W"])
        self._stream = device.open_stream()
        self._arena = Arena(device)
        self._tables = device.allocate(filter_weights().nbytes)
        weights = filter_weights()
        device.upload(self._tables, weights, self._stream)
        device.wait(self._stream)

    def load(self, colors: np.ndarray) -> "DeviceColors":
        """Bring colours (h, w, 3) uint8 to the GPU.

        Raises:
            ImageError: another shape or type.
            BackendError: the driver refuses, as where memory is short.
        """
        check_colors(colors)
        colors = np.ascontiguousarray(colors)
        n_pixels = colors.shape[0] * colors.shape[1]
        with self._lock:
            self.device.enter()
            place = self._arena.lay_out({"colors": colors.nbytes})["colors"]
            self.device.upload(place, colors, self._stream)
            loaded = DeviceColors(self.device, 4 * n_pixels, (colors.shape[0], colors.shape[1]))
            arguments = {"colors": place, "pixels": loaded.pixels, "n_pixels": n_pixels, "n_images": 1}
            self._launch("pack", arguments)
            self.device.wait(self._stream)
        return loaded

    def masks(self, colors: "DeviceColors", prompts: Sequence[Prompt], cut: Cut) -> np.ndarray:
        """Masks (K, h, w) bool of K checked prompts.

        Raises:
            BackendError: the driver or the launcher refuses.
        """
        return self._run(colors, prompts, cut, counted=False)[0]

    def mask_with_confidence(self, colors: "DeviceColors", prompt: Prompt, cut: MetricCut) -> tuple[np.ndarray, float]:
        """Mask (h, w) bool of one prompt, and how far the colours stay clear of the cut, 0..1.

        Raises:
            as `masks`.
        """
        masks, counts = self._run(colors, [prompt], cut, counted=True)
        pixels, smallest, largest = (int(count) for count in counts[0])
        return masks[0], smallest / largest if pixels else 0.0

    def close(self) -> None:
        """Free what this object holds; colours free their own. May be called twice."""
        with self._lock:
            self.device.enter()
            self._arena.close()
            if self._tables:
                self.device.free(self._tables)
                self.device.close_stream(self._stream)
                self._tables = 0

    def _run(
        self, colors: "DeviceColors", prompts: Sequence[Prompt], cut: Cut, counted: bool
    ) -> tuple[np.ndarray, np.ndarray]:
        height, width = colors.size
        masks = np.empty((len(prompts), height, width), np.uint8)
        counts = np.zeros((len(prompts), 3), np.int32)
        if not prompts:
            return masks.view(bool), counts
        each = 2 if isinstance(cut, ReferenceCut) else 5 if cut.connected else 1
        room = max(1, min(_MOST_IN_GRID, SCRATCH_BYTES // (each * height * width)))
        with self._lock:
            self.device.enter()
            for first, last in point_groups([len(prompt.points) for prompt in prompts], room):
                own = masks[first:last], counts[first:last]
                self._run_group(colors, prompts[first:last], cut, counted, *own)
        return masks.view(bool), counts

    def _run_group(
        self,
        colors: "DeviceColors",
        group: Sequence[Prompt],
        cut: Cut,
        counted: bool,
        masks: np.ndarray,
        counts: np.ndarray,
    ) -> None:
        rows, starts = point_rows([(0, prompt) for prompt in group], cut)
        sizes = self._sizes(colors.size, len(rows), len(group), cut)
        places = self._arena.lay_out(sizes)
        device, stream = self.device, self._stream
        device.upload(places["points"], rows, stream)
        device.upload(places["starts"], starts, stream)
        arguments: dict[str, int] = {
            **places,
            "pixels": colors.pixels,
            "tables": self._tables,
            "height": colors.size[0],
            "width": colors.size[1],
            "n_pixels": colors.size[0] * colors.size[1],
            "n_points": len(rows),
            "n_prompts": len(group),
        }
        for name in ("sums", "counts"):  # what kernels add to
            if name in sizes:
                device.clear(places[name], sizes[name], stream)
        if isinstance(cut, ReferenceCut):
            arguments["plane"] = self._reference(arguments, cut)
        else:
            self._metric(arguments, cut, counted)
        self._launch("join_counted" if counted else "join", arguments)
        device.download(masks, places["out"], stream)
        if counted:
            device.download(counts, places["counts"], stream)
        device.wait(stream)  # rows and starts may go only now

    def _sizes(self, size: tuple[int, int], n_points: int, n_prompts: int, cut: Cut) -> dict[str, int]:
        """Bytes of each array of a group."""
        height, width = size
        n_pixels = height * width
        n_tiles = -(-height // self._tile[0]) * -(-width // self._tile[1])
        plane, tiles = n_points * n_pixels, n_points * n_tiles
        sizes = {
            "points": 64 * n_points,
            "facts": 64 * n_points,
            "starts": 4 * (n_prompts + 1),
            "plane": plane,
            "tiles": tiles,
            "out": n_prompts * n_pixels,
            "counts": 12 * n_prompts,
        }
        if isinstance(cut, ReferenceCut):
            return sizes | {"sums": 64 * n_points, "mask": plane, "doubts": tiles}
        return sizes | ({"labels": 4 * plane} if cut.connected else {})

    def _reference(self, arguments: dict[str, int], cut: ReferenceCut) -> int:
        """Address of the points' masks in mode "reference"; the plane holds what is near, then the similarity."""
        arguments = arguments | {
            "cut": max(-1, min(255, math.floor(cut.threshold))),  # filtered values are whole, and at most 255
            "near": arguments["plane"],
            "similarity": arguments["plane"],
        }
        for name in _REFERENCE:
            self._launch(name, arguments)
        return arguments["mask"]

    def _metric(self, arguments: dict[str, int], cut: MetricCut, counted: bool) -> None:
        """The points' masks into bit 0 of the plane; if `counted`, the inner and the outer cut's into bits 1 and 2."""
        self._launch("mean", arguments)
        self._launch("near_range" if counted else "near", arguments)
        if not cut.connected:
            return
        # What leaves the middle mask leaves the inner one, too.
        for bit, clear in ((0, 0b011), (2, 0b100)) if counted else ((0, 0b001),):
            for name in _LINKING:
                self._launch(name, arguments | {"bit": bit, "clear": clear})

    def _launch(self, name: str, arguments: Mapping[str, int]) -> None:
        run_kernel(self._kernels, self.device, f"prompt_{name}", arguments, self._stream)


class DeviceColors:
    """The colours of one picture in GPU memory; freed by `close()`, or with the object.

    Attributes:
        pixels: address of (h, w) int32: red, green, blue, 0 from the lowest byte.
        size: (h, w).
    """

    def __init__(self, device: Device, n_bytes: int, size: tuple[int, int]) -> None:
        self.pixels = device.allocate(n_bytes)
        self.size = size
        self._release = weakref.finalize(self, _free, device, self.pixels)
        self._release.atexit = False  # the driver may be gone by then, and the memory with it

    def close(self) -> None:
        """Free the memory; may be called twice."""
        self._release()


def _free(device: Device, address: int) -> None:
    device.enter()
    device.free(address)
