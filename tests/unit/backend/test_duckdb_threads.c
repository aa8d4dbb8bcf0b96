/* tests/unit/backend/test_duckdb_threads.c: calls side by side, waiting for connections, cancellation, deadlines. */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

#include "backend/duckdb/store.h"
#include "base/assert.h"
#include "tests/unit/backend/fixture.h"
#include "tests/unit/backend/random.h"

#define ALL_TIMES ((struct time_span){INT64_MIN, INT64_MAX})

/* A statement that would run for hours. */
#define ENDLESS "SELECT prom_sum([x::DOUBLE]) AS value FROM range(100000000000) t(x)"

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

/* --- one query in a thread of its own --- */

struct query {
    struct fixture *fixture;
    struct fragment fragment;
    struct cancel cancel;
    enum status status;
    struct error error;
    int64_t ended_ms;
    pthread_t thread;
};

static void *query_thread(void *arg)
{
    struct query *query = arg;
    struct run_limits limits = {.samples_max = 1000000};
    struct grid_result *result = NULL;
    struct backend *backend = query->fixture->backend;
    query->status = backend->ops->run(backend, &query->fragment, &limits, &query->cancel, &result, &query->error);
    query->ended_ms = monotonic_ms();
    grid_result_free(result);
    return NULL;
}

static void query_start(struct query *query, struct fixture *fixture, const char *sql, int64_t deadline_ms)
{
    query->fixture = fixture;
    query->fragment = fragment_of(&fixture->arena, sql, grid_instant(0), false, false, "");
    cancel_init(&query->cancel, deadline_ms);
    assert_int_equal(pthread_create(&query->thread, NULL, query_thread, query), 0);
}

static void query_join(struct query *query)
{
    pthread_join(query->thread, NULL);
    cancel_release(&query->cancel);
}

/* Sanitizers slow the engine's threads down, a busy machine all of them: the promise is 100 ms, the alarm is later. */
#define SOON_MS 1000

static void test_cancel_stops_the_engine(void **state)
{
    struct query query;
    query_start(&query, *state, ENDLESS, INT64_MAX);
    usleep(200000);
    int64_t fired_ms = monotonic_ms();
    cancel_fire(&query.cancel, E_CANCELED);
    query_join(&query);
    assert_int_equal(query.status, E_CANCELED);
    assert_string_equal(query.error.message, "query was canceled in expression evaluation");
    assert_true(query.ended_ms - fired_ms < SOON_MS);
}

static void test_a_fired_timeout_is_a_timeout(void **state)
{
    struct query query;
    query_start(&query, *state, ENDLESS, INT64_MAX);
    usleep(100000);
    cancel_fire(&query.cancel, E_TIMEOUT);
    query_join(&query);
    assert_int_equal(query.status, E_TIMEOUT);
    assert_string_equal(query.error.message, "query timed out in expression evaluation");
}

static void test_a_deadline_needs_nobody_to_fire(void **state)
{
    struct query query;
    int64_t deadline_ms = monotonic_ms() + 200;
    query_start(&query, *state, ENDLESS, deadline_ms);
    query_join(&query);
    assert_int_equal(query.status, E_TIMEOUT);
    assert_true(query.ended_ms >= deadline_ms && query.ended_ms - deadline_ms < SOON_MS);
}

static void test_cancelled_before_it_began(void **state)
{
    struct query query = {.fixture = *state};
    query.fragment = fragment_of(&query.fixture->arena, ENDLESS, grid_instant(0), false, false, "");
    cancel_init(&query.cancel, INT64_MAX);
    cancel_fire(&query.cancel, E_CANCELED);
    query_thread(&query);
    assert_int_equal(query.status, E_CANCELED);
    cancel_release(&query.cancel);
}

/* The moment of cancelling sweeps over the whole life of a short query; whatever it hits, the next query works. */
static void test_cancel_at_every_moment(void **state)
{
    struct fixture *f = *state;
    for (int us = 0; us < 6000; us += 150) {
        struct query query;
        query_start(&query, f, "SELECT prom_sum([x::DOUBLE]) FROM range(300000) t(x)", INT64_MAX);
        usleep((useconds_t)us);
        cancel_fire(&query.cancel, E_CANCELED);
        query_join(&query);
        assert_true(query.status == OK || query.status == E_CANCELED);
        struct fragment next = fragment_of(&f->arena, "SELECT [1e0]", grid_instant(0), false, false, "");
        grid_result_free(run_ok(f, &next));
    }
}

/* Of many groups, so that the moment often falls between gathering rows and the last group: the engine forgets states
 * then. Another query is under way meanwhile; when it ends, nothing is left of those that were stopped. */
static void test_nothing_is_left_of_what_was_stopped(void **state)
{
    static const char *const SQL[] = {
        "SELECT prom_sum(prom_constant(1, 50)) FROM range(60000) t(x) GROUP BY x % 30000",
        "SELECT prom_rate(0::BIGINT, 1000::BIGINT, [0::INTEGER, 0], [1e0, 2e0], 0, 1000, 50, 5000, false) FROM "
        "range(30000) t(x) GROUP BY x",
        "SELECT prom_quantile(prom_constant(1, 50), 0.5) FROM range(30000) t(x) GROUP BY x",
    };
    struct fixture *f = *state;
    struct random r = random_from(5);
    _Atomic uint64_t *used_bytes = &store_of(f->backend)->engine.budget.used_bytes;
    unsigned stopped = 0;
    for (size_t i = 0; i < ARRAY_LENGTH(SQL); i++) {
        struct query query, endless;
        int64_t began_ms = monotonic_ms();
        query_start(&query, f, SQL[i], INT64_MAX);
        query_join(&query);
        int64_t took_us = 1000 * (monotonic_ms() - began_ms + 1);
        query_start(&endless, f, ENDLESS, INT64_MAX);
        for (int k = 0; k < 40; k++) {
            query_start(&query, f, SQL[i], INT64_MAX);
            usleep((useconds_t)random_below(&r, (uint64_t)took_us));
            cancel_fire(&query.cancel, E_CANCELED);
            query_join(&query);
            stopped += query.status == E_CANCELED;
        }
        cancel_fire(&endless.cancel, E_CANCELED);
        query_join(&endless);
        assert_int_equal(*used_bytes, 0);
    }
    assert_true(stopped > 0);
}

static void test_waiting_for_a_connection(void **state)
{
    struct fixture *f = *state;
    fixture_close(f);
    f->connections = 1;
    fixture_open(f);
    struct query holder, by_deadline, by_cancel, patient;
    query_start(&holder, f, ENDLESS, INT64_MAX);
    usleep(100000);
    query_start(&by_deadline, f, "SELECT [1e0]", monotonic_ms() + 100);
    query_start(&by_cancel, f, "SELECT [1e0]", INT64_MAX);
    query_start(&patient, f, "SELECT [1e0]", INT64_MAX);
    query_join(&by_deadline);
    assert_int_equal(by_deadline.status, E_TIMEOUT);
    int64_t fired_ms = monotonic_ms();
    cancel_fire(&by_cancel.cancel, E_CANCELED);
    query_join(&by_cancel);
    assert_int_equal(by_cancel.status, E_CANCELED);
    assert_true(by_cancel.ended_ms - fired_ms < SOON_MS);
    cancel_fire(&holder.cancel, E_CANCELED);
    query_join(&holder);
    query_join(&patient);
    assert_int_equal(patient.status, OK);
}

static void test_listing_and_raw_can_be_cancelled(void **state)
{
    struct fixture *f = *state;
    APPEND(f, "up", {1, 1});
    struct cancel cancel;
    cancel_init(&cancel, INT64_MAX);
    struct series_query query = {.span = ALL_TIMES};
    struct series_list *series = NULL;
    struct string_list *strings = NULL;
    struct raw_cursor *cursor = NULL;
    struct raw_block block;
    assert_int_equal(f->backend->ops->raw_open(f->backend, RAW_SAMPLES, NULL, 0, ALL_TIMES, &cancel, &cursor, NULL),
                     OK);
    cancel_fire(&cancel, E_TIMEOUT);
    assert_int_equal(f->backend->ops->raw_next(cursor, &block, NULL), E_TIMEOUT);
    f->backend->ops->raw_close(cursor);
    assert_int_equal(f->backend->ops->raw_open(f->backend, RAW_SAMPLES, NULL, 0, ALL_TIMES, &cancel, &cursor, NULL),
                     E_TIMEOUT);
    assert_int_equal(f->backend->ops->series(f->backend, &query, &cancel, &series, NULL), E_TIMEOUT);
    assert_int_equal(f->backend->ops->label_names(f->backend, &query, &cancel, &strings, NULL), E_TIMEOUT);
    assert_int_equal(f->backend->ops->label_values(f->backend, STR("a"), &query, &cancel, &strings, NULL), E_TIMEOUT);
    cancel_release(&cancel);
}

/* --- four readers and a writer --- */

#define ROUNDS    60
#define SERIES    50
#define BATCH     20
#define READERS_N 4

struct traffic {
    struct fixture *fixture;
    _Atomic int acknowledged; /* rounds that append has answered OK */
    _Atomic bool done;
};

static void *write_rounds(void *arg)
{
    struct traffic *traffic = arg;
    static struct append_series series[SERIES];
    static struct sample samples[BATCH];
    for (int i = 0; i < SERIES; i++) {
        char text[32];
        snprintf(text, sizeof text, "m;i=%d", i);
        series[i] = (struct append_series){labels_of(&traffic->fixture->arena, text), samples, BATCH};
    }
    for (int round = 0; round < ROUNDS; round++) {
        for (int k = 0; k < BATCH; k++)
            samples[k] = (struct sample){(round * BATCH + k) * 1000, 1};
        struct append_request request = {.series = series, .series_n = SERIES};
        if (traffic->fixture->backend->ops->append(traffic->fixture->backend, &request, 1, NULL) != OK ||
            request.written != SERIES * BATCH)
            break;
        atomic_store(&traffic->acknowledged, round + 1);
    }
    atomic_store(&traffic->done, true);
    return NULL;
}

/* What is counted lies between what was acknowledged before and after, and is whole rounds. */
static bool count_is_right(struct traffic *traffic, const struct fragment *fragment)
{
    struct run_limits limits = {.samples_max = 1000};
    struct grid_result *result = NULL;
    struct backend *backend = traffic->fixture->backend;
    int before = atomic_load(&traffic->acknowledged);
    if (backend->ops->run(backend, fragment, &limits, NULL, &result, NULL) != OK)
        return false;
    int after = atomic_load(&traffic->acknowledged) + 1; /* one more may be committed and not yet counted */
    int rounds = result->series_n ? (int)(result->series[0].values[0] / (SERIES * BATCH)) : 0;
    bool right = rounds >= before && rounds <= after &&
                 (!result->series_n || result->series[0].values[0] == (double)rounds * SERIES * BATCH);
    grid_result_free(result);
    return right;
}

static bool raw_is_right(struct traffic *traffic)
{
    struct raw_cursor *cursor = NULL;
    struct raw_block block;
    struct backend *backend = traffic->fixture->backend;
    size_t before = (size_t)atomic_load(&traffic->acknowledged), n = 0;
    if (backend->ops->raw_open(backend, RAW_SAMPLES, NULL, 0, ALL_TIMES, NULL, &cursor, NULL) != OK)
        return false;
    enum status status;
    while ((status = backend->ops->raw_next(cursor, &block, NULL)) == OK && block.samples_n > 0)
        n += block.samples_n;
    backend->ops->raw_close(cursor);
    return status == OK && n % (SERIES * BATCH) == 0 && n >= before * SERIES * BATCH;
}

static bool listing_is_right(struct traffic *traffic)
{
    struct series_query query = {.span = ALL_TIMES};
    struct string_list *values = NULL;
    struct backend *backend = traffic->fixture->backend;
    int before = atomic_load(&traffic->acknowledged);
    if (backend->ops->label_values(backend, STR("i"), &query, NULL, &values, NULL) != OK)
        return false;
    bool right = values->n == SERIES || (values->n == 0 && before == 0);
    string_list_free(values);
    struct regex_engine regex = backend->ops->regex(backend);
    return right && regex.matches(regex.arg, STR("a|b"), STR("b"));
}

static void *read_rounds(void *arg)
{
    struct traffic *traffic = arg;
    struct arena arena;
    arena_init(&arena, SIZE_MAX);
    struct fragment fragment = fragment_of(&arena,
                                           "SELECT prom_sum(v) FROM (SELECT prom_count_over_time(" STORED_RUN
                                           ", 10000000, 1, 1, 10000001, false) "
                                           "AS v FROM runs() GROUP BY series)",
                                           grid_instant(0), false, false, "");
    bool right = true;
    while (right && !atomic_load(&traffic->done))
        right = count_is_right(traffic, &fragment) && raw_is_right(traffic) && listing_is_right(traffic);
    arena_release(&arena);
    return right ? traffic : NULL;
}

static void test_readers_and_a_writer(void **state)
{
    struct traffic traffic = {.fixture = *state};
    pthread_t writer, readers[READERS_N];
    pthread_create(&writer, NULL, write_rounds, &traffic);
    for (int i = 0; i < READERS_N; i++)
        pthread_create(&readers[i], NULL, read_rounds, &traffic);
    pthread_join(writer, NULL);
    assert_int_equal(traffic.acknowledged, ROUNDS);
    for (int i = 0; i < READERS_N; i++) {
        void *right;
        pthread_join(readers[i], &right);
        assert_non_null(right);
    }
}

/* Two writers at once: one after the other, nothing lost. */
struct own_series {
    struct fixture *fixture;
    const char *series;
};

static void *write_own_series(void *arg)
{
    const struct own_series *own = arg;
    struct fixture *f = own->fixture;
    struct arena arena;
    arena_init(&arena, SIZE_MAX);
    struct append_series one = {.labels = labels_of(&arena, own->series), .samples_n = 1};
    for (int i = 0; i < 100; i++) {
        struct sample sample = {i, i};
        one.samples = &sample;
        struct append_request request = {.series = &one, .series_n = 1};
        if (f->backend->ops->append(f->backend, &request, 1, NULL) != OK || request.written != 1)
            break;
    }
    arena_release(&arena);
    return NULL;
}

static void test_two_writers(void **state)
{
    struct fixture *f = *state;
    struct own_series own[2] = {{f, "a"}, {f, "b"}};
    pthread_t threads[2];
    for (int i = 0; i < 2; i++)
        pthread_create(&threads[i], NULL, write_own_series, &own[i]);
    for (int i = 0; i < 2; i++)
        pthread_join(threads[i], NULL);
    struct backend_stats stats;
    assert_int_equal(f->backend->ops->stats(f->backend, &stats, NULL), OK);
    assert_int_equal(stats.samples_n, 200);
    assert_int_equal(stats.series_n, 2);
}

int main(void)
{
#define IN_MEMORY(test) cmocka_unit_test_setup_teardown(test, setup, teardown)
#define ON_DISK(test)   cmocka_unit_test_setup_teardown(test, setup_on_disk, teardown)
    const struct CMUnitTest tests[] = {
        IN_MEMORY(test_cancel_stops_the_engine),
        IN_MEMORY(test_a_fired_timeout_is_a_timeout),
        IN_MEMORY(test_a_deadline_needs_nobody_to_fire),
        IN_MEMORY(test_cancelled_before_it_began),
        IN_MEMORY(test_cancel_at_every_moment),
        IN_MEMORY(test_nothing_is_left_of_what_was_stopped),
        IN_MEMORY(test_waiting_for_a_connection),
        IN_MEMORY(test_listing_and_raw_can_be_cancelled),
        ON_DISK(test_readers_and_a_writer),
        ON_DISK(test_two_writers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
