"""Triton kernels of mode "metric", in the order in which they run; `triton_field.py` has the layouts.

What is connected is found by union-find: every pixel's label is a pixel of its component with a lower or the same
index, components are linked at their least pixels by atomic minima, and in the end a pixel's least pixel names its
component, in whatever order the links were made. Three launches, however the region winds.

Source: Oliveira and Lotufo, A study on connected components labeling algorithms using GPUs, SIBGRAPI 2010.
"""

# Inside kernels Triton's types are not those that its Python signatures state.
# pyright: reportOperatorIssue=false, reportAttributeAccessIssue=false, reportGeneralTypeIssues=false
# pyright: reportOptionalOperand=false

import triton
import triton.language as tl

from gen2seg_kernels.prompt.triton_field import INTEGERS, POINT, image_of

RUN_BLOCK = 512  # pixels whose runs a program labels and links
QUERY_LANES = 64  # of a square of 8 x 8 that holds the round window

RADIUS = tl.constexpr(3)  # `QUERY_RADIUS` of `metric.py`


@triton.jit
def _clicked(points, point, height, width):
    """Row and column of the pixel under a point."""
    x = tl.floor(tl.load(points + point * POINT) + 0.5).to(tl.int32)
    y = tl.floor(tl.load(points + point * POINT + 1) + 0.5).to(tl.int32)
    return tl.minimum(y, height - 1), tl.minimum(x, width - 1)


@triton.jit(do_not_specialize=INTEGERS)
def mean_kernel(pixels, points, facts, height, width, n_points, LANES: tl.constexpr):
    """The mean colour of the pixels near a point that look like it, and the limits asked for, into `facts`."""
    point = tl.program_id(0).to(tl.int64)
    seed_y, seed_x = _clicked(points, point, height, width)
    image = pixels + image_of(points, point) * height * width
    seed = tl.load(image + seed_y * width + seed_x)
    lane = tl.arange(0, LANES)
    dy = lane // 8 - RADIUS
    dx = lane % 8 - RADIUS
    y = seed_y + dy
    x = seed_x + dx
    near = (dy * dy + dx * dx <= RADIUS * RADIUS) & (y >= 0) & (y < height) & (x >= 0) & (x < width)
    word = tl.load(image + y * width + x, mask=near, other=0)
    r = (word & 255) - (seed & 255)
    g = ((word >> 8) & 255) - ((seed >> 8) & 255)
    b = ((word >> 16) & 255) - ((seed >> 16) & 255)
    asked = points + point * POINT + 4
    alike = near & ((r * r + g * g + b * b).to(tl.float64) <= tl.load(asked))
    count = tl.sum(alike.to(tl.int32), 0).to(tl.float64)
    word = tl.where(alike, word, 0)
    found = facts + point * POINT
    tl.store(found, tl.sum(word & 255, 0).to(tl.float64) / count)
    tl.store(found + 1, tl.sum((word >> 8) & 255, 0).to(tl.float64) / count)
    tl.store(found + 2, tl.sum((word >> 16) & 255, 0).to(tl.float64) / count)
    for part in tl.static_range(3):
        tl.store(found + 3 + part, tl.load(asked + 1 + part))


@triton.jit
def _greater(a, b):
    return tl.maximum(a, b)


@triton.jit(do_not_specialize=INTEGERS)
def label_kernel(plane, labels, bit, height, width, n_points, BLOCK: tl.constexpr):
    """Labels (n_points, height, width) int32: where a pixel has the bit, the first one of its run; elsewhere -1.

    A run is of neighbours in one row that have the bit, cut at the borders of blocks of pixels in flat order.
    """
    first = tl.program_id(0) * BLOCK
    point = tl.program_id(1).to(tl.int64)
    n_pixels = height * width
    at = first + tl.arange(0, BLOCK)
    inside = at < n_pixels
    near = _has_bit(plane + point * n_pixels, at, inside, bit)
    start = tl.where(near, tl.maximum(at - at % width, first), at + 1)
    start = tl.associative_scan(start, 0, _greater)
    tl.store(labels + point * n_pixels + at, tl.where(near, start, -1), mask=inside)


@triton.jit
def _has_bit(plane, at, there, bit):
    return ((tl.load(plane + at, mask=there, other=0).to(tl.int32) >> bit) & 1) != 0


@triton.jit(do_not_specialize=INTEGERS)
def link_kernel(plane, labels, bit, height, width, n_points, BLOCK: tl.constexpr):
    """Links runs that touch, across corners too. BLOCK: as in `label_kernel`."""
    lane = tl.arange(0, BLOCK)
    at = tl.program_id(0) * BLOCK + lane
    point = tl.program_id(1).to(tl.int64)
    n_pixels = height * width
    x = at % width
    plane += point * n_pixels
    labels += point * n_pixels
    below = at >= width
    near = _has_bit(plane, at, at < n_pixels, bit)
    left = _has_bit(plane, at - 1, near & (x > 0), bit)
    right = _has_bit(plane, at + 1, near & (x < width - 1), bit)
    up = _has_bit(plane, at - width, near & below, bit)
    up_left = _has_bit(plane, at - width - 1, near & below & (x > 0), bit)
    up_right = _has_bit(plane, at - width + 1, near & below & (x < width - 1), bit)
    _link(labels, at, at - 1, left & (lane == 0))
    # A neighbour in the row makes the links that it sees as well.
    above = tl.where(up, at - width, at - width - 1)
    _link(labels, at, above, ~(left & up_left) & (up | (up_left & ~left)))
    _link(labels, at, at - width + 1, up_right & ~up & ~right)


@triton.jit
def _link(labels, a, b, active):
    """Makes one component of those of a and b where `active`."""
    while tl.max(active.to(tl.int32), 0) > 0:
        a = _least(labels, a, active)
        b = _least(labels, b, active)
        active = active & (a != b)
        high = tl.maximum(a, b)
        low = tl.minimum(a, b)
        old = tl.atomic_min(labels + high, low, mask=active, sem="relaxed")
        # Another program may have linked `high` first: then what it linked it to has to join, too.
        a = tl.where(active, old, a)
        b = tl.where(active, low, b)
        active = active & (old != high)


@triton.jit
def _least(labels, at, active):
    """The least pixel linked to, shortening the way there for those who follow."""
    parent = tl.load(labels + at, mask=active, other=0, volatile=True)
    moving = active & (parent != at)
    while tl.max(moving.to(tl.int32), 0) > 0:
        grand = tl.load(labels + parent, mask=moving, other=0, volatile=True)
        tl.atomic_min(labels + at, grand, mask=moving & (grand != parent), sem="relaxed")
        at = tl.where(moving, parent, at)
        parent = tl.where(moving, grand, parent)
        moving = moving & (parent != at)
    return at


@triton.jit(do_not_specialize=INTEGERS)
def keep_kernel(plane, points, labels, bit, clear, height, width, n_points, BLOCK: tl.constexpr):
    """Takes the bits `clear` from the pixels whose `bit` is not connected to the point's."""
    point = tl.program_id(1).to(tl.int64)
    n_pixels = height * width
    plane += point * n_pixels
    labels += point * n_pixels
    seed_y, seed_x = _clicked(points, point, height, width)
    seed = seed_y * width + seed_x
    parent = tl.load(labels + seed)
    while (parent >= 0) & (parent != seed):
        seed = parent
        parent = tl.load(labels + seed)

    at = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    inside = at < n_pixels
    bits = tl.load(plane + at, mask=inside, other=0).to(tl.int32)
    near = ((bits >> bit) & 1) != 0
    least = at
    parent = tl.load(labels + at, mask=near, other=0)
    moving = near & (parent != at)
    while tl.max(moving.to(tl.int32), 0) > 0:
        least = tl.where(moving, parent, least)
        parent = tl.load(labels + least, mask=moving, other=0)
        moving = moving & (parent != least)
    kept = tl.where(near & (least == seed), bits, bits & ~clear)
    tl.store(plane + at, kept.to(tl.uint8), mask=inside)
