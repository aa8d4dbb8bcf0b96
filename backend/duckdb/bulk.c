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
#include <string.h>

#include "backend/duckdb/chunk_writer.h"
#include "backend/duckdb/partition.h"
#include "backend/duckdb/store.h"
#include "backend/duckdb/stored_value.h"

#define BULK_ROWS_MIN 32 /* of one series and partition; fewer go to recent */

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

/* The end of the rows of one series and partition that begin at `from`. */
static size_t run_end(const struct staged_row *rows, size_t from, size_t n)
{
    int64_t partition = partition_of(rows[from].sample.time_ms);
    size_t end = from + 1;
    while (end < n && rows[end].series == rows[from].series && partition_of(rows[end].sample.time_ms) == partition)
        end++;
    return end;
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
        end = run_end(w->rows, i, w->rows_n);
        while (w->undo[undo].series != series) /* every staged series has an entry */
            undo++;
        bool bulk = end - i >= BULK_ROWS_MIN && is_free(&w->undo[undo], partition_of(w->rows[i].sample.time_ms));
        memcpy(bulk ? chosen + w->bulk_n : w->rows + kept, w->rows + i, (end - i) * sizeof *chosen);
        *(bulk ? &w->bulk_n : &kept) += end - i;
    }
    memcpy(w->rows + kept, chosen, w->bulk_n * sizeof *chosen);
    free(chosen);
    return OK;
}

/* --- writing them --- */

static struct str metric_name(const struct catalogue *c, const struct known_series *series)
{
    for (unsigned i = 0; i < series->values_n; i++) {
        struct label label = catalogue_label(c, series, i);
        if (str_eq(label.name, LABEL_METRIC_NAME))
            return label.value;
    }
    return STR("");
}

/* A run of one series and partition, in ascending order. chunks_replace makes the key. */
static enum status put_run(struct writer *w, struct chunk_writer *chunks, const struct staged_row *rows, size_t n,
                           struct sample *scratch, struct error *reterr)
{
    for (size_t i = 0; i < n; i++)
        scratch[i] = (struct sample){rows[i].sample.time_ms, stored_value(rows[i].sample.value)};
    struct chunk_row row = {
        .metric = metric_name(&w->catalogue, rows[0].series), .series = rows[0].series->id, .samples = scratch, .n = n};
    return chunk_writer_put(chunks, &row, reterr);
}

static enum status put_runs(struct writer *w, struct chunk_writer *chunks, const struct staged_row *rows, size_t rows_n,
                            struct error *reterr)
{
    struct sample *scratch = malloc(rows_n * sizeof *scratch);
    enum status status = scratch ? OK : error_set(reterr, E_NOMEM, "no memory for chunks");
    for (size_t i = 0, end; status == OK && i < rows_n; i = end) {
        end = run_end(rows, i, rows_n);
        status = put_run(w, chunks, rows + i, end - i, scratch, reterr);
    }
    free(scratch);
    return status;
}

static enum status put_chunks(struct writer *w, const struct staged_row *rows, size_t n, struct error *reterr)
{
    struct chunk_writer chunks;
    enum status status = engine_execute(w->connection,
                                        "CREATE OR REPLACE TEMP TABLE " FRESH_CHUNKS
                                        " (metric_key UBIGINT, metric VARCHAR, series UINTEGER, tmin BIGINT, tmax "
                                        "BIGINT, n UINTEGER, pace BIGINT, drift INTEGER[], value DOUBLE[], replaces "
                                        "BIGINT)",
                                        reterr);
    if (status != OK)
        return status;
    status = chunk_writer_open(&chunks, w->connection, "temp", FRESH_CHUNKS, NULL, reterr);
    if (status == OK)
        status = put_runs(w, &chunks, rows, n, reterr);
    return chunk_writer_close(&chunks, status, reterr);
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
    struct time_span partitions = partitions_span(first, last);
    enum status status = put_chunks(w, rows, w->bulk_n, reterr);
    if (status == OK)
        status = rollup_retreat(w->connection, partitions.min_ms, reterr);
    return status == OK ? chunks_replace(w->connection, partitions, NULL, reterr) : status;
}
