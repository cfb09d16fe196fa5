/* Labels of any value -> 0 = background, 1..K in the order of their values. */
#include "loss.h"

#include <stdlib.h>
#include <string.h>

enum { CHUNK = 1024 };

/* `n` labels of the pixels that take part, from the `start`-th on, widened. */
static void read_chunk(const void *labels, g2s_label_type type, const int32_t *index, int64_t start, int n, int64_t *out)
{
#define READ(TYPE)                                                                                           \
    {                                                                                                        \
        const TYPE *from = labels;                                                                           \
        for (int i = 0; i < n; i++)                                                                          \
            out[i] = index ? from[index[start + i]] : from[start + i];                                       \
        break;                                                                                               \
    }
    switch (type) {
    case G2S_UINT8: READ(uint8_t)
    case G2S_INT8: READ(int8_t)
    case G2S_INT16: READ(int16_t)
    case G2S_UINT16: READ(uint16_t)
    case G2S_INT32: READ(int32_t)
    case G2S_INT64: READ(int64_t)
    }
#undef READ
}

static int chunk_size(int64_t n, int64_t start) { return (int)(n - start < CHUNK ? n - start : CHUNK); }

static g2s_status list_valid_pixels(const uint8_t *valid, int64_t pixels, g2s_labels *out)
{
    out->n = pixels;
    if (!valid)
        return G2S_OK;
    out->n = 0;
    for (int64_t i = 0; i < pixels; i++)
        out->n += valid[i] != 0;
    out->index = malloc((size_t)(out->n ? out->n : 1) * sizeof *out->index);
    if (!out->index)
        return G2S_NO_MEMORY;
    int64_t next = 0;
    for (int64_t i = 0; i < pixels; i++)
        if (valid[i])
            out->index[next++] = (int32_t)i;
    return G2S_OK;
}

static void find_range(const void *labels, g2s_label_type type, const g2s_labels *out, int64_t *low, int64_t *high)
{
    int64_t part[CHUNK], least = 0, most = 0;
    for (int64_t start = 0; start < out->n; start += CHUNK) {
        const int n = chunk_size(out->n, start);
        read_chunk(labels, type, out->index, start, n, part);
        for (int i = 0; i < n; i++) {
            least = part[i] < least ? part[i] : least;
            most = part[i] > most ? part[i] : most;
        }
    }
    *low = least;
    *high = most;
}

/* Ids that are not far beyond the number of pixels: a table with a place for each. */
static g2s_status number_by_table(const void *labels, g2s_label_type type, int64_t high, g2s_labels *out)
{
    int64_t part[CHUNK];
    int32_t *number = calloc((size_t)high + 1, sizeof *number);
    if (!number)
        return G2S_NO_MEMORY;
    for (int64_t start = 0; start < out->n; start += CHUNK) {
        const int n = chunk_size(out->n, start);
        read_chunk(labels, type, out->index, start, n, part);
        for (int i = 0; i < n; i++)
            number[part[i]] = 1;
    }
    number[0] = 0;
    for (int64_t id = 1; id <= high; id++)
        if (number[id])
            number[id] = ++out->instances;
    for (int64_t start = 0; start < out->n; start += CHUNK) {
        const int n = chunk_size(out->n, start);
        read_chunk(labels, type, out->index, start, n, part);
        for (int i = 0; i < n; i++)
            out->dense[start + i] = number[part[i]];
    }
    free(number);
    return G2S_OK;
}

/* Ids with wide gaps: a hash table with open addressing; key 0 marks an empty place (background needs none). */
typedef struct {
    int64_t *key;
    int32_t *number;
    size_t mask, used;
} id_table;

static size_t find_place(const id_table *table, int64_t id)
{
    size_t place = (size_t)(((uint64_t)id * 0x9E3779B97F4A7C15u) >> 20) & table->mask;
    while (table->key[place] && table->key[place] != id)
        place = (place + 1) & table->mask;
    return place;
}

static int make_table(id_table *table, size_t places)
{
    table->key = calloc(places, sizeof *table->key);
    table->number = calloc(places, sizeof *table->number);
    table->mask = places - 1;
    table->used = 0;
    return table->key && table->number;
}

static void free_table(id_table *table)
{
    free(table->key);
    free(table->number);
}

static int insert_id(id_table *table, int64_t id)
{
    size_t place = find_place(table, id);
    if (table->key[place])
        return 1;
    if (2 * (table->used + 1) > table->mask) { /* at most half full, so that searches stay short */
        id_table larger;
        if (!make_table(&larger, 2 * (table->mask + 1))) {
            free_table(&larger);
            return 0;
        }
        for (size_t i = 0; i <= table->mask; i++)
            if (table->key[i])
                larger.key[find_place(&larger, table->key[i])] = table->key[i];
        larger.used = table->used;
        free_table(table);
        *table = larger;
        place = find_place(table, id);
    }
    table->key[place] = id;
    table->used++;
    return 1;
}

static int by_value(const void *a, const void *b)
{
    const int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return (x > y) - (x < y);
}

/* Numbers follow the values, so that the order of the pixels has no say. */
static int number_table(id_table *table)
{
    int64_t *sorted = malloc((table->used ? table->used : 1) * sizeof *sorted);
    if (!sorted)
        return 0;
    size_t n = 0;
    for (size_t i = 0; i <= table->mask; i++)
        if (table->key[i])
            sorted[n++] = table->key[i];
    qsort(sorted, n, sizeof *sorted, by_value);
    for (size_t i = 0; i < n; i++)
        table->number[find_place(table, sorted[i])] = (int32_t)i + 1;
    free(sorted);
    return 1;
}

static g2s_status number_by_hash(const void *labels, g2s_label_type type, g2s_labels *out)
{
    int64_t part[CHUNK], last = 0;
    id_table table;
    int ok = make_table(&table, 1024);
    for (int64_t start = 0; ok && start < out->n; start += CHUNK) {
        const int n = chunk_size(out->n, start);
        read_chunk(labels, type, out->index, start, n, part);
        for (int i = 0; ok && i < n; i++)
            if (part[i] && part[i] != last) { /* neighbours mostly agree */
                ok = insert_id(&table, part[i]);
                last = part[i];
            }
    }
    ok = ok && number_table(&table);
    int32_t number = 0;
    last = 0;
    for (int64_t start = 0; ok && start < out->n; start += CHUNK) {
        const int n = chunk_size(out->n, start);
        read_chunk(labels, type, out->index, start, n, part);
        for (int i = 0; i < n; i++) {
            if (part[i] != last) {
                last = part[i];
                number = last ? table.number[find_place(&table, last)] : 0;
            }
            out->dense[start + i] = number;
        }
    }
    out->instances = ok ? (int)table.used : 0;
    free_table(&table);
    return ok ? G2S_OK : G2S_NO_MEMORY;
}

g2s_status g2s_relabel(const void *labels, g2s_label_type type, const uint8_t *valid, int64_t pixels, g2s_labels *out)
{
    int64_t low, high;
    memset(out, 0, sizeof *out);
    if (list_valid_pixels(valid, pixels, out) != G2S_OK)
        return G2S_NO_MEMORY;
    find_range(labels, type, out, &low, &high);
    if (low < 0) {
        out->lowest = low;
        return G2S_NEGATIVE_LABEL;
    }
    out->dense = malloc((size_t)(out->n ? out->n : 1) * sizeof *out->dense);
    if (!out->dense)
        return G2S_NO_MEMORY;
    const int64_t table_limit = out->n + UINT16_MAX;
    return high <= table_limit ? number_by_table(labels, type, high, out) : number_by_hash(labels, type, out);
}

void g2s_free_labels(g2s_labels *labels)
{
    free(labels->index);
    free(labels->dense);
    labels->index = labels->dense = NULL;
}
