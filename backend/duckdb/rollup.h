/* backend/duckdb/rollup.h: chunks thinned to buckets of a minute, five minutes or an hour (kernels/thin.h), stored
 * beside them, from which functions over windows of whole buckets follow exactly.
 *
 * One time, `until`, divides the store: chunks of earlier partitions have rollups, at every level, if the settings
 * choose their series; later ones have none yet, and are read as they are. At each commit the rollups are those of the
 * chunks then stored: who replaces or deletes chunks before `until` replaces or deletes their rollups in the same
 * transaction. Recent rows need no rollups: they are read as runs of one, wherever they lie, and continue the chunk of
 * their partition.
 *
 * Another time, `raw_from`, is the horizon: if rollups are kept longer than samples, samples before it are gone, and
 * rollups alone tell of them. It is a partition's beginning, not later than `until`, stored in the transaction that
 * takes the samples out. Nothing is written before it any more (retention_oldest_ms), so what lies there changes by
 * deletions only, by whole buckets of the longest level, and all levels alike.
 *
 * A row has the buckets of one series in a span of time, some partitions long (ROLLUP_SPAN_BUCKETS), so that there are
 * enough in it to be read fast.
 *
 * Which levels there are and which series have rollups is stored, too: commands that open the store for something else
 * keep them right without knowing. Without a row in the table rolled there are none, and nothing here does anything.
 *
 * Threads  the caller holds compactor.running, but for rollup_read. Connections are in a transaction, but for
 * rollup_init's and rollup_advance's. Who calls has entered the catalogue if it has settings that choose series; put
 * does it itself.
 */
#ifndef PROMSPLIT_BACKEND_DUCKDB_ROLLUP_H
#define PROMSPLIT_BACKEND_DUCKDB_ROLLUP_H

#include <stdatomic.h>

#include "backend/duckdb/catalogue.h"
#include "backend/duckdb/duckdb_backend.h"
#include "backend/duckdb/engine.h"
#include "planner/sql.h"

struct duckdb_store;

#define ROLLUP_SPAN_BUCKETS 24

/* How long the span of a row is. */
int64_t rollup_span_ms(int64_t level_ms);

#define ROLLUP_NEVER (-INT64_MAX) /* a time before all; unlike INT64_MIN it can be written as a number */

struct rollups {
    struct catalogue *catalogue;
    int64_t finest_ms, coarsest_ms; /* the levels there are; 0: none. Set by rollup_init */
    bool selective;                 /* not all series have rollups; so, too */
    _Atomic int64_t raw_from_ms;    /* samples before it are refused; ROLLUP_NEVER: none is */
    _Atomic int64_t oldest_ms;      /* the oldest sample that they tell of, when they were last made or taken out;
                                       INT64_MAX: there are none */
    _Atomic uint64_t rounds_n, failures_n, spent_us;
};

/* When the store is opened, before others use it. Settings other than the stored ones take effect, and what was made
 * under those goes; NULL: they stay. E_BAD_DATA if that would take out rollups that cannot be made again, or if they
 * are no longer to outlive their samples. */
MUST_USE enum status rollup_init(struct duckdb_store *store, const struct rollup_settings *settings,
                                 struct error *reterr);

/* Chunks take the place of others, and count once `moved` is counted up after this: makes the rollups of those that a
 * source has, a table or a query with the columns metric, series, tmin, ts and value. Their partitions lie in the span,
 * their series are committed. */
MUST_USE enum status rollup_follow(const struct rollups *rollups, struct connection *connection, const char *source,
                                   struct time_span partitions, struct cancel *cancel, struct error *reterr);

/* Chunks are about to be stored, of partitions from min_ms on, and of series that are not committed: what is made of
 * these and later partitions goes, and will be made anew. The caller counts `moved` up (chunks_replace does). */
MUST_USE enum status rollup_retreat(struct connection *connection, int64_t min_ms, struct error *reterr);

/* Takes out what lies in the span, of series that a table of numbers names. What is left of chunks that reach over the
 * span's ends must be made anew by rollup_follow. The caller counts `moved` up. */
MUST_USE enum status rollup_cut(struct connection *connection, const char *series_table, struct time_span span,
                                struct cancel *cancel, struct error *reterr);

/* Takes out what is older than until_ms, a partition's beginning, of series that `chosen` is a condition on, beginning
 * with AND; "": of all. Counts `moved` up. */
MUST_USE enum status rollup_forget(struct connection *connection, int64_t until_ms, const char *chosen,
                                   struct cancel *cancel, struct error *reterr);

/* Up to where all floats of which there are to be rollups are in chunks that have them, but for rows of batches after
 * this one: a partition's beginning. */
MUST_USE enum status rollup_settled(struct connection *connection, uint64_t batch, int64_t *ret_until_ms,
                                    struct error *reterr);

/* Samples before that time are about to be taken out: a partition's beginning, up to rollup_settled. */
MUST_USE enum status rollup_outlive(struct connection *connection, int64_t raw_from_ms, struct cancel *cancel,
                                    struct error *reterr);

/* The horizon is let go of if nothing lies behind it. */
MUST_USE enum status rollup_settle_horizon(struct duckdb_store *store, struct error *reterr);

/* The horizon as the connection sees it; ROLLUP_NEVER: nothing is behind one. */
MUST_USE enum status rollup_horizon(struct connection *connection, int64_t *ret_raw_from_ms, struct error *reterr);

/* The span, made longer to whole buckets of the longest level as far as it lies behind the horizon: what a deletion
 * takes out. */
MUST_USE enum status rollup_touched(const struct rollups *rollups, struct connection *connection, struct time_span span,
                                    struct time_span *ret_touched, struct error *reterr);

/* "SELECT series FROM …": those with buckets of that level, in the span, of samples that are gone; some more than
 * once. */
void rollup_write_alone(struct sql *sql, int64_t level_ms, struct time_span span);

/* "SELECT <columns> FROM …": the rows of the longest level that tell of samples that are gone, as the connection sees
 * it now. On failure nothing is written. */
MUST_USE enum status rollup_write_outliving(struct sql *sql, struct connection *connection, const char *columns,
                                            struct error *reterr);

/* Whether there are rollups, now or soon, that tell of samples that are gone. */
bool rollup_may_outlive(const struct duckdb_store *store);

/* Sets oldest_ms. */
MUST_USE enum status rollup_look(struct rollups *rollups, struct connection *connection, struct error *reterr);

/* Makes rollups of the chunks from `until` to limit_ms, a partition's beginning, in transactions of its own; stops
 * between them when others wait for compactor.running, with *ret_more. */
MUST_USE enum status rollup_advance(struct duckdb_store *store, int64_t limit_ms, bool *ret_more, struct error *reterr);

/* Lets statements of this transaction read rolled_edges, rolled_sums, and what these are made of. */
MUST_USE enum status rollup_read(struct connection *connection, struct error *reterr);

#endif
