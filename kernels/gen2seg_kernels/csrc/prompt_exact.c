/* The joint bilateral filter of one pixel, operation by operation as OpenCV's ximgproc.jointBilateralFilter does
 * it on bytes: window 9, both sigmas 75, single precision, rounded to nearest even. */
#include "prompt.h"

#include <math.h>
#include <pthread.h>

static const double SIGMA = 75.0;

static float space_weight[2 * G2S_RADIUS * G2S_RADIUS + 1]; /* by squared distance in place */
static float color_weight[G2S_MOST_L1 + 1];                 /* by L1 distance in colour */

float g2s_gathered_weights[G2S_GATHERED];

static void make_gathered_weights(void)
{
    static const int reach[4] = {4, 3, 3, 2};
    for (int dy = -3; dy <= 3; dy++)
        for (int dx = -4; dx <= 3; dx++) {
            const int away = dx < 0 ? -dx : dx, row = dy < 0 ? -dy : dy;
            if (away <= reach[row])
                g2s_gathered_weights[8 * (dy + 3) + dx + 4] = space_weight[dy * dy + dx * dx];
        }
    for (int i = 56; i < 59; i++)
        g2s_gathered_weights[i] = space_weight[G2S_RADIUS * G2S_RADIUS];
}

static void make_tables(void)
{
    const double factor = -0.5 / (SIGMA * SIGMA);
    for (int square = 0; square <= 2 * G2S_RADIUS * G2S_RADIUS; square++)
        space_weight[square] = (float)exp(square * factor);
    for (int l1 = 0; l1 <= G2S_MOST_L1; l1++)
        color_weight[l1] = (float)exp((double)l1 * l1 * factor);
    make_gathered_weights();
}

void g2s_prepare_filter(void)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, make_tables);
}

const float *g2s_color_weights(void)
{
    return color_weight;
}

static inline int l1_distance(uint32_t a, uint32_t b)
{
    int sum = 0;
    for (int shift = 0; shift < 24; shift += 8) {
        const int difference = (int)(a >> shift & 255) - (int)(b >> shift & 255);
        sum += difference < 0 ? -difference : difference;
    }
    return sum;
}

int g2s_filtered_above(const g2s_window *window, int x, int cut)
{
    const uint32_t center = window->colors[G2S_RADIUS][x];
    float total = 0, weights = 0;
    for (int dy = -G2S_RADIUS; dy <= G2S_RADIUS; dy++)
        for (int dx = -G2S_RADIUS; dx <= G2S_RADIUS; dx++) {
            const int square = dy * dy + dx * dx;
            if (square > G2S_RADIUS * G2S_RADIUS)
                continue;
            const int l1 = l1_distance(center, window->colors[dy + G2S_RADIUS][x + dx]);
            const float weight = space_weight[square] * color_weight[l1];
            /* the similarity from its excess */
            total += weight * (float)((window->values[dy + G2S_RADIUS][x + dx] + 2 * cut + 1) / 2);
            weights += weight;
        }
    return rintf(total * (1.0f / weights)) > (float)cut;
}
