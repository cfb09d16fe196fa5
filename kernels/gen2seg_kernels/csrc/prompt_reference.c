#include "prompt.h"

#include "threads.h"

#include <math.h>
#include <string.h>

static const double REACH = 6.05; /* in sigma; weights vanish beyond 6.005 */

/* An axis's first and last index whose weight may differ from zero; last < first if there is none. */
static void reached(double center, int length, double sigma, int *first, int *last)
{
    *first = *last = 0;
    if (length == 1)
        return;
    const double reach = REACH * sigma * (length - 1);
    *first = (int)fmax(0.0, ceil(center - reach));
    *last = (int)fmin(length - 1.0, floor(center + reach));
}

static double offset(int index, double center, int length, double sigma)
{
    return length > 1 ? (index / (double)(length - 1) - center / (length - 1)) / sigma : 0.0;
}

/* The Gaussian-weighted mean colour around a point.
 *
 * The round trip through float32 makes each weight a multiple of 2^-25, so whole numbers hold the sums exactly. */
static void query_color(const g2s_field *field, const double *point, double sigma, double *query)
{
    int left, right, top, bottom;
    reached(point[0], field->width, sigma, &left, &right);
    reached(point[1], field->height, sigma, &top, &bottom);
    int64_t sums[4] = {0};
    for (int row = top; row <= bottom; row++) {
        const double y = offset(row, point[1], field->height, sigma), y2 = y * y;
        const uint32_t *pixels = g2s_pixels(field, row);
        for (int column = left; column <= right; column++) {
            const double x = offset(column, point[0], field->width, sigma), square = x * x + y2;
            if (square > REACH * REACH)
                continue;
            const float weight = (float)exp(-0.5 * square), there = 2.0f * weight - 1.0f;
            const int64_t whole = (int64_t)((there + 1.0f) / 2.0f * 0x1p25f);
            for (int channel = 0; channel < 3; channel++)
                sums[channel] += whole * (pixels[column] >> 8 * channel & 255);
            sums[3] += whole;
        }
    }
    for (int channel = 0; channel < 3; channel++)
        query[channel] = (double)sums[channel] * 0x1p-25 / ((double)sums[3] * 0x1p-25 + G2S_EPSILON);
}

static double similarity(double squared)
{
    return 1.0 / (sqrt(squared) + G2S_EPSILON);
}

/* Is the stretched similarity above the cut? Every rounded step falls with distance, so one limit tells. */
static int above(const g2s_stretch *how, double squared, double cut)
{
    return (similarity(squared) - how->smallest) / how->span * 255.0 >= cut + 1;
}

/* The largest squared distance whose similarity is above the cut, by bisection over the floating-point numbers:
 * those that are not negative are ordered like the integers that their bits spell. `low` is above, `high` is not. */
static double distance_limit(const g2s_stretch *how, double low, double high, double cut)
{
    int64_t inside, outside;
    memcpy(&inside, &low, sizeof inside);
    memcpy(&outside, &high, sizeof outside);
    while (outside - inside > 1) {
        const int64_t middle = inside + (outside - inside) / 2;
        double value;
        memcpy(&value, &middle, sizeof value);
        if (above(how, value, cut))
            inside = middle;
        else
            outside = middle;
    }
    memcpy(&low, &inside, sizeof low);
    return low;
}

typedef struct {
    const g2s_field *field;
    g2s_scratch *scratch;
    g2s_stretch how;
    double limit;
    int cut;
} point_job;

/* Runs a function on all rows, band by band. */
#define ROWS_OF_BAND(field, index, y)                                                                  \
    for (int y = (int)(index) * (field)->band, end = y + (field)->band; y < end && y < (field)->height; y++)

static void range_band(void *context, int64_t index, int slot)
{
    const point_job *job = context;
    double low = INFINITY, high = 0;
    (void)slot;
    ROWS_OF_BAND(job->field, index, y)
        job->field->isa->range(g2s_pixels(job->field, y), job->field->width, job->how.query, &low, &high);
    job->scratch->low[index] = low;
    job->scratch->high[index] = high;
}

enum { NEAR, FAR, DOUBT }; /* places in the scratch's widened sets */

static const uint64_t NONE = 0, ALL = ~UINT64_C(0);

static void near_band(void *context, int64_t index, int slot)
{
    const point_job *job = context;
    const g2s_field *field = job->field;
    g2s_scratch *scratch = job->scratch;
    (void)slot;
    ROWS_OF_BAND(field, index, y) {
        uint64_t *near = g2s_row(&scratch->near, y);
        field->isa->near(g2s_pixels(field, y), field->width, job->how.query, job->limit, near);
        g2s_widen_row(&scratch->near, NONE, y, &scratch->wide[NEAR]);
        g2s_widen_row(&scratch->near, ALL, y, &scratch->wide[FAR]);
    }
}

/* The filter takes means: where the window is on one side of the limit, so is its mean. */
static void doubt_band(void *context, int64_t index, int slot)
{
    const point_job *job = context;
    g2s_scratch *scratch = job->scratch;
    (void)slot;
    ROWS_OF_BAND(job->field, index, y) {
        const uint64_t *near = g2s_row(&scratch->near, y);
        uint64_t *doubt = g2s_row(&scratch->doubt, y), *mask = g2s_row(&scratch->mask, y);
        g2s_grow_row(&scratch->near, NONE, &scratch->wide[NEAR], y, doubt);
        g2s_grow_row(&scratch->near, ALL, &scratch->wide[FAR], y, mask);
        for (int i = 0; i < job->field->words; i++) {
            doubt[i] &= mask[i];
            mask[i] = near[i] & ~doubt[i];
        }
        g2s_widen_row(&scratch->doubt, NONE, y, &scratch->wide[DOUBT]);
    }
}

static void stretch_band(void *context, int64_t index, int slot)
{
    const point_job *job = context;
    const g2s_field *field = job->field;
    const g2s_scratch *scratch = job->scratch;
    const int width = field->width;
    (void)slot;
    ROWS_OF_BAND(field, index, y) {
        float *values = scratch->values + y * field->stride;
        uint64_t *needed = g2s_row(&scratch->near, y); /* which has done its work */
        g2s_grow_row(&scratch->doubt, NONE, &scratch->wide[DOUBT], y, needed);
        field->isa->stretch(g2s_pixels(field, y), width, &job->how, needed, values);
        for (int x = 1; x <= G2S_RADIUS; x++) {
            values[-x] = values[g2s_reflect(-x, width)];
            values[width - 1 + x] = values[g2s_reflect(width - 1 + x, width)];
        }
    }
}

static void filter_band(void *context, int64_t index, int slot)
{
    const point_job *job = context;
    const g2s_field *field = job->field;
    const g2s_scratch *scratch = job->scratch;
    (void)slot;
    ROWS_OF_BAND(field, index, y) {
        g2s_window window;
        for (int i = 0; i < G2S_SIDE; i++) {
            const int row = g2s_reflect(y + i - G2S_RADIUS, field->height);
            window.colors[i] = g2s_pixels(field, row);
            window.values[i] = scratch->values + row * field->stride;
        }
        field->isa->filter(
            &window, field->width, g2s_row(&scratch->doubt, y), job->cut, g2s_row(&scratch->mask, y));
    }
}

static void run(point_job *job, g2s_task band)
{
    g2s_run_tasks(job->field->threads, job->field->bands, band, job);
}

static void fill_mask(g2s_bits *mask, uint64_t word)
{
    for (int y = 0; y < mask->height; y++) {
        for (int i = 0; i < mask->words; i++)
            g2s_row(mask, y)[i] = word;
        g2s_row(mask, y)[mask->words - 1] &= g2s_last_word(mask->width);
    }
}

void g2s_reference_mask(const g2s_field *field, g2s_scratch *scratch, const double *point, double sigma, double cut)
{
    point_job job = {.field = field, .scratch = scratch};
    if (cut < 0) {
        fill_mask(&scratch->mask, ALL);
        return;
    }
    query_color(field, point, sigma, job.how.query);
    run(&job, range_band);
    double low = INFINITY, high = 0;
    for (int i = 0; i < field->bands; i++) {
        low = fmin(low, scratch->low[i]);
        high = fmax(high, scratch->high[i]);
    }
    job.how.smallest = similarity(high);
    job.how.span = similarity(low) - job.how.smallest + G2S_EPSILON;
    if (!above(&job.how, low, cut)) {
        fill_mask(&scratch->mask, NONE);
        return;
    }
    job.cut = (int)cut; /* at most 254 now */
    job.limit = distance_limit(&job.how, low, high, cut);
    run(&job, near_band);
    run(&job, doubt_band);
    run(&job, stretch_band);
    run(&job, filter_band);
}
