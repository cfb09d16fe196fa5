/* The pair kernels of loss_tile.h for each number type and instruction set, and the choice among them. */
#include "loss.h"

#include <string.h>

/* Products and sums may fuse here: it is faster, and rounds less. The extension as a whole is compiled
 * without, because prompting must round as its reference does. */
#if defined(__clang__)
#pragma clang fp contract(fast)
#define CONTRACT
#elif defined(__GNUC__)
#define CONTRACT __attribute__((optimize("O3", "fp-contract=fast")))
#endif

/* Terms that a lane sums up in its own type before they go on in float64: rounding grows with them. */
enum { CHAIN = 32 };

#define JOIN_(a, b) a##_##b
#define JOIN(a, b) JOIN_(a, b)
#define NAME(x) JOIN(x, SUFFIX)

#define REAL float
#define INTEGER int32_t
#define TILE g2s_tile_f32
#define SOURCES g2s_sources_f32

#define SUFFIX f32_any
#define TARGET
#define LANES 4
#define PACK 2
#include "loss_tile.h"
#undef SUFFIX
#undef TARGET
#undef LANES
#undef PACK

#if defined(__x86_64__)
#define SUFFIX f32_avx2
#define TARGET __attribute__((target("avx2,fma")))
#define LANES 8
#define PACK 2
#include "loss_tile.h"
#undef SUFFIX
#undef TARGET
#undef LANES
#undef PACK

#define SUFFIX f32_avx512
#define TARGET __attribute__((target("avx512f,avx512dq,avx512bw,avx512vl,fma,prefer-vector-width=512")))
#define LANES 16
#define PACK 4
#include "loss_tile.h"
#undef SUFFIX
#undef TARGET
#undef LANES
#undef PACK
#endif

#undef REAL
#undef INTEGER
#undef TILE
#undef SOURCES
#define REAL double
#define INTEGER int64_t
#define TILE g2s_tile_f64
#define SOURCES g2s_sources_f64

#define SUFFIX f64_any
#define TARGET
#define LANES 2
#define PACK 2
#include "loss_tile.h"
#undef SUFFIX
#undef TARGET
#undef LANES
#undef PACK

#if defined(__x86_64__)
#define SUFFIX f64_avx2
#define TARGET __attribute__((target("avx2,fma")))
#define LANES 4
#define PACK 2
#include "loss_tile.h"
#undef SUFFIX
#undef TARGET
#undef LANES
#undef PACK

#define SUFFIX f64_avx512
#define TARGET __attribute__((target("avx512f,avx512dq,avx512bw,avx512vl,fma,prefer-vector-width=512")))
#define LANES 8
#define PACK 4
#include "loss_tile.h"
#undef SUFFIX
#undef TARGET
#undef LANES
#undef PACK
#endif

static const g2s_pair_kernels KERNELS[] = {
    {"any", pairs_f32_any, pairs_f64_any},
#if defined(__x86_64__)
    {"avx2", pairs_f32_avx2, pairs_f64_avx2},
    {"avx512", pairs_f32_avx512, pairs_f64_avx512},
#endif
};

static int best_level(void)
{
#if defined(__x86_64__)
    __builtin_cpu_init();
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") &&
        __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl"))
        return 2;
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"))
        return 1;
#endif
    return 0;
}

const g2s_pair_kernels *g2s_pick_pair_kernels(int level)
{
    const int best = best_level();
    return &KERNELS[level < 0 || level > best ? best : level];
}
