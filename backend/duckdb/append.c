/* backend/duckdb/append.c: writes: decide in memory what is accepted, then one transaction for all requests.
 *
 * The catalogue knows each series' newest sample, so the policy of backend.h costs no query but for late samples
 * (late.c). It is changed while requests are staged and put back if the transaction fails. The commit returns once its
 * log is on disk.
 *
 * A transaction that fails may be stored all the same: the engine reports what goes wrong after the log was written,
 * too, and may need to be opened again (disk.c). So what was staged is kept until the tables were asked for a sample of
 * it; only then the catalogue is put back, or the request acknowledged. No write is decided in between.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "backend/duckdb/store.h"
#include "backend/duckdb/stored_value.h"
#include "base/array.h"
#include "base/assert.h"
#include "base/float_text.h"
#include "base/strbuf.h"
#include "planner/sql.h"

#define LOOK_STRIDE 4 /* series, between two steps of finding one */
#define LOOK_AHEAD  (LOOK_STRIDE * FINDING_MAX)

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

enum status writer_init(struct writer *writer, struct engine *engine, size_t exemplars_max, struct error *reterr)
{
    const duckdb_type sample_types[] = {DUCKDB_TYPE_UINTEGER, DUCKDB_TYPE_BIGINT, DUCKDB_TYPE_DOUBLE,
                                        DUCKDB_TYPE_BIGINT};
    *writer = (struct writer){.transaction = 1};
    pthread_mutex_init(&writer->turn, NULL);
    pthread_mutex_init(&writer->lock, NULL);
    pthread_mutex_init(&writer->totals_lock, NULL);
    enum status status = engine_connect(engine, &writer->connection, reterr);
    if (status == OK)
        status = catalogue_init(&writer->catalogue, reterr);
    if (status == OK)
        status = catalogue_load(&writer->catalogue, writer->connection, &writer->totals, reterr);
    if (status == OK)
        status = exemplars_load(&writer->exemplars, writer->connection, exemplars_max, reterr);
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
    engine_chunk_free(&writer->series_chunk);
    engine_chunk_free(&writer->samples_chunk);
    exemplars_release(&writer->exemplars);
    catalogue_release(&writer->catalogue);
    engine_disconnect(writer->connection);
    free(writer->rows);
    free(writer->histograms);
    free(writer->undo);
    free(writer->late);
    pthread_mutex_destroy(&writer->turn);
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

/* Keeps what the catalogue said of a series before this transaction. */
static bool remember(struct writer *w, struct known_series *series)
{
    if (series->transaction == w->transaction)
        return true;
    if (!array_reserve(&w->undo, &w->undo_capacity, w->undo_n + 1, sizeof *w->undo))
        return false;
    w->undo[w->undo_n++] = (struct undo){series,
                                         series->has_samples,
                                         series->newest_is_histogram,
                                         series->newest_unread,
                                         series->newest_ms,
                                         series->newest_bits,
                                         series->transaction};
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

/* The first refusal of its kind, in Prometheus's words, then which sample it was, then how far from allowed. */
static void describe(struct error *first, struct labels labels, int64_t time_ms, const char *words, const char *limit)
{
    if (first->status != OK)
        return;
    struct strbuf name;
    strbuf_init(&name, ERROR_MESSAGE_MAX / 2);
    series_text(&name, labels);
    struct str text = strbuf_view(&name);
    error_set(first, E_BAD_DATA, "%s: series " STR_FORMAT ", timestamp %" PRId64 "%s", words, STR_ARG(text), time_ms,
              limit);
    strbuf_release(&name);
}

static void refuse(struct append_request *request, struct labels labels, const struct offered *sample,
                   const char *words, const char *limit)
{
    describe(&request->refused, labels, sample->time_ms, words, limit);
}

static void refuse_distance(struct append_request *request, struct labels labels, const struct offered *sample,
                            const char *words, uint64_t asked_ms, const char *from, int64_t allowed_ms)
{
    char limit[160];
    snprintf(limit, sizeof limit, ": %" PRIu64 " ms %s, %" PRId64 " ms allowed", asked_ms, from, allowed_ms);
    refuse(request, labels, sample, words, limit);
}

/* Prometheus names the values of floats only. */
void writer_refuse_conflict(struct append_request *request, struct labels labels, const struct offered *sample,
                            uint64_t existing_bits, bool existing_is_histogram)
{
    char old_text[FLOAT_TEXT_MAX] = "", new_text[FLOAT_TEXT_MAX], words[2 * FLOAT_TEXT_MAX + 128];
    request->conflicting++;
    if (sample->packed.ptr) {
        refuse(request, labels, sample, "duplicate sample for timestamp", "");
        return;
    }
    float_text_general(new_text, double_from_bits(sample->bits));
    if (!existing_is_histogram)
        float_text_general(old_text, double_from_bits(existing_bits));
    snprintf(words, sizeof words,
             "duplicate sample for timestamp %" PRId64 "; overrides not allowed: existing %s%s, new value %s",
             sample->time_ms, existing_is_histogram ? "is a histogram" : "", old_text, new_text);
    refuse(request, labels, sample, words, "");
}

/* What samples are measured by: the same for all of a transaction, but for oldest_allowed_ms, the series' own. */
struct bounds {
    int64_t now_ms, future_max_ms;
    int64_t newest_allowed_ms, oldest_allowed_ms;
    int64_t window_ms; /* how much older than its series' newest a sample may be */
};

enum verdict {
    NEWER,
    LATE,       /* the tables know more */
    TURNED_AWAY /* and counted */
};

static enum verdict judge_older(struct append_request *request, struct labels labels, const struct offered *sample,
                                const struct known_series *known, const struct bounds *bounds)
{
    if (late_within(known, sample->time_ms, bounds->window_ms))
        return LATE;
    if (bounds->window_ms == 0) {
        request->out_of_order++;
        refuse(request, labels, sample, "out of order sample", "");
    } else {
        request->too_old++;
        refuse_distance(request, labels, sample, "too old sample",
                        (uint64_t)known->newest_ms - (uint64_t)sample->time_ms, "older than the series' newest",
                        bounds->window_ms);
    }
    return TURNED_AWAY;
}

static enum verdict judge(struct append_request *request, struct labels labels, const struct offered *sample,
                          const struct known_series *known, const struct bounds *bounds)
{
    if (sample->time_ms > bounds->newest_allowed_ms) {
        request->too_far_ahead++;
        refuse_distance(request, labels, sample, "out of bounds: timestamp is too far in the future",
                        (uint64_t)sample->time_ms - (uint64_t)bounds->now_ms, "ahead of this clock",
                        bounds->future_max_ms);
        return TURNED_AWAY;
    }
    if (sample->time_ms < bounds->oldest_allowed_ms) {
        request->beyond_retention++;
        refuse(request, labels, sample, "out of bounds", "");
        return TURNED_AWAY;
    }
    if (!known || !known->has_samples || sample->time_ms > known->newest_ms)
        return NEWER;
    if (sample->time_ms < known->newest_ms)
        return judge_older(request, labels, sample, known, bounds);
    if (known->newest_unread)
        return LATE; /* the tables are asked whether it is the same */
    bool is_histogram = sample->packed.ptr;
    if (sample->bits == known->newest_bits && is_histogram == known->newest_is_histogram) {
        request->duplicates++;
        request->histograms_known += is_histogram;
    } else {
        writer_refuse_conflict(request, labels, sample, known->newest_bits, known->newest_is_histogram);
    }
    return TURNED_AWAY;
}

/* What may be written to a series; `common` is sure of later samples than its oldest_allowed_ms only. */
static struct bounds bounds_for(struct duckdb_store *store, const struct append_series *series, struct bounds common)
{
    int64_t suspect_ms = common.oldest_allowed_ms;
    common.oldest_allowed_ms = INT64_MIN;
    for (size_t i = 0; suspect_ms > INT64_MIN && i < series->samples_n; i++) {
        if (series->samples[i].time_ms < suspect_ms) {
            common.oldest_allowed_ms = retention_oldest_ms(store, series->labels);
            break;
        }
    }
    return common;
}

/* A sample newer than all of its series. False: no memory. */
static bool stage_row(struct writer *w, struct known_series *known, const struct sample *sample)
{
    if (!known || !remember(w, known) || !array_reserve(&w->rows, &w->rows_capacity, w->rows_n + 1, sizeof *w->rows))
        return false;
    known->has_samples = true;
    known->newest_is_histogram = known->newest_unread = false;
    known->newest_ms = sample->time_ms;
    known->newest_bits = double_bits(sample->value);
    w->rows[w->rows_n++] = (struct staged_row){known, *sample};
    return true;
}

bool writer_stage_histogram(struct writer *w, struct known_series *series, int64_t time_ms, struct str packed)
{
    if (!array_reserve(&w->histograms, &w->histograms_capacity, w->histograms_n + 1, sizeof *w->histograms))
        return false;
    w->histograms[w->histograms_n++] = (struct staged_histogram){series, {time_ms, packed}};
    return true;
}

/* Of one of the request's exemplars; the series' samples are staged. */
static enum status stage_exemplar(struct writer *w, struct append_request *request,
                                  const struct append_exemplar *exemplar, const struct bounds *bounds,
                                  struct error *reterr)
{
    struct labels labels = request->series[exemplar->series].labels;
    const struct known_series *known = catalogue_find(&w->catalogue, labels, labels_hash(labels));
    enum exemplar_fate fate = EXEMPLAR_OF_UNKNOWN_SERIES;
    enum status status = OK;
    if (exemplar->is.time_ms > bounds->newest_allowed_ms)
        fate = EXEMPLAR_TOO_FAR_AHEAD;
    else if (known && known->has_samples)
        status = exemplar_ring_stage(w->exemplars.ring, labels, &exemplar->is, &fate, reterr);
    if (status != OK)
        return status;
    request->exemplars_by[fate]++;
    if (fate == EXEMPLAR_OUT_OF_ORDER)
        describe(&request->exemplar_refused, labels, exemplar->is.time_ms, EXEMPLAR_OUT_OF_ORDER_WORDS, "");
    return OK;
}

/* The starts of a request that are still to come: as samples do. */
struct starts {
    const struct append_start *at, *end;
};

/* Whether a zero belongs in front of an accepted sample: see struct append_start. What retention may not keep is no
 * start, which common->oldest_allowed_ms is sure of. */
static bool start_of(struct starts *starts, const struct sample *sample, const struct known_series *known,
                     const struct bounds *common, struct sample *ret_zero)
{
    while (starts->at < starts->end && starts->at->sample < sample)
        starts->at++;
    if (starts->at == starts->end || starts->at->sample != sample)
        return false;
    *ret_zero = (struct sample){starts->at->time_ms, 0};
    return ret_zero->time_ms < sample->time_ms && ret_zero->time_ms >= common->oldest_allowed_ms &&
           (!known->has_samples || ret_zero->time_ms > known->newest_ms);
}

/* The hashes of the series that come next, of which the catalogue's memory is fetched meanwhile. */
struct lookahead {
    uint64_t hash[LOOK_AHEAD];
};

static void look_at(const struct catalogue *c, const struct append_request *request, size_t i,
                    struct lookahead *lookahead)
{
    if (i >= request->series_n)
        return;
    uint64_t hash = lookahead->hash[i % LOOK_AHEAD] = labels_hash(request->series[i].labels);
    catalogue_prefetch(c, hash, FINDING_SLOT);
}

static struct lookahead lookahead_begin(const struct catalogue *c, const struct append_request *request)
{
    struct lookahead lookahead;
    for (size_t i = 0; i < LOOK_AHEAD; i++)
        look_at(c, request, i, &lookahead);
    return lookahead;
}

/* The hash of the request's series i; they are asked for one after the other. */
static uint64_t lookahead_next(const struct catalogue *c, const struct append_request *request, size_t i,
                               struct lookahead *lookahead)
{
    uint64_t hash = lookahead->hash[i % LOOK_AHEAD];
    look_at(c, request, i + LOOK_AHEAD, lookahead);
    for (int step = FINDING_SERIES; step < FINDING_MAX; step++) {
        size_t ahead = i + (size_t)(FINDING_MAX - step) * LOOK_STRIDE;
        if (ahead < request->series_n)
            catalogue_prefetch(c, lookahead->hash[ahead % LOOK_AHEAD], (enum finding)step);
    }
    return hash;
}

static enum status stage_series(struct duckdb_store *store, struct append_request *request,
                                const struct append_series *series, uint64_t hash, struct starts *starts,
                                const struct bounds *common, struct error *reterr)
{
    struct writer *w = &store->writer;
    struct known_series *known = catalogue_find(&w->catalogue, series->labels, hash);
    struct bounds bounds = bounds_for(store, series, *common);
    for (size_t i = 0; i < series->samples_n; i++) {
        const struct sample *sample = &series->samples[i];
        struct offered offered = {.time_ms = sample->time_ms, .bits = double_bits(sample->value)};
        enum verdict verdict = judge(request, series->labels, &offered, known, &bounds);
        if (verdict == TURNED_AWAY || (verdict == LATE && late_stage(w, known, series->labels, &offered, request)))
            continue;
        if (!known)
            known = catalogue_add(&w->catalogue, series->labels, hash);
        struct sample zero;
        bool has_start = known && start_of(starts, sample, known, common, &zero);
        if (verdict == LATE || (has_start && !stage_row(w, known, &zero)) || !stage_row(w, known, sample))
            return error_set(reterr, E_NOMEM, "no memory to stage a write");
        request->zeros += has_start;
        request->written++;
    }
    return OK;
}

/* A native histogram newer than all of its series. False: no memory. */
static bool stage_newest_histogram(struct writer *w, struct known_series *known, const struct offered *offered)
{
    if (!known || !remember(w, known) || !writer_stage_histogram(w, known, offered->time_ms, offered->packed))
        return false;
    known->has_samples = known->newest_is_histogram = true;
    known->newest_unread = false;
    known->newest_ms = offered->time_ms;
    known->newest_bits = offered->bits;
    return true;
}

/* One of the request's native histograms; the samples of its series are staged. */
static enum status stage_histogram(struct duckdb_store *store, struct append_request *request,
                                   const struct append_histogram *histogram, const struct bounds *common,
                                   struct error *reterr)
{
    struct writer *w = &store->writer;
    struct labels labels = request->series[histogram->series].labels;
    uint64_t hash = labels_hash(labels);
    struct known_series *known = catalogue_find(&w->catalogue, labels, hash);
    const struct histogram_sample *is = &histogram->is;
    struct offered offered = {is->time_ms, catalogue_histogram_bits(is->packed), is->packed};
    struct bounds bounds = *common;
    bounds.oldest_allowed_ms = is->time_ms < common->oldest_allowed_ms ? retention_oldest_ms(store, labels) : INT64_MIN;
    enum verdict verdict = judge(request, labels, &offered, known, &bounds);
    if (verdict == TURNED_AWAY || (verdict == LATE && late_stage(w, known, labels, &offered, request)))
        return OK;
    if (!known)
        known = catalogue_add(&w->catalogue, labels, hash);
    if (verdict == LATE || !stage_newest_histogram(w, known, &offered))
        return error_set(reterr, E_NOMEM, "no memory to stage a write");
    request->written++;
    request->histograms_written++;
    return OK;
}

static enum status stage_metadata(struct duckdb_store *store, struct metadata_changes *changes,
                                  struct append_request *request, struct error *reterr)
{
    for (size_t i = 0; i < request->metadata_n; i++) {
        struct error error = {.status = OK};
        enum status status = metadata_stage(&store->metadata, changes, &request->metadata[i], &error);
        if (status == E_LIMIT) { /* the samples beside it are still wanted */
            request->metadata_refused++;
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
    const struct duckdb_options *options = &store->options;
    struct bounds bounds = {.now_ms = wall_clock_ms(),
                            .future_max_ms = options->future_max_ms,
                            .newest_allowed_ms = INT64_MAX,
                            .oldest_allowed_ms = retention_suspect_ms(store),
                            .window_ms = options->out_of_order_window_ms};
    if (options->future_max_ms &&
        __builtin_add_overflow(bounds.now_ms, options->future_max_ms, &bounds.newest_allowed_ms))
        bounds.newest_allowed_ms = INT64_MAX;
    enum status status = OK;
    for (size_t i = 0; status == OK && i < n; i++) {
        struct append_request *request = &requests[i];
        request->written = request->duplicates = request->out_of_order = request->conflicting = 0;
        struct starts starts = {request->starts, request->starts + request->starts_n};
        request->zeros = request->metadata_refused = request->late = request->too_old = request->too_far_ahead =
            request->beyond_retention = 0;
        request->histograms_written = request->histograms_known = 0;
        request->refused = request->exemplar_refused = (struct error){.status = OK};
        memset(request->exemplars_by, 0, sizeof request->exemplars_by);
        size_t histogram = 0;
        struct lookahead lookahead = lookahead_begin(&store->writer.catalogue, request);
        for (size_t j = 0; status == OK && j < request->series_n; j++) {
            uint64_t hash = lookahead_next(&store->writer.catalogue, request, j, &lookahead);
            status = stage_series(store, request, &request->series[j], hash, &starts, &bounds, reterr);
            for (; status == OK && histogram < request->histograms_n && request->histograms[histogram].series == j;)
                status = stage_histogram(store, request, &request->histograms[histogram++], &bounds, reterr);
        }
        for (size_t j = 0; status == OK && j < request->exemplars_n; j++)
            status = stage_exemplar(&store->writer, request, &request->exemplars[j], &bounds, reterr);
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

static enum status put_rows(const struct writer *w, duckdb_appender appender, const struct staged_row *rows,
                            size_t rows_n, struct error *reterr)
{
    idx_t capacity = duckdb_vector_size();
    enum status status = OK;
    for (size_t done = 0; status == OK && done < rows_n;) {
        uint32_t *id = duckdb_vector_get_data(duckdb_data_chunk_get_vector(w->samples_chunk, 0));
        int64_t *time_ms = duckdb_vector_get_data(duckdb_data_chunk_get_vector(w->samples_chunk, 1));
        double *value = duckdb_vector_get_data(duckdb_data_chunk_get_vector(w->samples_chunk, 2));
        int64_t *batch = duckdb_vector_get_data(duckdb_data_chunk_get_vector(w->samples_chunk, 3));
        idx_t n = 0;
        for (; n < capacity && done < rows_n; n++, done++) {
            id[n] = rows[done].series->id;
            time_ms[n] = rows[done].sample.time_ms;
            value[n] = stored_value(rows[done].sample.value);
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
static bool put_series(const struct catalogue *c, duckdb_data_chunk chunk, idx_t row, const struct known_series *series)
{
    struct str metric = {NULL, 0};
    duckdb_vector map = duckdb_data_chunk_get_vector(chunk, 2);
    uint64_t first = duckdb_list_vector_get_size(map), n = first;
    if (duckdb_list_vector_reserve(map, first + series->values_n) != DuckDBSuccess)
        return false;
    duckdb_vector pair = duckdb_list_vector_get_child(map);
    duckdb_vector names = duckdb_struct_vector_get_child(pair, 0), values = duckdb_struct_vector_get_child(pair, 1);
    for (unsigned i = 0; i < series->values_n; i++) {
        struct label label = catalogue_label(c, series, i);
        if (str_eq(label.name, LABEL_METRIC_NAME)) {
            metric = label.value;
            continue;
        }
        put_text(names, n, label.name);
        put_text(values, n++, label.value);
    }
    ((uint32_t *)duckdb_vector_get_data(duckdb_data_chunk_get_vector(chunk, 0)))[row] = series->id;
    put_text(duckdb_data_chunk_get_vector(chunk, 1), row, metric);
    ((duckdb_list_entry *)duckdb_vector_get_data(map))[row] = (duckdb_list_entry){first, n - first};
    return duckdb_list_vector_set_size(map, n) == DuckDBSuccess;
}

static enum status put_new_series(const struct writer *w, duckdb_appender appender, struct error *reterr)
{
    idx_t capacity = duckdb_vector_size(), n = 0;
    enum status status = OK;
    for (size_t i = 0; status == OK && i < w->undo_n; i++) {
        if (w->undo[i].series->stored)
            continue;
        if (!put_series(&w->catalogue, w->series_chunk, n++, w->undo[i].series))
            return error_set(reterr, E_NOMEM, "no memory to write new series");
        if (n == capacity) {
            status = flush_chunk(appender, w->series_chunk, n, reterr);
            n = 0;
        }
    }
    return status == OK ? flush_chunk(appender, w->series_chunk, n, reterr) : status;
}

static enum status appender_open(const struct writer *w, const char *catalog, const char *table,
                                 duckdb_appender *ret_appender, struct error *reterr)
{
    *ret_appender = NULL;
    if (duckdb_appender_create_ext(w->connection->handle, catalog, NULL, table, ret_appender) == DuckDBSuccess)
        return OK;
    return appender_error(*ret_appender, reterr);
}

static enum status appender_end(duckdb_appender appender, enum status so_far, struct error *reterr)
{
    if (so_far == OK && duckdb_appender_close(appender) != DuckDBSuccess)
        so_far = appender_error(appender, reterr);
    duckdb_appender_destroy(&appender);
    return so_far;
}

enum status writer_put_rows(struct writer *w, const char *catalog, const char *table, const struct staged_row *rows,
                            size_t n, struct error *reterr)
{
    duckdb_appender appender;
    enum status status = appender_open(w, catalog, table, &appender, reterr);
    if (status == OK)
        status = put_rows(w, appender, rows, n, reterr);
    return appender_end(appender, status, reterr);
}

static enum status append_new_series(const struct writer *w, struct error *reterr)
{
    duckdb_appender appender;
    enum status status = appender_open(w, ENGINE_CATALOG, "series", &appender, reterr);
    if (status == OK)
        status = put_new_series(w, appender, reterr);
    return appender_end(appender, status, reterr);
}

static enum status write_all(struct writer *w, const struct metadata_changes *changes, struct error *reterr)
{
    enum status status = engine_begin(w->connection, reterr);
    if (status != OK)
        return status;
    if (w->late_n > 0)
        status = late_judge(w, reterr);
    if (status == OK)
        status = append_new_series(w, reterr);
    if (status == OK)
        status = writer_put_rows(w, ENGINE_CATALOG, "recent", w->rows, w->rows_n - w->bulk_n, reterr);
    if (status == OK)
        status = histograms_write(w->connection, w->histograms, w->histograms_n, w->transaction, reterr);
    if (status == OK)
        status = bulk_write(w, reterr);
    if (status == OK)
        status = metadata_write(changes, w->connection, reterr);
    if (status == OK)
        status = exemplars_write(&w->exemplars, w->connection, reterr);
    if (status == OK && w->late_n > 0)
        status = late_join(w, reterr);
    return engine_end(w->connection, status, reterr);
}

/* --- what becomes of what was staged --- */

static void clear(struct writer *w)
{
    w->rows_n = w->histograms_n = w->undo_n = w->late_n = w->bulk_n = 0;
    exemplar_ring_discard(w->exemplars.ring);
    w->in_doubt = false;
    w->transaction++;
}

static void put_back(struct writer *w)
{
    for (size_t i = 0; i < w->undo_n; i++) {
        struct undo *undo = &w->undo[i];
        undo->series->has_samples = undo->has_samples;
        undo->series->newest_is_histogram = undo->newest_is_histogram;
        undo->series->newest_unread = undo->newest_unread;
        undo->series->newest_ms = undo->newest_ms;
        undo->series->newest_bits = undo->newest_bits;
        undo->series->transaction = undo->transaction;
    }
    clear(w);
}

static void settle_sample(struct totals *totals, int64_t time_ms)
{
    totals->min_ms = time_ms < totals->min_ms ? time_ms : totals->min_ms;
    totals->max_ms = time_ms > totals->max_ms ? time_ms : totals->max_ms;
    totals->samples_n++;
}

/* Shows readers what is committed now. */
static void publish(struct writer *w)
{
    catalogue_publish_begin(&w->catalogue);
    for (size_t i = 0; i < w->rows_n; i++)
        catalogue_publish(&w->catalogue, w->rows[i].series, w->rows[i].sample.time_ms, w->rows[i].sample.time_ms);
    for (size_t i = 0; i < w->histograms_n; i++) {
        const struct staged_histogram *histogram = &w->histograms[i];
        catalogue_publish(&w->catalogue, histogram->series, histogram->sample.time_ms, histogram->sample.time_ms);
    }
    for (size_t i = 0; i < w->late_n; i++) {
        const struct staged_row *row = &w->late[i].row;
        if (w->late[i].accepted && w->late[i].joins)
            catalogue_publish(&w->catalogue, row->series, row->sample.time_ms, row->sample.time_ms);
    }
    catalogue_publish_end(&w->catalogue);
}

static void settle(struct duckdb_store *store)
{
    struct writer *w = &store->writer;
    size_t recent_n = w->rows_n - w->bulk_n;
    publish(w); /* before its batch is known to be there: who reads that finds its series by their labels */
    pthread_mutex_lock(&w->totals_lock);
    struct totals *totals = &w->totals;
    for (size_t i = 0; i < w->undo_n; i++) {
        totals->series_n += !w->undo[i].series->stored;
        w->undo[i].series->stored = true;
    }
    for (size_t i = 0; i < w->rows_n; i++)
        settle_sample(totals, w->rows[i].sample.time_ms);
    for (size_t i = 0; i < w->histograms_n; i++)
        settle_sample(totals, w->histograms[i].sample.time_ms);
    totals->histograms_n += w->histograms_n;
    for (size_t i = 0; i < w->late_n; i++) {
        if (w->late[i].accepted && w->late[i].joins)
            settle_sample(totals, w->late[i].row.sample.time_ms);
    }
    totals->batch = w->transaction;
    pthread_mutex_unlock(&w->totals_lock);
    exemplars_keep(&w->exemplars);
    clear(w);
    compactor_appended(store, recent_n);
}

/* A sample that is in the tables if the transaction is. */
struct witness {
    const struct known_series *series; /* NULL: there is none, but maybe exemplars */
    int64_t time_ms;
};

static struct witness witness_of(const struct writer *w)
{
    if (w->rows_n > 0)
        return (struct witness){w->rows[0].series, w->rows[0].sample.time_ms};
    if (w->histograms_n > 0)
        return (struct witness){w->histograms[0].series, w->histograms[0].sample.time_ms};
    for (size_t i = 0; i < w->late_n; i++) {
        if (w->late[i].accepted && w->late[i].joins)
            return (struct witness){w->late[i].row.series, w->late[i].row.sample.time_ms};
    }
    return (struct witness){.series = NULL};
}

static void write_count(struct sql *sql, const char *table, struct witness witness)
{
    sql_words(sql, "(SELECT count(*) FROM ");
    sql_words(sql, table);
    sql_words(sql, " WHERE series = ");
    sql_i64(sql, witness.series->id);
    sql_words(sql, " AND ts = ");
    sql_i64(sql, witness.time_ms);
    sql_words(sql, ") + ");
}

static enum status is_stored(struct writer *w, struct witness witness, bool *ret_is, struct error *reterr)
{
    struct sql sql;
    duckdb_result rows;
    sql_init(&sql, SQL_BYTES_MAX);
    sql_words(&sql, "SELECT ");
    write_count(&sql, "recent", witness);
    write_count(&sql, "histograms", witness);
    sql_words(&sql, "(SELECT count(*) FROM chunks() WHERE series = ");
    sql_i64(&sql, witness.series->id);
    sql_words(&sql, " AND ");
    sql_meets(&sql, (struct time_span){witness.time_ms, witness.time_ms});
    sql_words(&sql, " AND list_contains(ts, ");
    sql_i64(&sql, witness.time_ms);
    sql_words(&sql, "))");
    enum status status = engine_ask(w->connection, &sql, NULL, &rows, reterr);
    if (status != OK)
        return status;
    *ret_is = duckdb_value_int64(&rows, 0, 0) > 0;
    duckdb_destroy_result(&rows);
    return OK;
}

/* Finds out whether the transaction that failed is stored, and settles or puts back what was staged. On failure the
 * doubt stays. */
static enum status end_doubt(struct duckdb_store *store, bool *ret_stored, struct error *reterr)
{
    struct writer *w = &store->writer;
    struct witness witness = witness_of(w);
    bool stored = false;
    pthread_mutex_lock(&store->compactor.running);
    pthread_mutex_lock(&w->lock);
    enum status status = store_mend(store, reterr);
    if (status == OK && witness.series)
        status = is_stored(w, witness, &stored, reterr);
    else if (status == OK)
        status = exemplars_are_stored(&w->exemplars, w->connection, &stored, reterr);
    if (status == OK && stored)
        settle(store);
    else if (status == OK)
        put_back(w);
    pthread_mutex_unlock(&w->lock);
    pthread_mutex_unlock(&store->compactor.running);
    *ret_stored = stored;
    return status;
}

/* --- append --- */

/* Stages all requests, under the writer's lock. Late samples need `running` as well, which comes before that lock: if a
 * move is under way, all is staged again once it is done. */
static enum status stage_alone(struct duckdb_store *store, struct metadata_changes *changes,
                               struct append_request *requests, size_t n, bool *ret_running, struct error *reterr)
{
    struct writer *w = &store->writer;
    enum status status = stage(store, changes, requests, n, reterr);
    if (status != OK || w->late_n == 0 || *ret_running) {
        return status;
    } else if (pthread_mutex_trylock(&store->compactor.running) == 0) {
        *ret_running = true;
    } else {
        put_back(w);
        metadata_changes_release(changes);
        pthread_mutex_unlock(&w->lock);
        compactor_wait(store);
        *ret_running = true;
        pthread_mutex_lock(&w->lock);
        status = stage(store, changes, requests, n, reterr);
    }
    return status;
}

/* More than the transaction will have in the log: a row is there as it is here, and a few bytes more. */
static uint64_t log_bytes(const struct writer *w)
{
    uint64_t bytes = 65536 + w->rows_n * 2 * sizeof *w->rows + (w->late_n ? CHUNKS_LOG_BYTES : 0);
    for (size_t i = 0; i < w->histograms_n; i++)
        bytes += 2 * (sizeof *w->histograms + w->histograms[i].sample.packed.len);
    for (size_t i = 0; i < w->undo_n; i++) {
        const struct known_series *series = w->undo[i].series;
        for (unsigned k = 0; !series->stored && k < series->values_n; k++) {
            struct label label = catalogue_label(&w->catalogue, series, k);
            bytes += 2 * (label.name.len + label.value.len + 16);
        }
    }
    return bytes;
}

static void mark_histograms(struct writer *w)
{
    for (size_t i = 0; i < w->histograms_n; i++)
        catalogue_mark_histograms(&w->catalogue, w->histograms[i].series);
    for (size_t i = 0; i < w->late_n; i++) {
        if (w->late[i].packed.ptr)
            catalogue_mark_histograms(&w->catalogue, w->late[i].row.series);
    }
}

static enum status append_in_turn(struct duckdb_store *store, struct metadata_changes *changes,
                                  struct append_request *requests, size_t n, struct error *reterr)
{
    struct writer *w = &store->writer;
    bool running = store->options.bulk;
    if (running)
        compactor_wait(store);
    pthread_mutex_lock(&w->lock);
    enum status status = stage_alone(store, changes, requests, n, &running, reterr);
    atomic_store(&store->backend.metadata_labels, w->catalogue.metadata_labels);
    if (status == OK && store->options.bulk && w->late_n == 0)
        status = bulk_choose(w, reterr);
    bool any = w->rows_n + w->histograms_n + w->late_n + changes->n + exemplar_ring_staged_n(w->exemplars.ring) > 0;
    if (status == OK && any)
        status = disk_check(store, log_bytes(w), reterr);
    if (status == OK && any) {
        mark_histograms(w);
        status = write_all(w, changes, reterr);
        w->in_doubt = status != OK;
    }
    if (status == OK) {
        settle(store);
        metadata_keep(&store->metadata, changes);
    } else if (!w->in_doubt) {
        put_back(w);
    }
    pthread_mutex_unlock(&w->lock);
    if (running)
        pthread_mutex_unlock(&store->compactor.running);
    return status;
}

enum status store_append(struct backend *backend, struct append_request *requests, size_t n, struct error *reterr)
{
    struct duckdb_store *store = store_of(backend);
    struct writer *w = &store->writer;
    struct metadata_changes changes = {.n = 0};
    struct error failure = {.status = OK}, doubt;
    bool stored = false;
    pthread_mutex_lock(&w->turn);
    enum status status = pause_check(&w->pause, &failure);
    if (status == OK && w->in_doubt)
        status = end_doubt(store, &stored, &failure); /* of an earlier one */
    if (status == OK)
        status = append_in_turn(store, &changes, requests, n, &failure);
    if (status != OK && w->in_doubt) {
        if (end_doubt(store, &stored, &doubt) != OK) {
            failure = status == E_UNAVAILABLE ? doubt : failure;
            status = failure.status;
        } else if (stored) {
            status = OK;
            metadata_keep(&store->metadata, &changes);
        } else if (status == E_UNAVAILABLE) { /* the engine was broken before, and no more is */
            metadata_changes_release(&changes);
            status = append_in_turn(store, &changes, requests, n, &failure);
        }
    }
    if (status == OK) {
        pause_end(&w->pause);
    } else if (status == E_STORE) {
        pause_begin(&w->pause, &failure);
        status = error_set(reterr, E_UNAVAILABLE, "the store cannot be written: %s", failure.message);
    } else if (reterr) {
        *reterr = failure;
    }
    pthread_mutex_unlock(&w->turn);
    metadata_changes_release(&changes);
    return status;
}
