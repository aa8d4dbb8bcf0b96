/* tests/unit/backend/test_fake.c: the backend for tests keeps the promises of backend.h and fails when told to. */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

#include "backend/fake/fake_backend.h"
#include "tests/unit/backend/fixture.h"

static int setup(void **state)
{
    static struct fixture fixture;
    fixture = (struct fixture){.backend = fake_backend_new()};
    arena_init(&fixture.arena, SIZE_MAX);
    *state = &fixture;
    return 0;
}

static int teardown(void **state)
{
    fixture_release(*state);
    return 0;
}

static void test_samples(void **state)
{
    struct fixture *f = *state;
    APPEND(f, "up;job=b", {1000, 1}, {2000, 2});
    struct append_request request = APPEND(f, "up;job=a", {1000, 1}, {1000, 1}, {1000, 2}, {500, 1});
    assert_int_equal(request.written, 1);
    assert_int_equal(request.duplicates, 1);
    assert_int_equal(request.conflicting, 1);
    assert_int_equal(request.out_of_order, 1);
    assert_int_equal(request.refused.status, E_BAD_DATA);
    struct expr_selector selector = selector_of(&f->arena, "__name__=~u. job!=c");
    struct raw_cursor *cursor = NULL;
    struct raw_block block;
    assert_int_equal(f->backend->ops->raw_open(f->backend, RAW_SAMPLES, selector.matchers, selector.matchers_n,
                                               (struct time_span){1500, 9000}, NULL, &cursor, NULL),
                     OK);
    assert_int_equal(f->backend->ops->raw_next(cursor, &block, NULL), OK);
    assert_string_equal(labels_text(&f->arena, block.labels), "up;job=b");
    assert_int_equal(block.samples_n, 1);
    assert_true(block.series_ends);
    assert_int_equal(f->backend->ops->raw_next(cursor, &block, NULL), OK);
    assert_int_equal(block.samples_n, 0);
    f->backend->ops->raw_close(cursor);
    struct backend_stats stats;
    assert_int_equal(f->backend->ops->stats(f->backend, &stats, NULL), OK);
    assert_int_equal(stats.samples_n, 3);
}

static void test_starts(void **state)
{
    struct fixture *f = *state;
    const struct sample samples[] = {{1000, 1}, {2000, 2}, {5000, 1}};
    const struct append_start starts[] = {{&samples[0], 500}, {&samples[1], 500}, {&samples[2], 5000}};
    struct append_series series = {labels_of(&f->arena, "up"), samples, 3};
    struct append_request request = {.series = &series, .series_n = 1, .starts = starts, .starts_n = 3};
    assert_int_equal(f->backend->ops->append(f->backend, &request, 1, NULL), OK);
    assert_int_equal(request.zeros, 1);
    assert_int_equal(request.written, 3);
    assert_int_equal(stats_of(f).samples_n, 4);
}

static void test_deletion(void **state)
{
    struct fixture *f = *state;
    APPEND(f, "up;job=a", {1000, 1}, {2000, 2}, {3000, 3});
    APPEND(f, "up;job=b", {2000, 2});
    APPEND(f, "down", {2000, 2});
    struct expr_selector selector = selector_of(&f->arena, "__name__=up");
    struct series_query query = {&selector, 1, {2000, 9000}, 0};
    uint64_t samples_n = 0;
    assert_int_equal(f->backend->ops->delete_series(f->backend, &query, NULL, &samples_n, NULL), OK);
    assert_int_equal(samples_n, 3);
    assert_int_equal(stats_of(f).series_n, 2);
    assert_int_equal(stats_of(f).samples_n, 2);
    assert_int_equal(APPEND(f, "up;job=a", {1500, 4}).written, 1);
    assert_int_equal(fake_calls(f->backend, FAKE_DELETE_SERIES), 1);
}

static void test_listings(void **state)
{
    struct fixture *f = *state;
    APPEND(f, "up;job=b", {1000, 1});
    APPEND(f, "up;job=a", {2000, 1});
    struct series_query query = {.span = {0, 5000}, .limit = 1};
    struct series_list *series = NULL;
    struct string_list *strings = NULL;
    assert_int_equal(f->backend->ops->series(f->backend, &query, NULL, &series, NULL), OK);
    assert_true(series->n == 1 && series->truncated);
    assert_string_equal(labels_text(&f->arena, series->at[0]), "up;job=a");
    series_list_free(series);
    query.limit = 0;
    assert_int_equal(f->backend->ops->label_values(f->backend, STR("job"), &query, NULL, &strings, NULL), OK);
    assert_true(strings->n == 2 && str_eq(strings->at[0], STR("a")));
    string_list_free(strings);
    assert_int_equal(f->backend->ops->label_names(f->backend, &query, NULL, &strings, NULL), OK);
    assert_true(strings->n == 2 && str_eq(strings->at[1], STR("job")));
    string_list_free(strings);
}

static void test_answers(void **state)
{
    struct fixture *f = *state;
    double values[] = {1, 2, 3};
    fake_answer(f->backend, "sum(x)", labels_of(&f->arena, "b=1"), values, NULL, 3);
    fake_answer(f->backend, "sum(x)", labels_of(&f->arena, "a=1"), values, &(uint64_t){5}, 3);
    fake_answer_empty(f->backend, "y");
    struct fragment fragment = {
        .kind = FRAGMENT_GRID, .grid = {.start_ms = 0, .step_ms = 1, .steps = 3}, .promql = STR("sum(x)")};
    struct grid_result *result = run_ok(f, &fragment);
    assert_string_equal(result_text(&f->arena, result), "a=1: 1 - 3\nb=1: 1 2 3\n");
    assert_int_equal(result->values_n, 5);
    grid_result_free(result);
    fragment.promql = STR("y");
    result = run_ok(f, &fragment);
    assert_int_equal(result->series_n, 0);
    grid_result_free(result);
    fragment.promql = STR("z");
    struct error error;
    assert_int_equal(f->backend->ops->run(f->backend, &fragment, &(struct run_limits){9}, NULL, &result, &error),
                     E_STORE);
    fragment.promql = STR("sum(x)");
    assert_int_equal(f->backend->ops->run(f->backend, &fragment, &(struct run_limits){4}, NULL, &result, &error),
                     E_LIMIT);
}

static void *fire_soon(void *arg)
{
    usleep(20000);
    cancel_fire(arg, E_CANCELED);
    return NULL;
}

static void test_faults(void **state)
{
    struct fixture *f = *state;
    struct backend_stats stats;
    fake_fail(f->backend, FAKE_STATS, 2, E_STORE);
    assert_int_equal(f->backend->ops->stats(f->backend, &stats, NULL), OK);
    assert_int_equal(f->backend->ops->stats(f->backend, &stats, NULL), E_STORE);
    assert_int_equal(f->backend->ops->stats(f->backend, &stats, NULL), OK);
    assert_int_equal(fake_calls(f->backend, FAKE_STATS), 3);
    fake_answer_empty(f->backend, "y");
    fake_hang(f->backend, FAKE_RUN, 1);
    struct cancel cancel;
    cancel_init(&cancel, INT64_MAX);
    struct fragment fragment = {
        .kind = FRAGMENT_GRID, .grid = {.start_ms = 0, .step_ms = 1, .steps = 3}, .promql = STR("y")};
    struct grid_result *result = NULL;
    pthread_t thread;
    pthread_create(&thread, NULL, fire_soon, &cancel);
    assert_int_equal(f->backend->ops->run(f->backend, &fragment, &(struct run_limits){9}, &cancel, &result, NULL),
                     E_CANCELED);
    pthread_join(thread, NULL);
    assert_int_equal(fake_hanging(f->backend, FAKE_RUN), 0);
    cancel_release(&cancel);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_samples, setup, teardown),
        cmocka_unit_test_setup_teardown(test_starts, setup, teardown),
        cmocka_unit_test_setup_teardown(test_deletion, setup, teardown),
        cmocka_unit_test_setup_teardown(test_listings, setup, teardown),
        cmocka_unit_test_setup_teardown(test_answers, setup, teardown),
        cmocka_unit_test_setup_teardown(test_faults, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
