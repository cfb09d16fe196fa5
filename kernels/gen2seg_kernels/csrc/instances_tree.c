/* The tree: the two regions with the weakest outline between them merge, again and again. Every step and tie is that
 * of instances/reference.py. */
#include "instances.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

typedef struct {
    int32_t end[2];  /* regions it parts */
    int32_t next[2]; /* the next borders in their lists: 2 * border + side, or -1 */
    int32_t place;   /* in the heap, or -1 */
    int32_t length;  /* pixel pairs; 0: it is no more */
    int64_t steps;   /* of colour across it, added up, in sixteenths */
    double strength; /* steps / length */
} border;

/* A region that is still growing, under the number of one of its leaves. */
typedef struct {
    int32_t node;
    int32_t first;   /* border in its list */
    int32_t borders; /* in its list, dead ones too */
    int32_t at_frame;
} region;

typedef struct {
    g2s_tree *tree;
    border *borders;
    int64_t count, room;
    int32_t *table; /* open addressing, border + 1 under its two regions */
    uint64_t mask;
    int32_t *heap;
    int64_t size;
    region *regions;
    int64_t nodes;
} state;

static uint64_t place_of(const state *s, int32_t a, int32_t b)
{
    uint64_t key = a < b ? (uint64_t)a << 32 | (uint32_t)b : (uint64_t)b << 32 | (uint32_t)a;
    key *= UINT64_C(0x9e3779b97f4a7c15);
    key ^= key >> 32;
    key *= UINT64_C(0xd6e8feb86659fd93);
    return (key ^ key >> 32) & s->mask;
}

/* Where the border between two regions stands in the table, or the free place where it would. */
static uint64_t look_up(const state *s, int32_t a, int32_t b)
{
    uint64_t at = place_of(s, a, b);
    for (; s->table[at]; at = (at + 1) & s->mask) {
        const border *e = &s->borders[s->table[at] - 1];
        if ((e->end[0] == a && e->end[1] == b) || (e->end[0] == b && e->end[1] == a))
            break;
    }
    return at;
}

static void forget(state *s, uint64_t at)
{
    uint64_t hole = at;
    for (;;) {
        at = (at + 1) & s->mask;
        if (!s->table[at])
            break;
        const border *e = &s->borders[s->table[at] - 1];
        const uint64_t home = place_of(s, e->end[0], e->end[1]);
        if (((at - home) & s->mask) >= ((at - hole) & s->mask)) {
            s->table[hole] = s->table[at];
            hole = at;
        }
    }
    s->table[hole] = 0;
}

static int before(const state *s, int32_t a, int32_t b)
{
    const double one = s->borders[a].strength, other = s->borders[b].strength;
    return one < other || (one == other && a < b);
}

static void put(state *s, int64_t at, int32_t e)
{
    s->heap[at] = e;
    s->borders[e].place = (int32_t)at;
}

static void sift(state *s, int64_t at, int32_t e)
{
    for (; at && before(s, e, s->heap[(at - 1) / 2]); at = (at - 1) / 2)
        put(s, at, s->heap[(at - 1) / 2]);
    for (;;) {
        int64_t child = 2 * at + 1;
        if (child >= s->size)
            break;
        if (child + 1 < s->size && before(s, s->heap[child + 1], s->heap[child]))
            child++;
        if (!before(s, s->heap[child], e))
            break;
        put(s, at, s->heap[child]);
        at = child;
    }
    put(s, at, e);
}

static void take_out(state *s, int32_t e)
{
    const int64_t at = s->borders[e].place;
    if (at < 0)
        return;
    s->borders[e].place = -1;
    const int32_t last = s->heap[--s->size];
    if (last != e)
        sift(s, at, last);
}

static void put_in(state *s, int32_t e)
{
    if (s->borders[e].place < 0)
        sift(s, s->size++, e);
    else
        sift(s, s->borders[e].place, e);
}

/* Between the pixels one further from the outline than the two that it parts: outlines are blurred. */
static int64_t step_across(const uint16_t *smooth, int64_t stride, int64_t before, int64_t length)
{
    const int64_t from = before > 0 ? before - 1 : 0, to = before + 2 < length ? before + 2 : length - 1;
    const uint16_t *a = smooth + from * stride, *b = smooth + to * stride;
    const int64_t r = a[0] - b[0], g = a[1] - b[1], c = a[2] - b[2];
    return (int64_t)sqrt((double)(r * r + g * g + c * c));
}

/* Between the mean colours of two leaves, in sixteenths too. */
static int64_t step_between(const g2s_tree *tree, int32_t a, int32_t b)
{
    double squared = 0;
    for (int channel = 0; channel < 3; channel++) {
        const double step = (double)tree->color[3 * a + channel] / (double)tree->area[a] -
                            (double)tree->color[3 * b + channel] / (double)tree->area[b];
        squared += step * step;
    }
    return (int64_t)(16 * sqrt(squared));
}

/* Room for one more border; 0, or -1 where memory runs out. Connected leaves, being regions of a plane, have fewer than
 * three times as many borders as there are leaves, others may have any number. */
static int make_room(state *s)
{
    if (s->count == s->room) {
        border *borders = s->room < INT32_MAX / 4 ? realloc(s->borders, 2 * s->room * sizeof *borders) : NULL;
        if (!borders)
            return -1;
        s->borders = borders;
        s->room *= 2;
    }
    if (4 * s->count < 3 * (int64_t)s->mask)
        return 0;
    const uint64_t places = 2 * (s->mask + 1);
    int32_t *table = calloc(places, sizeof *table);
    if (!table)
        return -1;
    free(s->table);
    s->table = table;
    s->mask = places - 1;
    for (int32_t e = 0; e < s->count; e++)
        s->table[look_up(s, s->borders[e].end[0], s->borders[e].end[1])] = e + 1;
    return 0;
}

static int add_step(state *s, int32_t a, int32_t b, int64_t across)
{
    g2s_tree *tree = s->tree;
    uint64_t at = look_up(s, a, b);
    if (!s->table[at]) {
        if (make_room(s) < 0)
            return -1;
        at = look_up(s, a, b);
        const int32_t e = (int32_t)s->count++;
        s->borders[e] = (border){.end = {a, b}, .next = {s->regions[a].first, s->regions[b].first}, .place = -1};
        s->regions[a].first = 2 * e;
        s->regions[b].first = 2 * e + 1;
        s->regions[a].borders++;
        s->regions[b].borders++;
        s->table[at] = e + 1;
    }
    border *e = &s->borders[s->table[at] - 1];
    const int64_t step = (across + step_between(tree, a, b)) / 2;
    e->length++;
    e->steps += step;
    tree->outline[2 * a]++;
    tree->outline[2 * b]++;
    tree->outline[2 * a + 1] += step;
    tree->outline[2 * b + 1] += step;
    return 0;
}

static void measure_leaves(state *s)
{
    g2s_tree *tree = s->tree;
    const int64_t height = tree->picture.height, width = tree->picture.width;
    for (int64_t y = 0; y < height; y++)
        for (int64_t x = 0; x < width; x++) {
            const int64_t at = y * width + x;
            const int32_t here = tree->labels[at];
            tree->area[here]++;
            s->regions[here].at_frame |= !x || !y || x + 1 == width || y + 1 == height;
            for (int channel = 0; channel < 3; channel++)
                tree->color[3 * here + channel] += tree->picture.colors[3 * at + channel];
        }
}

/* 0, or -1 where memory runs out. */
static int find_borders(state *s, const uint16_t *smooth)
{
    const g2s_tree *tree = s->tree;
    const int64_t height = tree->picture.height, width = tree->picture.width;
    for (int64_t y = 0; y < height; y++)
        for (int64_t x = 0; x < width; x++) {
            const int64_t at = y * width + x;
            const int32_t here = tree->labels[at], left = x ? tree->labels[at - 1] : here,
                          above = y ? tree->labels[at - width] : here;
            if (left != here && add_step(s, left, here, step_across(smooth + 3 * y * width, 3, x - 1, width)) < 0)
                return -1;
            if (above != here && add_step(s, above, here, step_across(smooth + 3 * x, 3 * width, y - 1, height)) < 0)
                return -1;
        }
    for (int64_t e = 0; e < s->count; e++)
        s->borders[e].strength = (double)s->borders[e].steps / s->borders[e].length;
    return 0;
}

/* Border e, of region `from`, is one of `into` now. Where there is one already, the older of the two stays for both. */
static void move_border(state *s, int32_t e, int side, int32_t into)
{
    border *moved = &s->borders[e];
    const int32_t other = moved->end[!side];
    forget(s, look_up(s, moved->end[side], other));
    const uint64_t at = look_up(s, into, other);
    if (s->table[at]) {
        const int32_t known = s->table[at] - 1, kept = known < e ? known : e, gone = known < e ? e : known;
        border *a = &s->borders[kept], *b = &s->borders[gone];
        const int waiting = a->place >= 0 || b->place >= 0;
        take_out(s, gone);
        a->length += b->length;
        a->steps += b->steps;
        b->length = 0;
        a->strength = (double)a->steps / a->length;
        if (waiting)
            put_in(s, kept);
        if (kept == known)
            return;
    }
    s->table[at] = e + 1;
    moved->end[side] = into;
    moved->next[side] = s->regions[into].first;
    s->regions[into].first = 2 * e + side;
    s->regions[into].borders++;
}

/* The two regions of a border become one, a new node. */
static void merge(state *s, int32_t e, double birth)
{
    g2s_tree *tree = s->tree;
    border *gone = &s->borders[e];
    int32_t from = gone->end[0], into = gone->end[1];
    if (s->regions[into].borders < s->regions[from].borders ||
        (s->regions[into].borders == s->regions[from].borders && into > from)) {
        const int32_t t = from;
        from = into;
        into = t;
    }
    const int64_t node = s->nodes++;
    int32_t low = s->regions[from].node, high = s->regions[into].node;
    if (high < low) {
        const int32_t t = low;
        low = high;
        high = t;
    }
    tree->child[2 * tree->merges] = low;
    tree->child[2 * tree->merges + 1] = high;
    tree->merges++;
    tree->area[node] = tree->area[low] + tree->area[high];
    tree->count[node] = tree->count[low] + tree->count[high];
    for (int channel = 0; channel < 3; channel++)
        tree->color[3 * node + channel] = tree->color[3 * low + channel] + tree->color[3 * high + channel];
    tree->outline[2 * node] = tree->outline[2 * low] + tree->outline[2 * high] - 2 * (int64_t)gone->length;
    tree->outline[2 * node + 1] = tree->outline[2 * low + 1] + tree->outline[2 * high + 1] - 2 * gone->steps;
    tree->birth[node] = birth;

    take_out(s, e);
    forget(s, look_up(s, from, into));
    gone->length = 0;
    int32_t half = s->regions[from].first;
    while (half >= 0) {
        const int32_t next = s->borders[half / 2].next[half % 2];
        if (s->borders[half / 2].length)
            move_border(s, half / 2, half % 2, into);
        half = next;
    }
    s->regions[into].node = (int32_t)node;
    s->regions[into].at_frame |= s->regions[from].at_frame;
}

static double larger(double a, double b)
{
    return a > b ? a : b;
}

static double birth_of_larger(const g2s_tree *tree, int32_t a, int32_t b)
{
    const int64_t area_a = tree->area[a], area_b = tree->area[b];
    return tree->birth[area_a > area_b || (area_a == area_b && a < b) ? a : b];
}

enum { BELOW_CUT, SMALL, ABOVE_CUT };

static void merge_phase(state *s, int phase)
{
    g2s_tree *tree = s->tree;
    const double cut = tree->distance * 16;
    s->size = 0;
    for (int64_t e = 0; e < s->count; e++) {
        s->borders[e].place = -1;
        if (s->borders[e].length)
            put_in(s, (int32_t)e);
    }
    while (s->size) {
        const int32_t e = s->heap[0];
        const border *weakest = &s->borders[e];
        if (phase == BELOW_CUT && !(weakest->strength < cut))
            return;
        const int32_t a = s->regions[weakest->end[0]].node, b = s->regions[weakest->end[1]].node;
        const int64_t area_a = tree->area[a], area_b = tree->area[b];
        double birth = larger(weakest->strength / 16, larger(tree->birth[a], tree->birth[b]));
        if (phase == SMALL) {
            if (area_a >= tree->least_area && area_b >= tree->least_area) {
                take_out(s, e); /* both have only grown when it is back */
                continue;
            }
            /* What is too small to be an instance leaves the larger one's birth as it was. */
            birth = birth_of_larger(tree, a, b);
        }
        if (phase == ABOVE_CUT)
            birth = larger(birth, tree->distance);
        merge(s, e, birth);
    }
}

/* Dark, within the picture, and with one neighbour alone. */
static int is_hole(const state *s, const region *r)
{
    const g2s_tree *tree = s->tree;
    const int64_t *sum = tree->color + 3 * r->node;
    const double red = (double)sum[0], green = (double)sum[1], blue = (double)sum[2];
    const double most = tree->background * (double)tree->area[r->node];
    if (r->at_frame || tree->area[r->node] > tree->largest_hole || tree->background < 0 ||
        red * red + green * green + blue * blue > most * most)
        return 0;
    int neighbors = 0;
    for (int32_t half = r->first; half >= 0 && neighbors < 2; half = s->borders[half / 2].next[half % 2])
        neighbors += s->borders[half / 2].length > 0;
    return neighbors == 1;
}

static void fill_holes(state *s)
{
    for (int64_t e = 0; e < s->count; e++) {
        const border *around = &s->borders[e];
        if (!around->length)
            continue;
        const region *a = &s->regions[around->end[0]], *b = &s->regions[around->end[1]];
        if (is_hole(s, a) || is_hole(s, b))
            merge(s, (int32_t)e, birth_of_larger(s->tree, a->node, b->node));
    }
}

/* Leaves in the order of the tree, so that those of a node lie together. */
static void order(g2s_tree *tree)
{
    tree->begin[2 * tree->leaves - 2] = 0;
    for (int64_t node = 2 * tree->leaves - 2; node >= tree->leaves; node--) {
        const int32_t *child = tree->child + 2 * (node - tree->leaves);
        tree->begin[child[0]] = tree->begin[node];
        tree->begin[child[1]] = tree->begin[node] + tree->count[child[0]];
    }
}

/* 0, or -1 where memory runs out; `s` holds what has to be given back. */
static int grow(state *s, uint16_t **smooth)
{
    g2s_tree *tree = s->tree;
    const int64_t leaves = tree->leaves, pixels = tree->picture.height * tree->picture.width;
    uint64_t places = 8;
    while (places < 4 * (uint64_t)leaves)
        places *= 2;
    s->mask = places - 1;
    s->room = 3 * leaves;
    *smooth = malloc(pixels * 3 * sizeof **smooth);
    s->borders = malloc(s->room * sizeof *s->borders);
    s->table = calloc(places, sizeof *s->table);
    s->regions = malloc(leaves * sizeof *s->regions);
    if (!*smooth || !s->borders || !s->table || !s->regions)
        return -1;
    memset(tree->area, 0, (2 * leaves - 1) * sizeof *tree->area);
    memset(tree->color, 0, 3 * (2 * leaves - 1) * sizeof *tree->color);
    memset(tree->outline, 0, 2 * (2 * leaves - 1) * sizeof *tree->outline);
    for (int64_t i = 0; i < leaves; i++) {
        s->regions[i] = (region){.node = (int32_t)i, .first = -1};
        tree->count[i] = 1;
        tree->birth[i] = 0;
    }
    g2s_smooth(&tree->picture, *smooth);
    measure_leaves(s);
    if (find_borders(s, *smooth) < 0)
        return -1;
    free(*smooth);
    *smooth = NULL;
    s->heap = malloc((s->count + 1) * sizeof *s->heap);
    if (!s->heap)
        return -1;
    s->nodes = leaves;
    tree->merges = 0;
    merge_phase(s, BELOW_CUT);
    merge_phase(s, SMALL);
    fill_holes(s);
    tree->cut = tree->merges;
    merge_phase(s, ABOVE_CUT);
    order(tree);
    return 0;
}

int g2s_merge(g2s_tree *tree)
{
    state s = {.tree = tree};
    uint16_t *smooth = NULL;
    const int failed = grow(&s, &smooth);
    free(smooth);
    free(s.borders);
    free(s.heap);
    free(s.table);
    free(s.regions);
    return failed;
}
