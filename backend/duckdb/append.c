/* backend/duckdb/append.c: writes: decide in memory what is accepted, then one transaction for all requests.
 *
 * The catalogue knows each series' newest sample, so the policy of backend.h costs no query. It is changed while
 * requests are staged and put back if the transaction fails. The commit returns once its log is on disk.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "backend/duckdb/store.h"
#include "backend/duckdb/stored_value.h"
#include "base/assert.h"
#include "base/float_text.h"
#include "base/strbuf.h"

static duckdb_data_chunk chunk_of(const duckdb_type *types, size_t n)
{
    duckdb_logical_type logical[4];
    PRE(n <= ARRAY_LENGTH(logical));
    for (size_t i = 0; i < n; i++)
        logical[i] = duckdb_create_logical_type(types[i]);
    duckdb_data_chunk chunk = duckdb_create_data_chunk(logical, n);
    for (size_t i = 0; i < n; i++)
        duckdb_destroy_logical_type(&logical[i]);
    return chunk;
}

static duckdb_data_chunk series_chunk_new(void)
{
    duckdb_logical_type id = duckdb_create_logical_type(DUCKDB_TYPE_UINTEGER);
    duckdb_logical_type text = duckdb_create_logical_type(DUCKDB_TYPE_VARCHAR);
    duckdb_logical_type map = duckdb_create_map_type(text, text);
    duckdb_logical_type types[] = {id, text, map};
    duckdb_data_chunk chunk = duckdb_create_data_chunk(types, ARRAY_LENGTH(types));
    for (size_t i = 0; i < ARRAY_LENGTH(types); i++)
        duckdb_destroy_logical_type(&types[i]);
    return chunk;
}

enum status writer_init(struct writer *writer, struct engine *engine, struct error *reterr)
{
    const duckdb_type sample_types[] = {DUCKDB_TYPE_UINTEGER, DUCKDB_TYPE_BIGINT, DUCKDB_TYPE_DOUBLE,
                                        DUCKDB_TYPE_BIGINT};
    *writer = (struct writer){.transaction = 1};
    pthread_mutex_init(&writer->lock, NULL);
    pthread_mutex_init(&writer->totals_lock, NULL);
    enum status status = engine_connect(engine, &writer->connection, reterr);
    if (status == OK)
        status = catalogue_load(&writer->catalogue, writer->connection, &writer->totals, reterr);
    if (status == OK) {
        writer->transaction = writer->totals.batch + 1;
        writer->series_chunk = series_chunk_new();
        writer->samples_chunk = chunk_of(sample_types, ARRAY_LENGTH(sample_types));
        if (!writer->series_chunk || !writer->samples_chunk)
            status = error_set(reterr, E_NOMEM, "no memory for the storage engine's write buffers");
    }
    if (status != OK)
        writer_release(writer);
    return status;
}

void writer_release(struct writer *writer)
{
    if (!writer->transaction)
        return;
    duckdb_destroy_data_chunk(&writer->series_chunk);
    duckdb_destroy_data_chunk(&writer->samples_chunk);
    catalogue_release(&writer->catalogue);
    engine_disconnect(writer->connection);
    free(writer->rows);
    free(writer->undo);
    pthread_mutex_destroy(&writer->lock);
    pthread_mutex_destroy(&writer->totals_lock);
    *writer = (struct writer){.transaction = 0};
}

struct totals writer_totals(struct writer *writer)
{
    pthread_mutex_lock(&writer->totals_lock);
    struct totals totals = writer->totals;
    pthread_mutex_unlock(&writer->totals_lock);
    return totals;
}

/* --- staging --- */

static bool reserve(void **at, size_t *capacity, size_t wanted, size_t each)
{
    if (wanted <= *capacity)
        return true;
    size_t room = wanted < 4096 ? 4096 : wanted * 2;
    void *grown = realloc(*at, room * each);
    if (!grown)
        return false;
    *at = grown;
    *capacity = room;
    return true;
}

/* Keeps what the catalogue said of a series before this transaction. */
static bool remember(struct writer *w, struct known_series *series)
{
    if (series->transaction == w->transaction)
        return true;
    if (!reserve((void **)&w->undo, &w->undo_capacity, w->undo_n + 1, sizeof *w->undo))
        return false;
    w->undo[w->undo_n++] = (struct undo){series, series->has_samples, series->newest_ms, series->newest_bits};
    series->transaction = w->transaction;
    return true;
}

static void series_text(struct strbuf *out, struct labels labels)
{
    strbuf_str(out, labels_get(labels, LABEL_METRIC_NAME));
    strbuf_char(out, '{');
    bool first = true;
    for (size_t i = 0; i < labels.n; i++) {
        if (str_eq(labels.at[i].name, LABEL_METRIC_NAME))
            continue;
        strbuf_cstr(out, first ? "" : ", ");
        strbuf_str(out, labels.at[i].name);
        strbuf_char(out, '=');
        strbuf_json(out, labels.at[i].value);
        first = false;
    }
    strbuf_char(out, '}');
}

/* The first refusal of a request, in Prometheus's words, then which sample it was. */
static void refuse(struct append_request *request, const struct append_series *series, const struct sample *sample,
                   const char *words)
{
    if (request->refused.status != OK)
        return;
    struct strbuf name;
    strbuf_init(&name, ERROR_MESSAGE_MAX / 2);
    series_text(&name, series->labels);
    struct str text = strbuf_view(&name);
    error_set(&request->refused, E_BAD_DATA, "%s: series " STR_FORMAT ", timestamp %" PRId64, words, STR_ARG(text),
              sample->time_ms);
    strbuf_release(&name);
}

static void refuse_conflict(struct append_request *request, const struct append_series *series,
                            const struct sample *sample, double existing)
{
    char old_text[FLOAT_TEXT_MAX], new_text[FLOAT_TEXT_MAX], words[2 * FLOAT_TEXT_MAX + 128];
    float_text_general(old_text, existing);
    float_text_general(new_text, sample->value);
    snprintf(words, sizeof words,
             "duplicate sample for timestamp %" PRId64 "; overrides not allowed: existing %s, new value %s",
             sample->time_ms, old_text, new_text);
    refuse(request, series, sample, words);
}

/* Whether the policy refuses or drops a sample of a series whose newest is known; counts it. */
static bool turned_away(struct append_request *request, const struct append_series *series, const struct sample *sample,
                        const struct known_series *known, int64_t newest_allowed_ms)
{
    if (sample->time_ms > newest_allowed_ms) {
        request->too_far_ahead++;
        refuse(request, series, sample, "out of bounds");
        return true;
    }
    if (!known || !known->has_samples || sample->time_ms > known->newest_ms)
        return false;
    if (sample->time_ms < known->newest_ms) {
        request->out_of_order++;
        refuse(request, series, sample, "out of order sample");
    } else if (double_bits(sample->value) == known->newest_bits) {
        request->duplicates++;
    } else {
        request->conflicting++;
        refuse_conflict(request, series, sample, double_from_bits(known->newest_bits));
    }
    return true;
}

static enum status stage_series(struct writer *w, struct append_request *request, const struct append_series *series,
                                int64_t newest_allowed_ms, struct error *reterr)
{
    uint64_t hash = labels_hash(series->labels);
    struct known_series *known = catalogue_find(&w->catalogue, series->labels, hash);
    for (size_t i = 0; i < series->samples_n; i++) {
        const struct sample *sample = &series->samples[i];
        if (turned_away(request, series, sample, known, newest_allowed_ms))
            continue;
        if (!known)
            known = catalogue_add(&w->catalogue, series->labels, hash);
        if (!known || !remember(w, known) ||
            !reserve((void **)&w->rows, &w->rows_capacity, w->rows_n + 1, sizeof *w->rows))
            return error_set(reterr, E_NOMEM, "no memory to stage a write");
        known->has_samples = true;
        known->newest_ms = sample->time_ms;
        known->newest_bits = double_bits(sample->value);
        w->rows[w->rows_n++] = (struct staged_row){known, *sample};
        request->written++;
    }
    return OK;
}

static enum status stage_metadata(struct duckdb_store *store, struct metadata_changes *changes,
                                  struct append_request *request, struct error *reterr)
{
    for (size_t i = 0; i < request->metadata_n; i++) {
        struct error error = {.status = OK};
        enum status status = metadata_stage(&store->metadata, changes, &request->metadata[i], &error);
        if (status == E_LIMIT) { /* the samples beside it are still wanted */
            if (request->refused.status == OK)
                request->refused = error;
            request->refused.status = E_BAD_DATA;
        } else if (status != OK) {
            return error_set(reterr, status, "%s", error.message);
        }
    }
    return OK;
}

static enum status stage(struct duckdb_store *store, struct metadata_changes *changes, struct append_request *requests,
                         size_t n, struct error *reterr)
{
    int64_t now_ms = wall_clock_ms(), newest_allowed_ms;
    if (__builtin_add_overflow(now_ms, store->future_max_ms, &newest_allowed_ms))
        newest_allowed_ms = INT64_MAX;
    enum status status = OK;
    for (size_t i = 0; status == OK && i < n; i++) {
        struct append_request *request = &requests[i];
        request->written = request->duplicates = request->out_of_order = request->conflicting = 0;
        request->too_far_ahead = 0;
        request->refused = (struct error){.status = OK};
        for (size_t j = 0; status == OK && j < request->series_n; j++)
            status = stage_series(&store->writer, request, &request->series[j], newest_allowed_ms, reterr);
        if (status == OK)
            status = stage_metadata(store, changes, request, reterr);
    }
    return status;
}

/* --- writing --- */

static enum status appender_error(duckdb_appender appender, struct error *reterr)
{
    return engine_error(duckdb_appender_error(appender), NULL, reterr);
}

static enum status flush_chunk(duckdb_appender appender, duckdb_data_chunk chunk, idx_t n, struct error *reterr)
{
    duckdb_data_chunk_set_size(chunk, n);
    enum status status = OK;
    if (n > 0 && duckdb_append_data_chunk(appender, chunk) != DuckDBSuccess)
        status = appender_error(appender, reterr);
    duckdb_data_chunk_reset(chunk);
    return status;
}

static enum status append_samples(const struct writer *w, duckdb_appender appender, struct error *reterr)
{
    idx_t capacity = duckdb_vector_size();
    enum status status = OK;
    for (size_t done = 0; status == OK && done < w->rows_n;) {
        uint32_t *id = duckdb_vector_get_data(duckdb_data_chunk_get_vector(w->samples_chunk, 0));
        int64_t *time_ms = duckdb_vector_get_data(duckdb_data_chunk_get_vector(w->samples_chunk, 1));
        double *value = duckdb_vector_get_data(duckdb_data_chunk_get_vector(w->samples_chunk, 2));
        int64_t *batch = duckdb_vector_get_data(duckdb_data_chunk_get_vector(w->samples_chunk, 3));
        idx_t n = 0;
        for (; n < capacity && done < w->rows_n; n++, done++) {
            id[n] = w->rows[done].series->id;
            time_ms[n] = w->rows[done].sample.time_ms;
            value[n] = stored_value(w->rows[done].sample.value);
            batch[n] = (int64_t)w->transaction;
        }
        status = flush_chunk(appender, w->samples_chunk, n, reterr);
    }
    return status;
}

static void put_text(duckdb_vector vector, idx_t row, struct str s)
{
    duckdb_vector_assign_string_element_len(vector, row, s.len ? s.ptr : "", s.len);
}

/* Row `row` of the series chunk; false when memory is short. */
static bool put_series(duckdb_data_chunk chunk, idx_t row, const struct known_series *series)
{
    ((uint32_t *)duckdb_vector_get_data(duckdb_data_chunk_get_vector(chunk, 0)))[row] = series->id;
    put_text(duckdb_data_chunk_get_vector(chunk, 1), row, labels_get(series->labels, LABEL_METRIC_NAME));
    duckdb_vector map = duckdb_data_chunk_get_vector(chunk, 2);
    uint64_t first = duckdb_list_vector_get_size(map), n = first;
    if (duckdb_list_vector_reserve(map, first + series->labels.n) != DuckDBSuccess)
        return false;
    duckdb_vector pair = duckdb_list_vector_get_child(map);
    for (size_t i = 0; i < series->labels.n; i++) {
        if (str_eq(series->labels.at[i].name, LABEL_METRIC_NAME))
            continue;
        put_text(duckdb_struct_vector_get_child(pair, 0), n, series->labels.at[i].name);
        put_text(duckdb_struct_vector_get_child(pair, 1), n, series->labels.at[i].value);
        n++;
    }
    ((duckdb_list_entry *)duckdb_vector_get_data(map))[row] = (duckdb_list_entry){first, n - first};
    return duckdb_list_vector_set_size(map, n) == DuckDBSuccess;
}

static enum status append_new_series(const struct writer *w, duckdb_appender appender, struct error *reterr)
{
    idx_t capacity = duckdb_vector_size(), n = 0;
    enum status status = OK;
    for (size_t i = 0; status == OK && i < w->undo_n; i++) {
        if (w->undo[i].series->stored)
            continue;
        if (!put_series(w->series_chunk, n++, w->undo[i].series))
            return error_set(reterr, E_NOMEM, "no memory to write new series");
        if (n == capacity) {
            status = flush_chunk(appender, w->series_chunk, n, reterr);
            n = 0;
        }
    }
    return status == OK ? flush_chunk(appender, w->series_chunk, n, reterr) : status;
}

static enum status append_table(const struct writer *w, const char *table,
                                enum status (*fill)(const struct writer *, duckdb_appender, struct error *),
                                struct error *reterr)
{
    duckdb_appender appender = NULL;
    enum status status = OK;
    if (duckdb_appender_create_ext(w->connection->handle, ENGINE_CATALOG, NULL, table, &appender) != DuckDBSuccess)
        status = appender_error(appender, reterr);
    else
        status = fill(w, appender, reterr);
    if (status == OK && duckdb_appender_close(appender) != DuckDBSuccess)
        status = appender_error(appender, reterr);
    duckdb_appender_destroy(&appender);
    return status;
}

static enum status write_all(struct writer *w, const struct metadata_changes *changes, struct error *reterr)
{
    enum status status = engine_begin(w->connection, reterr);
    if (status != OK)
        return status;
    status = append_table(w, "series", append_new_series, reterr);
    if (status == OK)
        status = append_table(w, "recent", append_samples, reterr);
    if (status == OK)
        status = metadata_write(changes, w->connection, reterr);
    return engine_end(w->connection, status, reterr);
}

static void put_back(struct writer *w)
{
    for (size_t i = 0; i < w->undo_n; i++) {
        struct undo *undo = &w->undo[i];
        undo->series->has_samples = undo->has_samples;
        undo->series->newest_ms = undo->newest_ms;
        undo->series->newest_bits = undo->newest_bits;
    }
}

static void settle(struct writer *w)
{
    pthread_mutex_lock(&w->totals_lock);
    struct totals *totals = &w->totals;
    for (size_t i = 0; i < w->undo_n; i++) {
        totals->series_n += !w->undo[i].series->stored;
        w->undo[i].series->stored = true;
    }
    for (size_t i = 0; i < w->rows_n; i++) {
        int64_t time_ms = w->rows[i].sample.time_ms;
        totals->min_ms = time_ms < totals->min_ms ? time_ms : totals->min_ms;
        totals->max_ms = time_ms > totals->max_ms ? time_ms : totals->max_ms;
    }
    totals->samples_n += w->rows_n;
    totals->batch = w->transaction;
    pthread_mutex_unlock(&w->totals_lock);
}

enum status store_append(struct backend *backend, struct append_request *requests, size_t n, struct error *reterr)
{
    struct duckdb_store *store = store_of(backend);
    struct writer *w = &store->writer;
    struct metadata_changes changes = {.n = 0};
    pthread_mutex_lock(&w->lock);
    enum status status = stage(store, &changes, requests, n, reterr);
    atomic_store(&backend->metadata_labels, w->catalogue.metadata_labels);
    if (status == OK && (w->rows_n > 0 || changes.n > 0))
        status = write_all(w, &changes, reterr);
    if (status == OK) {
        settle(w);
        compactor_appended(store, w->rows_n);
        metadata_keep(&store->metadata, &changes);
    } else {
        put_back(w);
    }
    w->rows_n = w->undo_n = 0;
    w->transaction++;
    pthread_mutex_unlock(&w->lock);
    metadata_changes_release(&changes);
    return status;
}
