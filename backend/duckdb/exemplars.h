/* backend/duckdb/exemplars.h: exemplars in memory (exemplar_ring.h) and, so that a restart loses none, in the table
 * `exemplars`.
 *
 * A row is written by the transaction that brings its exemplar. Rows that made way are deleted by a later one, when
 * there are enough of them to be worth it, or when the store is opened.
 *
 * Threads  queries from any thread; all else under the backend's writer lock.
 */
#ifndef PROMSPLIT_BACKEND_DUCKDB_EXEMPLARS_H
#define PROMSPLIT_BACKEND_DUCKDB_EXEMPLARS_H

#include "backend/duckdb/engine.h"
#include "backend/exemplar_ring.h"

struct exemplar_table {
    struct exemplar_ring *ring;
    uint64_t oldest; /* number of the oldest row, or less */
};

/* max: kept at most. Deletes rows beyond that; with 0 none is taken or shown, and the table is left alone. */
MUST_USE enum status exemplars_load(struct exemplar_table *table, struct connection *connection, size_t max,
                                    struct error *reterr);
void exemplars_release(struct exemplar_table *table); /* a zeroed one is fine */

/* Writes what is staged in the ring, in the connection's transaction. */
MUST_USE enum status exemplars_write(const struct exemplar_table *table, struct connection *connection,
                                     struct error *reterr);
void exemplars_keep(struct exemplar_table *table); /* after the commit */

/* Whether the first of those staged has a row; *ret_is false if there is none. */
MUST_USE enum status exemplars_are_stored(const struct exemplar_table *table, struct connection *connection,
                                          bool *ret_are, struct error *reterr);

#endif
