/* A picture of colours as leaves and the tree of their merging; instances/reference.py is the readable form. */
#ifndef GEN2SEG_INSTANCES_H
#define GEN2SEG_INSTANCES_H

#include <stdint.h>

typedef struct {
    const uint8_t *colors; /* (height, width, 3) */
    int64_t height, width; /* height * width < 2^31 - 1 */
} g2s_picture;

/* Smoothed colours in sixteenths: (height, width, 3), weights 1 2 1 along both axes, the frame repeated. */
void g2s_smooth(const g2s_picture *picture, uint16_t *smooth);

/* Cuts the picture into connected leaves of at least `least` pixels, numbered by their first pixels. Writes
 * labels (height, width); returns how many there are, or -1 where memory runs out. */
int64_t g2s_leaves(const g2s_picture *picture, int64_t least, int32_t *labels);

/* How leaves merge. Nodes 0..leaves - 1 are the leaves, later ones the merges in their order. */
typedef struct {
    g2s_picture picture;
    const int32_t *labels; /* (height, width), 0..leaves - 1 */
    int64_t leaves;
    double distance;       /* the cut, in units of colour */
    int64_t least_area;    /* of a region at the cut */
    double background;     /* a region with a mean colour of at most this norm may be a hole; negative: none */
    int64_t largest_hole;  /* pixels; what is enclosed by one region and no larger becomes part of it */
    /* Out, each for 2 * leaves - 1 nodes but `child`, for leaves - 1 merges. */
    int32_t *child;         /* [2], the lower node first */
    int32_t *begin;         /* place of the node's first leaf when leaves are ordered by the tree */
    int32_t *count;         /* leaves in it */
    int64_t *area;          /* pixels */
    int64_t *color;         /* [3], sums */
    double *birth;          /* strongest step merged within, in units of colour; 0 for a leaf */
    int64_t *outline;       /* [2], pixel pairs along its outline, and their steps added up, in sixteenths */
    int64_t merges, cut;    /* merges in all, leaves - 1, and those of the regions at the cut */
} g2s_tree;

/* 0, or -1 where memory runs out. */
int g2s_merge(g2s_tree *tree);

#endif
