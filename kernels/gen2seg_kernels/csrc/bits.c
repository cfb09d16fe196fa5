#include "bits.h"

int64_t g2s_count(const g2s_bits *set)
{
    int64_t count = 0;
    for (int64_t i = 0; i < (int64_t)set->height * set->words; i++)
        count += __builtin_popcountll(set->word[i]);
    return count;
}
