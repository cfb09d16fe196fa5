/* The filter on a row: a template, included once by each prompt_rows_*.c after prompt_lanes.h.
 *
 * Only a decision is wanted: is the weighted mean of the values above cut + 1/2, that is, the weighted sum of their
 * excesses above zero? Weights come from a polynomial that is off by less than MOST_OFF of each. Where the sum is
 * farther from zero than that can explain, the decision is the definition's; the few other pixels are computed by it.
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

/* Sums of weights and of weighted excesses over the window around LANES pixels. */
INLINE void sum_windows(const g2s_window *window, int x, vf *total, vf *weight_sum)
{
    static const int reach[G2S_SIDE] = {0, 2, 3, 3, 4, 3, 3, 2, 0};
    const vu center = LOAD(vu, window->colors[G2S_RADIUS] + x);
    *total = *weight_sum = (vf){0};
    for (int row = 0; row < G2S_SIDE; row++) {
        const uint32_t *colors = window->colors[row] + x;
        const int16_t *values = window->values[row] + x;
        const int dy = row - G2S_RADIUS;
        for (int dx = -reach[row]; dx <= reach[row]; dx++) {
            const vi l1 = l1_distance(center, LOAD(vu, colors + dx));
            const vf weight = filter_weight(l1, (float)(dy * dy + dx * dx));
            *total += weight * __builtin_convertvector(LOAD(vt, values + dx), vf);
            *weight_sum += weight;
        }
    }
}

/* Those of the pixels `here` beside x that are above. */
INLINE uint32_t filter_group(const g2s_window *window, int x, uint32_t here, int cut)
{
    vf total, weight_sum;
    sum_windows(window, x, &total, &weight_sum);
    const vf unsure = (total + weight_sum * (float)(4 * cut + 2)) * MOST_OFF;
    uint32_t above = lanes_of(total > unsure) & here;
    uint32_t open = ~(lanes_of(total < -unsure) | above) & here;
    for (; open; open &= open - 1) {
        const int lane = __builtin_ctz(open);
        above |= (uint32_t)g2s_filtered_above(window, x + lane, cut) << lane;
    }
    return above;
}

/* One window side by side, so that a single pixel fills the vectors too; see G2S_GATHERED. */
typedef struct {
    uint32_t colors[G2S_GATHERED];
    int16_t values[G2S_GATHERED];
} gathered;

INLINE void gather(const g2s_window *window, int x, gathered *out)
{
    for (int row = 0; row < 7; row++) {
        memcpy(out->colors + 8 * row, window->colors[row + 1] + x - 4, 8 * sizeof(uint32_t));
        memcpy(out->values + 8 * row, window->values[row + 1] + x - 4, 8 * sizeof(int16_t));
    }
    static const int rows[3] = {4, 0, 8}, columns[3] = {4, 0, 0};
    for (int i = 0; i < 3; i++) {
        out->colors[56 + i] = window->colors[rows[i]][x + columns[i]];
        out->values[56 + i] = window->values[rows[i]][x + columns[i]];
    }
}

INLINE int filter_single(const g2s_window *window, int x, const gathered *from, int cut)
{
    const vu center = (vu){0} + window->colors[G2S_RADIUS][x];
    vf totals = {0}, weights = {0};
    for (int i = 0; i < G2S_GATHERED; i += LANES) {
        const vi l1 = l1_distance(center, LOAD(vu, from->colors + i));
        const vf weight = filter_weight(l1, 0) * LOAD(vf, g2s_gathered_weights + i);
        totals += weight * __builtin_convertvector(LOAD(vt, from->values + i), vf);
        weights += weight;
    }
    const float total = sum_of_lanes(totals), unsure = (total + sum_of_lanes(weights) * (float)(4 * cut + 2)) * MOST_OFF;
    return total > unsure || (total >= -unsure && g2s_filtered_above(window, x, cut));
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

/* Pixels that stand alone are gathered a few at a time: a window read while it is still being written waits. */
enum { SINGLES = 4 };

static TARGET CONTRACT void filter(const g2s_window *window, int width, const uint64_t *doubt, int cut, uint64_t *mask)
{
    gathered singles[SINGLES];
    int at[SINGLES], waiting = 0;
    memset(singles, 0, sizeof singles);
    for (int x = g2s_next_bit(doubt, 0, width); x < width; x = g2s_next_bit(doubt, x, width)) {
        const uint32_t here = bits_at(doubt, x, width);
        if (__builtin_popcount(here) > LANES / 4) { /* measured: a single one costs about a quarter */
            add_bits(mask, x, filter_group(window, x, here, cut));
            x += LANES;
            continue;
        }
        gather(window, x, &singles[waiting]);
        at[waiting++] = x++;
        if (waiting == SINGLES)
            while (waiting > 0) {
                waiting--;
                add_bits(mask, at[waiting], filter_single(window, at[waiting], &singles[waiting], cut));
            }
    }
    while (waiting > 0) {
        waiting--;
        add_bits(mask, at[waiting], filter_single(window, at[waiting], &singles[waiting], cut));
    }
}
