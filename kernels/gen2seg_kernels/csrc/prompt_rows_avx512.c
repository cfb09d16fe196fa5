/* The row functions for x86-64 with AVX-512 (F, BW, DQ, VL). */
#include "prompt.h"

#if defined(__x86_64__) && defined(__GNUC__)
#include <immintrin.h>
#include <math.h>

#define LANES 16
#define G2S_AVX512
#define TARGET __attribute__((target("avx512f,avx512bw,avx512dq,avx512vl,avx2,fma,bmi,bmi2,lzcnt,popcnt")))
#include "prompt_contract.h"
#include "prompt_lanes.h"
#include "prompt_rows.h"
#include "prompt_filter.h"
#include "prompt_prepare.h"
#include "prompt_settle.h"

const g2s_isa g2s_isa_avx512 = {"avx512", expand, box, reach, weigh, bounds, may_widen, range, near, widen, both, stretch, settle, filter, spread, weights};
#else
typedef int g2s_no_avx512; /* a file must hold something */
#endif
