#include "prompt.h"

#include <math.h>
#include <string.h>

static double similarity(double squared)
{
    return 1.0 / (sqrt(squared) + G2S_EPSILON);
}

/* Is the stretched similarity above the cut? Every rounded step falls with distance, so one limit tells. */
static int above(const g2s_stretch *how, double squared, double cut)
{
    return (similarity(squared) - how->smallest) / how->span * 255.0 >= cut + 1;
}

/* The largest squared distance whose similarity is above the cut, by bisection over the floating-point numbers:
 * those that are not negative are ordered like the integers that their bits spell. `low` is above, `high` is not. */
static double distance_limit(const g2s_stretch *how, double low, double high, double cut)
{
    int64_t inside, outside;
    memcpy(&inside, &low, sizeof inside);
    memcpy(&outside, &high, sizeof outside);
    while (outside - inside > 1) {
        const int64_t middle = inside + (outside - inside) / 2;
        double value;
        memcpy(&value, &middle, sizeof value);
        if (above(how, value, cut))
            inside = middle;
        else
            outside = middle;
    }
    memcpy(&low, &inside, sizeof low);
    return low;
}

static void fill_mask(g2s_bits *mask, uint64_t word)
{
    for (int y = 0; y < mask->height; y++) {
        for (int i = 0; i < mask->words; i++)
            g2s_row(mask, y)[i] = word;
        g2s_row(mask, y)[mask->words - 1] &= g2s_last_word(mask->width);
    }
}

int g2s_reference_mask(
    const g2s_field *field, g2s_scratch *scratch, g2s_band *bands, const double *point, double sigma, double cut,
    uint8_t *bytes)
{
    if (cut < 0) {
        fill_mask(&scratch->mask, ~UINT64_C(0));
        return 0;
    }
    g2s_stretch how;
    double low, high;
    g2s_gaussian_query(field, scratch, point, sigma, how.query);
    g2s_bound_tiles(field, scratch, how.query);
    g2s_range(field, scratch, point, how.query, &low, &high);
    how.smallest = similarity(high);
    how.span = similarity(low) - how.smallest + G2S_EPSILON;
    if (!above(&how, low, cut)) {
        fill_mask(&scratch->mask, 0);
        return 0;
    }
    how.cut = (int)cut; /* at most 254 now */
    const double limit = distance_limit(&how, low, high, cut);
    g2s_mark_tiles(field, scratch, limit);
    g2s_decide(field, scratch, bands, &how, limit, bytes);
    return bytes != NULL;
}
