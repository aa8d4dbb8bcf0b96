/* frontend/progress.h: how far a long command came, on standard error: a bar on a terminal, else a line now and then.
 *
 * Threads: one.
 */
#ifndef PROMSPLIT_FRONTEND_PROGRESS_H
#define PROMSPLIT_FRONTEND_PROGRESS_H

#include <stdbool.h>
#include <stdint.h>

#include "base/strbuf.h"

struct progress {
    bool terminal;
    int64_t begun_ms, printed_ms; /* monotonic */
    double first_share;           /* where this run began */
    uint64_t samples_n;
    bool drawn; /* a bar is on the terminal's line */
};

void progress_begin(struct progress *progress, double share);
/* share: of all, 0 to 1; samples_n: since the beginning. Prints if it is time to. */
void progress_show(struct progress *progress, double share, uint64_t samples_n);
void progress_clear(struct progress *progress); /* before anything else is printed */

/* "1.25 M", "830"; a rate or a number of samples for people. */
void progress_number(struct strbuf *out, double number);
/* The line itself, `width` characters for the bar (0: none). */
void progress_print(struct strbuf *out, double share, double first_share, uint64_t samples_n, int64_t elapsed_ms,
                    unsigned width);

#endif
