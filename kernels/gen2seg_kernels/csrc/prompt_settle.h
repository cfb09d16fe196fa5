/* Deciding pixels without the filter: a template part, included once by each prompt_rows_*.c.
 *
 * A filtered similarity is above cut + 1/2 if the weighted excesses over it add up to more than zero. With P the sum of
 * the positive excesses in the window, N that of the others without their sign, and all weights between w and 1,
 * the weighted sum lies between w P - N and P - w N. In units of half a similarity all of P, N and 256 w are whole
 * numbers below 2^15, so the test is one in shorts; to be sure it asks for one unit more than rounding could undo.
 * The window's three parts (prompt_prepare.h) have bounds w of their own, so w P and w N are sums over them. */

/* Sums of the excesses 0, 2, 3 and 4 columns away, and of the positive ones. Unsigned: beside the pixels in doubt lie
 * values that nobody has computed, whose sums may wrap and are dropped. */
typedef struct {
    vw all[4], positive[4];
} sums_around;

INLINE sums_around add_around(const int16_t *values)
{
    sums_around out;
    const vs center = LOAD(vs, values);
    vw all = (vw)center, positive = (vw)not_negative(center);
    out.all[0] = all;
    out.positive[0] = positive;
    for (int dx = 1; dx <= G2S_RADIUS; dx++) {
        const vs left = LOAD(vs, values - dx), right = LOAD(vs, values + dx);
        all += (vw)left + (vw)right;
        positive += (vw)not_negative(left) + (vw)not_negative(right);
        if (dx > 1) {
            out.all[dx - 1] = all;
            out.positive[dx - 1] = positive;
        }
    }
    return out;
}

/* Adds the sums over rows first..last of the window to P and N, and over these rows to w P and w N. */
INLINE void judge_part(
    const sums_around *ring, int at, int first, int last, const uint8_t *least, vw *positive, vw *negative,
    vw *least_positive, vw *least_negative)
{
    static const int columns[G2S_SIDE] = {0, 1, 2, 2, 3, 2, 2, 1, 0};
    vw all = {0}, above = {0};
    for (int i = first; i <= last; i++) {
        all += ring[(at + i) % 16].all[columns[i]];
        above += ring[(at + i) % 16].positive[columns[i]];
    }
    const vw below = above - all;
    const vw weight = (vw)__builtin_convertvector(LOAD(vc, least), vs) << 8;
    *positive += above;
    *negative += below;
    *least_positive += high_product(above, weight);
    *least_negative += high_product(below, weight);
}

/* Those of 2 LANES pixels that are above, and those that cannot be told. ring: the window's rows from `at`. */
INLINE void judge(const sums_around *ring, int at, const uint8_t *least, int64_t stride, uint32_t *above, uint32_t *open)
{
    vw p = {0}, n = {0}, least_p = {0}, least_n = {0};
    judge_part(ring, at, 0, G2S_RADIUS - 1, least, &p, &n, &least_p, &least_n);
    judge_part(ring, at, G2S_RADIUS, G2S_RADIUS, least + stride, &p, &n, &least_p, &least_n);
    judge_part(ring, at, G2S_RADIUS + 1, G2S_SIDE - 1, least + 2 * stride, &p, &n, &least_p, &least_n);
    *above = short_lanes_of((vs)least_p > (vs)n);
    *open = ~short_lanes_of((vs)least_n > (vs)p) & ~*above;
}

static TARGET void settle(
    const int16_t *const *values, const uint8_t *least, int64_t stride, int rows, int width, uint64_t *doubt,
    int64_t doubt_step, uint64_t *mask, int64_t mask_step)
{
    const uint64_t block = ~UINT64_C(0) >> (64 - 2 * LANES);
    sums_around ring[16];
    for (int x = 0; x < width; x += 2 * LANES) {
        int ready = 0; /* rows of `values` in the ring */
        for (int y = 0; y < rows; y++) {
            uint64_t *word = doubt + y * doubt_step + x / 64;
            const uint64_t here = *word >> x % 64 & block;
            if (!here)
                continue;
            for (ready = ready < y ? y : ready; ready < y + G2S_SIDE; ready++)
                ring[ready % 16] = add_around(values[ready] + x);
            uint32_t above, open;
            judge(ring, y, least + (int64_t)y * G2S_PARTS * stride + x, stride, &above, &open);
            mask[y * mask_step + x / 64] |= (here & above) << x % 64;
            *word &= ~((here & ~(uint64_t)open) << x % 64);
        }
    }
}
