#include "prompt_run.h"

#include "threads.h"

#include <string.h>

enum { PARTS = 3 }; /* of a mask with confidence: at the inner, middle and outer cut */

/* What one thread works in. */
typedef struct {
    g2s_arena *arena;
    g2s_scratch scratch;
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

static int open_place(const g2s_request *request, const g2s_field *field, workplace *place)
{
    const size_t bytes =
        g2s_scratch_bytes(field, request->metric) + sets_kept(request) * g2s_bits_bytes(field);
    place->arena = g2s_arena_borrow(bytes);
    if (!place->arena)
        return 0;
    g2s_take_scratch(field, request->metric, place->arena, &place->scratch);
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

static void point_mask(const prompt_job *job, workplace *place, int64_t point)
{
    const g2s_request *request = job->request;
    const double *xy = request->points + 2 * point;
    if (request->metric)
        g2s_metric_mask(&job->field, &place->scratch, xy, &request->cut);
    else
        g2s_reference_mask(&job->field, &place->scratch, xy, request->sigma, request->threshold);
}

/* The union of the positive points' masks less that of the negative ones'. */
static const g2s_bits *combine(const prompt_job *job, workplace *place, int64_t first, int64_t last)
{
    const g2s_request *request = job->request;
    g2s_bits *mask = &place->joined[1][0];
    const g2s_bits *one = &place->scratch.mask;
    int positives = 0;
    for (int64_t point = first; point < last; point++)
        positives += request->positive[point] != 0;
    clear(mask);
    if (positives == 0)
        return mask;
    for (int64_t point = first; point < last; point++)
        if (request->positive[point]) {
            point_mask(job, place, point);
            if (positives == 1 && last - first == 1)
                return one;
            for (int64_t i = 0; i < words_of(mask); i++)
                mask->word[i] |= one->word[i];
        }
    for (int64_t point = first; point < last; point++)
        if (!request->positive[point]) {
            point_mask(job, place, point);
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
    const g2s_bits *mask = request->counts
                               ? combine_and_count(job, place, first, last, request->counts + 2 * index)
                               : combine(job, place, first, last);
    uint8_t *out = request->out + index * field->height * field->width;
    for (int y = 0; y < field->height; y++)
        field->isa->spread(g2s_row(mask, y), field->width, out + (int64_t)y * field->width);
}

int g2s_run_prompts(const g2s_request *request)
{
    g2s_prepare_filter();
    int threads = request->threads < G2S_MOST_THREADS ? request->threads : G2S_MOST_THREADS;
    prompt_job job = {.request = request, .field = g2s_plan_field(&request->colors, threads)};
    g2s_arena *pixels = g2s_arena_borrow(g2s_field_bytes(&job.field));
    if (!pixels)
        return 0;
    g2s_fill_field(&job.field, &request->colors, pixels);

    /* Few prompts: the threads share the rows of each. Many: each thread takes whole prompts. */
    const int apart = request->prompts >= threads ? threads : 1;
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
