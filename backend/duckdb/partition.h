/* backend/duckdb/partition.h: the parts that time is cut into: chunks lie in one each, retention drops them whole.
 *
 * Part number p holds the times with time_ms / PARTITION_MS == p, as C and the engine's // divide: towards zero. So
 * number 0 is twice as long as the others, and parts of negative numbers begin a millisecond late.
 */
#ifndef PROMSPLIT_BACKEND_DUCKDB_PARTITION_H
#define PROMSPLIT_BACKEND_DUCKDB_PARTITION_H

#include <stdint.h>

#include "planner/fragment.h"
#include "planner/sql.h"

/* Prometheus's blocks are as long: at the usual 15 s a chunk has 480 samples, enough that its row costs nothing beside
 * them, few enough that a query for the last minutes reads little that it does not want. */
#define PARTITION_MS INT64_C(7200000)

static inline int64_t partition_of(int64_t time_ms)
{
    return time_ms / PARTITION_MS;
}

/* The number of the part that a column of times lies in. */
static inline void partition_write(struct sql *sql, const char *column)
{
    sql_words(sql, column);
    sql_words(sql, " // ");
    sql_i64(sql, PARTITION_MS);
}

/* From the beginning of one part to the end of another, or the same. */
static inline struct time_span partitions_span(int64_t first, int64_t last)
{
    struct time_span span = {first * PARTITION_MS, last * PARTITION_MS};
    if (first <= 0 && __builtin_sub_overflow(span.min_ms, PARTITION_MS - 1, &span.min_ms))
        span.min_ms = INT64_MIN;
    if (last >= 0 && __builtin_add_overflow(span.max_ms, PARTITION_MS - 1, &span.max_ms))
        span.max_ms = INT64_MAX;
    return span;
}

#endif
