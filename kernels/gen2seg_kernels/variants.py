"""What ahead-of-time compilation and the launch contract need to know of a Triton kernel, without Triton.

Each `triton.py` has a function `variants()` that lists its kernels; `gen2seg_kernels.aot` compiles them all.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class KernelVariant:
    """One kernel with all that is fixed when it is compiled.

    Attributes:
        name: stem of the compiled file; unique, lower case with underscores.
        kernel: the `triton.jit` function.
        signature: every argument in order: "*fp32", "*u8", "i32", "fp32", ..., or "constexpr"; "*fp32:16" promises
            an address that is a multiple of 16 bytes, "i32:16" such a number.
        constexprs: the values of the "constexpr" arguments.
        grid: the launch grid in terms of the arguments, e.g. ("cdiv(n_pixels, 1024)", "n_images", "1").
        num_warps: warps of a program.
        num_stages: depth of software pipelining.
        doc: what it computes, in a line.
        architectures: the compute capabilities (75, 80, ...) it is for; None = all. Variants of one name for different
            architectures differ in constants, grid and warps only.
    """

    name: str
    kernel: Any
    signature: Mapping[str, str]
    constexprs: Mapping[str, Any]
    grid: tuple[str, str, str]
    num_warps: int = 4
    num_stages: int = 2
    doc: str = ""
    architectures: tuple[int, ...] | None = None
