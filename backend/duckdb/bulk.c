/* backend/duckdb/bulk.c: samples of an import that become chunks at once, without lying in recent first.
 *
 * A partition later than that of its series' newest sample holds nothing of the series yet. So the rows of a
 * transaction that lie in such a partition can be a chunk of their own, which is what a move would make of them; what
 * comes later finds the chunk as it finds any other. A move would read and write the chunks of all series of that
 * partition again for every million rows that come series by series, as files have them.
 *
 * The compactor's `running` is held, as for late samples, because a chunk takes the number of a move. Transactions with
 * late samples do not come here: those are asked of the tables, which do not have these rows yet.
 */
#include <stdlib.h>

#include "backend/duckdb/partition.h"
#include "backend/duckdb/store.h"
#include "planner/sql.h"

#define BULK_TABLE    "bulk_samples" /* temporary; of the writer's connection only */
#define BULK_ROWS_MIN 32             /* of one series and partition; fewer go to recent */

static int compare_rows(const void *a, const void *b)
{
    const struct staged_row *x = a, *y = b;
    if (x->series->id != y->series->id)
        return x->series->id < y->series->id ? -1 : 1;
    return (x->sample.time_ms > y->sample.time_ms) - (x->sample.time_ms < y->sample.time_ms);
}

static int compare_undo(const void *a, const void *b)
{
    const struct undo *x = a, *y = b;
    return (x->series->id > y->series->id) - (x->series->id < y->series->id);
}

static bool are_sorted(const struct staged_row *rows, size_t n)
{
    for (size_t i = 1; i < n; i++)
        if (compare_rows(&rows[i - 1], &rows[i]) > 0)
            return false;
    return true;
}

/* Whether the partition is later than all the series had before this transaction. */
static bool is_free(const struct undo *before, int64_t partition)
{
    return !before->has_samples || partition > partition_of(before->newest_ms);
}

enum status bulk_choose(struct writer *w, struct error *reterr)
{
    struct staged_row *chosen = w->rows_n ? malloc(w->rows_n * sizeof *chosen) : NULL;
    w->bulk_n = 0;
    if (!chosen)
        return w->rows_n ? error_set(reterr, E_NOMEM, "no memory to stage a write") : OK;
    if (!are_sorted(w->rows, w->rows_n))
        qsort(w->rows, w->rows_n, sizeof *w->rows, compare_rows);
    qsort(w->undo, w->undo_n, sizeof *w->undo, compare_undo);
    size_t kept = 0, undo = 0;
    for (size_t i = 0, end; i < w->rows_n; i = end) {
        const struct known_series *series = w->rows[i].series;
        int64_t partition = partition_of(w->rows[i].sample.time_ms);
        for (end = i + 1; end < w->rows_n && w->rows[end].series == series &&
                          partition_of(w->rows[end].sample.time_ms) == partition;)
            end++;
        while (w->undo[undo].series != series) /* every staged series has an entry */
            undo++;
        bool bulk = end - i >= BULK_ROWS_MIN && is_free(&w->undo[undo], partition);
        memcpy(bulk ? chosen + w->bulk_n : w->rows + kept, w->rows + i, (end - i) * sizeof *chosen);
        *(bulk ? &w->bulk_n : &kept) += end - i;
    }
    memcpy(w->rows + kept, chosen, w->bulk_n * sizeof *chosen);
    free(chosen);
    return OK;
}

/* Both lists of a group have its rows in the same order, whatever it is, and are sorted by the one of times. */
static void write_chunks(struct sql *sql)
{
    sql_words(sql, "CREATE OR REPLACE TEMP TABLE " FRESH_CHUNKS
                   " AS SELECT metric, series, tmin, tmax, len(ts) AS n, list_select(ts, places) AS ts, "
                   "list_select(value, places) AS value, NULL::BIGINT AS replaces FROM (SELECT *, list_grade_up(ts) AS "
                   "places FROM (SELECT series, min(ts) AS tmin, max(ts) AS tmax, list(ts) AS ts, list(value) AS value "
                   "FROM temp.main." BULK_TABLE " GROUP BY series, ");
    partition_write(sql, "ts");
    sql_words(sql, ")) JOIN series USING (series)");
}

enum status bulk_write(struct writer *w, struct error *reterr)
{
    const struct staged_row *rows = w->rows + (w->rows_n - w->bulk_n);
    int64_t first = INT64_MAX, last = INT64_MIN;
    if (w->bulk_n == 0)
        return OK;
    for (size_t i = 0; i < w->bulk_n; i++) {
        int64_t partition = partition_of(rows[i].sample.time_ms);
        first = partition < first ? partition : first;
        last = partition > last ? partition : last;
    }
    enum status status = engine_execute(
        w->connection,
        "CREATE OR REPLACE TEMP TABLE " BULK_TABLE " (series UINTEGER, ts BIGINT, value DOUBLE, batch BIGINT)", reterr);
    if (status == OK)
        status = writer_put_rows(w, "temp", BULK_TABLE, rows, w->bulk_n, reterr);
    struct sql sql;
    sql_init(&sql, SQL_BYTES_MAX);
    write_chunks(&sql);
    if (status == OK)
        status = engine_alter(w->connection, &sql, NULL, NULL, reterr);
    else
        sql_release(&sql);
    if (status == OK)
        status = engine_execute(w->connection, "DROP TABLE temp.main." BULK_TABLE, reterr);
    struct time_span partitions = partitions_span(first, last);
    if (status == OK)
        status = rollup_retreat(w->connection, partitions.min_ms, reterr);
    return status == OK ? chunks_replace(w->connection, partitions, NULL, reterr) : status;
}
