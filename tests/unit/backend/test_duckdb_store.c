/* tests/unit/backend/test_duckdb_store.c: what the DuckDB backend stores, refuses, lists and hands out again. */
#include <inttypes.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

#include "base/assert.h"
#include "base/float_text.h"
#include "base/xor_chunk.h"
#include "tests/unit/backend/fixture.h"
#include "tests/unit/backend/random.h"

#define ALL_TIMES ((struct time_span){INT64_MIN, INT64_MAX})

static int setup(void **state)
{
    static struct fixture fixture;
    fixture_init(&fixture);
    *state = &fixture;
    return 0;
}

static int setup_on_disk(void **state)
{
    static struct fixture fixture;
    fixture_init_on_disk(&fixture);
    *state = &fixture;
    return 0;
}

static int teardown(void **state)
{
    fixture_release(*state);
    return 0;
}

/* --- raw samples as text --- */

/* All samples of the matching series, one line per series: "up;job=a: 1=1.5 2=NaN\n". Checks the cursor's promises. */
static const char *raw_text(struct fixture *f, const char *matchers, struct time_span span)
{
    struct expr_selector selector = selector_of(&f->arena, matchers);
    struct raw_cursor *cursor = NULL;
    struct raw_block block;
    struct error error;
    if (f->backend->ops->raw_open(f->backend, RAW_SAMPLES, selector.matchers, selector.matchers_n, span, NULL, &cursor,
                                  &error))
        fail_msg("raw_open: %s", error.message);
    struct strbuf out;
    strbuf_init(&out, 1 << 24);
    bool begins = true;
    for (;;) {
        if (f->backend->ops->raw_next(cursor, &block, &error) != OK)
            fail_msg("raw_next: %s", error.message);
        if (block.samples_n == 0)
            break;
        if (begins)
            strbuf_f(&out, "%s:", labels_text(&f->arena, block.labels));
        for (size_t i = 0; i < block.samples_n; i++) {
            double value = block.samples[i].value;
            strbuf_f(&out, isnan(value) ? " %" PRId64 "=#%" PRIx64 : " %" PRId64 "=", block.samples[i].time_ms,
                     double_bits(value));
            if (!isnan(value))
                strbuf_f(&out, "%g", value);
        }
        if (block.series_ends)
            strbuf_char(&out, '\n');
        begins = block.series_ends;
    }
    assert_true(begins);
    f->backend->ops->raw_close(cursor);
    struct str text = arena_str(&f->arena, strbuf_view(&out));
    strbuf_release(&out);
    return text.ptr;
}

static const char *all_raw(struct fixture *f)
{
    return raw_text(f, "", ALL_TIMES);
}

/* --- append --- */

static void test_append_and_read_back(void **state)
{
    struct fixture *f = *state;
    struct append_request request = APPEND(f, "up;job=b", {1000, 1}, {2000, 2.5});
    assert_int_equal(request.written, 2);
    assert_int_equal(request.refused.status, OK);
    APPEND(f, "up;job=a", {1500, -0.0});
    APPEND(f, "down", {7, 1e300});
    assert_string_equal(all_raw(f), "down: 7=1e+300\nup;job=a: 1500=-0\nup;job=b: 1000=1 2000=2.5\n");
    assert_string_equal(raw_text(f, "__name__=up job=b", (struct time_span){1001, 2000}), "up;job=b: 2000=2.5\n");
    assert_string_equal(raw_text(f, "__name__=up", (struct time_span){3000, 4000}), "");
    assert_string_equal(raw_text(f, "__name__=up", (struct time_span){2000, 1000}), "");
}

static void test_append_policy(void **state)
{
    struct fixture *f = *state;
    APPEND(f, "up;job=a", {1000, 1}, {2000, 2});
    struct append_request request =
        APPEND(f, "up;job=a", {500, 9}, {2000, 2}, {2000, 3}, {1999, 2}, {3000, 3}, {3000, 3}, {3000, 4});
    assert_int_equal(request.written, 1);
    assert_int_equal(request.duplicates, 2);
    assert_int_equal(request.conflicting, 2);
    assert_int_equal(request.out_of_order, 2);
    assert_int_equal(request.too_far_ahead, 0);
    assert_int_equal(request.refused.status, E_BAD_DATA);
    assert_string_equal(request.refused.message, "out of order sample: series up{job=\"a\"}, timestamp 500");
    assert_string_equal(all_raw(f), "up;job=a: 1000=1 2000=2 3000=3\n");
}

static void test_append_says_what_is_wrong(void **state)
{
    struct fixture *f = *state;
    APPEND(f, "up", {1000, 1});
    struct append_request request = APPEND(f, "up", {1000, 2.5});
    assert_string_equal(request.refused.message, "duplicate sample for timestamp 1000; overrides not allowed: existing "
                                                 "1, new value 2.5: series up{}, timestamp 1000");
    request = APPEND(f, "up", {wall_clock_ms() + 700000, 1}, {wall_clock_ms() + 500000, 1});
    assert_int_equal(request.too_far_ahead, 1);
    assert_int_equal(request.written, 1);
    static const char words[] = "out of bounds: timestamp is too far in the future: series up{}, timestamp ";
    assert_memory_equal(request.refused.message, words, sizeof words - 1);
    assert_non_null(strstr(request.refused.message, " ms ahead of this clock, 600000 ms allowed"));
}

static void test_late_samples_have_a_window(void **state)
{
    struct fixture *f = *state;
    fixture_close(f);
    f->out_of_order_window_ms = 1000;
    fixture_open(f);
    APPEND(f, "up;a=b", {5000, 1}, {10000, 2});
    struct append_request request =
        APPEND(f, "up;a=b", {9000, 3}, {8999, 4}, {9500, 5}, {9500, 5}, {9500, 6}, {9000, 3}, {9000, -3}, {11000, 7});
    assert_int_equal(request.written, 3);
    assert_int_equal(request.late, 2);
    assert_int_equal(request.duplicates, 2);
    assert_int_equal(request.conflicting, 2);
    assert_int_equal(request.too_old, 1);
    assert_int_equal(request.out_of_order, 0);
    assert_string_equal(request.refused.message, "too old sample: series up{a=\"b\"}, timestamp 8999: 1001 ms older "
                                                 "than the series' newest, 1000 ms allowed");
    request = APPEND(f, "up;a=b", {10500, 1}, {10000, 3}, {10000, 2});
    assert_int_equal(request.written + request.late, 2);
    assert_int_equal(request.duplicates, 1);
    assert_string_equal(request.refused.message,
                        "duplicate sample for timestamp 10000; overrides not allowed: existing "
                        "2, new value 3: series up{a=\"b\"}, timestamp 10000");
    assert_string_equal(all_raw(f), "up;a=b: 5000=1 9000=3 9500=5 10000=2 10500=1 11000=7\n");
    struct backend_stats stats;
    assert_int_equal(f->backend->ops->stats(f->backend, &stats, NULL), OK);
    assert_int_equal(stats.samples_n, 6);
}

/* Zeros where counters began: only before what is stored of the series, and never refused. */
static void test_starts_become_zeros(void **state)
{
    struct fixture *f = *state;
    const struct sample samples[] = {{1000, 1}, {2000, 2}, {5000, 1}, {6000, 2}, {7000, 3}};
    const struct sample other = {1000, 7};
    const struct append_start starts[] = {{&samples[0], 500},
                                          {&samples[1], 500},  /* known by now */
                                          {&samples[2], 4000}, /* began anew */
                                          {&samples[3], 6000},
                                          {&samples[4], 8000}}; /* not before their samples */
    struct append_series series[] = {{labels_of(&f->arena, "up;job=a"), samples, 5},
                                     {labels_of(&f->arena, "up;job=b"), &other, 1}};
    struct append_request request = {.series = series, .series_n = 2, .starts = starts, .starts_n = 5};
    assert_int_equal(f->backend->ops->append(f->backend, &request, 1, NULL), OK);
    assert_int_equal(request.zeros, 2);
    assert_int_equal(request.written, 6);
    assert_int_equal(request.refused.status, OK);
    assert_string_equal(all_raw(f), "up;job=a: 500=0 1000=1 2000=2 4000=0 5000=1 6000=2 7000=3\nup;job=b: 1000=7\n");
    assert_int_equal(f->backend->ops->append(f->backend, &request, 1, NULL), OK); /* the same again */
    assert_int_equal(request.zeros, 0);
    assert_int_equal(request.written, 0);
    assert_int_equal(stats_of(f).samples_n, 8);
}

static void test_no_bound_on_the_future(void **state)
{
    struct fixture *f = *state;
    struct duckdb_options options = {.connections_max = 1};
    struct fixture unbound = {.connections = 1};
    assert_int_equal(duckdb_backend_open(&options, &unbound.backend, NULL), OK);
    unbound.arena = f->arena;
    assert_int_equal(APPEND(&unbound, "up", {INT64_MAX - 1, 1}, {INT64_MAX, 1}).written, 2);
    f->arena = unbound.arena;
    fixture_close(&unbound);
}

static void test_values_are_compared_by_bits(void **state)
{
    struct fixture *f = *state;
    APPEND(f, "up", {1000, NAN});
    assert_int_equal(APPEND(f, "up", {1000, NAN}).duplicates, 1);
    assert_int_equal(APPEND(f, "up", {1000, double_from_bits(STALE_NAN_BITS)}).conflicting, 1);
    APPEND(f, "up", {2000, 0.0});
    assert_int_equal(APPEND(f, "up", {2000, -0.0}).conflicting, 1);
}

static void test_a_refused_series_is_not_made(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(APPEND(f, "never", {wall_clock_ms() + 100000000, 1}).too_far_ahead, 1);
    struct backend_stats stats;
    assert_int_equal(f->backend->ops->stats(f->backend, &stats, NULL), OK);
    assert_int_equal(stats.series_n, 0);
    assert_int_equal(stats.samples_n, 0);
    assert_true(stats.min_time_ms == INT64_MAX && stats.max_time_ms == INT64_MIN);
}

static void test_many_requests_in_one(void **state)
{
    struct fixture *f = *state;
    struct sample first[] = {{1000, 1}, {2000, 2}}, second[] = {{2000, 2}, {3000, 3}};
    struct append_series series[] = {{labels_of(&f->arena, "up;job=a"), first, 2},
                                     {labels_of(&f->arena, "up;job=a"), second, 2},
                                     {labels_of(&f->arena, "up;job=b"), second, 2}};
    struct append_request requests[2] = {{.series = series, .series_n = 1}, {.series = series + 1, .series_n = 2}};
    assert_int_equal(f->backend->ops->append(f->backend, requests, 2, NULL), OK);
    assert_int_equal(requests[0].written, 2);
    assert_int_equal(requests[1].written, 3);
    assert_int_equal(requests[1].duplicates, 1);
    assert_string_equal(all_raw(f), "up;job=a: 1000=1 2000=2 3000=3\nup;job=b: 2000=2 3000=3\n");
}

static void test_reopen(void **state)
{
    struct fixture *f = *state;
    APPEND(f, "up;job=a", {1000, 1}, {2000, double_from_bits(STALE_NAN_BITS)});
    APPEND(f, "up;job=\xc3\xa9 \"'\\\n", {5000, 2});
    fixture_close(f);
    fixture_open(f);
    APPEND(f, "down", {1, 1});
    struct append_request request =
        APPEND(f, "up;job=a", {2000, double_from_bits(STALE_NAN_BITS)}, {1500, 1}, {3000, 3});
    assert_int_equal(request.duplicates, 1);
    assert_int_equal(request.out_of_order, 1);
    assert_int_equal(request.written, 1);
    assert_string_equal(all_raw(f), "down: 1=1\nup;job=a: 1000=1 2000=#7ff0000000000002 3000=3\n"
                                    "up;job=\xc3\xa9 \"'\\\n: 5000=2\n");
    struct backend_stats stats;
    assert_int_equal(f->backend->ops->stats(f->backend, &stats, NULL), OK);
    assert_int_equal(stats.series_n, 3);
    assert_int_equal(stats.samples_n, 5);
    assert_int_equal(stats.min_time_ms, 1);
    assert_int_equal(stats.max_time_ms, 5000);
    assert_true(stats.disk_bytes > 0);
}

/* What a start does not read: the value of a newest sample that lies in a chunk. */
static void test_newest_samples_in_chunks_after_a_start(void **state)
{
    struct fixture *f = *state;
    APPEND(f, "up;i=0", {1000, 1}, {2000, 2});
    APPEND(f, "up;i=1", {1000, 1}, {2000, -0.0});
    APPEND(f, "up;i=2", {1000, 1});
    APPEND(f, "up;i=3", {1000, 1}, {2000, 2});
    compact(f);
    APPEND(f, "up;i=2", {2000, 2});
    fixture_close(f);
    fixture_open(f);
    struct append_request request = APPEND(f, "up;i=0", {2000, 2}, {2000, 3}, {1500, 1}, {3000, 3}, {3000, 3});
    assert_int_equal(request.duplicates, 2);
    assert_int_equal(request.conflicting, 1);
    assert_int_equal(request.out_of_order, 1);
    assert_int_equal(request.written, 1);
    assert_int_equal(request.late, 0);
    assert_int_equal(APPEND(f, "up;i=1", {2000, -0.0}).duplicates, 1);
    request = APPEND(f, "up;i=1", {2000, 0});
    assert_int_equal(request.conflicting, 1);
    assert_string_equal(request.refused.message, "duplicate sample for timestamp 2000; overrides not allowed: existing "
                                                 "-0, new value 0: series up{i=\"1\"}, timestamp 2000");
    assert_int_equal(APPEND(f, "up;i=2", {2000, 2}).duplicates, 1);
    assert_int_equal(APPEND(f, "up;i=2", {2000, 3}).conflicting, 1);
    assert_int_equal(APPEND(f, "up;i=3", {1999, 2}).out_of_order, 1);
    assert_int_equal(APPEND(f, "up;i=3", {2001, 2}).written, 1);
    assert_string_equal(all_raw(f), "up;i=0: 1000=1 2000=2 3000=3\nup;i=1: 1000=1 2000=-0\n"
                                    "up;i=2: 1000=1 2000=2\nup;i=3: 1000=1 2000=2 2001=2\n");
    expect_rules(f);
}

/* Enough rows that the engine compresses whole row groups when the store is closed. */
static void test_every_bit_pattern_survives_compression(void **state)
{
    enum {
        N = 150000
    };
    struct fixture *f = *state;
    static struct sample samples[N];
    const uint64_t odd[] = {STALE_NAN_BITS,
                            NORMAL_NAN_BITS,
                            UINT64_C(0xfff0000000000001),
                            UINT64_C(0x7ff8000000000000),
                            UINT64_C(0xffffffffffffffff),
                            double_bits(INFINITY),
                            double_bits(-INFINITY),
                            double_bits(-0.0),
                            1,
                            UINT64_C(0x8000000000000001)};
    struct random r = random_from(3);
    for (int i = 0; i < N; i++) {
        bool is_odd = random_below(&r, 50) == 0;
        samples[i] =
            (struct sample){(int64_t)i * 15000, is_odd ? double_from_bits(odd[random_below(&r, ARRAY_LENGTH(odd))])
                                                       : (double)random_below(&r, 1000) / 8};
    }
    append(f, "m", samples, N);
    for (int round = 0; round < 2; round++) {
        struct raw_cursor *cursor = NULL;
        struct raw_block block;
        assert_int_equal(f->backend->ops->raw_open(f->backend, RAW_SAMPLES, NULL, 0, ALL_TIMES, NULL, &cursor, NULL),
                         OK);
        size_t n = 0;
        while (f->backend->ops->raw_next(cursor, &block, NULL) == OK && block.samples_n > 0) {
            assert_memory_equal(block.samples, samples + n, block.samples_n * sizeof *samples);
            n += block.samples_n;
        }
        assert_int_equal(n, N);
        f->backend->ops->raw_close(cursor);
        fixture_close(f);
        fixture_open(f);
    }
}

static void test_metadata_labels_are_noticed(void **state)
{
    struct fixture *f = *state;
    APPEND(f, "up;job=a", {1, 1});
    assert_false(atomic_load(&f->backend->metadata_labels));
    APPEND(f, "up;__unit__=s", {1, 1});
    assert_true(atomic_load(&f->backend->metadata_labels));
    fixture_close(f);
    fixture_open(f);
    assert_true(atomic_load(&f->backend->metadata_labels));
}

static void test_an_unknown_schema_is_refused(void **state)
{
    struct fixture *f = *state;
    struct fragment change =
        fragment_of(&f->arena, "UPDATE promsplit_schema SET version = 99", grid_instant(0), false, false, "");
    struct run_limits limits = {.samples_max = 1};
    struct grid_result *result = NULL;
    assert_int_equal(f->backend->ops->run(f->backend, &change, &limits, NULL, &result, NULL), E_INTERNAL);
    fixture_close(f);
    struct duckdb_options options = {.directory = f->directory, .connections_max = 1};
    struct backend *backend = NULL;
    struct error error;
    assert_int_equal(duckdb_backend_open(&options, &backend, &error), E_STORE);
    assert_string_equal(error.message, "the database has schema version 99, this program reads version 4");
    assert_null(backend);
}

static void test_a_directory_that_cannot_be(void **state)
{
    struct duckdb_options options = {.directory = "/proc/no/such", .connections_max = 1};
    struct backend *backend = NULL;
    struct error error;
    assert_int_equal(duckdb_backend_open(&options, &backend, &error), E_STORE);
    assert_non_null(strstr(error.message, "/proc/no/such"));
    assert_null(backend);
}

static void test_one_process_at_a_time(void **state)
{
    struct fixture *f = *state;
    APPEND(f, "up", {1, 1});
    struct error error;
    struct duckdb_options options = {.directory = f->directory, .connections_max = 1};
    struct backend *second = NULL;
    /* The engine keeps one instance per file and process out of another's way; a second one here is refused or shares
     * nothing: what counts is that it does not open a torn database. */
    if (duckdb_backend_open(&options, &second, &error) == OK)
        second->ops->close(second);
    else
        assert_non_null(strstr(error.message, "promsplit.duckdb"));
    assert_string_equal(all_raw(f), "up: 1=1\n");
}

/* --- the raw cursor --- */

static void cut_slices(struct fixture *f, uint64_t samples)
{
    fixture_close(f);
    f->slice_samples = samples;
    fixture_open(f);
}

static void test_raw_order_over_many_slices(void **state)
{
    enum {
        SERIES = 700,
        SAMPLES = 1800
    };
    struct fixture *f = *state;
    static struct append_series series[SERIES];
    static struct sample samples[SERIES][SAMPLES / 4];
    struct random r = random_from(9);
    cut_slices(f, 100000);
    for (int i = 0; i < SERIES; i++) {
        char text[64];
        snprintf(text, sizeof text, "m;a=%d;z=%d", (i * 37) % 100, i);
        series[i] = (struct append_series){labels_of(&f->arena, text), samples[i], SAMPLES / 4};
    }
    for (int part = 0; part < 4; part++) {
        for (int i = 0; i < SERIES; i++) {
            for (int k = 0; k < SAMPLES / 4; k++) {
                int at = part * (SAMPLES / 4) + k;
                samples[i][k] = (struct sample){at * 1000 + (int)random_below(&r, 900), i * 10000 + at};
            }
        }
        struct append_request request = {.series = series, .series_n = SERIES};
        assert_int_equal(f->backend->ops->append(f->backend, &request, 1, NULL), OK);
        assert_int_equal(request.written, SERIES * SAMPLES / 4);
    }
    struct raw_cursor *cursor = NULL;
    struct raw_block block;
    assert_int_equal(f->backend->ops->raw_open(f->backend, RAW_SAMPLES, NULL, 0, ALL_TIMES, NULL, &cursor, NULL), OK);
    struct labels before = {NULL, 0};
    size_t series_n = 0, n = 0;
    int64_t last_ms = INT64_MIN;
    bool begins = true;
    while (f->backend->ops->raw_next(cursor, &block, NULL) == OK && block.samples_n > 0) {
        if (begins) {
            assert_true(before.n == 0 || labels_cmp(before, block.labels) < 0);
            before = labels_copy(&f->arena, block.labels);
            series_n++;
            n = 0;
            last_ms = INT64_MIN;
        }
        assert_true(labels_eq(before, block.labels));
        for (size_t i = 0; i < block.samples_n; i++, n++) {
            assert_true(block.samples[i].time_ms > last_ms);
            assert_int_equal((int64_t)block.samples[i].value % 10000, n);
            last_ms = block.samples[i].time_ms;
        }
        begins = block.series_ends;
        assert_int_equal(begins, n == SAMPLES);
    }
    assert_int_equal(series_n, SERIES);
    f->backend->ops->raw_close(cursor);
}

static void test_raw_series_longer_than_a_slice(void **state)
{
    enum {
        N = 105000
    };
    struct fixture *f = *state;
    struct sample *samples = test_malloc(N * sizeof *samples);
    cut_slices(f, 100000);
    for (int i = 0; i < N; i++)
        samples[i] = (struct sample){i, i};
    append(f, "long;a=1", samples, N);
    APPEND(f, "long;a=0", {5, 5});
    APPEND(f, "long;a=2", {6, 6});
    struct raw_cursor *cursor = NULL;
    struct raw_block block;
    assert_int_equal(f->backend->ops->raw_open(f->backend, RAW_SAMPLES, NULL, 0, ALL_TIMES, NULL, &cursor, NULL), OK);
    size_t series_n = 0, n = 0;
    while (f->backend->ops->raw_next(cursor, &block, NULL) == OK && block.samples_n > 0) {
        assert_true(block.samples_n <= 20000);
        if (str_eq(labels_get(block.labels, STR("a")), STR("1"))) {
            assert_memory_equal(block.samples, samples + n, block.samples_n * sizeof *samples);
            n += block.samples_n;
        }
        series_n += block.series_ends;
    }
    assert_int_equal(n, N);
    assert_int_equal(series_n, 3);
    f->backend->ops->raw_close(cursor);
    test_free(samples);
}

/* What a cursor gives, as text; chunks are decoded. */
static const char *bits_text(struct fixture *f, enum raw_form form, struct time_span span, size_t *ret_chunks_n)
{
    struct raw_cursor *cursor = NULL;
    struct raw_block block;
    struct strbuf out;
    struct error error;
    struct sample room[XOR_CHUNK_SAMPLES_MAX];
    strbuf_init(&out, 64u << 20);
    *ret_chunks_n = 0;
    if (f->backend->ops->raw_open(f->backend, form, NULL, 0, span, NULL, &cursor, &error) != OK)
        fail_msg("raw_open: %s", error.message);
    for (bool begins = true;; begins = block.series_ends) {
        if (f->backend->ops->raw_next(cursor, &block, &error) != OK)
            fail_msg("raw_next: %s", error.message);
        if (raw_block_n(&block) == 0)
            break;
        if (begins)
            strbuf_f(&out, "\n%s:", labels_text(&f->arena, block.labels));
        for (size_t i = 0; i < block.samples_n; i++)
            strbuf_f(&out, " %" PRId64 "=%" PRIx64, block.samples[i].time_ms, double_bits(block.samples[i].value));
        for (size_t i = 0; i < block.chunks_n; i++) {
            const struct raw_chunk *chunk = &block.chunks[i];
            size_t n;
            assert_int_equal(xor_chunk_decode(chunk->bytes, room, ARRAY_LENGTH(room), &n, NULL), OK);
            assert_int_equal(n, chunk->samples_n);
            assert_int_equal(room[0].time_ms, chunk->min_ms);
            assert_int_equal(room[n - 1].time_ms, chunk->max_ms);
            for (size_t k = 0; k < n; k++)
                strbuf_f(&out, " %" PRId64 "=%" PRIx64, room[k].time_ms, double_bits(room[k].value));
        }
        *ret_chunks_n += block.chunks_n;
    }
    f->backend->ops->raw_close(cursor);
    struct str copy = arena_str(&f->arena, strbuf_view(&out));
    strbuf_release(&out);
    return copy.ptr;
}

/* Chunks hold what samples are: moved and recent ones, late ones, odd values, at a span's ends and a slice's. */
static void test_raw_chunks_hold_the_samples(void **state)
{
    enum {
        SERIES = 30,
        HOURS = 7
    };
    static const uint64_t ODD[] = {
        0, UINT64_C(1) << 63, STALE_NAN_BITS, STALE_NAN_BITS - 1, UINT64_C(0x7ff0000000000000), 1};
    struct fixture *f = *state;
    struct random r = random_from(77);
    f->out_of_order_window_ms = HOURS * INT64_C(3600000);
    cut_slices(f, 20000);
    for (int64_t hour = 0; hour < HOURS; hour++) {
        for (int i = 0; i < SERIES; i++) {
            struct sample samples[240];
            char text[32];
            for (int k = 0; k < 240; k++) {
                uint64_t odd = ODD[random_below(&r, ARRAY_LENGTH(ODD))];
                double value = random_below(&r, 9) ? (double)random_below(&r, 1000) / 8 : double_from_bits(odd);
                samples[k] = (struct sample){(hour * 240 + k) * 15000 + (int64_t)random_below(&r, 3000), value};
            }
            snprintf(text, sizeof text, "m;i=%d", (i * 7) % SERIES);
            append(f, text, samples, random_below(&r, 4) ? 240 : random_below(&r, 200) + 1);
            append(f, text, &(struct sample){(int64_t)random_below(&r, (uint64_t)(hour + 1) * 3600000) / 7 * 7 + 3, 1},
                   1);
        }
        if (hour % 3 == 1)
            compact(f);
    }
    for (int round = 0; round < 12; round++) {
        struct time_span span = {INT64_MIN, INT64_MAX};
        size_t none, some;
        if (round > 0) {
            span.min_ms = (int64_t)random_below(&r, HOURS * UINT64_C(3600000));
            span.max_ms = span.min_ms + (int64_t)random_below(&r, HOURS * UINT64_C(3600000));
        }
        const char *samples = bits_text(f, RAW_SAMPLES, span, &none);
        assert_string_equal(bits_text(f, RAW_CHUNKS, span, &some), samples);
        assert_int_equal(none, 0);
        assert_true(some > 0 || samples[0] == '\0');
    }
    cut_slices(f, 100); /* then there are series longer than a slice, which come as samples all the same */
    size_t none, again;
    const char *samples = bits_text(f, RAW_SAMPLES, ALL_TIMES, &none);
    assert_string_equal(bits_text(f, RAW_CHUNKS, ALL_TIMES, &again), samples);
    assert_int_equal(again, 0);
}

/* Closed while its next slice is read, a cursor gives its connection back whole. */
static void test_raw_left_while_it_reads_ahead(void **state)
{
    enum {
        SERIES = 50,
        N = 2000
    };
    struct fixture *f = *state;
    static struct sample samples[N];
    cut_slices(f, 3 * N);
    for (int i = 0; i < N; i++)
        samples[i] = (struct sample){i, i};
    for (int i = 0; i < SERIES; i++) {
        char text[32];
        snprintf(text, sizeof text, "m;a=%02d", i);
        append(f, text, samples, N);
    }
    for (size_t left_at = 1; left_at <= SERIES; left_at++) {
        struct raw_cursor *cursor = NULL;
        struct raw_block block;
        assert_int_equal(f->backend->ops->raw_open(f->backend, RAW_SAMPLES, NULL, 0, ALL_TIMES, NULL, &cursor, NULL),
                         OK);
        for (size_t series = 0; series < left_at; series += block.series_ends) {
            assert_int_equal(f->backend->ops->raw_next(cursor, &block, NULL), OK);
            assert_true(block.samples_n > 0);
        }
        f->backend->ops->raw_close(cursor);
    }
}

/* A cursor sees what was there when it was opened, and gives its connection back whole. */
static void test_raw_snapshot(void **state)
{
    struct fixture *f = *state;
    APPEND(f, "up", {1, 1});
    for (int i = 0; i < 20; i++) {
        struct raw_cursor *cursor = NULL;
        struct raw_block block;
        assert_int_equal(f->backend->ops->raw_open(f->backend, RAW_SAMPLES, NULL, 0, ALL_TIMES, NULL, &cursor, NULL),
                         OK);
        APPEND(f, "up", {2 + i, 1});
        APPEND(f, "zeta", {2 + i, 1});
        assert_int_equal(f->backend->ops->raw_next(cursor, &block, NULL), OK);
        assert_int_equal(block.samples_n, 1 + i);
        f->backend->ops->raw_close(cursor);
    }
}

/* --- matchers and listings --- */

static void fill(struct fixture *f)
{
    const char *const series[] = {
        "up;job=api;instance=a", "up;job=api;instance=b", "up;job=db;instance=a",     "up;instance=c",
        "http;job=api;code=200", "http;job=api;code=500", "http;job=web\nx;code=200", "utf;a.b=x;\xc3\xbc=y",
    };
    for (size_t i = 0; i < ARRAY_LENGTH(series); i++)
        append(f, series[i], &(struct sample){1000 * (int64_t)(i + 1), 1}, 1);
}

static const char *series_text(struct fixture *f, const char *matchers, struct time_span span, size_t limit,
                               bool *ret_truncated)
{
    struct expr_selector selectors[4];
    size_t n = 0;
    char copy[256];
    snprintf(copy, sizeof copy, "%s", matchers);
    for (char *part = strtok(copy, "|"); part; part = strtok(NULL, "|"))
        selectors[n++] = selector_of(&f->arena, part);
    struct series_query query = {selectors, n, span, limit};
    struct series_list *list = NULL;
    struct error error;
    if (f->backend->ops->series(f->backend, &query, NULL, &list, &error) != OK)
        fail_msg("series: %s", error.message);
    struct strbuf out;
    strbuf_init(&out, 1 << 16);
    for (size_t i = 0; i < list->n; i++)
        strbuf_f(&out, "%s%s", i ? " " : "", labels_text(&f->arena, list->at[i]));
    if (ret_truncated)
        *ret_truncated = list->truncated;
    series_list_free(list);
    struct str text = arena_str(&f->arena, strbuf_view(&out));
    strbuf_release(&out);
    return text.ptr;
}

static void test_matchers(void **state)
{
    struct fixture *f = *state;
    fill(f);
    const char *const cases[][2] = {
        {"__name__=up", "up;instance=a;job=api up;instance=a;job=db up;instance=b;job=api up;instance=c"},
        {"__name__=up job=api", "up;instance=a;job=api up;instance=b;job=api"},
        {"__name__=up job!=api", "up;instance=a;job=db up;instance=c"},
        {"__name__=up job=", "up;instance=c"},
        {"__name__=up job!=", "up;instance=a;job=api up;instance=a;job=db up;instance=b;job=api"},
        {"__name__=up job=~a.*|d.", ""}, /* '|' separates selectors here; see the next line */
        {"__name__=up job=~(?:api)", "up;instance=a;job=api up;instance=b;job=api"},
        {"__name__=up job=~ap", ""},
        {"__name__=up job=~.*", "up;instance=a;job=api up;instance=a;job=db up;instance=b;job=api up;instance=c"},
        {"__name__=up job=~.+", "up;instance=a;job=api up;instance=a;job=db up;instance=b;job=api"},
        {"__name__=up job!~.+", "up;instance=c"},
        {"__name__=up job!~api", "up;instance=a;job=db up;instance=c"},
        {"job=~web.x", "http;code=200;job=web\nx"},
        {"job=~(?i)WEB.X", "http;code=200;job=web\nx"},
        {"__name__=~h..p code=~[2].*", "http;code=200;job=api http;code=200;job=web\nx"},
        {"a.b=x", "utf;a.b=x;\xc3\xbc=y"},
        {"\xc3\xbc=y", "utf;a.b=x;\xc3\xbc=y"},
        {"job=it's", ""},
        {"it's=\"x", ""},
    };
    for (size_t i = 0; i < ARRAY_LENGTH(cases); i++) {
        if (strchr(cases[i][0], '|'))
            continue;
        const char *got = series_text(f, cases[i][0], ALL_TIMES, 0, NULL);
        if (strcmp(got, cases[i][1]) != 0)
            fail_msg("%s: got %s, want %s", cases[i][0], got, cases[i][1]);
    }
    assert_string_equal(series_text(f, "__name__=up job=db|code=500", ALL_TIMES, 0, NULL),
                        "http;code=500;job=api up;instance=a;job=db");
}

static void test_series_span_and_limit(void **state)
{
    struct fixture *f = *state;
    fill(f);
    bool truncated;
    assert_string_equal(series_text(f, "", (struct time_span){2000, 3000}, 0, &truncated),
                        "up;instance=a;job=db up;instance=b;job=api");
    assert_false(truncated);
    assert_string_equal(series_text(f, "__name__=up", ALL_TIMES, 2, &truncated),
                        "up;instance=a;job=api up;instance=a;job=db");
    assert_true(truncated);
    series_text(f, "__name__=up", ALL_TIMES, 4, &truncated);
    assert_false(truncated);
    assert_string_equal(series_text(f, "", (struct time_span){9000, 9999}, 0, &truncated), "");
}

static const char *strings_text(struct fixture *f, const char *name, const char *matchers, struct time_span span,
                                size_t limit)
{
    struct expr_selector selector = selector_of(&f->arena, matchers);
    struct series_query query = {&selector, *matchers ? 1 : 0, span, limit};
    struct string_list *list = NULL;
    struct error error;
    enum status status = name ? f->backend->ops->label_values(f->backend, str_from(name), &query, NULL, &list, &error)
                              : f->backend->ops->label_names(f->backend, &query, NULL, &list, &error);
    if (status != OK)
        fail_msg("labels: %s", error.message);
    struct strbuf out;
    strbuf_init(&out, 1 << 16);
    for (size_t i = 0; i < list->n; i++)
        strbuf_f(&out, "%s" STR_FORMAT, i ? " " : "", STR_ARG(list->at[i]));
    strbuf_cstr(&out, list->truncated ? " …" : "");
    string_list_free(list);
    struct str text = arena_str(&f->arena, strbuf_view(&out));
    strbuf_release(&out);
    return text.ptr;
}

static void test_label_names_and_values(void **state)
{
    struct fixture *f = *state;
    assert_string_equal(strings_text(f, NULL, "", ALL_TIMES, 0), "");
    fill(f);
    assert_string_equal(strings_text(f, NULL, "", ALL_TIMES, 0), "__name__ a.b code instance job \xc3\xbc");
    assert_string_equal(strings_text(f, NULL, "__name__=up", ALL_TIMES, 0), "__name__ instance job");
    assert_string_equal(strings_text(f, NULL, "", (struct time_span){4000, 4000}, 0), "__name__ instance");
    assert_string_equal(strings_text(f, NULL, "", ALL_TIMES, 2), "__name__ a.b …");
    assert_string_equal(strings_text(f, "job", "", ALL_TIMES, 0), "api db web\nx");
    assert_string_equal(strings_text(f, "__name__", "", ALL_TIMES, 0), "http up utf");
    assert_string_equal(strings_text(f, "job", "__name__=up", ALL_TIMES, 1), "api …");
    assert_string_equal(strings_text(f, "instance", "job=", ALL_TIMES, 0), "c");
    assert_string_equal(strings_text(f, "no such'label", "", ALL_TIMES, 0), "");
    assert_string_equal(strings_text(f, "code", "", (struct time_span){6000, 6000}, 0), "500");
}

static void test_bad_patterns_are_named(void **state)
{
    struct fixture *f = *state;
    fill(f);
    struct expr_selector selector = selector_of(&f->arena, "__name__=up job=~a(");
    struct series_query query = {&selector, 1, ALL_TIMES, 0};
    struct series_list *series = NULL;
    struct string_list *strings = NULL;
    struct raw_cursor *cursor = NULL;
    struct error error;
    assert_int_equal(f->backend->ops->series(f->backend, &query, NULL, &series, &error), E_BAD_DATA);
    assert_string_equal(error.message, "error parsing regexp: missing closing ): `a(`");
    assert_int_equal(f->backend->ops->label_names(f->backend, &query, NULL, &strings, &error), E_BAD_DATA);
    assert_int_equal(f->backend->ops->label_values(f->backend, STR("a"), &query, NULL, &strings, &error), E_BAD_DATA);
    assert_int_equal(
        f->backend->ops->raw_open(f->backend, RAW_SAMPLES, selector.matchers, 2, ALL_TIMES, NULL, &cursor, &error),
        E_BAD_DATA);
}

/* --- regular expressions: the messages are Go's (regexp/syntax), which Prometheus passes on --- */

static const char *const REGEX_ERRORS[][2] = {
    {"(", "missing closing ): `(`"},
    {"a)", "unexpected ): `a)`"},
    {"[a", "missing closing ]: `[a`"},
    {"[b-a]", "invalid character class range: `b-a`"},
    {"*a", "missing argument to repetition operator: `*`"},
    {"a**", "invalid nested repetition operator: `**`"},
    {"a{1001}", "invalid repeat count: `{1001}`"},
    {"a{2,1}", "invalid repeat count: `{2,1}`"},
    {"\\", "trailing backslash at end of expression: ``"},
    {"x\\", "trailing backslash at end of expression: ``"},
    {"\\8", "invalid escape sequence: `\\8`"},
    {"(?P<n", "invalid named capture: `(?P<n`"},
    {"(?i", "invalid or unsupported Perl syntax: `(?i`"},
    {"[[:foo:]]", "invalid character class range: `[:foo:]`"},
    {"\\pX", "invalid character class range: `\\pX`"},
    {"(?=a)", "invalid or unsupported Perl syntax: `(?=`"},
    {"a++", "invalid nested repetition operator: `++`"},
    {"\\C", "invalid escape sequence: `\\C`"},
    {"a|*", "missing argument to repetition operator: `*`"},
};

static void test_regex_errors(void **state)
{
    struct fixture *f = *state;
    struct regex_engine regex = f->backend->ops->regex(f->backend);
    for (int round = 0; round < 2; round++) {
        for (size_t i = 0; i < ARRAY_LENGTH(REGEX_ERRORS); i++) {
            struct error error = {.status = OK};
            char want[256];
            snprintf(want, sizeof want, "error parsing regexp: %s", REGEX_ERRORS[i][1]);
            assert_int_equal(regex.check(regex.arg, str_from(REGEX_ERRORS[i][0]), &error), E_BAD_DATA);
            assert_int_equal(error.status, E_BAD_DATA);
            assert_string_equal(error.message, want);
            assert_false(regex.matches(regex.arg, str_from(REGEX_ERRORS[i][0]), STR("")));
        }
    }
    assert_int_equal(regex.check(regex.arg, (struct str){"\xff(", 2}, NULL), E_BAD_DATA);
}

static void test_regex_matches(void **state)
{
    struct fixture *f = *state;
    struct regex_engine regex = f->backend->ops->regex(f->backend);
    const struct {
        const char *pattern, *text;
        bool does;
    } cases[] = {
        {"", "", true},
        {"", "a", false},
        {".*", "", true},
        {".*", "a\nb", true},
        {".+", "", false},
        {"a|b", "b", true},
        {"a|b", "ab", false},
        {"a", "xa", false},
        {"a.b", "a\nb", true},
        {"(?i:AB)", "ab", true},
        {"\\Q\\C\\E", "\\C", true},
        {"a$", "a", true},
        {"^a", "a", true},
        {"\xc3\xa9.", "\xc3\xa9\xc3\xbc", true},
    };
    for (int round = 0; round < 2; round++) {
        for (size_t i = 0; i < ARRAY_LENGTH(cases); i++) {
            assert_int_equal(regex.check(regex.arg, str_from(cases[i].pattern), NULL), OK);
            if (regex.matches(regex.arg, str_from(cases[i].pattern), str_from(cases[i].text)) != cases[i].does)
                fail_msg("%s on %s", cases[i].pattern, cases[i].text);
        }
    }
    for (int i = 0; i < 2000; i++) { /* more patterns than are remembered */
        char pattern[32];
        snprintf(pattern, sizeof pattern, i % 2 ? "p%d" : "(p%d)?", i);
        assert_int_equal(regex.matches(regex.arg, str_from(pattern), STR("")), i % 2 == 0);
    }
}

/* --- metadata --- */

static void put_metadata(struct fixture *f, const char *family, enum metric_type type, const char *help)
{
    struct metric_metadata one = {str_from(family), type, str_from(help), STR("seconds")};
    struct append_request request = {.metadata = &one, .metadata_n = 1};
    assert_int_equal(f->backend->ops->append(f->backend, &request, 1, NULL), OK);
}

static const char *metadata_text(struct fixture *f, const char *family, size_t limit)
{
    struct metadata_list *list = NULL;
    assert_int_equal(f->backend->ops->metadata(f->backend, str_from(family), limit, &list, NULL), OK);
    struct strbuf out;
    strbuf_init(&out, 1 << 16);
    for (size_t i = 0; i < list->n; i++)
        strbuf_f(&out, STR_FORMAT "/%d/" STR_FORMAT "/" STR_FORMAT " ", STR_ARG(list->at[i].family), list->at[i].type,
                 STR_ARG(list->at[i].help), STR_ARG(list->at[i].unit));
    metadata_list_free(list);
    struct str text = arena_str(&f->arena, strbuf_view(&out));
    strbuf_release(&out);
    return text.ptr;
}

/* As when senders that bring their metadata with every sample come all at once: many requests say the same. */
static void test_metadata_of_many_requests(void **state)
{
    enum {
        FAMILIES = 3000,
        REQUESTS = 100
    };
    static struct metric_metadata said[2][FAMILIES];
    static char names[FAMILIES][16];
    struct append_request requests[REQUESTS] = {0};
    struct fixture *f = *state;
    for (int i = 0; i < FAMILIES; i++) {
        snprintf(names[i], sizeof names[i], "m%d", i * 7 % FAMILIES);
        for (int k = 0; k < 2; k++)
            said[k][i] =
                (struct metric_metadata){str_from(names[i]), METRIC_GAUGE, k ? STR("new") : STR("old"), STR("")};
    }
    for (int i = 0; i < REQUESTS; i++)
        requests[i] = (struct append_request){.metadata = said[i == REQUESTS - 1], .metadata_n = FAMILIES};
    for (int round = 0; round < 3; round++) {
        if (round == 1)
            assert_int_equal(f->backend->ops->append(f->backend, &requests[0], 1, NULL), OK); /* back to the old */
        assert_int_equal(f->backend->ops->append(f->backend, requests, REQUESTS, NULL), OK);
        if (round == 2) {
            fixture_close(f);
            fixture_open(f);
        }
        struct metadata_list *list = NULL;
        assert_int_equal(f->backend->ops->metadata(f->backend, STR(""), 0, &list, NULL), OK);
        assert_int_equal(list->n, FAMILIES);
        for (size_t i = 0; i < list->n; i++)
            assert_true(str_eq(list->at[i].help, STR("new")) &&
                        (i == 0 || str_cmp(list->at[i - 1].family, list->at[i].family) < 0));
        metadata_list_free(list);
    }
}

static void test_metadata_of_too_many_families(void **state)
{
    enum {
        MAX = 200000
    };
    struct metric_metadata *said = calloc(MAX + 2, sizeof *said);
    char(*names)[16] = calloc(MAX + 2, sizeof *names);
    struct fixture *f = *state;
    for (int i = 0; i < MAX + 2; i++) {
        snprintf(names[i], sizeof names[i], "m%07d", i);
        said[i] = (struct metric_metadata){str_from(names[i]), METRIC_GAUGE, STR("help"), STR("")};
    }
    struct append_request request = {.metadata = said, .metadata_n = MAX + 2};
    for (int round = 0; round < 2; round++) {
        assert_int_equal(f->backend->ops->append(f->backend, &request, 1, NULL), OK);
        assert_int_equal(request.metadata_refused, 2);
        assert_string_equal(request.refused.message,
                            "metadata of more than 200000 metric families: 200001 asked, 200000 allowed");
    }
    said[7].help = STR("newer"); /* those that are known may change */
    request.metadata_n = MAX;
    assert_int_equal(f->backend->ops->append(f->backend, &request, 1, NULL), OK);
    assert_int_equal(request.metadata_refused, 0);
    assert_string_equal(metadata_text(f, "m0000007", 0), "m0000007/2/newer/ ");
    free(said);
    free(names);
}

static void test_metadata(void **state)
{
    struct fixture *f = *state;
    assert_string_equal(metadata_text(f, "", 0), "");
    put_metadata(f, "up", METRIC_GAUGE, "Is it up?");
    put_metadata(f, "http", METRIC_COUNTER, "It's \"quoted\"");
    put_metadata(f, "up", METRIC_GAUGE, "Is it up?");
    put_metadata(f, "up", METRIC_GAUGE, "Is it?");
    for (int round = 0; round < 2; round++) {
        assert_string_equal(metadata_text(f, "", 0), "http/1/It's \"quoted\"/seconds up/2/Is it?/seconds ");
        assert_string_equal(metadata_text(f, "up", 0), "up/2/Is it?/seconds ");
        assert_string_equal(metadata_text(f, "", 1), "http/1/It's \"quoted\"/seconds ");
        assert_string_equal(metadata_text(f, "none", 0), "");
        fixture_close(f);
        fixture_open(f);
    }
}

int main(void)
{
#define IN_MEMORY(test) cmocka_unit_test_setup_teardown(test, setup, teardown)
#define ON_DISK(test)   cmocka_unit_test_setup_teardown(test, setup_on_disk, teardown)
    const struct CMUnitTest tests[] = {
        IN_MEMORY(test_append_and_read_back),
        IN_MEMORY(test_append_policy),
        IN_MEMORY(test_append_says_what_is_wrong),
        IN_MEMORY(test_late_samples_have_a_window),
        IN_MEMORY(test_starts_become_zeros),
        IN_MEMORY(test_no_bound_on_the_future),
        IN_MEMORY(test_values_are_compared_by_bits),
        IN_MEMORY(test_a_refused_series_is_not_made),
        IN_MEMORY(test_many_requests_in_one),
        ON_DISK(test_reopen),
        ON_DISK(test_newest_samples_in_chunks_after_a_start),
        ON_DISK(test_metadata_labels_are_noticed),
        ON_DISK(test_every_bit_pattern_survives_compression),
        ON_DISK(test_an_unknown_schema_is_refused),
        cmocka_unit_test(test_a_directory_that_cannot_be),
        ON_DISK(test_one_process_at_a_time),
        IN_MEMORY(test_raw_order_over_many_slices),
        IN_MEMORY(test_raw_series_longer_than_a_slice),
        ON_DISK(test_raw_chunks_hold_the_samples),
        IN_MEMORY(test_raw_left_while_it_reads_ahead),
        IN_MEMORY(test_raw_snapshot),
        IN_MEMORY(test_matchers),
        IN_MEMORY(test_series_span_and_limit),
        IN_MEMORY(test_label_names_and_values),
        IN_MEMORY(test_bad_patterns_are_named),
        IN_MEMORY(test_regex_errors),
        IN_MEMORY(test_regex_matches),
        ON_DISK(test_metadata),
        ON_DISK(test_metadata_of_many_requests),
        IN_MEMORY(test_metadata_of_too_many_families),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
