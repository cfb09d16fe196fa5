/* The row functions of prompting: a template, included once by each prompt_rows_*.c after prompt_lanes.h. */

static TARGET __attribute__((noinline)) double exact_weight(double square)
{
    return exp(-0.5 * square);
}

/* The weights' product is off by less than 1e-14 of itself: it decides unless rounding to single precision could go
 * either way. */
static TARGET void weigh(
    const uint32_t *pixels, int count, const double *across, double down, const double *squares, double square,
    int64_t sums[4])
{
    const double off = 1e-13;
    vd total[4] = {{0}};
    for (int x = 0; x < count; x += LANES / 2) {
        vd product = LOAD(vd, across + x) * down;
        vl unsure = __builtin_convertvector(
            __builtin_convertvector(product * (1 - off), vg) != __builtin_convertvector(product * (1 + off), vg), vl);
        uint32_t lanes = wide_lanes_of(unsure);
        for (; lanes; lanes &= lanes - 1) {
            const int lane = __builtin_ctz(lanes);
            if (x + lane < count)
                product[lane] = exact_weight(squares[x + lane] + square);
        }
        const vg there = 2.0f * __builtin_convertvector(product, vg) - 1.0f;
        vd weight = __builtin_convertvector((there + 1.0f) / 2.0f, vd) * 0x1p25;
        for (int lane = count - x; lane < LANES / 2; lane++)
            weight[lane] = 0;
        const vh pixel = LOAD(vh, pixels + x);
        total[0] += weight * __builtin_convertvector(pixel & 255, vd);
        total[1] += weight * __builtin_convertvector(pixel >> 8 & 255, vd);
        total[2] += weight * __builtin_convertvector(pixel >> 16, vd);
        total[3] += weight;
    }
    for (int i = 0; i < 4; i++)
        for (int lane = 0; lane < LANES / 2; lane++)
            sums[i] += (int64_t)total[i][lane];
}

/* How near and how far the channels of a box can be from the query's: for each the distance to the box's near side,
 * or none inside, and to its far side. */
static TARGET void bounds(
    const uint32_t *low, const uint32_t *high, int count, const double *query, float *least, float *most)
{
    const split_query apart = split(query);
    for (int i = 0; i < count; i += LANES) {
        const vi lowest = (vi)LOAD(vu, low + i), highest = (vi)LOAD(vu, high + i);
        vf near = {0}, far = {0};
        for (int channel = 0; channel < 3; channel++) {
            const vf a = channel_difference(lowest >> 8 * channel & 255, &apart, channel);
            const vf b = channel_difference(highest >> 8 * channel & 255, &apart, channel);
            const vf outside = larger_of(larger_of(a, -b), (vf){0}), across = larger_of(-a, b);
            near += outside * outside;
            far += across * across;
        }
        STORE(vf, least + i, larger_of(near - (near * 2e-6f + square_root(near) * 1e-6f), (vf){0}));
        STORE(vf, most + i, far + (far * 2e-6f + square_root(far) * 1e-6f));
    }
}

static TARGET CONTRACT int may_widen(
    const uint32_t *pixels, int64_t stride, int rows, const double *query, double low, double high)
{
    const float below = (float)(low + 2e-6 * low + 1e-6 * sqrt(low));
    const float beyond = (float)(high - 2e-6 * high - 1e-6 * sqrt(high));
    const split_query apart = split(query);
    vi found = {0};
    for (int row = 0; row < rows; row++)
        for (int x = 0; x < G2S_TILE_WIDTH; x += LANES) {
            const vf squared = nearly_squared_distance((vi)LOAD(vu, pixels + row * stride + x), &apart);
            found |= (squared < below) | (squared > beyond);
        }
    return lanes_of(found) != 0;
}

static TARGET void range(const uint32_t *pixels, int width, const double *query, double *low, double *high)
{
    vd least = (vd){0} + *low, most = (vd){0} + *high;
    for (int x = 0; x < width; x += LANES / 2) {
        const vd squared = squared_distance(pixels + x, query);
        least = smaller(squared, least);
        most = larger(squared, most);
    }
    for (int lane = 0; lane < LANES / 2; lane++) {
        *low = least[lane] < *low ? least[lane] : *low;
        *high = most[lane] > *high ? most[lane] : *high;
    }
}

/* The bits of a tile's row by the definition. */
static TARGET __attribute__((noinline)) uint32_t near_exactly(const uint32_t *pixels, const double *query, double limit)
{
    uint32_t bits = 0;
    for (int x = 0; x < G2S_TILE_WIDTH; x += LANES / 2)
        bits |= wide_lanes_of(squared_distance(pixels + x, query) <= limit) << x;
    return bits;
}

static TARGET CONTRACT void near(
    const uint32_t *pixels, int width, const double *query, double limit, const uint8_t *tiles, uint64_t *out)
{
    const double off = 2e-6 * limit + 1e-6 * sqrt(limit);
    const float surely = (float)(limit - off), hardly = (float)(limit + off);
    const split_query apart = split(query);
    memset(out, 0, g2s_words(width) * sizeof *out);
    for (int start = 0; start < width; start += G2S_TILE_WIDTH) {
        uint32_t bits = 0, maybe = 0;
        if (*tiles == G2S_NEAR_TILE)
            bits = (1u << G2S_TILE_WIDTH) - 1;
        else if (*tiles == G2S_MIXED_TILE) {
            for (int x = 0; x < G2S_TILE_WIDTH; x += LANES) {
                const vf squared = nearly_squared_distance((vi)LOAD(vu, pixels + start + x), &apart);
                bits |= lanes_of(squared <= surely) << x;
                maybe |= lanes_of(squared <= hardly) << x;
            }
            if (bits != maybe)
                bits = near_exactly(pixels + start, query, limit);
        }
        tiles++;
        out[start / 64] |= (uint64_t)bits << start % 64;
    }
    out[(width - 1) / 64] &= ~UINT64_C(0) >> (63 - (width - 1) % 64);
}

static TARGET void widen(const uint64_t *row, int words, uint64_t *out)
{
    for (int i = 0; i < words; i += LANES / 2) {
        const vq here = LOAD(vq, row + i), before = LOAD(vq, row + i - 1), after = LOAD(vq, row + i + 1);
        vq wide = here;
        for (int by = 1; by <= G2S_RADIUS; by++)
            wide |= here << by | here >> by | before >> (64 - by) | after << (64 - by);
        STORE(vq, out + i, wide);
    }
}

static TARGET void both(const uint64_t *a, const uint64_t *b, int64_t step, int rows, int words, uint64_t *out)
{
    for (int i = 0; i < words; i += LANES / 2) {
        vq in_a = LOAD(vq, a + i), in_b = LOAD(vq, b + i);
        for (int row = 1; row < rows; row++) {
            in_a |= LOAD(vq, a + row * step + i);
            in_b |= LOAD(vq, b + row * step + i);
        }
        STORE(vq, out + i, in_a & in_b);
    }
}

/* The definition, in double precision, of LANES pixels. */
static TARGET __attribute__((noinline)) void stretch_exactly(
    const uint32_t *pixels, const g2s_stretch *how, int16_t *values)
{
    double squared[LANES];
    for (int x = 0; x < LANES; x += LANES / 2) {
        const vd part = squared_distance(pixels + x, how->query);
        memcpy(squared + x, &part, sizeof part);
    }
    for (int x = 0; x < LANES; x++) {
        const double similarity = 1.0 / (sqrt(squared[x]) + G2S_EPSILON);
        values[x] = (int16_t)(2 * (int)((similarity - how->smallest) / how->span * 255.0) - (2 * how->cut + 1));
    }
}

/* Values are cut to whole numbers, so single precision does unless they lie near one. Its relative errors, of a dozen
 * roundings of 6e-8 at most, and the query's absolute one of 3e-8 are below MOST_OFF and NEAR_OFF. */
static TARGET void stretch(
    const uint32_t *pixels, int width, const g2s_stretch *how, const uint64_t *needed, int16_t *values)
{
    const float MOST_OFF = 2e-6f, NEAR_OFF = 2e-7f;
    const double scale = 255.0 / how->span;
    const split_query apart = split(how->query);
    const float high = (float)scale, base = (float)(how->smallest * scale), tiny = (float)G2S_EPSILON;
    for (int start = 0; start < width; start += LANES) {
        if (!(needed[start / 64] >> start % 64 & ((1u << LANES) - 1)))
            continue;
        const vf squared = nearly_squared_distance((vi)LOAD(vu, pixels + start), &apart);
        const vf inverse = 1.0f / (square_root(squared) + tiny);
        const vf value = inverse * high, off = value * (inverse * NEAR_OFF + MOST_OFF);
        const vi least = __builtin_convertvector(value - base - off, vi);
        const vi most = __builtin_convertvector(value - base + off, vi);
        STORE(vt, values + start, __builtin_convertvector(2 * most - (2 * how->cut + 1), vt));
        /* The second: beyond the whole numbers that fit, the conversions agree on nonsense. */
        if (lanes_of((least != most) | (off > 0.5f)))
            stretch_exactly(pixels + start, how, values + start);
    }
}

static TARGET void spread(const uint64_t *bits, int width, uint8_t *bytes)
{
    int x = 0;
#ifdef G2S_AVX512
    for (; x + 64 <= width; x += 64)
        _mm512_storeu_si512(bytes + x, _mm512_maskz_set1_epi8(bits[x / 64], 1));
#endif
    for (; x < width; x += 8) {
        const uint64_t eight = bits[x / 64] >> x % 64 & 255;
        const uint64_t apart = eight * UINT64_C(0x0101010101010101) & UINT64_C(0x8040201008040201);
        const uint64_t out = (apart + UINT64_C(0x7f7f7f7f7f7f7f7f)) >> 7 & UINT64_C(0x0101010101010101);
        memcpy(bytes + x, &out, width - x < 8 ? (size_t)(width - x) : 8);
    }
}
