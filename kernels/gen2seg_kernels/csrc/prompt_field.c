#include "prompt.h"

#include "threads.h"

enum { PIXELS_PER_TASK = 64 << 10, PIXELS_WORTH_THREADS = 1 << 16 };

int g2s_reflect(int index, int length)
{
    if (length == 1)
        return 0;
    const int period = 2 * (length - 1);
    index = (index < 0 ? -index : index) % period;
    return index < period - index ? index : period - index;
}

int g2s_worthwhile_threads(int height, int width, int threads)
{
    return (int64_t)height * width < PIXELS_WORTH_THREADS ? 1 : threads;
}

g2s_field g2s_plan_field(int height, int width, int threads)
{
    g2s_field field = {.isa = g2s_best_isa(), .height = height, .width = width};
    field.words = g2s_words(width);
    field.tile_columns = field.words * (64 / G2S_TILE_WIDTH);
    field.tile_rows = (height + G2S_TILE - 1) / G2S_TILE;
    field.stride = (G2S_MARGIN + (int64_t)width + G2S_SLACK + 15) / 16 * 16;
    field.threads = g2s_worthwhile_threads(height, width, threads);
    const int64_t tiles = PIXELS_PER_TASK / field.stride / G2S_TILE;
    field.band = G2S_TILE * (int)(tiles < 1 ? 1 : tiles < field.tile_rows ? tiles : field.tile_rows);
    field.bands = (height + field.band - 1) / field.band;
    return field;
}

static size_t pixel_bytes(const g2s_field *field)
{
    return g2s_arena_bytes((size_t)field->height * field->stride * sizeof(uint32_t));
}

static size_t least_bytes(const g2s_field *field)
{
    return g2s_arena_bytes((size_t)field->height * G2S_PARTS * field->stride);
}

/* The row functions take tiles sixteen at a time. */
static size_t tile_count(const g2s_field *field)
{
    return ((size_t)field->tile_rows * field->tile_columns + 15) / 16 * 16;
}

static size_t box_bytes(const g2s_field *field)
{
    return g2s_arena_bytes(tile_count(field) * sizeof(uint32_t));
}

size_t g2s_field_bytes(const g2s_field *field)
{
    return pixel_bytes(field) + least_bytes(field) + 2 * box_bytes(field);
}

typedef struct {
    const g2s_field *field;
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
    for (int y = (int)index * field->band; y < field->height && y < ((int)index + 1) * field->band; y++) {
        uint32_t *low = field->low + (int64_t)(y / G2S_TILE) * field->tile_columns;
        uint32_t *high = field->high + (int64_t)(y / G2S_TILE) * field->tile_columns;
        fill_row(field, job->colors, y);
        if (y % G2S_TILE == 0)
            for (int i = 0; i < field->tile_columns; i++)
                low[i] = high[i] =
                    g2s_pixels(field, y)[G2S_TILE_WIDTH * i < field->width ? G2S_TILE_WIDTH * i : field->width - 1];
        field->isa->box(g2s_pixels(field, y), field->width, low, high);
    }
}

static void reach_band(void *context, int64_t index, int slot)
{
    const g2s_field *field = ((const fill_job *)context)->field;
    const uint32_t *rows[G2S_TILE + 2 * G2S_RADIUS];
    (void)slot;
    for (int first = (int)index * field->band, end = first + field->band; first < end && first < field->height;
         first += G2S_TILE) {
        const int count = field->height - first < G2S_TILE ? field->height - first : G2S_TILE;
        for (int i = 0; i < count + 2 * G2S_RADIUS; i++)
            rows[i] = g2s_pixels(field, g2s_reflect(first + i - G2S_RADIUS, field->height));
        field->isa->reach(rows, count, field->width, field->least + (int64_t)first * G2S_PARTS * field->stride, field->stride);
    }
}

void g2s_fill_field(g2s_field *field, const g2s_colors *colors, g2s_arena *arena)
{
    const size_t tiles = (size_t)field->tile_rows * field->tile_columns;
    field->pixel = (uint32_t *)g2s_arena_take(arena, pixel_bytes(field)) + G2S_MARGIN;
    field->least = g2s_arena_take(arena, least_bytes(field));
    field->low = g2s_arena_take(arena, box_bytes(field));
    field->high = g2s_arena_take(arena, box_bytes(field));
    for (size_t i = tiles; i < tile_count(field); i++)
        field->low[i] = field->high[i] = 0;
    fill_job job = {field, colors};
    g2s_run_tasks(field->threads, field->bands, fill_band, &job);
    g2s_run_tasks(field->threads, field->bands, reach_band, &job);
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

static size_t runs_bytes(const g2s_field *field)
{
    return g2s_arena_bytes((size_t)field->height * ((field->width + 1) / 2) * 3 * sizeof(int32_t));
}

/* At most one task of the range for each tile. */
static size_t range_bytes(const g2s_field *field)
{
    return g2s_arena_bytes(tile_count(field) * sizeof(double));
}

static size_t axes_bytes(const g2s_field *field)
{
    return g2s_arena_bytes(2 * ((size_t)field->width + 16) * sizeof(double));
}

size_t g2s_scratch_bytes(const g2s_field *field, int metric)
{
    return (metric ? 3 : 1) * g2s_bits_bytes(field) + 2 * g2s_arena_bytes(tile_count(field) * sizeof(float)) +
           g2s_arena_bytes(tile_count(field)) +
           (metric ? runs_bytes(field) : 2 * range_bytes(field) + axes_bytes(field));
}

void g2s_take_scratch(const g2s_field *field, int metric, g2s_arena *arena, g2s_scratch *scratch)
{
    *scratch = (g2s_scratch){.mask = g2s_take_bits(field, arena)};
    scratch->tile_least = g2s_arena_take(arena, tile_count(field) * sizeof(float));
    scratch->tile_most = g2s_arena_take(arena, tile_count(field) * sizeof(float));
    scratch->tiles = g2s_arena_take(arena, tile_count(field));
    if (metric) {
        scratch->near = g2s_take_bits(field, arena);
        scratch->other = g2s_take_bits(field, arena);
        scratch->runs = g2s_arena_take(arena, runs_bytes(field));
    } else {
        scratch->low = g2s_arena_take(arena, range_bytes(field));
        scratch->high = g2s_arena_take(arena, range_bytes(field));
        scratch->axes = g2s_arena_take(arena, axes_bytes(field));
    }
}

void g2s_bound_tiles(const g2s_field *field, g2s_scratch *scratch, const double *query)
{
    field->isa->bounds(
        field->low, field->high, field->tile_rows * field->tile_columns, query, scratch->tile_least, scratch->tile_most);
}

void g2s_mark_tiles(const g2s_field *field, g2s_scratch *scratch, double limit)
{
    for (int64_t i = 0; i < (int64_t)field->tile_rows * field->tile_columns; i++)
        scratch->tiles[i] = (double)scratch->tile_least[i] > limit    ? G2S_FAR_TILE
                            : (double)scratch->tile_most[i] <= limit ? G2S_NEAR_TILE
                                                                      : G2S_MIXED_TILE;
}
