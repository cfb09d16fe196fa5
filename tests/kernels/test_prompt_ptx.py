"""What the compiler makes of the prompting kernels' arithmetic, which the interpreter cannot tell."""

import re

import pytest

triton = pytest.importorskip("triton")
pytest.importorskip("torch")

from triton.backends.compiler import GPUTarget  # noqa: E402
from triton.compiler import ASTSource  # noqa: E402

from gen2seg_kernels.prompt import triton_variants as variants  # noqa: E402


def operations(variant):
    """The floating-point operations of a kernel's PTX, such as "mul.rn.f32"."""
    source = ASTSource(fn=variant.kernel, signature=dict(variant.signature), constexprs=dict(variant.constexprs))
    options = {"num_warps": variant.num_warps, "num_stages": variant.num_stages}
    ptx = triton.compile(source, target=GPUTarget("cuda", 80, 32), options=options).asm["ptx"]
    return set(re.findall(r"\b(?:fma|mul|div|sqrt|rcp|ex2)\.[a-z0-9.]*f(?:32|64)", ptx))


@pytest.mark.parametrize(
    ("variant", "needed", "forbidden"),
    [
        # Products that are summed round by themselves; a `mul` without `.rn` might be fused by the assembler.
        (variants.FILTER, {"mul.rn.ftz.f32", "div.rn.f32"}, {"fma.rn.f32", "mul.f32"}),
        (variants.NEAR, {"mul.rn.f64"}, {"fma.rn.f64", "mul.f64"}),
        # Its one fused operation adds to a product with a power of two, which is exact.
        (variants.RANGE, {"mul.rn.f64", "div.rn.f64"}, set()),
        (variants.SIMILARITY, {"mul.rn.f64", "sqrt.rn.f64", "div.rn.f64"}, {"fma.rn.f64"}),
        (variants.LIMIT, {"sqrt.rn.f64", "div.rn.f64"}, set()),
        (variants.QUERY, {"mul.rn.f64", "div.rn.f64"}, set()),
    ],
    ids=lambda value: getattr(value, "name", ""),
)
def test_operations_that_decide_round_as_the_definition(variant, needed, forbidden):
    found = operations(variant)
    assert needed <= found
    assert not forbidden & found
    assert not [name for name in found if ".approx" in name or ".full" in name]
