"""Triton kernels that turn raw planes into colours: their range, then the colours once the host knows the rule.

Layouts: `raw` (3, padded height, padded width) float32; `found` (4,) int32, see `range_kernel`; `colors` (height,
width, 3) uint8, the upper left part of the padded planes.
"""

# Inside kernels Triton's types are not those that its Python signatures state.
# pyright: reportOperatorIssue=false, reportAttributeAccessIssue=false, reportGeneralTypeIssues=false

from typing import Any

import triton
import triton.language as tl

from gen2seg_kernels.variants import KernelVariant

BLOCK = 1024

MAGNITUDE = tl.constexpr(0x7FFFFFFF)
INFINITY_BITS = tl.constexpr(0x7F800000)  # of a float32; what is not below is infinite or NaN


@triton.jit(do_not_specialize=["n_values"])
def range_kernel(raw, found, n_values, BLOCK: tl.constexpr):
    """Widens the range of all values, as integers that are ordered as the numbers are.

    found: the least value, the greatest one, how many are NaN or infinite; before, the largest and the least int32
    and 0. A float's bits are in order where it is positive; where it is negative all but the sign are flipped.
    """
    at = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    inside = at < n_values
    bits = tl.load(raw + at, mask=inside, other=0.0).to(tl.int32, bitcast=True)
    wrong = inside & ((bits & MAGNITUDE) >= INFINITY_BITS)
    ordered = tl.where(bits < 0, bits ^ MAGNITUDE, bits)
    tl.atomic_min(found, tl.min(tl.where(inside, ordered, MAGNITUDE), 0), sem="relaxed")
    tl.atomic_max(found + 1, tl.max(tl.where(inside, ordered, -MAGNITUDE - 1), 0), sem="relaxed")
    tl.atomic_add(found + 2, tl.sum(wrong.to(tl.int32), 0), sem="relaxed")


@triton.jit(do_not_specialize=["height", "width", "padded_width", "n_padded"])
def paint_kernel(
    raw,
    colors,
    low,
    high,
    offset,
    divisor,
    factor,
    gamma,
    height,
    width,
    padded_width,
    n_padded,
    GAMMA: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """Colours: clip to low..high, plus offset, over divisor, with GAMMA to the power gamma, times factor; truncated.

    Every step is rounded as NumPy's float32 does, but for the power, which may be off by a few units in the last place.
    """
    at = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    channel = tl.program_id(1)
    inside = at < height * width
    place = channel.to(tl.int64) * n_padded + at // width * padded_width + at % width
    value = tl.load(raw + place, mask=inside, other=0.0)
    value = tl.minimum(tl.maximum(value, low), high) + offset
    value = tl.div_rn(value, divisor)
    if GAMMA:
        value = tl.exp2(tl.log2(value) * gamma)
    value = tl.minimum(tl.maximum(value * factor, 0.0), 255.0)
    tl.store(colors + at.to(tl.int64) * 3 + channel, value.to(tl.int32).to(tl.uint8), mask=inside)


def variants() -> list[KernelVariant]:
    """Every kernel of this file, as it is compiled ahead of time."""
    return [RANGE, PAINT, PAINT_GAMMA]


def _paint(name: str, gamma: bool) -> KernelVariant:
    numbers = dict.fromkeys(("low", "high", "offset", "divisor", "factor", "gamma"), "fp32")
    sizes = dict.fromkeys(("height", "width", "padded_width", "n_padded"), "i32")
    fixed: dict[str, Any] = {"GAMMA": gamma, "BLOCK": BLOCK}
    signature = {"raw": "*fp32", "colors": "*u8", **numbers, **sizes, **dict.fromkeys(fixed, "constexpr")}
    grid = (f"cdiv(height * width, {BLOCK})", "3", "1")
    return KernelVariant(f"colors_{name}", paint_kernel, signature, fixed, grid, doc="raw planes to colours")


RANGE = KernelVariant(
    "colors_range",
    range_kernel,
    {"raw": "*fp32", "found": "*i32", "n_values": "i32", "BLOCK": "constexpr"},
    {"BLOCK": BLOCK},
    (f"cdiv(n_values, {BLOCK})", "1", "1"),
    doc="range of raw values",
)
PAINT = _paint("paint", gamma=False)
PAINT_GAMMA = _paint("paint_gamma", gamma=True)
