/* Scratch memory that outlives a call, so that calls at one image size allocate nothing after the first. */
#ifndef GEN2SEG_ARENA_H
#define GEN2SEG_ARENA_H

#include <stddef.h>

typedef struct g2s_arena {
    char *memory;
    size_t size, used;
    struct g2s_arena *next;
} g2s_arena;

/* An arena of at least `size` bytes, this caller's until it is given back; NULL if memory is short. */
g2s_arena *g2s_arena_borrow(size_t size);
/* One of just this size, for what outlives the call. */
g2s_arena *g2s_arena_own(size_t size);
void g2s_arena_return(g2s_arena *arena);

/* The next `size` bytes at a multiple of 64, contents undefined. The sizes asked for, each rounded by
 * g2s_arena_bytes, may add up to what was borrowed. */
void *g2s_arena_take(g2s_arena *arena, size_t size);

static inline size_t g2s_arena_bytes(size_t size)
{
    return (size + 63) / 64 * 64;
}

#endif
