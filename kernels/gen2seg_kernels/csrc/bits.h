/* Sets of pixels as rows of bits: pixel x is bit x % 64 of word x / 64; bits past the row's end are 0. */
#ifndef GEN2SEG_BITS_H
#define GEN2SEG_BITS_H

#include <stdint.h>

enum { G2S_RADIUS = 4 }; /* of the filter's round window */

/* A set of pixels of the whole image. */
typedef struct {
    uint64_t *word; /* (height, words) */
    int height, width, words;
} g2s_bits;

static inline uint64_t *g2s_row(const g2s_bits *bits, int y)
{
    return bits->word + (int64_t)y * bits->words;
}

static inline int g2s_words(int width)
{
    return (width + 63) / 64;
}

/* The bits of the last word that are pixels. */
static inline uint64_t g2s_last_word(int width)
{
    return ~UINT64_C(0) >> (63 - (width - 1) % 64);
}

int64_t g2s_count(const g2s_bits *set);

/* The first set bit at or after x, or width if there is none. */
static inline int g2s_next_bit(const uint64_t *row, int x, int width)
{
    if (x >= width)
        return width;
    const int words = g2s_words(width);
    int at = x / 64;
    uint64_t word = row[at] & (~UINT64_C(0) << x % 64);
    while (word == 0 && ++at < words)
        word = row[at];
    return word ? at * 64 + __builtin_ctzll(word) : width;
}

/* The first clear bit at or after x, or width. */
static inline int g2s_next_gap(const uint64_t *row, int x, int width)
{
    if (x >= width)
        return width;
    const int words = g2s_words(width);
    int at = x / 64;
    uint64_t word = ~row[at] & (~UINT64_C(0) << x % 64);
    while (word == 0 && ++at < words)
        word = ~row[at];
    if (word == 0)
        return width;
    x = at * 64 + __builtin_ctzll(word);
    return x < width ? x : width;
}

#endif
