"""Triton kernels of the loss that visit the pixels in the order of their instances; see `triton_parts.py`."""
# pyright: reportArgumentType=false, reportOperatorIssue=false
# (Triton declares what tl.max gives as a tuple or a tensor.)

import triton
import triton.language as tl

from gen2seg_kernels.loss.triton_parts import away_from_own_mean, background_counts, clip, load_colors, slots_of


@triton.jit
def _sorted_tile(dense_ptr, order_ptr, image, n_pixels, PIXELS: tl.constexpr):
    """Place in the image and row of one tile's pixels."""
    place = tl.program_id(0) * PIXELS + tl.arange(0, PIXELS)
    pixel = tl.load(order_ptr + image * n_pixels + place, mask=place < n_pixels, other=0)
    row = tl.load(dense_ptr + image * n_pixels + pixel, mask=place < n_pixels, other=-1)
    return pixel, row


@triton.jit
def _rows_of_tile(row, n_rows):
    """First and last row that a tile meets, as it does all between; first > last if it meets none."""
    return tl.min(tl.where(row >= 0, row, n_rows)), tl.max(row)


@triton.jit
def _store_sums(slot_ptr, value, own, mask):
    """Sums of `value` over each row's own pixels."""
    sums = tl.sum(tl.where(own, value[None, :], 0.0), 1)
    tl.store(slot_ptr, sums.to(tl.float64), mask=mask)


@triton.jit(do_not_specialize=["n_pixels", "n_rows", "n_slots"])
def sum_colors(
    pred_ptr,
    dense_ptr,
    order_ptr,
    sums_ptr,
    n_pixels,
    n_rows,
    n_slots,
    PIXELS: tl.constexpr,
    ROWS: tl.constexpr,
):
    """Tile of the sorted pixels -> `sums` of the rows it meets. Grid: tiles, images."""
    image = tl.program_id(1).to(tl.int64)
    pixel, row = _sorted_tile(dense_ptr, order_ptr, image, n_pixels, PIXELS)
    x, y, z = load_colors(pred_ptr, image, pixel, row >= 0, n_pixels)
    # float64: the mean must be exact to less than the distance of two means that nearly coincide.
    x, y, z = x.to(tl.float64), y.to(tl.float64), z.to(tl.float64)
    first, last = _rows_of_tile(row, n_rows)
    for start in range(first, last + 1, ROWS):
        k = start + tl.arange(0, ROWS)
        own = row[None, :] == k[:, None]
        slot_ptr = sums_ptr + image * 3 * n_slots + tl.program_id(0) + k
        _store_sums(slot_ptr, x, own, k <= last)
        _store_sums(slot_ptr + n_slots, y, own, k <= last)
        _store_sums(slot_ptr + 2 * n_slots, z, own, k <= last)


@triton.jit
def _store_mean(mean_ptr, mean, n_rows, mask):
    """A channel of the means and, three planes further, what rounding takes from it."""
    high = mean.to(mean_ptr.dtype.element_ty)
    tl.store(mean_ptr, high, mask=mask)
    tl.store(mean_ptr + 3 * n_rows, (mean - high.to(tl.float64)).to(high.dtype), mask=mask)


@triton.jit(do_not_specialize=["n_pixels", "n_rows", "n_slots"])
def describe_instances(
    sums_ptr,
    starts_ptr,
    ignored_ptr,
    table_ptr,
    n_pixels,
    n_rows,
    n_slots,
    pull_weight,
    push_weight,
    PIXELS: tl.constexpr,
    ROWS: tl.constexpr,
    SLOTS: tl.constexpr,
):
    """Rows -> `table`. Grid: blocks of rows, images."""
    image = tl.program_id(1).to(tl.int64)
    k = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    area, first, slots = slots_of(starts_ptr, image, k, n_rows, PIXELS)
    x = tl.zeros([ROWS], tl.float64)
    y = tl.zeros([ROWS], tl.float64)
    z = tl.zeros([ROWS], tl.float64)
    for start in range(0, tl.max(slots), SLOTS):
        slot = start + tl.arange(0, SLOTS)
        mask = slot[None, :] < slots[:, None]
        slot_ptr = sums_ptr + image * 3 * n_slots + first[:, None] + slot[None, :]
        x += tl.sum(tl.load(slot_ptr, mask=mask, other=0.0), 1)
        y += tl.sum(tl.load(slot_ptr + n_slots, mask=mask, other=0.0), 1)
        z += tl.sum(tl.load(slot_ptr + 2 * n_slots, mask=mask, other=0.0), 1)

    # Areas of 1 where there are no pixels: nothing may divide by zero, even where it is not used.
    n = tl.maximum(area, 1).to(tl.float64)
    n_valid = n_pixels - tl.load(starts_ptr + image * (n_rows + 1))  # the others come first in `order`
    outside = tl.maximum(n_valid - area, 1).to(tl.float64)
    is_instance = (area > 0) & (k > 0)
    counts = is_instance | ((k == 0) & background_counts(starts_ptr, ignored_ptr, image, n_rows))
    pull = tl.where(counts, pull_weight / (3.0 * n), 0.0)
    push = tl.where(is_instance & (n_valid > area), push_weight / (tl.sqrt(n) * outside), 0.0)

    row_ptr = table_ptr + image * 8 * n_rows + k
    inside = k < n_rows
    # The background belongs at black.
    _store_mean(row_ptr, tl.where(is_instance, x / n, 0.0), n_rows, inside)
    _store_mean(row_ptr + n_rows, tl.where(is_instance, y / n, 0.0), n_rows, inside)
    _store_mean(row_ptr + 2 * n_rows, tl.where(is_instance, z / n, 0.0), n_rows, inside)
    tl.store(row_ptr + 6 * n_rows, pull.to(table_ptr.dtype.element_ty), mask=inside)
    tl.store(row_ptr + 7 * n_rows, push.to(table_ptr.dtype.element_ty), mask=inside)


@triton.jit(do_not_specialize=["n_pixels", "n_rows", "n_slots"])
def sum_pulls(
    pred_ptr,
    dense_ptr,
    order_ptr,
    table_ptr,
    pulls_ptr,
    n_pixels,
    n_rows,
    n_slots,
    huber_delta,
    PIXELS: tl.constexpr,
    ROWS: tl.constexpr,
):
    """Tile of the sorted pixels -> `pulls` of the rows it meets. Grid: tiles, images."""
    image = tl.program_id(1).to(tl.int64)
    pixel, row = _sorted_tile(dense_ptr, order_ptr, image, n_pixels, PIXELS)
    valid = row >= 0
    x, y, z = load_colors(pred_ptr, image, pixel, valid, n_pixels)
    real = table_ptr.dtype.element_ty
    mean_ptr = table_ptr + image * 8 * n_rows + row
    x = away_from_own_mean(x.to(real), mean_ptr, n_rows, valid)
    y = away_from_own_mean(y.to(real), mean_ptr + n_rows, n_rows, valid)
    z = away_from_own_mean(z.to(real), mean_ptr + 2 * n_rows, n_rows, valid)
    sx, sy, sz = clip(x, huber_delta), clip(y, huber_delta), clip(z, huber_delta)
    huber = sx * (x - 0.5 * sx) + sy * (y - 0.5 * sy) + sz * (z - 0.5 * sz)
    first, last = _rows_of_tile(row, n_rows)
    for start in range(first, last + 1, ROWS):
        k = start + tl.arange(0, ROWS)
        own = row[None, :] == k[:, None]
        slot_ptr = pulls_ptr + image * 4 * n_slots + tl.program_id(0) + k
        _store_sums(slot_ptr, huber, own, k <= last)
        _store_sums(slot_ptr + n_slots, sx, own, k <= last)
        _store_sums(slot_ptr + 2 * n_slots, sy, own, k <= last)
        _store_sums(slot_ptr + 3 * n_slots, sz, own, k <= last)
