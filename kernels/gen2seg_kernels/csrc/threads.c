#define _GNU_SOURCE
#include "threads.h"

#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stddef.h>

/* `owner` is held by the caller whose job the pool works on; `guard` protects the rest. Workers live as long as
 * the process: there is nothing to release at its end. */
static struct {
    pthread_mutex_t owner, guard;
    pthread_cond_t work, done;
    int workers; /* started so far */
    int wanted;  /* more that may join the present job */
    int joined;  /* slots given out beside the caller's */
    int active;  /* workers inside the present job */
    g2s_task task;
    void *context;
    int64_t count;
    _Atomic int64_t next;
} pool = {
    .owner = PTHREAD_MUTEX_INITIALIZER,
    .guard = PTHREAD_MUTEX_INITIALIZER,
    .work = PTHREAD_COND_INITIALIZER,
    .done = PTHREAD_COND_INITIALIZER,
};

static pthread_once_t fork_handlers = PTHREAD_ONCE_INIT;

static void before_fork(void)
{
    pthread_mutex_lock(&pool.owner); /* no job is under way while the process is copied */
    pthread_mutex_lock(&pool.guard);
}

static void after_fork_in_parent(void)
{
    pthread_mutex_unlock(&pool.guard);
    pthread_mutex_unlock(&pool.owner);
}

static void after_fork_in_child(void)
{
    /* The workers stayed with the parent: the child starts its own when it needs them. */
    pthread_mutex_init(&pool.owner, NULL);
    pthread_mutex_init(&pool.guard, NULL);
    pthread_cond_init(&pool.work, NULL);
    pthread_cond_init(&pool.done, NULL);
    pool.workers = pool.wanted = pool.joined = pool.active = 0;
}

static void register_fork_handlers(void)
{
    pthread_atfork(before_fork, after_fork_in_parent, after_fork_in_child);
}

static void take_tasks(int slot)
{
    int64_t index;
    while ((index = atomic_fetch_add_explicit(&pool.next, 1, memory_order_relaxed)) < pool.count)
        pool.task(pool.context, index, slot);
}

static void *worker(void *unused)
{
    (void)unused;
    pthread_mutex_lock(&pool.guard);
    for (;;) {
        while (pool.wanted == 0)
            pthread_cond_wait(&pool.work, &pool.guard);
        pool.wanted--;
        pool.active++;
        const int slot = ++pool.joined;
        pthread_mutex_unlock(&pool.guard);
        take_tasks(slot);
        pthread_mutex_lock(&pool.guard);
        if (--pool.active == 0)
            pthread_cond_signal(&pool.done);
    }
    return NULL;
}

/* Starts workers until there are `needed`, or fewer where the system gives no more: the caller works anyway. */
static void start_workers(int needed)
{
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before); /* signals belong to Python's threads */
    while (pool.workers < needed) {
        pthread_t thread;
        if (pthread_create(&thread, NULL, worker, NULL) != 0)
            break;
        pthread_detach(thread);
        pool.workers++;
    }
    pthread_sigmask(SIG_SETMASK, &before, NULL);
}

void g2s_run_tasks(int threads, int64_t count, g2s_task task, void *context)
{
    if (threads > G2S_MOST_THREADS)
        threads = G2S_MOST_THREADS;
    if (threads > count)
        threads = (int)count;
    pthread_once(&fork_handlers, register_fork_handlers);
    if (threads < 2 || pthread_mutex_trylock(&pool.owner) != 0) {
        for (int64_t index = 0; index < count; index++)
            task(context, index, 0);
        return;
    }
    pthread_mutex_lock(&pool.guard);
    start_workers(threads - 1);
    pool.task = task;
    pool.context = context;
    pool.count = count;
    atomic_store(&pool.next, 0);
    pool.joined = 0;
    pool.wanted = threads - 1 < pool.workers ? threads - 1 : pool.workers;
    if (pool.wanted == 1)
        pthread_cond_signal(&pool.work);
    else
        pthread_cond_broadcast(&pool.work);
    pthread_mutex_unlock(&pool.guard);

    take_tasks(0);

    pthread_mutex_lock(&pool.guard);
    pool.wanted = 0; /* who has not begun need not */
    while (pool.active > 0)
        pthread_cond_wait(&pool.done, &pool.guard);
    pthread_mutex_unlock(&pool.guard);
    pthread_mutex_unlock(&pool.owner);
}
