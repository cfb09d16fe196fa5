"""Prompting on a GPU: lays the prompts out as arrays and launches the kernels; the masks are those of `cpu.py`.

`triton_field.py`, `triton_reference.py` and `triton_metric.py` hold the kernels, `triton_variants.py` lists them.
PyTorch gives memory, nothing more: `masks_batch` and what it calls show in which order a process without it
launches the compiled kernels, and with which scratch arrays. Nothing here waits for the device, but the confidence.
"""

import math
from collections.abc import Sequence
from contextlib import nullcontext
from functools import cache
from typing import Any

import torch
import triton
from numpy.typing import NDArray
from triton import knobs

from gen2seg_kernels.aot.grid import evaluate_grid
from gen2seg_kernels.prompt import triton_variants as kernels
from gen2seg_kernels.prompt.layout import Cut, filter_weights, point_groups, point_rows
from gen2seg_kernels.prompt.metric import MetricCut
from gen2seg_kernels.prompt.request import Prompt, ReferenceCut
from gen2seg_kernels.prompt.triton_field import TILE_H, TILE_W
from gen2seg_kernels.variants import KernelVariant

SCRATCH_BYTES = 512 << 20  # about the most that prompts share at a time; a single one may need more
MOST_IN_GRID = 65535  # images, prompts or points of a launch
MOST_PIXELS = 1 << 30  # of an image: kernels count them in 32 bits


def variants() -> list[KernelVariant]:
    """Every kernel of prompting, as it is compiled ahead of time."""
    return list(kernels.ALL)


def check_tensor(colors: torch.Tensor, axes: str = "(H, W, 3)") -> torch.Tensor:
    """Returns `colors` dense if it is a uint8 CUDA tensor of these axes with at least one pixel.

    Raises:
        TypeError: another dtype, or it is elsewhere.
        ValueError: another shape, no pixels, 2^30 of them in an image, or more than 65,535 images.
    """
    if colors.dtype != torch.uint8:
        raise TypeError(f"colors must be a tensor of torch.uint8, got {colors.dtype}")
    if colors.device.type != "cuda" and not knobs.runtime.interpret:
        raise TypeError(f"colors must be a CUDA tensor, got one on {colors.device}; on the CPU hand over a NumPy array")
    shape = tuple(colors.shape)
    if len(shape) != axes.count(",") + 1 or shape[-1] != 3 or 0 in shape:
        raise ValueError(f"colors must be {axes} with at least one pixel, got {shape}")
    if math.prod(shape[-3:-1]) >= MOST_PIXELS or math.prod(shape[:-3]) > MOST_IN_GRID:
        raise ValueError(f"colors must be at most {MOST_IN_GRID} images of less than 2^30 pixels each, got {shape}")
    return colors.detach().contiguous()


def masks(colors: torch.Tensor, prompts: Sequence[Prompt], cut: Cut, threads: int | None = None) -> torch.Tensor:
    """Masks (K, H, W) bool of K prompts on colours (H, W, 3), on their device; `threads` has no effect."""
    return masks_batch(colors[None], [prompts], cut)


def masks_batch(colors: torch.Tensor, prompts: Sequence[Sequence[Prompt]], cut: Cut) -> torch.Tensor:
    """Masks (all prompts, H, W) bool on colours (B, H, W, 3): those of the first image's prompts, and so on.

    Args:
        colors: checked by `check_tensor`.
        prompts: for each image its prompts.
    """
    return _Work(colors, cut).run(prompts)


def mask_with_confidence(
    colors: torch.Tensor, prompt: Prompt, cut: MetricCut, threads: int | None = None
) -> tuple[torch.Tensor, float]:
    """Mask (H, W) bool of one prompt on colours (H, W, 3) and its confidence (0..1), for which the host waits."""
    work = _Work(colors[None], cut, counted=True)
    mask = work.run([[prompt]])[0]
    pixels, smallest, largest = work.counts.tolist()[0]
    return mask, smallest / largest if pixels else 0.0


class _Work:
    """One call: the images as words, and what each group of prompts takes.

    For n points on images of p pixels and t tiles the scratch arrays take, in bytes: points and facts 64 n each, plane
    n p, tiles n t; mode reference also sums 64 n (zero before), mask n p, doubts n t, tables 3,132; mode metric, if
    connected, labels 4 n p.
    """

    def __init__(self, colors: torch.Tensor, cut: Cut, counted: bool = False) -> None:
        n_images, self.height, self.width = colors.shape[:3]
        self.n_pixels = self.height * self.width
        self.n_tiles = triton.cdiv(self.height, TILE_H) * triton.cdiv(self.width, TILE_W)
        self.colors, self.cut, self.counted = colors, cut, counted
        self.pixels = self.empty((n_images, self.n_pixels), torch.int32)
        self.counts = self.empty((0, 3), torch.int32)

    def run(self, prompts: Sequence[Sequence[Prompt]]) -> torch.Tensor:
        """Masks (all prompts, H, W) bool; if `counted`, then `counts` is (all prompts, 3) as `join_kernel` has it."""
        flat = [(image, prompt) for image, own in enumerate(prompts) for prompt in own]
        out = self.empty((len(flat), self.height, self.width), torch.uint8)
        if not flat:
            return out.view(torch.bool)
        n_images = len(self.pixels)
        with torch.cuda.device(self.colors.device) if self.colors.is_cuda else nullcontext():
            self.counts = self.zeros((len(flat) if self.counted else 1, 3), torch.int32)
            launch(kernels.PACK, colors=self.colors, pixels=self.pixels, n_pixels=self.n_pixels, n_images=n_images)
            for first, last in point_groups([len(prompt.points) for _, prompt in flat], self.room()):
                counts = self.counts[first:last] if self.counted else self.counts
                self.run_group(flat[first:last], out[first:last], counts)
        return out.view(torch.bool)

    def room(self) -> int:
        """How many points may share the scratch memory."""
        each = 2 if isinstance(self.cut, ReferenceCut) else 5 if self.cut.connected else 1
        return min(MOST_IN_GRID, SCRATCH_BYTES // (each * self.n_pixels))

    def run_group(self, group: list[tuple[int, Prompt]], out: torch.Tensor, counts: torch.Tensor) -> None:
        rows, starts = point_rows(group, self.cut)
        n_points = len(rows)
        arguments = {
            "pixels": self.pixels,
            "points": self.upload(rows),
            "facts": self.empty((n_points, 8), torch.float64),
            "plane": self.empty((n_points, self.n_pixels), torch.uint8),
            "tiles": self.empty((n_points, self.n_tiles), torch.uint8),
            "height": self.height,
            "width": self.width,
            "n_pixels": self.n_pixels,
            "n_points": n_points,
        }
        if isinstance(self.cut, ReferenceCut):
            arguments["plane"] = self.reference(arguments, self.cut)
        else:
            self.metric(arguments, self.cut)
        arguments |= {"starts": self.upload(starts), "out": out, "counts": counts, "n_prompts": len(group)}
        launch(kernels.JOIN_COUNTED if self.counted else kernels.JOIN, **arguments)

    def reference(self, arguments: dict[str, Any], cut: ReferenceCut) -> torch.Tensor:
        """Returns the masks of the points in mode "reference"; the plane holds what is near, then the similarity."""
        plane, tiles = arguments["plane"], arguments["tiles"]
        mask = torch.empty_like(plane)
        arguments = arguments | {
            "sums": self.zeros((len(plane), 8), torch.int64),
            "cut": max(-1, min(255, math.floor(cut.threshold))),  # filtered values are whole, and at most 255
            "near": plane,
            "similarity": plane,
            "mask": mask,
            "doubts": torch.empty_like(tiles),
            "tables": _tables(self.colors.device),
        }
        order = "QUERY", "RANGE", "LIMIT", "NEAR", "DOUBT", "SIMILARITY", "FILTER"
        for name in order:
            launch(getattr(kernels, name), **arguments)
        return mask

    def metric(self, arguments: dict[str, Any], cut: MetricCut) -> None:
        """Puts the points' masks in mode "metric" into bit 0 of the plane; if `counted`, the inner and the outer cut's
        into bits 1 and 2."""
        launch(kernels.MEAN, **arguments)
        launch(kernels.NEAR_RANGE if self.counted else kernels.NEAR, **arguments)
        if not cut.connected:
            return
        labels = torch.empty_like(arguments["plane"], dtype=torch.int32)
        # What leaves the middle mask leaves the inner one, too.
        for bit, clear in ((0, 0b011), (2, 0b100)) if self.counted else ((0, 0b001),):
            for kernel in (kernels.LABEL, kernels.LINK, kernels.KEEP):
                launch(kernel, **arguments, labels=labels, bit=bit, clear=clear)

    def empty(self, shape: tuple[int, ...], dtype: torch.dtype) -> torch.Tensor:
        return torch.empty(shape, dtype=dtype, device=self.colors.device)

    def zeros(self, shape: tuple[int, ...], dtype: torch.dtype) -> torch.Tensor:
        return torch.zeros(shape, dtype=dtype, device=self.colors.device)

    def upload(self, array: NDArray) -> torch.Tensor:
        # Asynchronous: CUDA has copied pageable memory aside when it returns, and waits for nothing before.
        return torch.from_numpy(array).to(self.colors.device, non_blocking=True)


def launch(variant: KernelVariant, **arguments: Any) -> None:
    """Runs a kernel on those of the arguments that it has, on the grid that its variant states.

    Raises:
        LaunchError: a GPU takes no grid of that size (a prompt of over 65,535 points).
    """
    own = {name: arguments[name] for name, kind in variant.signature.items() if kind != "constexpr"}
    grid = evaluate_grid(variant.grid, own)
    variant.kernel[grid](**own, **variant.constexprs, num_warps=variant.num_warps, num_stages=variant.num_stages)


@cache
def _tables(device: torch.device) -> torch.Tensor:
    return torch.from_numpy(filter_weights()).to(device)
