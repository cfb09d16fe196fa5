/* The range of the squared distances over the image.
 *
 * Most tiles cannot widen it: their colour boxes tell. Of the rest, single precision tells of most that they do not;
 * what may is computed as the definition does. */
#include "prompt.h"

#include "threads.h"

#include <math.h>

enum { TILES_PER_TASK = 1024 };

/* By how much a squared distance in single precision may be off; see channel_difference in prompt_rows.h. */
static double most_off(float squared)
{
    return 2e-6 * (double)squared + 1e-6 * sqrt((double)squared);
}

static void widen_exactly(const g2s_field *field, int64_t tile, const double *query, double *low, double *high)
{
    const int y = (int)(tile / field->words) * G2S_TILE, x = (int)(tile % field->words) * 64;
    const int flat = field->low[tile] == field->high[tile];
    const int width = flat ? 1 : field->width - x < 64 ? field->width - x : 64;
    for (int row = y; row < y + (flat ? 1 : G2S_TILE) && row < field->height; row++)
        field->isa->range(g2s_pixels(field, row) + x, width, query, low, high);
}

static void widen(const g2s_field *field, int64_t tile, const double *query, double *low, double *high)
{
    const int y = (int)(tile / field->words) * G2S_TILE, x = (int)(tile % field->words) * 64;
    const int width = field->width - x < 64 ? field->width - x : 64;
    float least = INFINITY, most = 0;
    for (int row = y; row < y + G2S_TILE && row < field->height; row++)
        field->isa->extent(g2s_pixels(field, row) + x, width, query, &least, &most);
    if ((double)least - most_off(least) < *low || (double)most + most_off(most) > *high)
        widen_exactly(field, tile, query, low, high);
}

typedef struct {
    const g2s_field *field;
    const g2s_scratch *scratch;
    const double *query;
    double low, high; /* to begin with */
    int64_t tiles;
} range_job;

static void widen_by_tiles(void *context, int64_t index, int slot)
{
    const range_job *job = context;
    double low = job->low, high = job->high;
    (void)slot;
    for (int64_t tile = index * TILES_PER_TASK; tile < job->tiles && tile < (index + 1) * TILES_PER_TASK; tile++)
        if ((double)job->scratch->tile_least[tile] < low || (double)job->scratch->tile_most[tile] > high)
            widen(job->field, tile, job->query, &low, &high);
    job->scratch->low[index] = low;
    job->scratch->high[index] = high;
}

void g2s_range(
    const g2s_field *field, g2s_scratch *scratch, const double *point, const double *query, double *low, double *high)
{
    range_job job = {field, scratch, query, INFINITY, 0, (int64_t)field->tile_rows * field->words};
    /* Begin where the extremes are likely: at the click, and in the farthest box. */
    const int x = (int)fmax(0, fmin(field->width - 1, point[0])), y = (int)fmax(0, fmin(field->height - 1, point[1]));
    int64_t farthest = 0;
    for (int64_t tile = 1; tile < job.tiles; tile++)
        if (scratch->tile_most[tile] > scratch->tile_most[farthest])
            farthest = tile;
    widen_exactly(field, (int64_t)(y / G2S_TILE) * field->words + x / 64, query, &job.low, &job.high);
    widen_exactly(field, farthest, query, &job.low, &job.high);
    const int64_t tasks = (job.tiles + TILES_PER_TASK - 1) / TILES_PER_TASK;
    g2s_run_tasks(field->threads, tasks, widen_by_tiles, &job);
    *low = job.low;
    *high = job.high;
    for (int64_t i = 0; i < tasks; i++) {
        *low = fmin(*low, scratch->low[i]);
        *high = fmax(*high, scratch->high[i]);
    }
}
