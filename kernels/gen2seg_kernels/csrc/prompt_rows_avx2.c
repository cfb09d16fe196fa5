/* The row functions for x86-64 with AVX2 and FMA. */
#include "prompt.h"

#if defined(__x86_64__) && defined(__GNUC__)
#include <immintrin.h>
#include <math.h>

#define LANES 8
#define G2S_AVX2
#define TARGET __attribute__((target("avx2,fma,bmi,bmi2,lzcnt,popcnt")))
#include "prompt_contract.h"
#include "prompt_lanes.h"
#include "prompt_rows.h"
#include "prompt_filter.h"
#include "prompt_prepare.h"
#include "prompt_settle.h"

const g2s_isa g2s_isa_avx2 = {"avx2", expand, box, reach, weigh, bounds, may_widen, range, near, widen, both, stretch, settle, filter, spread, weights};
#else
typedef int g2s_no_avx2; /* a file must hold something */
#endif
