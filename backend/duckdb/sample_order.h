/* backend/duckdb/sample_order.h: samples of one series put in the order of time. They nearly always are, or are a few
 * ascents one behind the other: one for each thread of the engine that read some.
 *
 * Threads: pure functions.
 */
#ifndef PROMSPLIT_BACKEND_DUCKDB_SAMPLE_ORDER_H
#define PROMSPLIT_BACKEND_DUCKDB_SAMPLE_ORDER_H

#include <stdbool.h>
#include <stddef.h>

#include "base/sample.h"

bool samples_ascend(const struct sample *samples, size_t n);

/* Of equal times the order stays. scratch: room for n. */
void samples_sort(struct sample *samples, size_t n, struct sample *scratch);

#endif
