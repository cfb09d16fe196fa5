"""The instance colouring loss on a GPU: tensors through the kernels of `plan.py`.

What the kernels compute and the arrays between them are described in `triton_parts.py`.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from gen2seg_kernels.loss import plan, triton_pairs, triton_sums, triton_totals
from gen2seg_kernels.loss import tiles as tile_table
from gen2seg_kernels.loss.config import LossConfig
from gen2seg_kernels.loss.relabel import number_rows
from gen2seg_kernels.loss.tiles import Tiles
from gen2seg_kernels.variants import KernelVariant

KERNELS: dict[str, Any] = {
    "sum_colors": triton_sums.sum_colors,
    "describe_instances": triton_sums.describe_instances,
    "sum_pulls": triton_sums.sum_pulls,
    "push_means": triton_pairs.push_means,
    "push_levels": triton_pairs.push_levels,
    "collect_rows": triton_totals.collect_rows,
    "sum_terms": triton_totals.sum_terms,
    "push_pixels": triton_pairs.push_pixels,
}

_POINTERS = {
    **dict.fromkeys(("dense_ptr", "order_ptr", "starts_ptr", "instances_ptr"), "*i32"),
    **dict.fromkeys(("sums_ptr", "pulls_ptr", "pushes_ptr", "levels_ptr", "parts_ptr", "terms_ptr"), "*fp64"),
    **dict.fromkeys(("table_ptr", "mean_grad_ptr", "grad_ptr"), "*fp32"),
    "ignored_ptr": "*u8",
}


def loss_and_grad(
    pred: Tensor,
    labels: Tensor,
    ignored: Sequence[bool],
    valid: Tensor | None,
    config: LossConfig,
    with_grad: bool,
    *,
    tiles: Tiles | None = None,
) -> tuple[Tensor, Tensor | None]:
    """Terms (B, 3) float64 per image, and the gradient of the mean over the images of their sums.

    Arguments are those of `cpu.loss_and_grad`, as tensors on one GPU that `autograd.py` has checked. The result has
    the same bits on every run. The weights reach the kernels as float32. Beside the gradient (float64 for float64
    colours, else float32) extra memory is linear in pixels + instances: see `plan.scratch`, and about 50 bytes per
    pixel while the labels are sorted. The host waits for the device once per batch.

    Args:
        tiles: how the kernels cut their work; None takes the entry of the card in `tiles.TABLE`.

    Raises:
        ValueError: a valid label is negative, or an image has 2^29 pixels or more.
    """
    n_images, n_pixels = pred.shape[0], pred.shape[2] * pred.shape[3]
    if n_pixels >= 2**29:
        raise ValueError(f"pred must have fewer than 2^29 pixels per image, got {n_pixels}")
    real = torch.float64 if pred.dtype == torch.float64 else torch.float32
    terms = torch.zeros((n_images, 3), dtype=torch.float64, device=pred.device)
    grad = torch.empty(pred.shape, dtype=real, device=pred.device) if with_grad else None
    if n_pixels == 0:
        return terms, grad
    if tiles is None:
        tiles = _tiles_of(pred.device)
    rows = number_rows(labels.flatten(1), None if valid is None else valid.flatten(1))
    shape = plan.Shape(n_images, n_pixels, rows.n_rows)
    arrays = {
        "pred": pred.detach().contiguous(),
        "dense": rows.dense,
        "order": rows.order,
        "starts": rows.starts,
        "instances": rows.instances,
        "ignored": torch.tensor(ignored, dtype=torch.uint8, device=pred.device),
        "terms": terms,
        "grad": grad,
    }
    for name, (kind, size) in plan.scratch(shape, tiles).items():
        arrays[name] = torch.empty(size, dtype=torch.float64 if kind == "float64" else real, device=pred.device)
    with torch.cuda.device_of(pred):
        for launch in plan.launches(shape, config, tiles, with_grad):
            _launch(launch, arrays, tiles)
    return terms, grad


def _launch(launch: plan.Launch, arrays: dict[str, Any], tiles: Tiles) -> None:
    kernel = KERNELS[launch.kernel]
    fixed = plan.constexprs(launch.kernel, tiles)
    values = {
        name: arrays[name.removesuffix("_ptr")] if name.endswith("_ptr") else launch.numbers[name]
        for name in kernel.arg_names
        if name not in fixed
    }
    options = {"num_warps": plan.warps(launch.kernel, tiles), "num_stages": KernelVariant.num_stages}
    kernel[launch.grid](**values, **fixed, **options)


def _tiles_of(device: torch.device) -> Tiles:
    if device.type != "cuda":  # the interpreter
        return Tiles()
    major, minor = torch.cuda.get_device_capability(device)
    return tile_table.tiles_for(10 * major + minor)


def variants() -> list[KernelVariant]:
    """The kernels to compile ahead of time: for each type of colours they read, and each setting in `tiles.TABLE`.

    float64 colours are left out: they are for tests, and compiled when they are first met.
    """
    return [
        KernelVariant(
            name=f"loss_{name}_{colors}".rstrip("_"),
            kernel=kernel,
            signature={arg: _type_of(arg, colors) for arg in kernel.arg_names},
            constexprs=plan.constexprs(name, tiles),
            grid=plan.grid_rule(name, tiles),
            num_warps=plan.warps(name, tiles),
            doc=(kernel.fn.__doc__ or "").partition("\n")[0],
            architectures=architectures,
        )
        for name, kernel in KERNELS.items()
        for tiles, architectures in _settings(name)
        for colors in (("fp16", "bf16", "fp32") if "pred_ptr" in kernel.arg_names else ("",))
    ]


def _settings(kernel: str) -> list[tuple[Tiles, tuple[int, ...]]]:
    """The settings of `tiles.TABLE` that differ for this kernel, each with its architectures."""
    found: dict[tuple[Any, ...], tuple[Tiles, tuple[int, ...]]] = {}
    for capability, tiles in tile_table.TABLE.items():
        key = (*plan.constexprs(kernel, tiles).items(), plan.warps(kernel, tiles))
        found[key] = (tiles, (*found.get(key, (tiles, ()))[1], capability))
    return list(found.values())


def _type_of(argument: str, colors: str) -> str:
    if argument.isupper():
        return "constexpr"
    if argument.endswith("_weight") or argument == "huber_delta":
        return "fp32"
    return {"pred_ptr": f"*{colors}", **_POINTERS}.get(argument, "i32")
