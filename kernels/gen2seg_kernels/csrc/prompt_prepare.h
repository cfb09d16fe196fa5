/* Preparing an image, row by row: a template part, included once by each prompt_rows_*.c. */

/* Four pixels are twelve bytes: a shuffle spreads them over sixteen. */
static TARGET void expand(const uint8_t *rgb, int width, uint32_t *pixels)
{
    typedef uint8_t bytes __attribute__((vector_size(16)));
    int x = 0;
    for (; x + 6 <= width; x += 4) { /* sixteen bytes are read */
        bytes in;
        memcpy(&in, rgb + 3 * (int64_t)x, sizeof in);
        const bytes out =
            __builtin_shufflevector(in, (bytes){0}, 0, 1, 2, 16, 3, 4, 5, 16, 6, 7, 8, 16, 9, 10, 11, 16);
        memcpy(pixels + x, &out, sizeof out);
    }
    for (; x < width; x++) {
        const uint8_t *from = rgb + 3 * (int64_t)x;
        pixels[x] = from[0] | (uint32_t)from[1] << 8 | (uint32_t)from[2] << 16;
    }
}

static TARGET void box(const uint32_t *pixels, int width, uint32_t *low, uint32_t *high)
{
    for (int start = 0; start < width; start += LANES) {
        /* Beyond the row's end are colours of the row: a box may hold more than its tile. */
        const vu here = LOAD(vu, pixels + start);
        uint8_t lowest[4 * LANES], highest[4 * LANES];
        memcpy(lowest, &here, sizeof lowest);
        memcpy(highest, &here, sizeof highest);
        for (int half = 2 * LANES; half >= 4; half /= 2)
            for (int i = 0; i < half; i++) {
                lowest[i] = lowest[i + half] < lowest[i] ? lowest[i + half] : lowest[i];
                highest[i] = highest[i + half] > highest[i] ? highest[i + half] : highest[i];
            }
        uint8_t *low_box = (uint8_t *)(low + start / G2S_TILE_WIDTH);
        uint8_t *high_box = (uint8_t *)(high + start / G2S_TILE_WIDTH);
        for (int i = 0; i < 4; i++) {
            low_box[i] = lowest[i] < low_box[i] ? lowest[i] : low_box[i];
            high_box[i] = highest[i] > high_box[i] ? highest[i] : high_box[i];
        }
    }
}

/* Least and largest bytes of the pixels up to 0, 2, 3 and 4 columns away. */
typedef struct {
    vu low[4], high[4];
} around;

INLINE around look_around(const uint32_t *pixels)
{
    around out;
    vu low = LOAD(vu, pixels), high = low;
    out.low[0] = low;
    out.high[0] = high;
    for (int dx = 1; dx <= G2S_RADIUS; dx++) {
        const vu left = LOAD(vu, pixels - dx), right = LOAD(vu, pixels + dx);
        low = least_bytes(low, least_bytes(left, right));
        high = most_bytes(high, most_bytes(left, right));
        if (dx > 1) {
            out.low[dx - 1] = low;
            out.high[dx - 1] = high;
        }
    }
    return out;
}

/* The colours of a part of the window lie in a box: the farthest that one could be from the center bounds the weights.
 * The parts are the rows above, the pixel's own row and the rows below: at an edge one of them often lies on the center's
 * side of it. 255.5: the approximation of the weights is far better than one in 500. */
INLINE void bound_weights(vu center, vu low, vu high, uint8_t *least)
{
    low = least_bytes(low, center);
    high = most_bytes(high, center);
    const vu off = most_bytes((vu)((vb)high - (vb)center), (vu)((vb)center - (vb)low));
    const vf weight = filter_weight(sum_of_bytes(off), (float)(G2S_RADIUS * G2S_RADIUS)) * 255.5f;
    const vi whole = __builtin_convertvector(weight, vi);
    for (int lane = 0; lane < LANES; lane++)
        least[lane] = (uint8_t)whole[lane];
}

static TARGET void reach(const uint32_t *const *colors, int rows, int width, uint8_t *least, int64_t stride)
{
    static const int columns[G2S_SIDE] = {0, 1, 2, 2, 3, 2, 2, 1, 0}; /* of `around`, by row of the window */
    around ring[16];
    for (int x = 0; x < width; x += LANES) {
        for (int row = 0; row < rows + 2 * G2S_RADIUS; row++) {
            ring[row % 16] = look_around(colors[row] + x);
            const int y = row - 2 * G2S_RADIUS;
            if (y < 0)
                continue;
            const around *own = &ring[(y + G2S_RADIUS) % 16];
            const vu center = own->low[0];
            vu low[2] = {center, center}, high[2] = {center, center};
            for (int i = 0; i < G2S_RADIUS; i++)
                for (int below = 0; below < 2; below++) {
                    const int at = below ? G2S_SIDE - 1 - i : i;
                    low[below] = least_bytes(low[below], ring[(y + at) % 16].low[columns[at]]);
                    high[below] = most_bytes(high[below], ring[(y + at) % 16].high[columns[at]]);
                }
            uint8_t *out = least + (int64_t)y * G2S_PARTS * stride + x;
            bound_weights(center, low[0], high[0], out);
            bound_weights(center, own->low[3], own->high[3], out + stride);
            bound_weights(center, low[1], high[1], out + 2 * stride);
        }
    }
}
