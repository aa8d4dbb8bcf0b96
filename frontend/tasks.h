/* frontend/tasks.h: the registry of tasks: fragments under unguessable TaskIDs, from their query's start to its end.
 *
 * A task belongs to one query; equal fragments of one query are one task already (planner/split.h). It may be read many
 * times. Its life:  WAITING -> QUEUED -> RUNNING -> DONE | FAILED.  Eager dispatch starts it at registration, on-read
 * dispatch with its first read. A read that comes before the result is parked in the task, holding no thread, and
 * continued on POOL_CALLBACKS. A raw task has no result to wait for: each read opens its own cursor. The query learns
 * at its end, for every task: was it read, was every read answered in full, and the first failure.
 *
 * Memory   a task holds a reference on its query's plan memory until the last read ended; results are freed with the
 * task. Threads  any. Locks: the registry's, then the task's; never held while calling out. Errors   an unknown TaskID
 * is E_NOT_FOUND: ended, or asked of the wrong replica.
 */
#ifndef PROMSPLIT_FRONTEND_TASKS_H
#define PROMSPLIT_FRONTEND_TASKS_H

#include <stdbool.h>

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
    uint64_t rows;           /* a grid task: series of its result; a raw task: samples sent by all its reads */
    bool by_run;             /* a grid task: run as fragment.sql_by_run */
    int64_t took_ms;         /* a grid task: of its SQL; a raw task: of all its reads; 0 until it is over */
    struct error failure;    /* the first failure of running or reading; status OK if none */
};

/* Who wants the task. */
struct task_owner {
    struct cancel *cancel;       /* the query's; lives until `released` */
    void (*done)(void *arg);     /* may be NULL: called once when the result is there or failed, never under a lock */
    void (*released)(void *arg); /* may be NULL: called once after task_end, when no read holds the task any more; then
                                  * fragment, cancel and the plan's memory are needed no longer */
    void *arg;
};

MUST_USE enum status tasks_new(struct app *app, size_t tasks_max, struct tasks **ret_tasks, struct error *reterr);
void tasks_free(struct tasks *tasks); /* no task may be left; NULL is fine */

/* Registers a fragment. E_LIMIT when tasks_max are registered; on failure nothing of the owner is called. */
MUST_USE enum status task_register(struct tasks *tasks, const struct fragment *fragment, const struct task_owner *owner,
                                   struct task **ret_task, struct error *reterr);

/* A task whose result is known beforehand, for the probe: DONE at once. The result is moved in, on success only. */
MUST_USE enum status task_register_result(struct tasks *tasks, struct grid_result *result,
                                          const struct task_owner *owner, struct task **ret_task, struct error *reterr);

struct str task_id(const struct task *task);
void task_start(struct task *task); /* runs it if it did not run yet: eager dispatch, direct answers */

/* The result of a task that is DONE, else NULL with the failure; valid until task_end. */
const struct grid_result *task_result(struct task *task, struct error *reterr);
struct task_outcome task_outcome(struct task *task);

/* Whether an answer of this task is being sent right now. If so, `settled` is called once when none is any more:
 * upstream's answer may overtake the news that its last read has left. */
bool task_is_sending(struct task *task, void (*settled)(void *arg), void *arg);

/* Takes the task out of the registry: no read finds it any more. Reads under way go on until they end or their query's
 * cancel fires. The caller's pointer is gone after. */
void task_end(struct task *task);

/* --- the reader's side --- */

/* One read of a task, embedded in the reader's own object; the reader fills wake and arg. */
struct task_read {
    void (*wake)(void *arg); /* on POOL_CALLBACKS, once, after task_read_ready said no */
    void *arg;
    struct task *task;
    struct task_read *next; /* parked reads of the task */
    bool sending;
    uint64_t rows;
    int64_t begun_ms;
};

/* Begins a read: E_NOT_FOUND if there is no such task. Every begun read is ended with task_read_end. */
MUST_USE enum status task_read_begin(struct tasks *tasks, struct str id, struct task_read *read, struct error *reterr);
const struct fragment *task_read_fragment(const struct task_read *read); /* NULL: a task with a known result */
struct cancel *task_read_cancel(const struct task_read *read);           /* its query's */
/* Whether there is something to send: a raw task always, a grid task when DONE or FAILED; else the read is parked. */
bool task_read_ready(struct task_read *read);
/* Of a grid task that is ready; NULL with its failure. Valid until task_read_end. The read counts as sending. */
const struct grid_result *task_read_result(struct task_read *read, struct error *reterr);
void task_read_sending(struct task_read *read);                   /* the same mark for raw tasks */
void task_read_count(struct task_read *read, uint64_t samples_n); /* sent for a raw task, for its outcome */
/* complete: the last byte was handed to the socket. failure: why not, if it is the task's own or the read's fault. */
void task_read_end(struct task_read *read, bool complete, const struct error *failure);

/* POST /api/v1/read: the callbacks of task selectors and plain remote reads (api_read.c). */
struct http_request;
void api_read(struct http_request *request);

size_t tasks_count(struct tasks *tasks);

#endif
