/* tests/unit/backend/test_duckdb_exemplars.c: exemplars come with their samples and outlive a restart. */
#include <math.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

#include "base/float_text.h"
#include "tests/unit/backend/fixture.h"

#define MAX 5

static int setup(void **state)
{
    static struct fixture fixture;
    fixture_init_on_disk(&fixture);
    fixture_close(&fixture);
    fixture.exemplars_max = MAX;
    fixture_open(&fixture);
    *state = &fixture;
    return 0;
}

static int teardown(void **state)
{
    fixture_release(*state);
    return 0;
}

static void reopen(struct fixture *f, uint64_t max)
{
    fixture_close(f);
    f->exemplars_max = max;
    fixture_open(f);
}

static struct append_request put(struct fixture *f, const char *series, bool with_sample, const char *labels,
                                 double value, int64_t time_ms)
{
    struct sample sample = {time_ms, 1};
    struct append_series one = {labels_of(&f->arena, series), &sample, with_sample};
    struct append_exemplar exemplar = {0, {labels_of(&f->arena, labels), value, time_ms}};
    struct append_request request = {.series = &one, .series_n = 1, .exemplars = &exemplar, .exemplars_n = 1};
    struct error error;
    if (f->backend->ops->append(f->backend, &request, 1, &error) != OK)
        fail_msg("append: %s", error.message);
    return request;
}

static const char *text(struct fixture *f, const char *selector)
{
    struct expr_selector at = selector_of(&f->arena, selector);
    struct series_query query = {.selectors = &at, .selectors_n = 1, .span = {INT64_MIN, INT64_MAX}};
    struct exemplar_list *list;
    struct error error;
    if (f->backend->ops->exemplars(f->backend, &query, &list, &error) != OK)
        fail_msg("exemplars: %s", error.message);
    const char *out = exemplars_text(&f->arena, list);
    exemplar_list_free(list);
    return out;
}

static void expect_fate(struct append_request request, enum exemplar_fate fate)
{
    for (size_t i = 0; i < EXEMPLAR_FATES; i++)
        assert_int_equal(request.exemplars_by[i], i == fate);
}

static void they_come_with_samples(void **state)
{
    struct fixture *f = *state;
    expect_fate(put(f, "up;job=a", false, "trace=0", 1, 500), EXEMPLAR_OF_UNKNOWN_SERIES);
    expect_fate(put(f, "up;job=a", true, "trace=1", 1, 1000), EXEMPLAR_WRITTEN);
    expect_fate(put(f, "up;job=a", false, "trace=2", 2, 2000), EXEMPLAR_WRITTEN);
    expect_fate(put(f, "up;job=a", false, "trace=2", 2, 2000), EXEMPLAR_DUPLICATE);
    struct append_request refused = put(f, "up;job=a", true, "trace=3", 3, 1500);
    expect_fate(refused, EXEMPLAR_OUT_OF_ORDER);
    assert_int_equal(refused.written, 1); /* the sample is newer than the others: 1500 > 1000 */
    assert_int_equal(refused.refused.status, OK);
    assert_string_equal(refused.exemplar_refused.message,
                        "out of order exemplar: series up{job=\"a\"}, timestamp 1500");
    expect_fate(put(f, "up;job=a", false, "trace=4", 1, INT64_MAX), EXEMPLAR_TOO_FAR_AHEAD);
    assert_string_equal(text(f, "job=~a.*"), "up;job=a: 1@1000{trace=1} 2@2000{trace=2}\n");
    assert_int_equal(stats_of(f).exemplars_n, 2);
    assert_int_equal(stats_of(f).samples_n, 2);
}

static void a_restart_loses_none(void **state)
{
    struct fixture *f = *state;
    put(f, "up;job=a;x=\xe2\x82\xac\"", true, "trace=1;span=2", -0.0, 1000);
    put(f, "up;job=b", true, "", INFINITY, 2000);
    put(f, "down", true, "a=b", NAN, 3000);
    const char *before = text(f, "__name__!=none");
    for (int round = 0; round < 2; round++) {
        reopen(f, MAX);
        assert_string_equal(text(f, "__name__!=none"), before);
    }
    assert_non_null(strstr(before, "-0@1000{span=2;trace=1}"));
    expect_fate(put(f, "up;job=b", false, "", INFINITY, 2000), EXEMPLAR_DUPLICATE);
    expect_fate(put(f, "up;job=b", false, "", 1, 1999), EXEMPLAR_OUT_OF_ORDER);
    expect_fate(put(f, "up;job=b", false, "", 1, 2001), EXEMPLAR_WRITTEN);
    assert_int_equal(stats_of(f).exemplars_n, 4);
}

/* Also when the bound changes. */
static void the_oldest_make_way(void **state)
{
    struct fixture *f = *state;
    for (int i = 0; i < 4000; i++)
        expect_fate(put(f, "up", i == 0, "", i, 1000 + i), EXEMPLAR_WRITTEN);
    static const char LAST[] = "up: 3995@4995{} 3996@4996{} 3997@4997{} 3998@4998{} 3999@4999{}\n";
    assert_string_equal(text(f, "__name__=up"), LAST);
    reopen(f, MAX);
    assert_string_equal(text(f, "__name__=up"), LAST);
    reopen(f, 2);
    assert_string_equal(text(f, "__name__=up"), "up: 3998@4998{} 3999@4999{}\n");
    reopen(f, MAX);
    put(f, "up", false, "", 1, 6000);
    assert_string_equal(text(f, "__name__=up"), "up: 3998@4998{} 3999@4999{} 1@6000{}\n");
    reopen(f, 0);
    expect_fate(put(f, "up", false, "", 1, 7000), EXEMPLAR_NOT_KEPT);
    assert_string_equal(text(f, "__name__=up"), "");
    reopen(f, MAX); /* they were left alone: not every command that opens a store takes exemplars */
    assert_string_equal(text(f, "__name__=up"), "up: 3998@4998{} 3999@4999{} 1@6000{}\n");
}

/* As in Prometheus: they are bounded by number, not by what becomes of their series. */
static void they_outlive_their_series(void **state)
{
    struct fixture *f = *state;
    put(f, "up", true, "trace=1", 1, 1000);
    struct expr_selector at = selector_of(&f->arena, "__name__=up");
    struct series_query query = {.selectors = &at, .selectors_n = 1, .span = {INT64_MIN, INT64_MAX}};
    uint64_t samples_n;
    struct cancel cancel;
    cancel_init(&cancel, INT64_MAX);
    assert_int_equal(f->backend->ops->delete_series(f->backend, &query, &cancel, &samples_n, NULL), OK);
    cancel_release(&cancel);
    assert_int_equal(samples_n, 1);
    reopen(f, MAX);
    assert_string_equal(text(f, "__name__=up"), "up: 1@1000{trace=1}\n");
    expect_fate(put(f, "up", false, "trace=2", 1, 2000), EXEMPLAR_OF_UNKNOWN_SERIES);
}

static void a_wrong_pattern_is_named(void **state)
{
    struct fixture *f = *state;
    put(f, "up", true, "trace=1", 1, 1000);
    struct expr_selector at = selector_of(&f->arena, "__name__=~(");
    struct series_query query = {.selectors = &at, .selectors_n = 1, .span = {INT64_MIN, INT64_MAX}};
    struct exemplar_list *list;
    struct error error;
    assert_int_equal(f->backend->ops->exemplars(f->backend, &query, &list, &error), E_BAD_DATA);
    assert_non_null(strstr(error.message, "missing"));
}

#define ROUNDS 600

/* Asks until told to stop; how often it saw more than a run of the last ones. */
struct reader {
    struct fixture *f;
    atomic_bool stop;
    size_t wrong_n, asked_n;
};

static void *read_meanwhile(void *arg)
{
    struct reader *reader = arg;
    struct backend *backend = reader->f->backend;
    struct matcher matcher = {LABEL_METRIC_NAME, MATCH_REGEX, STR("up|down")};
    struct expr_selector selector = {.matchers = &matcher, .matchers_n = 1};
    struct series_query query = {.selectors = &selector, .selectors_n = 1, .span = {INT64_MIN, INT64_MAX}};
    for (; !atomic_load(&reader->stop); reader->asked_n++) {
        struct exemplar_list *list;
        if (backend->ops->exemplars(backend, &query, &list, NULL) != OK) {
            reader->wrong_n++;
            continue;
        }
        const struct exemplar_series *series = list->at;
        bool right = list->n <= 1 && (list->n == 0 || series->exemplars_n <= MAX);
        for (size_t k = 1; right && list->n && k < series->exemplars_n; k++)
            right = series->exemplars[k].time_ms == series->exemplars[k - 1].time_ms + 1;
        reader->wrong_n += !right;
        exemplar_list_free(list);
    }
    return NULL;
}

static void readers_beside_writes(void **state)
{
    struct fixture *f = *state;
    struct reader reader = {.f = f};
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, read_meanwhile, &reader), 0);
    for (int i = 0; i < ROUNDS; i++)
        expect_fate(put(f, "up", i == 0, "trace=x", 1, 1000 + i), EXEMPLAR_WRITTEN);
    atomic_store(&reader.stop, true);
    assert_int_equal(pthread_join(thread, NULL), 0);
    assert_true(reader.asked_n > 0);
    assert_int_equal(reader.wrong_n, 0);
}

int main(void)
{
#define TEST(test) cmocka_unit_test_setup_teardown(test, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(they_come_with_samples),    TEST(a_restart_loses_none),     TEST(the_oldest_make_way),
        TEST(they_outlive_their_series), TEST(a_wrong_pattern_is_named), TEST(readers_beside_writes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
