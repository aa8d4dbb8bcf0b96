/* tests/unit/backend/test_duckdb_histograms.c: native histograms are samples as floats are: one order of time for both,
 * late ones, deletion, retention, listings, restarts; and they are read in the order of time among the floats. What
 * they say is not the store's concern: here they are texts. */
#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

#include "base/assert.h"
#include "tests/unit/backend/fixture.h"

#define HOUR_MS INT64_C(3600000)

static const struct time_span ALL = {INT64_MIN, INT64_MAX};

static int setup(void **state)
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

static void reopen(struct fixture *f)
{
    fixture_close(f);
    fixture_open(f);
}

/* --- writing --- */

struct one {
    int64_t time_ms;
    const char *text;
};

static struct append_request put_many(struct fixture *f, const char *series, const struct one *at, size_t n)
{
    struct append_series one = {.labels = labels_of(&f->arena, series)};
    struct append_histogram *histograms = ARENA_ARRAY(&f->arena, struct append_histogram, n);
    for (size_t i = 0; i < n; i++)
        histograms[i] = (struct append_histogram){0, {at[i].time_ms, str_from(at[i].text)}};
    struct append_request request = {.series = &one, .series_n = 1, .histograms = histograms, .histograms_n = n};
    struct error error;
    if (f->backend->ops->append(f->backend, &request, 1, &error) != OK)
        fail_msg("append: %s", error.message);
    return request;
}

#define PUT(f, series, ...)                                                                                            \
    put_many(f, series, (const struct one[]){__VA_ARGS__},                                                             \
             sizeof((const struct one[]){__VA_ARGS__}) / sizeof(struct one))

/* --- reading --- */

/* "h{job=a}: 1=a 2#3.5 …": texts of histograms behind =, floats behind #; a line for each series. */
static const char *text_of(struct fixture *f, const char *selector, struct time_span span)
{
    struct expr_selector at = selector_of(&f->arena, selector);
    struct raw_cursor *cursor = NULL;
    struct raw_block block;
    struct error error;
    struct strbuf out;
    strbuf_init(&out, 1u << 20);
    if (f->backend->ops->raw_open(f->backend, RAW_SAMPLES, at.matchers, at.matchers_n, span, NULL, &cursor, &error) !=
        OK)
        fail_msg("raw_open: %s", error.message);
    for (bool begins = true;; begins = block.series_ends) {
        if (f->backend->ops->raw_next(cursor, &block, &error) != OK)
            fail_msg("raw_next: %s", error.message);
        if (raw_block_n(&block) == 0)
            break;
        assert_true(block.samples_n == 0 || block.histograms_n == 0);
        if (begins)
            strbuf_f(&out, "%s:", labels_text(&f->arena, block.labels));
        for (size_t i = 0; i < block.samples_n; i++)
            strbuf_f(&out, " %" PRId64 "#%g", block.samples[i].time_ms, block.samples[i].value);
        for (size_t i = 0; i < block.histograms_n; i++)
            strbuf_f(&out, " %" PRId64 "=" STR_FORMAT, block.histograms[i].time_ms,
                     STR_ARG(block.histograms[i].packed));
        if (block.series_ends)
            strbuf_char(&out, '\n');
    }
    f->backend->ops->raw_close(cursor);
    struct str copy = arena_str(&f->arena, strbuf_view(&out));
    strbuf_release(&out);
    return copy.ptr;
}

static bool has(struct fixture *f, const char *selector, struct time_span span)
{
    struct expr_selector at = selector_of(&f->arena, selector);
    return f->backend->ops->has_histograms(f->backend, &at, span);
}

static size_t series_in(struct fixture *f, const char *selector, struct time_span span)
{
    struct expr_selector at = selector_of(&f->arena, selector);
    struct series_query query = {.selectors = &at, .selectors_n = 1, .span = span};
    struct series_list *list;
    assert_int_equal(f->backend->ops->series(f->backend, &query, NULL, &list, NULL), OK);
    size_t n = list->n;
    series_list_free(list);
    return n;
}

/* --- order --- */

static void one_order_for_both_kinds(void **state)
{
    struct fixture *f = *state;
    for (int round = 0; round < 2; round++) { /* the second time after a restart: all is known then */
        struct append_request done = PUT(f, "h", {1000, "a"}, {2000, "b"});
        assert_int_equal(round ? done.duplicates + done.out_of_order : done.written, 2);
        assert_int_equal(done.histograms_written + done.histograms_known, round ? 1 : 2);
        done = PUT(f, "h", {2000, "b"});
        assert_int_equal(done.duplicates, 1);
        assert_int_equal(done.histograms_known, 1);
        assert_int_equal(done.refused.status, OK);
        done = PUT(f, "h", {2000, "c"});
        assert_int_equal(done.conflicting, 1);
        assert_non_null(strstr(done.refused.message, "duplicate sample for timestamp: series h{}, timestamp 2000"));
        done = APPEND(f, "h", {2000, 7});
        assert_int_equal(done.conflicting, 1);
        assert_non_null(strstr(done.refused.message, "duplicate sample for timestamp 2000; overrides not allowed: "
                                                     "existing is a histogram, new value 7"));
        done = APPEND(f, "h", {1500, 7});
        assert_int_equal(done.out_of_order, 1);
        done = PUT(f, "h", {1500, "c"});
        assert_int_equal(done.out_of_order, 1);
        assert_non_null(strstr(done.refused.message, "out of order sample"));
        reopen(f);
    }
    APPEND(f, "h", {3000, 7});
    struct append_request done = PUT(f, "h", {3000, "c"});
    assert_int_equal(done.conflicting, 1);
    assert_non_null(strstr(done.refused.message, "duplicate sample for timestamp: "));
    reopen(f);
    done = APPEND(f, "h", {3000, 7});
    assert_int_equal(done.duplicates, 1);
    assert_int_equal(done.histograms_known, 0);
    PUT(f, "h", {4000, "d"});
    assert_string_equal(text_of(f, "__name__=h", ALL), "h: 1000=a 2000=b 3000#7 4000=d\n");
    struct backend_stats stats = stats_of(f);
    assert_int_equal(stats.samples_n, 4);
    assert_int_equal(stats.histograms_n, 3);
    assert_int_equal(stats.series_n, 1);
    assert_int_equal(stats.max_time_ms, 4000);
    expect_rules(f);
}

/* The samples of a request's series come before its histograms, series by series. */
static void a_request_is_taken_in_its_order(void **state)
{
    struct fixture *f = *state;
    struct sample samples[] = {{1000, 1}, {3000, 3}};
    struct labels labels = labels_of(&f->arena, "h");
    struct append_series series[] = {{labels, samples, 1}, {labels, NULL, 0}, {labels, samples + 1, 1}};
    struct append_histogram histograms[] = {{1, {2000, STR("a")}}, {2, {4000, STR("b")}}};
    struct append_request request = {.series = series, .series_n = 3, .histograms = histograms, .histograms_n = 2};
    assert_int_equal(f->backend->ops->append(f->backend, &request, 1, NULL), OK);
    assert_int_equal(request.written, 4);
    assert_int_equal(request.histograms_written, 2);
    assert_string_equal(text_of(f, "__name__=h", ALL), "h: 1000#1 2000=a 3000#3 4000=b\n");
    compact(f);
    assert_string_equal(text_of(f, "__name__=h", ALL), "h: 1000#1 2000=a 3000#3 4000=b\n");
    assert_string_equal(text_of(f, "__name__=h", (struct time_span){2000, 3000}), "h: 2000=a 3000#3\n");
    assert_string_equal(text_of(f, "__name__=h", (struct time_span){2001, 2999}), "");
}

static void late_ones_find_their_place(void **state)
{
    struct fixture *f = *state;
    fixture_close(f);
    f->out_of_order_window_ms = 24 * HOUR_MS;
    fixture_open(f);
    for (int64_t k = 0; k < 5; k++)
        APPEND(f, "h", {k * 1000, (double)k});
    APPEND(f, "h", {10 * HOUR_MS, 9});
    compact(f); /* two chunks */
    struct append_request done = PUT(f, "h", {1500, "a"}, {2000, "b"}, {5 * HOUR_MS, "c"}, {1500, "a"}, {1500, "z"});
    assert_int_equal(done.written, 2);
    assert_int_equal(done.late, 2);
    assert_int_equal(done.histograms_written, 2);
    assert_int_equal(done.duplicates, 1);
    assert_int_equal(done.histograms_known, 1);
    assert_int_equal(done.conflicting, 2);
    done = APPEND(f, "h", {1500, 1}, {1600, 1}, {5 * HOUR_MS, 1}, {5 * HOUR_MS + 1, 1});
    assert_int_equal(done.written, 2);
    assert_int_equal(done.conflicting, 2);
    assert_non_null(strstr(done.refused.message, "existing is a histogram, new value 1"));
    done = PUT(f, "h", {1600, "x"}, {5 * HOUR_MS + 1, "x"}, {5 * HOUR_MS, "c"}, {-30 * HOUR_MS, "x"});
    assert_int_equal(done.conflicting, 2);
    assert_int_equal(done.histograms_known, 1);
    assert_int_equal(done.too_old, 1);
    static const char *const WANT =
        "h: 0#0 1000#1 1500=a 1600#1 2000#2 3000#3 4000#4 18000000=c 18000001#1 36000000#9\n";
    assert_string_equal(text_of(f, "__name__=h", ALL), WANT);
    expect_rules(f);
    compact(f);
    assert_string_equal(text_of(f, "__name__=h", ALL), WANT);
    reopen(f);
    assert_string_equal(text_of(f, "__name__=h", ALL), WANT);
    expect_rules(f);
}

/* --- who has some --- */

static void the_planner_is_told_who_has_some(void **state)
{
    struct fixture *f = *state;
    APPEND(f, "up;job=a", {1000, 1});
    assert_false(has(f, "__name__=up", ALL));
    PUT(f, "h;job=a", {5000, "a"}, {6000, "b"});
    APPEND(f, "h;job=b", {5000, 1});
    for (int round = 0; round < 2; round++) {
        assert_true(has(f, "__name__=h", ALL));
        assert_true(has(f, "job=a", ALL));
        assert_true(has(f, "__name__=~h|g", ALL));
        assert_true(has(f, "job!=b", ALL));
        assert_true(has(f, "__name__=h job=a x=", ALL));
        assert_true(has(f, "__name__=h", (struct time_span){0, 5500}));
        assert_false(has(f, "__name__=h", (struct time_span){0, 4999}));
        assert_false(has(f, "__name__=h", (struct time_span){6001, INT64_MAX}));
        assert_false(has(f, "__name__=up", ALL));
        assert_false(has(f, "__name__=up job=a", ALL));
        assert_false(has(f, "__name__=h job=b", ALL));
        assert_false(has(f, "__name__=nothing", ALL));
        assert_false(has(f, "__name__=~u.*", ALL));
        assert_false(has(f, "nothing=x", ALL));
        reopen(f);
    }
    uint64_t n;
    struct expr_selector all = selector_of(&f->arena, "__name__=h");
    struct series_query query = {.selectors = &all, .selectors_n = 1, .span = ALL};
    assert_int_equal(f->backend->ops->delete_series(f->backend, &query, NULL, &n, NULL), OK);
    assert_int_equal(n, 3);
    assert_false(has(f, "__name__=h", ALL));
}

static void listings_know_them(void **state)
{
    struct fixture *f = *state;
    PUT(f, "h;job=a", {5000, "a"}, {9000, "b"});
    for (int round = 0; round < 2; round++) {
        assert_int_equal(series_in(f, "__name__=h", ALL), 1);
        assert_int_equal(series_in(f, "__name__=h", (struct time_span){0, 4999}), 0);
        assert_int_equal(series_in(f, "__name__=h", (struct time_span){9000, 9000}), 1);
        assert_int_equal(series_in(f, "__name__=h", (struct time_span){5001, 8999}), 0); /* a gap */
        assert_int_equal(series_in(f, "__name__=h", (struct time_span){4000, 6000}), 1);
        struct series_query query = {.span = ALL};
        struct string_list *values;
        assert_int_equal(f->backend->ops->label_values(f->backend, STR("job"), &query, NULL, &values, NULL), OK);
        assert_int_equal(values->n, 1);
        string_list_free(values);
        struct cardinality_report *report;
        assert_int_equal(f->backend->ops->cardinality(f->backend, 10, &report, NULL), OK);
        assert_int_equal(report->series_n, 1);
        cardinality_free(report);
        reopen(f);
    }
}

/* --- taking out --- */

static uint64_t delete_of(struct fixture *f, const char *selector, struct time_span span)
{
    struct expr_selector at = selector_of(&f->arena, selector);
    struct series_query query = {.selectors = &at, .selectors_n = 1, .span = span};
    uint64_t n;
    struct error error;
    if (f->backend->ops->delete_series(f->backend, &query, NULL, &n, &error) != OK)
        fail_msg("delete: %s", error.message);
    return n;
}

static void deletion_takes_them(void **state)
{
    struct fixture *f = *state;
    PUT(f, "h;i=1", {1000, "a"}, {2000, "b"}, {3000, "c"});
    PUT(f, "h;i=2", {1000, "a"}, {2000, "b"});
    PUT(f, "h;i=3", {2000, "a"});
    APPEND(f, "h;i=4", {1000, 1}, {5000, 2});
    PUT(f, "h;i=4", {6000, "x"});
    compact(f);
    assert_int_equal(delete_of(f, "__name__=h", (struct time_span){2000, 2500}), 3);
    assert_string_equal(text_of(f, "__name__=h", ALL),
                        "h;i=1: 1000=a 3000=c\nh;i=2: 1000=a\nh;i=4: 1000#1 5000#2 6000=x\n");
    expect_rules(f);
    /* The newest that is left decides: of series 2 it is the one at 1000. */
    assert_int_equal(PUT(f, "h;i=2", {1000, "a"}).duplicates, 1);
    assert_int_equal(PUT(f, "h;i=2", {2000, "z"}).written, 1);
    assert_int_equal(PUT(f, "h;i=1", {2000, "z"}).out_of_order, 1);
    assert_int_equal(delete_of(f, "i=4", (struct time_span){5500, INT64_MAX}), 1);
    assert_int_equal(APPEND(f, "h;i=4", {5000, 2}).duplicates, 1);
    assert_int_equal(PUT(f, "h;i=4", {5000, "y"}).conflicting, 1);
    assert_int_equal(delete_of(f, "i=~1|2", ALL), 4);
    reopen(f);
    assert_string_equal(text_of(f, "__name__=h", ALL), "h;i=4: 1000#1 5000#2\n");
    struct backend_stats stats = stats_of(f);
    assert_int_equal(stats.histograms_n, 0);
    assert_int_equal(stats.samples_n, 2);
    assert_int_equal(stats.series_n, 1);
    expect_rules(f);
}

static void retention_takes_them(void **state)
{
    struct fixture *f = *state;
    fixture_close(f);
    f->retention = (struct retention){.time_ms = 4 * HOUR_MS};
    fixture_open(f);
    PUT(f, "old", {HOUR_MS, "a"});
    PUT(f, "h", {HOUR_MS, "a"}, {3 * HOUR_MS, "b"}, {9 * HOUR_MS, "c"});
    struct error error;
    if (duckdb_backend_retain(f->backend, &error) != OK)
        fail_msg("retain: %s", error.message);
    assert_string_equal(text_of(f, "__name__=~.+", ALL), "h: 32400000=c\n");
    struct backend_stats stats = stats_of(f);
    assert_int_equal(stats.samples_n, 1);
    assert_int_equal(stats.histograms_n, 1);
    assert_int_equal(stats.series_n, 1);
    assert_int_equal(stats.dropped_samples_n, 3);
    assert_int_equal(stats.min_time_ms, 9 * HOUR_MS);
    assert_int_equal(PUT(f, "new", {HOUR_MS, "a"}).beyond_retention, 1);
    assert_int_equal(PUT(f, "new", {6 * HOUR_MS, "a"}).written, 1);
    expect_rules(f);
    f->retention = (struct retention){.time_ms = 0};
}

/* --- reading much --- */

/* Some series of more bytes than a piece holds, one alone and several together, among others. */
enum {
    PIECE_EACH = 40,
    PIECE_BYTES = 1 << 20
};

static void read_pieces(struct fixture *f)
{
    struct expr_selector at = selector_of(&f->arena, "__name__=h");
    struct raw_cursor *cursor;
    struct raw_block block;
    size_t histograms_n[6] = {0}, samples_n[6] = {0}, ended = 0;
    int64_t last_ms = -1;
    assert_int_equal(
        f->backend->ops->raw_open(f->backend, RAW_SAMPLES, at.matchers, at.matchers_n, ALL, NULL, &cursor, NULL), OK);
    while (f->backend->ops->raw_next(cursor, &block, NULL) == OK && raw_block_n(&block)) {
        size_t i = (size_t)(labels_get(block.labels, STR("i")).ptr[0] - '0');
        for (size_t k = 0; k < block.histograms_n; k++) {
            assert_true(block.histograms[k].time_ms > last_ms);
            last_ms = block.histograms[k].time_ms;
            assert_int_equal(block.histograms[k].packed.len, i == 1 ? 1 : PIECE_BYTES);
        }
        for (size_t k = 0; k < block.samples_n; k++) {
            assert_true(block.samples[k].time_ms > last_ms);
            last_ms = block.samples[k].time_ms;
        }
        histograms_n[i] += block.histograms_n;
        samples_n[i] += block.samples_n;
        ended += block.series_ends;
        if (block.series_ends)
            last_ms = -1;
    }
    f->backend->ops->raw_close(cursor);
    assert_int_equal(ended, 5);
    static const size_t WANT[6] = {0, PIECE_EACH, PIECE_EACH, 12, 0, 12};
    for (size_t i = 1; i < 6; i++) {
        assert_int_equal(histograms_n[i], WANT[i]);
        assert_int_equal(samples_n[i], i == 2 || i == 4 ? PIECE_EACH : 0);
    }
}

static void pieces_are_put_together(void **state)
{
    struct fixture *f = *state;
    char *large = malloc(PIECE_BYTES + 1);
    memset(large, 'x', PIECE_BYTES);
    large[PIECE_BYTES] = '\0';
    for (int64_t k = 0; k < PIECE_EACH; k++) {
        struct one one[] = {{k * 1000, large}};
        put_many(f, "h;i=2", one, 1);
        if (k < 12) {
            put_many(f, "h;i=3", one, 1);
            put_many(f, "h;i=5", one, 1);
        }
        PUT(f, "h;i=1", {k * 1000, "s"});
        APPEND(f, "h;i=2", {k * 1000 + 500, (double)k});
        APPEND(f, "h;i=4", {k * 1000 + 500, (double)k});
    }
    free(large);
    read_pieces(f);
    f->slice_samples = PIECE_EACH; /* the floats of i=4 are read ahead on the connection that pieces need */
    reopen(f);
    read_pieces(f);
    f->slice_samples = 0;
}

/* What came after a cursor was opened is not in it, nor torn. */
static void cursors_see_one_moment(void **state)
{
    struct fixture *f = *state;
    struct raw_cursor *cursor;
    struct raw_block block;
    PUT(f, "h;i=1", {1000, "a"});
    PUT(f, "h;i=2", {1000, "a"});
    struct expr_selector at = selector_of(&f->arena, "__name__=h");
    assert_int_equal(
        f->backend->ops->raw_open(f->backend, RAW_SAMPLES, at.matchers, at.matchers_n, ALL, NULL, &cursor, NULL), OK);
    PUT(f, "h;i=1", {2000, "b"});
    PUT(f, "h;i=3", {2000, "b"});
    APPEND(f, "h;i=2", {2000, 1});
    size_t n = 0;
    while (f->backend->ops->raw_next(cursor, &block, NULL) == OK && raw_block_n(&block))
        n += raw_block_n(&block);
    assert_int_equal(n, 2);
    f->backend->ops->raw_close(cursor);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(one_order_for_both_kinds, setup, teardown),
        cmocka_unit_test_setup_teardown(a_request_is_taken_in_its_order, setup, teardown),
        cmocka_unit_test_setup_teardown(late_ones_find_their_place, setup, teardown),
        cmocka_unit_test_setup_teardown(the_planner_is_told_who_has_some, setup, teardown),
        cmocka_unit_test_setup_teardown(listings_know_them, setup, teardown),
        cmocka_unit_test_setup_teardown(deletion_takes_them, setup, teardown),
        cmocka_unit_test_setup_teardown(retention_takes_them, setup, teardown),
        cmocka_unit_test_setup_teardown(pieces_are_put_together, setup, teardown),
        cmocka_unit_test_setup_teardown(cursors_see_one_moment, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
