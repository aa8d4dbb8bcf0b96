/* backend/duckdb/move.c: see move.h.
 *
 * One statement counts the rows by series and partition, in the order in which chunks lie: so the place of every
 * sample-to-be is known before the first is read, and nothing need be grouped or sorted by series afterwards. Slices of
 * them are filled from the chunks there are and from recent, and written.
 */
#include "backend/duckdb/move.h"

#include <stdlib.h>

#include "backend/duckdb/chunk_writer.h"
#include "backend/duckdb/decode.h"
#include "backend/duckdb/partition.h"
#include "backend/duckdb/sample_order.h"
#include "backend/duckdb/schema.h"
#include "base/arena.h"
#include "base/array.h"
#include "base/assert.h"
#include "planner/sql.h"

/* Temporary: the chunks to be, one row each; old_n and replaces: of the chunk that it continues, or NULL. */
#define MOVE_PLACES "move_places"

#define NAMES_BYTES_MAX ((size_t)1 << 30)

struct place {
    int64_t partition;
    uint64_t at; /* its samples begin here: those of the old chunk, then those of recent */
    uint32_t series, metric;
    uint32_t next;           /* the series' place in the next partition, after the last one its first */
    uint32_t old_n, fresh_n; /* as counted */
    uint32_t old_got_n, fresh_got_n;
};

struct metric {
    uint64_t key;
    struct str name;
};

struct move {
    struct duckdb_store *store;
    struct connection *connection;
    struct cancel *cancel;
    const struct partitions *taken;
    int64_t number;
    uint64_t rows_n; /* of recent, in the slices so far */

    duckdb_result counted; /* rows of MOVE_PLACES, handed out in vectors */
    bool has_counted;
    duckdb_data_chunk vector; /* NULL: none, or no more */
    idx_t row;                /* the next one in it */

    /* The slice at hand: its places, partition by partition. */
    struct place *places;
    size_t places_n, places_capacity;
    struct arena names;
    struct metric *metrics;
    size_t metrics_n, metrics_capacity;
    struct sample *samples;
    uint64_t samples_n, samples_capacity;
    uint32_t *place_of; /* by number of series: the place asked for last, + 1; 0: none in the slice */
    size_t place_of_n;
    struct sample_scratch scratch;
};

static enum status no_memory(struct error *reterr)
{
    return error_set(reterr, E_NOMEM, "no memory for a move");
}

static enum status contradiction(struct error *reterr)
{
    return error_set(reterr, E_INTERNAL, "a move reads other rows than it counted");
}

static struct time_span span_of(const struct partitions *p)
{
    return partitions_span(p->first, p->last);
}

/* --- counting --- */

/* The condition on rows of recent to be moved. */
static void write_taken(struct sql *sql, const struct move *m, struct time_span span)
{
    sql_between(sql, "ts", span);
    sql_words(sql, " AND ");
    schema_within(sql, m->taken->batch);
}

static void write_places(struct sql *sql, const struct move *m)
{
    struct time_span span = span_of(m->taken);
    sql_words(sql, "CREATE OR REPLACE TEMP TABLE " MOVE_PLACES " AS SELECT part, md5_number_lower(metric) AS "
                   "metric_key, metric, series, fresh.n AS fresh_n, old.n AS old_n, old.tmin AS replaces FROM "
                   "(SELECT series, ");
    partition_write(sql, "ts");
    sql_words(sql, " AS part, count(*) AS n FROM recent WHERE ");
    write_taken(sql, m, span);
    sql_words(sql, " GROUP BY series, part) AS fresh LEFT JOIN (SELECT series, ");
    partition_write(sql, "tmin");
    sql_words(sql, " AS part, tmin, n FROM chunks() WHERE ");
    sql_between(sql, "tmin", span);
    sql_words(sql, ") AS old USING (series, part) JOIN series USING (series)");
}

static enum status count_rows(struct move *m, struct error *reterr)
{
    struct sql sql;
    duckdb_result row;
    enum status status = engine_query(m->connection, "SELECT move + 1 FROM moved", false, m->cancel, &row, reterr);
    if (status != OK)
        return status;
    m->number = duckdb_value_int64(&row, 0, 0);
    duckdb_destroy_result(&row);
    sql_init(&sql, SQL_BYTES_MAX);
    write_places(&sql, m);
    status = engine_alter(m->connection, &sql, m->cancel, NULL, reterr);
    if (status == OK)
        status = engine_query(m->connection,
                              "SELECT part, metric_key, metric, series, fresh_n::UINTEGER, coalesce(old_n, "
                              "0)::UINTEGER FROM temp.main." MOVE_PLACES " ORDER BY part, metric_key, series",
                              false, m->cancel, &m->counted, reterr);
    m->has_counted = status == OK;
    return status;
}

/* --- a slice's places --- */

static enum status find_row(struct move *m, struct error *reterr)
{
    if (m->vector && m->row < duckdb_data_chunk_get_size(m->vector))
        return OK;
    engine_chunk_free(&m->vector);
    m->row = 0;
    return engine_fetch(m->connection, &m->counted, m->cancel, &m->vector, reterr);
}

static const void *cells(const struct move *m, idx_t column)
{
    return duckdb_vector_get_data(duckdb_data_chunk_get_vector(m->vector, column));
}

/* The metric of the row at hand: its places lie side by side. */
static bool add_metric(struct move *m)
{
    struct text_column names = text_column_of(duckdb_data_chunk_get_vector(m->vector, 2));
    struct str name = text_column_get(&names, m->row);
    if (m->metrics_n > 0 && str_eq(m->metrics[m->metrics_n - 1].name, name))
        return true;
    if (!array_reserve(&m->metrics, &m->metrics_capacity, m->metrics_n + 1, sizeof *m->metrics))
        return false;
    struct metric metric = {((const uint64_t *)cells(m, 1))[m->row], arena_str(&m->names, name)};
    m->metrics[m->metrics_n++] = metric;
    return metric.name.ptr;
}

static bool make_place_of(struct move *m, uint32_t series)
{
    if (series >= m->place_of_n) {
        size_t wanted = (size_t)series + series / 2 + 1024;
        uint32_t *grown = realloc(m->place_of, wanted * sizeof *grown);
        if (!grown)
            return false;
        for (size_t i = m->place_of_n; i < wanted; i++)
            grown[i] = 0;
        m->place_of = grown;
        m->place_of_n = wanted;
    }
    return true;
}

/* Behind the series' places of earlier partitions. */
static void link_place(struct move *m, struct place *place)
{
    uint32_t number = (uint32_t)(place - m->places), last = m->place_of[place->series];
    place->next = last ? m->places[last - 1].next : number;
    if (last)
        m->places[last - 1].next = number;
    m->place_of[place->series] = number + 1;
}

/* The row at hand, of so many samples. */
static bool add_place(struct move *m, uint32_t fresh_n, uint32_t old_n)
{
    uint32_t series = ((const uint32_t *)cells(m, 3))[m->row];
    if (!add_metric(m) || !array_reserve(&m->places, &m->places_capacity, m->places_n + 1, sizeof *m->places) ||
        !make_place_of(m, series))
        return false;
    struct place *place = &m->places[m->places_n++];
    *place = (struct place){.partition = ((const int64_t *)cells(m, 0))[m->row],
                            .at = m->samples_n,
                            .series = series,
                            .metric = (uint32_t)m->metrics_n - 1,
                            .old_n = old_n,
                            .fresh_n = fresh_n};
    link_place(m, place);
    m->samples_n += (uint64_t)fresh_n + old_n;
    m->rows_n += fresh_n;
    return true;
}

static void clear_slice(struct move *m)
{
    for (size_t i = 0; i < m->places_n; i++)
        m->place_of[m->places[i].series] = 0;
    m->places_n = m->metrics_n = 0;
    m->samples_n = 0;
    arena_reset(&m->names);
}

/* The next places, as many as a slice takes; none are left when it has none. */
static enum status begin_slice(struct move *m, struct error *reterr)
{
    enum status status;
    clear_slice(m);
    while ((status = find_row(m, reterr)) == OK && m->vector) {
        uint32_t fresh_n = ((const uint32_t *)cells(m, 4))[m->row], old_n = ((const uint32_t *)cells(m, 5))[m->row];
        if (m->places_n > 0 && m->samples_n + fresh_n + old_n > MOVE_SLICE_SAMPLES)
            break;
        if (!add_place(m, fresh_n, old_n))
            return no_memory(reterr);
        m->row++;
    }
    if (status == OK && m->samples_n > m->samples_capacity) {
        free(m->samples);
        m->samples = malloc(m->samples_n * sizeof *m->samples);
        m->samples_capacity = m->samples ? m->samples_n : 0;
        status = m->samples ? OK : no_memory(reterr);
    }
    return status;
}

/* --- filling it --- */

/* NULL: it is in another slice. Rows of a series mostly come in the order of time. */
static struct place *place_of(struct move *m, uint32_t series, int64_t time_ms)
{
    uint32_t last = series < m->place_of_n ? m->place_of[series] : 0;
    if (!last)
        return NULL;
    int64_t partition = partition_of(time_ms);
    uint32_t number = last - 1;
    while (m->places[number].partition != partition) {
        number = m->places[number].next;
        if (number == last - 1)
            return NULL;
    }
    m->place_of[series] = number + 1;
    return &m->places[number];
}

/* Chunks: those of other slices may be among them. */
static enum status take_chunks(struct move *m, duckdb_data_chunk vectors, struct error *reterr)
{
    const uint32_t *series = duckdb_vector_get_data(duckdb_data_chunk_get_vector(vectors, 0));
    struct run_column runs =
        run_column_of(duckdb_data_chunk_get_vector(vectors, 1), duckdb_data_chunk_get_vector(vectors, 2));
    for (idx_t row = 0; row < duckdb_data_chunk_get_size(vectors); row++) {
        struct samples run = run_column_get(&runs, row);
        struct place *place = run.n > 0 ? place_of(m, series[row], run.time_ms[0]) : NULL;
        if (!place)
            continue;
        if (place->old_got_n > 0 || run.n != place->old_n)
            return contradiction(reterr);
        struct sample *to = m->samples + place->at;
        for (size_t i = 0; i < run.n; i++)
            to[i] = (struct sample){run.time_ms[i], run.value[i]};
        place->old_got_n = place->old_n;
    }
    return OK;
}

/* Rows of recent, those of other slices among them. */
static enum status take_recent(struct move *m, duckdb_data_chunk vectors, struct error *reterr)
{
    const uint32_t *series = duckdb_vector_get_data(duckdb_data_chunk_get_vector(vectors, 0));
    const int64_t *time_ms = duckdb_vector_get_data(duckdb_data_chunk_get_vector(vectors, 1));
    const double *value = duckdb_vector_get_data(duckdb_data_chunk_get_vector(vectors, 2));
    for (idx_t row = 0; row < duckdb_data_chunk_get_size(vectors); row++) {
        struct place *place = place_of(m, series[row], time_ms[row]);
        if (!place)
            continue;
        if (place->fresh_got_n == place->fresh_n)
            return contradiction(reterr);
        m->samples[place->at + place->old_n + place->fresh_got_n++] = (struct sample){time_ms[row], value[row]};
    }
    return OK;
}

typedef enum status take_fn(struct move *m, duckdb_data_chunk vectors, struct error *reterr);

/* Releases the statement. */
static enum status read_rows(struct move *m, struct sql *sql, take_fn *take, struct error *reterr)
{
    duckdb_result rows;
    duckdb_data_chunk vectors = NULL;
    compactor_step_aside(m->store, m->taken->rows_n);
    enum status status = sql_status(sql, reterr);
    if (status == OK)
        status = engine_query(m->connection, strbuf_view(&sql->text).ptr, true, m->cancel, &rows, reterr);
    sql_release(sql);
    if (status != OK)
        return status;
    while (status == OK && (status = engine_fetch(m->connection, &rows, m->cancel, &vectors, reterr)) == OK &&
           vectors) {
        status = take(m, vectors, reterr);
        engine_chunk_free(&vectors);
    }
    duckdb_destroy_result(&rows);
    return status;
}

static struct time_span slice_span(const struct move *m)
{
    return partitions_span(m->places[0].partition, m->places[m->places_n - 1].partition);
}

/* Of the chunks of the slice's partitions, those whose metrics' keys lie between its least and its largest. */
static enum status read_chunks(struct move *m, struct error *reterr)
{
    const struct metric *least = m->metrics, *most = m->metrics;
    for (size_t i = 1; i < m->metrics_n; i++) {
        least = m->metrics[i].key < least->key ? &m->metrics[i] : least;
        most = m->metrics[i].key > most->key ? &m->metrics[i] : most;
    }
    struct sql sql;
    sql_init(&sql, SQL_BYTES_MAX);
    sql_words(&sql, "SELECT series, " SCHEMA_CHUNK_TIMES " AS ts, value FROM stored_chunks WHERE ");
    sql_between(&sql, "tmin", slice_span(m));
    sql_words(&sql, " AND move < ");
    sql_i64(&sql, m->number);
    sql_words(&sql, " AND metric_key BETWEEN md5_number_lower(");
    sql_string(&sql, least->name);
    sql_words(&sql, ") AND md5_number_lower(");
    sql_string(&sql, most->name);
    sql_words(&sql, ")");
    return read_rows(m, &sql, take_chunks, reterr);
}

static enum status read_recent(struct move *m, struct error *reterr)
{
    struct sql sql;
    sql_init(&sql, SQL_BYTES_MAX);
    sql_words(&sql, "SELECT series, ts, value FROM recent WHERE ");
    write_taken(&sql, m, slice_span(m));
    return read_rows(m, &sql, take_recent, reterr);
}

static enum status fill_slice(struct move *m, struct error *reterr)
{
    bool any_old = false;
    for (size_t i = 0; i < m->places_n && !any_old; i++)
        any_old = m->places[i].old_n > 0;
    enum status status = any_old ? read_chunks(m, reterr) : OK;
    return status == OK ? read_recent(m, reterr) : status;
}

/* --- writing it --- */

/* Rows of recent are later than the chunk of their series and partition, since append joins the samples that would not
 * be to the chunk at once (late.c). */
static enum status write_slice(struct move *m, struct chunk_writer *writer, struct error *reterr)
{
    enum status status = OK;
    for (size_t i = 0; status == OK && i < m->places_n; i++) {
        const struct place *place = &m->places[i];
        if (place->old_got_n != place->old_n || place->fresh_got_n != place->fresh_n)
            return contradiction(reterr);
        if (!samples_put_in_order(m->samples + place->at + place->old_n, place->fresh_n, &m->scratch))
            return no_memory(reterr);
        const struct metric *metric = &m->metrics[place->metric];
        struct chunk_row row = {.metric_key = metric->key,
                                .metric = metric->name,
                                .series = place->series,
                                .samples = m->samples + place->at,
                                .n = (size_t)place->old_n + place->fresh_n};
        if (writer->n == 0)
            compactor_step_aside(m->store, m->taken->rows_n);
        status = chunk_writer_put(writer, &row, reterr);
    }
    return status;
}

static enum status write_chunks(struct move *m, struct error *reterr)
{
    struct chunk_writer writer;
    enum status status = chunk_writer_open(&writer, m->connection, ENGINE_CATALOG, "stored_chunks", &m->number, reterr);
    while (status == OK && (status = begin_slice(m, reterr)) == OK && m->places_n > 0) {
        status = fill_slice(m, reterr);
        if (status == OK)
            status = write_slice(m, &writer, reterr);
    }
    return chunk_writer_close(&writer, status, reterr);
}

/* --- the rest --- */

static enum status follow(struct move *m, struct error *reterr)
{
    struct sql source;
    sql_init(&source, SQL_BYTES_MAX);
    sql_words(&source,
              "(SELECT metric, series, tmin, " SCHEMA_CHUNK_TIMES " AS ts, value FROM stored_chunks WHERE move = ");
    sql_i64(&source, m->number);
    sql_words(&source, ")");
    enum status status = sql_status(&source, reterr);
    if (status == OK)
        status = rollup_follow(&m->store->rollups, m->connection, strbuf_view(&source.text).ptr, span_of(m->taken),
                               m->cancel, reterr);
    sql_release(&source);
    return status;
}

static enum status delete_chunks(struct move *m, struct error *reterr)
{
    struct sql sql;
    sql_init(&sql, SQL_BYTES_MAX);
    sql_words(&sql, "DELETE FROM stored_chunks AS old USING temp.main." MOVE_PLACES " AS place WHERE ");
    sql_between(&sql, "old.tmin", span_of(m->taken));
    sql_words(&sql, " AND old.move < ");
    sql_i64(&sql, m->number);
    sql_words(&sql, " AND place.series = old.series AND place.replaces = old.tmin");
    return engine_alter(m->connection, &sql, m->cancel, NULL, reterr);
}

static enum status delete_recent(struct move *m, struct error *reterr)
{
    struct sql sql;
    uint64_t rows_n = 0;
    sql_init(&sql, SQL_BYTES_MAX);
    sql_words(&sql, "DELETE FROM recent WHERE ");
    write_taken(&sql, m, span_of(m->taken));
    enum status status = engine_alter(m->connection, &sql, m->cancel, &rows_n, reterr);
    return status == OK && rows_n != m->rows_n ? contradiction(reterr) : status;
}

static enum status finish(struct move *m, struct error *reterr)
{
    static const char *const STATEMENTS[] = {SCHEMA_NEXT_MOVE, "DROP TABLE temp.main." MOVE_PLACES};
    enum status status = OK;
    for (size_t i = 0; status == OK && i < ARRAY_LENGTH(STATEMENTS); i++)
        status = engine_change(m->connection, STATEMENTS[i], m->cancel, NULL, reterr);
    return status;
}

static enum status change_tables(struct move *m, struct error *reterr)
{
    static enum status (*const STEPS[])(struct move *, struct error *) = {count_rows,    write_chunks,  follow,
                                                                          delete_chunks, delete_recent, finish};
    enum status status = OK;
    for (size_t i = 0; status == OK && i < ARRAY_LENGTH(STEPS); i++) {
        compactor_step_aside(m->store, m->taken->rows_n);
        status = STEPS[i](m, reterr);
    }
    return status;
}

static void release(struct move *m)
{
    engine_chunk_free(&m->vector);
    if (m->has_counted)
        duckdb_destroy_result(&m->counted);
    free(m->places);
    free(m->metrics);
    free(m->samples);
    free(m->place_of);
    free(m->scratch.at);
    arena_release(&m->names);
}

enum status move_rows(struct duckdb_store *store, const struct partitions *taken, struct error *reterr)
{
    struct compactor *c = &store->compactor;
    struct move m = {.store = store, .connection = c->connection, .cancel = &c->cancel, .taken = taken};
    arena_init(&m.names, NAMES_BYTES_MAX);
    enum status status = change_tables(&m, reterr);
    release(&m);
    return status == E_INTERNAL ? engine_contradicts(c->connection, reterr) : status;
}
