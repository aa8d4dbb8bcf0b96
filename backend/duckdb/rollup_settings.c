/* backend/duckdb/rollup_settings.c: see rollup.h. Which rollups there are: the levels, the series that have them, and
 * the macros by which fragments read them; and that settings do not take away what cannot be made again. */
#include "backend/duckdb/rollup_rows.h"

#include "backend/duckdb/matching.h"
#include "backend/duckdb/partition.h"
#include "backend/duckdb/schema.h"
#include "backend/duckdb/store.h"
#include "base/assert.h"
#include "base/float_text.h"

#define SPAN_MAX INT64_C(100000000) /* of rows that promise anything: some hundred thousand years */

/* Up to where rollups have all samples of their series. */
#define SETTLED "coalesce(getvariable('settled'), -9223372036854775807)"

/* "SELECT series …": those that have rollups. */
static void write_covered(struct sql *sql, const struct rollup_settings *settings)
{
    for (size_t i = 0; i < settings->selectors_n; i++) {
        sql_words(sql, i ? " UNION " : "");
        sql_series_matching(sql, settings->selectors[i].matchers, settings->selectors[i].matchers_n, EVER);
    }
    if (settings->selectors_n == 0)
        sql_words(sql, "SELECT series FROM series");
}

static void write_levels(struct sql *sql, const struct rollup_settings *settings)
{
    sql_words(sql, "SELECT unnest([");
    for (size_t i = 0; i < settings->levels_n; i++) {
        sql_words(sql, i ? ", " : "");
        sql_i64(sql, settings->levels_ms[i]);
    }
    sql_words(sql, "])::BIGINT AS level");
}

#define OF_METRIC                                                                                                      \
    "metric_key = md5_number_lower(name) AND CASE WHEN " SCHEMA_IS_MOVED " THEN metric = name ELSE false END"

/* The span itself, as far as it is settled: none of it if it lies before 1970, where spans count otherwise, or so late
 * that its end is no number. */
static void write_whole(struct sql *sql)
{
    sql_words(sql, ", span * ");
    rollup_write_span_length(sql, "wanted");
    sql_words(sql, " AS whole_from, least(CASE WHEN span BETWEEN 0 AND ");
    sql_i64(sql, SPAN_MAX);
    sql_words(sql, " THEN span + 1 ELSE span END * ");
    rollup_write_span_length(sql, "wanted");
    sql_words(sql, ", " SETTLED ") - 1 AS whole_until");
}

static void write_macro(struct sql *sql, const char *name, const char *arguments)
{
    sql_words(sql, "CREATE OR REPLACE MACRO ");
    sql_words(sql, name);
    sql_words(sql, arguments);
    sql_words(sql, " AS TABLE ");
}

/* "SELECT …": rows of rollups; `whole`: and where they have all samples. */
static void write_rows(struct sql *sql, const char *lists, bool whole)
{
    sql_words(sql, "SELECT series, tmin, tmax, ");
    sql_words(sql, lists);
    if (whole)
        write_whole(sql);
    sql_words(sql, " FROM rollups WHERE level = wanted AND " OF_METRIC);
}

/* "SELECT …": chunks that have no rollups yet, chunks of series that have none, and recent rows. As to the conditions
 * see runs_of (schema.c); that on ts is for rows of a batch that is being committed (schema.h), which the time up to
 * which all is settled may not know of. */
static void write_rest(struct sql *sql, const struct rollup_settings *settings)
{
    static const char RAW[] = "SELECT series, tmin, tmax, " SCHEMA_CHUNK_TIMES
                              " AS ts, value, NULL::BIGINT[] AS weight, tmin AS whole_from, tmax AS whole_until "
                              "FROM stored_chunks WHERE tmin ";
    sql_words(sql, RAW);
    sql_words(sql, ">= " SCHEMA_ROLLED " AND " OF_METRIC " UNION ALL ");
    if (settings->selectors_n > 0) {
        sql_words(sql, RAW);
        sql_words(sql, "< " SCHEMA_ROLLED " AND " OF_METRIC);
        sql_words(sql, " AND series IN (SELECT series FROM series_named(name) WHERE series NOT IN (");
        write_covered(sql, settings);
        sql_words(sql, ")) UNION ALL ");
    }
    sql_words(sql, "SELECT series, ts, ts, [ts], [value], NULL, ts, ts FROM recent WHERE xor(ts, 0) >= " SETTLED
                   " AND is_series_named(series, name)");
}

/* What fragments read instead of runs_of: rollups, and behind them the rest. In [whole_from, whole_until] a row has all
 * samples of its series: one of rollups in its span, as far as it is settled. */
static void write_reader(struct sql *sql, const struct rollup_settings *settings, const char *name, const char *lists)
{
    write_macro(sql, name, "(name, wanted)");
    write_rows(sql, lists, true);
    sql_words(sql, " UNION ALL ");
    write_rest(sql, settings);
}

#define EDGES "ts, value, weight"
#define SUMS  "sum_ts AS ts, sum_value AS value, sum_weight AS weight"

static void write_edges_reader(struct sql *sql, const struct rollup_settings *settings)
{
    write_reader(sql, settings, "rolled_edges", EDGES);
}

static void write_sums_reader(struct sql *sql, const struct rollup_settings *settings)
{
    write_reader(sql, settings, "rolled_sums", SUMS);
}

/* The same in their parts (by_run.h). */
static void write_edges_rows(struct sql *sql, const struct rollup_settings *settings)
{
    write_macro(sql, "rollup_edges_of", "(name, wanted)");
    write_rows(sql, EDGES, false);
}

static void write_sums_rows(struct sql *sql, const struct rollup_settings *settings)
{
    write_macro(sql, "rollup_sums_of", "(name, wanted)");
    write_rows(sql, SUMS, false);
}

static void write_rest_reader(struct sql *sql, const struct rollup_settings *settings)
{
    write_macro(sql, "rollup_rest_of", "(name)");
    write_rest(sql, settings);
}

static void write_levels_view(struct sql *sql, const struct rollup_settings *settings)
{
    sql_words(sql, "CREATE OR REPLACE VIEW rollup_levels AS ");
    write_levels(sql, settings);
}

/* A macro and no view: the engine looks into views when it opens a database, before it knows our functions. */
static void write_covered_macro(struct sql *sql, const struct rollup_settings *settings)
{
    sql_words(sql, "CREATE OR REPLACE MACRO rollup_series() AS TABLE ");
    write_covered(sql, settings);
}

/* What tells settings apart, as a text. */
static void write_key(struct sql *sql, const struct rollup_settings *settings)
{
    struct sql key;
    sql_init(&key, SQL_BYTES_MAX);
    sql_words(&key, "1:"); /* of what a row is */
    write_levels(&key, settings);
    sql_words(&key, ":");
    write_covered(&key, settings);
    if (sql_status(&key, NULL) == OK)
        sql_string(sql, strbuf_view(&key.text));
    else
        sql->status = key.status;
    sql_release(&key);
}

static void write_row(struct sql *sql, const struct rollup_settings *settings)
{
    sql_words(sql, "INSERT INTO rolled SELECT ");
    sql_i64(sql, ROLLUP_NEVER);
    sql_words(sql, settings->selectors_n ? ", true, " : ", false, ");
    write_key(sql, settings);
    sql_words(sql, ", ");
    sql_i64(sql, ROLLUP_NEVER);
}

static enum status define(struct connection *connection, const struct rollup_settings *settings,
                          void (*const *definitions)(struct sql *, const struct rollup_settings *), size_t n,
                          struct error *reterr)
{
    enum status status = OK;
    for (size_t i = 0; status == OK && i < n; i++) {
        struct sql sql;
        sql_init(&sql, SQL_BYTES_MAX);
        definitions[i](&sql, settings);
        status = engine_alter(connection, &sql, NULL, NULL, reterr);
    }
    return status;
}

static void (*const READERS[])(struct sql *, const struct rollup_settings *) = {
    write_edges_reader, write_sums_reader, write_edges_rows, write_sums_rows, write_rest_reader,
};
#define READERS_N ((int64_t)ARRAY_LENGTH(READERS))

/* A store may have been made before there were these. */
static enum status look_for_readers(struct connection *connection, bool *ret_there, struct error *reterr)
{
    duckdb_result rows;
    enum status status = engine_query(
        connection,
        "SELECT count(DISTINCT function_name) FROM duckdb_functions() WHERE function_name IN ('rolled_edges', "
        "'rolled_sums', 'rollup_edges_of', 'rollup_sums_of', 'rollup_rest_of')",
        false, NULL, &rows, reterr);
    if (status != OK)
        return status;
    *ret_there = duckdb_value_int64(&rows, 0, 0) >= READERS_N;
    duckdb_destroy_result(&rows);
    return OK;
}

static enum status define_readers(struct connection *connection, const struct rollup_settings *settings,
                                  struct error *reterr)
{
    return define(connection, settings, READERS, settings->levels_n > 0 ? (size_t)READERS_N : 0, reterr);
}

/* In a transaction: nothing is made yet. */
static enum status begin_anew(struct connection *connection, const struct rollup_settings *settings,
                              struct error *reterr)
{
    static void (*const DEFINE[])(struct sql *, const struct rollup_settings *) = {
        write_levels_view,
        write_covered_macro,
        write_row,
    };
    enum status status = engine_change(connection, "DELETE FROM rollups", NULL, NULL, reterr);
    if (status == OK)
        status = engine_change(connection, "DELETE FROM rolled", NULL, NULL, reterr);
    if (status == OK && settings->levels_n > 0)
        status = define(connection, settings, DEFINE, ARRAY_LENGTH(DEFINE), reterr);
    return status == OK ? define_readers(connection, settings, reterr) : status;
}

/* Whether what is stored was made under these settings. */
static enum status compare(struct connection *connection, const struct rollup_settings *settings, bool *ret_same,
                           struct error *reterr)
{
    struct sql sql;
    duckdb_result rows;
    sql_init(&sql, SQL_BYTES_MAX);
    sql_words(&sql, "SELECT settings = ");
    write_key(&sql, settings);
    sql_words(&sql, " FROM rolled");
    enum status status = engine_ask(connection, &sql, NULL, &rows, reterr);
    if (status != OK)
        return status;
    *ret_same = duckdb_row_count(&rows) > 0 ? settings->levels_n > 0 && duckdb_value_boolean(&rows, 0, 0)
                                            : settings->levels_n == 0;
    duckdb_destroy_result(&rows);
    return OK;
}

/* --- what cannot be made again --- */

static enum status find_levels(struct rollups *rollups, struct connection *connection, struct error *reterr)
{
    duckdb_result rows;
    enum status status =
        engine_query(connection,
                     "SELECT coalesce(min(level), 0), coalesce(max(level), 0), coalesce(bool_or(selective), false) "
                     "FROM rollup_levels, rolled",
                     false, NULL, &rows, reterr);
    if (status != OK)
        return status;
    rollups->finest_ms = duckdb_value_int64(&rows, 0, 0);
    rollups->coarsest_ms = duckdb_value_int64(&rows, 1, 0);
    rollups->selective = duckdb_value_boolean(&rows, 2, 0);
    duckdb_destroy_result(&rows);
    return OK;
}

/* A text made by the statement. */
static enum status ask_text(struct connection *connection, struct sql *sql, struct strbuf *out, struct error *reterr)
{
    duckdb_result rows;
    enum status status = engine_ask(connection, sql, NULL, &rows, reterr);
    if (status != OK)
        return status;
    char *text = duckdb_row_count(&rows) > 0 ? duckdb_value_varchar(&rows, 0, 0) : NULL;
    strbuf_cstr(out, text ? text : "");
    duckdb_free(text);
    duckdb_destroy_result(&rows);
    return strbuf_status(out, "the settings of rollups", reterr);
}

/* "1h and 5m of all series" */
static enum status describe(struct connection *connection, const char *levels, const char *key, struct strbuf *out,
                            struct error *reterr)
{
    struct sql sql;
    sql_init(&sql, SQL_BYTES_MAX);
    sql_words(&sql, "SELECT coalesce(string_agg(CASE WHEN level = 3600000 THEN '1h' ELSE (level // 60000) || 'm' END, "
                    "' and ' ORDER BY level DESC), 'none') FROM (");
    sql_words(&sql, levels);
    sql_words(&sql, ")");
    enum status status = ask_text(connection, &sql, out, reterr);
    sql_init(&sql, SQL_BYTES_MAX);
    /* The key has a selector's text in quotes, of which those inside are doubled. */
    sql_words(&sql, "SELECT CASE WHEN settings LIKE '%''%' THEN ' of series that match ' || "
                    "replace(regexp_extract(settings, '''(.*)''', 1), '''''', '''') ELSE ' of all series' END FROM (");
    sql_words(&sql, key);
    sql_words(&sql, ")");
    if (status == OK)
        return ask_text(connection, &sql, out, reterr);
    sql_release(&sql);
    return status;
}

static enum status describe_asked(struct connection *connection, const struct rollup_settings *settings,
                                  struct strbuf *out, struct error *reterr)
{
    struct sql levels, key;
    if (settings->levels_n == 0) {
        strbuf_cstr(out, "none");
        return OK;
    }
    sql_init(&levels, SQL_BYTES_MAX);
    sql_init(&key, SQL_BYTES_MAX);
    write_levels(&levels, settings);
    sql_words(&key, "SELECT ");
    write_key(&key, settings);
    sql_words(&key, " AS settings");
    enum status status = sql_status(&key, reterr);
    if (status == OK)
        status = describe(connection, strbuf_view(&levels.text).ptr, strbuf_view(&key.text).ptr, out, reterr);
    sql_release(&levels);
    sql_release(&key);
    return status;
}

static enum status refuse_loss(struct connection *connection, const struct rollup_settings *settings, bool same,
                               int64_t raw_from_ms, struct error *reterr)
{
    struct strbuf stored, asked;
    char from[32];
    time_text_json(from, raw_from_ms);
    strbuf_init(&stored, SQL_BYTES_MAX);
    strbuf_init(&asked, SQL_BYTES_MAX);
    enum status status =
        describe(connection, "SELECT level FROM rollup_levels", "SELECT settings FROM rolled", &stored, reterr);
    if (status == OK)
        status = describe_asked(connection, settings, &asked, reterr);
    if (status == OK && same)
        status = error_set(reterr, E_BAD_DATA,
                           "rollups alone tell of samples before %s, and would be dropped without "
                           "--storage.rollups.retention: set it, or let them go with: promsplit store forget-rollups",
                           from);
    else if (status == OK)
        status = error_set(reterr, E_BAD_DATA,
                           "rollups alone tell of samples before %s; they are %s, while --storage.rollups.levels and "
                           "--storage.rollups.match ask for %s, which can no longer be made there: take the former "
                           "settings, or let them go with: promsplit store forget-rollups",
                           from, strbuf_view(&stored).ptr, strbuf_view(&asked).ptr);
    strbuf_release(&stored);
    strbuf_release(&asked);
    return status;
}

static enum status take_settings(struct duckdb_store *store, const struct rollup_settings *settings,
                                 struct error *reterr)
{
    struct connection *connection = store->compactor.connection;
    int64_t raw_from_ms = atomic_load(&store->rollups.raw_from_ms);
    bool same;
    enum status status = compare(connection, settings, &same, reterr);
    if (status != OK)
        return status;
    if (raw_from_ms != ROLLUP_NEVER && (!same || store->retention.keep.rollups_ms == 0))
        return refuse_loss(connection, settings, same, raw_from_ms, reterr);
    bool has_readers = true;
    if (same)
        status = look_for_readers(connection, &has_readers, reterr);
    if (status != OK || (same && has_readers))
        return status;
    status = engine_begin(connection, reterr);
    if (status != OK)
        return status;
    return engine_end(connection,
                      same ? define_readers(connection, settings, reterr) : begin_anew(connection, settings, reterr),
                      reterr);
}

enum status rollup_init(struct duckdb_store *store, const struct rollup_settings *settings, struct error *reterr)
{
    struct rollups *rollups = &store->rollups;
    enum status status = OK;
    rollups->catalogue = &store->writer.catalogue;
    for (size_t i = 0; settings && status == OK && i < settings->selectors_n; i++) {
        status = match_check(&store->regex, settings->selectors[i].matchers, settings->selectors[i].matchers_n, reterr);
        if (status != OK)
            error_prefix(reterr, "rollup rule %zu: ", i + 1);
    }
    if (status == OK)
        status = rollup_settle_horizon(store, reterr);
    if (status == OK && settings)
        status = take_settings(store, settings, reterr);
    if (status == OK)
        status = find_levels(rollups, store->compactor.connection, reterr);
    return status == OK ? rollup_look(rollups, store->compactor.connection, reterr) : status;
}
