/* backend/fake/fake_backend.h: a backend for tests: a few series in memory, answers given by the test, faults on call.
 *
 * Samples come by append, as everywhere, with the same policy. run() knows no SQL: it answers with the series a test
 * has laid down for the fragment's PromQL text. Any call can be made to fail, or to hang until its query is cancelled.
 *
 * It keeps FAKE_EXEMPLARS_MAX exemplars. Regular expressions are POSIX extended ones, anchored: near enough to RE2 for
 * tests. Threads  as backend.h says; one lock around everything but hanging.
 */
#ifndef PROMSPLIT_BACKEND_FAKE_FAKE_BACKEND_H
#define PROMSPLIT_BACKEND_FAKE_FAKE_BACKEND_H

#include "backend/backend.h"

#define FAKE_EXEMPLARS_MAX 100

enum fake_call {
    FAKE_APPEND,
    FAKE_DELETE_SERIES,
    FAKE_RUN,
    FAKE_RAW_OPEN,
    FAKE_RAW_NEXT,
    FAKE_SERIES,
    FAKE_LABEL_NAMES,
    FAKE_LABEL_VALUES,
    FAKE_METADATA,
    FAKE_EXEMPLARS,
    FAKE_STATS,
    FAKE_CARDINALITY,
    FAKE_CALL_MAX
};

struct backend *fake_backend_new(void); /* close it with ops->close */

/* Adds a series to what run answers for this text; copied. present NULL: all steps. steps must be the grid's. A text
 * with no series laid down is answered with E_STORE; fake_answer_empty lays down the empty answer. */
void fake_answer(struct backend *backend, const char *promql, struct labels labels, const double *values,
                 const uint64_t *present, uint32_t steps);
void fake_answer_empty(struct backend *backend, const char *promql);

/* The nth call from now on (1: the next) fails with `status`; or hangs until its cancel stops it (append, metadata,
 * exemplars, stats and cardinality have none and cannot hang). */
void fake_fail(struct backend *backend, enum fake_call call, uint32_t nth, enum status status);
void fake_hang(struct backend *backend, enum fake_call call, uint32_t nth);

uint32_t fake_calls(struct backend *backend, enum fake_call call);   /* so far */
uint32_t fake_hanging(struct backend *backend, enum fake_call call); /* calls that hang right now */

#endif
