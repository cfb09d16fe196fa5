/* The instance colouring loss of one image and its gradient; see loss.h for the parts. */
#include "loss.h"
#include "threads.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_SEGMENTS = 64 };
/* Below this many pixel-instance pairs waking threads costs more than they save. */
static const double SMALL_WORK = 4e6;

typedef struct {
    const g2s_loss_input *in;
    const g2s_pair_kernels *kernels;
    g2s_labels labels;
    int threads, segments;
    int last;             /* one beyond the instances and what pads them to whole packs */
    int rows;             /* of the arrays below: no fewer than last, nor than all the means in whole packs */
    double (*partial)[4]; /* (segments, rows): sums of each segment, added up in their order */
    double *pulled;       /* (segments) intra term of each segment */
    double *memory;       /* holds the arrays over rows that follow */
    double *count, *pull, *push;         /* (rows) area, weight of intra and of inter */
    double (*mean)[3], (*mean_grad)[3];  /* (rows) */
    int counted;                         /* intra terms */
    const void *sources;
    void *source_memory;
    void *grad;
    double grad_scale;
} image_work;

/* First pixel of a segment: whole tiles, shared out as evenly as can be. */
static int64_t segment_start(const image_work *image, int64_t segment)
{
    const int64_t n = image->labels.n, tiles = (n + G2S_TILE - 1) / G2S_TILE;
    const int64_t start = tiles * segment / image->segments * G2S_TILE;
    return start < n ? start : n;
}

static int tile_size(const image_work *image, int64_t start)
{
    const int64_t left = image->labels.n - start;
    return (int)(left < G2S_TILE ? left : G2S_TILE);
}

/* IEEE half -> float without the instruction, which not every processor has: shifting moves the exponent
 * to the float's place, the product corrects its bias and normalises subnormals. */
static inline float half_to_float(uint16_t half)
{
    uint32_t bits = (uint32_t)(half & 0x7fff) << 13;
    float value;
    memcpy(&value, &bits, sizeof value);
    value *= 0x1p112f;
    memcpy(&bits, &value, sizeof bits);
    bits |= (half & 0x7c00) == 0x7c00 ? 0x7f800000u : 0u; /* infinities and NaN stay what they are */
    bits |= (uint32_t)(half & 0x8000) << 16;
    memcpy(&value, &bits, sizeof value);
    return value;
}

static inline float bfloat_to_float(uint16_t half)
{
    const uint32_t bits = (uint32_t)half << 16;
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

#define READ(TYPE, CONVERT)                                                                                  \
    for (int c = 0; c < 3; c++) {                                                                            \
        const TYPE *from = (const TYPE *)image->in->pred + c * image->in->pixels;                            \
        if (index)                                                                                           \
            for (int i = 0; i < n; i++)                                                                      \
                color[c][i] = CONVERT(from[index[start + i]]);                                               \
        else                                                                                                 \
            for (int i = 0; i < n; i++)                                                                      \
                color[c][i] = CONVERT(from[start + i]);                                                      \
    }

static void load_f32(const image_work *image, int64_t start, int n, float color[3][G2S_TILE])
{
    const int32_t *index = image->labels.index;
    if (image->in->type == G2S_FLOAT16)
        READ(uint16_t, half_to_float)
    else if (image->in->type == G2S_BFLOAT16)
        READ(uint16_t, bfloat_to_float)
    else
        READ(float, )
}

static void load_f64(const image_work *image, int64_t start, int n, double color[3][G2S_TILE])
{
    const int32_t *index = image->labels.index;
    READ(double, )
}

enum { PULL_LANES = 8 }; /* sums side by side, which the compiler may not split by itself */

/* One channel of the pull: adds Huber's weighted values to `loss`, turns the pushes in `total` into the gradient
 * and the differences in `away` into the pull's part of it. `n` is a multiple of PULL_LANES. */
static void pull_channel(const double *restrict weight, double *restrict away, double *restrict total, int n,
                         double delta, double loss[PULL_LANES])
{
    double sum[PULL_LANES];
    memcpy(sum, loss, sizeof sum);
    for (int start = 0; start < n; start += PULL_LANES)
        for (int lane = 0; lane < PULL_LANES; lane++) {
            const int i = start + lane;
            const double over = away[i] > delta ? delta : away[i];
            const double slope = over < -delta ? -delta : over; /* Huber's derivative */
            const double pull = weight[i] * slope;
            sum[lane] += pull * (away[i] - 0.5 * slope);
            total[i] = pull - 2.0 * total[i];
            away[i] = pull;
        }
    memcpy(loss, sum, sizeof sum);
}

#define NAME_(x, suffix) x##_##suffix
#define REAL float
#define TILE g2s_tile_f32
#define SOURCES g2s_sources_f32
#define FAR 1e30f
#define PAIRS f32
#define NAME(x) NAME_(x, f32)
#include "loss_pass.h"
#undef REAL
#undef TILE
#undef SOURCES
#undef FAR
#undef PAIRS
#undef NAME
#define REAL double
#define TILE g2s_tile_f64
#define SOURCES g2s_sources_f64
#define FAR 1e200
#define PAIRS f64
#define NAME(x) NAME_(x, f64)
#include "loss_pass.h"

static int is_wide(const image_work *image) { return image->in->type == G2S_FLOAT64; }

static void run_segments(image_work *image, int segments, g2s_task narrow, g2s_task wide)
{
    g2s_run_tasks(image->threads, segments, is_wide(image) ? wide : narrow, image);
}

static int whole_packs(int instances) { return (instances + G2S_ROWS - 1) / G2S_ROWS * G2S_ROWS; }

/* Cuts the work by the size of the image alone, and keeps the partial sums O(pixels + instances). */
static void plan_segments(image_work *image)
{
    const int64_t n = image->labels.n, tiles = (n + G2S_TILE - 1) / G2S_TILE;
    const int instances = image->labels.instances;
    image->last = 1 + whole_packs(instances);
    image->rows = whole_packs(instances + 1) + 1;
    const int64_t affordable = (2 * n > 32768 ? 2 * n : 32768) / image->rows;
    int64_t segments = tiles < MAX_SEGMENTS ? tiles : MAX_SEGMENTS;
    segments = segments < affordable ? segments : affordable;
    image->segments = segments > 1 ? (int)segments : 1;
    image->threads = (double)n * (instances + 8) < SMALL_WORK ? 1 : image->in->threads;
}

static g2s_status allocate(image_work *image)
{
    const size_t rows = (size_t)image->rows, segments = (size_t)image->segments;
    image->partial = malloc(segments * rows * sizeof *image->partial);
    image->pulled = calloc(segments, sizeof *image->pulled);
    image->memory = calloc(9 * rows, sizeof *image->memory);
    if (!image->partial || !image->pulled || !image->memory)
        return G2S_NO_MEMORY;
    image->count = image->memory;
    image->pull = image->memory + rows;
    image->push = image->memory + 2 * rows;
    image->mean = (double (*)[3])(image->memory + 3 * rows);
    image->mean_grad = (double (*)[3])(image->memory + 6 * rows);
    return G2S_OK;
}

/* Adds the segments' sums onto the first segment's. */
static void combine_segments(image_work *image)
{
    double *sum = image->partial[0];
    for (int segment = 1; segment < image->segments; segment++) {
        const double *part = image->partial[(size_t)segment * image->rows];
        for (int64_t i = 0; i < 4 * (int64_t)image->rows; i++)
            sum[i] += part[i];
    }
}

static void measure_instances(image_work *image)
{
    const g2s_loss_weights *weights = &image->in->weights;
    run_segments(image, image->segments, sum_segment_f32, sum_segment_f64);
    combine_segments(image);
    for (int k = 0; k <= image->labels.instances; k++) {
        const double *sum = image->partial[k], n = sum[0], outside = (double)image->labels.n - n;
        const int counts = n > 0 && !(k == 0 && image->in->ignore_background);
        image->count[k] = n;
        image->pull[k] = counts ? weights->intra_weight / (3.0 * n) : 0.0;
        image->counted += counts;
        if (k == 0) /* the background belongs at black and pushes nothing */
            continue;
        for (int c = 0; c < 3; c++)
            image->mean[k][c] = sum[1 + c] / n;
        image->push[k] = outside > 0 ? weights->inter_weight * weights->separation / sqrt(n) / outside : 0.0;
    }
}

/* Phase 3's work: the means that count as if they were the pixels of an image, each its own instance. */
typedef struct {
    image_work *image;
    const g2s_sources_f64 *sources;
    const int32_t *row; /* (counted) */
    int rows, segments;
} mean_work;

static void mean_segment(void *context, int64_t segment, int slot)
{
    (void)slot;
    const mean_work *work = context;
    const image_work *image = work->image;
    double (*sums)[4] = image->partial + (size_t)segment * image->rows;
    memset(sums, 0, (size_t)image->rows * sizeof *sums);
    const int64_t tiles = (image->counted + G2S_TILE - 1) / G2S_TILE;
    const int64_t end = tiles * (segment + 1) / work->segments;
    g2s_tile_f64 tile;
    double total[3][G2S_TILE];
    for (int64_t t = tiles * segment / work->segments; t < end; t++) {
        const int start = (int)t * G2S_TILE;
        const int n = image->counted - start < G2S_TILE ? image->counted - start : G2S_TILE;
        for (int i = 0; i < n; i++) {
            for (int c = 0; c < 3; c++)
                tile.color[c][i] = image->mean[work->row[start + i]][c];
            tile.id[i] = start + i;
        }
        pad_tile_f64(&tile, n);
        push_tile_f64(image, &tile, work->sources, 0, work->rows, sums, total);
        for (int i = 0; i < n; i++)
            for (int c = 0; c < 3; c++)
                image->mean_grad[work->row[start + i]][c] -= 2.0 * total[c][i];
    }
}

static void push_means(mean_work *work, double *term)
{
    image_work *image = work->image;
    const int64_t tiles = (image->counted + G2S_TILE - 1) / G2S_TILE;
    work->segments = (int)(tiles < image->segments ? tiles : image->segments);
    g2s_run_tasks(image->threads, work->segments, mean_segment, work);
    double closeness = 0.0;
    for (int segment = 0; segment < work->segments; segment++)
        for (int k = 0; k < image->counted; k++)
            closeness += image->partial[(size_t)segment * image->rows + k][0];
    *term = 0.5 * work->sources->weight[0] * closeness; /* each pair was met from both sides */
}

/* Phase 3: push between the means that count; overwrites the partial sums. */
static g2s_status add_mean_level(image_work *image, double *term)
{
    const double counted = image->counted;
    if (image->counted < 2)
        return G2S_OK;
    const double weight =
        image->in->weights.mean_weight * image->in->weights.mean_separation / (counted * (counted - 1.0) / 2.0);
    const size_t rows = (size_t)whole_packs(image->counted);
    double *memory = calloc(5 * rows, sizeof *memory); /* high, weight, and zeros that all the lows share */
    int32_t *row = malloc(rows * sizeof *row);
    if (!memory || !row) {
        free(memory);
        free(row);
        return G2S_NO_MEMORY;
    }
    g2s_sources_f64 sources = {.weight = memory + 3 * rows};
    for (int c = 0; c < 3; c++) {
        sources.high[c] = memory + c * rows;
        sources.low[c] = memory + 4 * rows;
    }
    int next = 0;
    for (int k = 0; k <= image->labels.instances; k++) {
        if (image->count[k] == 0.0 || (k == 0 && image->in->ignore_background))
            continue;
        for (int c = 0; c < 3; c++)
            sources.high[c][next] = image->mean[k][c];
        sources.weight[next] = weight;
        row[next++] = k;
    }
    mean_work work = {.image = image, .sources = &sources, .row = row, .rows = (int)rows};
    push_means(&work, term);
    free(memory);
    free(row);
    return G2S_OK;
}

/* What phase 2 found, summed over the segments in their order. */
static void collect_pixel_terms(image_work *image, double terms[3])
{
    combine_segments(image);
    for (int segment = 0; segment < image->segments; segment++)
        terms[0] += image->pulled[segment];
    for (int k = 1; k <= image->labels.instances; k++) {
        terms[1] += image->push[k] * image->partial[k][0];
        for (int c = 0; c < 3; c++)
            image->mean_grad[k][c] = 2.0 * image->partial[k][1 + c];
    }
}

static void finish_gradient(image_work *image)
{
    for (int k = 1; k <= image->labels.instances; k++)
        for (int c = 0; c < 3; c++)
            image->mean_grad[k][c] /= image->count[k];
    memset(image->mean_grad[0], 0, sizeof *image->mean_grad); /* the background's mean is a constant */
    image->grad_scale = image->in->scale / image->counted;
    run_segments(image, image->segments, finish_segment_f32, finish_segment_f64);
}

static g2s_status compute(image_work *image, double terms[3])
{
    g2s_sources_f32 narrow;
    g2s_sources_f64 wide;
    plan_segments(image);
    if (allocate(image) != G2S_OK)
        return G2S_NO_MEMORY;
    measure_instances(image);
    if (image->counted == 0)
        return G2S_OK;
    if (!(is_wide(image) ? fill_sources_f64(image, &wide) : fill_sources_f32(image, &narrow)))
        return G2S_NO_MEMORY;
    run_segments(image, image->segments, pixel_segment_f32, pixel_segment_f64);
    collect_pixel_terms(image, terms);
    if (add_mean_level(image, &terms[2]) != G2S_OK)
        return G2S_NO_MEMORY;
    if (image->grad)
        finish_gradient(image);
    for (int i = 0; i < 3; i++)
        terms[i] /= image->counted;
    return G2S_OK;
}

g2s_status g2s_loss_image(const g2s_loss_input *input, double terms[3], void *grad, int64_t *lowest)
{
    image_work image = {.in = input, .grad = grad, .kernels = g2s_pick_pair_kernels(input->level)};
    terms[0] = terms[1] = terms[2] = 0.0;
    g2s_status status = g2s_relabel(input->labels, input->label_type, input->valid, input->pixels, &image.labels);
    *lowest = image.labels.lowest;
    if (status == G2S_OK)
        status = compute(&image, terms);
    g2s_free_labels(&image.labels);
    free(image.partial);
    free(image.pulled);
    free(image.memory);
    free(image.source_memory);
    return status;
}
