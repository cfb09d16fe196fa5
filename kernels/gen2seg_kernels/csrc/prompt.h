/* Prompting on the CPU: what its parts share.
 *
 *   prompt_py.c         the Python functions; K prompts of several points, in parallel
 *   prompt_field.c      the colour image in the layout that the row functions read
 *   prompt_reference.c  one point in mode "reference": query, cut, where the filter decides
 *   prompt_metric.c     one point in mode "metric": query, cut, what is connected (flood.c)
 *   prompt_rows.h       the work on rows of pixels, vectorised (a template on the instruction set)
 *   prompt_filter.h     the filter, likewise; prompt_exact.c is its definition for one pixel
 *
 * kernels/gen2seg_kernels/prompt/reference.py is the definition of it all. Floating-point operations that
 * decide are its own, in double precision and in its order; see prompt_filter.h for the one that is not.
 */
#ifndef GEN2SEG_PROMPT_H
#define GEN2SEG_PROMPT_H

#include "arena.h"
#include "bits.h"

#include <stdint.h>

enum {
    G2S_SIDE = 2 * G2S_RADIUS + 1,
    G2S_MARGIN = 16,      /* values before a row's first pixel: the mirrored ones, and rows start aligned */
    G2S_SLACK = 48,       /* after its last: the mirrored ones, and what a vector reads beyond the row */
    G2S_MOST_L1 = 3 * 255,
};

static const double G2S_EPSILON = 1e-6;

/* How similarity follows from squared distance: (1 / (sqrt(d) + e) - smallest) / span * 255, truncated. */
typedef struct {
    double query[3], smallest, span;
} g2s_stretch;

/* What the filter of one row reads: rows y - 4 .. y + 4, mirrored at the borders. */
typedef struct {
    const uint32_t *colors[G2S_SIDE];
    const float *values[G2S_SIDE];
} g2s_window;

/* The row functions of one instruction set. */
typedef struct {
    const char *name;
    /* Pixels of three bytes to pixels of four. */
    void (*expand)(const uint8_t *rgb, int width, uint32_t *pixels);
    /* Widens low and high by the squared distances of a row to the query. */
    void (*range)(const uint32_t *pixels, int width, const double *query, double *low, double *high);
    /* The pixels whose squared distance is at most `limit`. */
    void (*near)(const uint32_t *pixels, int width, const double *query, double limit, uint64_t *out);
    /* The similarity, whole numbers as floats, of the pixels in `needed` and of some beside them. */
    void (*stretch)(const uint32_t *pixels, int width, const g2s_stretch *how, const uint64_t *needed, float *values);
    /* Adds to `mask` those pixels of `doubt` whose filtered similarity is above `cut`. */
    void (*filter)(const g2s_window *window, int width, const uint64_t *doubt, int cut, uint64_t *mask);
    /* Bits to bytes 0 and 1. */
    void (*spread)(const uint64_t *bits, int width, uint8_t *bytes);
    /* The filter's weight of each colour distance at the window's centre, as `filter` approximates it. */
    void (*weights)(float *out);
} g2s_isa;

extern const g2s_isa g2s_isa_any, g2s_isa_avx2, g2s_isa_avx512;

/* The best instruction set that the processor has, or the one chosen by g2s_use_isa. */
const g2s_isa *g2s_best_isa(void);
/* Returns 0 if the processor lacks it or the name is unknown; "" goes back to the best. */
int g2s_use_isa(const char *name);

/* Colours (height, width, 3) bytes in any layout. */
typedef struct {
    const uint8_t *data;
    int height, width;
    int64_t row, column, channel; /* steps in bytes */
} g2s_colors;

/* The image with four bytes per pixel, each row with its mirrored borders. */
typedef struct {
    const g2s_isa *isa;
    uint32_t *pixel; /* of row 0, column 0 */
    int height, width, words, threads;
    int64_t stride;
    int band, bands; /* rows per task, tasks per image: cut by the size alone */
} g2s_field;

static inline uint32_t *g2s_pixels(const g2s_field *field, int y)
{
    return field->pixel + y * field->stride;
}

/* Geometry, then the pixels themselves; g2s_field_bytes says what g2s_fill_field takes from its arena. */
g2s_field g2s_plan_field(const g2s_colors *colors, int threads);
size_t g2s_field_bytes(const g2s_field *field);
void g2s_fill_field(g2s_field *field, const g2s_colors *colors, g2s_arena *arena);

/* Folds an index back into 0..length-1 by mirroring at the first and last pixel, as often as needed. */
int g2s_reflect(int index, int length);

/* Scratch of one point at a time. */
typedef struct {
    g2s_bits near, doubt, mask; /* `mask` is the result */
    g2s_wide wide[3];           /* reference: near, the others and doubt, widened */
    float *values;              /* (height, stride) similarity, of row 0, column 0 */
    double *low, *high;         /* (bands) */
    int32_t *runs;              /* the flood's stack: three numbers for each run of pixels */
} g2s_scratch;

size_t g2s_scratch_bytes(const g2s_field *field, int metric);
void g2s_take_scratch(const g2s_field *field, int metric, g2s_arena *arena, g2s_scratch *scratch);
g2s_bits g2s_take_bits(const g2s_field *field, g2s_arena *arena);
size_t g2s_bits_bytes(const g2s_field *field);

/* Mode "reference": the mask of one point. cut: a filtered similarity above it belongs. */
void g2s_reference_mask(const g2s_field *field, g2s_scratch *scratch, const double *point, double sigma, double cut);

/* Mode "metric". Squared distances below these; `alike` is for the query. */
typedef struct {
    double alike, inner, middle, outer;
    int connected;
} g2s_cut;

/* The mask of one point at the cut's middle. */
void g2s_metric_mask(const g2s_field *field, g2s_scratch *scratch, const double *point, const g2s_cut *cut);
/* Adds the masks at the inner, middle and outer cut of one point to three sets. */
void g2s_metric_range(
    const g2s_field *field, g2s_scratch *scratch, const double *point, const g2s_cut *cut, g2s_bits parts[3]);

/* Moves the 8-connected part of `set` that holds (x, y) to `out`; `runs` holds three numbers for each run of `set`. */
void g2s_flood(g2s_bits *set, int x, int y, int32_t *runs, g2s_bits *out);

/* The filter's tables, and its definition: is the filtered similarity of pixel x above the cut? */
void g2s_prepare_filter(void);
const float *g2s_color_weights(void);
int g2s_filtered_above(const g2s_window *window, int x, int cut);

#endif
