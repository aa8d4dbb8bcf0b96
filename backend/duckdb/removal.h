/* backend/duckdb/removal.h: one transaction that takes samples out, and with them the series that have no others.
 *
 *   removal_begin   opens the transaction, on the compactor's connection
 *   removal_doom    names the series concerned and how many samples each will lose: none if rollups of it go
 *   removal_change  deletes, as often as it takes; only rows of recent and histograms up to `batch` (schema.h)
 *   removal_end     drops from the table series those that have none left, commits, and brings the catalogue and the
 *                   totals in step; or undoes everything
 *
 * "Every series has at least one sample, or rollups that outlive theirs" and "no sample lacks its series" hold before
 * and after, for every reader and after a crash, since all of it is one transaction. Appends run beside it but for its
 * last step: under the writer's lock a series is dropped only if no transaction later than `batch` wrote to it, so one
 * that came back stays, and one that comes back later is a new series.
 *
 * Threads  the caller holds compactor.running from before begin until after end: no move comes in between.
 */
#ifndef PROMSPLIT_BACKEND_DUCKDB_REMOVAL_H
#define PROMSPLIT_BACKEND_DUCKDB_REMOVAL_H

#include "backend/duckdb/store.h"

/* The table of series concerned: series UINTEGER, n BIGINT. */
#define REMOVAL_DOOMED "temp.main.doomed"

struct removal {
    struct duckdb_store *store;
    struct connection *connection;
    struct cancel *cancel;
    uint64_t batch;
    /* Set by the caller after begin. Either samples of the series concerned go from cut_ms on, while earlier ones stay;
     * or only such before old_ms do, of whatever series. The other one: INT64_MAX, INT64_MIN. */
    int64_t cut_ms, old_ms;
    uint64_t doomed_n;     /* series that were named */
    uint64_t samples_n;    /* of them all */
    uint64_t recent_n;     /* for the caller to count: of them in recent */
    uint64_t histograms_n; /* likewise: native histograms */
    uint64_t series_n;     /* set by removal_end: have none left */
    unsigned entered;      /* the catalogue, from begin to end */
};

MUST_USE enum status removal_begin(struct removal *removal, struct duckdb_store *store, struct cancel *cancel,
                                   struct error *reterr);

/* `chosen` selects series and n, each series once. Sets doomed_n and samples_n. */
MUST_USE enum status removal_doom(struct removal *removal, struct sql *chosen, struct error *reterr);

/* Runs a statement and releases it. *ret_rows_n (may be NULL): rows it changed. */
MUST_USE enum status removal_change(struct removal *removal, struct sql *sql, uint64_t *ret_rows_n,
                                    struct error *reterr);

/* Deletes the native histograms that `condition` chooses, and counts them; releases it. */
MUST_USE enum status removal_delete_histograms(struct removal *removal, struct sql *condition, struct error *reterr);

/* Commits if all went well so far and there is something to take out, else undoes; the first failure. */
MUST_USE enum status removal_end(struct removal *removal, enum status so_far, struct error *reterr);

#endif
