/* The passes over a segment of pixels, tile by tile: a template on the number type, no header.
 *
 * The includer defines REAL, TILE, SOURCES, FAR (a colour so far away that it weighs nothing), PAIRS (the
 * pair kernel), NAME(x), and NAME(load)(image, start, n, color), which reads pixels as REAL.
 */

/* Phase 1: areas and sums of colours per instance. */
static void NAME(sum_segment)(void *context, int64_t segment, int slot)
{
    (void)slot;
    const image_work *image = context;
    double (*sums)[4] = image->partial + (size_t)segment * image->rows;
    memset(sums, 0, (size_t)image->rows * sizeof *sums);
    REAL color[3][G2S_TILE];
    for (int64_t start = segment_start(image, segment); start < segment_start(image, segment + 1); start += G2S_TILE) {
        const int n = tile_size(image, start);
        NAME(load)(image, start, n, color);
        for (int i = 0; i < n; i++) {
            double *sum = sums[image->labels.dense[start + i]];
            sum[0] += 1.0;
            sum[1] += color[0][i];
            sum[2] += color[1][i];
            sum[3] += color[2][i];
        }
    }
}

/* All sources first <= k < last against one tile. The pushes on its pixels end up in `total`, in float64. */
static void NAME(push_tile)(const image_work *image, TILE *tile, const SOURCES *sources, int first, int last,
                            double (*sums)[4], double total[3][G2S_TILE])
{
    const int with_push = image->grad != NULL;
    memset(tile->push, 0, sizeof tile->push);
    memset(total, 0, 3 * sizeof *total);
    for (int from = first; from < last; from += G2S_BLOCK) {
        image->kernels->PAIRS(tile, sources, from, from + G2S_BLOCK < last ? from + G2S_BLOCK : last, sums, with_push);
        for (int c = 0; with_push && c < 3; c++)
            for (int i = 0; i < tile->padded; i++) {
                total[c][i] += (double)tile->push[c][i];
                tile->push[c][i] = 0;
            }
    }
}

static void NAME(pad_tile)(TILE *tile, int n)
{
    tile->padded = (n + 15) / 16 * 16;
    for (int i = n; i < tile->padded; i++) {
        tile->color[0][i] = tile->color[1][i] = tile->color[2][i] = FAR;
        tile->id[i] = -1;
    }
}

/* Pull of one tile's pixels toward their own means; the gradient joins that of the pushes in `total`.
 * Look-ups by instance stay out of the arithmetic, so that the compiler can vectorise it. */
static double NAME(pull_tile)(const image_work *image, const TILE *tile, const int32_t *dense, int n,
                              double (*sums)[4], double total[3][G2S_TILE])
{
    double weight[G2S_TILE], away[G2S_TILE], loss[PULL_LANES] = {0};
    for (int i = 0; i < n; i++)
        weight[i] = image->pull[dense[i]];
    memset(weight + n, 0, (size_t)(tile->padded - n) * sizeof *weight);
    for (int c = 0; c < 3; c++) {
        for (int i = 0; i < n; i++)
            away[i] = (double)tile->color[c][i] - image->mean[dense[i]][c];
        memset(away + n, 0, (size_t)(tile->padded - n) * sizeof *away);
        pull_channel(weight, away, total[c], tile->padded, image->in->weights.huber_delta, loss);
        for (int i = 0; image->grad && i < n; i++)
            sums[dense[i]][1 + c] -= 0.5 * away[i]; /* the sums of pushes count twice */
    }
    double sum = 0.0;
    for (int lane = 0; lane < PULL_LANES; lane++)
        sum += loss[lane];
    return sum;
}

static void NAME(store_tile)(const image_work *image, int64_t start, int n, double total[3][G2S_TILE])
{
    const int32_t *index = image->labels.index;
    for (int c = 0; c < 3; c++) {
        REAL *grad = (REAL *)image->grad + c * image->in->pixels;
        for (int i = 0; i < n; i++)
            grad[index ? index[start + i] : start + i] = (REAL)total[c][i];
    }
}

/* Phase 2: pull and push between pixels and means, all but what the means' own motion adds. */
static void NAME(pixel_segment)(void *context, int64_t segment, int slot)
{
    (void)slot;
    const image_work *image = context;
    double (*sums)[4] = image->partial + (size_t)segment * image->rows;
    memset(sums, 0, (size_t)image->rows * sizeof *sums);
    TILE tile;
    double total[3][G2S_TILE], pulled = 0.0;
    for (int64_t start = segment_start(image, segment); start < segment_start(image, segment + 1); start += G2S_TILE) {
        const int n = tile_size(image, start);
        const int32_t *dense = image->labels.dense + start;
        NAME(load)(image, start, n, tile.color);
        for (int i = 0; i < n; i++)
            tile.id[i] = dense[i];
        NAME(pad_tile)(&tile, n);
        NAME(push_tile)(image, &tile, image->sources, 1, image->last, sums, total);
        pulled += NAME(pull_tile)(image, &tile, dense, n, sums, total);
        if (image->grad)
            NAME(store_tile)(image, start, n, total);
    }
    image->pulled[segment] = pulled;
}

/* Phase 4: a mean moves with each of its pixels. */
static void NAME(finish_segment)(void *context, int64_t segment, int slot)
{
    (void)slot;
    const image_work *image = context;
    const int32_t *index = image->labels.index;
    const int64_t end = segment_start(image, segment + 1);
    for (int c = 0; c < 3; c++) {
        REAL *grad = (REAL *)image->grad + c * image->in->pixels;
        for (int64_t i = segment_start(image, segment); i < end; i++) {
            REAL *here = grad + (index ? index[i] : i);
            *here = (REAL)(((double)*here + image->mean_grad[image->labels.dense[i]][c]) * image->grad_scale);
        }
    }
}

/* The means as REAL in two parts, with the weight of their push; rows of padding weigh nothing. */
static int NAME(fill_sources)(image_work *image, SOURCES *sources)
{
    const size_t rows = (size_t)image->rows;
    REAL *memory = calloc(7 * rows, sizeof *memory);
    image->source_memory = memory;
    if (!memory)
        return 0;
    for (int c = 0; c < 3; c++) {
        sources->high[c] = memory + c * rows;
        sources->low[c] = memory + (3 + c) * rows;
    }
    sources->weight = memory + 6 * rows;
    for (int k = 1; k <= image->labels.instances; k++) {
        for (int c = 0; c < 3; c++) {
            sources->high[c][k] = (REAL)image->mean[k][c];
            sources->low[c][k] = (REAL)(image->mean[k][c] - (double)sources->high[c][k]);
        }
        sources->weight[k] = (REAL)image->push[k];
    }
    image->sources = sources;
    return 1;
}
