/* frontend/import_window.h: the windows of time in which servers and stores are read, one after the other.
 *
 * A window is two hours at first. One with few samples makes the next one twice as long, one that was too much for a
 * limit is tried again with half its length. Threads: plain data.
 */
#ifndef PROMSPLIT_FRONTEND_IMPORT_WINDOW_H
#define PROMSPLIT_FRONTEND_IMPORT_WINDOW_H

#include <stdbool.h>
#include <stdint.h>

#include "frontend/import_source.h"

#define IMPORT_WINDOW_MS     INT64_C(7200000)
#define IMPORT_WINDOW_MAX_MS (INT64_C(4096) * IMPORT_WINDOW_MS) /* a year, about */
#define IMPORT_WINDOW_FEW    UINT64_C(250000)                   /* samples */

struct import_window {
    struct time_span span; /* all of them together */
    int64_t next_ms;       /* the open window's begin; behind span.max_ms: there is none */
    int64_t length_ms;
    uint64_t samples_n; /* of the open window, so far */
};

static inline void import_window_init(struct import_window *window, struct time_span span,
                                      const struct import_place *from)
{
    int64_t begin_ms =
        from->at ? from->at : span.min_ms; /* no window ends at the beginning of the epoch, but for one */
    *window = (struct import_window){.span = span, .next_ms = begin_ms, .length_ms = IMPORT_WINDOW_MS};
}

/* There is nothing outside these times. */
static inline void import_window_clip(struct import_window *window, int64_t min_ms, int64_t max_ms)
{
    window->span.min_ms = window->span.min_ms < min_ms ? min_ms : window->span.min_ms;
    window->span.max_ms = window->span.max_ms > max_ms ? max_ms : window->span.max_ms;
    window->next_ms = window->next_ms < window->span.min_ms ? window->span.min_ms : window->next_ms;
}

static inline bool import_window_is_last(const struct import_window *window)
{
    return window->next_ms > window->span.max_ms;
}

/* Windows begin at multiples of two hours, but for the first. */
static inline struct time_span import_window_span(const struct import_window *window)
{
    int64_t first = window->next_ms, part = first % IMPORT_WINDOW_MS;
    part += part < 0 ? IMPORT_WINDOW_MS : 0;
    int64_t skew = window->length_ms >= IMPORT_WINDOW_MS ? part : 0;
    int64_t left = window->span.max_ms - first;
    int64_t length = window->length_ms - skew;
    return (struct time_span){first, left < length ? window->span.max_ms : first + length - 1};
}

static inline void import_window_end(struct import_window *window)
{
    window->next_ms = import_window_span(window).max_ms + 1;
    if (window->samples_n < IMPORT_WINDOW_FEW && window->length_ms < IMPORT_WINDOW_MAX_MS)
        window->length_ms *= 2;
    window->samples_n = 0;
}

/* The open window was too much: false if it cannot be any shorter. */
static inline bool import_window_shrink(struct import_window *window)
{
    if (window->length_ms <= 1000)
        return false;
    window->length_ms /= 2;
    window->samples_n = 0;
    return true;
}

static inline double import_window_share(const struct import_window *window)
{
    double all = (double)window->span.max_ms - (double)window->span.min_ms + 1;
    double done = (double)window->next_ms - (double)window->span.min_ms;
    return all > 0 && done < all ? done / all : 1;
}

#endif
