"""Triton kernels that both modes of prompting share: pixels as words, what is near a colour, masks joined.

Layouts, here and in `triton_reference.py` and `triton_metric.py` (all arrays dense, on the device):

- `pixels` (images, height, width) int32: red, green, blue, 0 from the lowest byte.
- `points` (points, 8) float64, what is asked for, one row a point: x, y in pixels; index of the image; 1 = positive,
  0 = negative; then for mode reference sigma, for mode metric the squared distances up to which a pixel is like the
  clicked one, and up to which it is inside the middle, the inner and the outer cut.
- `facts` (points, 8) float64, what was found out: the query's red, green, blue; up to three limits of the squared
  distance; for mode reference `smallest` and `span` of the similarity (see `stretch` in `reference.py`).
- `plane` (points, height, width) uint8: a byte for each pixel.
- `tiles` (points, tiles of TILE_H x TILE_W pixels in row order) uint8: a byte for each tile.

Doubles decide, by the definition's operations in its order; float32 only says where they need not be asked.
"""

# Inside kernels Triton's types are not those that its Python signatures state.
# pyright: reportOperatorIssue=false, reportAttributeAccessIssue=false, reportGeneralTypeIssues=false
# pyright: reportOptionalOperand=false

import triton
import triton.language as tl
from triton import knobs
from triton.language.extra import libdevice

POINT = tl.constexpr(8)  # numbers in a row of `points`, and of `facts`
BLOCK = 1024  # pixels of a program that takes them in flat order
TILE_H, TILE_W = 8, 32  # pixels of a program that looks around; more than the filter's radius

# Arguments that a kernel is not to be compiled anew for.
INTEGERS = ("height", "width", "n_pixels", "n_images", "n_points", "n_prompts", "cut", "bit", "clear")


@triton.jit
def _product_compiled(a, b):
    return libdevice.mul_rn(a, b)


def _product_interpreted(a, b):
    return a * b


# a * b rounded by itself: compilers would join it with a sum to one operation, which rounds otherwise; NumPy does not.
# In float32 libdevice takes numbers below 2^-126 for zero; the filter's products are zero or above 1e-23.
product = _product_interpreted if knobs.runtime.interpret else _product_compiled


@triton.jit
def squared_distance(pixels, red, green, blue):
    """Squared colour distance in doubles, as the definition computes it."""
    r = (pixels & 255).to(tl.float64) - red
    g = ((pixels >> 8) & 255).to(tl.float64) - green
    b = ((pixels >> 16) & 255).to(tl.float64) - blue
    return product(r, r) + product(g, g) + product(b, b)


@triton.jit
def about_squared_distance(pixels, red, green, blue):
    """The same in float32, off by less than `most_off`."""
    r = (pixels & 255).to(tl.float32) - red.to(tl.float32)
    g = ((pixels >> 8) & 255).to(tl.float32) - green.to(tl.float32)
    b = ((pixels >> 16) & 255).to(tl.float32) - blue.to(tl.float32)
    return r * r + g * g + b * b


@triton.jit
def most_off(about):
    """How far `about` and a limit near it, rounded to float32, may be from the doubles.

    A colour difference is off by 2^-17 for the rounded query and 2^-17 of its own. Squared and summed over channels
    that is at most 2^-15 sqrt(3 about), plus 3e-7 of `about` for roundings: below 3e-5 (1 + about), and below 0.06
    for the largest distance.
    """
    return tl.minimum(4e-5 * about + 4e-5, 0.0625)


@triton.jit
def tile_pixels(tile, height, width, TILE_H: tl.constexpr, TILE_W: tl.constexpr):
    """Rows (TILE_H, 1) and columns (1, TILE_W) of a tile."""
    across = tl.cdiv(width, TILE_W)
    y = (tile // across) * TILE_H + tl.arange(0, TILE_H)[:, None]
    x = (tile % across) * TILE_W + tl.arange(0, TILE_W)[None, :]
    return y, x


@triton.jit
def load_query(facts, point):
    row = facts + point * POINT
    return tl.load(row), tl.load(row + 1), tl.load(row + 2)


@triton.jit
def image_of(points, point):
    return tl.load(points + point * POINT + 2).to(tl.int64)


@triton.jit(do_not_specialize=INTEGERS)
def pack_kernel(colors, pixels, n_pixels, n_images, BLOCK: tl.constexpr):
    """Colours (n_images, n_pixels, 3) uint8 to words."""
    at = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    inside = at < n_pixels
    at = tl.program_id(1).to(tl.int64) * n_pixels + at
    red = tl.load(colors + at * 3, mask=inside, other=0).to(tl.int32)
    green = tl.load(colors + at * 3 + 1, mask=inside, other=0).to(tl.int32)
    blue = tl.load(colors + at * 3 + 2, mask=inside, other=0).to(tl.int32)
    tl.store(pixels + at, red | (green << 8) | (blue << 16), mask=inside)


@triton.jit(do_not_specialize=INTEGERS)
def near_kernel(
    pixels,
    points,
    facts,
    plane,
    tiles,
    height,
    width,
    n_points,
    PARTS: tl.constexpr,
    TILE_H: tl.constexpr,
    TILE_W: tl.constexpr,
):
    """Bit i of a pixel's byte: its squared distance is at most limit i, for PARTS limits.

    Of a tile's byte, bit 0: some pixel is within the first limit; bit 1: some pixel is not.
    """
    tile = tl.program_id(0)
    point = tl.program_id(1).to(tl.int64)
    n_pixels = height * width
    y, x = tile_pixels(tile, height, width, TILE_H, TILE_W)
    inside = (y < height) & (x < width)
    at = y * width + x
    word = tl.load(pixels + image_of(points, point) * n_pixels + at, mask=inside, other=0)
    red, green, blue = load_query(facts, point)
    limits = facts + point * POINT + 3

    about = about_squared_distance(word, red, green, blue)
    off = most_off(about)
    bits = tl.zeros((TILE_H, TILE_W), tl.int32)
    unsure = tl.zeros((TILE_H, TILE_W), tl.int32)
    for part in tl.static_range(PARTS):
        over = about - tl.load(limits + part).to(tl.float32)
        bits |= (over <= 0).to(tl.int32) << part
        unsure |= (inside & (tl.abs(over) <= off)).to(tl.int32)
    if tl.max(tl.max(unsure, 1), 0) > 0:
        squared = squared_distance(word, red, green, blue)
        bits = tl.zeros((TILE_H, TILE_W), tl.int32)
        for part in tl.static_range(PARTS):
            bits |= (squared <= tl.load(limits + part)).to(tl.int32) << part

    tl.store(plane + point * n_pixels + at, bits.to(tl.uint8), mask=inside)
    sides = tl.where(inside, tl.where((bits & 1) != 0, 1, 2), 0)
    some_near = tl.max(tl.max(sides & 1, 1), 0)
    some_far = tl.max(tl.max(sides & 2, 1), 0)
    n_tiles = tl.cdiv(height, TILE_H) * tl.cdiv(width, TILE_W)
    tl.store(tiles + point * n_tiles + tile, (some_near | some_far).to(tl.uint8))


@triton.jit(do_not_specialize=INTEGERS)
def join_kernel(plane, points, starts, out, counts, n_pixels, n_prompts, COUNT: tl.constexpr, BLOCK: tl.constexpr):
    """Union of the positive points' masks (bit 0 of `plane`) less that of the negative ones', as bytes 0 and 1.

    starts: (n_prompts + 1,) int32, where each prompt's points begin and the last one's end.
    out: (n_prompts, n_pixels) uint8.
    counts: with COUNT, (n_prompts, 3) int32, zero before: pixels of the mask, of the smallest one that the inner and
        outer cuts (bits 1 and 2) allow, and of the largest one; else left alone.
    """
    at = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    prompt = tl.program_id(1).to(tl.int64)
    inside = at < n_pixels
    positive = tl.zeros((BLOCK,), tl.int32)
    negative = tl.zeros((BLOCK,), tl.int32)
    for point in range(tl.load(starts + prompt), tl.load(starts + prompt + 1)):
        bits = tl.load(plane + n_pixels.to(tl.int64) * point + at, mask=inside, other=0).to(tl.int32)
        sign = tl.load(points + point * POINT + 3) != 0.0
        positive |= tl.where(sign, bits, 0)
        negative |= tl.where(sign, 0, bits)
    mask = positive & ~negative & 1
    tl.store(out + prompt * n_pixels + at, mask.to(tl.uint8), mask=inside)
    if COUNT:
        # The smallest mask loses what the largest negatives take, the largest what the smallest do.
        smallest = (positive >> 1) & ~(negative >> 2) & 1
        largest = (positive >> 2) & ~(negative >> 1) & 1
        tl.atomic_add(counts + prompt * 3, tl.sum(mask, 0), sem="relaxed")
        tl.atomic_add(counts + prompt * 3 + 1, tl.sum(smallest, 0), sem="relaxed")
        tl.atomic_add(counts + prompt * 3 + 2, tl.sum(largest, 0), sem="relaxed")
