"""Triton kernels of the loss that add up what the others found; see `triton_parts.py`."""
# pyright: reportArgumentType=false
# (Triton declares what tl.max gives as a tuple or a tensor.)

import triton
import triton.language as tl

from gen2seg_kernels.loss.triton_parts import background_counts, slots_of


@triton.jit(do_not_specialize=["n_rows", "n_slots", "n_segments"])
def collect_rows(
    starts_ptr,
    instances_ptr,
    ignored_ptr,
    table_ptr,
    pulls_ptr,
    pushes_ptr,
    levels_ptr,
    mean_grad_ptr,
    parts_ptr,
    n_rows,
    n_slots,
    n_segments,
    level_weight,
    PIXELS: tl.constexpr,
    ROWS: tl.constexpr,
    SLOTS: tl.constexpr,
):
    """Rows -> `mean_grad` and `parts`, from all partial sums in their order. Grid: blocks of rows, images."""
    image = tl.program_id(1).to(tl.int64)
    k = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    n_instances = tl.load(instances_ptr + image)
    area, first, slots = slots_of(starts_ptr, image, k, n_rows, PIXELS)
    row_ptr = table_ptr + image * 8 * n_rows + k
    pull = tl.load(row_ptr + 6 * n_rows, mask=k < n_rows, other=0.0).to(tl.float64)
    push = tl.load(row_ptr + 7 * n_rows, mask=k < n_rows, other=0.0).to(tl.float64)

    huber = tl.zeros([ROWS], tl.float64)
    x = tl.zeros([ROWS], tl.float64)
    y = tl.zeros([ROWS], tl.float64)
    z = tl.zeros([ROWS], tl.float64)
    for start in range(0, tl.max(slots), SLOTS):
        slot = start + tl.arange(0, SLOTS)
        mask = slot[None, :] < slots[:, None]
        slot_ptr = pulls_ptr + image * 4 * n_slots + first[:, None] + slot[None, :]
        huber += tl.sum(tl.load(slot_ptr, mask=mask, other=0.0), 1)
        x -= tl.sum(tl.load(slot_ptr + n_slots, mask=mask, other=0.0), 1)
        y -= tl.sum(tl.load(slot_ptr + 2 * n_slots, mask=mask, other=0.0), 1)
        z -= tl.sum(tl.load(slot_ptr + 3 * n_slots, mask=mask, other=0.0), 1)
    x, y, z = pull * x, pull * y, pull * z

    closeness = tl.zeros([ROWS], tl.float64)
    x_push = tl.zeros([ROWS], tl.float64)
    y_push = tl.zeros([ROWS], tl.float64)
    z_push = tl.zeros([ROWS], tl.float64)
    pushed = (k > 0) & (k <= n_instances)
    for start in range(0, n_segments, SLOTS):
        segment = start + tl.arange(0, SLOTS)
        mask = pushed[:, None] & (segment < n_segments)[None, :]
        segment_ptr = pushes_ptr + (image * n_segments + segment[None, :]) * 4 * n_rows + k[:, None]
        closeness += tl.sum(tl.load(segment_ptr, mask=mask, other=0.0), 1)
        x_push += tl.sum(tl.load(segment_ptr + n_rows, mask=mask, other=0.0), 1)
        y_push += tl.sum(tl.load(segment_ptr + 2 * n_rows, mask=mask, other=0.0), 1)
        z_push += tl.sum(tl.load(segment_ptr + 3 * n_rows, mask=mask, other=0.0), 1)
    x += 2.0 * push * x_push
    y += 2.0 * push * y_push
    z += 2.0 * push * z_push

    # A weight of each pair of means that count; `levels` meets each pair from both sides.
    n_means = (n_instances + background_counts(starts_ptr, ignored_ptr, image, n_rows).to(tl.int32)).to(tl.float64)
    level = level_weight / tl.maximum(n_means * (n_means - 1.0) * 0.5, 1.0)
    level_ptr = levels_ptr + image * 4 * n_rows + k
    nearness = tl.load(level_ptr, mask=k < n_rows, other=0.0)
    x += 2.0 * level * tl.load(level_ptr + n_rows, mask=k < n_rows, other=0.0)
    y += 2.0 * level * tl.load(level_ptr + 2 * n_rows, mask=k < n_rows, other=0.0)
    z += 2.0 * level * tl.load(level_ptr + 3 * n_rows, mask=k < n_rows, other=0.0)

    # A mean moves by 1/n with each of its pixels; the background's is fixed.
    share = tl.where(k > 0, 1.0 / tl.maximum(area, 1).to(tl.float64), 0.0)
    real = mean_grad_ptr.dtype.element_ty
    grad_ptr = mean_grad_ptr + image * 3 * n_rows + k
    tl.store(grad_ptr, (x * share).to(real), mask=k < n_rows)
    tl.store(grad_ptr + n_rows, (y * share).to(real), mask=k < n_rows)
    tl.store(grad_ptr + 2 * n_rows, (z * share).to(real), mask=k < n_rows)
    part_ptr = parts_ptr + image * 3 * n_rows + k
    tl.store(part_ptr, pull * huber, mask=k < n_rows)
    tl.store(part_ptr + n_rows, push * closeness, mask=k < n_rows)
    tl.store(part_ptr + 2 * n_rows, 0.5 * level * nearness, mask=k < n_rows)


@triton.jit(do_not_specialize=["n_rows"])
def sum_terms(
    starts_ptr,
    instances_ptr,
    ignored_ptr,
    parts_ptr,
    terms_ptr,
    n_rows,
    ROWS: tl.constexpr,
):
    """All rows of an image -> `terms`. Grid: images."""
    image = tl.program_id(0).to(tl.int64)
    intra = tl.zeros([ROWS], tl.float64)
    inter = tl.zeros([ROWS], tl.float64)
    level = tl.zeros([ROWS], tl.float64)
    for start in range(0, n_rows, ROWS):
        k = start + tl.arange(0, ROWS)
        part_ptr = parts_ptr + image * 3 * n_rows + k
        intra += tl.load(part_ptr, mask=k < n_rows, other=0.0)
        inter += tl.load(part_ptr + n_rows, mask=k < n_rows, other=0.0)
        level += tl.load(part_ptr + 2 * n_rows, mask=k < n_rows, other=0.0)
    background = background_counts(starts_ptr, ignored_ptr, image, n_rows).to(tl.int32)
    share = 1.0 / tl.maximum(tl.load(instances_ptr + image) + background, 1).to(tl.float64)
    tl.store(terms_ptr + image * 3, tl.sum(intra) * share)
    tl.store(terms_ptr + image * 3 + 1, tl.sum(inter) * share)
    tl.store(terms_ptr + image * 3 + 2, tl.sum(level) * share)
