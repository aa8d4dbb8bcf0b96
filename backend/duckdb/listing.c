/* backend/duckdb/listing.c: series, label names and label values that match and have a sample in a span of time. */
#include <stdlib.h>
#include <string.h>

#include "backend/duckdb/decode.h"
#include "backend/duckdb/schema.h"
#include "backend/duckdb/store.h"
#include "base/assert.h"
#include "planner/sql.h"

/* Labels of one listing; 1 M series of some ten labels fit. */
#define LISTING_BYTES_MAX ((size_t)1 << 30)

enum status store_check_matchers(struct duckdb_store *store, const struct matcher *at, size_t n, struct error *reterr)
{
    enum status status = OK;
    for (size_t i = 0; status == OK && i < n; i++) {
        if (at[i].op == MATCH_REGEX || at[i].op == MATCH_NOT_REGEX)
            status = regex_check(&store->regex, at[i].value, reterr);
    }
    return status;
}

enum status store_check_query(struct duckdb_store *store, const struct series_query *query, struct error *reterr)
{
    enum status status = OK;
    for (size_t i = 0; status == OK && i < query->selectors_n; i++)
        status = store_check_matchers(store, query->selectors[i].matchers, query->selectors[i].matchers_n, reterr);
    return status;
}

void store_write_selectors(struct sql *sql, const struct series_query *query)
{
    for (size_t i = 0; i < query->selectors_n; i++) {
        sql_words(sql, i ? " OR (" : "((");
        sql_matchers(sql, query->selectors[i].matchers, query->selectors[i].matchers_n);
        sql_words(sql, ")");
    }
    sql_words(sql, query->selectors_n ? ")" : "true");
}

/* "FROM series WHERE …": the series of the query. */
static void write_chosen(struct sql *sql, struct duckdb_store *store, const struct series_query *query)
{
    sql_words(sql, " FROM series WHERE ");
    store_write_selectors(sql, query);
    /* Every series has a sample, so a span over all of them asks nothing. */
    struct totals totals = writer_totals(&store->writer);
    if (query->span.min_ms <= totals.min_ms && query->span.max_ms >= totals.max_ms)
        return;
    sql_words(sql, " AND series IN (SELECT series FROM recent WHERE ");
    sql_between(sql, "ts", query->span);
    /* A chunk that lies around the span may have a gap there. */
    sql_words(sql, " UNION ALL SELECT series FROM chunks WHERE ");
    sql_meets(sql, query->span);
    sql_words(sql, " AND (");
    sql_between(sql, "tmin", query->span);
    sql_words(sql, " OR ");
    sql_between(sql, "tmax", query->span);
    sql_words(sql, " OR len(list_filter(ts, lambda t: ");
    sql_between(sql, "t", query->span);
    sql_words(sql, ")) > 0))");
}

/* Runs the statement and hands each chunk to `take`. */
static enum status for_each_chunk(struct duckdb_store *store, const struct sql *sql, struct cancel *cancel,
                                  enum status (*take)(void *list, duckdb_data_chunk, struct error *), void *list,
                                  struct error *reterr)
{
    struct connection *connection = NULL;
    enum status status = sql_status(sql, reterr);
    if (status == OK)
        status = engine_acquire(&store->engine, cancel, &connection, reterr);
    if (status != OK)
        return status;
    duckdb_result rows;
    status = schema_read(connection, strbuf_view(&sql->text).ptr, cancel, &rows, reterr);
    if (status == OK) {
        duckdb_data_chunk chunk = NULL;
        while (status == OK && (status = engine_fetch(&rows, cancel, &chunk, reterr)) == OK && chunk) {
            status = take(list, chunk, reterr);
            duckdb_destroy_data_chunk(&chunk);
        }
        duckdb_destroy_result(&rows);
    }
    engine_release(&store->engine, connection);
    return status;
}

/* --- series --- */

struct series_taking {
    struct series_list *list;
    size_t capacity;
};

static enum status take_series(void *arg, duckdb_data_chunk chunk, struct error *reterr)
{
    struct series_taking *taking = arg;
    struct series_list *list = taking->list;
    const struct fragment_columns columns = {.metric = true, .map = true};
    struct label_reader reader;
    label_reader_init(&reader, &columns, NULL, chunk, 0);
    idx_t n = duckdb_data_chunk_get_size(chunk);
    if (list->n + n > taking->capacity) {
        size_t capacity = 2 * (list->n + n);
        struct labels *grown = realloc(list->at, capacity * sizeof *grown);
        if (!grown)
            return error_set(reterr, E_NOMEM, "no memory for a list of series");
        list->at = grown;
        taking->capacity = capacity;
    }
    enum status status = OK;
    for (idx_t row = 0; status == OK && row < n; row++) {
        status = label_reader_get(&reader, row, &list->arena, &list->at[list->n], reterr);
        list->n += status == OK;
    }
    return status;
}

static int compare_labels(const void *a, const void *b)
{
    return labels_cmp(*(const struct labels *)a, *(const struct labels *)b);
}

/* Sorts, cuts at the limit, and moves the array into the arena. */
static enum status finish_series(struct series_list *list, size_t limit, struct error *reterr)
{
    struct labels *found = list->at;
    if (list->n > 1)
        qsort(found, list->n, sizeof *found, compare_labels);
    list->truncated = limit && list->n > limit;
    list->n = list->truncated ? limit : list->n;
    list->at = ARENA_ARRAY(&list->arena, struct labels, list->n ? list->n : 1);
    if (list->at && list->n)
        memcpy(list->at, found, list->n * sizeof *found);
    free(found);
    return list->at ? OK : error_set(reterr, E_NOMEM, "no memory for a list of series");
}

enum status store_series(struct backend *backend, const struct series_query *query, struct cancel *cancel,
                         struct series_list **ret_list, struct error *reterr)
{
    struct duckdb_store *store = store_of(backend);
    enum status status = store_check_query(store, query, reterr);
    if (status != OK)
        return status;
    struct series_taking taking = {.list = calloc(1, sizeof *taking.list)};
    if (!taking.list)
        return error_set(reterr, E_NOMEM, "no memory for a list of series");
    arena_init(&taking.list->arena, LISTING_BYTES_MAX);
    struct sql sql;
    sql_init(&sql, SQL_BYTES_MAX);
    sql_words(&sql, "SELECT metric, labels");
    write_chosen(&sql, store, query);
    status = for_each_chunk(store, &sql, cancel, take_series, &taking, reterr);
    sql_release(&sql);
    if (status == OK) {
        status = finish_series(taking.list, query->limit, reterr);
    } else {
        free(taking.list->at);
    }
    if (status == OK)
        *ret_list = taking.list;
    else
        series_list_free(taking.list);
    return status;
}

/* --- strings --- */

struct string_taking {
    struct string_list *list;
    struct str *at; /* growing; moved into the arena at the end */
    size_t capacity;
};

static enum status take_strings(void *arg, duckdb_data_chunk chunk, struct error *reterr)
{
    struct string_taking *taking = arg;
    struct string_list *list = taking->list;
    struct text_column column = text_column_of(duckdb_data_chunk_get_vector(chunk, 0));
    idx_t n = duckdb_data_chunk_get_size(chunk);
    if (list->n + n > taking->capacity) {
        size_t capacity = 2 * (list->n + n);
        struct str *grown = realloc(taking->at, capacity * sizeof *grown);
        if (!grown)
            return error_set(reterr, E_NOMEM, "no memory for a list of labels");
        taking->at = grown;
        taking->capacity = capacity;
    }
    for (idx_t row = 0; row < n; row++)
        taking->at[list->n++] = arena_str(&list->arena, text_column_get(&column, row));
    if (list->arena.exhausted)
        return error_set(reterr, E_NOMEM, "a list of labels does not fit in its memory limit of %zu bytes",
                         list->arena.cap_bytes);
    return OK;
}

static enum status finish_strings(struct string_taking *taking, size_t limit, struct error *reterr)
{
    struct string_list *list = taking->list;
    list->truncated = limit && list->n > limit;
    list->n = list->truncated ? limit : list->n;
    list->at = ARENA_ARRAY(&list->arena, struct str, list->n ? list->n : 1);
    if (!list->at)
        return error_set(reterr, E_NOMEM, "no memory for a list of labels");
    if (list->n)
        memcpy(list->at, taking->at, list->n * sizeof *list->at);
    return OK;
}

/* Runs a statement whose one column is the strings; takes one row more than the limit, to know whether it cut. */
static enum status list_strings(struct duckdb_store *store, struct sql *sql, size_t limit, struct cancel *cancel,
                                struct string_list **ret_list, struct error *reterr)
{
    struct string_taking taking = {.list = calloc(1, sizeof *taking.list)};
    if (!taking.list)
        return error_set(reterr, E_NOMEM, "no memory for a list of labels");
    arena_init(&taking.list->arena, LISTING_BYTES_MAX);
    if (limit && limit < INT64_MAX) {
        sql_words(sql, " LIMIT ");
        sql_i64(sql, (int64_t)limit + 1);
    }
    enum status status = for_each_chunk(store, sql, cancel, take_strings, &taking, reterr);
    if (status == OK)
        status = finish_strings(&taking, limit, reterr);
    free(taking.at);
    if (status == OK)
        *ret_list = taking.list;
    else
        string_list_free(taking.list);
    return status;
}

enum status store_label_names(struct backend *backend, const struct series_query *query, struct cancel *cancel,
                              struct string_list **ret_list, struct error *reterr)
{
    struct duckdb_store *store = store_of(backend);
    enum status status = store_check_query(store, query, reterr);
    if (status != OK)
        return status;
    struct sql sql;
    sql_init(&sql, SQL_BYTES_MAX);
    sql_words(&sql, "WITH chosen AS MATERIALIZED (SELECT metric, labels");
    write_chosen(&sql, store, query);
    sql_words(&sql, ") SELECT DISTINCT name FROM (SELECT unnest(map_keys(labels)) AS name FROM chosen UNION ALL "
                    "SELECT '__name__' FROM chosen WHERE metric <> '') ORDER BY name");
    status = list_strings(store, &sql, query->limit, cancel, ret_list, reterr);
    sql_release(&sql);
    return status;
}

enum status store_label_values(struct backend *backend, struct str name, const struct series_query *query,
                               struct cancel *cancel, struct string_list **ret_list, struct error *reterr)
{
    struct duckdb_store *store = store_of(backend);
    enum status status = store_check_query(store, query, reterr);
    if (status != OK)
        return status;
    struct sql sql;
    sql_init(&sql, SQL_BYTES_MAX);
    sql_words(&sql, "SELECT DISTINCT found FROM (SELECT ");
    if (str_eq(name, LABEL_METRIC_NAME)) {
        sql_words(&sql, "metric");
    } else {
        sql_words(&sql, "prom_label(labels, ");
        sql_string(&sql, name);
        sql_words(&sql, ")");
    }
    sql_words(&sql, " AS found");
    write_chosen(&sql, store, query);
    sql_words(&sql, ") WHERE found <> '' ORDER BY found");
    status = list_strings(store, &sql, query->limit, cancel, ret_list, reterr);
    sql_release(&sql);
    return status;
}
