/* tests/unit/backend/test_duckdb_compact.c: where samples lie changes no answer.
 *
 * The same samples are asked for when they are all recent, when some are in chunks, when new ones and late series have
 * come on top, when all are in chunks, and after reopening; every window function must give the kernel's own bits, and
 * the cursor every sample once. Then samples come in random order, with moves and reopenings between, and what becomes
 * of each must be what the policy says.
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

#include "backend/duckdb/move.h"
#include "backend/duckdb/partition.h"
#include "backend/kernels/bits.h"
#include "backend/kernels/window.h"
#include "base/assert.h"
#include "base/cancel.h"
#include "base/float_text.h"
#include "tests/unit/backend/fixture.h"
#include "tests/unit/backend/random.h"

#define SERIES    12
#define LATE      10 /* series from here on come when the others are in chunks */
#define SAMPLES   2400
#define STEPS_MAX 6000
#define HOUR_MS   INT64_C(3600000)
#define START_MS  (INT64_C(200000) * HOUR_MS + 1234567)

struct series_data {
    size_t n, appended;
    int64_t time_ms[SAMPLES];
    double value[SAMPLES];
};

struct world {
    struct series_data series[SERIES];
};

/* Ten hours; series 5 has a gap within a partition and one over several, series 7 few samples, series 0 markers only
 * now and then, series 3 a lot of them. */
static struct world *world_make(void)
{
    struct world *w = test_calloc(1, sizeof *w);
    struct random r = random_from(7);
    for (int i = 0; i < SERIES; i++) {
        struct series_data *s = &w->series[i];
        double value = 0;
        for (int k = 0; k < SAMPLES; k++) {
            if ((i == 5 && ((k > 100 && k < 300) || (k > 700 && k < 1600))) || (i == 7 && k % 500 != 3))
                continue;
            value = random_below(&r, 150) == 0 ? 0 : value + random_unit(&r) * 10;
            bool marker = random_below(&r, i == 3 ? 4 : 300) == 0;
            s->time_ms[s->n] = START_MS + k * 15000 + (int64_t)random_below(&r, 9000);
            s->value[s->n++] = marker ? double_from_bits(STALE_NAN_BITS) : value;
        }
    }
    return w;
}

static void append_part(struct fixture *f, struct world *w, int first, int last, size_t end)
{
    static struct sample samples[SERIES][SAMPLES];
    struct append_series list[SERIES];
    size_t n = 0;
    for (int i = first; i < last; i++) {
        struct series_data *s = &w->series[i];
        char text[32];
        snprintf(text, sizeof text, "m;i=%d", i);
        size_t k = 0;
        for (; s->appended < s->n && s->appended < end; s->appended++)
            samples[i][k++] = (struct sample){s->time_ms[s->appended], s->value[s->appended]};
        if (k > 0)
            list[n++] = (struct append_series){labels_of(&f->arena, text), samples[i], k};
    }
    struct append_request request = {.series = list, .series_n = n};
    assert_int_equal(f->backend->ops->append(f->backend, &request, 1, NULL), OK);
    assert_int_equal(request.refused.status, OK);
}

/* --- window functions --- */

static const struct window_grid GRIDS[] = {
    {START_MS, 60000, 600, 300000, false},
    {START_MS - 3 * HOUR_MS, 60000, 900, 300000, true},
    {START_MS + 5 * HOUR_MS, 15000, 1200, 60000, false},
    {START_MS, 3600000, 12, 300000, false},
    {START_MS + 17, 5000, 6000, 120000, true},
    {START_MS + HOUR_MS, 1000, 3000, 90000, false},
    {START_MS + HOUR_MS, 600000, 60, 5 * HOUR_MS, false},
    {START_MS + 3 * HOUR_MS, 60000, 1, 300000, false},
    {START_MS + 3 * HOUR_MS, 30000, 100, 0, true},
    {START_MS + 20 * HOUR_MS, 60000, 10, 30 * HOUR_MS, false},
};

static void check_series(const struct series_data *s, const struct window_kernel *kernel,
                         const struct window_grid *grid, const struct grid_series *got, int series)
{
    static int64_t t[SAMPLES];
    static double v[SAMPLES], room[SAMPLES], values[STEPS_MAX];
    static uint64_t present[(STEPS_MAX + 63) / 64];
    memcpy(t, s->time_ms, s->appended * sizeof *t);
    memcpy(v, s->value, s->appended * sizeof *v);
    struct window_parameters parameters = kernel_parameters(room);
    size_t n = kernel->sees_markers ? s->appended : window_drop_markers(t, v, s->appended);
    uint32_t present_n = kernel->run(grid, &parameters, &(struct samples){t, v, n, NULL}, values, present);
    if ((present_n > 0) != (got != NULL))
        fail_msg("%s, series %d: %u values wanted, %s row", kernel->name, series, present_n, got ? "a" : "no");
    for (uint32_t k = 0; got && k < grid->steps; k++) {
        bool has = bits_get(present, k);
        if (has != grid_series_has(got, k) || (has && double_bits(values[k]) != double_bits(got->values[k])))
            fail_msg("%s, series %d, step %u: got %.17g, want %.17g", kernel->name, series, k, got->values[k],
                     values[k]);
    }
}

static void check_windows(struct fixture *f, const struct world *w, const struct window_kernel *kernel,
                          const struct window_grid *grid)
{
    char sql[768];
    snprintf(sql, sizeof sql,
             "SELECT metric, labels, v FROM (SELECT series, prom_%s(" STORED_RUN ", %" PRId64 ", %" PRId64
             ", %u, %" PRId64 ", %s%s) AS v FROM runs_of('m') WHERE tmax >= %" PRId64 " AND tmin <= %" PRId64
             " GROUP BY series) JOIN series USING (series)",
             kernel->name, grid->start_ms, grid->step_ms, grid->steps, grid->window_ms, grid->closed ? "true" : "false",
             kernel_arguments(kernel), grid->start_ms - grid->window_ms, grid->start_ms + grid->step_ms * grid->steps);
    struct fragment fragment = fragment_of(
        &f->arena, sql, (struct grid){.start_ms = grid->start_ms, .step_ms = grid->step_ms, .steps = grid->steps}, true,
        true, "");
    struct grid_result *result = run_ok(f, &fragment);
    const struct grid_series *got[SERIES] = {NULL};
    for (size_t i = 0; i < result->series_n; i++)
        got[atoi(labels_get(result->series[i].labels, STR("i")).ptr)] = &result->series[i];
    for (int i = 0; i < SERIES; i++)
        check_series(&w->series[i], kernel, grid, got[i], i);
    grid_result_free(result);
}

/* --- raw samples and listings --- */

static void check_raw(struct fixture *f, const struct world *w, struct time_span span)
{
    struct raw_cursor *cursor = NULL;
    struct raw_block block;
    size_t at[SERIES], left = 0;
    for (int i = 0; i < SERIES; i++) {
        const struct series_data *s = &w->series[i];
        for (at[i] = 0; at[i] < s->appended && s->time_ms[at[i]] < span.min_ms; at[i]++) {
        }
        for (size_t k = at[i]; k < s->appended && s->time_ms[k] <= span.max_ms; k++)
            left++;
    }
    assert_int_equal(f->backend->ops->raw_open(f->backend, RAW_SAMPLES, NULL, 0, span, NULL, &cursor, NULL), OK);
    while (f->backend->ops->raw_next(cursor, &block, NULL) == OK && block.samples_n > 0) {
        int i = atoi(labels_get(block.labels, STR("i")).ptr);
        for (size_t k = 0; k < block.samples_n; k++, at[i]++, left--) {
            assert_int_equal(block.samples[k].time_ms, w->series[i].time_ms[at[i]]);
            assert_int_equal(double_bits(block.samples[k].value), double_bits(w->series[i].value[at[i]]));
        }
    }
    f->backend->ops->raw_close(cursor);
    assert_int_equal(left, 0);
}

static void check_listing(struct fixture *f, const struct world *w, struct time_span span)
{
    struct series_query query = {NULL, 0, span, 0};
    struct series_list *list = NULL;
    bool listed[SERIES] = {false};
    assert_int_equal(f->backend->ops->series(f->backend, &query, NULL, &list, NULL), OK);
    for (size_t i = 0; i < list->n; i++)
        listed[atoi(labels_get(list->at[i], STR("i")).ptr)] = true;
    series_list_free(list);
    for (int i = 0; i < SERIES; i++) {
        bool has = false;
        for (size_t k = 0; k < w->series[i].appended; k++)
            has = has || (w->series[i].time_ms[k] >= span.min_ms && w->series[i].time_ms[k] <= span.max_ms);
        assert_int_equal(listed[i], has);
    }
}

static void check_all(struct fixture *f, const struct world *w, unsigned stage)
{
    for (unsigned id = 0; id < KERNEL_MAX; id++)
        check_windows(f, w, &window_kernels[id], &GRIDS[(id + stage) % ARRAY_LENGTH(GRIDS)]);
    for (size_t i = 0; i < ARRAY_LENGTH(GRIDS); i++)
        check_windows(f, w, &window_kernels[i % 2 ? KERNEL_RATE : KERNEL_LAST], &GRIDS[i]);
    check_raw(f, w, (struct time_span){INT64_MIN, INT64_MAX});
    struct random r = random_from(stage + 1);
    for (int i = 0; i < 6; i++) {
        int64_t from = START_MS + (int64_t)random_below(&r, 11 * HOUR_MS), length = random_below(&r, 3 * HOUR_MS);
        struct time_span span = {from, from + (i % 2 ? length : length / 200)};
        check_raw(f, w, span);
        check_listing(f, w, span);
    }
}

static void test_answers_stay_the_same(void **state)
{
    struct fixture f;
    fixture_init_on_disk(&f);
    struct world *w = world_make();
    unsigned stage = 0;
    append_part(&f, w, 0, LATE, 1000);
    uint64_t samples_n = stats_of(&f).samples_n;
    check_all(&f, w, stage++);
    compact(&f);
    assert_int_equal(stats_of(&f).recent_n, 0);
    assert_true(stats_of(&f).moves_n > 0);
    check_all(&f, w, stage++);
    append_part(&f, w, 0, LATE, 1300);     /* behind the chunk of an open partition */
    append_part(&f, w, LATE, SERIES, 700); /* into partitions that are in chunks already */
    check_all(&f, w, stage++);
    fixture_close(&f);
    fixture_open(&f);
    check_all(&f, w, stage++);
    compact(&f);
    check_all(&f, w, stage++);
    compact(&f); /* nothing to do */
    fixture_close(&f);
    fixture_open(&f);
    assert_int_equal(stats_of(&f).recent_n, 0);
    append_part(&f, w, 0, SERIES, SAMPLES); /* the catalogue read from chunks knows each newest */
    compact(&f);
    samples_n = 0;
    for (int i = 0; i < SERIES; i++)
        samples_n += w->series[i].n;
    assert_int_equal(stats_of(&f).samples_n, samples_n);
    check_all(&f, w, stage++);
    fixture_close(&f);
    fixture_open(&f);
    assert_int_equal(stats_of(&f).samples_n, samples_n);
    check_all(&f, w, stage++);
    test_free(w);
    fixture_release(&f);
}

/* What must hold of the tables: one chunk for each series and partition; what is recent is later. */
static void check_tables(struct fixture *f)
{
    static const char *const wrong[] = {
        "SELECT [1e0] FROM chunks() GROUP BY series, tmin // 7200000 HAVING count(*) > 1",
        "SELECT [1e0] FROM chunks() WHERE n <> len(ts) OR n <> len(value) OR tmin <> ts[1] OR tmax <> ts[n] OR tmin // "
        "7200000 <> tmax // 7200000 OR ts <> list_sort(ts) OR metric <> 'm'",
        "SELECT [1e0] FROM recent JOIN chunks() USING (series) WHERE recent.ts // 7200000 = tmin // 7200000 AND "
        "recent.ts <= tmax",
        "SELECT [1e0] FROM samples GROUP BY series, ts HAVING count(*) > 1",
    };
    for (size_t i = 0; i < ARRAY_LENGTH(wrong); i++) {
        struct fragment fragment = fragment_of(&f->arena, wrong[i], grid_instant(0), false, false, "");
        struct grid_result *result = run_ok(f, &fragment);
        assert_int_equal(result->series_n, 0);
        grid_result_free(result);
    }
}

/* For people there are plain rows. */
static void test_tables(void **state)
{
    struct fixture f;
    fixture_init(&f);
    struct world *w = world_make();
    for (size_t end = 300; end <= SAMPLES; end += 300) {
        append_part(&f, w, 0, SERIES, end);
        if (end % 900 == 0)
            compact(&f);
        check_tables(&f);
    }
    compact(&f);
    check_tables(&f);
    assert_int_equal(stats_of(&f).recent_n, 0);
    struct fragment count =
        fragment_of(&f.arena, "SELECT [count(*)::DOUBLE] FROM samples", grid_instant(0), false, false, "");
    struct grid_result *result = run_ok(&f, &count);
    assert_true(result->series[0].values[0] == (double)stats_of(&f).samples_n);
    grid_result_free(result);
    test_free(w);
    fixture_release(&f);
}

/* The thread compacts by itself, beside appends and queries. */
static void test_in_the_background(void **state)
{
    struct fixture f = {.directory = ""};
    fixture_init_on_disk(&f);
    fixture_close(&f);
    f.compact_rows = 500;
    fixture_open(&f);
    struct world *w = world_make();
    for (size_t end = 40; end <= SAMPLES; end += 40) {
        append_part(&f, w, 0, SERIES, end);
        check_windows(&f, w, &window_kernels[end / 40 % KERNEL_MAX], &GRIDS[end / 40 % ARRAY_LENGTH(GRIDS)]);
        if (end % 200 == 0)
            check_raw(&f, w, (struct time_span){INT64_MIN, INT64_MAX});
    }
    int64_t give_up_ms = monotonic_ms() + 60000;
    while (stats_of(&f).recent_n >= f.compact_rows && monotonic_ms() < give_up_ms)
        usleep(10000);
    struct backend_stats stats = stats_of(&f);
    assert_true(stats.recent_n < f.compact_rows);
    assert_true(stats.moves_n > 1);
    assert_int_equal(stats.move_failures_n, 0);
    check_all(&f, w, 0);
    test_free(w);
    fixture_release(&f);
}

/* --- samples in random order --- */

#define WINDOW_MS    (2 * HOUR_MS)
#define UNORDERED_MS (10 * HOUR_MS)
#define REQUEST_MAX  40 /* samples of a series and request */

/* What the policy makes of one more sample. */
static void expect_sample(struct series_data *s, struct sample sample, struct append_request *expected)
{
    size_t at = s->n;
    while (at > 0 && s->time_ms[at - 1] >= sample.time_ms)
        at--;
    bool is_there = at < s->n && s->time_ms[at] == sample.time_ms, is_late = at < s->n;
    int64_t newest_ms = s->n ? s->time_ms[s->n - 1] : sample.time_ms;
    if (newest_ms - sample.time_ms > WINDOW_MS) {
        expected->too_old++;
    } else if (is_there && double_bits(s->value[at]) == double_bits(sample.value)) {
        expected->duplicates++;
    } else if (is_there) {
        expected->conflicting++;
    } else {
        memmove(&s->time_ms[at + 1], &s->time_ms[at], (s->n - at) * sizeof s->time_ms[0]);
        memmove(&s->value[at + 1], &s->value[at], (s->n - at) * sizeof s->value[0]);
        s->time_ms[at] = sample.time_ms;
        s->value[at] = sample.value;
        s->appended = ++s->n;
        expected->written++;
        expected->late += is_late;
    }
}

static struct sample random_sample(struct random *r, const struct series_data *s)
{
    static const uint64_t odd[] = {STALE_NAN_BITS, 0, UINT64_C(1) << 63, NORMAL_NAN_BITS};
    int64_t newest_ms = s->n ? s->time_ms[s->n - 1] : START_MS;
    double value = random_below(r, 20) == 0 ? double_from_bits(odd[random_below(r, ARRAY_LENGTH(odd))])
                                            : (double)random_below(r, 3);
    uint64_t kind = random_below(r, 100);
    if (kind < 35) /* now and then after a gap of a partition or more */
        return (struct sample){newest_ms + 1 + (int64_t)random_below(r, random_below(r, 60) ? 40000 : 3 * HOUR_MS),
                               value};
    if (kind < 65)
        return (struct sample){newest_ms - (int64_t)random_below(r, 200000), value};
    if (kind < 85)
        return (struct sample){newest_ms - (int64_t)random_below(r, WINDOW_MS), value};
    if (kind < 90) /* at the window's edge */
        return (struct sample){newest_ms - WINDOW_MS + 1 - (int64_t)random_below(r, 3), value};
    size_t at = s->n ? random_below(r, s->n) : 0;
    return s->n ? (struct sample){s->time_ms[at], kind < 95 ? s->value[at] : value} : (struct sample){newest_ms, value};
}

/* One transaction of two requests, which may be of the same series. */
static void append_unordered(struct fixture *f, struct world *w, struct random *r)
{
    struct sample samples[2][REQUEST_MAX];
    struct append_series list[2];
    struct append_request requests[2] = {{.series = &list[0], .series_n = 1}, {.series = &list[1], .series_n = 1}};
    struct append_request expected[2] = {{.written = 0}, {.written = 0}};
    for (size_t i = 0; i < 2; i++) {
        int which = (int)random_below(r, 4);
        struct series_data *s = &w->series[which];
        char text[32];
        snprintf(text, sizeof text, "m;i=%d", which);
        size_t n = 1 + random_below(r, REQUEST_MAX);
        n = s->n + n > SAMPLES || (s->n && s->time_ms[s->n - 1] > START_MS + UNORDERED_MS) ? 0 : n;
        for (size_t k = 0; k < n; k++) {
            samples[i][k] = random_sample(r, s);
            expect_sample(s, samples[i][k], &expected[i]);
        }
        list[i] = (struct append_series){labels_of(&f->arena, text), samples[i], n};
    }
    struct error error;
    if (f->backend->ops->append(f->backend, requests, 2, &error) != OK)
        fail_msg("append: %s", error.message);
    for (size_t i = 0; i < 2; i++) {
        assert_int_equal(requests[i].written, expected[i].written);
        assert_int_equal(requests[i].late, expected[i].late);
        assert_int_equal(requests[i].duplicates, expected[i].duplicates);
        assert_int_equal(requests[i].conflicting, expected[i].conflicting);
        assert_int_equal(requests[i].too_old, expected[i].too_old);
        assert_int_equal(requests[i].refused.status, expected[i].conflicting + expected[i].too_old ? E_BAD_DATA : OK);
    }
}

static void run_unordered(uint64_t seed, uint64_t compact_rows)
{
    struct fixture f;
    fixture_init_on_disk(&f);
    fixture_close(&f);
    f.compact_rows = compact_rows;
    f.out_of_order_window_ms = WINDOW_MS;
    fixture_open(&f);
    struct world *w = test_calloc(1, sizeof *w);
    struct random r = random_from(seed);
    size_t moves_n = 0;
    for (unsigned round = 0; round < 150; round++) {
        append_unordered(&f, w, &r);
        uint64_t what = random_below(&r, 100);
        if (what < 15) {
            compact(&f);
            moves_n++;
        } else if (what < 18) {
            fixture_close(&f);
            fixture_open(&f);
        } else if (what < 22) {
            check_raw(&f, w, (struct time_span){INT64_MIN, INT64_MAX});
            check_tables(&f);
            check_windows(&f, w, &window_kernels[round % KERNEL_MAX], &GRIDS[round % ARRAY_LENGTH(GRIDS)]);
        }
    }
    assert_true(moves_n > 5);
    check_raw(&f, w, (struct time_span){INT64_MIN, INT64_MAX});
    compact(&f);
    check_tables(&f);
    fixture_close(&f);
    fixture_open(&f);
    check_all(&f, w, (unsigned)seed);
    uint64_t samples_n = 0;
    for (int i = 0; i < SERIES; i++)
        samples_n += w->series[i].n;
    assert_int_equal(stats_of(&f).samples_n, samples_n);
    assert_int_equal(stats_of(&f).move_failures_n, 0);
    print_message("%" PRIu64 " samples in random order\n", samples_n);
    test_free(w);
    fixture_release(&f);
}

static void test_random_order(void **state)
{
    for (uint64_t seed = 1; seed <= 2; seed++)
        run_unordered(seed, 0);
}

static void test_random_order_beside_moves(void **state)
{
    run_unordered(3, 100);
}

/* The engine's compression takes 0 and -0 for equal, and NaNs are told apart by their bits alone. */
static void test_every_bit_is_kept(void **state)
{
    struct fixture f;
    fixture_init_on_disk(&f);
    enum {
        N = 3000
    };
    static const uint64_t BITS[] = {0, UINT64_C(1) << 63, 0x7ff8000000000000, 0x7ff0000000000002, 0xfff8000000000123};
    static struct sample samples[N];
    for (size_t i = 0; i < N; i++) /* zeros alone, then NaNs alone, then both */
        samples[i] =
            (struct sample){(int64_t)i * 15000 + 1, double_from_bits(BITS[i < N / 3       ? i % 7 == 0
                                                                          : i < 2 * N / 3 ? 2 + i % 3
                                                                                          : i % ARRAY_LENGTH(BITS)])};
    append(&f, "m;i=1", samples, N / 2);
    compact(&f);
    append(&f, "m;i=1", samples + N / 2, N - N / 2);
    for (int round = 0; round < 2; round++) {
        fixture_close(&f); /* what is recent is compressed as well */
        fixture_open(&f);
        struct raw_cursor *cursor = NULL;
        struct raw_block block;
        size_t n = 0;
        assert_int_equal(f.backend->ops->raw_open(f.backend, RAW_SAMPLES, NULL, 0,
                                                  (struct time_span){INT64_MIN, INT64_MAX}, NULL, &cursor, NULL),
                         OK);
        while (f.backend->ops->raw_next(cursor, &block, NULL) == OK && block.samples_n > 0) {
            for (size_t i = 0; i < block.samples_n; i++, n++)
                assert_true(double_bits(block.samples[i].value) == double_bits(samples[n].value));
        }
        f.backend->ops->raw_close(cursor);
        assert_int_equal(n, N);
        compact(&f);
    }
    struct fragment newest = fragment_of(
        &f.arena, "SELECT prom_last(" STORED_RUN ", 106, 15000, 3, 300000, true) FROM runs_of('m')", /* 0, -0 … */
        (struct grid){.start_ms = 106, .step_ms = 15000, .steps = 3}, false, false, "");
    struct grid_result *result = run_ok(&f, &newest);
    assert_true(double_bits(result->series[0].values[0]) == BITS[1]);
    assert_true(double_bits(result->series[0].values[1]) == BITS[0]);
    grid_result_free(result);
    fixture_release(&f);
}

/* --- readers beside appends and moves --- */

#define BESIDE_SERIES  16
#define BESIDE_SAMPLES 400 /* of a series and round: a round has more rows than a row group */
#define BESIDE_ROUNDS  60
#define BESIDE_LATE    5 /* samples that come late with a round, of a series */

struct beside {
    struct fixture f;
    _Atomic size_t acknowledged; /* rounds */
    _Atomic bool done;
    size_t fragments_n, cursors_n;
    struct random random;                      /* of times of late samples */
    char fragments_saw[256], cursors_saw[256]; /* "": nothing wrong; the framework's own asserts are for one thread */
};

/* Nothing that was acknowledged before is missing, and nothing is there twice. */
static bool fragment_is_right(struct beside *b, const struct fragment *counts)
{
    double least = (double)(b->acknowledged * BESIDE_SERIES * (BESIDE_SAMPLES + BESIDE_LATE));
    struct run_limits limits = {.samples_max = 1000};
    struct grid_result *result = NULL;
    struct error error;
    if (b->f.backend->ops->run(b->f.backend, counts, &limits, NULL, &result, &error) != OK) {
        snprintf(b->fragments_saw, sizeof b->fragments_saw, "%.200s", error.message);
        return false;
    }
    const double *n = result->series[0].values;
    bool right = n[0] >= least && n[0] == n[1];
    if (!right)
        snprintf(b->fragments_saw, sizeof b->fragments_saw, "%.0f samples, %.0f different, %.0f acknowledged", n[0],
                 n[1], least);
    grid_result_free(result);
    return right;
}

static void *read_fragments(void *arg)
{
    struct beside *b = arg;
    struct arena arena;
    arena_init(&arena, SIZE_MAX);
    struct fragment counts =
        fragment_of(&arena, "SELECT [count(*)::DOUBLE, count(DISTINCT (series, ts))::DOUBLE] FROM samples",
                    (struct grid){.start_ms = 0, .step_ms = 1000, .steps = 2}, false, false, "");
    /* All samples in one window of each series: runs that overlapped would be refused. */
    struct fragment windows = fragment_of(&arena,
                                          "SELECT [sum(v[1]), sum(v[1])] FROM (SELECT prom_count_over_time(" STORED_RUN
                                          ", 1000000000000, 1, 1, "
                                          "1000000000000, true) AS v FROM runs_of('m') GROUP BY series)",
                                          (struct grid){.start_ms = 0, .step_ms = 1000, .steps = 2}, false, false, "");
    while (!b->done && fragment_is_right(b, &counts) && fragment_is_right(b, &windows))
        b->fragments_n++;
    arena_release(&arena);
    return NULL;
}

/* A cursor sees whole batches, the same for every series, if samples are in order; of a batch that came while it was
 * opened it may see late samples without the others. */
static bool cursor_is_right(struct beside *b)
{
    size_t least = b->acknowledged * BESIDE_SAMPLES, least_late = b->acknowledged * BESIDE_LATE;
    size_t n[BESIDE_SERIES] = {0}, late_n[BESIDE_SERIES] = {0};
    struct raw_cursor *cursor = NULL;
    struct raw_block block;
    struct error error;
    bool right = true;
    enum status status = b->f.backend->ops->raw_open(b->f.backend, RAW_SAMPLES, NULL, 0,
                                                     (struct time_span){INT64_MIN, INT64_MAX}, NULL, &cursor, &error);
    while (status == OK && (status = b->f.backend->ops->raw_next(cursor, &block, &error)) == OK && block.samples_n) {
        int i = atoi(labels_get(block.labels, STR("i")).ptr);
        for (size_t k = 0; k < block.samples_n; k++) {
            bool late = block.samples[k].time_ms % 15000 != 0;
            late_n[i] += late;
            right = right && (late ? block.samples[k].time_ms / 15000 == (int64_t)n[i]
                                   : block.samples[k].time_ms == (int64_t)++n[i] * 15000);
        }
    }
    if (cursor)
        b->f.backend->ops->raw_close(cursor);
    for (int i = 0; i < BESIDE_SERIES; i++)
        right = right && n[i] >= least && n[i] % BESIDE_SAMPLES == 0 && n[i] == n[0] && late_n[i] >= least_late;
    if (status != OK)
        snprintf(b->cursors_saw, sizeof b->cursors_saw, "%.200s", error.message);
    else if (!right)
        snprintf(b->cursors_saw, sizeof b->cursors_saw, "other samples than were appended");
    return status == OK && right;
}

static void *read_cursors(void *arg)
{
    struct beside *b = arg;
    while (!b->done && cursor_is_right(b))
        b->cursors_n++;
    return NULL;
}

static void append_round(struct beside *b, size_t round)
{
    static struct sample samples[BESIDE_SAMPLES + BESIDE_LATE];
    struct append_series list[BESIDE_SERIES];
    for (size_t k = 0; k < BESIDE_SAMPLES; k++)
        samples[k] = (struct sample){(int64_t)(round * BESIDE_SAMPLES + k + 1) * 15000, (double)k};
    for (size_t k = 0; k < BESIDE_LATE; k++) /* somewhere before, at a time of its own */
        samples[BESIDE_SAMPLES + k] =
            (struct sample){(int64_t)(1 + random_below(&b->random, (round + 1) * BESIDE_SAMPLES - 1)) * 15000 + 1 +
                                (int64_t)(round * BESIDE_LATE + k),
                            (double)k};
    for (int i = 0; i < BESIDE_SERIES; i++) {
        char text[32];
        snprintf(text, sizeof text, "m;i=%d", i);
        list[i] = (struct append_series){labels_of(&b->f.arena, text), samples, BESIDE_SAMPLES + BESIDE_LATE};
    }
    struct append_request request = {.series = list, .series_n = BESIDE_SERIES};
    assert_int_equal(b->f.backend->ops->append(b->f.backend, &request, 1, NULL), OK);
    assert_int_equal(request.late, BESIDE_SERIES * BESIDE_LATE);
    b->acknowledged = round + 1;
}

/* The engine shows rows of large appends to others while they are being committed (schema.h). */
static void test_readers_see_each_sample_once(void **state)
{
    struct beside b = {.random = random_from(5)};
    fixture_init_on_disk(&b.f);
    fixture_close(&b.f);
    b.f.compact_rows = 5000;
    b.f.out_of_order_window_ms = 365 * 24 * HOUR_MS;
    fixture_open(&b.f);
    append_round(&b, 0);
    pthread_t fragments, cursors;
    assert_int_equal(pthread_create(&fragments, NULL, read_fragments, &b), 0);
    assert_int_equal(pthread_create(&cursors, NULL, read_cursors, &b), 0);
    for (size_t round = 1; round < BESIDE_ROUNDS; round++)
        append_round(&b, round);
    b.done = true;
    pthread_join(fragments, NULL);
    pthread_join(cursors, NULL);
    assert_string_equal(b.fragments_saw, "");
    assert_string_equal(b.cursors_saw, "");
    struct backend_stats stats = stats_of(&b.f);
    print_message("%zu fragments and %zu cursors beside %" PRIu64 " moves\n", b.fragments_n, b.cursors_n,
                  stats.moves_n);
    assert_true(stats.moves_n > 1 && b.fragments_n > 1 && b.cursors_n > 1);
    assert_int_equal(stats.move_failures_n, 0);
    fixture_release(&b.f);
}

/* A chunk's windows are evaluated when it is seen; runs that lie inside it would come too late. */
static void test_overlapping_runs_are_refused(void **state)
{
    struct fixture f;
    fixture_init(&f);
    static const char *const inner[] = {"[500500]", "range(500500, 600500, 1000)", "range(985500, 1095500, 1000)"};
    for (size_t i = 0; i < ARRAY_LENGTH(inner); i++) {
        char sql[512];
        snprintf(sql, sizeof sql,
                 "SELECT prom_count_over_time(" LISTED_TIMES(
                     "ts") ", list_transform(ts, lambda t: 1e0), 100000, 10000, 90, 20000, false) "
                           "FROM (SELECT range(0, 1000000, 1000) AS ts UNION ALL SELECT %s)",
                 inner[i]);
        struct fragment fragment = fragment_of(
            &f.arena, sql, (struct grid){.start_ms = 100000, .step_ms = 10000, .steps = 90}, false, false, "");
        struct run_limits limits = {.samples_max = 1000};
        struct grid_result *result = NULL;
        struct error error;
        assert_int_equal(f.backend->ops->run(f.backend, &fragment, &limits, NULL, &result, &error), E_STORE);
        assert_non_null(strstr(error.message, "overlap"));
    }
    fixture_release(&f);
}

/* Times as far out as append takes them. */
static void test_extreme_times(void **state)
{
    struct fixture f;
    fixture_init(&f);
    APPEND(&f, "m;i=1", {INT64_MIN, 1}, {INT64_MIN + 1, 2}, {-7200000, 3}, {-1, 4}, {0, 5}, {7199999, 6}, {7200000, 7});
    compact(&f);
    APPEND(&f, "m;i=1", {7200001, 8});
    compact(&f);
    assert_int_equal(stats_of(&f).recent_n, 0);
    struct raw_cursor *cursor = NULL;
    struct raw_block block;
    assert_int_equal(f.backend->ops->raw_open(f.backend, RAW_SAMPLES, NULL, 0, (struct time_span){INT64_MIN, INT64_MAX},
                                              NULL, &cursor, NULL),
                     OK);
    assert_int_equal(f.backend->ops->raw_next(cursor, &block, NULL), OK);
    assert_int_equal(block.samples_n, 8);
    for (size_t i = 0; i < 8; i++)
        assert_true(block.samples[i].value == (double)i + 1);
    f.backend->ops->raw_close(cursor);
    fixture_release(&f);
}

/* --- large moves --- */

#define LARGE_SERIES  64
#define LARGE_PART    20000 /* samples of a series in a partition */
#define LARGE_STEP_MS (PARTITION_MS / LARGE_PART)

static double large_value(unsigned series, size_t k)
{
    return (double)(k * LARGE_SERIES + series);
}

/* Samples [from, to) of all series; those of two metrics take turns. */
static void append_large(struct fixture *f, size_t from, size_t to)
{
    static struct sample samples[2 * LARGE_PART];
    for (unsigned i = 0; i < LARGE_SERIES; i++) {
        char series[24];
        snprintf(series, sizeof series, "%s;i=%u", i % 2 ? "n" : "m", i);
        for (size_t k = from; k < to; k++)
            samples[k - from] = (struct sample){(int64_t)k * LARGE_STEP_MS, large_value(i, k)};
        append(f, series, samples, to - from);
    }
}

static struct raw_cursor *open_all(struct fixture *f)
{
    struct raw_cursor *cursor = NULL;
    assert_int_equal(f->backend->ops->raw_open(f->backend, RAW_SAMPLES, NULL, 0, EVER, NULL, &cursor, NULL), OK);
    return cursor;
}

/* Closes the cursor, which has the first n samples of each series. */
static void check_large(struct fixture *f, struct raw_cursor *cursor, size_t n)
{
    struct raw_block block;
    size_t seen[LARGE_SERIES] = {0};
    while (f->backend->ops->raw_next(cursor, &block, NULL) == OK && block.samples_n > 0) {
        unsigned i = (unsigned)atoi(labels_get(block.labels, STR("i")).ptr);
        assert_true(str_eq(labels_get(block.labels, STR("__name__")), i % 2 ? STR("n") : STR("m")));
        for (size_t j = 0; j < block.samples_n; j++, seen[i]++) {
            if (block.samples[j].time_ms != (int64_t)seen[i] * LARGE_STEP_MS ||
                block.samples[j].value != large_value(i, seen[i]))
                fail_msg("series %u, sample %zu is another", i, seen[i]);
        }
    }
    f->backend->ops->raw_close(cursor);
    for (unsigned i = 0; i < LARGE_SERIES; i++)
        assert_int_equal(seen[i], n);
}

/* A move of more samples than it holds at once, of a partition that has chunks and one that has none; the slices meet
 * within one of them. */
static void test_a_move_in_slices(void **state)
{
    struct fixture f;
    fixture_init_on_disk(&f);
    append_large(&f, 0, LARGE_PART / 2);
    compact(&f);
    append_large(&f, LARGE_PART / 2, 2 * LARGE_PART);
    assert_true(LARGE_SERIES * 2 * LARGE_PART > MOVE_SLICE_SAMPLES);
    compact(&f);
    assert_int_equal(stats_of(&f).recent_n, 0);
    assert_int_equal(stats_of(&f).samples_n, LARGE_SERIES * 2 * LARGE_PART);
    check_large(&f, open_all(&f), 2 * LARGE_PART);
    fixture_release(&f);
}

/* It steps aside for who reads, but goes on however long that takes. */
static void test_a_move_beside_a_reader_who_stays(void **state)
{
    struct fixture f;
    fixture_init_on_disk(&f);
    append_large(&f, 0, LARGE_PART / 10);
    struct raw_cursor *reader = open_all(&f);
    compact(&f);
    assert_int_equal(stats_of(&f).recent_n, 0);
    append_large(&f, LARGE_PART / 10, LARGE_PART / 10 + 10);
    check_large(&f, reader, LARGE_PART / 10);
    check_large(&f, open_all(&f), LARGE_PART / 10 + 10);
    fixture_release(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_answers_stay_the_same),
        cmocka_unit_test(test_tables),
        cmocka_unit_test(test_in_the_background),
        cmocka_unit_test(test_overlapping_runs_are_refused),
        cmocka_unit_test(test_extreme_times),
        cmocka_unit_test(test_readers_see_each_sample_once),
        cmocka_unit_test(test_a_move_in_slices),
        cmocka_unit_test(test_a_move_beside_a_reader_who_stays),
        cmocka_unit_test(test_every_bit_is_kept),
        cmocka_unit_test(test_random_order),
        cmocka_unit_test(test_random_order_beside_moves),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
