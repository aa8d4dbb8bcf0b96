/* frontend/pool.c: see pool.h.
 *
 * One lock, one condition, one list. Jobs of pool_continue go to the end of the same list; they only skip the limit, so
 * work already admitted never fails halfway.
 */
#include "frontend/pool.h"

#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "base/assert.h"
#include "base/priority.h"

struct job {
    void (*run)(void *arg);
    void *arg;
    struct job *next;
};

struct pool {
    char name[16]; /* what the system shows for the threads */
    pthread_mutex_t lock;
    pthread_cond_t work; /* a job came, or ending */
    struct job *first, **last;
    size_t queued, queue_max, busy, workers;
    bool ending, steps_behind;
    pthread_t threads[];
};

static struct job *take(struct pool *pool)
{
    struct job *job = pool->first;
    pool->first = job->next;
    if (!pool->first)
        pool->last = &pool->first;
    pool->queued--;
    return job;
}

static void *worker(void *arg)
{
    struct pool *pool = arg;
    if (pool->steps_behind)
        priority_step_behind(PRIORITY_WRITES);
    pthread_mutex_lock(&pool->lock);
    for (;;) {
        while (!pool->first && !pool->ending)
            pthread_cond_wait(&pool->work, &pool->lock);
        if (!pool->first)
            break; /* ending, and all jobs are done or running; a running job that continues here serves itself */
        struct job *job = take(pool);
        pool->busy++;
        pthread_mutex_unlock(&pool->lock);
        job->run(job->arg);
        free(job);
        pthread_mutex_lock(&pool->lock);
        pool->busy--;
    }
    pthread_mutex_unlock(&pool->lock);
    return NULL;
}

static void join(struct pool *pool)
{
    pthread_mutex_lock(&pool->lock);
    pool->ending = true;
    pthread_cond_broadcast(&pool->work);
    pthread_mutex_unlock(&pool->lock);
    for (size_t i = 0; i < pool->workers; i++)
        pthread_join(pool->threads[i], NULL);
    pthread_cond_destroy(&pool->work);
    pthread_mutex_destroy(&pool->lock);
    free(pool);
}

enum status pool_new(const struct pool_plan *plan, struct pool **ret_pool, struct error *reterr)
{
    PRE(plan->workers > 0 && plan->queue_max > 0);
    struct pool *pool = calloc(1, sizeof *pool + plan->workers * sizeof pool->threads[0]);
    if (!pool)
        return error_set(reterr, E_NOMEM, "no memory for %u workers of pool %s", plan->workers, plan->name);
    snprintf(pool->name, sizeof pool->name, "%s", plan->name);
    pool->steps_behind = plan->steps_behind;
    pthread_mutex_init(&pool->lock, NULL);
    pthread_cond_init(&pool->work, NULL);
    pool->last = &pool->first;
    pool->queue_max = plan->queue_max;
    for (; pool->workers < plan->workers; pool->workers++) {
        if (pthread_create(&pool->threads[pool->workers], NULL, worker, pool) != 0) {
            size_t started = pool->workers;
            join(pool);
            return error_set(reterr, E_NOMEM, "cannot start thread %zu of %u of pool %s", started + 1, plan->workers,
                             plan->name);
        }
        pthread_setname_np(pool->threads[pool->workers], pool->name);
    }
    *ret_pool = pool;
    return OK;
}

void pool_free(struct pool *pool)
{
    if (pool)
        join(pool);
}

static void append(struct pool *pool, struct job *job)
{
    *pool->last = job;
    pool->last = &job->next;
    pool->queued++;
    pthread_cond_signal(&pool->work);
}

enum status pool_submit(struct pool *pool, void (*run)(void *arg), void *arg, struct error *reterr)
{
    struct job *job = malloc(sizeof *job);
    if (!job)
        return error_set(reterr, E_NOMEM, "no memory for a job of pool %s", pool->name);
    *job = (struct job){.run = run, .arg = arg};
    pthread_mutex_lock(&pool->lock);
    bool room = pool->queued < pool->queue_max;
    if (room)
        append(pool, job);
    pthread_mutex_unlock(&pool->lock);
    if (room)
        return OK;
    free(job);
    return error_set(reterr, E_UNAVAILABLE, "too busy: %zu jobs wait for pool %s, at most %zu may", pool->queue_max,
                     pool->name, pool->queue_max);
}

void pool_continue(struct pool *pool, void (*run)(void *arg), void *arg)
{
    struct job *job;
    /* What was admitted must go on; memory comes back as other work ends. */
    while (!(job = malloc(sizeof *job)))
        nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
    *job = (struct job){.run = run, .arg = arg};
    pthread_mutex_lock(&pool->lock);
    append(pool, job);
    pthread_mutex_unlock(&pool->lock);
}

struct pool_stats pool_stats(struct pool *pool)
{
    pthread_mutex_lock(&pool->lock);
    struct pool_stats stats = {.workers = pool->workers, .busy = pool->busy, .queued = pool->queued};
    pthread_mutex_unlock(&pool->lock);
    return stats;
}
