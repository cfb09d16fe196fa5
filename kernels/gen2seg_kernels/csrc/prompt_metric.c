/* Prompting by an absolute colour distance; prompt/metric.py says what and why. */
#include "prompt.h"

#include "threads.h"

#include <math.h>

enum { QUERY_RADIUS = 3 };

/* The mean colour of the pixels near the seed that look like it. */
static void query_color(const g2s_field *field, int x, int y, double alike, double *query)
{
    const uint32_t seed = g2s_pixels(field, y)[x];
    int64_t sums[3] = {0}, count = 0;
    for (int dy = -QUERY_RADIUS; dy <= QUERY_RADIUS; dy++)
        for (int dx = -QUERY_RADIUS; dx <= QUERY_RADIUS; dx++) {
            if (dy * dy + dx * dx > QUERY_RADIUS * QUERY_RADIUS || y + dy < 0 || y + dy >= field->height ||
                x + dx < 0 || x + dx >= field->width)
                continue;
            const uint32_t pixel = g2s_pixels(field, y + dy)[x + dx];
            int64_t square = 0;
            for (int shift = 0; shift < 24; shift += 8) {
                const int difference = (int)(pixel >> shift & 255) - (int)(seed >> shift & 255);
                square += (int64_t)difference * difference;
            }
            if ((double)square > alike)
                continue;
            for (int channel = 0; channel < 3; channel++)
                sums[channel] += pixel >> 8 * channel & 255;
            count++;
        }
    for (int channel = 0; channel < 3; channel++)
        query[channel] = (double)sums[channel] / (double)count;
}

typedef struct {
    const g2s_field *field;
    const g2s_scratch *scratch;
    const double *query;
    double limit;
    g2s_bits *out;
} cut_job;

static void near_band(void *context, int64_t index, int slot)
{
    const cut_job *job = context;
    const g2s_field *field = job->field;
    (void)slot;
    for (int y = (int)index * field->band, end = y + field->band; y < end && y < field->height; y++)
        field->isa->near(
            g2s_pixels(field, y), field->width, job->query, job->limit,
            job->scratch->tiles + (int64_t)(y / G2S_TILE) * field->tile_columns, g2s_row(job->out, y));
}

/* The pixels whose squared distance to the query is below `squared`; needs the tiles' bounds. */
static void below(const g2s_field *field, g2s_scratch *scratch, const double *query, double squared, g2s_bits *out)
{
    /* Less than a number is at most the one before it. */
    cut_job job = {field, scratch, query, nextafter(squared, -INFINITY), out};
    g2s_mark_tiles(field, scratch, job.limit);
    g2s_run_tasks(field->threads, field->bands, near_band, &job);
}

static int clicked(double value, int length)
{
    const int index = (int)floor(value + 0.5);
    return index < length - 1 ? index : length - 1;
}

/* Those of them that are connected to the seed, into the scratch's mask. */
static void cut_out(
    const g2s_field *field, g2s_scratch *scratch, const double *query, double squared, int connected, int x, int y)
{
    if (!connected) {
        below(field, scratch, query, squared, &scratch->mask);
        return;
    }
    below(field, scratch, query, squared, &scratch->near);
    g2s_flood(&scratch->near, x, y, scratch->runs, &scratch->mask);
}

void g2s_metric_mask(const g2s_field *field, g2s_scratch *scratch, const double *point, const g2s_cut *cut)
{
    const int x = clicked(point[0], field->width), y = clicked(point[1], field->height);
    double query[3];
    query_color(field, x, y, cut->alike, query);
    g2s_bound_tiles(field, scratch, query);
    cut_out(field, scratch, query, cut->middle, cut->connected, x, y);
}

void g2s_metric_range(
    const g2s_field *field, g2s_scratch *scratch, const double *point, const g2s_cut *cut, g2s_bits parts[3])
{
    const int x = clicked(point[0], field->width), y = clicked(point[1], field->height);
    const int64_t words = (int64_t)field->height * field->words;
    double query[3];
    query_color(field, x, y, cut->alike, query);
    g2s_bound_tiles(field, scratch, query);
    cut_out(field, scratch, query, cut->middle, cut->connected, x, y);
    below(field, scratch, query, cut->inner, &scratch->other);
    for (int64_t i = 0; i < words; i++) {
        parts[0].word[i] |= scratch->mask.word[i] & scratch->other.word[i];
        parts[1].word[i] |= scratch->mask.word[i];
    }
    cut_out(field, scratch, query, cut->outer, cut->connected, x, y);
    for (int64_t i = 0; i < words; i++)
        parts[2].word[i] |= scratch->mask.word[i];
}
