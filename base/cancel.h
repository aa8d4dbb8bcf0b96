/* base/cancel.h: one flag and one deadline that stop all work done for a query, wherever it runs.
 *
 * Work checks cancel_check between pieces. Work that sits inside an engine registers a hook, which is called once, on
 * the cancelling thread, to interrupt it; the hook must be quick and must not call back into this module. A hook is
 * never called after cancel_clear_hook returned. Several hooks (fragments running side by side) may be set at a time.
 *
 * Threads: every function may be called from any thread. Times are CLOCK_MONOTONIC milliseconds (monotonic_ms).
 */
#ifndef PROMSPLIT_BASE_CANCEL_H
#define PROMSPLIT_BASE_CANCEL_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>

#include "base/error.h"

struct cancel_hook {
    void (*interrupt)(void *arg);
    void *arg;
    struct cancel_hook *next; /* set by this module */
};

struct cancel {
    _Atomic int status;   /* OK, or E_CANCELED / E_TIMEOUT once fired */
    int64_t deadline_ms;  /* monotonic; INT64_MAX: none. Fixed at init. */
    pthread_mutex_t lock; /* guards hooks; held while hooks run */
    struct cancel_hook *hooks;
};

void cancel_init(struct cancel *cancel, int64_t deadline_ms);
void cancel_release(struct cancel *cancel); /* no hook may be set */

/* Fires with E_CANCELED or E_TIMEOUT; the first caller's reason stays. Runs the hooks. */
void cancel_fire(struct cancel *cancel, enum status reason);

/* OK; or the reason it was fired; or E_TIMEOUT when the deadline has passed. NULL never stops. */
MUST_USE enum status cancel_check(const struct cancel *cancel, struct error *reterr);

/* Registers the caller's hook until cancel_clear_hook. If already fired, interrupts at once. */
void cancel_set_hook(struct cancel *cancel, struct cancel_hook *hook);
void cancel_clear_hook(struct cancel *cancel, struct cancel_hook *hook);

int64_t monotonic_ms(void);
int64_t wall_clock_ms(void); /* since the epoch */

#endif
