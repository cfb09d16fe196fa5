/* One pass over the memory each: at the size of a picture it is the memory that takes the time. */
#include "pixels.h"

#include <float.h>
#include <math.h>
#include <string.h>

enum { CHUNK = 256 };

void g2s_picture_to_planes(const uint8_t *rgb, int64_t height, int64_t width, const float *table, float *planes,
                           int64_t full_height, int64_t full_width)
{
    const int64_t plane = full_height * full_width;
    for (int64_t y = 0; y < height; y++) {
        const uint8_t *pixel = rgb + y * width * 3;
        float *r = planes + y * full_width, *g = r + plane, *b = g + plane;
        for (int64_t x = 0; x < width; x++, pixel += 3) {
            r[x] = table[pixel[0]];
            g[x] = table[256 + pixel[1]];
            b[x] = table[512 + pixel[2]];
        }
        for (int64_t x = width; x < full_width; x++) {
            r[x] = r[width - 1];
            g[x] = g[width - 1];
            b[x] = b[width - 1];
        }
    }
    for (int c = 0; c < 3; c++)
        for (int64_t y = height; y < full_height; y++) {
            float *row = planes + c * plane + y * full_width;
            memcpy(row, row - full_width, (size_t)full_width * sizeof(float));
        }
}

#if defined(__GNUC__) && !defined(__clang__)
/* GCC keeps the loop scalar for the sake of floating point traps, which nobody enables. */
#define NO_TRAPS __attribute__((optimize("no-trapping-math")))
#else
#define NO_TRAPS
#endif

/* The operations and their order are those of reference.py: every one rounds to float32. */
NO_TRAPS static int convert(const float *values, int64_t n, float low, float high, float scale, uint8_t *out)
{
    int strange = 0;
    for (int64_t i = 0; i < n; i++) {
        float v = values[i];
        strange |= !(fabsf(v) <= FLT_MAX);
        v = low > v ? low : v;
        v = high < v ? high : v;
        v = (v - low) * scale;
        v = 0.0f > v ? 0.0f : v;
        v = 255.0f < v ? 255.0f : v;
        out[i] = (uint8_t)(int32_t)v;
    }
    return strange;
}

int g2s_planes_to_colors(const float *planes, int64_t plane_step, int64_t row_step, int64_t height, int64_t width,
                         float low, float high, uint8_t *colors)
{
    const float scale = 255.0f / (high - low);
    uint8_t level[3][CHUNK];
    int strange = 0;
    for (int64_t y = 0; y < height && !strange; y++)
        for (int64_t begin = 0; begin < width; begin += CHUNK) {
            const int64_t n = width - begin < CHUNK ? width - begin : CHUNK;
            const float *row = planes + y * row_step + begin;
            for (int c = 0; c < 3; c++)
                strange |= convert(row + c * plane_step, n, low, high, scale, level[c]);
            if (strange) /* a value that is none has no whole number either */
                break;
            uint8_t *pixel = colors + (y * width + begin) * 3;
            for (int64_t x = 0; x < n; x++, pixel += 3) {
                pixel[0] = level[0][x];
                pixel[1] = level[1][x];
                pixel[2] = level[2][x];
            }
        }
    return !strange;
}
