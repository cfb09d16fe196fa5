/* The row functions for any machine of the architecture; on aarch64 this is NEON. */
#include "prompt.h"

#include <math.h>
#ifdef __SSE2__
#include <emmintrin.h>
#endif

#define LANES 4
#define TARGET
#include "prompt_contract.h"
#include "prompt_lanes.h"
#include "prompt_rows.h"
#include "prompt_filter.h"
#include "prompt_prepare.h"
#include "prompt_settle.h"

const g2s_isa g2s_isa_any = {"any", expand, box, reach, weigh, bounds, may_widen, range, near, widen, both, stretch, settle, filter, spread, weights};
