#include "prompt.h"

#include <string.h>

/* The last clear bit before x, or -1. */
static int previous_gap(const uint64_t *row, int x)
{
    int at = x / 64;
    uint64_t word = x % 64 ? ~row[at] & ~(~UINT64_C(0) << x % 64) : 0;
    while (word == 0) {
        if (--at < 0)
            return -1;
        word = ~row[at];
    }
    return at * 64 + 63 - __builtin_clzll(word);
}

/* Moves bits first..last from one row to another. */
static void move_run(uint64_t *from, uint64_t *to, int first, int last)
{
    for (int at = first / 64; at <= last / 64; at++) {
        uint64_t bits = ~UINT64_C(0);
        if (at == first / 64)
            bits &= ~UINT64_C(0) << first % 64;
        if (at == last / 64)
            bits &= ~UINT64_C(0) >> (63 - last % 64);
        from[at] &= ~bits;
        to[at] |= bits;
    }
}

/* Moves every run of row y that touches columns first..last over, and notes it: returns the new top of the stack. */
static int32_t *take_runs(g2s_bits *set, g2s_bits *out, int y, int first, int last, int32_t *top)
{
    if (y < 0 || y >= set->height)
        return top;
    uint64_t *row = g2s_row(set, y);
    for (int x = g2s_next_bit(row, first < 0 ? 0 : first, set->width); x <= last && x < set->width;
         x = g2s_next_bit(row, x, set->width)) {
        const int start = previous_gap(row, x) + 1, end = g2s_next_gap(row, x, set->width) - 1;
        move_run(row, g2s_row(out, y), start, end);
        *top++ = y;
        *top++ = start;
        *top++ = end;
        x = end + 1;
    }
    return top;
}

void g2s_flood(g2s_bits *set, int x, int y, int32_t *runs, g2s_bits *out)
{
    memset(out->word, 0, (size_t)out->height * out->words * sizeof(uint64_t));
    int32_t *top = take_runs(set, out, y, x, x, runs);
    while (top > runs) {
        const int end = *--top, start = *--top, row = *--top;
        /* One pixel further to each side: runs connect across corners. */
        top = take_runs(set, out, row - 1, start - 1, end + 1, top);
        top = take_runs(set, out, row + 1, start - 1, end + 1, top);
    }
}
