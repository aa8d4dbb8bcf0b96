/* backend/duckdb/delete.c: deletes samples of chosen series in a span of time, at once and for good.
 *
 * What is deleted is what was committed when the call began; samples that come while it runs stay. Chunks inside the
 * span go; those that reach over its ends are written anew without what lies in it, so that each still has all samples
 * of its series from tmin to tmax, and a series still has one chunk in a partition. As with a move, the new chunks
 * count once `moved` has their number (schema.h). Of samples that are gone and rollups alone tell of, whole buckets go,
 * of the longest level, at every level: they have no parts, and levels must not answer differently. All is one
 * transaction of removal.h.
 */
#include <unistd.h>

#include "backend/duckdb/matching.h"
#include "backend/duckdb/partition.h"
#include "backend/duckdb/removal.h"
#include "backend/duckdb/schema.h"
#include "base/assert.h"

#define NAP_US 5000

static void write_inside(struct sql *sql, struct time_span span)
{
    sql_between(sql, "tmin", span);
    sql_words(sql, " AND ");
    sql_between(sql, "tmax", span);
}

static void write_is_doomed(struct sql *sql)
{
    sql_words(sql, " AND series IN (SELECT series FROM " REMOVAL_DOOMED ")");
}

/* The condition on series to match any of the query's selectors. */
static void write_chosen(struct sql *sql, const struct series_query *query)
{
    for (size_t i = 0; i < query->selectors_n; i++) {
        sql_words(sql, i ? " OR series IN (" : "(series IN (");
        sql_series_matching(sql, query->selectors[i].matchers, query->selectors[i].matchers_n, query->span);
        sql_words(sql, ")");
    }
    sql_words(sql, query->selectors_n ? ")" : "true");
}

static enum status doom(struct removal *r, const struct series_query *query, struct error *reterr)
{
    struct sql sql;
    sql_init(&sql, SQL_BYTES_MAX);
    sql_words(&sql, "SELECT series, sum(n)::BIGINT AS n FROM (SELECT series, n FROM (");
    schema_counts(&sql, query->span, r->batch);
    sql_words(&sql, " UNION ALL ");
    schema_histograms(&sql, "series, 1 AS n", query->span, r->batch);
    sql_words(&sql, ") WHERE n > 0");
    if (rollup_may_outlive(r->store)) {
        sql_words(&sql, " UNION ALL SELECT series, 0 FROM (");
        rollup_write_alone(&sql, r->store->rollups.coarsest_ms, query->span);
        sql_words(&sql, ")");
    }
    sql_words(&sql, ") WHERE ");
    write_chosen(&sql, query);
    sql_words(&sql, " GROUP BY series");
    return removal_doom(r, &sql, reterr);
}

/* Of the chunks over the span's ends, those that lose something: what they keep takes their place. */
static enum status cut_ends(struct removal *r, struct time_span span, struct error *reterr)
{
    struct sql sql;
    sql_init(&sql, SQL_BYTES_MAX);
    sql_words(&sql, "CREATE OR REPLACE TEMP TABLE " FRESH_CHUNKS
                    " AS SELECT metric, series, ts[1] AS tmin, ts[-1] AS tmax, len(ts) AS n, prom_pace(ts) AS pace, "
                    "prom_drift(ts, pace) AS drift, value, replaces FROM "
                    "(SELECT metric, series, tmin AS replaces, list_select(ts, kept) AS ts, "
                    "list_select(value, kept) AS value FROM (SELECT metric, series, tmin, ts, value, n, "
                    "list_filter(range(1, n::BIGINT + 1), lambda i: NOT (");
    sql_between(&sql, "ts[i]", span);
    sql_words(&sql, ")) AS kept FROM chunks() WHERE ");
    sql_meets(&sql, span);
    sql_words(&sql, " AND NOT (");
    write_inside(&sql, span);
    sql_words(&sql, ")");
    write_is_doomed(&sql);
    sql_words(&sql, ") WHERE len(kept) < n)");
    struct time_span partitions = partitions_span(partition_of(span.min_ms), partition_of(span.max_ms));
    enum status status = removal_change(r, &sql, NULL, reterr);
    if (status == OK)
        status = rollup_cut(r->connection, REMOVAL_DOOMED, span, r->cancel, reterr);
    if (status == OK)
        status = rollup_follow(&r->store->rollups, r->connection, FRESH_RUNS, partitions, r->cancel, reterr);
    return status == OK ? chunks_replace(r->connection, partitions, r->cancel, reterr) : status;
}

static enum status delete_inside(struct removal *r, struct time_span span, struct error *reterr)
{
    struct sql sql;
    sql_init(&sql, SQL_BYTES_MAX);
    sql_words(&sql, "DELETE FROM stored_chunks WHERE ");
    write_inside(&sql, span);
    write_is_doomed(&sql);
    return removal_change(r, &sql, NULL, reterr);
}

/* Of a table whose rows have a time and a batch. */
static void write_doomed_rows(struct sql *sql, const struct removal *r, struct time_span span)
{
    sql_between(sql, "ts", span);
    sql_words(sql, " AND ");
    schema_within(sql, r->batch);
    write_is_doomed(sql);
}

static enum status delete_recent(struct removal *r, struct time_span span, struct error *reterr)
{
    struct sql sql;
    sql_init(&sql, SQL_BYTES_MAX);
    sql_words(&sql, "DELETE FROM recent WHERE ");
    write_doomed_rows(&sql, r, span);
    return removal_change(r, &sql, &r->recent_n, reterr);
}

static enum status delete_histograms(struct removal *r, struct time_span span, struct error *reterr)
{
    struct sql condition;
    sql_init(&condition, SQL_BYTES_MAX);
    write_doomed_rows(&condition, r, span);
    return removal_delete_histograms(r, &condition, reterr);
}

static enum status take_out(struct removal *r, const struct series_query *query, struct error *reterr)
{
    struct series_query touched = *query; /* no sample lies in what is more */
    enum status status = rollup_touched(&r->store->rollups, r->connection, query->span, &touched.span, reterr);
    r->cut_ms = touched.span.min_ms;
    if (status == OK)
        status = doom(r, &touched, reterr);
    if (status != OK || r->doomed_n == 0)
        return status;
    status = delete_inside(r, touched.span, reterr);
    if (status == OK)
        status = cut_ends(r, touched.span, reterr);
    if (status == OK)
        status = delete_recent(r, touched.span, reterr);
    return status == OK ? delete_histograms(r, touched.span, reterr) : status;
}

/* A move may be under way for seconds; the caller's patience is looked after meanwhile. */
static enum status wait_for_turn(struct compactor *c, struct cancel *cancel, struct error *reterr)
{
    enum status status;
    while ((status = cancel_check(cancel, reterr)) == OK && pthread_mutex_trylock(&c->running) != 0)
        usleep(NAP_US);
    return status;
}

enum status store_delete_series(struct backend *backend, const struct series_query *query, struct cancel *cancel,
                                uint64_t *ret_samples_n, struct error *reterr)
{
    struct duckdb_store *store = store_of(backend);
    struct compactor *c = &store->compactor;
    struct removal removal;
    PRE(query->limit == 0);
    enum status status = OK;
    for (size_t i = 0; status == OK && i < query->selectors_n; i++)
        status = match_check(&store->regex, query->selectors[i].matchers, query->selectors[i].matchers_n, reterr);
    if (status == OK)
        status = wait_for_turn(c, cancel, reterr);
    if (status != OK)
        return status;
    status = removal_begin(&removal, store, cancel, reterr);
    if (status == OK)
        status = removal_end(&removal, take_out(&removal, query, reterr), reterr);
    if (status == OK && removal.doomed_n > 0) {
        retention_look_again(store);
        compactor_checkpoint(store);
        status = rollup_look(&store->rollups, c->connection, reterr);
    }
    pthread_mutex_unlock(&c->running);
    if (status == OK)
        *ret_samples_n = removal.samples_n;
    return status;
}
