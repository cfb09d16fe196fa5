/* The filter on a row: a template, included once by each prompt_rows_*.c after prompt_lanes.h.
 *
 * Only a decision is wanted: is the weighted mean of the values above cut + 1/2? Weights come from a polynomial
 * that is off by less than MOST_OFF of each. Where the two sides of  sum(w v) > (cut + 1/2) sum(w)  are farther
 * apart than that can explain, the decision is the definition's; the few other pixels are computed by it.
 */

/* The weights' relative error, measured by tests/kernels/test_prompt_cpu.py as 8e-5 at most, and the roundings of
 * the definition's own single precision, 1e-5. */
static const float MOST_OFF = 1.5e-4f;

static const float FACTOR = -1.2823956e-4f; /* -log2(e) / (2 75^2) */

/* 2^t within 8e-5, for -126 < t <= 0. */
INLINE vf power_of_two(vf t)
{
#ifdef G2S_AVX512
    const vf part = (vf)_mm512_reduce_ps((__m512)t, 8); /* t less the nearest whole number, which t - part is */
    const vf power =
        ((part * 0.0551716649f + 0.2426111219f) * part + 0.6932609862f) * part + 0.9999280736f;
    return (vf)_mm512_scalef_ps((__m512)power, (__m512)(t - part));
#else
    const float round = 0x1.8p23f; /* a float this large holds whole numbers only */
    const vf shifted = t + round;
    const vf part = t - (shifted - round); /* -1/2 .. 1/2 */
    const vf power =
        ((part * 0.0551716649f + 0.2426111219f) * part + 0.6932609862f) * part + 0.9999280736f;
    return (vf)((vi)power + ((vi)shifted << 23));
#endif
}

/* exp(-(l1^2 + square) / (2 75^2)) */
INLINE vf filter_weight(vi l1, float square)
{
    const vf distance = __builtin_convertvector(l1, vf);
    return power_of_two(distance * distance * FACTOR + square * FACTOR);
}

static TARGET void weights(float *out)
{
    for (int start = 0; start <= G2S_MOST_L1; start += LANES) {
        vi l1;
        for (int lane = 0; lane < LANES; lane++)
            l1[lane] = start + lane;
        const vf weight = filter_weight(l1, 0);
        for (int lane = 0; lane < LANES && start + lane <= G2S_MOST_L1; lane++)
            out[start + lane] = weight[lane];
    }
}

/* Sums of weights and of weighted values over the window around LANES pixels. */
INLINE void sum_window(const g2s_window *window, int x, vf *total, vf *weight_sum)
{
    static const int reach[G2S_SIDE] = {0, 2, 3, 3, 4, 3, 3, 2, 0};
    const vu center = LOAD(vu, window->colors[G2S_RADIUS] + x);
    *total = *weight_sum = (vf){0};
    for (int row = 0; row < G2S_SIDE; row++) {
        const uint32_t *colors = window->colors[row] + x;
        const float *values = window->values[row] + x;
        const int dy = row - G2S_RADIUS;
        for (int dx = -reach[row]; dx <= reach[row]; dx++) {
            const vi l1 = l1_distance(center, LOAD(vu, colors + dx));
            const vf weight = filter_weight(l1, (float)(dy * dy + dx * dx));
            *total += weight * LOAD(vf, values + dx);
            *weight_sum += weight;
        }
    }
}

/* The bits x..x + LANES - 1 of a row. */
INLINE uint32_t bits_at(const uint64_t *row, int x, int width)
{
    uint64_t bits = row[x / 64] >> x % 64;
    if (x % 64 && (x / 64 + 1) * 64 < width)
        bits |= row[x / 64 + 1] << (64 - x % 64);
    return (uint32_t)(bits & ((1u << LANES) - 1));
}

INLINE void add_bits(uint64_t *row, int x, uint32_t bits)
{
    row[x / 64] |= (uint64_t)bits << x % 64;
    if (x % 64 > 64 - LANES && (uint64_t)bits >> (64 - x % 64))
        row[x / 64 + 1] |= (uint64_t)bits >> (64 - x % 64);
}

static TARGET CONTRACT void filter(const g2s_window *window, int width, const uint64_t *doubt, int cut, uint64_t *mask)
{
    const float limit = (float)cut + 0.5f;
    for (int x = g2s_next_bit(doubt, 0, width); x < width; x = g2s_next_bit(doubt, x + LANES, width)) {
        const uint32_t here = bits_at(doubt, x, width);
        vf total, weight_sum;
        sum_window(window, x, &total, &weight_sum);
        const vf even = weight_sum * limit, unsure = (total + even) * MOST_OFF;
        uint32_t above = lanes_of(total - even > unsure) & here;
        uint32_t open = ~(lanes_of(total - even < -unsure) | above) & here;
        for (; open; open &= open - 1) {
            const int lane = __builtin_ctz(open);
            above |= (uint32_t)g2s_filtered_above(window, x + lane, cut) << lane;
        }
        add_bits(mask, x, above);
    }
}
