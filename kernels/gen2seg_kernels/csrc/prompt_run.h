/* K prompts of several points on one image. */
#ifndef GEN2SEG_PROMPT_RUN_H
#define GEN2SEG_PROMPT_RUN_H

#include "prompt.h"

typedef struct {
    g2s_colors colors;
    const g2s_field *prepared; /* NULL, or the colours prepared before: then nothing reads `colors.data` */
    const double *points;   /* (starts[prompts], 2) x and y */
    const uint8_t *positive; /* (starts[prompts]) */
    const int64_t *starts;  /* (prompts + 1) where each prompt's points begin */
    int64_t prompts;
    uint8_t *out; /* (prompts, height, width) bytes 0 and 1 */
    int threads;
    int metric;
    double sigma, threshold; /* mode "reference"; the threshold whole */
    g2s_cut cut;             /* mode "metric" */
    int64_t *counts;         /* NULL, or (prompts, 2): pixels of the surely inner mask and of the largest */
} g2s_request;

/* Colours prepared to outlive the call, in memory of their own. */
typedef struct {
    g2s_field field;
    g2s_arena *memory;
} g2s_prepared;

/* NULL if memory is short. */
g2s_prepared *g2s_prepare(const g2s_colors *colors, int threads);
void g2s_forget(g2s_prepared *prepared);

/* Returns 0 if memory is short. */
int g2s_run_prompts(const g2s_request *request);

#endif
