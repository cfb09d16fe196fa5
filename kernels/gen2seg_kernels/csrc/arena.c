#include "arena.h"

#include <assert.h>
#include <pthread.h>
#include <stdlib.h>

/* Larger ones, and what makes the kept ones more than MOST_IN_ALL, go back to the system at once: neither a huge image
 * nor many prepared ones may occupy memory for good. */
static const size_t MOST_KEPT = (size_t)64 << 20, MOST_IN_ALL = (size_t)256 << 20;
enum { MOST_ARENAS = 16 };

static struct {
    pthread_mutex_t guard;
    g2s_arena *first;
    int count;
    size_t bytes;
} kept = {.guard = PTHREAD_MUTEX_INITIALIZER};

static pthread_once_t fork_handlers = PTHREAD_ONCE_INIT;

static void before_fork(void)
{
    pthread_mutex_lock(&kept.guard);
}

static void after_fork(void)
{
    pthread_mutex_unlock(&kept.guard);
}

static void register_fork_handlers(void)
{
    pthread_atfork(before_fork, after_fork, after_fork);
}

static void release(g2s_arena *arena)
{
    free(arena->memory);
    free(arena);
}

/* The first kept arena that is large enough, else any: one too small is replaced, so sizes follow the images. */
static g2s_arena *take_kept(size_t size)
{
    pthread_mutex_lock(&kept.guard);
    g2s_arena **link = &kept.first;
    while (*link && (*link)->size < size && (*link)->next)
        link = &(*link)->next;
    g2s_arena *arena = *link;
    if (arena) {
        *link = arena->next;
        kept.count--;
        kept.bytes -= arena->size;
    }
    pthread_mutex_unlock(&kept.guard);
    return arena;
}

g2s_arena *g2s_arena_own(size_t size)
{
    pthread_once(&fork_handlers, register_fork_handlers);
    g2s_arena *arena = calloc(1, sizeof *arena);
    if (!arena)
        return NULL;
    arena->size = g2s_arena_bytes(size);
    if (posix_memalign((void **)&arena->memory, 64, arena->size) != 0) {
        free(arena);
        return NULL;
    }
    return arena;
}

g2s_arena *g2s_arena_borrow(size_t size)
{
    pthread_once(&fork_handlers, register_fork_handlers);
    g2s_arena *arena = take_kept(size);
    if (arena && arena->size < size) {
        release(arena);
        arena = NULL;
    }
    if (!arena)
        arena = g2s_arena_own(size);
    if (!arena)
        return NULL;
    arena->used = 0;
    return arena;
}

void g2s_arena_return(g2s_arena *arena)
{
    if (!arena)
        return;
    if (arena->size <= MOST_KEPT) {
        pthread_mutex_lock(&kept.guard);
        if (kept.count < MOST_ARENAS && kept.bytes + arena->size <= MOST_IN_ALL) {
            arena->next = kept.first;
            kept.first = arena;
            kept.count++;
            kept.bytes += arena->size;
            arena = NULL;
        }
        pthread_mutex_unlock(&kept.guard);
    }
    if (arena)
        release(arena);
}

void *g2s_arena_take(g2s_arena *arena, size_t size)
{
    void *start = arena->memory + arena->used;
    arena->used += g2s_arena_bytes(size);
    assert(arena->used <= arena->size);
    return start;
}
