/* Mode "reference" from the cut on, a band of rows at a time, so that what one step leaves the next finds in the
 * cache, and threads meet only once.
 *
 * The filter takes means: where the window is on one side of the cut, so is its mean. Of the pixels in doubt, bounds
 * of the filter's weights (prompt_settle.h) decide most; the filter runs for those that are left. */
#include "prompt.h"

#include "threads.h"

#include <string.h>

/* Rows of the band and those that its windows reach. */
static int band_rows(const g2s_field *field)
{
    return field->band + 2 * G2S_RADIUS;
}

/* A zero word before and after; vectors of eight read and write beyond. */
static int64_t bits_step(const g2s_field *field)
{
    return (field->words + 7) / 8 * 8 + 8;
}

enum { SETS = 7 };

static size_t set_bytes(const g2s_field *field)
{
    return g2s_arena_bytes((size_t)(band_rows(field) * bits_step(field) + 16) * sizeof(uint64_t));
}

static size_t band_value_bytes(const g2s_field *field)
{
    return g2s_arena_bytes((size_t)(band_rows(field) * field->stride) * sizeof(int16_t));
}

static size_t row_bytes(const g2s_field *field)
{
    return g2s_arena_bytes((size_t)band_rows(field) * sizeof(void *));
}

size_t g2s_band_bytes(const g2s_field *field)
{
    return SETS * set_bytes(field) + band_value_bytes(field) + 2 * row_bytes(field);
}

void g2s_take_band(const g2s_field *field, g2s_arena *arena, g2s_band *band)
{
    uint64_t **sets[SETS] = {&band->near, &band->far, &band->near_wide, &band->far_wide,
                             &band->doubt, &band->doubt_wide, &band->needed};
    for (int i = 0; i < SETS; i++) {
        *sets[i] = g2s_arena_take(arena, set_bytes(field));
        memset(*sets[i], 0, set_bytes(field));
        *sets[i] += 8; /* the word before the first row's first */
    }
    band->step = bits_step(field);
    band->values = g2s_arena_take(arena, band_value_bytes(field));
    band->values += G2S_MARGIN;
    band->color_rows = g2s_arena_take(arena, row_bytes(field));
    band->value_rows = g2s_arena_take(arena, row_bytes(field));
}

typedef struct {
    const g2s_field *field;
    const g2s_scratch *scratch;
    g2s_band *bands;
    const g2s_stretch *how;
    double limit;
    uint8_t *bytes;
} band_job;

/* The rows first..last - 1 of the image are decided; top..bottom - 1 are looked at. */
typedef struct {
    int first, last, top, bottom;
} span;

static void find_near(const band_job *job, const g2s_band *band, const span *rows)
{
    const g2s_field *field = job->field;
    const int words = field->words;
    for (int y = rows->top; y < rows->bottom; y++) {
        uint64_t *near = band->near + (y - rows->top) * band->step, *far = band->far + (y - rows->top) * band->step;
        const uint8_t *tiles = job->scratch->tiles + (int64_t)(y / G2S_TILE) * field->tile_columns;
        field->isa->near(g2s_pixels(field, y), field->width, job->how->query, job->limit, tiles, near);
        for (int i = 0; i < words; i++)
            far[i] = ~near[i];
        far[words - 1] &= g2s_last_word(field->width);
        field->isa->widen(near, words, band->near_wide + (y - rows->top) * band->step);
        field->isa->widen(far, words, band->far_wide + (y - rows->top) * band->step);
    }
}

/* A square window finds a few more than the round one would; what follows decides them too. Mirroring at borders adds
 * nothing: a mirrored pixel is nearer to the border than the window's own end. Returns whether there are any. */
static int find_doubt(const band_job *job, const g2s_band *band, const span *rows)
{
    const g2s_field *field = job->field;
    const int words = field->words;
    uint64_t found = 0;
    for (int y = rows->first; y < rows->last; y++) {
        const int from = y - G2S_RADIUS < rows->top ? rows->top : y - G2S_RADIUS;
        const int to = y + G2S_RADIUS < rows->bottom ? y + G2S_RADIUS : rows->bottom - 1;
        uint64_t *doubt = band->doubt + (y - rows->top) * band->step, *mask = g2s_row(&job->scratch->mask, y);
        const uint64_t *near = band->near + (y - rows->top) * band->step;
        const int64_t at = (from - rows->top) * band->step;
        field->isa->both(band->near_wide + at, band->far_wide + at, band->step, to - from + 1, words, doubt);
        doubt[words - 1] &= g2s_last_word(field->width);
        doubt[words] = 0;
        for (int i = 0; i < words; i++) {
            mask[i] = near[i] & ~doubt[i];
            found |= doubt[i];
        }
        field->isa->widen(doubt, words, band->doubt_wide + (y - rows->top) * band->step);
    }
    return found != 0;
}

/* The excesses that the windows of doubtful pixels read. */
static void find_values(const band_job *job, const g2s_band *band, const span *rows)
{
    const g2s_field *field = job->field;
    const int width = field->width;
    for (int y = rows->top; y < rows->bottom; y++) {
        const int from = y - G2S_RADIUS < rows->first ? rows->first : y - G2S_RADIUS;
        const int to = y + G2S_RADIUS < rows->last ? y + G2S_RADIUS : rows->last - 1;
        const uint64_t *wide = band->doubt_wide + (from - rows->top) * band->step;
        int16_t *values = band->values + (y - rows->top) * field->stride;
        field->isa->both(wide, wide, band->step, to - from + 1, field->words, band->needed);
        field->isa->stretch(g2s_pixels(field, y), width, job->how, band->needed, values);
        for (int x = 1; x <= G2S_RADIUS; x++) {
            values[-x] = values[g2s_reflect(-x, width)];
            values[width - 1 + x] = values[g2s_reflect(width - 1 + x, width)];
        }
    }
}

static void decide(const band_job *job, const g2s_band *band, const span *rows)
{
    const g2s_field *field = job->field;
    const int words = field->words, count = rows->last - rows->first;
    for (int i = 0; i < count + 2 * G2S_RADIUS; i++) {
        const int y = g2s_reflect(rows->first + i - G2S_RADIUS, field->height);
        band->color_rows[i] = g2s_pixels(field, y);
        band->value_rows[i] = band->values + (y - rows->top) * field->stride;
    }
    uint64_t *doubt = band->doubt + (rows->first - rows->top) * band->step;
    field->isa->settle(
        band->value_rows, field->least + (int64_t)rows->first * G2S_PARTS * field->stride, field->stride, count, field->width, doubt,
        band->step, g2s_row(&job->scratch->mask, rows->first), words);
    for (int i = 0; i < count; i++) {
        const g2s_window window = {band->color_rows + i, band->value_rows + i};
        field->isa->filter(
            &window, field->width, doubt + i * band->step, job->how->cut,
            g2s_row(&job->scratch->mask, rows->first + i));
    }
}

static void decide_band(void *context, int64_t index, int slot)
{
    const band_job *job = context;
    const g2s_field *field = job->field;
    const g2s_band *band = &job->bands[slot];
    const int first = (int)index * field->band, end = first + field->band;
    span rows = {.first = first, .last = end < field->height ? end : field->height};
    rows.top = first < G2S_RADIUS ? 0 : first - G2S_RADIUS;
    rows.bottom = rows.last + G2S_RADIUS < field->height ? rows.last + G2S_RADIUS : field->height;
    find_near(job, band, &rows);
    if (find_doubt(job, band, &rows)) {
        find_values(job, band, &rows);
        decide(job, band, &rows);
    }
    if (job->bytes)
        for (int y = rows.first; y < rows.last; y++)
            field->isa->spread(
                g2s_row(&job->scratch->mask, y), field->width, job->bytes + (int64_t)y * field->width);
}

void g2s_decide(
    const g2s_field *field, const g2s_scratch *scratch, g2s_band *bands, const g2s_stretch *how, double limit,
    uint8_t *bytes)
{
    band_job job = {field, scratch, bands, how, limit, bytes};
    g2s_run_tasks(field->threads, field->bands, decide_band, &job);
}
