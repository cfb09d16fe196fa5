"""Sends the launches of Triton kernels to files compiled ahead of time: the same host code, the same tensors."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch

from bench.gpu_check.checks import Check
from gen2seg_kernels.aot.contract import Target
from gen2seg_kernels.aot.errors import LaunchError
from gen2seg_kernels.aot.grid import evaluate_rule, names_in_rule
from gen2seg_kernels.launch import CompiledKernels
from gen2seg_kernels.variants import KernelVariant

# How Triton itself launches; everything else in a call belongs to the kernel.
_OPTIONS = frozenset({"num_warps", "num_stages", "num_ctas", "enable_fp_fusion"})
_TYPES = {
    **{torch.float16: "*fp16", torch.bfloat16: "*bf16", torch.float32: "*fp32", torch.float64: "*fp64"},
    **{torch.uint8: "*u8", torch.int32: "*i32", torch.int64: "*i64", torch.bool: "*i1"},
}


def check_all_run(
    kernels: CompiledKernels, variants: Sequence[KernelVariant], stream: Any, parity: Callable[[], Iterable[Check]]
) -> list[Check]:
    """The checks of `parity` with every launch through compiled files, and whether each of these was launched.

    Args:
        kernels, variants, stream: see `launching_compiled`.
        parity: makes the checks.
    """
    with launching_compiled(kernels, variants, stream) as ran:
        checks = list(parity())
    missed = sorted({variant.name for variant in variants} - ran)
    return [*checks, Check("compiled kernels that nothing launched", len(missed), 0.0, ", ".join(missed))]


@contextmanager
def launching_compiled(kernels: CompiledKernels, variants: Sequence[KernelVariant], stream: Any) -> Iterator[set[str]]:
    """Within the block every launch of a variant's kernel runs its compiled file; yields the names that ran.

    Args:
        kernels: the compiled files.
        variants: all variants of the kernels.
        stream: a function that gives the stream, as an int, on which tensors are being computed.

    Raises:
        LaunchError: from a launch that no variant covers, or whose grid is not the contract's.
    """
    ran: set[str] = set()
    functions = {id(variant.kernel): variant.kernel for variant in variants}
    try:
        for key, kernel in functions.items():
            own = [variant for variant in variants if id(variant.kernel) == key]
            kernel.run = _Route(kernel, own, kernels, stream, ran)
        yield ran
    finally:
        for kernel in functions.values():
            vars(kernel).pop("run", None)


class _Route:
    """Stands for the `run` method of one kernel."""

    def __init__(
        self, kernel: Any, variants: Sequence[KernelVariant], kernels: CompiledKernels, stream: Any, ran: set[str]
    ) -> None:
        self._kernel, self._variants, self._kernels = kernel, variants, kernels
        self._stream, self._ran = stream, ran

    def __call__(self, *args: Any, grid: Any, warmup: bool, **kwargs: Any) -> None:
        values = dict(zip(self._kernel.arg_names, args, strict=False))
        values |= {name: value for name, value in kwargs.items() if name not in _OPTIONS}
        target, variant = self._covering(values)
        sizes: tuple[int, ...] = tuple(grid(values) if callable(grid) else grid)  # type: ignore[arg-type]
        x, y, z = (*sizes, 1, 1)[:3]
        check_grid(target, values, (x, y, z))
        arguments = {
            name: value.data_ptr() if isinstance(value, torch.Tensor) else value
            for name, value in values.items()
            if variant.signature[name] != "constexpr"
        }
        self._kernels.launch(variant.name, arguments, grid=(x, y, z), stream=self._stream())
        self._ran.add(variant.name)

    def _covering(self, values: Mapping[str, Any]) -> tuple[Target, KernelVariant]:
        for variant in self._variants:
            types = {name: kind.partition(":")[0] for name, kind in variant.signature.items()}
            if set(values) != set(types) or any(
                _TYPES.get(value.dtype) != types[name]
                for name, value in values.items()
                if isinstance(value, torch.Tensor)
            ):
                continue
            target = self._kernels.target(variant.name)
            if all(values[name] == value for name, value in target.constants.items()):
                return target, variant
        shown = {n: str(v.dtype) if isinstance(v, torch.Tensor) else v for n, v in values.items()}
        raise LaunchError(f"no compiled variant of {self._kernel.__name__} takes {shown}")


def check_grid(target: Target, values: Mapping[str, Any], grid: tuple[int, int, int]) -> None:
    """Raises LaunchError unless the contract's rules, where the arguments suffice for them, give this grid."""
    numbers = {n: v for n, v in {**target.constants, **values}.items() if isinstance(v, int)}
    for rule, size in zip(target.grid, grid, strict=True):
        if names_in_rule(rule) <= set(numbers) and evaluate_rule(rule, numbers) != size:
            raise LaunchError(f"{target.file}: the grid has {size} where {rule!r} gives {evaluate_rule(rule, numbers)}")
