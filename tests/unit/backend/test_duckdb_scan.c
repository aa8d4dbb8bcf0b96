/* tests/unit/backend/test_duckdb_scan.c: a query touches the row groups of its metric and its time, and no others. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <cmocka.h>

#include "base/assert.h"
#include "promql/parse.h"
#include "tests/unit/backend/fixture.h"

#define METRICS    3
#define SERIES     4096 /* of each: with each partition, a row group */
#define PARTITIONS 3
#define RUN        32
#define PART_MS    INT64_C(7200000)
#define BATCH      256 /* series in a request */

static void fill(struct fixture *f)
{
    static struct sample samples[PARTITIONS * RUN];
    static struct append_series series[BATCH];
    char name[32];
    for (size_t i = 0; i < ARRAY_LENGTH(samples); i++)
        samples[i] = (struct sample){(int64_t)(i / RUN) * PART_MS + (int64_t)(i % RUN) * 60000, (double)i};
    for (int k = 0; k < METRICS * SERIES; k += BATCH) {
        for (int i = 0; i < BATCH; i++) {
            snprintf(name, sizeof name, "m%d;s=%d", (k + i) % METRICS, (k + i) / METRICS);
            series[i] = (struct append_series){labels_of(&f->arena, name), samples, ARRAY_LENGTH(samples)};
        }
        struct append_request request = {.series = series, .series_n = BATCH};
        assert_int_equal(f->backend->ops->append(f->backend, &request, 1, NULL), OK);
        assert_int_equal(request.written, BATCH * ARRAY_LENGTH(samples));
    }
    compact(f);
}

static struct scan_figures scan(struct fixture *f, const char *promql, struct time_span span)
{
    struct query_text query;
    struct scan_figures figures;
    struct error error;
    struct parse_limits limits = PARSE_LIMITS_DEFAULT;
    if (promql_parse(&f->arena, str_from(promql), &limits, NULL, &query, &error) != OK)
        fail_msg("%s", error.message);
    struct fragment fragment = {.kind = FRAGMENT_GRID, .root = query.root, .span = span};
    if (f->backend->ops->scan(f->backend, &fragment, NULL, &figures, &error) != OK)
        fail_msg("%s", error.message);
    return figures;
}

static void only_what_is_needed_is_scanned(void **state)
{
    struct fixture f;
    fixture_init_on_disk(&f);
    fixture_close(&f);
    f.compact_rows = 10000000; /* one move, by fill */
    fixture_open(&f);
    fill(&f);
    const struct time_span all = {0, INT64_MAX}, second = {PART_MS + 1, 2 * PART_MS - 1};
    struct scan_figures whole = scan(&f, "m0", all), part = scan(&f, "sum(rate(m1[5m]))", second);
    struct scan_figures one = scan(&f, "m2{s=\"7\"} + m1{s=\"7\"}", second), none = scan(&f, "nothing", all);
    assert_int_equal(whole.chunks_n, METRICS * SERIES * PARTITIONS);
    assert_int_equal(whole.chunks_needed_n, SERIES * PARTITIONS);
    assert_true(whole.chunks_scanned_n >= whole.chunks_needed_n && whole.chunks_scanned_n < whole.chunks_n);
    assert_int_equal(part.chunks_needed_n, SERIES);
    assert_true(part.chunks_scanned_n >= SERIES && part.chunks_scanned_n <= 3 * 4096);
    assert_int_equal(one.selectors_n, 2);
    assert_int_equal(one.chunks_needed_n, 2);
    assert_int_equal(none.chunks_needed_n, 0);
    append(&f, "m0;s=1", &(struct sample){PARTITIONS * PART_MS, 1}, 1);
    append(&f, "m1;s=1", &(struct sample){PARTITIONS * PART_MS, 1}, 1);
    assert_int_equal(scan(&f, "m0", all).recent_n, 2);
    assert_int_equal(scan(&f, "m0", all).recent_needed_n, 1);
    assert_int_equal(scan(&f, "m0", second).recent_needed_n, 0);
    fixture_release(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(only_what_is_needed_is_scanned),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
