/* backend/duckdb/sample_order.h: samples of one series put in the order of time. They nearly always are, or are a few
 * ascents one behind the other: one for each thread of the engine that read some.
 *
 * Threads: the caller's.
 */
#ifndef PROMSPLIT_BACKEND_DUCKDB_SAMPLE_ORDER_H
#define PROMSPLIT_BACKEND_DUCKDB_SAMPLE_ORDER_H

#include <stdbool.h>
#include <stddef.h>

#include "base/error.h"
#include "base/sample.h"

/* Of equal times the order stays. scratch: room for n. */
void samples_sort(struct sample *samples, size_t n, struct sample *scratch);

/* Memory for the next call; a zeroed one is fine, its `at` is to be freed. */
struct sample_scratch {
    struct sample *at;
    size_t n;
};

/* Sorts those that are not in order, with scratch of its own; false: no memory. */
MUST_USE bool samples_put_in_order(struct sample *samples, size_t n, struct sample_scratch *scratch);

#endif
