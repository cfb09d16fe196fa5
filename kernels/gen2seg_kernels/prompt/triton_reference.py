"""Triton kernels of mode "reference", in the order in which they run; `triton_field.py` has the layouts.

What is left out is what `lazy.py` leaves out: Gaussian weights that are zero, similarities that no window in doubt
needs, windows on one side of the cut. Sums are of whole numbers and ranges are maxima, so that no order of the
programs changes a bit.
"""

# Inside kernels Triton's types are not those that its Python signatures state.
# pyright: reportOperatorIssue=false, reportAttributeAccessIssue=false, reportGeneralTypeIssues=false
# pyright: reportOptionalOperand=false

import triton
import triton.language as tl

from gen2seg_kernels.prompt.triton_field import (
    INTEGERS,
    POINT,
    about_squared_distance,
    image_of,
    load_query,
    most_off,
    product,
    squared_distance,
    tile_pixels,
)

SPLIT = 16  # programs that share the Gaussian window of a point
LIMIT_LANES = 32  # candidates tried at once
RANGE_BLOCK = 1024

SUMS = tl.constexpr(8)  # numbers in a row of `sums`
EPSILON = tl.constexpr(1e-6)
REACH = tl.constexpr(6.05)  # in sigma; weights vanish beyond 6.005
RADIUS = tl.constexpr(4)
ROUND = tl.constexpr(49)  # pixels of the window
INFINITY_BITS = tl.constexpr(0x7FF0000000000000)  # of a double; doubles >= 0 are ordered like their bits
SPACES = tl.constexpr(17)  # weights by squared offset, 0..16, before those by colour distance
DOUBT = tl.constexpr(2)


@triton.jit(do_not_specialize=INTEGERS)
def query_kernel(pixels, points, sums, height, width, n_points, SPLIT: tl.constexpr, BLOCK: tl.constexpr):
    """Adds up the Gaussian weights around a point, and their products with the colours, as multiples of 2^-25.

    sums: (n_points, 8) int64, zero before: red, green, blue, weights; two for `range_kernel`; two unused.
    """
    point = tl.program_id(1).to(tl.int64)
    row = points + point * POINT
    px = tl.load(row)
    py = tl.load(row + 1)
    sigma = tl.load(row + 4)
    left, right, x_last = _reached(px, width, sigma)
    top, bottom, y_last = _reached(py, height, sigma)
    columns = tl.maximum(right - left + 1, 0)
    window = columns * tl.maximum(bottom - top + 1, 0)
    image = pixels + image_of(points, point) * height * width

    red = tl.zeros((BLOCK,), tl.int64)
    green = tl.zeros((BLOCK,), tl.int64)
    blue = tl.zeros((BLOCK,), tl.int64)
    total = tl.zeros((BLOCK,), tl.int64)
    for start in range(tl.program_id(0) * BLOCK, window, SPLIT * BLOCK):
        at = start + tl.arange(0, BLOCK)
        inside = at < window
        y = top + at // columns
        x = left + at % columns
        dx = (x.to(tl.float64) / x_last - px / x_last) / sigma
        dy = (y.to(tl.float64) / y_last - py / y_last) / sigma
        dx = tl.where(width > 1, dx, 0.0)  # an axis of one pixel has coordinate 0
        dy = tl.where(height > 1, dy, 0.0)
        weight = tl.exp(-0.5 * (product(dx, dx) + product(dy, dy))).to(tl.float32)
        there = 2.0 * weight - 1.0
        whole = ((there + 1.0) * 16777216.0).to(tl.int64)  # half of it, times 2^25
        whole = tl.where(inside, whole, 0)
        word = tl.load(image + y * width + x, mask=inside, other=0)
        red += whole * (word & 255)
        green += whole * ((word >> 8) & 255)
        blue += whole * ((word >> 16) & 255)
        total += whole
    out = sums + point * SUMS
    tl.atomic_add(out, tl.sum(red, 0), sem="relaxed")
    tl.atomic_add(out + 1, tl.sum(green, 0), sem="relaxed")
    tl.atomic_add(out + 2, tl.sum(blue, 0), sem="relaxed")
    tl.atomic_add(out + 3, tl.sum(total, 0), sem="relaxed")


@triton.jit
def _reached(center, length, sigma):
    """First and last index of an axis whose weight may differ from zero, and what coordinates are divided by."""
    last = (length - 1).to(tl.float64)
    reach = REACH * sigma * last
    first = tl.maximum(tl.ceil(center - reach), 0.0)
    final = tl.minimum(tl.floor(center + reach), last)
    one = length == 1
    first = tl.where(one, 0.0, first).to(tl.int32)
    final = tl.where(one, 0.0, final).to(tl.int32)
    return first, final, tl.maximum(last, 1.0)


@triton.jit
def _query(sums, point):
    row = sums + point * SUMS
    unit = 2.98023223876953125e-08  # 2^-25
    weight = tl.load(row + 3).to(tl.float64) * unit + EPSILON
    red = tl.load(row).to(tl.float64) * unit / weight
    green = tl.load(row + 1).to(tl.float64) * unit / weight
    blue = tl.load(row + 2).to(tl.float64) * unit / weight
    return red, green, blue


@triton.jit
def _range(sums, point):
    """Least and greatest squared distance so far; infinity and 0 before the first."""
    row = sums + point * SUMS
    low = INFINITY_BITS - tl.load(row + 4)
    return low.to(tl.float64, bitcast=True), tl.load(row + 5).to(tl.float64, bitcast=True)


@triton.jit(do_not_specialize=INTEGERS)
def range_kernel(pixels, points, sums, n_pixels, n_points, BLOCK: tl.constexpr):
    """Widens the range of the squared distance to the query by that of a block of pixels.

    The range is kept as bits in `sums`, least one upside down, so that both start at zero and grow. A block that by
    its float32 distances cannot widen what other blocks left there is done. Programs take the first block of every
    point, then the second, so that later blocks find the ranges of earlier ones. Which blocks skip may differ from
    run to run, the range cannot.
    """
    point = (tl.program_id(0) % n_points).to(tl.int64)
    at = (tl.program_id(0) // n_points) * BLOCK + tl.arange(0, BLOCK)
    inside = at < n_pixels
    word = tl.load(pixels + image_of(points, point) * n_pixels + at, mask=inside, other=0)
    red, green, blue = _query(sums, point)
    low, high = _range(sums, point)
    about = about_squared_distance(word, red, green, blue)
    least = tl.min(tl.where(inside, about, float("inf")), 0)
    most = tl.max(tl.where(inside, about, 0.0), 0)
    least = (least - most_off(least)).to(tl.float64)
    most = (most + most_off(most)).to(tl.float64)
    if (least < low) | (most > high):
        bits = squared_distance(word, red, green, blue).to(tl.int64, bitcast=True)
        row = sums + point * SUMS
        tl.atomic_max(row + 4, tl.max(tl.where(inside, INFINITY_BITS - bits, 0), 0), sem="relaxed")
        tl.atomic_max(row + 5, tl.max(tl.where(inside, bits, 0), 0), sem="relaxed")


@triton.jit
def _similarity(squared):
    return 1.0 / (tl.sqrt(squared) + EPSILON)


@triton.jit
def _stretched(squared, smallest, span):
    return (_similarity(squared) - smallest) / span * 255.0


@triton.jit
def _above(bits, smallest, span, cut):
    return _stretched(bits.to(tl.float64, bitcast=True), smallest, span) >= (cut + 1).to(tl.float64)


@triton.jit(do_not_specialize=INTEGERS)
def limit_kernel(sums, facts, cut, n_points, LANES: tl.constexpr):
    """The query, how similarity is stretched, and the largest squared distance whose similarity is above `cut`.

    cut: a whole number: infinity if it is negative, for then all pixels are above; -1 if none is.
    """
    point = tl.program_id(0).to(tl.int64)
    row = facts + point * POINT
    red, green, blue = _query(sums, point)
    tl.store(row, red)
    tl.store(row + 1, green)
    tl.store(row + 2, blue)
    low, high = _range(sums, point)
    smallest = _similarity(high)
    span = _similarity(low) - smallest + EPSILON
    tl.store(row + 6, smallest)
    tl.store(row + 7, span)

    inside = low.to(tl.int64, bitcast=True)
    outside = high.to(tl.int64, bitcast=True)
    above = _above(inside, smallest, span, cut)
    if (cut >= 0) & above:
        # Solved as if numbers were real, the limit is off by a few units in the last place.
        root = 1.0 / (smallest + (cut + 1).to(tl.float64) / 255.0 * span) - EPSILON
        guess = (root * root).to(tl.int64, bitcast=True)
        before = tl.maximum(guess - 4096, inside)
        after = tl.minimum(guess + 4096, outside)
        if _above(before, smallest, span, cut):
            inside = before
        if after > inside:
            outside = tl.where(_above(after, smallest, span, cut), outside, after)
        while outside - inside > 1:
            step = (outside - inside + LANES) // (LANES + 1)
            tried = inside + step * (1 + tl.arange(0, LANES))
            passed = (tried < outside) & _above(tried, smallest, span, cut)
            inside += step * tl.sum(passed.to(tl.int64), 0)
            outside = tl.minimum(outside, inside + step)
    limit = tl.where(above, inside.to(tl.float64, bitcast=True), -1.0)
    tl.store(row + 3, tl.where(cut < 0, float("inf"), limit))


@triton.jit
def _reflected(index, length):
    """Mirrors indices of at most RADIUS beyond an axis back into it, at its first and last pixel."""
    index = tl.abs(index)
    index = tl.minimum(index, 2 * (length - 1) - index)
    if length <= RADIUS:
        for _ in tl.static_range(2):  # an axis of two pixels needs three turns in all
            index = tl.abs(index)
            index = tl.minimum(index, 2 * (length - 1) - index)
        index = tl.maximum(index, 0)  # an axis of one pixel
    return index


@triton.jit
def _bits_around(tiles, tile, height, width, TILE_H: tl.constexpr, TILE_W: tl.constexpr):
    """The bytes of a tile and its eight neighbours, joined by "or": all that windows in it can see."""
    across = tl.cdiv(width, TILE_W)
    down = tl.cdiv(height, TILE_H)
    which = tl.arange(0, 16)
    y = tile // across + which // 3 - 1
    x = tile % across + which % 3 - 1
    there = (which < 9) & (y >= 0) & (y < down) & (x >= 0) & (x < across)
    bits = tl.load(tiles + y * across + x, mask=there, other=0).to(tl.int32)
    return tl.max(bits & 1, 0) | tl.max(bits & 2, 0)


@triton.jit(do_not_specialize=INTEGERS)
def doubt_kernel(near, tiles, mask, doubts, height, width, n_points, TILE_H: tl.constexpr, TILE_W: tl.constexpr):
    """A pixel's byte in `mask`: 1 if its whole round window is near, 0 if none of it is, else 2.

    near, tiles: from `near_kernel`. doubts: like `tiles`, 1 where a pixel of the tile is 2.
    """
    tile = tl.program_id(0)
    point = tl.program_id(1).to(tl.int64)
    n_pixels = height * width
    n_tiles = tl.cdiv(height, TILE_H) * tl.cdiv(width, TILE_W)
    y, x = tile_pixels(tile, height, width, TILE_H, TILE_W)
    inside = (y < height) & (x < width)
    middle = y * width + x
    around = _bits_around(tiles + point * n_tiles, tile, height, width, TILE_H, TILE_W)
    state = tl.zeros((TILE_H, TILE_W), tl.int32) + (around & 1)
    if around == 3:
        here = near + point * n_pixels
        count = tl.zeros((TILE_H, TILE_W), tl.int32)
        y = tl.minimum(y, height - 1)
        x = tl.minimum(x, width - 1)
        for dy in range(-RADIUS, RADIUS + 1):
            line = _reflected(y + dy, height) * width
            for dx in range(-RADIUS, RADIUS + 1):
                if dy * dy + dx * dx <= RADIUS * RADIUS:
                    at = line + _reflected(x + dx, width)
                    count += tl.load(here + at).to(tl.int32)
        state = tl.where(count == ROUND, 1, tl.where(count == 0, 0, DOUBT))
    tl.store(mask + point * n_pixels + middle, state.to(tl.uint8), mask=inside)
    doubtful = (inside & (state == DOUBT)).to(tl.int32)
    tl.store(doubts + point * n_tiles + tile, tl.max(tl.max(doubtful, 1), 0).to(tl.uint8))


@triton.jit(do_not_specialize=INTEGERS)
def similarity_kernel(
    pixels,
    points,
    facts,
    doubts,
    similarity,
    height,
    width,
    n_points,
    TILE_H: tl.constexpr,
    TILE_W: tl.constexpr,
):
    """The similarity 0..255 (n_points, height, width) uint8 of the tiles that a window in doubt may see."""
    tile = tl.program_id(0)
    point = tl.program_id(1).to(tl.int64)
    n_pixels = height * width
    n_tiles = tl.cdiv(height, TILE_H) * tl.cdiv(width, TILE_W)
    if _bits_around(doubts + point * n_tiles, tile, height, width, TILE_H, TILE_W) != 0:
        y, x = tile_pixels(tile, height, width, TILE_H, TILE_W)
        inside = (y < height) & (x < width)
        at = y * width + x
        word = tl.load(pixels + image_of(points, point) * n_pixels + at, mask=inside, other=0)
        red, green, blue = load_query(facts, point)
        smallest = tl.load(facts + point * POINT + 6)
        span = tl.load(facts + point * POINT + 7)
        value = _stretched(squared_distance(word, red, green, blue), smallest, span)
        value = tl.where(inside, value, 0.0).to(tl.int32)
        tl.store(similarity + point * n_pixels + at, value.to(tl.uint8), mask=inside)


@triton.jit(do_not_specialize=INTEGERS)
def filter_kernel(
    pixels,
    points,
    similarity,
    doubts,
    tables,
    mask,
    cut,
    height,
    width,
    n_points,
    TILE_H: tl.constexpr,
    TILE_W: tl.constexpr,
):
    """Settles the pixels of `mask` that are 2: 1 if the joint bilateral filter of the similarity is above `cut`.

    tables: (783,) float32, see `filter_weights` in `triton.py`.
    """
    tile = tl.program_id(0)
    point = tl.program_id(1).to(tl.int64)
    n_pixels = height * width
    n_tiles = tl.cdiv(height, TILE_H) * tl.cdiv(width, TILE_W)
    if tl.load(doubts + point * n_tiles + tile) != 0:
        y, x = tile_pixels(tile, height, width, TILE_H, TILE_W)
        inside = (y < height) & (x < width)
        middle = y * width + x
        image = pixels + image_of(points, point) * n_pixels
        values = similarity + point * n_pixels
        state = tl.load(mask + point * n_pixels + middle, mask=inside, other=0)
        center = tl.load(image + middle, mask=inside, other=0)
        red = center & 255
        green = (center >> 8) & 255
        blue = center >> 16
        total = tl.zeros((TILE_H, TILE_W), tl.float32)
        weights = tl.zeros((TILE_H, TILE_W), tl.float32)
        y = tl.minimum(y, height - 1)
        x = tl.minimum(x, width - 1)
        for dy in range(-RADIUS, RADIUS + 1):  # in row order, as the definition sums
            line = _reflected(y + dy, height) * width
            for dx in range(-RADIUS, RADIUS + 1):
                if dy * dy + dx * dx <= RADIUS * RADIUS:
                    at = line + _reflected(x + dx, width)
                    space = tl.load(tables + dy * dy + dx * dx)
                    word = tl.load(image + at)
                    l1 = tl.abs(red - (word & 255)) + tl.abs(green - ((word >> 8) & 255)) + tl.abs(blue - (word >> 16))
                    color = tl.load(tables + SPACES + l1)
                    weight = product(space, color)
                    total += product(weight, tl.load(values + at).to(tl.float32))
                    weights += weight
        mean = product(total, tl.div_rn(1.0, weights))
        # A mean half way between two whole numbers goes to the even one.
        half = cut.to(tl.float32) + 0.5
        above = (mean > half) | ((mean == half) & (cut % 2 == 1))
        tl.store(mask + point * n_pixels + middle, above.to(tl.uint8), mask=inside & (state == DOUBT))
