/* backend/duckdb/rollup.c: see rollup.h. */
#include "backend/duckdb/rollup_rows.h"

#include "backend/duckdb/partition.h"
#include "backend/duckdb/schema.h"
#include "backend/duckdb/store.h"
#include "base/assert.h"

enum status rolled_get(struct connection *connection, struct rolled *ret_rolled, struct error *reterr)
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

enum status rolled_set_until(struct connection *connection, int64_t until_ms, struct error *reterr)
{
    struct sql sql;
    sql_init(&sql, SQL_BYTES_MAX);
    sql_words(&sql, "UPDATE rolled SET until = ");
    sql_i64(&sql, until_ms);
    return engine_alter(connection, &sql, NULL, NULL, reterr);
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

/* --- changing rows --- */

int64_t rollup_span_ms(int64_t level_ms)
{
    int64_t buckets_ms = level_ms * ROLLUP_SPAN_BUCKETS;
    return buckets_ms > PARTITION_MS ? buckets_ms : PARTITION_MS;
}

void rollup_write_span_length(struct sql *sql, const char *level)
{
    sql_words(sql, "greatest(");
    sql_i64(sql, PARTITION_MS);
    sql_words(sql, ", ");
    sql_words(sql, level);
    sql_words(sql, " * ");
    sql_i64(sql, ROLLUP_SPAN_BUCKETS);
    sql_words(sql, ")");
}

enum status rollup_replace(struct connection *connection, struct cancel *cancel, struct error *reterr)
{
    static const char *const STATEMENTS[] = {
        ("DELETE FROM rollups AS old USING temp.main." FRESH_ROLLUPS " AS fresh WHERE old.level = fresh.level AND "
         "old.span = fresh.span AND old.series = fresh.series"),
        ("INSERT INTO rollups SELECT level, span, md5_number_lower(metric) AS metric_key, metric, series, ts[1], "
         "ts[-1], " ROLLUP_LISTS ", (SELECT move + 1 FROM moved) FROM temp.main." FRESH_ROLLUPS " WHERE len(ts) > 0 "
         "ORDER BY level, span, metric_key, series"),
        "DROP TABLE temp.main." FRESH_ROLLUPS,
    };
    enum status status = OK;
    for (size_t i = 0; status == OK && i < ARRAY_LENGTH(STATEMENTS); i++)
        status = engine_change(connection, STATEMENTS[i], cancel, NULL, reterr);
    return status;
}

void rollup_write_selected(struct sql *sql)
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

/* FRESH_ROLLUPS of the rows that lose what lies in the span. */
static enum status take_out(struct connection *connection, struct time_span span, const char *chosen,
                            struct cancel *cancel, struct error *reterr)
{
    struct sql sql;
    sql_init(&sql, SQL_BYTES_MAX);
    sql_words(&sql, "CREATE OR REPLACE TEMP TABLE " FRESH_ROLLUPS " AS SELECT level, span, metric, series, ");
    rollup_write_selected(&sql);
    sql_words(&sql, " FROM (SELECT *, ");
    write_kept(&sql, span);
    sql_words(&sql, " FROM rollups WHERE ");
    sql_meets(&sql, span);
    sql_words(&sql, chosen);
    sql_words(&sql, ")");
    enum status status = engine_alter(connection, &sql, cancel, NULL, reterr);
    return status == OK ? rollup_replace(connection, cancel, reterr) : status;
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
    return status == OK ? rolled_set_until(connection, min_ms, reterr) : status;
}

/* --- reading --- */

enum status rollup_read(struct connection *connection, struct error *reterr)
{
    enum status status = engine_execute_kept(connection, "SET VARIABLE rolled = (SELECT until FROM rolled)", reterr);
    if (status == OK)
        status = engine_execute(connection,
                                "SET VARIABLE settled = (SELECT coalesce(min(ts), getvariable('rolled')) FROM recent "
                                "WHERE ts < " SCHEMA_ROLLED ")",
                                reterr);
    return status;
}
