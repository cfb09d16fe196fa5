/* A matching of greatest worth that grows row by row: each new row takes one shortest augmenting path (Dijkstra on
 * reduced costs). Every step and tie is that of boundary/reference.py, whose comments say why it is right. */
#include "boundary.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static const double NOTHING = 1e-9;

typedef struct {
    double distance;
    int32_t column;
} entry;

typedef struct {
    const g2s_boundary *in;
    int64_t *starts;   /* [rows + 1], pairs of each row */
    int32_t *pair;     /* columns */
    double *gain;      /* worths */
    double *profit;    /* [rows] */
    int32_t *column;   /* [rows], -1: alone */
    double *price;     /* [columns] */
    int32_t *holder;   /* [columns], -1: free */
    double *distance;  /* [columns], of the search with this column's stamp */
    int32_t *came;     /* [columns], the row before it */
    int32_t *stamp;    /* [columns] */
    int32_t search;
    int32_t *visited;  /* [columns + 1], rows of a search */
    double *reached;   /* [columns + 1] */
    entry *heap;
    int64_t size, room;
} state;

static int before(entry a, entry b)
{
    return a.distance < b.distance || (a.distance == b.distance && a.column < b.column);
}

static int push(state *s, entry e)
{
    if (s->size == s->room) {
        const int64_t room = 2 * s->room + 64;
        entry *grown = realloc(s->heap, room * sizeof *grown);
        if (!grown)
            return -1;
        s->heap = grown;
        s->room = room;
    }
    int64_t i = s->size++;
    for (; i && before(e, s->heap[(i - 1) / 2]); i = (i - 1) / 2)
        s->heap[i] = s->heap[(i - 1) / 2];
    s->heap[i] = e;
    return 0;
}

static entry pop(state *s)
{
    const entry top = s->heap[0], last = s->heap[--s->size];
    int64_t i = 0;
    for (;;) {
        int64_t child = 2 * i + 1;
        if (child >= s->size)
            break;
        if (child + 1 < s->size && before(s->heap[child + 1], s->heap[child]))
            child++;
        if (!before(s->heap[child], last))
            break;
        s->heap[i] = s->heap[child];
        i = child;
    }
    if (s->size)
        s->heap[i] = last;
    return top;
}

/* The pairs of every row, nearest first; 0, or -1 where memory runs out. */
static int list_pairs(state *s)
{
    const g2s_boundary *in = s->in;
    for (int pass = 0; pass < 2; pass++) {
        int64_t n = 0;
        for (int64_t row = 0; row < in->rows; row++) {
            s->starts[row] = n;
            const int32_t *here = in->numbers + in->pixels[row];
            for (int64_t k = 0; k < in->reaches; k++) {
                const int32_t column = here[in->reach[k]];
                if (column < 0)
                    continue;
                if (pass) {
                    s->pair[n] = column;
                    s->gain[n] = in->worth - in->distances[k];
                }
                n++;
            }
        }
        s->starts[in->rows] = n;
        if (!pass) {
            s->pair = malloc((n + 1) * sizeof *s->pair);
            s->gain = malloc((n + 1) * sizeof *s->gain);
            if (!s->pair || !s->gain)
                return -1;
        }
    }
    return 0;
}

/* The cheapest way to give `start` a column: at its end is a free column, or a row that loses its own. */
static int search(state *s, int32_t start)
{
    int32_t row = start, loser = start, free_column = -1;
    double reached = 0, least = s->profit[start];
    int64_t seen = 0;
    s->search++;
    s->size = 0;
    s->visited[seen] = start;
    s->reached[seen++] = 0;
    for (;;) {
        const double base = reached + s->profit[row];
        for (int64_t k = s->starts[row]; k < s->starts[row + 1]; k++) {
            const int32_t column = s->pair[k];
            const double there = base + s->price[column] - s->gain[k];
            const double known = s->stamp[column] == s->search ? s->distance[column] : least;
            if (!(there < least && there < known))
                continue;
            s->stamp[column] = s->search;
            s->distance[column] = there;
            s->came[column] = row;
            if (s->holder[column] < 0) {
                least = there;
                free_column = column;
                loser = -1;
            } else if (push(s, (entry){there, column}) < 0)
                return -1;
        }
        while (s->size && s->heap[0].distance > s->distance[s->heap[0].column])
            pop(s);
        if (!s->size || s->heap[0].distance >= least)
            break;
        const entry next = pop(s);
        reached = next.distance;
        s->distance[next.column] = -INFINITY; /* settled: rounding must not lead back here */
        row = s->holder[next.column];
        s->visited[seen] = row;
        s->reached[seen++] = reached;
        if (reached + s->profit[row] < least) {
            least = reached + s->profit[row];
            loser = row;
        }
    }
    for (int64_t k = 0; k < seen; k++) {
        s->profit[s->visited[k]] -= least - s->reached[k];
        if (s->visited[k] != start)
            s->price[s->column[s->visited[k]]] += least - s->reached[k];
    }
    if (loser == start)
        return 0;
    int32_t column = free_column;
    if (loser >= 0) {
        column = s->column[loser];
        s->column[loser] = -1;
    }
    while (column >= 0) {
        row = s->came[column];
        const int32_t given_up = s->column[row];
        s->holder[column] = row;
        s->column[row] = column;
        column = given_up;
    }
    return 0;
}

static int add(state *s, int32_t row)
{
    double top = 0;
    int32_t first = -1;
    for (int64_t k = s->starts[row]; k < s->starts[row + 1]; k++) {
        const double gain = s->gain[k] - s->price[s->pair[k]];
        if (gain > top) {
            top = gain;
            first = s->pair[k];
        }
    }
    if (top <= NOTHING)
        return 0; /* nobody would give way: prices never fall, so it can be forgotten */
    s->profit[row] = top;
    if (s->holder[first] >= 0)
        return search(s, row);
    s->holder[first] = row;
    s->column[row] = first;
    return 0;
}

static int allocate(state *s)
{
    const size_t rows = s->in->rows + 1, columns = s->in->columns + 1;
    s->starts = malloc(rows * sizeof *s->starts);
    s->profit = calloc(rows, sizeof *s->profit);
    s->column = malloc(rows * sizeof *s->column);
    s->price = calloc(columns, sizeof *s->price);
    s->holder = malloc(columns * sizeof *s->holder);
    s->distance = malloc(columns * sizeof *s->distance);
    s->came = malloc(columns * sizeof *s->came);
    s->stamp = calloc(columns, sizeof *s->stamp);
    s->visited = malloc(columns * sizeof *s->visited);
    s->reached = malloc(columns * sizeof *s->reached);
    if (!s->starts || !s->profit || !s->column || !s->price || !s->holder || !s->distance || !s->came || !s->stamp ||
        !s->visited || !s->reached)
        return -1;
    memset(s->column, -1, rows * sizeof *s->column);
    memset(s->holder, -1, columns * sizeof *s->holder);
    return 0;
}

static void release(state *s)
{
    void *parts[] = {s->starts, s->pair,  s->gain,  s->profit, s->column,  s->price, s->holder,
                     s->distance, s->came, s->stamp, s->visited, s->reached, s->heap};
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++)
        free(parts[i]);
}

int g2s_boundary_match(const g2s_boundary *input)
{
    state s = {.in = input};
    int failed = allocate(&s) < 0 || list_pairs(&s) < 0;
    int64_t row = 0;
    for (int64_t group = 0; group < input->groups && !failed; group++) {
        for (; row < input->ends[group] && !failed; row++)
            failed = add(&s, (int32_t)row) < 0;
        uint8_t *matched = input->matched + group * input->rows;
        for (int64_t r = 0; r < input->rows; r++)
            matched[r] = r < row && s.column[r] >= 0;
    }
    release(&s);
    return failed ? -1 : 0;
}
