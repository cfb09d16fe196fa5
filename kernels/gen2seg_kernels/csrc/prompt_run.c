#include "prompt_run.h"

#include "threads.h"

#include <stdlib.h>
#include <string.h>

enum { PARTS = 3 }; /* of a mask with confidence: at the inner, middle and outer cut */

/* What one thread works in. */
typedef struct {
    g2s_arena *arena;
    g2s_scratch scratch;
    g2s_band *bands; /* mode "reference": one, or in the first place one for each thread that shares its rows */
    g2s_bits joined[2][PARTS]; /* of the negative points, of the positive ones; without confidence only [1][0] */
} workplace;

typedef struct {
    const g2s_request *request;
    g2s_field field; /* with the threads that work inside one prompt */
    workplace place[G2S_MOST_THREADS];
} prompt_job;

static int sets_kept(const g2s_request *request)
{
    return request->counts ? 2 * PARTS : 1;
}

/* Room for the bands themselves and for what they hold. */
static size_t bands_bytes(const g2s_request *request, const g2s_field *field)
{
    return request->metric ? 0 : g2s_arena_bytes(field->threads * sizeof(g2s_band)) + field->threads * g2s_band_bytes(field);
}

static int open_place(const g2s_request *request, const g2s_field *field, workplace *place)
{
    const size_t bytes = g2s_scratch_bytes(field, request->metric) + bands_bytes(request, field) +
                         sets_kept(request) * g2s_bits_bytes(field);
    place->arena = g2s_arena_borrow(bytes);
    if (!place->arena)
        return 0;
    g2s_take_scratch(field, request->metric, place->arena, &place->scratch);
    if (!request->metric) {
        place->bands = g2s_arena_take(place->arena, field->threads * sizeof(g2s_band));
        for (int i = 0; i < field->threads; i++)
            g2s_take_band(field, place->arena, &place->bands[i]);
    }
    place->joined[1][0] = g2s_take_bits(field, place->arena);
    for (int i = 1; i < sets_kept(request); i++)
        place->joined[i < PARTS][i % PARTS] = g2s_take_bits(field, place->arena);
    return 1;
}

static void clear(g2s_bits *set)
{
    memset(set->word, 0, (size_t)set->height * set->words * sizeof(uint64_t));
}

static int64_t words_of(const g2s_bits *set)
{
    return (int64_t)set->height * set->words;
}

static void take_away(g2s_bits *from, const g2s_bits *what)
{
    for (int64_t i = 0; i < words_of(from); i++)
        from->word[i] &= ~what->word[i];
}

/* Returns whether `bytes`, if it is not NULL, holds the mask already. */
static int point_mask(const prompt_job *job, workplace *place, int64_t point, uint8_t *bytes)
{
    const g2s_request *request = job->request;
    const double *xy = request->points + 2 * point;
    if (!request->metric)
        return g2s_reference_mask(
            &job->field, &place->scratch, place->bands, xy, request->sigma, request->threshold, bytes);
    g2s_metric_mask(&job->field, &place->scratch, xy, &request->cut);
    return 0;
}

/* The union of the positive points' masks less that of the negative ones'; NULL if `bytes` holds it already. */
static const g2s_bits *combine(const prompt_job *job, workplace *place, int64_t first, int64_t last, uint8_t *bytes)
{
    const g2s_request *request = job->request;
    g2s_bits *mask = &place->joined[1][0];
    const g2s_bits *one = &place->scratch.mask;
    int positives = 0;
    if (last - first == 1 && request->positive[first])
        return point_mask(job, place, first, bytes) ? NULL : one;
    for (int64_t point = first; point < last; point++)
        positives += request->positive[point] != 0;
    clear(mask);
    if (positives == 0)
        return mask;
    for (int64_t point = first; point < last; point++)
        if (request->positive[point]) {
            point_mask(job, place, point, NULL);
            for (int64_t i = 0; i < words_of(mask); i++)
                mask->word[i] |= one->word[i];
        }
    for (int64_t point = first; point < last; point++)
        if (!request->positive[point]) {
            point_mask(job, place, point, NULL);
            take_away(mask, one);
        }
    return mask;
}

/* The same with what smaller and larger cuts make of it; counts the pixels of the extremes. */
static const g2s_bits *combine_and_count(
    const prompt_job *job, workplace *place, int64_t first, int64_t last, int64_t counts[2])
{
    const g2s_request *request = job->request;
    g2s_bits(*joined)[PARTS] = place->joined;
    for (int sign = 0; sign < 2; sign++)
        for (int part = 0; part < PARTS; part++)
            clear(&joined[sign][part]);
    for (int64_t point = first; point < last; point++)
        g2s_metric_range(
            &job->field, &place->scratch, request->points + 2 * point, &request->cut,
            joined[request->positive[point] != 0]);
    /* The smallest mask loses what the largest negatives take, the largest what the smallest do. */
    for (int part = 0; part < PARTS; part++)
        take_away(&joined[1][part], &joined[0][PARTS - 1 - part]);
    counts[0] = g2s_count(&joined[1][0]);
    counts[1] = g2s_count(&joined[1][2]);
    return &joined[1][1];
}

static void one_prompt(void *context, int64_t index, int slot)
{
    prompt_job *job = context;
    const g2s_request *request = job->request;
    const g2s_field *field = &job->field;
    workplace *place = &job->place[slot];
    const int64_t first = request->starts[index], last = request->starts[index + 1];
    uint8_t *out = request->out + index * field->height * field->width;
    const g2s_bits *mask = request->counts
                               ? combine_and_count(job, place, first, last, request->counts + 2 * index)
                               : combine(job, place, first, last, out);
    for (int y = 0; mask && y < field->height; y++)
        field->isa->spread(g2s_row(mask, y), field->width, out + (int64_t)y * field->width);
}

g2s_prepared *g2s_prepare(const g2s_colors *colors, int threads)
{
    g2s_prepare_filter();
    g2s_prepared *prepared = malloc(sizeof *prepared);
    if (!prepared)
        return NULL;
    prepared->field = g2s_plan_field(colors->height, colors->width, threads);
    prepared->memory = g2s_arena_own(g2s_field_bytes(&prepared->field));
    if (!prepared->memory) {
        free(prepared);
        return NULL;
    }
    g2s_fill_field(&prepared->field, colors, prepared->memory);
    return prepared;
}

void g2s_forget(g2s_prepared *prepared)
{
    g2s_arena_return(prepared->memory);
    free(prepared);
}

int g2s_run_prompts(const g2s_request *request)
{
    g2s_prepare_filter();
    const g2s_colors *colors = &request->colors;
    const int most = request->threads < G2S_MOST_THREADS ? request->threads : G2S_MOST_THREADS;
    const int threads = g2s_worthwhile_threads(colors->height, colors->width, most);
    prompt_job job = {.request = request};
    g2s_arena *pixels = NULL;
    if (request->prepared) {
        job.field = *request->prepared;
        job.field.threads = threads;
    } else {
        job.field = g2s_plan_field(colors->height, colors->width, threads);
        pixels = g2s_arena_borrow(g2s_field_bytes(&job.field));
        if (!pixels)
            return 0;
        g2s_fill_field(&job.field, colors, pixels);
    }

    /* Few prompts: the threads share the rows of each. Many: each thread takes whole prompts, however small. */
    const int apart = request->prompts >= most ? most : 1;
    if (apart > 1)
        job.field.threads = 1;
    int open = 0;
    while (open < apart && open_place(request, &job.field, &job.place[open]))
        open++;
    if (open > 0)
        g2s_run_tasks(open, request->prompts, one_prompt, &job);
    for (int i = 0; i < open; i++)
        g2s_arena_return(job.place[i].arena);
    g2s_arena_return(pixels);
    return open > 0;
}
