/* Vectors of one instruction set: a template part, included once by each prompt_rows_*.c.
 *
 * The includer defines LANES (floats in a register), TARGET (the function attribute) and, on x86, G2S_AVX2 or
 * G2S_AVX512. The compiler's vector types do the arithmetic; what they lack is here.
 */
#include <stdint.h>
#include <string.h>

typedef float vf __attribute__((vector_size(4 * LANES)));
typedef int32_t vi __attribute__((vector_size(4 * LANES)));
typedef uint32_t vu __attribute__((vector_size(4 * LANES)));
typedef uint8_t vb __attribute__((vector_size(4 * LANES)));
typedef double vd __attribute__((vector_size(4 * LANES)));
typedef int64_t vl __attribute__((vector_size(4 * LANES)));
typedef uint64_t vq __attribute__((vector_size(4 * LANES)));
typedef int16_t vs __attribute__((vector_size(4 * LANES)));
typedef uint16_t vw __attribute__((vector_size(4 * LANES)));
typedef int32_t vh __attribute__((vector_size(2 * LANES))); /* as many as vd has */
typedef float vg __attribute__((vector_size(2 * LANES)));   /* likewise */
typedef int16_t vt __attribute__((vector_size(2 * LANES))); /* as many as vf has */
typedef uint8_t vc __attribute__((vector_size(2 * LANES))); /* as many as vs has */

#define INLINE static inline __attribute__((always_inline)) TARGET

#define STORE(type, to, value) (*(type##_unaligned *)(to) = (value))
#define LOAD(type, from) (*(const type##_unaligned *)(from))
typedef float vf_unaligned __attribute__((vector_size(4 * LANES), aligned(4), may_alias));
typedef uint32_t vu_unaligned __attribute__((vector_size(4 * LANES), aligned(4), may_alias));
typedef int32_t vh_unaligned __attribute__((vector_size(2 * LANES), aligned(4), may_alias));
typedef double vd_unaligned __attribute__((vector_size(4 * LANES), aligned(8), may_alias));
typedef uint64_t vq_unaligned __attribute__((vector_size(4 * LANES), aligned(8), may_alias));
typedef int16_t vs_unaligned __attribute__((vector_size(4 * LANES), aligned(2), may_alias));
typedef int16_t vt_unaligned __attribute__((vector_size(2 * LANES), aligned(2), may_alias));
typedef uint8_t vc_unaligned __attribute__((vector_size(2 * LANES), aligned(1), may_alias));

/* One bit for each lane of a comparison's result. */
INLINE uint32_t lanes_of(vi all_or_none)
{
#if defined(G2S_AVX512)
    return _mm512_movepi32_mask((__m512i)all_or_none);
#elif defined(G2S_AVX2)
    return (uint32_t)_mm256_movemask_ps((__m256)all_or_none);
#elif defined(__SSE2__)
    return (uint32_t)_mm_movemask_ps((__m128)all_or_none);
#else
    uint32_t bits = 0;
    for (int lane = 0; lane < LANES; lane++)
        bits |= ((uint32_t)all_or_none[lane] >> 31) << lane;
    return bits;
#endif
}

INLINE uint32_t wide_lanes_of(vl all_or_none)
{
#if defined(G2S_AVX512)
    return _mm512_movepi64_mask((__m512i)all_or_none);
#elif defined(G2S_AVX2)
    return (uint32_t)_mm256_movemask_pd((__m256d)all_or_none);
#elif defined(__SSE2__)
    return (uint32_t)_mm_movemask_pd((__m128d)all_or_none);
#else
    uint32_t bits = 0;
    for (int lane = 0; lane < LANES / 2; lane++)
        bits |= (uint32_t)((uint64_t)all_or_none[lane] >> 63) << lane;
    return bits;
#endif
}

/* Likewise of the 2 LANES of shorts. */
INLINE uint32_t short_lanes_of(vs all_or_none)
{
#if defined(G2S_AVX512)
    return _mm512_movepi16_mask((__m512i)all_or_none);
#elif defined(G2S_AVX2)
    const __m256i bytes = _mm256_packs_epi16((__m256i)all_or_none, _mm256_setzero_si256());
    const uint32_t bits = (uint32_t)_mm256_movemask_epi8(bytes);
    return (bits & 255) | (bits >> 8 & 0xff00);
#elif defined(__SSE2__)
    return (uint32_t)_mm_movemask_epi8(_mm_packs_epi16((__m128i)all_or_none, _mm_setzero_si128()));
#else
    uint32_t bits = 0;
    for (int lane = 0; lane < 2 * LANES; lane++)
        bits |= (uint32_t)((uint16_t)all_or_none[lane] >> 15) << lane;
    return bits;
#endif
}

/* The upper halves of the products of unsigned shorts. */
INLINE vw high_product(vw a, vw b)
{
#if defined(G2S_AVX512)
    return (vw)_mm512_mulhi_epu16((__m512i)a, (__m512i)b);
#elif defined(G2S_AVX2)
    return (vw)_mm256_mulhi_epu16((__m256i)a, (__m256i)b);
#elif defined(__SSE2__)
    return (vw)_mm_mulhi_epu16((__m128i)a, (__m128i)b);
#else
    vw product;
    for (int lane = 0; lane < 2 * LANES; lane++)
        product[lane] = (uint16_t)((uint32_t)a[lane] * b[lane] >> 16);
    return product;
#endif
}

INLINE vs not_negative(vs a)
{
#if defined(G2S_AVX512)
    return (vs)_mm512_max_epi16((__m512i)a, _mm512_setzero_si512());
#elif defined(G2S_AVX2)
    return (vs)_mm256_max_epi16((__m256i)a, _mm256_setzero_si256());
#else
    return a & (a > 0);
#endif
}

/* The smaller and the larger of each byte. */
INLINE vu least_bytes(vu a, vu b)
{
#if defined(G2S_AVX512)
    return (vu)_mm512_min_epu8((__m512i)a, (__m512i)b);
#elif defined(G2S_AVX2)
    return (vu)_mm256_min_epu8((__m256i)a, (__m256i)b);
#else
    const vb less = (vb)((vb)a < (vb)b);
    return (vu)(((vb)a & less) | ((vb)b & ~less));
#endif
}

INLINE vu most_bytes(vu a, vu b)
{
#if defined(G2S_AVX512)
    return (vu)_mm512_max_epu8((__m512i)a, (__m512i)b);
#elif defined(G2S_AVX2)
    return (vu)_mm256_max_epu8((__m256i)a, (__m256i)b);
#else
    const vb more = (vb)((vb)a > (vb)b);
    return (vu)(((vb)a & more) | ((vb)b & ~more));
#endif
}

/* The sum of the bytes of each pixel; the fourth is 0. */
INLINE vi sum_of_bytes(vu pixels)
{
#if defined(G2S_AVX512)
    const __m512i pairs = _mm512_maddubs_epi16((__m512i)pixels, _mm512_set1_epi8(1));
    return (vi)_mm512_madd_epi16(pairs, _mm512_set1_epi16(1));
#elif defined(G2S_AVX2)
    const __m256i pairs = _mm256_maddubs_epi16((__m256i)pixels, _mm256_set1_epi8(1));
    return (vi)_mm256_madd_epi16(pairs, _mm256_set1_epi16(1));
#else
    return (vi)((pixels & 255) + (pixels >> 8 & 255) + (pixels >> 16));
#endif
}

INLINE float sum_of_lanes(vf x)
{
#if defined(G2S_AVX512)
    return _mm512_reduce_add_ps((__m512)x);
#elif defined(G2S_AVX2)
    const __m256 a = (__m256)x;
    __m128 four = _mm_add_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));
    four = _mm_add_ps(four, _mm_movehl_ps(four, four));
    return _mm_cvtss_f32(_mm_add_ss(four, _mm_movehdup_ps(four)));
#else
    float sum = 0;
    for (int lane = 0; lane < LANES; lane++)
        sum += x[lane];
    return sum;
#endif
}

INLINE vf smaller_of(vf a, vf b)
{
#if defined(G2S_AVX512)
    return (vf)_mm512_min_ps((__m512)a, (__m512)b);
#elif defined(G2S_AVX2)
    return (vf)_mm256_min_ps((__m256)a, (__m256)b);
#else
    const vi less = a < b;
    return (vf)(((vi)a & less) | ((vi)b & ~less));
#endif
}

INLINE vf larger_of(vf a, vf b)
{
#if defined(G2S_AVX512)
    return (vf)_mm512_max_ps((__m512)a, (__m512)b);
#elif defined(G2S_AVX2)
    return (vf)_mm256_max_ps((__m256)a, (__m256)b);
#else
    const vi more = a > b;
    return (vf)(((vi)a & more) | ((vi)b & ~more));
#endif
}

INLINE vd smaller(vd a, vd b)
{
#if defined(G2S_AVX512)
    return (vd)_mm512_min_pd((__m512d)a, (__m512d)b);
#elif defined(G2S_AVX2)
    return (vd)_mm256_min_pd((__m256d)a, (__m256d)b);
#else
    const vl less = a < b;
    return (vd)(((vl)a & less) | ((vl)b & ~less));
#endif
}

INLINE vd larger(vd a, vd b)
{
#if defined(G2S_AVX512)
    return (vd)_mm512_max_pd((__m512d)a, (__m512d)b);
#elif defined(G2S_AVX2)
    return (vd)_mm256_max_pd((__m256d)a, (__m256d)b);
#else
    const vl more = a > b;
    return (vd)(((vl)a & more) | ((vl)b & ~more));
#endif
}

INLINE vf square_root(vf x)
{
#if defined(G2S_AVX512)
    return (vf)_mm512_sqrt_ps((__m512)x);
#elif defined(G2S_AVX2)
    return (vf)_mm256_sqrt_ps((__m256)x);
#else
    vf root;
    for (int lane = 0; lane < LANES; lane++)
        root[lane] = sqrtf(x[lane]);
    return root;
#endif
}

/* L1 distance of pixels (red, green, blue, 0). */
INLINE vi l1_distance(vu a, vu b)
{
#if defined(G2S_AVX512) || defined(G2S_AVX2)
    return sum_of_bytes((vu)((vb)most_bytes(a, b) - (vb)least_bytes(a, b)));
#else
    const vb less = (vb)((vb)a < (vb)b);
    return sum_of_bytes((vu)((((vb)a - (vb)b) ^ less) - less));
#endif
}

/* Squared distances of LANES / 2 pixels to a colour, in the definition's order of operations. */
INLINE vd squared_distance(const uint32_t *pixels, const double *query)
{
    const vh pixel = LOAD(vh, pixels);
    const vd red = __builtin_convertvector(pixel & 255, vd) - query[0];
    const vd green = __builtin_convertvector(pixel >> 8 & 255, vd) - query[1];
    const vd blue = __builtin_convertvector(pixel >> 16, vd) - query[2];
    return red * red + green * green + blue * blue;
}

/* A query in single precision: whole parts, and what is left. */
typedef struct {
    vi whole[3];
    vf part[3];
} split_query;

INLINE split_query split(const double *query)
{
    split_query out;
    for (int channel = 0; channel < 3; channel++) {
        const int whole = (int)query[channel];
        out.whole[channel] = (vi){0} + whole;
        out.part[channel] = (vf){0} + (float)(query[channel] - whole);
    }
    return out;
}

/* One channel's difference to the query: whole part first, which is exact, so that near colours lose nothing. In
 * single precision a squared distance d of such differences is off by less than 1e-6 d + 5e-7 sqrt(d): a handful of
 * roundings of 6e-8 and the query's own, 3e-8 absolute. Those who rely on it allow twice that. */
INLINE vf channel_difference(vi value, const split_query *query, int channel)
{
    return __builtin_convertvector(value - query->whole[channel], vf) - query->part[channel];
}

INLINE vf nearly_squared_distance(vi pixel, const split_query *query)
{
    const vf red = channel_difference(pixel & 255, query, 0);
    const vf green = channel_difference(pixel >> 8 & 255, query, 1);
    const vf blue = channel_difference(pixel >> 16, query, 2);
    return red * red + green * green + blue * blue;
}
