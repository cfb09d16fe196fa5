/* One-to-one matching of edge pixels with boundary pixels; boundary/reference.py is the readable form. */
#ifndef GEN2SEG_BOUNDARY_H
#define GEN2SEG_BOUNDARY_H

#include <stdint.h>

/* Rows are edge pixels, columns boundary pixels. `numbers` is the picture with a margin as wide as the longest reach:
 * -1, or the number of the boundary pixel there. `pixels` and `reach` are places in it and steps between places. */
typedef struct {
    const int64_t *pixels;  /* [rows], in the order of adding */
    int64_t rows;
    const int32_t *numbers;
    int64_t columns;
    const int64_t *reach;   /* [reaches], the nearest first */
    const double *distances; /* [reaches], pixels */
    int64_t reaches;
    const int64_t *ends;    /* [groups], rows added before each look at the matching */
    int64_t groups;
    double worth;           /* of a pair, before its distance */
    uint8_t *matched;       /* [groups, rows], out */
} g2s_boundary;

/* 0, or -1 where memory runs out. */
int g2s_boundary_match(const g2s_boundary *input);

#endif
