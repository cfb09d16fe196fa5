/* The row functions of prompting: a template, included once by each prompt_rows_*.c after prompt_lanes.h. */

/* Four pixels are twelve bytes: a shuffle spreads them over sixteen. */
static TARGET void expand(const uint8_t *rgb, int width, uint32_t *pixels)
{
    typedef uint8_t bytes __attribute__((vector_size(16)));
    int x = 0;
    for (; x + 6 <= width; x += 4) { /* sixteen bytes are read */
        bytes in;
        memcpy(&in, rgb + 3 * (int64_t)x, sizeof in);
        const bytes out =
            __builtin_shufflevector(in, (bytes){0}, 0, 1, 2, 16, 3, 4, 5, 16, 6, 7, 8, 16, 9, 10, 11, 16);
        memcpy(pixels + x, &out, sizeof out);
    }
    for (; x < width; x++)
        pixels[x] = rgb[3 * x] | (uint32_t)rgb[3 * x + 1] << 8 | (uint32_t)rgb[3 * x + 2] << 16;
}

/* Reads pixels beyond the row: they are copies of its own. */
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

static TARGET void near(const uint32_t *pixels, int width, const double *query, double limit, uint64_t *out)
{
    for (int start = 0; start < width; start += 64) {
        uint64_t word = 0;
        const int end = width - start < 64 ? width - start : 64;
        for (int x = 0; x < end; x += LANES / 2) {
            const vl inside = squared_distance(pixels + start + x, query) <= limit;
            word |= (uint64_t)wide_lanes_of(inside) << x;
        }
        out[start / 64] = word;
    }
    out[(width - 1) / 64] &= ~UINT64_C(0) >> (63 - (width - 1) % 64);
}

/* The definition, in double precision, of LANES pixels. */
static TARGET __attribute__((noinline)) void stretch_exactly(
    const uint32_t *pixels, const g2s_stretch *how, float *values)
{
    double squared[LANES];
    for (int x = 0; x < LANES; x += LANES / 2) {
        const vd part = squared_distance(pixels + x, how->query);
        memcpy(squared + x, &part, sizeof part);
    }
    for (int x = 0; x < LANES; x++) {
        const double similarity = 1.0 / (sqrt(squared[x]) + G2S_EPSILON);
        values[x] = (float)(int)((similarity - how->smallest) / how->span * 255.0);
    }
}

/* One channel's difference to the query: whole part first, which is exact, so that near colours lose nothing. */
INLINE vf channel_difference(vi channel, double query)
{
    const int whole = (int)query;
    return __builtin_convertvector(channel - whole, vf) - (float)(query - whole);
}

/* Values are cut to whole numbers, so single precision does unless they lie near one. Its relative errors, of a dozen
 * roundings of 6e-8 at most, and the query's absolute one of 3e-8 are below MOST_OFF and NEAR_OFF. */
static TARGET void stretch(
    const uint32_t *pixels, int width, const g2s_stretch *how, const uint64_t *needed, float *values)
{
    const float MOST_OFF = 2e-6f, NEAR_OFF = 2e-7f;
    const double scale = 255.0 / how->span;
    const float high = (float)scale, base = (float)(how->smallest * scale), tiny = (float)G2S_EPSILON;
    for (int start = 0; start < width; start += LANES) {
        if (!(needed[start / 64] >> start % 64 & ((1u << LANES) - 1)))
            continue;
        const vi pixel = (vi)LOAD(vu, pixels + start);
        const vf red = channel_difference(pixel & 255, how->query[0]);
        const vf green = channel_difference(pixel >> 8 & 255, how->query[1]);
        const vf blue = channel_difference(pixel >> 16, how->query[2]);
        const vf inverse = 1.0f / (square_root(red * red + green * green + blue * blue) + tiny);
        const vf value = inverse * high, off = value * (inverse * NEAR_OFF + MOST_OFF);
        const vi least = __builtin_convertvector(value - base - off, vi);
        const vi most = __builtin_convertvector(value - base + off, vi);
        const vf whole = __builtin_convertvector(most, vf);
        memcpy(values + start, &whole, sizeof whole);
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
