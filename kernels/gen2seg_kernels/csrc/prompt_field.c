#include "prompt.h"

#include "threads.h"

enum { PIXELS_PER_TASK = 1 << 14, PIXELS_WORTH_THREADS = 1 << 16 };

int g2s_reflect(int index, int length)
{
    if (length == 1)
        return 0;
    const int period = 2 * (length - 1);
    index = (index < 0 ? -index : index) % period;
    return index < period - index ? index : period - index;
}

g2s_field g2s_plan_field(const g2s_colors *colors, int threads)
{
    g2s_field field = {.isa = g2s_best_isa(), .height = colors->height, .width = colors->width};
    field.words = g2s_words(field.width);
    field.stride = (G2S_MARGIN + (int64_t)field.width + G2S_SLACK + 15) / 16 * 16;
    field.threads = (int64_t)field.height * field.width < PIXELS_WORTH_THREADS ? 1 : threads;
    field.band = PIXELS_PER_TASK / field.width + 1;
    field.bands = (field.height + field.band - 1) / field.band;
    return field;
}

size_t g2s_field_bytes(const g2s_field *field)
{
    return g2s_arena_bytes((size_t)field->height * field->stride * sizeof(uint32_t));
}

typedef struct {
    g2s_field *field;
    const g2s_colors *colors;
} fill_job;

static void fill_row(const g2s_field *field, const g2s_colors *colors, int y)
{
    uint32_t *row = g2s_pixels(field, y);
    const uint8_t *from = colors->data + y * colors->row;
    const int width = field->width;
    if (colors->channel == 1 && colors->column == 3)
        field->isa->expand(from, width, row);
    else
        for (int x = 0; x < width; x++, from += colors->column)
            row[x] = from[0] | (uint32_t)from[colors->channel] << 8 | (uint32_t)from[2 * colors->channel] << 16;
    for (int x = 1; x <= G2S_RADIUS; x++)
        row[-x] = row[g2s_reflect(-x, width)];
    /* Beyond the mirrored pixels anything of this row will do: vectors read it, nothing counts it, and the range
     * of distances does not grow by it. */
    for (int x = width; x < width + G2S_SLACK; x++)
        row[x] = row[g2s_reflect(x, width)];
}

static void fill_band(void *context, int64_t index, int slot)
{
    const fill_job *job = context;
    const g2s_field *field = job->field;
    (void)slot;
    for (int y = (int)index * field->band; y < field->height && y < ((int)index + 1) * field->band; y++)
        fill_row(field, job->colors, y);
}

void g2s_fill_field(g2s_field *field, const g2s_colors *colors, g2s_arena *arena)
{
    field->pixel = (uint32_t *)g2s_arena_take(arena, g2s_field_bytes(field)) + G2S_MARGIN;
    fill_job job = {field, colors};
    g2s_run_tasks(field->threads, field->bands, fill_band, &job);
}

size_t g2s_bits_bytes(const g2s_field *field)
{
    return g2s_arena_bytes((size_t)field->height * field->words * sizeof(uint64_t));
}

g2s_bits g2s_take_bits(const g2s_field *field, g2s_arena *arena)
{
    uint64_t *word = g2s_arena_take(arena, g2s_bits_bytes(field));
    return (g2s_bits){word, field->height, field->width, field->words};
}

static size_t values_bytes(const g2s_field *field)
{
    return g2s_arena_bytes((size_t)field->height * field->stride * sizeof(float));
}

static size_t runs_bytes(const g2s_field *field)
{
    return g2s_arena_bytes((size_t)field->height * ((field->width + 1) / 2) * 3 * sizeof(int32_t));
}

size_t g2s_scratch_bytes(const g2s_field *field, int metric)
{
    return (metric ? 3 : 12) * g2s_bits_bytes(field) + 2 * g2s_arena_bytes(field->bands * sizeof(double)) +
           (metric ? runs_bytes(field) : values_bytes(field));
}

void g2s_take_scratch(const g2s_field *field, int metric, g2s_arena *arena, g2s_scratch *scratch)
{
    scratch->near = g2s_take_bits(field, arena);
    scratch->doubt = g2s_take_bits(field, arena);
    scratch->mask = g2s_take_bits(field, arena);
    for (int i = 0; i < (metric ? 0 : 9); i++)
        scratch->wide[i / 3].by[i % 3] = g2s_take_bits(field, arena);
    scratch->low = g2s_arena_take(arena, field->bands * sizeof(double));
    scratch->high = g2s_arena_take(arena, field->bands * sizeof(double));
    scratch->runs = metric ? g2s_arena_take(arena, runs_bytes(field)) : NULL;
    scratch->values = metric ? NULL : (float *)g2s_arena_take(arena, values_bytes(field)) + G2S_MARGIN;
}
