/* Prompting on the CPU: what its parts share.
 *
 *   prompt_py.c         the Python functions
 *   prompt_run.c        K prompts of several points, in parallel
 *   prompt_field.c      the colour image prepared: what clicks read and need not compute again
 *   prompt_reference.c  one point in mode "reference": query (prompt_query.c), range (prompt_range.c), cut,
 *                       and band by band (prompt_band.c) the decision of each pixel
 *   prompt_metric.c     one point in mode "metric": query, cut, what is connected (flood.c)
 *   prompt_rows.h       the work on rows of pixels, vectorised (a template on the instruction set);
 *                       prompt_prepare.h, prompt_settle.h and prompt_filter.h are further parts of it
 *   prompt_exact.c      the filter's definition for one pixel
 *
 * kernels/gen2seg_kernels/prompt/reference.py is the definition of it all. Floating-point operations that
 * decide are its own, in double precision and in its order. Everything cheaper that stands before them is a
 * bound: it decides only what the definition cannot decide otherwise, and leaves the rest to it.
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
    G2S_PARTS = 3,        /* of a window, for which bounds of its weights are kept: see prompt_prepare.h */
    G2S_TILE = 8,         /* rows of a tile */
    G2S_TILE_WIDTH = 16,  /* its columns: four tiles to a word of bits */
};

static const double G2S_EPSILON = 1e-6;

/* How similarity follows from squared distance: (1 / (sqrt(d) + e) - smallest) / span * 255, truncated.
 * What is stored of it is twice its excess over cut + 1/2: odd, and positive where it is above the cut. */
typedef struct {
    double query[3], smallest, span;
    int cut;
} g2s_stretch;

/* Rows y - 4 .. y + 4 of the colours and of the excesses, mirrored at the borders. */
typedef struct {
    const uint32_t *const *colors;
    const int16_t *const *values;
} g2s_window;

/* The row functions of one instruction set. Those that read pixels beyond `width` find copies of the row's own. */
typedef struct {
    const char *name;

    /* Preparing: pixels of three bytes to pixels of four. */
    void (*expand)(const uint8_t *rgb, int width, uint32_t *pixels);
    /* Widens the colour boxes of a row of tiles by one row of pixels: of all tiles of its words. */
    void (*box)(const uint32_t *pixels, int width, uint32_t *low, uint32_t *high);
    /* 256 x lower bounds of the filter's weights in the parts of each pixel's window, for `rows` rows of pixels. The
     * first of `colors` is four rows above the first of them. */
    void (*reach)(const uint32_t *const *colors, int rows, int width, uint8_t *least, int64_t stride);

    /* Adds Gaussian weights (in units of 2^-25) and weighted colours of `count` pixels to the sums. */
    void (*weigh)(const uint32_t *pixels, int count, const double *across, double down, const double *squares,
                  double square, int64_t sums[4]);
    /* Bounds of the squared distances of colour boxes to the query. Arrays end at a multiple of 16. */
    void (*bounds)(const uint32_t *low, const uint32_t *high, int count, const double *query, float *least,
                   float *most);
    /* Could a tile's pixels have squared distances below `low` or above `high`? In single precision. */
    int (*may_widen)(const uint32_t *pixels, int64_t stride, int rows, const double *query, double low, double high);
    /* Widens the range of squared distances by a row of pixels. */
    void (*range)(const uint32_t *pixels, int width, const double *query, double *low, double *high);
    /* The pixels whose squared distance is at most `limit`; `tiles` tells what needs no look. */
    void (*near)(const uint32_t *pixels, int width, const double *query, double limit, const uint8_t *tiles,
                 uint64_t *out);

    /* A row of bits widened by four to each side; a zero word stands before and after it. */
    void (*widen)(const uint64_t *row, int words, uint64_t *out);
    /* The bits that are in one of `rows` rows of `a` and in one of `b`; rows `step` words apart. */
    void (*both)(const uint64_t *a, const uint64_t *b, int64_t step, int rows, int words, uint64_t *out);

    /* The excesses of the pixels in `needed` and of some beside them. */
    void (*stretch)(const uint32_t *pixels, int width, const g2s_stretch *how, const uint64_t *needed, int16_t *values);
    /* Decides what bounds of the weights can decide: takes it out of `doubt`, adds what is above to `mask`. */
    void (*settle)(const int16_t *const *values, const uint8_t *least, int64_t stride, int rows, int width,
                   uint64_t *doubt, int64_t doubt_step, uint64_t *mask, int64_t mask_step);
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

/* The image prepared for clicks. Once filled it never changes: any number of calls may read it at a time. */
typedef struct {
    const g2s_isa *isa;
    uint32_t *pixel;       /* four bytes each, rows with their mirrored borders; of row 0, column 0 */
    uint8_t *least;        /* (height, parts, stride) 256 x lower bounds of the weights in the pixel's window */
    uint32_t *low, *high;  /* (tile_rows, tile_columns) the colour box of each tile */
    int height, width, words, threads;
    int tile_rows, tile_columns; /* of whole words: the last ones may lie beyond the image, with colours of it */
    int64_t stride;
    int band, bands; /* rows per task, whole tiles; tasks per image: cut by the size alone */
} g2s_field;

static inline uint32_t *g2s_pixels(const g2s_field *field, int y)
{
    return field->pixel + y * field->stride;
}

/* Geometry, then the contents; g2s_field_bytes says what g2s_fill_field takes from its arena. */
g2s_field g2s_plan_field(int height, int width, int threads);
size_t g2s_field_bytes(const g2s_field *field);
void g2s_fill_field(g2s_field *field, const g2s_colors *colors, g2s_arena *arena);
/* The threads that are worth their waking up at this size. */
int g2s_worthwhile_threads(int height, int width, int threads);

/* Folds an index back into 0..length-1 by mirroring at the first and last pixel, as often as needed. */
int g2s_reflect(int index, int length);

/* What mode "reference" needs for each thread that works on a band of rows. */
typedef struct {
    /* Rows of bits with a zero word at both ends, `step` words apart: one for each row of the band, and for
     * four above and below. */
    uint64_t *near, *far, *near_wide, *far_wide, *doubt, *doubt_wide, *needed;
    int64_t step;
    int16_t *values;              /* (band + 8, stride) excesses, of the first row's column 0 */
    const uint32_t **color_rows;  /* (band + 8) */
    const int16_t **value_rows;   /* (band + 8) */
} g2s_band;

/* What one point at a time needs beside that. */
typedef struct {
    g2s_bits mask;             /* the result */
    g2s_bits near, other;      /* mode "metric" */
    float *tile_least, *tile_most; /* bounds of each tile's squared distances */
    uint8_t *tiles;            /* which tiles are near as a whole: see g2s_mark_tiles */
    double *low, *high;        /* of each task of the range */
    double *axes;              /* the query's weights: those of the columns and their exponents */
    int32_t *runs;             /* mode "metric": the flood's stack, three numbers for each run of pixels */
} g2s_scratch;

size_t g2s_scratch_bytes(const g2s_field *field, int metric);
void g2s_take_scratch(const g2s_field *field, int metric, g2s_arena *arena, g2s_scratch *scratch);
size_t g2s_band_bytes(const g2s_field *field);
void g2s_take_band(const g2s_field *field, g2s_arena *arena, g2s_band *band);
g2s_bits g2s_take_bits(const g2s_field *field, g2s_arena *arena);
size_t g2s_bits_bytes(const g2s_field *field);

enum { G2S_FAR_TILE, G2S_NEAR_TILE, G2S_MIXED_TILE };

/* The bounds of all tiles; then which of them lie on one side of a squared distance. */
void g2s_bound_tiles(const g2s_field *field, g2s_scratch *scratch, const double *query);
void g2s_mark_tiles(const g2s_field *field, g2s_scratch *scratch, double limit);

/* The steps of mode "reference". */
void g2s_gaussian_query(const g2s_field *field, g2s_scratch *scratch, const double *point, double sigma, double *query);
/* The least and the largest squared distance; needs the tiles' bounds. */
void g2s_range(
    const g2s_field *field, g2s_scratch *scratch, const double *point, const double *query, double *low, double *high);
/* The mask from the squared distance up to which pixels are near; needs the tiles' marks. `bands` has one entry for
 * each of field->threads. bytes: NULL, or where to write the mask as bytes too. */
void g2s_decide(
    const g2s_field *field, const g2s_scratch *scratch, g2s_band *bands, const g2s_stretch *how, double limit,
    uint8_t *bytes);

/* Mode "reference": the mask of one point. cut: a filtered similarity above it belongs. Returns whether `bytes`, if
 * it is not NULL, has been written. */
int g2s_reference_mask(
    const g2s_field *field, g2s_scratch *scratch, g2s_band *bands, const double *point, double sigma, double cut,
    uint8_t *bytes);

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

/* A window as `filter` gathers it for a single pixel: rows -3 .. 3 of eight pixels from -4, then (4, 0), (0, -4) and
 * (0, 4); here the weights of place, 0 where a pixel is outside of the window. */
enum { G2S_GATHERED = 64 };
extern float g2s_gathered_weights[G2S_GATHERED];

/* The filter's tables, and its definition: is the filtered similarity of pixel x above the cut? */
void g2s_prepare_filter(void);
const float *g2s_color_weights(void);
int g2s_filtered_above(const g2s_window *window, int x, int cut);

#endif
