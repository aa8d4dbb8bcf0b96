/* backend/duckdb/rollup_rows.h: what the files of rollups (rollup.h) have in common; nobody else includes it.
 *
 *   rollup_settings.c  which rollups there are: levels, series, the macros that fragments read
 *   rollup_make.c      rows made of chunks
 *   rollup.c           rows taken out, and what rollups alone tell of
 */
#ifndef PROMSPLIT_BACKEND_DUCKDB_ROLLUP_ROWS_H
#define PROMSPLIT_BACKEND_DUCKDB_ROLLUP_ROWS_H

#include "backend/duckdb/rollup.h"

#define FRESH_ROLLUPS "fresh_rollups" /* temporary: rows about to be stored */

#define ROLLUP_LISTS "ts, value, weight, sum_ts, sum_value, sum_weight"

/* What the table rolled says. */
struct rolled {
    bool is_on, selective; /* selective: not all series have rollups */
    int64_t until_ms, raw_from_ms;
};
MUST_USE enum status rolled_get(struct connection *connection, struct rolled *ret_rolled, struct error *reterr);
MUST_USE enum status rolled_set_until(struct connection *connection, int64_t until_ms, struct error *reterr);

/* How long the span of a row is. */
void rollup_write_span_length(struct sql *sql, const char *level);

/* "list_select(…) AS name" for all lists, of the places that are kept. */
void rollup_write_selected(struct sql *sql);

/* The rows of FRESH_ROLLUPS take the place of those of the same level, span and series. */
MUST_USE enum status rollup_replace(struct connection *connection, struct cancel *cancel, struct error *reterr);

#endif
