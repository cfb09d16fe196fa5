/* The instance colouring loss of one image on the CPU: what its parts share.
 *
 * The order of work, and the file of each step:
 *   loss_labels.c  ids of any value -> 0 = background, 1..K
 *   loss.c         means per instance, the pass over the pixels, the means among themselves, the sum
 *   loss_pass.h    the pass over a segment of pixels, tile by tile (a template on the number type)
 *   loss_tile.h    pixels x instances of one tile, vectorised (a template on type and instruction set)
 *   loss_py.c      the Python function
 *
 * Memory is O(pixels + instances). The result does not depend on the number of threads: segments and
 * tiles are cut by the size of the image alone and combined in their order.
 */
#ifndef GEN2SEG_LOSS_H
#define GEN2SEG_LOSS_H

#include <stdint.h>

enum {
    G2S_TILE = 512, /* pixels: with colours, gradients and ids 26 KiB, beside the means in the L1/L2 cache */
    G2S_ROWS = 4,   /* instances are padded to a multiple of this, the most that share one walk of a tile */
    G2S_BLOCK = 64, /* instances per float32 sum of a pixel's gradient, before it goes on in float64 */
};

typedef enum { G2S_FLOAT16, G2S_BFLOAT16, G2S_FLOAT32, G2S_FLOAT64 } g2s_float_type;
typedef enum { G2S_UINT8, G2S_INT8, G2S_INT16, G2S_UINT16, G2S_INT32, G2S_INT64 } g2s_label_type;
typedef enum { G2S_OK, G2S_NO_MEMORY, G2S_NEGATIVE_LABEL } g2s_status;

typedef struct {
    double inter_weight, separation, mean_separation, huber_delta, intra_weight, mean_weight;
} g2s_loss_weights;

/* Tiles: colours in, the sums of the pushes on them out. */
typedef struct {
    float color[3][G2S_TILE], push[3][G2S_TILE];
    int32_t id[G2S_TILE];
    int padded; /* pixels, a multiple of 16: what fills up is too far away to weigh anything */
} __attribute__((aligned(64))) g2s_tile_f32;

typedef struct {
    double color[3][G2S_TILE], push[3][G2S_TILE];
    int64_t id[G2S_TILE];
    int padded;
} __attribute__((aligned(64))) g2s_tile_f64;

/* Means that push, by instance; the mean is high + low. */
typedef struct {
    float *high[3], *low[3], *weight;
} g2s_sources_f32;

typedef struct {
    double *high[3], *low[3], *weight;
} g2s_sources_f64;

/* The pair kernels of one instruction set: see loss_tile.h for what they compute. */
typedef struct {
    const char *name;
    void (*f32)(g2s_tile_f32 *, const g2s_sources_f32 *, int first, int last, double (*sums)[4], int with_push);
    void (*f64)(g2s_tile_f64 *, const g2s_sources_f64 *, int first, int last, double (*sums)[4], int with_push);
} g2s_pair_kernels;

/* The best kernels up to `level` (0 = any machine) that this processor runs; level < 0 for the best of all. */
const g2s_pair_kernels *g2s_pick_pair_kernels(int level);

/* Which pixels take part, and the instance of each. */
typedef struct {
    int64_t n;      /* pixels that take part */
    int32_t *index; /* (n) their places in the image, NULL if all take part */
    int32_t *dense; /* (n) 0 = background, 1..instances */
    int instances;
    int64_t lowest; /* the negative label found, after G2S_NEGATIVE_LABEL */
} g2s_labels;

/* Labels (pixels) and valid (pixels, bytes, or NULL) -> `out`, to be released by g2s_free_labels in any case. */
g2s_status g2s_relabel(const void *labels, g2s_label_type type, const uint8_t *valid, int64_t pixels, g2s_labels *out);
void g2s_free_labels(g2s_labels *labels);

typedef struct {
    const void *pred; /* (3, pixels) */
    g2s_float_type type;
    int64_t pixels;
    const void *labels;
    g2s_label_type label_type;
    const uint8_t *valid; /* (pixels) or NULL */
    int ignore_background;
    int threads; /* 0 for the default */
    int level;   /* of the instruction set, see g2s_pick_pair_kernels */
    double scale; /* of the gradient: 1 / batch size */
    g2s_loss_weights weights;
} g2s_loss_input;

/* terms[3] = intra, inter, mean level, weighted and divided by the number of intra terms. grad (3, pixels) of
 * their sum times `scale`, or NULL: float64 for float64 colours, else float32; it comes in zeroed.
 * `lowest` is set with G2S_NEGATIVE_LABEL. */
g2s_status g2s_loss_image(const g2s_loss_input *input, double terms[3], void *grad, int64_t *lowest);

#endif
