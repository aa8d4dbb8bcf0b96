/* backend/duckdb/preload.c: the newest chunks are read once after a start, so that the first queries find them in
 * memory: reading the file, checking its sums and touching new memory takes as long as computing what was asked.
 *
 * Whole partitions, from the newest on, as many as fit in what the options allow by the bytes that a sample of this
 * store takes; none if not even that one does. The engine may let go of them like of all that it has read.
 */
#include "backend/duckdb/partition.h"
#include "backend/duckdb/store.h"

#define PARTITIONS_MAX 12 /* a day */

static int64_t first_of(int64_t last)
{
    return last < INT64_MIN + PARTITIONS_MAX ? INT64_MIN : last - PARTITIONS_MAX + 1;
}

static enum status samples_that_fit(struct duckdb_store *store, struct totals totals, int64_t *ret_n,
                                    struct error *reterr)
{
    uint64_t used_bytes;
    enum status status = engine_used_bytes(store->compactor.connection, &used_bytes, reterr);
    if (status == OK)
        *ret_n = (int64_t)((double)store->options.preload_bytes * (double)totals.samples_n / (double)(used_bytes + 1));
    return status;
}

/* The first of the partitions up to the last whose samples fit; beyond that one if there is none. */
static enum status choose(struct compactor *c, int64_t last, int64_t samples_n, int64_t *ret_first,
                          struct error *reterr)
{
    duckdb_result rows;
    enum status status = chunks_by_partition(c, partitions_span(first_of(last), last), &rows, reterr);
    if (status != OK)
        return status;
    *ret_first = INT64_MAX;
    for (idx_t i = duckdb_row_count(&rows); i-- > 0;) {
        samples_n -= duckdb_value_int64(&rows, 1, i);
        if (samples_n < 0)
            break;
        *ret_first = duckdb_value_int64(&rows, 0, i);
    }
    duckdb_destroy_result(&rows);
    return OK;
}

/* All columns that fragments read. */
static enum status read_chunks(struct compactor *c, struct time_span span, struct error *reterr)
{
    struct sql sql;
    duckdb_result rows;
    sql_init(&sql, SQL_BYTES_MAX);
    sql_words(&sql, "SELECT max(metric_key), max(metric), max(series), max(tmax), max(pace), max(len(drift)), "
                    "max(len(value)), max(move) FROM stored_chunks WHERE ");
    sql_between(&sql, "tmin", span);
    enum status status = engine_ask(c->connection, &sql, &c->cancel, &rows, reterr);
    if (status == OK)
        duckdb_destroy_result(&rows);
    return status;
}

enum status preload_run(struct duckdb_store *store, struct error *reterr)
{
    struct compactor *c = &store->compactor;
    struct totals totals = writer_totals(&store->writer);
    int64_t last = partition_of(totals.max_ms), first, samples_n;
    if (store->options.preload_bytes == 0 || totals.samples_n == 0)
        return OK;
    pthread_mutex_lock(&c->running);
    enum status status = samples_that_fit(store, totals, &samples_n, reterr);
    if (status == OK)
        status = choose(c, last, samples_n, &first, reterr);
    if (status == OK && first <= last)
        status = read_chunks(c, partitions_span(first, last), reterr);
    pthread_mutex_unlock(&c->running);
    return status;
}
