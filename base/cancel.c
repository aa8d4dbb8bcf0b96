/* base/cancel.c: see cancel.h. */
#include "base/cancel.h"

#include <time.h>

#include "base/assert.h"

static int64_t clock_ms(clockid_t id)
{
    struct timespec now;
    clock_gettime(id, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

int64_t monotonic_ms(void)
{
    return clock_ms(CLOCK_MONOTONIC);
}
int64_t wall_clock_ms(void)
{
    return clock_ms(CLOCK_REALTIME);
}

void cancel_init(struct cancel *cancel, int64_t deadline_ms)
{
    atomic_init(&cancel->status, OK);
    cancel->deadline_ms = deadline_ms;
    cancel->hooks = NULL;
    pthread_mutex_init(&cancel->lock, NULL);
}

void cancel_release(struct cancel *cancel)
{
    PRE(!cancel->hooks);
    pthread_mutex_destroy(&cancel->lock);
}

void cancel_fire(struct cancel *cancel, enum status reason)
{
    PRE(reason == E_CANCELED || reason == E_TIMEOUT);
    int expected = OK;
    if (!atomic_compare_exchange_strong(&cancel->status, &expected, (int)reason))
        return;
    pthread_mutex_lock(&cancel->lock);
    for (struct cancel_hook *hook = cancel->hooks; hook; hook = hook->next)
        hook->interrupt(hook->arg);
    pthread_mutex_unlock(&cancel->lock);
}

enum status cancel_check(const struct cancel *cancel, struct error *reterr)
{
    if (!cancel)
        return OK;
    int status = atomic_load_explicit(&cancel->status, memory_order_relaxed);
    if (status == OK && cancel->deadline_ms != INT64_MAX && monotonic_ms() >= cancel->deadline_ms)
        status = E_TIMEOUT;
    if (status == E_TIMEOUT)
        return error_set(reterr, E_TIMEOUT, "query timed out in expression evaluation");
    if (status != OK)
        return error_set(reterr, E_CANCELED, "query was canceled in expression evaluation");
    return OK;
}

void cancel_set_hook(struct cancel *cancel, struct cancel_hook *hook)
{
    pthread_mutex_lock(&cancel->lock);
    hook->next = cancel->hooks;
    cancel->hooks = hook;
    if (atomic_load(&cancel->status) != OK)
        hook->interrupt(hook->arg);
    pthread_mutex_unlock(&cancel->lock);
}

void cancel_clear_hook(struct cancel *cancel, struct cancel_hook *hook)
{
    pthread_mutex_lock(&cancel->lock);
    struct cancel_hook **at = &cancel->hooks;
    while (*at && *at != hook)
        at = &(*at)->next;
    PRE(*at == hook);
    *at = hook->next;
    pthread_mutex_unlock(&cancel->lock);
}
