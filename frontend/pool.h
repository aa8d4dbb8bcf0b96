/* frontend/pool.h: a fixed set of workers behind a bounded queue.
 *
 * No job may wait for another job of the same pool: a job that needs something later hands itself on (a callback,
 * another pool) and returns. docs/architecture.md has the map of pools; the rule is what keeps callbacks from starving.
 *
 * Threads  pool_submit from any thread. pool_free waits for queued and running jobs ("drain").
 * Errors   pool_submit: E_UNAVAILABLE when the queue is full, naming its limit.
 */
#ifndef PROMSPLIT_FRONTEND_POOL_H
#define PROMSPLIT_FRONTEND_POOL_H

#include <stdbool.h>
#include <stddef.h>

#include "base/error.h"

struct pool;

struct pool_stats {
    size_t workers, busy, queued;
};

struct pool_plan {
    const char *name; /* also the threads' */
    unsigned workers;
    size_t queue_max;
    bool steps_behind; /* its threads leave processors to others that want them (base/priority.h) */
};

MUST_USE enum status pool_new(const struct pool_plan *plan, struct pool **ret_pool, struct error *reterr);
void pool_free(struct pool *pool);
MUST_USE enum status pool_submit(struct pool *pool, void (*run)(void *arg), void *arg, struct error *reterr);
/* Jobs that continue something already admitted: never refused, whatever the queue's length. */
void pool_continue(struct pool *pool, void (*run)(void *arg), void *arg);
struct pool_stats pool_stats(struct pool *pool);

#endif
