/* tests/unit/backend/test_duckdb_retention.c: what retention and delete_series leave, against a model of plain arrays.
 *
 * Random appends, compactions, drops, deletions and restarts; after each, fragments, cursors, listings and figures must
 * give what the model has, and the tables must hold together: one chunk for a series and partition, each with all
 * samples between its ends, no series without a sample and no sample without its series.
 */
#include <inttypes.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

#include "base/assert.h"
#include "base/cancel.h"
#include "base/float_text.h"
#include "tests/unit/backend/fixture.h"
#include "tests/unit/backend/random.h"

#define SERIES       12
#define SAMPLES_MAX  40000
#define HOUR_MS      INT64_C(3600000)
#define PARTITION_MS (2 * HOUR_MS)
#define START_MS     (INT64_C(200000) * HOUR_MS + 1234567)
#define EVERYTHING   ((struct time_span){INT64_MIN, INT64_MAX})

#define KEEP_MS       (20 * HOUR_MS)
#define KEEP_SHORT_MS (5 * HOUR_MS)

/* --- the model --- */

struct model_series {
    size_t n;
    struct sample at[SAMPLES_MAX];
};

struct model {
    struct model_series series[SERIES];
    bool retains;
};

static const char *series_text(int i)
{
    static char text[64];
    snprintf(text, sizeof text, "m;g=%d;i=%d", i % 3, i);
    return text;
}

/* Series of group 1 are kept for a short time, 2 and 5 for ever. */
static int64_t kept_ms(const struct model *m, int i)
{
    return !m->retains ? 0 : i % 3 == 1 ? KEEP_SHORT_MS : i == 2 || i == 5 ? 0 : KEEP_MS;
}

static struct retention rules(struct arena *arena)
{
    struct retention_rule *at = ARENA_ARRAY(arena, struct retention_rule, 3);
    at[0] = (struct retention_rule){selector_of(arena, "g=1"), KEEP_SHORT_MS};
    at[1] = (struct retention_rule){selector_of(arena, "__name__=m i=~2|5"), 0};
    at[2] = (struct retention_rule){selector_of(arena, "i=~2|5|1|4"), HOUR_MS}; /* others came first */
    return (struct retention){.rules = at, .rules_n = 3, .time_ms = KEEP_MS};
}

static int64_t model_newest_ms(const struct model *m)
{
    int64_t newest_ms = INT64_MIN;
    for (int i = 0; i < SERIES; i++) {
        const struct model_series *s = &m->series[i];
        if (s->n > 0 && s->at[s->n - 1].time_ms > newest_ms)
            newest_ms = s->at[s->n - 1].time_ms;
    }
    return newest_ms;
}

static void model_keep(struct model_series *s, struct time_span gone)
{
    size_t kept = 0;
    for (size_t k = 0; k < s->n; k++) {
        if (s->at[k].time_ms < gone.min_ms || s->at[k].time_ms > gone.max_ms)
            s->at[kept++] = s->at[k];
    }
    s->n = kept;
}

static void model_retain(struct model *m)
{
    int64_t newest_ms = model_newest_ms(m);
    for (int i = 0; newest_ms > INT64_MIN && i < SERIES; i++) {
        if (kept_ms(m, i))
            model_keep(&m->series[i],
                       (struct time_span){INT64_MIN, (newest_ms - kept_ms(m, i)) / PARTITION_MS * PARTITION_MS - 1});
    }
}

/* --- the store against it --- */

static void retain(struct fixture *f)
{
    struct error error;
    if (duckdb_backend_retain(f->backend, &error) != OK)
        fail_msg("retain: %s", error.message);
}

static uint64_t delete (struct fixture *f, const char *matchers, struct time_span span)
{
    struct expr_selector selector = selector_of(&f->arena, matchers);
    struct series_query query = {&selector, 1, span, 0};
    struct error error;
    uint64_t samples_n = 0;
    if (f->backend->ops->delete_series(f->backend, &query, NULL, &samples_n, &error) != OK)
        fail_msg("delete: %s", error.message);
    return samples_n;
}

static int number_of(struct labels labels)
{
    return atoi(labels_get(labels, STR("i")).ptr);
}

static bool inside(const struct sample *sample, struct time_span span)
{
    return sample->time_ms >= span.min_ms && sample->time_ms <= span.max_ms;
}

static void check_raw(struct fixture *f, const struct model *m, struct time_span span)
{
    struct raw_cursor *cursor = NULL;
    struct raw_block block;
    size_t at[SERIES], left = 0;
    for (int i = 0; i < SERIES; i++) {
        const struct model_series *s = &m->series[i];
        for (at[i] = 0; at[i] < s->n && s->at[at[i]].time_ms < span.min_ms; at[i]++) {
        }
        for (size_t k = at[i]; k < s->n && inside(&s->at[k], span); k++)
            left++;
    }
    assert_int_equal(f->backend->ops->raw_open(f->backend, RAW_SAMPLES, NULL, 0, span, NULL, &cursor, NULL), OK);
    while (f->backend->ops->raw_next(cursor, &block, NULL) == OK && block.samples_n > 0) {
        int i = number_of(block.labels);
        for (size_t k = 0; k < block.samples_n; k++, at[i]++, left--) {
            assert_true(at[i] < m->series[i].n);
            assert_int_equal(block.samples[k].time_ms, m->series[i].at[at[i]].time_ms);
            assert_int_equal(double_bits(block.samples[k].value), double_bits(m->series[i].at[at[i]].value));
        }
    }
    f->backend->ops->raw_close(cursor);
    assert_int_equal(left, 0);
}

static void check_listing(struct fixture *f, const struct model *m, struct time_span span)
{
    struct series_query query = {NULL, 0, span, 0};
    struct series_list *list = NULL;
    bool listed[SERIES] = {false};
    assert_int_equal(f->backend->ops->series(f->backend, &query, NULL, &list, NULL), OK);
    for (size_t i = 0; i < list->n; i++) {
        assert_false(listed[number_of(list->at[i])]);
        listed[number_of(list->at[i])] = true;
    }
    series_list_free(list);
    for (int i = 0; i < SERIES; i++) {
        bool has = false;
        for (size_t k = 0; k < m->series[i].n; k++)
            has = has || inside(&m->series[i].at[k], span);
        assert_int_equal(listed[i], has);
    }
}

/* Counts and sums in one window of a fragment. */
static void check_fragment(struct fixture *f, const struct model *m, struct time_span span, const char *function)
{
    char sql[512];
    snprintf(sql, sizeof sql,
             "SELECT metric, labels, v FROM (SELECT series, prom_%s_over_time(" STORED_RUN ", %" PRId64
             ", 1, 1, %" PRId64 ", true) AS v FROM runs_of('m') GROUP BY series) JOIN series USING (series)",
             function, span.max_ms, span.max_ms - span.min_ms);
    struct fragment fragment =
        fragment_of(&f->arena, sql, (struct grid){.start_ms = span.max_ms, .step_ms = 1, .steps = 1}, true, true, "");
    struct grid_result *result = run_ok(f, &fragment);
    double got[SERIES] = {0};
    for (size_t i = 0; i < result->series_n; i++)
        got[number_of(result->series[i].labels)] = result->series[i].values[0];
    grid_result_free(result);
    for (int i = 0; i < SERIES; i++) {
        double want = 0;
        for (size_t k = 0; k < m->series[i].n; k++) {
            if (inside(&m->series[i].at[k], span))
                want += strcmp(function, "count") == 0 ? 1 : m->series[i].at[k].value;
        }
        assert_true(got[i] == want); /* values are whole numbers */
    }
}

static void check_stats(struct fixture *f, const struct model *m)
{
    struct backend_stats stats = stats_of(f);
    uint64_t series_n = 0, samples_n = 0;
    int64_t min_ms = INT64_MAX;
    for (int i = 0; i < SERIES; i++) {
        const struct model_series *s = &m->series[i];
        series_n += s->n > 0;
        samples_n += s->n;
        min_ms = s->n > 0 && s->at[0].time_ms < min_ms ? s->at[0].time_ms : min_ms;
    }
    assert_int_equal(stats.series_n, series_n);
    assert_int_equal(stats.samples_n, samples_n);
    assert_int_equal(stats.min_time_ms, min_ms);
    assert_int_equal(stats.max_time_ms, model_newest_ms(m));
    assert_int_equal(stats.retention_failures_n + stats.move_failures_n, 0);
}

static void check_tables(struct fixture *f)
{
    static const char *const wrong[] = {
        "SELECT [1e0] FROM chunks() GROUP BY series, tmin // 7200000 HAVING count(*) > 1",
        "SELECT [1e0] FROM chunks() WHERE n <> len(ts) OR n <> len(value) OR tmin <> ts[1] OR tmax <> ts[n] OR tmin // "
        "7200000 <> tmax // 7200000 OR ts <> list_sort(ts) OR metric <> 'm'",
        "SELECT [1e0] FROM samples GROUP BY series, ts HAVING count(*) > 1",
        "SELECT [1e0] FROM series WHERE series NOT IN (SELECT series FROM samples)",
        "SELECT [1e0] FROM samples WHERE series NOT IN (SELECT series FROM series)",
        "SELECT [1e0] FROM series GROUP BY metric, labels HAVING count(*) > 1",
        "SELECT [1e0] FROM (SELECT tmin, lag(tmax) OVER (PARTITION BY series ORDER BY tmin) AS before FROM runs()) "
        "WHERE "
        "before >= tmin",
    };
    for (size_t i = 0; i < ARRAY_LENGTH(wrong); i++) {
        struct fragment fragment = fragment_of(&f->arena, wrong[i], grid_instant(0), false, false, "");
        struct run_limits limits = {.samples_max = 1000};
        struct grid_result *result = NULL;
        struct error error;
        /* Equal label sets are a fragment's own error, so several wrong rows are one, too. */
        if (f->backend->ops->run(f->backend, &fragment, &limits, NULL, &result, &error) != OK || result->series_n > 0)
            fail_msg("rows of: %s", wrong[i]);
        grid_result_free(result);
    }
}

static struct time_span random_span(struct random *r, const struct model *m)
{
    int64_t newest_ms = model_newest_ms(m);
    int64_t back = (int64_t)random_below(r, 30 * HOUR_MS), length = (int64_t)random_below(r, 9 * HOUR_MS);
    if (newest_ms == INT64_MIN)
        newest_ms = START_MS;
    if (random_below(r, 3) == 0) /* beside an edge of a partition */
        return (struct time_span){(newest_ms - back) / PARTITION_MS * PARTITION_MS - (int64_t)random_below(r, 2),
                                  (newest_ms - back + length) / PARTITION_MS * PARTITION_MS - 1 +
                                      (int64_t)random_below(r, 2)};
    return (struct time_span){newest_ms - back, newest_ms - back + length / (1 + (int64_t)random_below(r, 200))};
}

static void check_all(struct fixture *f, const struct model *m, struct random *r)
{
    struct time_span long_ago = {START_MS - 100 * HOUR_MS, START_MS + 1000 * HOUR_MS};
    check_raw(f, m, EVERYTHING);
    check_listing(f, m, EVERYTHING);
    check_stats(f, m);
    check_tables(f);
    check_fragment(f, m, long_ago, "sum");
    for (int i = 0; i < 2; i++) {
        struct time_span span = random_span(r, m);
        check_raw(f, m, span);
        check_listing(f, m, span);
        if (span.max_ms >= span.min_ms)
            check_fragment(f, m, span, "count");
    }
}

/* --- random days --- */

/* What append should do with a sample of a series. */
enum outcome {
    TAKEN,
    LATE,
    BEYOND
};

static enum outcome model_append(struct model_series *s, struct sample sample, int64_t oldest_ms)
{
    if (sample.time_ms < oldest_ms)
        return BEYOND;
    if (s->n > 0 && sample.time_ms <= s->at[s->n - 1].time_ms)
        return LATE;
    assert_true(s->n < SAMPLES_MAX);
    s->at[s->n++] = sample;
    return TAKEN;
}

static void append_some(struct fixture *f, struct model *m, struct random *r, int64_t *now_ms)
{
    enum {
        MOST = 60
    };
    static struct sample samples[MOST];
    int64_t newest_ms = model_newest_ms(m), end_ms = *now_ms;
    for (int i = 0; i < SERIES; i++) {
        if (random_below(r, 4) == 0)
            continue;
        size_t n = random_below(r, MOST), seen[3] = {0};
        int64_t time_ms = *now_ms;
        if (random_below(r, 6) == 0) /* as a sender that was away */
            time_ms -= (int64_t)random_below(r, 40 * HOUR_MS);
        for (size_t k = 0; k < n; k++) {
            time_ms += 1 + (int64_t)random_below(r, 120000);
            samples[k] = (struct sample){time_ms, (double)random_below(r, 1000)};
            bool keeps = kept_ms(m, i) == 0 || newest_ms == INT64_MIN;
            seen[model_append(&m->series[i], samples[k], keeps ? INT64_MIN : newest_ms - kept_ms(m, i))]++;
        }
        struct append_request request = append(f, series_text(i), samples, n);
        assert_int_equal(request.written, seen[TAKEN]);
        assert_int_equal(request.beyond_retention, seen[BEYOND]);
        assert_int_equal(request.out_of_order + request.duplicates + request.conflicting, seen[LATE]);
        newest_ms = model_newest_ms(m);
        end_ms = time_ms > end_ms ? time_ms : end_ms;
    }
    *now_ms = end_ms + (int64_t)random_below(r, random_below(r, 10) ? HOUR_MS : 12 * HOUR_MS);
}

static void delete_some(struct fixture *f, struct model *m, struct random *r)
{
    static const struct {
        const char *matchers;
        unsigned series; /* bit i */
    } CHOICES[] = {
        {"i=0", 1},           {"i=~1|2|3", 14}, {"g=2", 04444}, {"__name__=m", 07777}, {"__name__=m i!=5", 07737},
        {"__name__=other", 0}};
    size_t choice = random_below(r, ARRAY_LENGTH(CHOICES));
    struct time_span span = random_below(r, 12) == 0 ? EVERYTHING : random_span(r, m);
    uint64_t before = 0, after = 0;
    for (int i = 0; i < SERIES; i++) {
        before += m->series[i].n;
        if (CHOICES[choice].series >> i & 1)
            model_keep(&m->series[i], span);
        after += m->series[i].n;
    }
    assert_int_equal(delete (f, CHOICES[choice].matchers, span), before - after);
}

static void reopen(struct fixture *f)
{
    fixture_close(f);
    fixture_open(f);
}

static void run_days(uint64_t seed, bool retains, int rounds)
{
    struct fixture f;
    struct random r = random_from(seed);
    struct model *m = test_calloc(1, sizeof *m);
    int64_t now_ms = START_MS;
    m->retains = retains;
    fixture_init_on_disk(&f);
    if (retains) {
        f.retention = rules(&f.arena);
        reopen(&f);
    }
    for (int round = 0; round < rounds; round++) {
        append_some(&f, m, &r, &now_ms);
        if (random_below(&r, 3) == 0)
            compact(&f);
        retain(&f); /* what the thread did meanwhile is part of it */
        model_retain(m);
        if (random_below(&r, 2) == 0)
            delete_some(&f, m, &r);
        retain(&f);
        model_retain(m);
        if (random_below(&r, 8) == 0)
            reopen(&f);
        check_all(&f, m, &r);
    }
    compact(&f);
    check_all(&f, m, &r);
    test_free(m);
    fixture_release(&f);
}

static void test_random_days(void **state)
{
    const char *seed = getenv("PROMSPLIT_SEED");
    uint64_t first = seed ? strtoull(seed, NULL, 10) : 1;
    for (uint64_t i = 0; i < 2; i++) {
        print_message("seed %" PRIu64 "\n", first + i);
        run_days(first + i, i == 0, i == 0 ? 30 : 15);
    }
}

/* --- single rules --- */

/* A partition goes when its end is as old as the retention, not a millisecond earlier. */
static void test_edge_of_age(void **state)
{
    struct fixture f;
    fixture_init_on_disk(&f);
    f.retention.time_ms = 10 * HOUR_MS;
    reopen(&f);
    int64_t begin_ms = INT64_C(100000) * PARTITION_MS, end_ms = begin_ms + PARTITION_MS;
    APPEND(&f, "m;i=1", {begin_ms - 1, 1}, {begin_ms, 2}, {end_ms - 1, 3}, {end_ms, 4});
    APPEND(&f, "m;i=2", {end_ms + 10 * HOUR_MS - 1, 1});
    retain(&f);
    assert_int_equal(stats_of(&f).min_time_ms, begin_ms);
    struct append_request request = APPEND(&f, "m;i=3", {end_ms - 2, 1}, {end_ms - 1, 2});
    assert_int_equal(request.beyond_retention, 1);
    assert_int_equal(request.written, 1);
    assert_non_null(strstr(request.refused.message, "out of bounds"));
    APPEND(&f, "m;i=2", {end_ms + 10 * HOUR_MS, 2});
    retain(&f);
    assert_int_equal(stats_of(&f).min_time_ms, end_ms);
    assert_int_equal(stats_of(&f).series_n, 2);
    struct backend_stats stats = stats_of(&f);
    assert_int_equal(stats.dropped_partitions_n, 2);
    assert_int_equal(stats.dropped_samples_n, 4);
    assert_int_equal(stats.dropped_series_n, 1);
    APPEND(&f, "m;i=3", {end_ms + 1, 5}); /* comes back as a new series */
    assert_int_equal(stats_of(&f).series_n, 3);
    check_tables(&f);
    fixture_release(&f);
}

#define SIZE_SERIES  2000
#define SIZE_SAMPLES 100 /* of a series and partition */

/* One partition's samples of all series, incompressible. */
static void append_partition(struct fixture *f, struct random *r, int64_t part)
{
    static struct sample samples[SIZE_SERIES][SIZE_SAMPLES];
    static struct append_series list[SIZE_SERIES];
    for (int i = 0; i < SIZE_SERIES; i++) {
        char text[32];
        snprintf(text, sizeof text, "m;i=%d", i);
        for (int k = 0; k < SIZE_SAMPLES; k++)
            samples[i][k] =
                (struct sample){part * PARTITION_MS + k * 72000 + (int64_t)random_below(r, 70000), random_unit(r)};
        list[i] = (struct append_series){labels_of(&f->arena, text), samples[i], SIZE_SAMPLES};
    }
    struct append_request request = {.series = list, .series_n = SIZE_SERIES};
    assert_int_equal(f->backend->ops->append(f->backend, &request, 1, NULL), OK);
    assert_int_equal(request.written, SIZE_SERIES * SIZE_SAMPLES);
    arena_reset(&f->arena);
}

/* The oldest partitions go until what is used is below the limit; blocks are used again, so the file stops growing. */
static void test_size(void **state)
{
    enum {
        PARTITIONS = 24
    };
    struct fixture f;
    fixture_init_on_disk(&f);
    f.retention.size_bytes = 16 << 20;
    reopen(&f);
    struct random r = random_from(5);
    uint64_t largest = 0, samples_n = PARTITIONS * SIZE_SERIES * SIZE_SAMPLES;
    for (int64_t part = 0; part < PARTITIONS; part++) {
        append_partition(&f, &r, 100000 + part);
        compact(&f);
        retain(&f);
        struct backend_stats stats = stats_of(&f);
        largest = stats.disk_bytes > largest ? stats.disk_bytes : largest;
    }
    struct backend_stats stats = stats_of(&f);
    print_message("%" PRIu64 " samples written, %" PRIu64 " kept in %" PRIu64 " bytes; file %" PRIu64
                  " at the end, %" PRIu64 " at most\n",
                  samples_n, stats.samples_n, stats.used_bytes, stats.disk_bytes, largest);
    assert_true(stats.dropped_partitions_n > PARTITIONS / 2);
    assert_true(stats.used_bytes > f.retention.size_bytes / 2); /* no more was dropped than had to be */
    assert_true(largest < 2 * f.retention.size_bytes);
    assert_int_equal(stats.samples_n + stats.dropped_samples_n, samples_n);
    assert_int_equal(stats.series_n, SIZE_SERIES);
    check_tables(&f);
    fixture_release(&f);
}

static void test_bad_rules_are_refused(void **state)
{
    struct fixture f;
    fixture_init(&f);
    struct retention_rule rule = {selector_of(&f.arena, "i=~("), 1000};
    struct duckdb_options options = {.connections_max = 1, .retention = {.rules = &rule, .rules_n = 1}};
    struct backend *backend = NULL;
    struct error error;
    assert_int_equal(duckdb_backend_open(&options, &backend, &error), E_BAD_DATA);
    assert_non_null(strstr(error.message, "retention rule 1: error parsing regexp"));
    fixture_release(&f);
}

/* What may be written after a deletion is decided by the newest sample that is left. */
static void test_what_may_be_written_after_a_deletion(void **state)
{
    struct fixture f;
    fixture_init_on_disk(&f);
    for (int compacted = 0; compacted < 2; compacted++) {
        APPEND(&f, "m;i=1", {1000, 1}, {2000, -0.0}, {3000, 3}, {4000, 4});
        APPEND(&f, "m;i=2", {1000, 1}, {9000, 2});
        if (compacted)
            compact(&f);
        assert_int_equal(delete (&f, "i=1", (struct time_span){2500, 8000}), 2);
        struct append_request request = APPEND(&f, "m;i=1", {1500, 1}, {2000, -0.0}, {2000, 0.0}, {3000, 7});
        assert_int_equal(request.out_of_order, 1);
        assert_int_equal(request.duplicates, 1);
        assert_int_equal(request.conflicting, 1);
        assert_int_equal(request.written, 1);
        assert_int_equal(delete (&f, "i=2", (struct time_span){0, 8999}), 1); /* the newest stays */
        request = APPEND(&f, "m;i=2", {8999, 1}, {9000, 2}, {9001, 3});
        assert_int_equal(request.out_of_order, 1);
        assert_int_equal(request.duplicates, 1);
        assert_int_equal(request.written, 1);
        assert_int_equal(delete (&f, "__name__=m", EVERYTHING), 5);
        assert_int_equal(stats_of(&f).series_n, 0);
        assert_int_equal(stats_of(&f).samples_n, 0);
        assert_int_equal(stats_of(&f).max_time_ms, INT64_MIN);
        reopen(&f);
    }
    fixture_release(&f);
}

static void test_a_deletion_can_be_stopped(void **state)
{
    struct fixture f;
    fixture_init(&f);
    APPEND(&f, "m;i=1", {1000, 1});
    struct cancel cancel;
    cancel_init(&cancel, INT64_MAX);
    cancel_fire(&cancel, E_CANCELED);
    struct expr_selector selector = selector_of(&f.arena, "i=1"), bad = selector_of(&f.arena, "i=~(");
    struct series_query query = {&selector, 1, EVERYTHING, 0};
    uint64_t samples_n;
    assert_int_equal(f.backend->ops->delete_series(f.backend, &query, &cancel, &samples_n, NULL), E_CANCELED);
    query.selectors = &bad;
    assert_int_equal(f.backend->ops->delete_series(f.backend, &query, NULL, &samples_n, NULL), E_BAD_DATA);
    assert_int_equal(stats_of(&f).samples_n, 1);
    cancel_release(&cancel);
    fixture_release(&f);
}

/* --- beside appends and readers --- */

#define BESIDE_SERIES 200
#define BESIDE_ROUNDS 400

struct beside {
    struct fixture f;
    _Atomic bool done;
    size_t reads_n;
    char saw[256]; /* "": nothing wrong */
};

/* Samples come in whole rounds for all series, so at any time a series' samples are a row of rounds without a gap, and
 * those of series 0 and 1, written and deleted together, are the same. */
static void *read_beside(void *arg)
{
    struct beside *b = arg;
    struct arena arena;
    arena_init(&arena, SIZE_MAX);
    while (!b->done && !b->saw[0]) {
        struct raw_cursor *cursor = NULL;
        struct raw_block block;
        struct error error;
        uint64_t sums[2] = {0};
        enum status status =
            b->f.backend->ops->raw_open(b->f.backend, RAW_SAMPLES, NULL, 0, EVERYTHING, NULL, &cursor, &error);
        while (status == OK && (status = b->f.backend->ops->raw_next(cursor, &block, &error)) == OK &&
               block.samples_n > 0) {
            int i = number_of(block.labels);
            for (size_t k = 0; i < 2 && k < block.samples_n; k++)
                sums[i] += (uint64_t)block.samples[k].time_ms;
        }
        b->f.backend->ops->raw_close(cursor);
        if (status != OK)
            snprintf(b->saw, sizeof b->saw, "%.200s", error.message);
        else if (sums[0] != sums[1])
            snprintf(b->saw, sizeof b->saw, "half a deletion");
        b->reads_n++;
    }
    arena_release(&arena);
    return NULL;
}

/* Most series come and go: each is written in one round of some, so that retention takes it out while it comes back. */
static void test_series_come_back_while_they_are_dropped(void **state)
{
    struct beside b = {.reads_n = 0};
    fixture_init_on_disk(&b.f);
    b.f.retention.time_ms = 3 * PARTITION_MS;
    b.f.compact_rows = 3000;
    reopen(&b.f);
    struct arena arena;
    arena_init(&arena, SIZE_MAX);
    static struct labels labels[BESIDE_SERIES];
    for (int i = 0; i < BESIDE_SERIES; i++) {
        char text[32];
        snprintf(text, sizeof text, "m;i=%d", i);
        labels[i] = labels_of(&arena, text);
    }
    pthread_t reader;
    assert_int_equal(pthread_create(&reader, NULL, read_beside, &b), 0);
    static uint32_t written[BESIDE_SERIES][BESIDE_ROUNDS];
    struct random r = random_from(3);
    for (uint32_t round = 0; round < BESIDE_ROUNDS; round++) {
        struct append_series list[BESIDE_SERIES];
        struct sample sample = {100000 * PARTITION_MS + round * (PARTITION_MS / 4), round};
        size_t n = 0;
        for (int i = 0; i < BESIDE_SERIES; i++) {
            if (i >= 2 && random_below(&r, 14) != 0)
                continue;
            list[n++] = (struct append_series){labels[i], &sample, 1};
            written[i][round] = 1;
        }
        struct append_request request = {.series = list, .series_n = n};
        assert_int_equal(b.f.backend->ops->append(b.f.backend, &request, 1, NULL), OK);
        assert_int_equal(request.written, n);
        if (round % 16 == 9)
            delete (&b.f, "i=~0|1", (struct time_span){sample.time_ms - PARTITION_MS, sample.time_ms - 1});
    }
    b.done = true;
    pthread_join(reader, NULL);
    assert_string_equal(b.saw, "");
    retain(&b.f);
    check_tables(&b.f);
    uint64_t samples_n = 0, series_n = 2;
    uint32_t first = BESIDE_ROUNDS - 1 - 12;
    first -= first % 4;
    for (int i = 2; i < BESIDE_SERIES; i++) {
        uint64_t of_series = 0;
        for (uint32_t round = first; round < BESIDE_ROUNDS; round++)
            of_series += written[i][round];
        samples_n += of_series;
        series_n += of_series > 0;
    }
    delete (&b.f, "i=~0|1", EVERYTHING);
    series_n -= 2;
    struct backend_stats stats = stats_of(&b.f);
    print_message("%zu reads beside %" PRIu64 " partitions and %" PRIu64 " series that were dropped\n", b.reads_n,
                  stats.dropped_partitions_n, stats.dropped_series_n);
    assert_int_equal(stats.samples_n, samples_n);
    assert_int_equal(stats.series_n, series_n);
    assert_true(stats.dropped_series_n > 100);
    assert_int_equal(stats.retention_failures_n + stats.move_failures_n, 0);
    reopen(&b.f);
    assert_int_equal(stats_of(&b.f).series_n, series_n);
    assert_int_equal(stats_of(&b.f).samples_n, samples_n);
    arena_release(&arena);
    fixture_release(&b.f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_edge_of_age),
        cmocka_unit_test(test_bad_rules_are_refused),
        cmocka_unit_test(test_what_may_be_written_after_a_deletion),
        cmocka_unit_test(test_a_deletion_can_be_stopped),
        cmocka_unit_test(test_random_days),
        cmocka_unit_test(test_size),
        cmocka_unit_test(test_series_come_back_while_they_are_dropped),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
