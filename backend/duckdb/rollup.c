/* backend/duckdb/rollup.c: see rollup.h. */
#include "backend/duckdb/rollup.h"

#include "backend/duckdb/matching.h"
#include "backend/duckdb/partition.h"
#include "backend/duckdb/schema.h"
#include "backend/duckdb/store.h"
#include "base/assert.h"
#include "base/float_text.h"

#define FRESH_ROLLUPS "fresh_rollups" /* temporary: rows about to be stored */

/* A series' buckets that share a row: so many, but of whole partitions. */
#define SPAN_MS_MAX (ROLLUP_SPAN_BUCKETS * PARTITION_MS)

#define SPAN_MAX INT64_C(100000000) /* of rows that promise anything: some hundred thousand years */

/* Up to where rollups have all samples of their series. */
#define SETTLED "coalesce(getvariable('settled'), -9223372036854775807)"

#define LISTS "ts, value, weight, sum_ts, sum_value, sum_weight"

/* --- settings --- */

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

/* How long the span of a row is. */
static void write_span_length(struct sql *sql, const char *level)
{
    sql_words(sql, "greatest(");
    sql_i64(sql, PARTITION_MS);
    sql_words(sql, ", ");
    sql_words(sql, level);
    sql_words(sql, " * ");
    sql_i64(sql, ROLLUP_SPAN_BUCKETS);
    sql_words(sql, ")");
}

/* The span itself, as far as it is settled: none of it if it lies before 1970, where spans count otherwise, or so late
 * that its end is no number. */
static void write_whole(struct sql *sql)
{
    sql_words(sql, ", span * ");
    write_span_length(sql, "wanted");
    sql_words(sql, " AS whole_from, least(CASE WHEN span BETWEEN 0 AND ");
    sql_i64(sql, SPAN_MAX);
    sql_words(sql, " THEN span + 1 ELSE span END * ");
    write_span_length(sql, "wanted");
    sql_words(sql, ", " SETTLED ") - 1 AS whole_until");
}

/* What fragments read instead of runs_of: rollups, and behind them chunks that have none yet, chunks of series that
 * have none, and recent rows. In [whole_from, whole_until] a row has all samples of its series: one of rollups in its
 * span, as far as it is settled. As to the conditions see runs_of (schema.c); that on ts is for rows of a batch that is
 * being committed (schema.h), which the time up to which all is settled may not know of. */
static void write_reader(struct sql *sql, const struct rollup_settings *settings, const char *name, const char *lists)
{
    static const char RAW[] = " UNION ALL SELECT series, tmin, tmax, ts, value, NULL::BIGINT[] AS weight, tmin, tmax "
                              "FROM stored_chunks WHERE tmin ";
    sql_words(sql, "CREATE OR REPLACE MACRO ");
    sql_words(sql, name);
    sql_words(sql, "(name, wanted) AS TABLE SELECT series, tmin, tmax, ");
    sql_words(sql, lists);
    write_whole(sql);
    sql_words(sql, " FROM rollups WHERE level = wanted AND " OF_METRIC);
    sql_words(sql, RAW);
    sql_words(sql, ">= " SCHEMA_ROLLED " AND " OF_METRIC);
    if (settings->selectors_n > 0) {
        sql_words(sql, RAW);
        sql_words(sql, "< " SCHEMA_ROLLED " AND " OF_METRIC);
        sql_words(sql, " AND series IN (SELECT series FROM series_named(name) WHERE series NOT IN (");
        write_covered(sql, settings);
        sql_words(sql, "))");
    }
    sql_words(sql,
              " UNION ALL SELECT series, ts, ts, [ts], [value], NULL, ts, ts FROM recent WHERE xor(ts, 0) >= " SETTLED
              " AND is_series_named(series, name)");
}

static void write_edges_reader(struct sql *sql, const struct rollup_settings *settings)
{
    write_reader(sql, settings, "rolled_edges", "ts, value, weight");
}

static void write_sums_reader(struct sql *sql, const struct rollup_settings *settings)
{
    write_reader(sql, settings, "rolled_sums", "sum_ts AS ts, sum_value AS value, sum_weight AS weight");
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

/* A store may have been made before there were these. */
static enum status look_for_readers(struct connection *connection, bool *ret_there, struct error *reterr)
{
    duckdb_result rows;
    enum status status = engine_query(
        connection, "SELECT count(*) FROM duckdb_functions() WHERE function_name IN ('rolled_edges', 'rolled_sums')",
        false, NULL, &rows, reterr);
    if (status != OK)
        return status;
    *ret_there = duckdb_value_int64(&rows, 0, 0) >= 2;
    duckdb_destroy_result(&rows);
    return OK;
}

static enum status define_readers(struct connection *connection, const struct rollup_settings *settings,
                                  struct error *reterr)
{
    static void (*const DEFINE[])(struct sql *, const struct rollup_settings *) = {
        write_edges_reader,
        write_sums_reader,
    };
    return define(connection, settings, DEFINE, settings->levels_n > 0 ? ARRAY_LENGTH(DEFINE) : 0, reterr);
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

/* What the table rolled says. */
struct rolled {
    bool is_on, selective; /* selective: not all series have rollups */
    int64_t until_ms, raw_from_ms;
};

static enum status rolled_get(struct connection *connection, struct rolled *ret_rolled, struct error *reterr)
{
    duckdb_result rows;
    enum status status =
        engine_query(connection, "SELECT until, selective, raw_from FROM rolled", false, NULL, &rows, reterr);
    if (status != OK)
        return status;
    *ret_rolled = (struct rolled){.is_on = duckdb_row_count(&rows) > 0, .raw_from_ms = ROLLUP_NEVER};
    if (ret_rolled->is_on) {
        ret_rolled->until_ms = duckdb_value_int64(&rows, 0, 0);
        ret_rolled->selective = duckdb_value_boolean(&rows, 1, 0);
        ret_rolled->raw_from_ms = duckdb_value_int64(&rows, 2, 0);
    }
    duckdb_destroy_result(&rows);
    return OK;
}

/* --- what cannot be made again --- */

static enum status find_levels(struct rollups *rollups, struct connection *connection, struct error *reterr)
{
    duckdb_result rows;
    enum status status =
        engine_query(connection, "SELECT coalesce(min(level), 0), coalesce(max(level), 0) FROM rollup_levels, rolled",
                     false, NULL, &rows, reterr);
    if (status != OK)
        return status;
    rollups->finest_ms = duckdb_value_int64(&rows, 0, 0);
    rollups->coarsest_ms = duckdb_value_int64(&rows, 1, 0);
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

enum status rollup_settle_horizon(struct duckdb_store *store, struct error *reterr)
{
    struct connection *connection = store->compactor.connection;
    struct rolled rolled;
    duckdb_result rows;
    enum status status = rolled_get(connection, &rolled, reterr);
    if (status == OK && rolled.raw_from_ms != ROLLUP_NEVER) {
        status = engine_query(connection,
                              "SELECT count(*) FROM (SELECT 1 FROM rollups, rolled WHERE tmin < raw_from LIMIT 1)",
                              false, NULL, &rows, reterr);
        bool any = status == OK && duckdb_value_int64(&rows, 0, 0) > 0;
        if (status == OK)
            duckdb_destroy_result(&rows);
        struct sql sql;
        sql_init(&sql, SQL_BYTES_MAX);
        sql_words(&sql, "UPDATE rolled SET raw_from = ");
        sql_i64(&sql, ROLLUP_NEVER);
        if (status == OK && !any)
            status = engine_alter(connection, &sql, NULL, NULL, reterr);
        else
            sql_release(&sql);
        rolled.raw_from_ms = any ? rolled.raw_from_ms : ROLLUP_NEVER;
    }
    if (status != OK)
        return status;
    atomic_store(&store->rollups.raw_from_ms, rolled.raw_from_ms);
    atomic_store(&store->backend.raw_from_ms, rolled.raw_from_ms == ROLLUP_NEVER ? 0 : rolled.raw_from_ms);
    return OK;
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

enum status rollup_look(struct rollups *rollups, struct connection *connection, struct error *reterr)
{
    duckdb_result rows;
    struct sql sql;
    sql_init(&sql, SQL_BYTES_MAX);
    sql_words(&sql, "SELECT min(tmin) FROM rollups WHERE level = ");
    sql_i64(&sql, rollups->coarsest_ms);
    enum status status = engine_ask(connection, &sql, NULL, &rows, reterr);
    if (status != OK)
        return status;
    atomic_store(&rollups->oldest_ms, duckdb_value_is_null(&rows, 0, 0) ? INT64_MAX : duckdb_value_int64(&rows, 0, 0));
    duckdb_destroy_result(&rows);
    return OK;
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

/* --- changing rows --- */

/* The rows of FRESH_ROLLUPS take the place of those of the same level, span and series. */
static enum status replace(struct connection *connection, struct cancel *cancel, struct error *reterr)
{
    static const char *const STATEMENTS[] = {
        ("DELETE FROM rollups AS old USING temp.main." FRESH_ROLLUPS " AS fresh WHERE old.level = fresh.level AND "
         "old.span = fresh.span AND old.series = fresh.series"),
        ("INSERT INTO rollups SELECT level, span, md5_number_lower(metric) AS metric_key, metric, series, ts[1], "
         "ts[-1], " LISTS ", (SELECT move + 1 FROM moved) FROM temp.main." FRESH_ROLLUPS " WHERE len(ts) > 0 "
         "ORDER BY level, span, metric_key, series"),
        "DROP TABLE temp.main." FRESH_ROLLUPS,
    };
    enum status status = OK;
    for (size_t i = 0; status == OK && i < ARRAY_LENGTH(STATEMENTS); i++)
        status = engine_change(connection, STATEMENTS[i], cancel, NULL, reterr);
    return status;
}

/* "list_select(…) AS name" for all lists, of the places that are kept. */
static void write_selected(struct sql *sql)
{
    sql_words(sql,
              "list_select(ts, kept) AS ts, list_select(value, kept) AS value, list_select(weight, kept) AS weight, "
              "list_select(sum_ts, sums_kept) AS sum_ts, list_select(sum_value, sums_kept) AS sum_value, "
              "list_select(sum_weight, sums_kept) AS sum_weight");
}

/* "list_filter(…) AS kept, … AS sums_kept": the places of both lists whose time does not lie in the span. */
static void write_kept(struct sql *sql, struct time_span out)
{
    sql_words(sql, "list_filter(range(1, len(ts) + 1), lambda i: NOT (");
    sql_between(sql, "ts[i]", out);
    sql_words(sql, ")) AS kept, list_filter(range(1, len(sum_ts) + 1), lambda i: NOT (");
    sql_between(sql, "sum_ts[i]", out);
    sql_words(sql, ")) AS sums_kept");
}

/* The runs of a source, thinned at each level. */
static void write_thinned(struct sql *sql, const struct rolled *rolled, const char *source, struct time_span partitions)
{
    sql_words(sql, "SELECT level, metric, series, tmin // ");
    write_span_length(sql, "level");
    sql_words(sql, " AS span, ");
    partition_write(sql, "tmin");
    sql_words(sql,
              " AS part, prom_thin_edges(ts, value, level) AS edges, prom_thin_sums(ts, value, level) AS sums FROM ");
    sql_words(sql, source);
    sql_words(sql, ", rollup_levels WHERE ");
    sql_between(sql, "tmin", partitions);
    sql_words(sql, rolled->selective ? " AND series IN (SELECT series FROM rollup_series())" : "");
}

/* Makes FRESH_ROLLUPS of the chunks of a source (metric, series, tmin, ts, value), and of what else the rows have that
 * these chunks belong to. */
static void write_fresh(struct sql *sql, const struct rolled *rolled, const char *source, struct time_span partitions)
{
    struct time_span near = {partitions.min_ms < INT64_MIN + SPAN_MS_MAX ? INT64_MIN : partitions.min_ms - SPAN_MS_MAX,
                             partitions.max_ms > INT64_MAX - SPAN_MS_MAX ? INT64_MAX : partitions.max_ms + SPAN_MS_MAX};
    sql_words(sql, "CREATE OR REPLACE TEMP TABLE " FRESH_ROLLUPS " AS WITH thinned AS (");
    write_thinned(sql, rolled, source, partitions);
    sql_words(sql,
              "), fresh AS (SELECT level, span, metric, series, list(part) AS parts, flatten(list(edges.ts)) AS ts, "
              "flatten(list(edges.value)) AS value, flatten(list(edges.weight)) AS weight, "
              "flatten(list(sums.ts)) AS sum_ts, flatten(list(sums.value)) AS sum_value, "
              "flatten(list(sums.weight)) AS sum_weight FROM thinned GROUP BY level, span, metric, series), "
              "old AS (SELECT level, span, series, " LISTS " FROM rollups WHERE ");
    sql_meets(sql, near);
    sql_words(sql, "), kept AS (SELECT fresh.*, old.ts AS old_ts, old.value AS old_value, old.weight AS old_weight, "
                   "old.sum_ts AS old_sum_ts, old.sum_value AS old_sum_value, old.sum_weight AS old_sum_weight, "
                   "list_filter(range(1, len(old.ts) + 1), lambda i: NOT list_contains(parts, ");
    partition_write(sql, "old.ts[i]");
    sql_words(sql, ")) AS kept, list_filter(range(1, len(old.sum_ts) + 1), lambda i: NOT list_contains(parts, ");
    partition_write(sql, "old.sum_ts[i]");
    sql_words(sql,
              ")) AS sums_kept FROM fresh LEFT JOIN old USING (level, span, series)), joined AS (SELECT level, span, "
              "metric, series, list_concat(list_select(old_ts, kept), ts) AS ts, "
              "list_concat(list_select(old_value, kept), value) AS value, "
              "list_concat(list_select(old_weight, kept), weight) AS weight, "
              "list_concat(list_select(old_sum_ts, sums_kept), sum_ts) AS sum_ts, "
              "list_concat(list_select(old_sum_value, sums_kept), sum_value) AS sum_value, "
              "list_concat(list_select(old_sum_weight, sums_kept), sum_weight) AS sum_weight FROM kept), "
              "places AS (SELECT *, list_grade_up(ts) AS kept, list_grade_up(sum_ts) AS sums_kept FROM joined) "
              "SELECT level, span, metric, series, ");
    write_selected(sql);
    sql_words(sql, " FROM places");
}

/* In a transaction. */
static enum status put(const struct rollups *rollups, const struct rolled *rolled, struct connection *connection,
                       const char *source, struct time_span partitions, struct cancel *cancel, struct error *reterr)
{
    struct sql sql;
    sql_init(&sql, SQL_BYTES_MAX);
    write_fresh(&sql, rolled, source, partitions);
    unsigned entered = catalogue_enter(rollups->catalogue);
    enum status status = engine_alter(connection, &sql, cancel, NULL, reterr);
    catalogue_leave(rollups->catalogue, entered);
    return status == OK ? replace(connection, cancel, reterr) : status;
}

enum status rollup_follow(const struct rollups *rollups, struct connection *connection, const char *source,
                          struct time_span partitions, struct cancel *cancel, struct error *reterr)
{
    struct rolled rolled;
    enum status status = rolled_get(connection, &rolled, reterr);
    if (status != OK || !rolled.is_on || partitions.min_ms >= rolled.until_ms)
        return status;
    if (partitions.max_ms >= rolled.until_ms)
        partitions.max_ms = rolled.until_ms - 1;
    return put(rollups, &rolled, connection, source, partitions, cancel, reterr);
}

/* FRESH_ROLLUPS of the rows that lose what lies in the span. */
static enum status take_out(struct connection *connection, struct time_span span, const char *chosen,
                            struct cancel *cancel, struct error *reterr)
{
    struct sql sql;
    sql_init(&sql, SQL_BYTES_MAX);
    sql_words(&sql, "CREATE OR REPLACE TEMP TABLE " FRESH_ROLLUPS " AS SELECT level, span, metric, series, ");
    write_selected(&sql);
    sql_words(&sql, " FROM (SELECT *, ");
    write_kept(&sql, span);
    sql_words(&sql, " FROM rollups WHERE ");
    sql_meets(&sql, span);
    sql_words(&sql, chosen);
    sql_words(&sql, ")");
    enum status status = engine_alter(connection, &sql, cancel, NULL, reterr);
    return status == OK ? replace(connection, cancel, reterr) : status;
}

enum status rollup_cut(struct connection *connection, const char *series_table, struct time_span span,
                       struct cancel *cancel, struct error *reterr)
{
    struct rolled rolled;
    struct strbuf chosen;
    enum status status = rolled_get(connection, &rolled, reterr);
    if (status != OK || !rolled.is_on || span.min_ms >= rolled.until_ms)
        return status;
    strbuf_init(&chosen, SQL_BYTES_MAX);
    strbuf_cstr(&chosen, " AND series IN (SELECT series FROM ");
    strbuf_cstr(&chosen, series_table);
    strbuf_cstr(&chosen, ")");
    status = strbuf_status(&chosen, "a condition on series", reterr);
    if (status == OK)
        status = take_out(connection, span, strbuf_view(&chosen).ptr, cancel, reterr);
    strbuf_release(&chosen);
    return status;
}

static enum status delete_rows(struct connection *connection, const char *column, const char *compared, int64_t time_ms,
                               const char *chosen, struct cancel *cancel, struct error *reterr)
{
    struct sql sql;
    sql_init(&sql, SQL_BYTES_MAX);
    sql_words(&sql, "DELETE FROM rollups WHERE ");
    sql_words(&sql, column);
    sql_words(&sql, compared);
    sql_i64(&sql, time_ms);
    sql_words(&sql, chosen);
    return engine_alter(connection, &sql, cancel, NULL, reterr);
}

enum status rollup_settled(struct connection *connection, uint64_t batch, int64_t *ret_until_ms, struct error *reterr)
{
    struct sql sql;
    duckdb_result rows;
    sql_init(&sql, SQL_BYTES_MAX);
    sql_words(&sql, "SELECT least(until, (SELECT coalesce(min(ts), 9223372036854775807) FROM recent WHERE ");
    schema_within(&sql, batch);
    sql_words(&sql, ")) FROM rolled");
    enum status status = engine_ask(connection, &sql, NULL, &rows, reterr);
    if (status != OK)
        return status;
    int64_t settled_ms = duckdb_row_count(&rows) > 0 ? duckdb_value_int64(&rows, 0, 0) : ROLLUP_NEVER;
    duckdb_destroy_result(&rows);
    int64_t part = partition_of(settled_ms);
    *ret_until_ms = partitions_span(part, part).min_ms;
    return OK;
}

enum status rollup_outlive(struct connection *connection, int64_t raw_from_ms, struct cancel *cancel,
                           struct error *reterr)
{
    struct sql sql;
    sql_init(&sql, SQL_BYTES_MAX);
    sql_words(&sql, "UPDATE rolled SET raw_from = greatest(raw_from, ");
    sql_i64(&sql, raw_from_ms);
    sql_words(&sql, ")");
    return engine_alter(connection, &sql, cancel, NULL, reterr);
}

/* The ends of the bucket (k * level, (k + 1) * level] that has the time; itself at the ends of all time. */
static struct time_span bucket_of(int64_t time_ms, int64_t level_ms)
{
    if (time_ms < ROLLUP_NEVER + level_ms || time_ms > INT64_MAX - level_ms)
        return (struct time_span){time_ms, time_ms};
    int64_t after = (time_ms - 1) % level_ms;
    int64_t first_ms = time_ms - (after < 0 ? after + level_ms : after);
    return (struct time_span){first_ms, first_ms + level_ms - 1};
}

enum status rollup_horizon(struct connection *connection, int64_t *ret_raw_from_ms, struct error *reterr)
{
    struct rolled rolled;
    enum status status = rolled_get(connection, &rolled, reterr);
    if (status == OK)
        *ret_raw_from_ms = rolled.raw_from_ms;
    return status;
}

enum status rollup_touched(const struct rollups *rollups, struct connection *connection, struct time_span span,
                           struct time_span *ret_touched, struct error *reterr)
{
    int64_t raw_from_ms, level_ms = rollups->coarsest_ms;
    enum status status = rollup_horizon(connection, &raw_from_ms, reterr);
    if (status != OK)
        return status;
    *ret_touched = span;
    if (raw_from_ms == ROLLUP_NEVER || span.min_ms >= raw_from_ms || span.min_ms > span.max_ms)
        return OK;
    ret_touched->min_ms = bucket_of(span.min_ms, level_ms).min_ms;
    if (span.max_ms < raw_from_ms) {
        int64_t end_ms = bucket_of(span.max_ms, level_ms).max_ms;
        ret_touched->max_ms = end_ms < raw_from_ms ? end_ms : raw_from_ms - 1;
    }
    return OK;
}

void rollup_write_alone(struct sql *sql, int64_t level_ms, struct time_span span)
{
    struct time_span whole = {bucket_of(span.min_ms, level_ms).min_ms, bucket_of(span.max_ms, level_ms).max_ms};
    sql_words(sql, "SELECT series FROM rollups, rolled WHERE level = ");
    sql_i64(sql, level_ms);
    sql_words(sql, " AND tmin < raw_from AND move <= (SELECT move FROM moved) AND ");
    sql_meets(sql, whole);
    sql_words(sql, " AND len(list_filter(ts, lambda t: t < raw_from AND ");
    sql_between(sql, "t", whole);
    sql_words(sql, ")) > 0");
}

bool rollup_may_outlive(const struct duckdb_store *store)
{
    return store->rollups.coarsest_ms > 0 &&
           (store->retention.keep.rollups_ms > 0 || atomic_load(&store->rollups.raw_from_ms) != ROLLUP_NEVER);
}

enum status rollup_write_outliving(struct sql *sql, struct connection *connection, const char *columns,
                                   struct error *reterr)
{
    duckdb_result rows;
    enum status status =
        engine_query(connection,
                     "SELECT coalesce(max(raw_from), -9223372036854775807), coalesce(max(level), 0) FROM rolled, "
                     "rollup_levels",
                     false, NULL, &rows, reterr);
    if (status != OK)
        return status;
    sql_words(sql, "SELECT ");
    sql_words(sql, columns);
    sql_words(sql, " FROM rollups WHERE tmin < ");
    sql_i64(sql, duckdb_value_int64(&rows, 0, 0)); /* the engine passes over what lies later, if it is a number */
    sql_words(sql, " AND level = ");
    sql_i64(sql, duckdb_value_int64(&rows, 1, 0));
    duckdb_destroy_result(&rows);
    return OK;
}

enum status rollup_forget(struct connection *connection, int64_t until_ms, const char *chosen, struct cancel *cancel,
                          struct error *reterr)
{
    struct rolled rolled;
    enum status status = rolled_get(connection, &rolled, reterr);
    if (status != OK || !rolled.is_on || until_ms == INT64_MIN)
        return status;
    status = delete_rows(connection, "tmax", " < ", until_ms, chosen, cancel, reterr);
    if (status == OK)
        status = take_out(connection, (struct time_span){INT64_MIN, until_ms - 1}, chosen, cancel, reterr);
    return status == OK ? engine_change(connection, SCHEMA_NEXT_MOVE, cancel, NULL, reterr) : status;
}

static enum status set_until(struct connection *connection, int64_t until_ms, struct error *reterr)
{
    struct sql sql;
    sql_init(&sql, SQL_BYTES_MAX);
    sql_words(&sql, "UPDATE rolled SET until = ");
    sql_i64(&sql, until_ms);
    return engine_alter(connection, &sql, NULL, NULL, reterr);
}

enum status rollup_retreat(struct connection *connection, int64_t min_ms, struct error *reterr)
{
    struct rolled rolled;
    enum status status = rolled_get(connection, &rolled, reterr);
    if (status != OK || !rolled.is_on || min_ms >= rolled.until_ms)
        return status;
    PRE(min_ms >= rolled.raw_from_ms); /* append refuses what is older */
    status = delete_rows(connection, "tmin", " >= ", min_ms, "", NULL, reterr);
    if (status == OK)
        status = take_out(connection, (struct time_span){min_ms, INT64_MAX}, "", NULL, reterr);
    return status == OK ? set_until(connection, min_ms, reterr) : status;
}

/* --- making them --- */

/* The end of the first partitions that have chunks from `until` to limit_ms, up to MOVE_SAMPLES of them or one;
 * limit_ms if these are all. *ret_any: there are any. */
static enum status choose(struct compactor *c, int64_t from_ms, int64_t limit_ms, int64_t *ret_until_ms, bool *ret_any,
                          struct error *reterr)
{
    struct sql sql;
    duckdb_result rows;
    sql_init(&sql, SQL_BYTES_MAX);
    sql_words(&sql, "SELECT part, sum(n)::BIGINT FROM (SELECT ");
    partition_write(&sql, "tmin");
    sql_words(&sql, " AS part, n FROM chunks WHERE ");
    sql_between(&sql, "tmin", (struct time_span){from_ms, limit_ms - 1});
    sql_words(&sql, ") GROUP BY part ORDER BY part");
    enum status status = engine_ask(c->connection, &sql, &c->cancel, &rows, reterr);
    if (status != OK)
        return status;
    int64_t samples_n = 0;
    *ret_until_ms = limit_ms;
    *ret_any = duckdb_row_count(&rows) > 0;
    for (idx_t i = 0; i < duckdb_row_count(&rows); i++) {
        samples_n += duckdb_value_int64(&rows, 1, i);
        if (i > 0 && samples_n > MOVE_SAMPLES) {
            int64_t part = duckdb_value_int64(&rows, 0, i);
            *ret_until_ms = partitions_span(part, part).min_ms;
            break;
        }
    }
    duckdb_destroy_result(&rows);
    return OK;
}

static enum status advance_in_transaction(struct duckdb_store *store, const struct rolled *rolled, int64_t limit_ms,
                                          struct error *reterr)
{
    struct compactor *c = &store->compactor;
    int64_t until_ms;
    bool any;
    enum status status = choose(c, rolled->until_ms, limit_ms, &until_ms, &any, reterr);
    if (status == OK && any)
        status = put(&store->rollups, rolled, c->connection, "chunks",
                     (struct time_span){rolled->until_ms, until_ms - 1}, &c->cancel, reterr);
    if (status == OK)
        status = engine_change(c->connection, SCHEMA_NEXT_MOVE, &c->cancel, NULL, reterr);
    return status == OK ? set_until(c->connection, until_ms, reterr) : status;
}

enum status rollup_advance(struct duckdb_store *store, int64_t limit_ms, bool *ret_more, struct error *reterr)
{
    struct compactor *c = &store->compactor;
    struct rollups *rollups = &store->rollups;
    struct rolled rolled;
    int64_t began_us = engine_clock_us();
    bool any = false;
    enum status status;
    *ret_more = false;
    while ((status = rolled_get(c->connection, &rolled, reterr)) == OK && rolled.is_on && rolled.until_ms < limit_ms) {
        *ret_more = atomic_load(&c->waiting_n) > 0;
        if (*ret_more)
            break;
        status = disk_check(store, CHUNKS_LOG_BYTES, reterr);
        if (status == OK)
            status = engine_begin(c->connection, reterr);
        if (status == OK)
            status = engine_end(c->connection, advance_in_transaction(store, &rolled, limit_ms, reterr), reterr);
        if (status != OK)
            break;
        atomic_fetch_add_explicit(&rollups->rounds_n, 1, memory_order_relaxed);
        any = true;
    }
    if (status == OK && any)
        status = rollup_look(rollups, c->connection, reterr);
    atomic_fetch_add_explicit(&rollups->spent_us, (uint64_t)(engine_clock_us() - began_us), memory_order_relaxed);
    if (status != OK)
        atomic_fetch_add_explicit(&rollups->failures_n, 1, memory_order_relaxed);
    return status;
}

enum status rollup_read(struct connection *connection, struct error *reterr)
{
    static const char *const STATEMENTS[] = {
        "SET VARIABLE rolled = (SELECT until FROM rolled)",
        "SET VARIABLE settled = (SELECT coalesce(min(ts), getvariable('rolled')) FROM recent WHERE ts < " SCHEMA_ROLLED
        ")",
    };
    enum status status = OK;
    for (size_t i = 0; status == OK && i < ARRAY_LENGTH(STATEMENTS); i++)
        status = engine_execute(connection, STATEMENTS[i], reterr);
    return status;
}
