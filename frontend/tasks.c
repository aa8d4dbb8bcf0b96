/* frontend/tasks.c: see tasks.h.
 *
 * A task is counted by reference: its owner's until task_end, one per read, one while its run or its cancellation is
 * queued. What ends last frees it and tells the owner. The registry's lock guards the table only, a task's lock its own
 * state; they are never held together, except that a read takes its reference under the registry's lock.
 */
#include "frontend/tasks.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/random.h>

#include "base/assert.h"
#include "frontend/app.h"

#define BUCKETS_MAX ((size_t)1 << 16)

enum task_state {
    TASK_WAITING, /* nobody asked for its result yet; a raw task stays here */
    TASK_QUEUED,  /* for an engine worker */
    TASK_RUNNING,
    TASK_DONE,
    TASK_FAILED
};

struct task {
    struct tasks *registry;
    struct task *next; /* in its bucket; under the registry's lock */
    char id[TASK_ID_LENGTH + 1];
    const struct fragment *fragment; /* NULL: the result was known beforehand */
    struct task_owner owner;
    struct cancel_hook hook;
    atomic_bool interrupted; /* the hook ran: a cancel may call it twice */
    atomic_int references;

    pthread_mutex_t lock;
    enum task_state state;
    struct grid_result *result;
    struct task_outcome outcome;
    size_t sending;
    struct task_read *parked;
    void (*settled)(void *arg);
    void *settled_arg;
};

struct tasks {
    struct app *app;
    size_t tasks_max, tasks_n, buckets_n;
    pthread_mutex_t lock; /* guards the chains and tasks_n */
    struct task *buckets[];
};

enum status tasks_new(struct app *app, size_t tasks_max, struct tasks **ret_tasks, struct error *reterr)
{
    size_t buckets_n = 64;
    while (buckets_n < tasks_max && buckets_n < BUCKETS_MAX)
        buckets_n *= 2;
    struct tasks *tasks = calloc(1, sizeof *tasks + buckets_n * sizeof(struct task *));
    if (!tasks)
        return error_set(reterr, E_NOMEM, "no memory for the registry of %zu tasks", tasks_max);
    tasks->app = app;
    tasks->tasks_max = tasks_max;
    tasks->buckets_n = buckets_n;
    pthread_mutex_init(&tasks->lock, NULL);
    *ret_tasks = tasks;
    return OK;
}

void tasks_free(struct tasks *tasks)
{
    if (!tasks)
        return;
    PRE(tasks->tasks_n == 0);
    pthread_mutex_destroy(&tasks->lock);
    free(tasks);
}

size_t tasks_count(struct tasks *tasks)
{
    pthread_mutex_lock(&tasks->lock);
    size_t n = tasks->tasks_n;
    pthread_mutex_unlock(&tasks->lock);
    return n;
}

/* --- ids --- */

static enum status make_id(char id[TASK_ID_LENGTH + 1], struct error *reterr)
{
    static const char DIGITS[] = "0123456789ABCDEFGHJKMNPQRSTVWXYZ";
    unsigned char random[16];
    if (getrandom(random, sizeof random, 0) != (ssize_t)sizeof random)
        return error_set(reterr, E_INTERNAL, "the system gave no random numbers");
    unsigned bits = 0, bits_n = 2; /* 130 digits' bits for 128: two zeros in front */
    size_t next = 0;
    for (int i = 0; i < TASK_ID_LENGTH; i++) {
        if (bits_n < 5) {
            bits = bits << 8 | random[next++];
            bits_n += 8;
        }
        id[i] = DIGITS[bits >> (bits_n - 5) & 31];
        bits_n -= 5;
    }
    id[TASK_ID_LENGTH] = '\0';
    return OK;
}

/* FNV-1a: ids are random, any mixing spreads them. */
static size_t bucket_of(const struct tasks *tasks, struct str id)
{
    uint64_t hash = UINT64_C(14695981039346656037);
    for (size_t i = 0; i < id.len; i++)
        hash = (hash ^ (unsigned char)id.ptr[i]) * UINT64_C(1099511628211);
    return hash & (tasks->buckets_n - 1);
}

/* --- life --- */

static void task_ref(struct task *task)
{
    atomic_fetch_add(&task->references, 1);
}

static void task_unref(struct task *task)
{
    if (atomic_fetch_sub(&task->references, 1) != 1)
        return;
    struct task_owner owner = task->owner;
    grid_result_free(task->result);
    pthread_mutex_destroy(&task->lock);
    free(task);
    if (owner.released)
        owner.released(owner.arg);
}

static bool is_grid(const struct task *task)
{
    return !task->fragment || task->fragment->kind == FRAGMENT_GRID;
}

/* Wakes the parked reads and the owner after the task became DONE or FAILED. The lock is held and given back. */
static void settle_and_unlock(struct task *task)
{
    struct task_read *parked = task->parked;
    task->parked = NULL;
    pthread_mutex_unlock(&task->lock);
    struct app *app = task->registry->app;
    while (parked) {
        struct task_read *next = parked->next; /* the read may be gone once woken */
        pool_continue(app->pools[POOL_CALLBACKS], parked->wake, parked->arg);
        parked = next;
    }
    if (task->owner.done)
        task->owner.done(task->owner.arg);
}

/* On POOL_CALLBACKS: the query was cancelled. What runs is interrupted by the engine's own hook; what only waits for
 * an engine worker fails here, so that a query ends in time however long that queue is. Holds a reference. */
static void fail_waiting(void *arg)
{
    struct task *task = arg;
    pthread_mutex_lock(&task->lock);
    if (is_grid(task) && (task->state == TASK_WAITING || task->state == TASK_QUEUED)) {
        enum status status = cancel_check(task->owner.cancel, &task->outcome.failure);
        INVARIANT(status != OK);
        task->state = TASK_FAILED;
        settle_and_unlock(task);
    } else {
        pthread_mutex_unlock(&task->lock);
    }
    task_unref(task);
}

static void interrupt(void *arg)
{
    struct task *task = arg;
    if (atomic_exchange(&task->interrupted, true))
        return;
    task_ref(task);
    pool_continue(task->registry->app->pools[POOL_CALLBACKS], fail_waiting, task);
}

static enum status insert(struct tasks *tasks, struct task *task, struct error *reterr)
{
    size_t bucket = bucket_of(tasks, str_from(task->id));
    pthread_mutex_lock(&tasks->lock);
    bool room = tasks->tasks_n < tasks->tasks_max;
    if (room) {
        task->next = tasks->buckets[bucket];
        tasks->buckets[bucket] = task;
        tasks->tasks_n++;
        metric_set(tasks->app->metrics, METRIC_ID_tasks, (int64_t)tasks->tasks_n);
    }
    pthread_mutex_unlock(&tasks->lock);
    return room ? OK
                : error_set(reterr, E_LIMIT, "too many tasks: %zu are registered, --query.max-tasks allows %zu",
                            tasks->tasks_max, tasks->tasks_max);
}

static enum status add(struct tasks *tasks, const struct fragment *fragment, struct grid_result *result,
                       const struct task_owner *owner, struct task **ret_task, struct error *reterr)
{
    struct task *task = calloc(1, sizeof *task);
    if (!task)
        return error_set(reterr, E_NOMEM, "no memory for a task");
    task->registry = tasks;
    task->fragment = fragment;
    task->owner = *owner;
    task->hook = (struct cancel_hook){.interrupt = interrupt, .arg = task};
    atomic_init(&task->references, 1);
    pthread_mutex_init(&task->lock, NULL);
    task->state = result ? TASK_DONE : TASK_WAITING;
    enum status status = make_id(task->id, reterr);
    if (status == OK)
        status = insert(tasks, task, reterr);
    if (status != OK) {
        pthread_mutex_destroy(&task->lock);
        free(task);
        return status;
    }
    task->result = result;
    if (owner->cancel)
        cancel_set_hook(owner->cancel, &task->hook);
    *ret_task = task;
    return OK;
}

static const char *fragment_kind_text(const struct fragment *fragment)
{
    return fragment->kind == FRAGMENT_RAW ? "raw" : fragment->rollup_ms ? "rollup" : "grid";
}

enum status task_register(struct tasks *tasks, const struct fragment *fragment, const struct task_owner *owner,
                          struct task **ret_task, struct error *reterr)
{
    PRE(fragment && owner->cancel);
    enum status status = add(tasks, fragment, NULL, owner, ret_task, reterr);
    if (status == OK)
        metric_add(tasks->app->metrics, METRIC_ID_fragments, fragment_kind_text(fragment), 1);
    return status;
}

enum status task_register_result(struct tasks *tasks, struct grid_result *result, const struct task_owner *owner,
                                 struct task **ret_task, struct error *reterr)
{
    PRE(result);
    return add(tasks, NULL, result, owner, ret_task, reterr);
}

struct str task_id(const struct task *task)
{
    return (struct str){task->id, TASK_ID_LENGTH};
}

/* On an engine worker. Holds a reference. */
static void run(void *arg)
{
    struct task *task = arg;
    struct app *app = task->registry->app;
    pthread_mutex_lock(&task->lock);
    bool wanted = task->state == TASK_QUEUED;
    if (wanted)
        task->state = TASK_RUNNING;
    pthread_mutex_unlock(&task->lock);
    if (wanted) {
        struct grid_result *result = NULL;
        struct error error;
        struct run_limits limits = {.samples_max = (uint64_t)app->config.query_samples_max};
        int64_t begun_ms = monotonic_ms();
        enum status status = cancel_check(task->owner.cancel, &error);
        if (status == OK)
            status = app->backend->ops->run(app->backend, task->fragment, &limits, task->owner.cancel, &result, &error);
        int64_t took_ms = monotonic_ms() - begun_ms;
        metric_observe_ms(app->metrics, METRIC_ID_fragment_seconds, (double)took_ms);
        bool by_run = status == OK && result->by_run;
        if (by_run)
            metric_add(app->metrics, METRIC_ID_fragments_by_run, NULL, 1);
        if (status != OK && status != E_CANCELED) /* a query that ended wants no result; that is no failure */
            metric_add(app->metrics, METRIC_ID_task_failures, "engine", 1);
        pthread_mutex_lock(&task->lock);
        task->state = status == OK ? TASK_DONE : TASK_FAILED;
        task->result = status == OK ? result : NULL;
        task->outcome.rows = status == OK ? result->series_n : 0;
        task->outcome.took_ms = took_ms;
        task->outcome.by_run = by_run;
        if (status != OK)
            task->outcome.failure = error;
        settle_and_unlock(task);
    }
    task_unref(task);
}

void task_start(struct task *task)
{
    pthread_mutex_lock(&task->lock);
    bool start = is_grid(task) && task->state == TASK_WAITING;
    if (start) {
        task->state = TASK_QUEUED;
        task_ref(task);
    }
    pthread_mutex_unlock(&task->lock);
    /* Never refused: the number of tasks is bounded, and refusing one would fail a query that was admitted. */
    if (start)
        pool_continue(task->registry->app->pools[POOL_ENGINE], run, task);
}

const struct grid_result *task_result(struct task *task, struct error *reterr)
{
    pthread_mutex_lock(&task->lock);
    const struct grid_result *result = task->state == TASK_DONE ? task->result : NULL;
    if (!result && reterr && task->state == TASK_FAILED)
        *reterr = task->outcome.failure;
    else if (!result)
        error_set(reterr, E_INTERNAL, "the result of a task was asked for before it was there");
    pthread_mutex_unlock(&task->lock);
    return result;
}

struct task_outcome task_outcome(struct task *task)
{
    pthread_mutex_lock(&task->lock);
    struct task_outcome outcome = task->outcome;
    pthread_mutex_unlock(&task->lock);
    return outcome;
}

bool task_is_sending(struct task *task, void (*settled)(void *arg), void *arg)
{
    pthread_mutex_lock(&task->lock);
    bool sending = task->sending > 0;
    task->settled = sending ? settled : NULL;
    task->settled_arg = arg;
    pthread_mutex_unlock(&task->lock);
    return sending;
}

void task_end(struct task *task)
{
    struct tasks *tasks = task->registry;
    pthread_mutex_lock(&tasks->lock);
    struct task **at = &tasks->buckets[bucket_of(tasks, task_id(task))];
    while (*at != task)
        at = &(*at)->next;
    *at = task->next;
    tasks->tasks_n--;
    metric_set(tasks->app->metrics, METRIC_ID_tasks, (int64_t)tasks->tasks_n);
    pthread_mutex_unlock(&tasks->lock);
    if (task->owner.cancel)
        cancel_clear_hook(task->owner.cancel, &task->hook);
    task_unref(task);
}

/* --- reads --- */

enum status task_read_begin(struct tasks *tasks, struct str id, struct task_read *read, struct error *reterr)
{
    pthread_mutex_lock(&tasks->lock);
    struct task *task = tasks->buckets[bucket_of(tasks, id)];
    while (task && !str_eq(task_id(task), id))
        task = task->next;
    if (task)
        task_ref(task);
    pthread_mutex_unlock(&tasks->lock);
    if (!task)
        return error_set(reterr, E_NOT_FOUND,
                         "no such task: its query has ended, or this read reached another replica than the one that "
                         "runs the query");
    read->task = task;
    read->sending = false;
    read->next = NULL;
    read->rows = 0;
    read->begun_ms = monotonic_ms();
    pthread_mutex_lock(&task->lock);
    task->outcome.reads++;
    pthread_mutex_unlock(&task->lock);
    metric_add(tasks->app->metrics, METRIC_ID_task_reads, NULL, 1);
    task_start(task);
    return OK;
}

const struct fragment *task_read_fragment(const struct task_read *read)
{
    return read->task->fragment;
}

struct cancel *task_read_cancel(const struct task_read *read)
{
    return read->task->owner.cancel;
}

bool task_read_ready(struct task_read *read)
{
    struct task *task = read->task;
    pthread_mutex_lock(&task->lock);
    bool ready = !is_grid(task) || task->state == TASK_DONE || task->state == TASK_FAILED;
    if (!ready) {
        read->next = task->parked;
        task->parked = read;
    }
    pthread_mutex_unlock(&task->lock);
    return ready;
}

const struct grid_result *task_read_result(struct task_read *read, struct error *reterr)
{
    const struct grid_result *result = task_result(read->task, reterr);
    if (result)
        task_read_sending(read);
    return result;
}

void task_read_sending(struct task_read *read)
{
    struct task *task = read->task;
    pthread_mutex_lock(&task->lock);
    if (!read->sending)
        task->sending++;
    read->sending = true;
    pthread_mutex_unlock(&task->lock);
}

void task_read_count(struct task_read *read, uint64_t samples_n)
{
    read->rows += samples_n;
}

void task_read_end(struct task_read *read, bool complete, const struct error *failure)
{
    struct task *task = read->task;
    void (*settled)(void *arg) = NULL;
    pthread_mutex_lock(&task->lock);
    task->outcome.reads_complete += complete;
    if (!is_grid(task)) {
        task->outcome.rows += read->rows;
        task->outcome.took_ms += monotonic_ms() - read->begun_ms;
    }
    if (failure && task->outcome.failure.status == OK)
        task->outcome.failure = *failure;
    if (read->sending && --task->sending == 0) {
        settled = task->settled;
        task->settled = NULL;
    }
    void *arg = task->settled_arg;
    pthread_mutex_unlock(&task->lock);
    if (failure)
        metric_add(task->registry->app->metrics, METRIC_ID_task_failures, "read", 1);
    read->task = NULL;
    if (settled)
        settled(arg);
    task_unref(task);
}
