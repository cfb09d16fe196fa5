/* The Gaussian-weighted mean colour around a point.
 *
 * The round trip through float32 makes each weight a multiple of 2^-25, so whole numbers hold the sums exactly, in
 * any order. A weight is nearly the product of one of its column and one of its row: only where that product lies
 * too near a rounding's edge to tell does `weigh` take the exponential of the sum, as the definition does. */
#include "prompt.h"

#include <math.h>

static const double REACH = 6.05; /* in sigma; weights vanish beyond 6.005 */

enum { PIXELS_AT_A_TIME = 1 << 12 }; /* whose sums a double holds exactly */

/* An axis's first and last index whose weight may differ from zero; last < first if there is none. */
static void reached(double center, int length, double sigma, int *first, int *last)
{
    *first = *last = 0;
    if (length == 1)
        return;
    const double reach = REACH * sigma * (length - 1);
    *first = (int)fmax(0.0, ceil(center - reach));
    *last = (int)fmin(length - 1.0, floor(center + reach));
}

static double square_of_offset(int index, double center, int length, double sigma)
{
    const double offset = length > 1 ? (index / (double)(length - 1) - center / (length - 1)) / sigma : 0.0;
    return offset * offset;
}

void g2s_gaussian_query(const g2s_field *field, g2s_scratch *scratch, const double *point, double sigma, double *query)
{
    int left, right, top, bottom;
    reached(point[0], field->width, sigma, &left, &right);
    reached(point[1], field->height, sigma, &top, &bottom);
    const int count = right - left + 1;
    double *across = scratch->axes, *squares = scratch->axes + field->width + 16;
    for (int i = 0; i < count; i++) {
        squares[i] = square_of_offset(left + i, point[0], field->width, sigma);
        across[i] = exp(-0.5 * squares[i]);
    }
    int64_t sums[4] = {0};
    for (int y = top; y <= bottom; y++) {
        const double square = square_of_offset(y, point[1], field->height, sigma), down = exp(-0.5 * square);
        /* The window is an ellipse: columns beyond it have no weight. */
        int first = 0, last = count;
        while (first < last && squares[first] + square > REACH * REACH)
            first++;
        while (last > first && squares[last - 1] + square > REACH * REACH)
            last--;
        for (int i = first; i < last; i += PIXELS_AT_A_TIME)
            field->isa->weigh(
                g2s_pixels(field, y) + left + i, last - i < PIXELS_AT_A_TIME ? last - i : PIXELS_AT_A_TIME, across + i,
                down, squares + i, square, sums);
    }
    for (int channel = 0; channel < 3; channel++)
        query[channel] = (double)sums[channel] * 0x1p-25 / ((double)sums[3] * 0x1p-25 + G2S_EPSILON);
}
