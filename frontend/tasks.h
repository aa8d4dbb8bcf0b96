/* frontend/tasks.h: the registry of tasks: fragments under unguessable TaskIDs, from their query's start to its end.
 *
 * A task belongs to one query; equal fragments of one query are one task already (planner/split.h). It may be read many
 * times. Its life:  WAITING -> RUNNING -> DONE | FAILED.  Eager dispatch starts it at registration, on-read dispatch
 * with its first read. A read that comes before the result is parked in the task, holding no thread, and continued on
 * POOL_CALLBACKS. A raw task has no result to wait for: each read opens its own cursor. The query learns at its end,
 * for every task: was it read, was every read answered in full, and the first failure.
 *
 * Memory   a task holds a reference on its query's plan memory until the last read ended; results are freed with the
 * task. Threads  any. Locks: the registry's, then the task's; never held while calling out. Errors   an unknown TaskID
 * is E_NOT_FOUND: ended, or asked of the wrong replica.
 */
#ifndef PROMSPLIT_FRONTEND_TASKS_H
#define PROMSPLIT_FRONTEND_TASKS_H

#include "backend/backend.h"
#include "base/cancel.h"
#include "planner/fragment.h"

#define TASK_ID_LENGTH 26 /* 128 random bits in Crockford's base 32 */

struct app;
struct tasks;
struct task;

/* What became of a task, for the query that owns it. */
struct task_outcome {
    uint64_t reads;          /* begun */
    uint64_t reads_complete; /* answered in full, last byte handed to the socket */
    struct error failure;    /* the first failure of running or reading; status OK if none */
};

MUST_USE enum status tasks_new(struct app *app, size_t tasks_max, struct tasks **ret_tasks, struct error *reterr);
void tasks_free(struct tasks *tasks); /* no task may be left */

/* Registers a fragment; `cancel` is its query's. `done` (may be NULL) is called once the result is there or failed, on
 * an engine worker. E_LIMIT when tasks_max are registered. */
MUST_USE enum status task_register(struct tasks *tasks, const struct fragment *fragment, struct cancel *cancel,
                                   void (*done)(void *arg), void *arg, struct task **ret_task, struct error *reterr);
struct str task_id(const struct task *task);
void task_start(struct task *task); /* runs it if it did not run yet: eager dispatch, direct answers */

/* The result of a task that is DONE, else NULL with the failure; valid until task_end. */
const struct grid_result *task_result(const struct task *task, struct error *reterr);
struct task_outcome task_outcome(struct task *task);

/* Takes the task out of the registry. Reads under way are cut off through the query's cancel before; returns when none
 * is left holding it is not needed: the last reader frees it. */
void task_end(struct task *task);

/* POST /api/v1/read: the callbacks of task selectors and plain remote reads. */
struct http_request;
void api_read(struct http_request *request);

size_t tasks_count(struct tasks *tasks);

#endif
