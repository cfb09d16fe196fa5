#include "bits.h"

void g2s_widen_row(const g2s_bits *set, uint64_t flip, int y, g2s_wide *out)
{
    const uint64_t *row = g2s_row(set, y), last = g2s_last_word(set->width);
    const int words = set->words;
    uint64_t *two = g2s_row(&out->by[0], y), *three = g2s_row(&out->by[1], y), *four = g2s_row(&out->by[2], y);
    uint64_t before = 0, here = (row[0] ^ flip) & (words == 1 ? last : ~UINT64_C(0));
    for (int i = 0; i < words; i++) {
        uint64_t after = i + 1 < words ? row[i + 1] ^ flip : 0;
        if (i + 2 == words)
            after &= last;
        uint64_t grown = here | here << 1 | here >> 1 | before >> 63 | after << 63;
        grown |= here << 2 | here >> 2 | before >> 62 | after << 62;
        two[i] = grown;
        grown |= here << 3 | here >> 3 | before >> 61 | after << 61;
        three[i] = grown;
        four[i] = grown | here << 4 | here >> 4 | before >> 60 | after << 60;
        before = here;
        here = after;
    }
}

void g2s_grow_row(const g2s_bits *set, uint64_t flip, const g2s_wide *wide, int y, uint64_t *out)
{
    /* The round window of radius 4 reaches 4, 3, 3, 2 and 0 pixels to each side, 0 to 4 rows from its middle. */
    const g2s_bits *const widened[G2S_RADIUS + 1] = {&wide->by[2], &wide->by[1], &wide->by[1], &wide->by[0], set};
    const int words = set->words;
    for (int i = 0; i < words; i++)
        out[i] = 0;
    for (int dy = -G2S_RADIUS; dy <= G2S_RADIUS; dy++) {
        if (y + dy < 0 || y + dy >= set->height)
            continue;
        const int away = dy < 0 ? -dy : dy;
        const uint64_t *restrict row = g2s_row(widened[away], y + dy), change = away == G2S_RADIUS ? flip : 0;
        uint64_t *restrict to = out;
        for (int i = 0; i < words; i++)
            to[i] |= row[i] ^ change;
    }
    out[words - 1] &= g2s_last_word(set->width);
}

int64_t g2s_count(const g2s_bits *set)
{
    int64_t count = 0;
    for (int64_t i = 0; i < (int64_t)set->height * set->words; i++)
        count += __builtin_popcountll(set->word[i]);
    return count;
}
