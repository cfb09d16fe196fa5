/* The range of the squared distances over the image.
 *
 * Most tiles cannot widen it: their colour boxes tell. Of the rest, single precision tells of most that they do not;
 * what may is computed as the definition does. */
#include "prompt.h"

#include "threads.h"

#include <math.h>

enum { TILES_PER_TASK = 4096 };

static const uint32_t *place(const g2s_field *field, int64_t tile, int *rows, int *width)
{
    const int y = (int)(tile / field->tile_columns) * G2S_TILE, x = (int)(tile % field->tile_columns) * G2S_TILE_WIDTH;
    *rows = field->height - y < G2S_TILE ? field->height - y : G2S_TILE;
    *width = field->width - x < G2S_TILE_WIDTH ? field->width - x : G2S_TILE_WIDTH;
    return g2s_pixels(field, y) + x;
}

static void widen_exactly(const g2s_field *field, int64_t tile, const double *query, double *low, double *high)
{
    int rows, width;
    const uint32_t *pixels = place(field, tile, &rows, &width);
    if (width > 0 && field->low[tile] == field->high[tile])
        rows = width = 1; /* all of one colour */
    for (int row = 0; row < rows; row++)
        field->isa->range(pixels + row * field->stride, width, query, low, high);
}

static void widen(const g2s_field *field, int64_t tile, const double *query, double *low, double *high)
{
    int rows, width;
    const uint32_t *pixels = place(field, tile, &rows, &width);
    if (width > 0 && field->isa->may_widen(pixels, field->stride, rows, query, *low, *high))
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
    range_job job = {field, scratch, query, INFINITY, 0, (int64_t)field->tile_rows * field->tile_columns};
    /* Begin where the extremes are likely: at the click, and in the farthest box. */
    const int x = (int)fmax(0, fmin(field->width - 1, point[0])), y = (int)fmax(0, fmin(field->height - 1, point[1]));
    int64_t farthest = 0;
    for (int64_t tile = 1; tile < job.tiles; tile++)
        if (scratch->tile_most[tile] > scratch->tile_most[farthest])
            farthest = tile;
    widen_exactly(field, (int64_t)(y / G2S_TILE) * field->tile_columns + x / G2S_TILE_WIDTH, query, &job.low, &job.high);
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
