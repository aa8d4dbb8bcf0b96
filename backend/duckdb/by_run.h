/* backend/duckdb/by_run.h: whether a fragment may be computed run by run (fragment.sql_by_run).
 *
 * Runs of a series must be brought together where a window sees samples of two: a table with a state for each series,
 * which for many short series costs more than their windows. No window does
 *
 *   of samples   if all that a source reads are chunks of one partition, of which a series has one;
 *   of rollups   if all that it reads are rollups, each window lies in the span of one row, and no sample lies on the
 *                border of two spans: such a one is the last of a window of the first row, and stands in the second.
 *
 * Both are looked for in the tables, in the transaction that then reads them: recent rows of a batch that is being
 * committed, which may be seen from one moment to the next (schema.h), are not read by run.
 *
 * Threads  any; connections are used by one thread at a time. Who calls has entered the catalogue.
 */
#ifndef PROMSPLIT_BACKEND_DUCKDB_BY_RUN_H
#define PROMSPLIT_BACKEND_DUCKDB_BY_RUN_H

#include "backend/duckdb/engine.h"
#include "planner/fragment.h"

struct duckdb_store;

/* In a transaction begun by schema_begin_reading. Of few series it is not asked, and not so: the question takes as long
 * as some thousand of them. */
MUST_USE enum status by_run_ask(struct duckdb_store *store, struct connection *connection,
                                const struct fragment *fragment, struct cancel *cancel, bool *ret_by_run,
                                struct error *reterr);

#endif
