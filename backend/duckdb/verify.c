/* backend/duckdb/verify.c: whether the tables hold what docs/storage.md promises, each rule by one statement that
 * counts the rows that break it.
 */
#include "backend/duckdb/partition.h"
#include "backend/duckdb/store.h"
#include "base/assert.h"

#define PART "7200000" /* PARTITION_MS */

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
    {"every series has a sample",
     "SELECT count(*) FROM series ANTI JOIN (SELECT series FROM stored_chunks UNION ALL SELECT series FROM recent "
     "UNION ALL SELECT series FROM histograms) USING (series)"},
    {"every chunk is of a series that exists, under its metric",
     "SELECT count(*) FROM stored_chunks ANTI JOIN series USING (series, metric)"},
    {"every chunk is filed under its metric's key",
     "SELECT count(*) FROM stored_chunks WHERE metric_key <> md5_number_lower(metric)"},
    {"every chunk has as many times and values as it counts",
     "SELECT count(*) FROM stored_chunks WHERE n = 0 OR len(ts) <> n OR len(value) <> n"},
    {"every chunk's times ascend, each once",
     "SELECT count(*) FROM stored_chunks WHERE ts <> list_sort(ts) OR len(list_distinct(ts)) <> len(ts)"},
    {"every chunk begins and ends when it says, within one partition",
     "SELECT count(*) FROM stored_chunks WHERE ts[1] <> tmin OR ts[-1] <> tmax OR tmin // " PART " <> tmax // " PART},
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
    {"every rollup is that of its chunks, and none lacks",
     "WITH thinned AS (SELECT level, series, tmin // greatest(" PART ", level * 24) AS span, "
     "prom_thin_edges(ts, value, level) AS edges, prom_thin_sums(ts, value, level) AS sums FROM chunks, rollup_levels "
     "WHERE tmin < (SELECT max(until) FROM rolled) AND series IN (SELECT series FROM rollup_series())), "
     "joined AS (SELECT level, series, span, flatten(list(edges.ts)) AS ts, flatten(list(edges.value)) AS value, "
     "flatten(list(edges.weight)) AS weight, flatten(list(sums.ts)) AS sum_ts, flatten(list(sums.value)) AS sum_value, "
     "flatten(list(sums.weight)) AS sum_weight FROM thinned GROUP BY level, series, span), "
     "places AS (SELECT *, list_grade_up(ts) AS sorted, list_grade_up(sum_ts) AS sums_sorted FROM joined WHERE len(ts) "
     "> 0), "
     "wanted AS (SELECT level, series, span, list_select(ts, sorted) AS ts, list_select(value, sorted) AS value, "
     "list_select(weight, sorted) AS weight, list_select(sum_ts, sums_sorted) AS sum_ts, list_select(sum_value, "
     "sums_sorted) AS "
     "sum_value, list_select(sum_weight, sums_sorted) AS sum_weight FROM places) "
     "SELECT count(*) FROM wanted FULL JOIN rollups AS stored ON wanted.level = stored.level AND "
     "wanted.series = stored.series AND wanted.span = stored.span WHERE wanted.ts IS DISTINCT FROM stored.ts OR "
     "wanted.value IS DISTINCT FROM stored.value OR wanted.weight IS DISTINCT FROM stored.weight OR "
     "wanted.sum_ts IS DISTINCT FROM stored.sum_ts OR wanted.sum_value IS DISTINCT FROM stored.sum_value OR "
     "wanted.sum_weight IS DISTINCT FROM stored.sum_weight OR stored.tmin IS DISTINCT FROM wanted.ts[1] OR "
     "stored.tmax IS DISTINCT FROM wanted.ts[-1]"},
    {"every rollup is of a move that is done",
     "SELECT count(*) FROM rollups WHERE move > (SELECT max(move) FROM moved)"},
    {"every native histogram is of a series that exists",
     "SELECT count(*) FROM histograms ANTI JOIN series USING (series)"},
    {"no native histogram is there twice",
     "SELECT count(*) FROM (SELECT 1 FROM histograms GROUP BY series, ts HAVING count(*) > 1)"},
    {"no sample is beside a native histogram of its time",
     "SELECT (SELECT count(*) FROM histograms JOIN recent USING (series, ts)) + (SELECT count(*) FROM histograms AS "
     "one "
     "JOIN stored_chunks AS old ON old.series = one.series WHERE one.ts BETWEEN old.tmin AND old.tmax AND "
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
