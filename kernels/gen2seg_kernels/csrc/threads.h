/* A small pool of threads that the kernels share.
 *
 * Work is cut into numbered tasks by its size alone; the caller takes part, and threads that wake up in
 * time help. So a call never waits for a thread that has not begun, and results cannot depend on how many
 * threads there are. Python's side (threads.py) knows the environment variable; here 0 means one thread.
 */
#ifndef GEN2SEG_THREADS_H
#define GEN2SEG_THREADS_H

#include <stdint.h>

enum { G2S_MOST_THREADS = 64 };

/* One task. `slot` tells which of the threads at work runs it: 0..threads - 1, never two at a time in one
 * slot; slot 0 is the caller. */
typedef void (*g2s_task)(void *context, int64_t index, int slot);

/* Runs tasks 0..count - 1 on up to `threads` threads and returns when all are done. Any thread may call
 * it at any time, with the GIL released; while another caller has the pool, the tasks run on the caller alone.
 * Not from within a task. */
void g2s_run_tasks(int threads, int64_t count, g2s_task task, void *context);

#endif
