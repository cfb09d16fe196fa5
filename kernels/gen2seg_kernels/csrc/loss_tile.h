/* The hot loop of the loss for one tile of pixels and a run of instances: a template, no header.
 *
 * The includer defines REAL, INTEGER (as wide as REAL), TILE, SOURCES, LANES, NAME(x), TARGET and PACK (instances that
 * share one walk over the tile; as many as the registers of the instruction set can hold).
 *
 * For each instance k of `sources` and each pixel p of the tile that is not its own, with d = p - m_k
 * and t = 1 + |d|^2, it adds  1/t  to sums[k][0],  w_k d/t^2  to sums[k][1..3]  and the same vector to the
 * pixel's push: the derivatives of the pair's  w_k/t  with respect to mean and pixel, up to a factor of 2.
 */

typedef REAL NAME(vector) __attribute__((vector_size(LANES * sizeof(REAL))));
typedef INTEGER NAME(ints) __attribute__((vector_size(LANES * sizeof(REAL))));

static inline TARGET double NAME(total)(NAME(vector) v)
{
    /* Halves fold onto each other: fewer roundings than one lane after the other, and vectors again. */
    REAL lane[LANES];
    memcpy(lane, &v, sizeof lane);
    for (int half = LANES / 2; half > 0; half /= 2)
        for (int i = 0; i < half; i++)
            lane[i] += lane[i + half];
    return (double)lane[0];
}

/* One walk over pixels begin..end - 1 of the tile with PACK instances from `first` on. */
static inline __attribute__((always_inline)) TARGET CONTRACT void NAME(walk)(
    TILE *tile, const SOURCES *sources, int first, int begin, int end, double (*sums)[4], int with_push)
{
    typedef NAME(vector) V;
    typedef NAME(ints) I;
    V value[PACK], push[3][PACK];
    for (int j = 0; j < PACK; j++)
        value[j] = push[0][j] = push[1][j] = push[2][j] = (V){0};

    for (int start = begin; start < end; start += LANES) {
        const V x = *(const V *)(tile->color[0] + start);
        const V y = *(const V *)(tile->color[1] + start);
        const V z = *(const V *)(tile->color[2] + start);
        const I id = *(const I *)(tile->id + start);
        V px = {0}, py = {0}, pz = {0};
#pragma GCC unroll 8
        for (int j = 0; j < PACK; j++) {
            const int k = first + j;
            /* The mean in two parts: near it, p - high is exact and low holds what rounding took. */
            const V dx = (x - sources->high[0][k]) - sources->low[0][k];
            const V dy = (y - sources->high[1][k]) - sources->low[1][k];
            const V dz = (z - sources->high[2][k]) - sources->low[2][k];
            const V t = dx * dx + (dy * dy + (dz * dz + (REAL)1));
            const V inverse = (V)((I)((REAL)1 / t) & (id != (INTEGER)k));
            value[j] += inverse;
            if (with_push) {
                const V w = inverse * inverse * sources->weight[k];
                px += w * dx;
                py += w * dy;
                pz += w * dz;
                push[0][j] += w * dx;
                push[1][j] += w * dy;
                push[2][j] += w * dz;
            }
        }
        if (with_push) {
            *(V *)(tile->push[0] + start) += px;
            *(V *)(tile->push[1] + start) += py;
            *(V *)(tile->push[2] + start) += pz;
        }
    }
    for (int j = 0; j < PACK; j++) {
        double *sum = sums[first + j];
        sum[0] += NAME(total)(value[j]);
        for (int c = 0; with_push && c < 3; c++)
            sum[1 + c] += NAME(total)(push[c][j]);
    }
}

/* All instances first <= k < last; last - first is a multiple of G2S_ROWS. */
static TARGET CONTRACT void NAME(pairs)(
    TILE *tile, const SOURCES *sources, int first, int last, double (*sums)[4], int with_push)
{
    for (int k = first; k < last; k += PACK)
        for (int begin = 0; begin < tile->padded; begin += CHAIN * LANES) {
            const int end = begin + CHAIN * LANES < tile->padded ? begin + CHAIN * LANES : tile->padded;
            if (with_push)
                NAME(walk)(tile, sources, k, begin, end, sums, 1);
            else
                NAME(walk)(tile, sources, k, begin, end, sums, 0);
        }
}
