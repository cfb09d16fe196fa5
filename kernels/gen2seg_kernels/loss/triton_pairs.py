"""Triton kernels of the loss that meet every pixel with every mean, and the means among themselves.

A pair at distance d has the closeness 1/t, t = 1 + |d|², and the push d/t², half of its derivative. Sums of pairs
live in registers: in float32 for at most CHAIN steps of the loop, then compensated. See `triton_parts.py`.
"""

import triton
import triton.language as tl

from gen2seg_kernels.loss.triton_parts import add_exactly, away_from_own_mean, background_counts, clip, load_colors


@triton.jit
def _load_means(table_ptr, image, k, n_rows):
    """Means of rows, in two parts: high (3) and low (3)."""
    inside = k < n_rows
    row_ptr = table_ptr + image * 8 * n_rows + k
    hx = tl.load(row_ptr, mask=inside, other=0.0)
    hy = tl.load(row_ptr + n_rows, mask=inside, other=0.0)
    hz = tl.load(row_ptr + 2 * n_rows, mask=inside, other=0.0)
    lx = tl.load(row_ptr + 3 * n_rows, mask=inside, other=0.0)
    ly = tl.load(row_ptr + 4 * n_rows, mask=inside, other=0.0)
    lz = tl.load(row_ptr + 5 * n_rows, mask=inside, other=0.0)
    return hx, hy, hz, lx, ly, lz


@triton.jit
def _store_pushes(row_ptr, n_rows, mask, value, vlow, x, xlow, y, ylow, z, zlow):
    tl.store(row_ptr, value.to(tl.float64) + vlow.to(tl.float64), mask=mask)
    tl.store(row_ptr + n_rows, x.to(tl.float64) + xlow.to(tl.float64), mask=mask)
    tl.store(row_ptr + 2 * n_rows, y.to(tl.float64) + ylow.to(tl.float64), mask=mask)
    tl.store(row_ptr + 3 * n_rows, z.to(tl.float64) + zlow.to(tl.float64), mask=mask)


@triton.jit(do_not_specialize=["n_pixels", "n_rows", "segment_pixels"])
def push_means(
    pred_ptr,
    dense_ptr,
    instances_ptr,
    table_ptr,
    pushes_ptr,
    n_pixels,
    n_rows,
    segment_pixels,
    ROWS: tl.constexpr,
    PIXELS: tl.constexpr,
    CHAIN: tl.constexpr,
):
    """A block of instances meets the pixels of a segment -> `pushes`. Grid: blocks of instances, segments, images.

    Instances lie along the registers of a thread and pixels across threads, so that nothing is summed across
    threads before the end of a chain.
    """
    image = tl.program_id(2).to(tl.int64)
    real = table_ptr.dtype.element_ty
    k = 1 + tl.program_id(0) * ROWS + tl.arange(0, ROWS)  # the background pushes nothing
    hx, hy, hz, lx, ly, lz = _load_means(table_ptr, image, k, n_rows)
    begin = tl.program_id(1) * segment_pixels
    end = tl.minimum(begin + segment_pixels, n_pixels)
    has_work = 1 + tl.program_id(0) * ROWS <= tl.load(instances_ptr + image)  # this image may have fewer instances
    end = tl.where(has_work, end, begin)

    zero = tl.zeros([ROWS], real)
    value, x_sum, y_sum, z_sum = zero, zero, zero, zero
    value_low, x_low, y_low, z_low = zero, zero, zero, zero
    for start in range(begin, end, PIXELS * CHAIN):
        none = tl.zeros([ROWS, PIXELS], real)
        value_part, x_part, y_part, z_part = none, none, none, none
        for at in range(start, tl.minimum(start + PIXELS * CHAIN, end), PIXELS):
            pixel = at + tl.arange(0, PIXELS)
            row = tl.load(dense_ptr + image * n_pixels + pixel, mask=pixel < end, other=-1)
            x, y, z = load_colors(pred_ptr, image, pixel, row >= 0, n_pixels)
            dx = (x.to(real)[None, :] - hx[:, None]) - lx[:, None]
            dy = (y.to(real)[None, :] - hy[:, None]) - ly[:, None]
            dz = (z.to(real)[None, :] - hz[:, None]) - lz[:, None]
            closeness = 1.0 / (dx * dx + (dy * dy + (dz * dz + 1.0)))
            closeness = tl.where((row >= 0)[None, :] & (row[None, :] != k[:, None]), closeness, 0.0)
            square = closeness * closeness
            value_part += closeness
            x_part += square * dx
            y_part += square * dy
            z_part += square * dz
        value, value_low = add_exactly(value, value_low, tl.sum(value_part, 1))
        x_sum, x_low = add_exactly(x_sum, x_low, tl.sum(x_part, 1))
        y_sum, y_low = add_exactly(y_sum, y_low, tl.sum(y_part, 1))
        z_sum, z_low = add_exactly(z_sum, z_low, tl.sum(z_part, 1))

    row_ptr = pushes_ptr + (image * tl.num_programs(1) + tl.program_id(1)) * 4 * n_rows + k
    _store_pushes(row_ptr, n_rows, k < n_rows, value, value_low, x_sum, x_low, y_sum, y_low, z_sum, z_low)


@triton.jit(do_not_specialize=["n_rows"])
def push_levels(
    starts_ptr,
    instances_ptr,
    ignored_ptr,
    table_ptr,
    levels_ptr,
    n_rows,
    ROWS: tl.constexpr,
    OTHERS: tl.constexpr,
    CHAIN: tl.constexpr,
):
    """A block of means meets all means that count -> `levels`. Grid: blocks of rows, images."""
    image = tl.program_id(1).to(tl.int64)
    real = table_ptr.dtype.element_ty
    k = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    hx, hy, hz, lx, ly, lz = _load_means(table_ptr, image, k, n_rows)
    first = tl.where(background_counts(starts_ptr, ignored_ptr, image, n_rows), 0, 1)
    last = tl.load(instances_ptr + image)
    counts = (k >= first) & (k <= last)

    zero = tl.zeros([ROWS], real)
    value, x_sum, y_sum, z_sum = zero, zero, zero, zero
    value_low, x_low, y_low, z_low = zero, zero, zero, zero
    for start in range(0, last + 1, OTHERS * CHAIN):
        none = tl.zeros([ROWS, OTHERS], real)
        value_part, x_part, y_part, z_part = none, none, none, none
        for at in range(start, tl.minimum(start + OTHERS * CHAIN, last + 1), OTHERS):
            j = at + tl.arange(0, OTHERS)
            ox, oy, oz, px, py, pz = _load_means(table_ptr, image, j, n_rows)
            dx = (ox[None, :] - hx[:, None]) + (px[None, :] - lx[:, None])
            dy = (oy[None, :] - hy[:, None]) + (py[None, :] - ly[:, None])
            dz = (oz[None, :] - hz[:, None]) + (pz[None, :] - lz[:, None])
            closeness = 1.0 / (dx * dx + (dy * dy + (dz * dz + 1.0)))
            meet = counts[:, None] & ((j >= first) & (j <= last))[None, :] & (j[None, :] != k[:, None])
            closeness = tl.where(meet, closeness, 0.0)
            square = closeness * closeness
            value_part += closeness
            x_part += square * dx
            y_part += square * dy
            z_part += square * dz
        value, value_low = add_exactly(value, value_low, tl.sum(value_part, 1))
        x_sum, x_low = add_exactly(x_sum, x_low, tl.sum(x_part, 1))
        y_sum, y_low = add_exactly(y_sum, y_low, tl.sum(y_part, 1))
        z_sum, z_low = add_exactly(z_sum, z_low, tl.sum(z_part, 1))

    row_ptr = levels_ptr + image * 4 * n_rows + k
    _store_pushes(row_ptr, n_rows, k < n_rows, value, value_low, x_sum, x_low, y_sum, y_low, z_sum, z_low)


@triton.jit
def _pull(color, mean_ptr, n_rows, valid, huber_delta):
    return clip(away_from_own_mean(color, mean_ptr, n_rows, valid), huber_delta)


@triton.jit(do_not_specialize=["n_images", "n_pixels", "n_rows"])
def push_pixels(
    pred_ptr,
    dense_ptr,
    starts_ptr,
    instances_ptr,
    ignored_ptr,
    table_ptr,
    mean_grad_ptr,
    grad_ptr,
    n_images,
    n_pixels,
    n_rows,
    huber_delta,
    PIXELS: tl.constexpr,
    CHAIN: tl.constexpr,
):
    """A tile of pixels meets all instances -> `grad`, once and for all. Grid: tiles, images.

    Each thread keeps a few pixels; the instances pass one by one, the same for all threads.
    """
    image = tl.program_id(1).to(tl.int64)
    real = table_ptr.dtype.element_ty
    pixel = tl.program_id(0) * PIXELS + tl.arange(0, PIXELS)
    row = tl.load(dense_ptr + image * n_pixels + pixel, mask=pixel < n_pixels, other=-1)
    valid = row >= 0
    x, y, z = load_colors(pred_ptr, image, pixel, valid, n_pixels)
    x, y, z = x.to(real), y.to(real), z.to(real)
    n_instances = tl.load(instances_ptr + image)

    zero = tl.zeros([PIXELS], real)
    x_sum, y_sum, z_sum, x_low, y_low, z_low = zero, zero, zero, zero, zero, zero
    for start in range(1, n_instances + 1, CHAIN):
        x_part, y_part, z_part = zero, zero, zero
        for k in range(start, tl.minimum(start + CHAIN, n_instances + 1)):
            k_ptr = table_ptr + image * 8 * n_rows + k
            dx = (x - tl.load(k_ptr)) - tl.load(k_ptr + 3 * n_rows)
            dy = (y - tl.load(k_ptr + n_rows)) - tl.load(k_ptr + 4 * n_rows)
            dz = (z - tl.load(k_ptr + 2 * n_rows)) - tl.load(k_ptr + 5 * n_rows)
            closeness = 1.0 / (dx * dx + (dy * dy + (dz * dz + 1.0)))
            closeness = tl.where(row != k, closeness, 0.0)
            weight = closeness * closeness * tl.load(k_ptr + 7 * n_rows)
            x_part += weight * dx
            y_part += weight * dy
            z_part += weight * dz
        x_sum, x_low = add_exactly(x_sum, x_low, x_part)
        y_sum, y_low = add_exactly(y_sum, y_low, y_part)
        z_sum, z_low = add_exactly(z_sum, z_low, z_part)

    counted = n_instances + background_counts(starts_ptr, ignored_ptr, image, n_rows).to(tl.int32)
    scale = 1.0 / (tl.maximum(counted, 1).to(real) * n_images.to(real))
    scale = tl.where(counted > 0, scale, 0.0)
    mean_ptr = table_ptr + image * 8 * n_rows + row
    own_ptr = mean_grad_ptr + image * 3 * n_rows + row
    weight = tl.load(mean_ptr + 6 * n_rows, mask=valid, other=0.0)
    gx = weight * _pull(x, mean_ptr, n_rows, valid, huber_delta) - 2.0 * (x_sum + x_low)
    gy = weight * _pull(y, mean_ptr + n_rows, n_rows, valid, huber_delta) - 2.0 * (y_sum + y_low)
    gz = weight * _pull(z, mean_ptr + 2 * n_rows, n_rows, valid, huber_delta) - 2.0 * (z_sum + z_low)
    gx = (gx + tl.load(own_ptr, mask=valid, other=0.0)) * scale
    gy = (gy + tl.load(own_ptr + n_rows, mask=valid, other=0.0)) * scale
    gz = (gz + tl.load(own_ptr + 2 * n_rows, mask=valid, other=0.0)) * scale
    pixel_ptr = grad_ptr + image * 3 * n_pixels + pixel
    tl.store(pixel_ptr, tl.where(valid, gx, 0.0), mask=pixel < n_pixels)
    tl.store(pixel_ptr + n_pixels, tl.where(valid, gy, 0.0), mask=pixel < n_pixels)
    tl.store(pixel_ptr + 2 * n_pixels, tl.where(valid, gz, 0.0), mask=pixel < n_pixels)
