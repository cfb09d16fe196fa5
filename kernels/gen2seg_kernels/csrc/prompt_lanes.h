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
typedef int32_t vh __attribute__((vector_size(2 * LANES))); /* as many as vd has */

#define INLINE static inline __attribute__((always_inline)) TARGET

#define LOAD(type, from) (*(const type##_unaligned *)(from))
typedef float vf_unaligned __attribute__((vector_size(4 * LANES), aligned(4), may_alias));
typedef uint32_t vu_unaligned __attribute__((vector_size(4 * LANES), aligned(4), may_alias));
typedef int32_t vh_unaligned __attribute__((vector_size(2 * LANES), aligned(4), may_alias));

/* L1 distance of pixels (red, green, blue, 0). */
INLINE vi l1_distance(vu a, vu b)
{
#if defined(G2S_AVX512)
    const __m512i x = (__m512i)a, y = (__m512i)b;
    const __m512i difference = _mm512_sub_epi8(_mm512_max_epu8(x, y), _mm512_min_epu8(x, y));
    const __m512i pairs = _mm512_maddubs_epi16(difference, _mm512_set1_epi8(1));
    return (vi)_mm512_madd_epi16(pairs, _mm512_set1_epi16(1));
#elif defined(G2S_AVX2)
    const __m256i x = (__m256i)a, y = (__m256i)b;
    const __m256i difference = _mm256_sub_epi8(_mm256_max_epu8(x, y), _mm256_min_epu8(x, y));
    const __m256i pairs = _mm256_maddubs_epi16(difference, _mm256_set1_epi8(1));
    return (vi)_mm256_madd_epi16(pairs, _mm256_set1_epi16(1));
#else
    const vb less = (vb)((vb)a < (vb)b);
    const vu difference = (vu)((((vb)a - (vb)b) ^ less) - less);
    return (vi)((difference & 255) + (difference >> 8 & 255) + (difference >> 16));
#endif
}

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

/* Squared distances of LANES / 2 pixels to a colour, in the definition's order of operations. */
INLINE vd squared_distance(const uint32_t *pixels, const double *query)
{
    const vh pixel = LOAD(vh, pixels);
    const vd red = __builtin_convertvector(pixel & 255, vd) - query[0];
    const vd green = __builtin_convertvector(pixel >> 8 & 255, vd) - query[1];
    const vd blue = __builtin_convertvector(pixel >> 16, vd) - query[2];
    return red * red + green * green + blue * blue;
}
