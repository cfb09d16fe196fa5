"""What the Triton kernels of the loss share: their words, their arrays, and small device functions.

"Row" is the number of an instance: 0 is the background, 1..K are the instances of the image. A batch has `n_rows`
rows, one more than its most crowded image has instances; rows that an image lacks have no pixels.

"Slot": pixels are summed up per instance in the order of their rows, in tiles. An instance's pixels lie side by
side there, so that tile `t` and row `k` meet once at most, and `t + k` numbers the meetings so that those of one
row follow each other. Each meeting has a place of its own for its partial sum, its slot, and each row adds up its
slots in their order: no atomics, the same bits on every run. There are fewer than `tiles + n_rows` slots.

Arrays are contiguous; `real` is float64 where the colours are, else float32:

    pred       (images, 3, n_pixels)   colours, float16, bfloat16, float32 or float64
    dense      (images, n_pixels)      int32, row of each pixel, -1 where it is not valid
    order      (images, n_pixels)      int32, the pixels sorted by row
    starts     (images, n_rows + 1)    int32, first place of each row in `order`, and the end of the last
    instances  (images)                int32, instances of the image
    ignored    (images)                uint8, whether its background is unlabelled
    sums       (images, 3, n_slots)    float64, sums of colours
    table      (images, 8, n_rows)     real: mean, what rounding took from it (3 + 3), weight of pull and of push
    pulls      (images, 4, n_slots)    float64, sums of Huber's values (1) and slopes (3), not weighted
    pushes     (images, segments, 4, n_rows)  float64: sums of 1/t and d/t² (3) over the pixels of a segment
    levels     (images, 4, n_rows)     float64: the same over the other means
    mean_grad  (images, 3, n_rows)     real, what the mean's motion adds to the gradient of each of its pixels
    parts      (images, 3, n_rows)     float64, what the row adds to each term before the division by their number
    terms      (images, 3)             float64, intra, inter and mean level term
    grad       (images, 3, n_pixels)   real, gradient of the mean over the images of the sum of their terms

where d = p - m_k is the way from a mean to a pixel (or to another mean) and t = 1 + |d|².
"""

import triton
import triton.language as tl


@triton.jit
def background_counts(starts_ptr, ignored_ptr, image, n_rows):
    """Whether the background of the image has an intra term and a mean."""
    begin = tl.load(starts_ptr + image * (n_rows + 1))
    end = tl.load(starts_ptr + image * (n_rows + 1) + 1)
    return (end > begin) & (tl.load(ignored_ptr + image) == 0)


@triton.jit
def slots_of(starts_ptr, image, row, n_rows, PIXELS: tl.constexpr):
    """Area, first slot and number of slots of rows."""
    inside = row < n_rows
    begin = tl.load(starts_ptr + image * (n_rows + 1) + row, mask=inside, other=0)
    end = tl.load(starts_ptr + image * (n_rows + 1) + row + 1, mask=inside, other=0)
    first = begin // PIXELS
    return end - begin, first + row, tl.where(end > begin, (end - 1) // PIXELS - first + 1, 0)


@triton.jit
def load_colors(pred_ptr, image, pixel, valid, n_pixels):
    """The three channels of pixels; 0 where not valid, whatever is there."""
    color_ptr = pred_ptr + image * 3 * n_pixels + pixel
    x = tl.load(color_ptr, mask=valid, other=0.0)
    y = tl.load(color_ptr + n_pixels, mask=valid, other=0.0)
    z = tl.load(color_ptr + 2 * n_pixels, mask=valid, other=0.0)
    return x, y, z


@triton.jit
def away_from_own_mean(color, mean_ptr, n_rows, valid):
    """color - mean for one channel; `mean_ptr` points to each pixel's mean."""
    high = tl.load(mean_ptr, mask=valid, other=0.0)
    low = tl.load(mean_ptr + 3 * n_rows, mask=valid, other=0.0)
    return (color - high) - low  # near the mean the first difference is exact


@triton.jit
def clip(value, limit):
    """Huber's derivative; not a number stays what it is."""
    return tl.where(value > limit, limit, tl.where(value < -limit, -limit, value))


@triton.jit
def add_exactly(high, low, value):
    """(high, low) + value, where low gathers what rounding takes from high (Knuth's two-sum)."""
    total = high + value
    back = total - high
    return total, low + ((high - (total - back)) + (value - back))
