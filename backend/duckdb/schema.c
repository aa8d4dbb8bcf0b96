/* backend/duckdb/schema.c: see schema.h. */
#include "backend/duckdb/schema.h"

#include "backend/duckdb/partition.h"
#include "backend/duckdb/rollup.h"
#include "base/assert.h"

#define SCHEMA_VERSION 4

#define RUN_COLUMNS "series, tmin, tmax, pace, drift, value"
#define CHUNKS_OF                                                                                                      \
    "SELECT " RUN_COLUMNS                                                                                              \
    " FROM stored_chunks WHERE metric_key = md5_number_lower(name) AND CASE WHEN " SCHEMA_IS_MOVED                     \
    " THEN metric = name ELSE false END"
#define RECENT_RUNS                                                                                                    \
    "SELECT series, ts AS tmin, ts AS tmax, 0::BIGINT AS pace, [0::INTEGER] AS drift, [value] AS value FROM recent"

static const char *const STATEMENTS[] = {
    "CREATE TABLE promsplit_schema (version INTEGER NOT NULL)",
    "INSERT INTO promsplit_schema VALUES (4)",
    /* labels has all labels but __name__, sorted by name; no value is empty. */
    "CREATE TABLE series (series UINTEGER NOT NULL, metric VARCHAR NOT NULL, labels MAP(VARCHAR, VARCHAR) NOT NULL)",
    /* Samples as they come. One row per (series, ts); append sees to that, an index would cost more than the data.
     * batch is the number of the transaction that wrote the row, ascending: see schema.h. */
    "CREATE TABLE recent (series UINTEGER NOT NULL, ts BIGINT NOT NULL, value DOUBLE NOT NULL, batch BIGINT NOT NULL)",
    /* Older samples: one row per series and partition of time (compact.c), n of them from tmin to tmax, ascending;
     * their times are tmin + i * pace + drift[i], i from 0 (kernels/pace.h); move is the number of the move that made
     * the row. Rows are sorted by metric_key, md5_number_lower(metric). */
    "CREATE TABLE stored_chunks (metric_key UBIGINT NOT NULL, metric VARCHAR NOT NULL, series UINTEGER NOT NULL, tmin "
    "BIGINT NOT NULL, "
    "tmax BIGINT NOT NULL, n UINTEGER NOT NULL, pace BIGINT NOT NULL, drift INTEGER[] NOT NULL, value DOUBLE[] NOT "
    "NULL, move BIGINT NOT NULL)",
    /* One row: the last move that is done. */
    "CREATE TABLE moved (move BIGINT NOT NULL)",
    "INSERT INTO moved VALUES (0)",
    /* Nor does it know bounds of a scalar subquery. */
    "CREATE MACRO chunks() AS TABLE SELECT metric, n, " RUN_COLUMNS ", " SCHEMA_CHUNK_TIMES " AS ts FROM stored_chunks "
    "WHERE move <= (SELECT move FROM moved)",
    /* What fragments read. A run holds all samples of its series from tmin to tmax. Conditions that the scan itself
     * looks after, or a join, make the engine copy the arrays of all rows that pass, which takes as long as decoding
     * them: hence a number that schema_read has put into a variable, in a condition on two columns, and a key for the
     * metric that whole row groups are told by. */
    "CREATE MACRO runs() AS TABLE SELECT " RUN_COLUMNS " FROM stored_chunks WHERE " SCHEMA_IS_MOVED
    " UNION ALL " RECENT_RUNS,
    /* Those of one metric; the engine skips the row groups of others. */
    "CREATE MACRO runs_of(name) AS TABLE " CHUNKS_OF " UNION ALL " RECENT_RUNS " WHERE is_series_named(series, name)",
    /* For people: plain rows, without our functions. */
    ("CREATE VIEW samples AS SELECT series, unnest(list_transform(drift, lambda d, i: tmin + (i - 1) * pace + d)) AS "
     "ts, "
     "unnest(value) AS value FROM stored_chunks WHERE move <= (SELECT move FROM moved) UNION ALL "
     "SELECT series, ts, value FROM recent"),
    /* Whether a row of recent is of that batch or one before. */
    "CREATE MACRO is_within(batch, last) AS xor(batch, 0) <= last",
    "CREATE TABLE metadata (family VARCHAR NOT NULL, type UTINYINT NOT NULL, help VARCHAR, unit VARCHAR)",
    /* RE2 as Prometheus uses it: anchored at both ends, dot matches newline. */
    "CREATE MACRO prom_match(subject, pattern) AS regexp_full_match(subject, pattern, 's')",
};
/* Of databases of the same version some were made before there were these: no program minds them. */
static const char *const ADDITIONS[] = {
    /* Numbered as they came (exemplars.h); series has all labels, __name__ among them. */
    "CREATE TABLE IF NOT EXISTS exemplars (number BIGINT NOT NULL, series MAP(VARCHAR, VARCHAR) NOT NULL, ts BIGINT "
    "NOT NULL, value DOUBLE NOT NULL, labels MAP(VARCHAR, VARCHAR) NOT NULL)",
    /* rollup.h. The buckets of `level` ms that one series has in `span`, as thinned runs; tmin and tmax: of its
       samples. */
    "CREATE TABLE IF NOT EXISTS rollups (level BIGINT NOT NULL, span BIGINT NOT NULL, metric_key UBIGINT NOT NULL, "
    "metric VARCHAR NOT NULL, series UINTEGER NOT NULL, tmin BIGINT NOT NULL, tmax BIGINT NOT NULL, ts BIGINT[] NOT "
    "NULL, "
    "value DOUBLE[] NOT NULL, weight BIGINT[] NOT NULL, sum_ts BIGINT[] NOT NULL, sum_value DOUBLE[] NOT NULL, "
    "sum_weight BIGINT[] NOT NULL, move BIGINT NOT NULL)",
    /* One row if there are rollups: chunks that begin before `until` have them, of series that the settings choose. */
    "CREATE TABLE IF NOT EXISTS rolled (until BIGINT NOT NULL, selective BOOLEAN NOT NULL, settings VARCHAR NOT NULL)",
    /* The horizon: samples before it are gone, and rollups alone tell of them. */
    "ALTER TABLE rolled ADD COLUMN IF NOT EXISTS raw_from BIGINT DEFAULT -9223372036854775807",
    "CREATE VIEW IF NOT EXISTS rollup_levels AS SELECT 0::BIGINT AS level WHERE false",
    "CREATE MACRO IF NOT EXISTS rollup_series() AS TABLE SELECT series FROM series",
    /* Of runs_of, without recent samples (by_run.h). */
    "CREATE MACRO IF NOT EXISTS chunks_of(name) AS TABLE " CHUNKS_OF,
    /* Native histograms, in the form of remote/native_histogram.h, as they came; never in chunks. One row per (series,
     * ts), and none beside a sample of recent or a chunk. */
    "CREATE TABLE IF NOT EXISTS histograms (series UINTEGER NOT NULL, ts BIGINT NOT NULL, histogram BLOB NOT NULL, "
    "batch BIGINT NOT NULL)",
};
_Static_assert(SCHEMA_VERSION == 4, "the INSERT above writes the version");

static enum status create(struct connection *connection, struct error *reterr)
{
    enum status status = engine_begin(connection, reterr);
    if (status != OK)
        return status;
    for (size_t i = 0; status == OK && i < ARRAY_LENGTH(STATEMENTS); i++)
        status = engine_execute(connection, STATEMENTS[i], reterr);
    return engine_end(connection, status, reterr);
}

static enum status add(struct connection *connection, struct error *reterr)
{
    enum status status = OK;
    for (size_t i = 0; status == OK && i < ARRAY_LENGTH(ADDITIONS); i++)
        status = engine_execute(connection, ADDITIONS[i], reterr);
    return status;
}

enum status schema_prepare(struct connection *connection, struct error *reterr)
{
    duckdb_result result;
    enum status status = engine_query(connection,
                                      "SELECT count(*) FROM duckdb_tables() WHERE table_name = 'promsplit_schema' AND "
                                      "database_name = '" ENGINE_CATALOG "'",
                                      false, NULL, &result, reterr);
    if (status != OK)
        return status;
    bool is_new = duckdb_value_int64(&result, 0, 0) == 0;
    duckdb_destroy_result(&result);
    if (is_new) {
        status = create(connection, reterr);
        return status == OK ? add(connection, reterr) : status;
    }
    status = engine_query(connection, "SELECT max(version) FROM promsplit_schema", false, NULL, &result, reterr);
    if (status != OK)
        return status;
    int64_t version = duckdb_value_int64(&result, 0, 0);
    duckdb_destroy_result(&result);
    if (version != SCHEMA_VERSION)
        return error_set(reterr, E_STORE, "the database has schema version %lld, this program reads version %d",
                         (long long)version, SCHEMA_VERSION);
    return add(connection, reterr);
}

void schema_within(struct sql *sql, uint64_t batch)
{
    sql_words(sql, "is_within(batch, ");
    sql_i64(sql, (int64_t)batch);
    sql_words(sql, ")");
}

void schema_counts(struct sql *sql, struct time_span span, uint64_t batch)
{
    sql_words(sql, "SELECT series, CASE WHEN ");
    sql_between(sql, "tmin", span);
    sql_words(sql, " AND ");
    sql_between(sql, "tmax", span);
    sql_words(sql, " THEN n ELSE len(list_filter(ts, lambda t: ");
    sql_between(sql, "t", span);
    sql_words(sql, ")) END AS n FROM chunks() WHERE ");
    sql_meets(sql, span);
    sql_words(sql, " UNION ALL SELECT series, 1 AS n FROM recent WHERE ");
    sql_between(sql, "ts", span);
    sql_words(sql, " AND ");
    schema_within(sql, batch);
}

void schema_recent_runs(struct sql *sql, struct time_span span, uint64_t batch)
{
    sql_words(sql, "SELECT series, part, tmin, tmax, run.ts AS ts, run.value AS value FROM (SELECT series, part, tmin, "
                   "tmax, prom_in_order(ts, value) AS run FROM (SELECT series, ");
    partition_write(sql, "ts");
    sql_words(sql,
              " AS part, min(ts) AS tmin, max(ts) AS tmax, list(ts) AS ts, list(value) AS value FROM recent WHERE ");
    sql_between(sql, "ts", span);
    sql_words(sql, " AND ");
    schema_within(sql, batch);
    sql_words(sql, " GROUP BY series, part))");
}

void schema_histograms(struct sql *sql, const char *columns, struct time_span span, uint64_t batch)
{
    sql_words(sql, "SELECT ");
    sql_words(sql, columns);
    sql_words(sql, " FROM histograms WHERE ");
    sql_between(sql, "ts", span);
    sql_words(sql, " AND ");
    schema_within(sql, batch);
}

enum status schema_begin_reading(struct connection *connection, bool rollups, struct error *reterr)
{
    enum status status = engine_begin(connection, reterr);
    if (status != OK)
        return status;
    status = engine_execute_kept(connection, "SET VARIABLE moved = (SELECT move FROM moved)", reterr);
    if (status == OK && rollups)
        status = rollup_read(connection, reterr);
    return status == OK ? OK : engine_end_reading(connection, status, reterr);
}

enum status schema_read(struct connection *connection, const char *sql, struct cancel *cancel,
                        duckdb_result *ret_result, struct error *reterr)
{
    enum status status = schema_begin_reading(connection, false, reterr);
    if (status != OK)
        return status;
    status = engine_query(connection, sql, false, cancel, ret_result, reterr);
    bool has_rows = status == OK;
    status = engine_end_reading(connection, status, reterr);
    if (status != OK && has_rows)
        duckdb_destroy_result(ret_result);
    return status;
}
