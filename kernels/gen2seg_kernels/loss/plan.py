"""The order of the loss's Triton kernels, their grids and their memory, without Triton or PyTorch.

`triton.py` follows the plan with tensors; a process with neither library can follow it with compiled kernels:
allocate `scratch` and the outputs (`terms`, `grad`), fill the inputs (`pred`, `ignored`, and what `relabel.py` makes of
the labels: np.unique and a stable np.argsort give the same), and launch `launches` in order on one stream, each kernel
under the name `loss_<kernel>`, with `_fp16`, `_bf16` or `_fp32` behind it if it reads colours. An argument `name_ptr`
takes the array `name`; `Launch.numbers` has the others. `triton_parts.py` describes all arrays.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from gen2seg_kernels.aot.grid import evaluate_grid
from gen2seg_kernels.loss.config import LossConfig
from gen2seg_kernels.loss.tiles import Tiles

# Partial sums of `push_means` take 4 float64 per instance and segment: at most 4 bytes per pixel, or one segment.
_PIXELS_PER_PARTIAL = 8
_STEPS_PER_SEGMENT = 16  # of the pixel loop of `push_means`, at least, so that a program is worth its start
_MOST_SEGMENTS = 4096  # of an image; with few instances they are all the programs there are

Grid = tuple[str, str, str]

GRIDS: dict[str, Grid] = {
    "sum_colors": ("cdiv(n_pixels, PIXELS)", "n_images", "1"),
    "describe_instances": ("cdiv(n_rows, ROWS)", "n_images", "1"),
    "sum_pulls": ("cdiv(n_pixels, PIXELS)", "n_images", "1"),
    "push_means": ("cdiv(most_instances, ROWS)", "cdiv(n_pixels, segment_pixels)", "n_images"),
    "push_levels": ("cdiv(n_rows, ROWS)", "n_images", "1"),
    "collect_rows": ("cdiv(n_rows, ROWS)", "n_images", "1"),
    "sum_terms": ("n_images", "1", "1"),
    "push_pixels": ("cdiv(n_pixels, PIXELS)", "n_images", "1"),
}


@dataclass(frozen=True)
class Shape:
    """Sizes of a batch.

    Attributes:
        n_images: at least 1.
        n_pixels: of one image, at least 1, valid or not; below 2^29.
        n_rows: one more than the most instances that an image of the batch has.
    """

    n_images: int
    n_pixels: int
    n_rows: int


@dataclass(frozen=True)
class Launch:
    """One kernel's launch.

    Attributes:
        kernel: its name, a key of `GRIDS`.
        grid: programs along each axis.
        numbers: the values for all arguments of the plan's kernels and grids that are neither pointers nor fixed at
            compile time; this one takes those that it names.
    """

    kernel: str
    grid: tuple[int, int, int]
    numbers: Mapping[str, int | float]


def n_slots(shape: Shape, tiles: Tiles) -> int:
    """Places for the partial sums of tiles of pixels, per image."""
    return _cdiv(shape.n_pixels, tiles.sum_pixels) + shape.n_rows


def segment_pixels(shape: Shape, tiles: Tiles) -> int:
    """Pixels that one program of `push_means` visits."""
    affordable = max(1, shape.n_pixels // (_PIXELS_PER_PARTIAL * shape.n_rows))
    segments = min(affordable, _cdiv(shape.n_pixels, _STEPS_PER_SEGMENT * tiles.mean_pixels), _MOST_SEGMENTS)
    return _cdiv(_cdiv(shape.n_pixels, segments), tiles.mean_pixels) * tiles.mean_pixels


def n_segments(shape: Shape, tiles: Tiles) -> int:
    """Segments of an image's pixels that `push_means` cuts; none without instances."""
    return _cdiv(shape.n_pixels, segment_pixels(shape, tiles)) if shape.n_rows > 1 else 0


def scratch(shape: Shape, tiles: Tiles) -> dict[str, tuple[str, tuple[int, ...]]]:
    """Arrays that need not be initialised: name -> ("float64" or "real", shape).

    Their size is at most, per image of the batch: 4 + 56 / sum_pixels bytes per pixel, 188 bytes per row (232 for
    float64 colours) and 56 bytes.
    """
    images, rows, slots = shape.n_images, shape.n_rows, n_slots(shape, tiles)
    return {
        "sums": ("float64", (images, 3, slots)),
        "table": ("real", (images, 8, rows)),
        "pulls": ("float64", (images, 4, slots)),
        "pushes": ("float64", (images, n_segments(shape, tiles), 4, rows)),
        "levels": ("float64", (images, 4, rows)),
        "mean_grad": ("real", (images, 3, rows)),
        "parts": ("float64", (images, 3, rows)),
    }


def constexprs(kernel: str, tiles: Tiles) -> dict[str, int]:
    """What is fixed when a kernel is compiled."""
    sums = {"PIXELS": tiles.sum_pixels, "ROWS": tiles.sum_rows}
    rows = {"PIXELS": tiles.sum_pixels, "ROWS": tiles.row_block, "SLOTS": tiles.row_slots}
    return {
        "sum_colors": sums,
        "describe_instances": rows,
        "sum_pulls": sums,
        "push_means": {"ROWS": tiles.mean_block, "PIXELS": tiles.mean_pixels, "CHAIN": tiles.mean_chain},
        "push_levels": {"ROWS": tiles.mean_block, "OTHERS": tiles.mean_pixels, "CHAIN": tiles.mean_chain},
        "collect_rows": rows,
        "sum_terms": {"ROWS": 1024},
        "push_pixels": {"PIXELS": tiles.pixel_block, "CHAIN": tiles.pixel_chain},
    }[kernel]


def warps(kernel: str, tiles: Tiles) -> int:
    """Warps of a kernel's program."""
    if kernel in ("sum_colors", "sum_pulls"):
        return tiles.sum_warps
    if kernel in ("push_means", "push_levels"):
        return tiles.mean_warps
    return tiles.pixel_warps if kernel == "push_pixels" else tiles.row_warps


def grid_rule(kernel: str, tiles: Tiles) -> Grid:
    """A kernel's grid in terms of its arguments and of `n_images`, with the sizes of `tiles` put in."""
    x, y, z = (
        re.sub("[A-Z]+", lambda name: str(constexprs(kernel, tiles)[name.group()]), rule) for rule in GRIDS[kernel]
    )
    return x, y, z


def launches(shape: Shape, config: LossConfig, tiles: Tiles, with_grad: bool) -> list[Launch]:
    """The kernels in order. Without gradient the last one is left out, and `grad` is not written.

    Raises:
        LaunchError: a GPU takes no grid of that size (over 65,535 images).
    """
    counts = {
        "n_images": shape.n_images,
        "n_pixels": shape.n_pixels,
        "n_rows": shape.n_rows,
        "most_instances": shape.n_rows - 1,
        "n_slots": n_slots(shape, tiles),
        "segment_pixels": segment_pixels(shape, tiles),
        "n_segments": n_segments(shape, tiles),
    }
    weights = {
        "pull_weight": config.intra_weight,
        "push_weight": config.inter_weight * config.separation,
        "level_weight": config.mean_weight * config.mean_separation,
        "huber_delta": config.huber_delta,
    }
    left_out = {"push_pixels"} if not with_grad else set()
    if shape.n_rows == 1:  # no instance pushes
        left_out.add("push_means")
    return [
        Launch(name, evaluate_grid(grid_rule(name, tiles), counts), {**counts, **weights})
        for name in GRIDS
        if name not in left_out
    ]


def _cdiv(a: int, b: int) -> int:
    return -(-a // b)
