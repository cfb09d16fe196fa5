/* Leaves: the basins of the slope of the colours, the small ones given to their most similar neighbours. */
#include "instances.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static int32_t squared(const uint16_t *a, const uint16_t *b)
{
    const int32_t r = a[0] - b[0], g = a[1] - b[1], c = a[2] - b[2];
    return r * r + g * g + c * c;
}

void g2s_smooth(const g2s_picture *picture, uint16_t *smooth)
{
    const int64_t height = picture->height, width = picture->width, step = width * 3;
    for (int64_t y = 0; y < height; y++) {
        const uint8_t *here = picture->colors + y * step;
        const uint8_t *above = y ? here - step : here, *below = y + 1 < height ? here + step : here;
        uint16_t *out = smooth + y * step;
        for (int64_t i = 0; i < step; i++)
            out[i] = (uint16_t)(above[i] + 2 * here[i] + below[i]);
        uint16_t left[3] = {out[0], out[1], out[2]};
        for (int64_t i = 0; i < step; i++) {
            const uint16_t middle = out[i], right = i + 3 < step ? out[i + 3] : middle;
            out[i] = (uint16_t)(left[i % 3] + 2 * middle + right);
            left[i % 3] = middle;
        }
    }
}

/* Every set is known by its first pixel, and parents come before their children. */
static int32_t find(int32_t *parent, int32_t x)
{
    while (parent[x] != x) {
        parent[x] = parent[parent[x]];
        x = parent[x];
    }
    return x;
}

static void join(int32_t *parent, int32_t a, int32_t b)
{
    a = find(parent, a);
    b = find(parent, b);
    if (a < b)
        parent[b] = a;
    else
        parent[a] = b;
}

static void flatten(int32_t *parent, int64_t pixels)
{
    for (int64_t i = 0; i < pixels; i++)
        parent[i] = parent[parent[i]];
}

enum { LEVELS = 256 };

static int32_t larger(int32_t a, int32_t b)
{
    return a > b ? a : b;
}

/* How far the colour moves on in one direction over a pixel: the smaller of the two steps, squared, if they do not turn
 * back, that is if their sum, from neighbour to neighbour, is longer than a right angle would make it; else 0. */
static int32_t move_on(int32_t before, int32_t after, int32_t both)
{
    return both > before + after ? (before < after ? before : after) : 0;
}

/* The mean of the largest step to a neighbour and of how far the colour moves on, in whole units of colour: the one
 * finds outlines, the other keeps thin lines, which have no pixel without a large step.
 * Scratch: `steps` and `onward`, of (height, width). */
static void find_slopes(
    const uint16_t *smooth, int64_t height, int64_t width, int32_t *steps, int32_t *onward, uint8_t *slope)
{
    const int64_t row = 3 * width, pixels = height * width;
    int32_t *down = onward; /* steps to the row below, until a row's turn comes: upwards, so that they last */
    memset(down, 0, pixels * sizeof *down);
    for (int64_t i = 0; i + width < pixels; i++)
        down[i] = squared(smooth + 3 * i, smooth + 3 * i + row);
    for (int64_t y = height - 1; y >= 0; y--) {
        int32_t left = 0;
        for (int64_t x = 0; x < width; x++) {
            const int64_t at = y * width + x;
            const uint16_t *here = smooth + 3 * at;
            const int32_t right = x + 1 < width ? squared(here, here + 3) : 0;
            const int32_t above = y ? down[at - width] : 0, below = down[at];
            const int32_t across = x && x + 1 < width ? move_on(left, right, squared(here - 3, here + 3)) : 0;
            const int32_t along = y && y + 1 < height ? move_on(above, below, squared(here - row, here + row)) : 0;
            steps[at] = larger(larger(left, right), larger(above, below));
            onward[at] = larger(across, along);
            left = right;
        }
    }
    for (int64_t i = 0; i < pixels; i++) {
        const int32_t level = ((int32_t)sqrt((double)steps[i]) + (int32_t)sqrt((double)onward[i])) / 32;
        slope[i] = (uint8_t)(level < LEVELS ? level : LEVELS - 1);
    }
}

/* Plateaus without a lower neighbour, each under its first pixel, the others -1. */
static void find_basins(const uint8_t *slope, int64_t height, int64_t width, int32_t *labels, int32_t *lowest)
{
    const int64_t pixels = height * width;
    for (int64_t i = 0; i < pixels; i++) {
        labels[i] = (int32_t)i;
        lowest[i] = 1;
    }
    for (int64_t i = 0; i < pixels; i++) {
        if (i % width && slope[i - 1] == slope[i])
            join(labels, (int32_t)i, (int32_t)i - 1);
        if (i >= width && slope[i - width] == slope[i])
            join(labels, (int32_t)i, (int32_t)(i - width));
    }
    flatten(labels, pixels);
    for (int64_t i = 0; i < pixels; i++) {
        if (i % width && slope[i - 1] != slope[i])
            lowest[labels[slope[i - 1] < slope[i] ? i : i - 1]] = 0;
        if (i >= width && slope[i - width] != slope[i])
            lowest[labels[slope[i - width] < slope[i] ? i : i - width]] = 0;
    }
    for (int64_t i = 0; i < pixels; i++)
        labels[i] = lowest[labels[i]] ? labels[i] : -1;
}

/* Basins grow over the rest, the lowest slope first; where slopes are equal, who was there first. */
static void flood(const uint8_t *slope, int64_t height, int64_t width, int32_t *labels, int32_t *next)
{
    const int64_t step[4] = {-width, -1, 1, width}, pixels = height * width;
    int32_t first[LEVELS], last[LEVELS];
    for (int level = 0; level < LEVELS; level++)
        first[level] = -1;
#define QUEUE(pixel)                          \
    do {                                      \
        const uint8_t at_level = slope[pixel]; \
        next[pixel] = -1;                     \
        if (first[at_level] < 0)              \
            first[at_level] = (int32_t)(pixel); \
        else                                  \
            next[last[at_level]] = (int32_t)(pixel); \
        last[at_level] = (int32_t)(pixel);    \
    } while (0)
    for (int64_t i = 0; i < pixels; i++)
        if (labels[i] >= 0)
            QUEUE(i);
    /* Whatever is lower than what is being flooded has been flooded from its own basin. */
    for (int level = 0; level < LEVELS; level++)
        while (first[level] >= 0) {
            const int64_t at = first[level], x = (uint32_t)at % (uint32_t)width;
            const int inside[4] = {at >= width, x > 0, x + 1 < width, at + width < pixels};
            first[level] = next[at];
            for (int side = 0; side < 4; side++) {
                const int64_t there = at + step[side];
                if (!inside[side] || labels[there] >= 0)
                    continue;
                labels[there] = labels[at];
                QUEUE(there);
            }
        }
#undef QUEUE
}

/* Smoothing rounds corners off. A pixel in a leaf that is nothing like it, beside one that is, goes over to it, unless
 * the neighbour there moves too. */
static void square_corners(const g2s_picture *picture, int32_t *labels, int32_t *target)
{
    enum { UNLIKE = 32 * 32, MUCH = 16 }; /* squared: a step of colour, and by how much the one is larger */
    const int64_t height = picture->height, width = picture->width, pixels = height * width;
    const int64_t step[4] = {-width, -1, 1, width};
    for (int64_t y = 0; y < height; y++)
        for (int64_t x = 0; x < width; x++) {
            const int64_t at = y * width + x;
            const int inside[4] = {y > 0, x > 0, x + 1 < width, y + 1 < height};
            int64_t own = INT64_MAX, other = INT64_MAX, most_like = -1;
            target[at] = -1;
            int between = 0;
            for (int side = 0; side < 4; side++)
                between |= inside[side] && labels[at + step[side]] != labels[at];
            if (!between)
                continue;
            for (int side = 0; side < 4; side++) {
                if (!inside[side])
                    continue;
                const uint8_t *a = picture->colors + 3 * at, *b = picture->colors + 3 * (at + step[side]);
                const int64_t r = a[0] - b[0], g = a[1] - b[1], c = a[2] - b[2], difference = r * r + g * g + c * c;
                if (labels[at + step[side]] == labels[at])
                    own = difference < own ? difference : own;
                else if (difference < other) {
                    other = difference;
                    most_like = at + step[side];
                }
            }
            if (own < INT64_MAX && own >= UNLIKE && own >= MUCH * other)
                target[at] = (int32_t)most_like;
        }
    for (int64_t at = 0; at < pixels; at++)
        if (target[at] >= 0 && target[target[at]] < 0)
            labels[at] = labels[target[at]];
}

/* Sets under their first pixels again: a basin may have grown to pixels before it. */
static void rename_sets(int32_t *labels, int64_t pixels, int32_t *first)
{
    for (int64_t i = 0; i < pixels; i++)
        first[i] = -1;
    for (int64_t i = 0; i < pixels; i++) {
        if (first[labels[i]] < 0)
            first[labels[i]] = (int32_t)i;
        labels[i] = first[labels[i]];
    }
}

typedef struct {
    int64_t least;
    int32_t *area;        /* of the set known by a pixel */
    uint32_t *difference; /* of the most similar other set: UINT32_MAX, none */
    int32_t *other;       /* the first pixel of that one */
} small_sets;

static void offer(const small_sets *small, int32_t set, int32_t other, uint32_t difference)
{
    if (small->area[set] >= small->least)
        return;
    if (difference < small->difference[set] ||
        (difference == small->difference[set] && other < small->other[set])) {
        small->difference[set] = difference;
        small->other[set] = other;
    }
}

/* All small sets at once go with their most similar neighbours; whether any did. */
static int join_small(const uint16_t *smooth, int64_t height, int64_t width, int32_t *parent, const small_sets *small)
{
    const int64_t pixels = height * width;
    int any = 0;
    memset(small->area, 0, pixels * sizeof *small->area);
    memset(small->difference, 0xff, pixels * sizeof *small->difference);
    for (int64_t i = 0; i < pixels; i++)
        small->area[parent[i]]++;
    for (int64_t y = 0; y < height; y++)
        for (int64_t x = 0; x < width; x++) {
            const int64_t at = y * width + x;
            for (int down = 0; down < 2; down++) {
                if (down ? y + 1 == height : x + 1 == width)
                    continue;
                const int64_t there = at + (down ? width : 1);
                const int32_t a = parent[at], b = parent[there];
                if (a == b || (small->area[a] >= small->least && small->area[b] >= small->least))
                    continue;
                const uint32_t difference = (uint32_t)squared(smooth + 3 * at, smooth + 3 * there);
                offer(small, a, b, difference);
                offer(small, b, a, difference);
            }
        }
    for (int64_t i = 0; i < pixels; i++)
        if (small->difference[i] != UINT32_MAX) {
            join(parent, (int32_t)i, small->other[i]);
            any = 1;
        }
    if (any)
        flatten(parent, pixels);
    return any;
}

static int64_t number(int32_t *parent, int64_t pixels, int32_t *names)
{
    int32_t count = 0;
    for (int64_t i = 0; i < pixels; i++) {
        if (parent[i] == i)
            names[i] = count++;
        parent[i] = names[parent[i]];
    }
    return count;
}

int64_t g2s_leaves(const g2s_picture *picture, int64_t least, int32_t *labels)
{
    const int64_t height = picture->height, width = picture->width, pixels = height * width;
    uint16_t *smooth = malloc(pixels * 3 * sizeof *smooth);
    small_sets small = {
        least,
        malloc(pixels * sizeof *small.area),
        malloc(pixels * sizeof *small.difference),
        malloc(pixels * sizeof *small.other),
    };
    int64_t count = -1;
    if (pixels > 0 && smooth && small.area && small.difference && small.other) {
        uint8_t *slope = (uint8_t *)small.difference;
        g2s_smooth(picture, smooth);
        find_slopes(smooth, height, width, small.area, small.other, slope);
        find_basins(slope, height, width, labels, small.other);
        flood(slope, height, width, labels, small.other);
        square_corners(picture, labels, small.other);
        rename_sets(labels, pixels, small.other);
        while (join_small(smooth, height, width, labels, &small))
            ;
        count = number(labels, pixels, small.area);
    }
    free(smooth);
    free(small.area);
    free(small.difference);
    free(small.other);
    return count;
}
