/* backend/duckdb/raw.c: raw samples in label order, in bounded memory.
 *
 * The series and how many samples each has in the span are read first. They are put in label order and cut into slices
 * of at most slice_max samples, which are read one ahead (raw_slice.h). A series longer than a slice is read alone, by
 * an ordered stream. Who asks for chunks gets them of larger slices (raw_chunks.h), if there are floats only and no
 * series is longer than a slice. Native histograms come in pieces of their own (raw_histograms.h); a series that has
 * both is given in turns, in the order of time.
 *
 * All statements of a cursor see one snapshot: they run in one transaction on the cursor's own connection, and leave
 * out batches that were not committed when it began (schema.h).
 */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "backend/duckdb/raw_chunks.h"
#include "backend/duckdb/raw_histograms.h"
#include "backend/duckdb/raw_slice.h"
#include "backend/duckdb/schema.h"
#include "backend/duckdb/store.h"
#include "backend/duckdb/stored_value.h"
#include "base/array.h"
#include "base/assert.h"
#include "planner/sql.h"

#define SLICE_SAMPLES       (1u << 22) /* 64 MB */
#define CHUNK_SLICE_SAMPLES (1u << 24) /* 200 MB at most, as chunks; of scrapes a third of that */
#define BLOCK_SAMPLES       8192u
#define BLOCK_HISTOGRAMS    1024u
#define CURSOR_BYTES_MAX    ((size_t)1 << 30) /* labels of all its series */

struct raw_cursor {
    struct duckdb_store *store;
    struct connection *connection;
    struct cancel *cancel;
    struct time_span span;
    struct arena arena;
    struct raw_series *series; /* in label order */
    size_t series_n, series_capacity;
    bool in_transaction, has_slice_table;

    size_t at;      /* the series being handed out */
    uint64_t given; /* samples of it taken out of the tables; those waiting are not handed out yet */
    const struct sample *waiting;
    size_t waiting_n;
    uint64_t histograms_given; /* handed out, the last one of this time */
    int64_t histogram_ms;
    struct histogram_piece piece;
    struct slices slices;
    bool in_chunks;
    struct encoded_slice encoded;
    uint32_t encoded_next; /* the slice after the one that is in encoded; 0: none was read */

    bool streaming; /* the series at `at` comes by `stream` */
    duckdb_result stream;
    struct sample block[BLOCK_SAMPLES]; /* of a stream */
};

static enum status no_memory(struct error *reterr)
{
    return error_set(reterr, E_NOMEM, "no memory for a cursor on raw samples");
}

/* --- which series --- */

/* A chunk of series and how many samples they have; of native histograms also how many bytes. */
static enum status take_series(struct raw_cursor *c, duckdb_data_chunk chunk, bool histograms, struct error *reterr)
{
    const uint32_t *ids = duckdb_vector_get_data(duckdb_data_chunk_get_vector(chunk, 0));
    const int64_t *counts = duckdb_vector_get_data(duckdb_data_chunk_get_vector(chunk, 1));
    const int64_t *bytes = histograms ? duckdb_vector_get_data(duckdb_data_chunk_get_vector(chunk, 2)) : NULL;
    struct catalogue *catalogue = &c->store->writer.catalogue;
    idx_t n = duckdb_data_chunk_get_size(chunk);
    if (!array_reserve(&c->series, &c->series_capacity, c->series_n + n, sizeof *c->series))
        return no_memory(reterr);
    enum status status = OK;
    pthread_rwlock_rdlock(&catalogue->lock);
    for (idx_t row = 0; status == OK && row < n; row++) {
        struct raw_series *series = &c->series[c->series_n];
        *series = (struct raw_series){.id = ids[row]};
        *(histograms ? &series->histograms_n : &series->samples_n) = (uint64_t)counts[row];
        series->histogram_bytes = histograms ? (uint64_t)bytes[row] : 0;
        status = catalogue_copy_labels(catalogue, ids[row], &c->arena, &series->labels, reterr);
        c->series_n += status == OK;
    }
    pthread_rwlock_unlock(&catalogue->lock);
    return status;
}

static int compare_series(const void *a, const void *b)
{
    return labels_cmp(((const struct raw_series *)a)->labels, ((const struct raw_series *)b)->labels);
}

/* The condition on series to match. Every series has a name, so a matcher that asks for one changes nothing; there has
 * to be one that does not take the empty text. */
static enum status write_chosen(struct sql *sql, const struct raw_cursor *c, const struct matcher *at, size_t n,
                                struct error *reterr)
{
    struct matcher *matchers = calloc(n + 1, sizeof *matchers);
    if (!matchers)
        return no_memory(reterr);
    memcpy(matchers, at, n * sizeof *matchers);
    matchers[n] = (struct matcher){LABEL_METRIC_NAME, MATCH_REGEX, STR(".+")};
    sql_words(sql, " WHERE series IN (");
    sql_series_matching(sql, matchers, n + 1, c->span);
    sql_words(sql, ")");
    free(matchers);
    return OK;
}

/* The series that have samples of one kind. */
static enum status find_kind(struct raw_cursor *c, const struct matcher *at, size_t n, bool histograms,
                             struct error *reterr)
{
    struct sql sql;
    sql_init(&sql, SQL_BYTES_MAX);
    sql_words(&sql, histograms ? "SELECT series, count(*)::BIGINT AS n, sum(bytes)::BIGINT FROM ("
                               : "SELECT series, sum(n)::BIGINT AS n FROM (");
    if (histograms)
        schema_histograms(&sql, "series, octet_length(histogram) AS bytes", c->span, c->slices.batch);
    else
        schema_counts(&sql, c->span, c->slices.batch);
    sql_words(&sql, ")");
    enum status status = n > 0 ? write_chosen(&sql, c, at, n, reterr) : OK;
    sql_words(&sql, histograms ? " GROUP BY series" : " GROUP BY series HAVING sum(n) > 0");
    duckdb_result rows;
    if (status == OK)
        status = engine_ask(c->connection, &sql, c->cancel, &rows, reterr);
    else
        sql_release(&sql);
    if (status != OK)
        return status;
    duckdb_data_chunk chunk = NULL;
    while (status == OK && (status = engine_fetch(c->connection, &rows, c->cancel, &chunk, reterr)) == OK && chunk) {
        status = take_series(c, chunk, histograms, reterr);
        engine_chunk_free(&chunk);
    }
    duckdb_destroy_result(&rows);
    return status;
}

/* Makes one of the two entries of a series that has both kinds: they are neighbours. */
static void join_kinds(struct raw_cursor *c)
{
    size_t kept = 0;
    for (size_t i = 0; i < c->series_n; i++) {
        if (kept == 0 || c->series[kept - 1].id != c->series[i].id) {
            c->series[kept++] = c->series[i];
            continue;
        }
        c->series[kept - 1].samples_n += c->series[i].samples_n;
        c->series[kept - 1].histograms_n += c->series[i].histograms_n;
        c->series[kept - 1].histogram_bytes += c->series[i].histogram_bytes;
    }
    c->series_n = kept;
}

static enum status find_series(struct raw_cursor *c, const struct matcher *at, size_t n, struct error *reterr)
{
    const struct expr_selector all = {.matchers = at, .matchers_n = n};
    enum status status = find_kind(c, at, n, false, reterr);
    if (status == OK && store_has_histograms(&c->store->backend, &all, c->span))
        status = find_kind(c, at, n, true, reterr);
    if (status == OK && c->series_n > 1)
        qsort(c->series, c->series_n, sizeof *c->series, compare_series);
    if (status == OK)
        join_kinds(c);
    return status;
}

/* --- a series longer than a slice --- */

static enum status open_stream(struct raw_cursor *c, struct error *reterr)
{
    struct sql sql;
    sql_init(&sql, SQL_BYTES_MAX);
    sql_words(&sql,
              "SELECT ts, value FROM (SELECT series, unnest(ts) AS ts, unnest(value) AS value FROM chunks() WHERE ");
    sql_meets(&sql, c->span);
    sql_words(&sql, " UNION ALL SELECT series, ts, value FROM recent WHERE ");
    sql_between(&sql, "ts", c->span);
    sql_words(&sql, " AND ");
    schema_within(&sql, c->slices.batch);
    sql_words(&sql, ") WHERE series = ");
    sql_i64(&sql, c->series[c->at].id);
    sql_words(&sql, " AND ");
    sql_between(&sql, "ts", c->span);
    sql_words(&sql, " ORDER BY ts");
    enum status status = sql_status(&sql, reterr);
    if (status == OK)
        status = engine_query(c->connection, strbuf_view(&sql.text).ptr, true, c->cancel, &c->stream, reterr);
    sql_release(&sql);
    c->streaming = status == OK;
    return status;
}

static void close_stream(struct raw_cursor *c)
{
    if (c->streaming)
        duckdb_destroy_result(&c->stream);
    c->streaming = false;
}

static enum status next_of_stream(struct raw_cursor *c, struct error *reterr)
{
    duckdb_data_chunk chunk = NULL;
    enum status status = engine_fetch(c->connection, &c->stream, c->cancel, &chunk, reterr);
    if (status != OK)
        return status;
    idx_t n = chunk ? duckdb_data_chunk_get_size(chunk) : 0;
    const struct raw_series *series = &c->series[c->at];
    if (n == 0 || n > BLOCK_SAMPLES || c->given + n > series->samples_n) {
        engine_chunk_free(&chunk);
        return error_set(reterr, E_INTERNAL, "a stream of raw samples has other rows than were counted");
    }
    const int64_t *times = duckdb_vector_get_data(duckdb_data_chunk_get_vector(chunk, 0));
    const double *values = duckdb_vector_get_data(duckdb_data_chunk_get_vector(chunk, 1));
    for (idx_t i = 0; i < n; i++)
        c->block[i] = (struct sample){times[i], stored_value(values[i])};
    engine_chunk_free(&chunk);
    c->given += n;
    c->waiting = c->block;
    c->waiting_n = n;
    return OK;
}

/* --- native histograms --- */

static bool has_more_histograms(const struct raw_cursor *c)
{
    return c->histograms_given < c->series[c->at].histograms_n;
}

/* The next piece: the rest of this series or as much of it as one may hold, or several series. */
static struct histogram_range next_range(const struct raw_cursor *c)
{
    const struct raw_series *series = &c->series[c->at];
    struct histogram_range range = {.first = (uint32_t)c->at,
                                    .last = (uint32_t)c->at,
                                    .span = c->span,
                                    .batch = c->slices.batch,
                                    .rows_max = INT64_MAX};
    if (c->histograms_given > 0)
        range.span.min_ms = c->histogram_ms + 1;
    if (series->histogram_bytes > RAW_PIECE_BYTES) {
        range.rows_max = series->histograms_n / (series->histogram_bytes / RAW_PIECE_BYTES + 1) + 1;
        return range;
    }
    uint64_t bytes = series->histogram_bytes;
    while (range.last + 1 < c->series_n && bytes + c->series[range.last + 1].histogram_bytes <= RAW_PIECE_BYTES)
        bytes += c->series[++range.last].histogram_bytes;
    return range;
}

/* Sees to it that the next native histogram of the series is there. A stream of its samples takes the connection: then
 * they must all be. */
static enum status need_histograms(struct raw_cursor *c, struct error *reterr)
{
    const struct raw_series *series = &c->series[c->at];
    if (!has_more_histograms(c) || c->piece.next < c->piece.n)
        return OK;
    if (series->samples_n > c->slices.slice_max && series->histogram_bytes > RAW_PIECE_BYTES)
        return error_set(reterr, E_LIMIT,
                         "a series has %" PRIu64 " samples and %" PRIu64 " bytes of native histograms; the limits of "
                         "both together are %" PRIu64 " and %" PRIu64 ": narrow the time range",
                         series->samples_n, series->histogram_bytes, c->slices.slice_max, RAW_PIECE_BYTES);
    struct histogram_range range = next_range(c);
    slices_settle(&c->slices);
    enum status status = histogram_piece_read(&c->piece, c->connection, &range, c->cancel, reterr);
    if (status == OK && c->piece.n == 0)
        return error_set(reterr, E_INTERNAL, "a piece of native histograms lacks rows it should have");
    return status;
}

/* Those of this series that are there. */
static size_t histograms_there(const struct raw_cursor *c)
{
    size_t n = 0;
    while (n < BLOCK_HISTOGRAMS && c->piece.next + n < c->piece.n && c->piece.places[c->piece.next + n] == c->at)
        n++;
    return n;
}

/* --- the cursor --- */

/* Chunks only if that is all there is. */
static void choose_form(struct raw_cursor *c, enum raw_form form)
{
    uint64_t asked = c->store->options.slice_samples, chunk_slice = asked ? asked : CHUNK_SLICE_SAMPLES;
    c->in_chunks = form == RAW_CHUNKS;
    for (size_t i = 0; c->in_chunks && i < c->series_n; i++)
        c->in_chunks = c->series[i].histograms_n == 0 && c->series[i].samples_n <= chunk_slice;
    c->slices.slice_max = c->in_chunks ? chunk_slice : asked ? asked : SLICE_SAMPLES;
}

static enum status begin(struct raw_cursor *c, enum raw_form form, const struct matcher *at, size_t n,
                         struct error *reterr)
{
    c->slices.batch = writer_totals(&c->store->writer).batch;
    enum status status = engine_acquire(&c->store->engine, c->cancel, &c->connection, reterr);
    if (status == OK)
        status = engine_execute(c->connection, "BEGIN", reterr);
    if (status != OK)
        return status;
    c->in_transaction = true;
    unsigned entered = catalogue_enter(&c->store->writer.catalogue);
    status = find_series(c, at, n, reterr);
    catalogue_leave(&c->store->writer.catalogue, entered);
    if (status != OK)
        return status;
    choose_form(c, form);
    c->slices.connection = c->connection;
    return c->series_n ? slices_begin(&c->slices, c->series, c->series_n, &c->has_slice_table, reterr) : OK;
}

enum status store_raw_open(struct backend *backend, enum raw_form form, const struct matcher *at, size_t n,
                           struct time_span span, struct cancel *cancel, struct raw_cursor **ret_cursor,
                           struct error *reterr)
{
    struct duckdb_store *store = store_of(backend);
    enum status status = OK;
    for (size_t i = 0; status == OK && i < n; i++) {
        if (at[i].op == MATCH_REGEX || at[i].op == MATCH_NOT_REGEX)
            status = regex_check(&store->regex, at[i].value, reterr);
    }
    if (status != OK)
        return status;
    struct raw_cursor *c = calloc(1, sizeof *c);
    if (!c)
        return no_memory(reterr);
    c->store = store;
    c->cancel = cancel;
    c->span = span;
    c->slices.cancel = cancel;
    c->slices.span = span;
    arena_init(&c->arena, CURSOR_BYTES_MAX);
    status = begin(c, form, at, n, reterr);
    if (status == OK)
        *ret_cursor = c;
    else
        store_raw_close(c);
    return status;
}

/* Takes the next samples of the series out of its slice, or its stream. */
static enum status need_samples(struct raw_cursor *c, struct error *reterr)
{
    const struct raw_series *series = &c->series[c->at];
    enum status status = OK;
    if (c->waiting_n > 0 || c->given == series->samples_n)
        return OK;
    if (series->samples_n > c->slices.slice_max) {
        if (!c->streaming)
            status = open_stream(c, reterr);
        return status == OK ? next_of_stream(c, reterr) : status;
    }
    const struct sample *samples;
    status = slices_samples(&c->slices, c->at, &samples, reterr);
    if (status != OK)
        return status;
    uint64_t left = series->samples_n - c->given;
    c->waiting_n = left < BLOCK_SAMPLES ? (size_t)left : BLOCK_SAMPLES;
    c->waiting = samples + c->given;
    c->given += c->waiting_n;
    return OK;
}

static bool is_series_given(const struct raw_cursor *c)
{
    return c->waiting_n == 0 && c->given == c->series[c->at].samples_n && !has_more_histograms(c);
}

/* Hands out what comes first. */
static enum status give(struct raw_cursor *c, struct raw_block *ret_block, struct error *reterr)
{
    const struct histogram_sample *histograms = c->piece.at + c->piece.next;
    size_t histograms_n = has_more_histograms(c) ? histograms_there(c) : 0, n = c->waiting_n;
    *ret_block = (struct raw_block){.labels = c->series[c->at].labels};
    if (has_more_histograms(c) && histograms_n == 0)
        return error_set(reterr, E_INTERNAL, "a piece of native histograms has rows it should not have");
    for (n = histograms_n ? 0 : n; n < c->waiting_n && c->waiting[n].time_ms <= histograms[0].time_ms;)
        n++;
    ret_block->samples = c->waiting;
    ret_block->samples_n = n;
    c->waiting += n;
    c->waiting_n -= n;
    if (n == 0) {
        while (n < histograms_n && (c->waiting_n == 0 || histograms[n].time_ms < c->waiting[0].time_ms))
            n++;
        ret_block->histograms = histograms;
        ret_block->histograms_n = n;
        c->piece.next += n;
        c->histograms_given += n;
        c->histogram_ms = histograms[n - 1].time_ms;
    }
    ret_block->series_ends = is_series_given(c);
    return OK;
}

static enum status give_chunks(struct raw_cursor *c, struct raw_block *ret_block, struct error *reterr)
{
    const struct raw_series *series = &c->series[c->at];
    enum status status = OK;
    if (c->encoded_next != series->slice + 1) {
        status =
            encoded_slice_read(&c->encoded, c->connection, series->slice, c->span, c->slices.batch, c->cancel, reterr);
        c->encoded_next = series->slice + 1;
    }
    if (status != OK)
        return status;
    uint64_t samples_n;
    size_t n = encoded_slice_next(&c->encoded, (uint32_t)c->at, &samples_n);
    if (n == 0 || samples_n > series->samples_n - c->given)
        return error_set(reterr, E_INTERNAL, "a slice of raw chunks has other rows than were counted");
    c->given += samples_n;
    *ret_block = (struct raw_block){.labels = series->labels,
                                    .chunks = c->encoded.chunks,
                                    .chunks_n = n,
                                    .chunks_samples_n = samples_n,
                                    .series_ends = c->given == series->samples_n};
    return OK;
}

enum status store_raw_next(struct raw_cursor *c, struct raw_block *ret_block, struct error *reterr)
{
    enum status status = cancel_check(c->cancel, reterr);
    if (status != OK)
        return status;
    if (c->at < c->series_n && is_series_given(c)) {
        close_stream(c);
        c->at++;
        c->given = c->histograms_given = 0;
    }
    if (c->at == c->series_n) {
        *ret_block = (struct raw_block){.samples_n = 0};
        return OK;
    }
    if (c->in_chunks) {
        status = give_chunks(c, ret_block, reterr);
    } else {
        status = need_histograms(c, reterr);
        status = status == OK ? need_samples(c, reterr) : status;
        status = status == OK ? give(c, ret_block, reterr) : status;
    }
    return status == E_INTERNAL ? engine_contradicts(c->connection, reterr) : status; /* other rows than counted */
}

void store_raw_close(struct raw_cursor *c)
{
    if (!c)
        return;
    close_stream(c);
    slices_release(&c->slices);
    encoded_slice_release(&c->encoded);
    /* Rolling back also drops the temporary table. */
    if (c->in_transaction && engine_execute(c->connection, "ROLLBACK", NULL) != OK && c->has_slice_table) {
        enum status dropped = engine_execute(c->connection, "DROP TABLE IF EXISTS temp.main." RAW_SLICE_TABLE, NULL);
        (void)dropped; /* the connection is then as good as it gets; a later cursor's CREATE says so */
    }
    engine_release(&c->store->engine, c->connection);
    arena_release(&c->arena);
    histogram_piece_release(&c->piece);
    free(c->series);
    free(c);
}
