/* Pictures into the planes that networks take, and planes back into colours. */
#ifndef GEN2SEG_PIXELS_H
#define GEN2SEG_PIXELS_H

#include <stdint.h>

/* A picture (height, width, 3) as planes (3, full_height, full_width) of table[channel * 256 + value]; its right and
 * bottom edges are repeated. */
void g2s_picture_to_planes(const uint8_t *rgb, int64_t height, int64_t width, const float *table, float *planes,
                           int64_t full_height, int64_t full_width);

/* Rows of three planes, `row_step` and `plane_step` floats apart, as colours (height, width, 3): clipped to [low, high],
 * which is spread over 0..255, and truncated. Returns whether every value was finite. */
int g2s_planes_to_colors(const float *planes, int64_t plane_step, int64_t row_step, int64_t height, int64_t width,
                         float low, float high, uint8_t *colors);

#endif
