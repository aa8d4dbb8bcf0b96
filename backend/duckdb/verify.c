/* backend/duckdb/verify.c: whether the tables hold what docs/storage.md promises, each rule by one statement that
 * counts the rows that break it.
 */
#include "backend/duckdb/partition.h"
#include "backend/duckdb/schema.h"
#include "backend/duckdb/store.h"
#include "base/assert.h"

#define PART   "7200000" /* PARTITION_MS */
#define CHUNKS "(SELECT *, " SCHEMA_CHUNK_TIMES " AS ts FROM stored_chunks)"

static const struct {
    const char *text;
    const char *sql;
} RULES[] = {
    {"every series has another number", "SELECT count(*) - count(DISTINCT series) FROM series"},
    {"every series has other labels", "SELECT count(*) - count(DISTINCT (metric, labels)) FROM series"},
    {"the labels of every series are sorted, and none is empty",
     "SELECT count(*) FROM series WHERE metric = '' OR map_keys(labels) <> list_sort(list_distinct(map_keys(labels))) "
     "OR "
     "len(list_filter(map_values(labels), lambda v: v = '')) > 0"},
    {"every series has a sample, or rollups that outlive its samples",
     "SELECT count(*) FROM series ANTI JOIN (SELECT series FROM stored_chunks UNION ALL SELECT series FROM recent "
     "UNION ALL SELECT series FROM histograms UNION ALL SELECT series FROM rollups, rolled WHERE tmin < raw_from) "
     "USING (series)"},
    {"every chunk is of a series that exists, under its metric",
     "SELECT count(*) FROM stored_chunks ANTI JOIN series USING (series, metric)"},
    {"every chunk is filed under its metric's key",
     "SELECT count(*) FROM stored_chunks WHERE metric_key <> md5_number_lower(metric)"},
    {"every chunk has as many times and values as it counts",
     "SELECT count(*) FROM stored_chunks WHERE n = 0 OR len(drift) <> n OR len(value) <> n"},
    {"every chunk's times ascend, each once",
     "SELECT count(*) FROM " CHUNKS " WHERE ts <> list_sort(ts) OR len(list_distinct(ts)) <> len(ts)"},
    {"every chunk begins and ends when it says, within one partition",
     "SELECT count(*) FROM " CHUNKS " WHERE ts[1] <> tmin OR ts[-1] <> tmax OR tmin // " PART " <> tmax // " PART},
    {"no series has two chunks in a partition",
     "SELECT count(*) FROM (SELECT 1 FROM stored_chunks GROUP BY series, tmin // " PART " HAVING count(*) > 1)"},
    {"every chunk is of a move that is done",
     "SELECT count(*) FROM stored_chunks WHERE move > (SELECT max(move) FROM moved)"},
    {"one number says which moves are done", "SELECT abs(count(*) - 1) FROM moved"},
    {"every sample outside chunks is of a series that exists",
     "SELECT count(*) FROM recent ANTI JOIN series USING (series)"},
    {"no sample outside chunks is there twice",
     "SELECT count(*) FROM (SELECT 1 FROM recent GROUP BY series, ts HAVING count(*) > 1)"},
    {"samples outside chunks are later than the chunk of their partition",
     "SELECT count(*) FROM recent JOIN (SELECT series, tmin // " PART " AS part, tmax FROM stored_chunks) AS old ON "
     "old.series = recent.series AND old.part = recent.ts // " PART " WHERE recent.ts <= old.tmax"},
    {"no sample is as old as those that are gone and rollups tell of",
     "SELECT (SELECT count(*) FROM stored_chunks, rolled WHERE tmin < raw_from) + (SELECT count(*) FROM recent, rolled "
     "WHERE ts < raw_from) + (SELECT count(*) FROM histograms, rolled WHERE ts < raw_from)"},
    {"rollups are made up to where samples are gone, which is a partition's beginning",
     "SELECT count(*) FROM rolled WHERE raw_from > -9223372036854775807 AND (raw_from > until OR "
     "(raw_from > 0 AND raw_from % " PART " <> 0))"},
    {"every rollup is of a series that exists, under its metric and that one's key",
     "SELECT (SELECT count(*) FROM rollups ANTI JOIN series USING (series, metric)) + (SELECT count(*) FROM rollups "
     "WHERE metric_key <> md5_number_lower(metric))"},
    {"every rollup's lists are as long as each other and in order, and lie in its span",
     "SELECT count(*) FROM rollups WHERE len(ts) = 0 OR len(value) <> len(ts) OR len(weight) <> len(ts) OR "
     "len(sum_value) <> len(sum_ts) OR len(sum_weight) <> len(sum_ts) OR ts <> list_sort(ts) OR "
     "len(list_distinct(ts)) <> len(ts) OR sum_ts <> list_sort(sum_ts) OR len(list_distinct(sum_ts)) <> len(sum_ts) OR "
     "ts[1] <> tmin OR ts[-1] <> tmax OR sum_ts[1] < tmin OR sum_ts[-1] > tmax OR list_min(weight) < 1 OR "
     "tmin // greatest(" PART ", level * 24) <> span OR tmax // greatest(" PART ", level * 24) <> span"},
    {"no series has two rollups of a level in a span",
     "SELECT count(*) FROM (SELECT 1 FROM rollups GROUP BY level, span, series HAVING count(*) > 1)"},
    {"all levels tell the same of samples that are gone",
     "WITH levels AS (SELECT count(*) AS n FROM rollup_levels), told AS (SELECT level, series, tmin // 86400000 AS "
     "day, "
     "list_filter(ts, lambda t: t < raw_from) AS times, list_sum(weight[1:len(times)]) AS n, "
     "list_sum(sum_weight[1:len(list_filter(sum_ts, lambda t: t < raw_from))]) AS sum_n FROM rollups, rolled WHERE "
     "tmin < raw_from), days AS (SELECT level, series, day, min(times[1]) AS first, max(times[-1]) AS last, sum(n) AS "
     "n, "
     "sum(sum_n) AS sum_n FROM told GROUP BY level, series, day) SELECT count(*) FROM (SELECT 1 FROM days, levels "
     "GROUP "
     "BY series, day, levels.n HAVING count(*) <> levels.n OR count(DISTINCT (first, last, days.n)) > 1 OR "
     "bool_or(days.n <> sum_n))"},
    {"every rollup of chunks is that of its chunks, and none lacks",
     "WITH thinned AS (SELECT level, series, tmin // greatest(" PART ", level * 24) AS span, "
     "prom_thin_edges(ts, value, level) AS edges, prom_thin_sums(ts, value, level) AS sums FROM chunks(), "
     "rollup_levels "
     "WHERE tmin < (SELECT max(until) FROM rolled) AND series IN (SELECT series FROM rollup_series())), "
     "joined AS (SELECT level, series, span, flatten(list(edges.ts)) AS ts, flatten(list(edges.value)) AS value, "
     "flatten(list(edges.weight)) AS weight, flatten(list(sums.ts)) AS sum_ts, flatten(list(sums.value)) AS sum_value, "
     "flatten(list(sums.weight)) AS sum_weight FROM thinned GROUP BY level, series, span), "
     "places AS (SELECT *, list_grade_up(ts) AS sorted, list_grade_up(sum_ts) AS sums_sorted FROM joined WHERE len(ts) "
     "> 0), "
     "wanted AS (SELECT level, series, span, list_select(ts, sorted) AS ts, list_select(value, sorted) AS value, "
     "list_select(weight, sorted) AS weight, list_select(sum_ts, sums_sorted) AS sum_ts, list_select(sum_value, "
     "sums_sorted) AS "
     "sum_value, list_select(sum_weight, sums_sorted) AS sum_weight FROM places), "
     "cut AS (SELECT rollups.*, len(list_filter(ts, lambda t: t < raw_from)) + 1 AS first, "
     "len(list_filter(sum_ts, lambda t: t < raw_from)) + 1 AS sum_first FROM rollups, rolled), "
     "stored AS (SELECT level, series, span, ts[first:] AS ts, value[first:] AS value, weight[first:] AS weight, "
     "sum_ts[sum_first:] AS sum_ts, sum_value[sum_first:] AS sum_value, sum_weight[sum_first:] AS sum_weight FROM cut "
     "WHERE first <= len(ts)) "
     "SELECT count(*) FROM wanted FULL JOIN stored ON wanted.level = stored.level AND "
     "wanted.series = stored.series AND wanted.span = stored.span WHERE wanted.ts IS DISTINCT FROM stored.ts OR "
     "wanted.value IS DISTINCT FROM stored.value OR wanted.weight IS DISTINCT FROM stored.weight OR "
     "wanted.sum_ts IS DISTINCT FROM stored.sum_ts OR wanted.sum_value IS DISTINCT FROM stored.sum_value OR "
     "wanted.sum_weight IS DISTINCT FROM stored.sum_weight"},
    {"every rollup is of a move that is done",
     "SELECT count(*) FROM rollups WHERE move > (SELECT max(move) FROM moved)"},
    {"every native histogram is of a series that exists",
     "SELECT count(*) FROM histograms ANTI JOIN series USING (series)"},
    {"no native histogram is there twice",
     "SELECT count(*) FROM (SELECT 1 FROM histograms GROUP BY series, ts HAVING count(*) > 1)"},
    {"no sample is beside a native histogram of its time",
     "SELECT (SELECT count(*) FROM histograms JOIN recent USING (series, ts)) + (SELECT count(*) FROM histograms AS "
     "one "
     "JOIN " CHUNKS " AS old ON old.series = one.series WHERE one.ts BETWEEN old.tmin AND old.tmax AND "
     "list_contains(old.ts, one.ts))"},
    {"no metric family has metadata twice", "SELECT count(*) - count(DISTINCT family) FROM metadata"},
};
_Static_assert(ARRAY_LENGTH(RULES) <= VERIFY_RULES_MAX, "the report has room for all of them");
_Static_assert(PARTITION_MS == 7200000 && ROLLUP_SPAN_BUCKETS == 24, "the statements have them in their text");

enum status duckdb_backend_verify(struct backend *backend, struct cancel *cancel, struct verify_report *ret_report,
                                  struct error *reterr)
{
    struct duckdb_store *store = store_of(backend);
    struct connection *connection;
    enum status status = engine_acquire(&store->engine, cancel, &connection, reterr);
    if (status != OK)
        return status;
    *ret_report = (struct verify_report){.rules_n = ARRAY_LENGTH(RULES)};
    for (size_t i = 0; status == OK && i < ARRAY_LENGTH(RULES); i++) {
        duckdb_result result;
        status = engine_query(connection, RULES[i].sql, false, cancel, &result, reterr);
        if (status != OK)
            break;
        ret_report->rules[i] = (struct verify_rule){RULES[i].text, duckdb_value_uint64(&result, 0, 0)};
        duckdb_destroy_result(&result);
    }
    engine_release(&store->engine, connection);
    return status;
}
