/* tests/unit/frontend/test_query.c: the life of a query, when all goes well and for each way it can go wrong.
 *
 * Every case ends with the same check: no task, no cursor is left, and the next query works.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/assert.h"
#include "rig.h"

/* Neither abs() nor the comparison is pushed: a residual with one grid task of two series of 21, one of raw samples
 * (2 series of 10 ones), and one task that is the whole answer. */
#define SPLIT  "abs(sum%20by%20(n)%20(rate(m_total[5m])))"
#define RAW    "abs(deriv(m_total[5m]))"
#define DIRECT "sum%20by%20(n)%20(rate(m_total[5m]))"
#define TWO    "abs(sum(rate(a_total[5m])))%20%2B%20abs(sum(rate(b_total[5m])))"

static struct rig rig;

static int start_with(const struct rig_options *options)
{
    rig = (struct rig){0};
    rig_start(&rig, options);
    return 0;
}

static int start(void **state)
{
    return start_with(NULL);
}

static int stop(void **state)
{
    rig_stop(&rig);
    return 0;
}

static void expect(struct reply reply, int code, const char *part)
{
    if (reply.code != code || reply.broken || !strstr(reply.body, part))
        fail_msg("wanted %d with \"%s\", got %d: %s", code, part, reply.code, reply.body);
    reply_free(&reply);
}

static struct reply ask(const char *query)
{
    char path[1024];
    snprintf(path, sizeof path, "/api/v1/query?time=1000&query=%s", query);
    return http_get(rig.port, path);
}

/* Nothing is left of the query before, and the next one is right. */
static void expect_health(void)
{
    rig_expect_quiet(&rig);
    rig.upstream.mode = UPSTREAM_GOOD;
    rig.backend.run_fails = false;
    rig.backend.run_forbids = false;
    rig.backend.run_hangs = false;
    rig.backend.run_delay_ms = 0;
    rig.backend.raw_fails_after = -1;
    rig.backend.raw_samples = 10;
    expect(ask(SPLIT), 200, "\"42\"");
    rig_expect_quiet(&rig);
}

/* --- answers --- */

static void a_split_query_is_answered(void **state)
{
    expect(ask(SPLIT), 200,
           "{\"status\":\"success\",\"data\":{\"resultType\":\"vector\",\"result\":[{\"metric\":{},\"value\":[1,\"42\"]"
           "}]}}");
    assert_int_equal(rig.backend.runs, 1);
    assert_int_equal(rig.upstream.reads, 1);
    rig.upstream.mode = UPSTREAM_TWICE; /* many reads, one run */
    expect(ask(SPLIT), 200, "\"84\"");
    assert_int_equal(rig.backend.runs, 2);
    rig.upstream.mode = UPSTREAM_GOOD_STREAMED;
    expect(ask(SPLIT), 200, "\"1\"");
    expect(ask(TWO), 200, "\"2\"");
    expect_health();
}

static void raw_tasks_are_answered_with_samples(void **state)
{
    expect(ask(RAW), 200, "\"20\"");
    rig.upstream.mode = UPSTREAM_GOOD_STREAMED;
    rig.backend.raw_samples = 100000;
    rig.backend.series = 20;
    expect(ask(RAW), 200, "\"1\"");
    assert_int_equal(rig.backend.runs, 0);
    rig.backend.series = 2;
    expect_health();
}

static void pushed_parts_remark_as_prometheus_does(void **state)
{
#define REMARK(at)                                                                                                     \
    "\"infos\":[\"PromQL info: metric might not be a counter, name does not end in _total/_sum/_count/_bucket: "       \
    "\\\"m\\\" (1:" at ")\"]"
    expect(ask("sum(rate(m[5m]))"), 200, REMARK("10"));
    expect(ask("abs(sum(rate(m[5m])))"), 200, REMARK("14"));
    /* equal ones of two tasks, and of one task that is read twice: the last */
    expect(ask("abs(sum(rate(m[5m])))%20%2B%20abs(count(rate(m[5m])))"), 200, REMARK("40"));
    expect(ask("abs(sum(rate(m[5m])))%20%2B%20abs(sum(rate(m[5m])))"), 200, REMARK("38"));
    rig.backend.series = 0;
    struct reply reply = ask("sum(rate(m[5m]))");
    assert_null(strstr(reply.body, "infos"));
    reply_free(&reply);
    rig.backend.series = 2;
    expect_health();
}

static void a_direct_query_needs_no_upstream(void **state)
{
    expect(ask(DIRECT), 200,
           "\"result\":[{\"metric\":{\"n\":\"000000\"},\"value\":[1000,\"21\"]},{\"metric\":{\"n\":\"000001\"}");
    expect(ask(DIRECT "&limit=1"), 200, "\"warnings\":[\"results truncated due to limit\"]");
    expect(ask(DIRECT "&stats=all"), 200, ",\"stats\":{\"timings\":{");
    expect(
        http_get(rig.port, "/api/v1/query_range?start=0&end=120&step=60&query=" DIRECT), 200,
        "\"resultType\":\"matrix\",\"result\":[{\"metric\":{\"n\":\"000000\"},\"values\":[[0,\"21\"],[60,\"21\"],[120,"
        "\"21\"]]}");
    assert_int_equal(rig.upstream.queries, 0);
    expect_health();
}

static void on_read_dispatch_runs_with_the_first_read(void **state)
{
    expect(ask(SPLIT), 200, "\"42\"");
    assert_int_equal(rig.backend.runs, 1);
    rig.upstream.mode = UPSTREAM_NO_CALLBACK;
    expect(ask(SPLIT), 502, "did not read back");
    assert_int_equal(rig.backend.runs, 1);
    expect_health();
}

static int start_on_read(void **state)
{
    return start_with(&(struct rig_options){.dispatch = "on-read"});
}

static void scalars_go_to_upstream(void **state)
{
    expect(http_get(rig.port, "/api/v1/query?time=4&query=1%2B1"), 200, "\"status\":\"success\"");
    assert_int_equal(rig.upstream.queries, 1);
    assert_non_null(strstr(rig.upstream.last_form, "query=1%20%2B%201&time=4&timeout="));
    expect_health();
}

static void what_upstream_is_asked(void **state)
{
    expect(http_form(rig.port, "/api/v1/query_range",
                     "start=1.5&end=100.25&step=7&lookback_delta=90s&stats=all&query=" SPLIT),
           200, "\"630\"");
    const char *form = rig.upstream.last_form;
    assert_non_null(strstr(form, "&start=1.500&end=100.250&step=7000ms&timeout="));
    assert_non_null(strstr(form, "&lookback_delta=90000ms&stats=all"));
    assert_non_null(strstr(form, "query=abs%28%7B__task_id__%3D%22"));
    /* @ end() is the end as asked, though the last step is at 99.5: upstream is told the same end */
    expect(http_get(rig.port, "/api/v1/query_range?start=1.5&end=100.25&step=7&query=abs(deriv(m[5m]%20@%20end()))"),
           200, "\"20\"");
    assert_non_null(strstr(rig.upstream.last_form, "%40%20end%28%29"));
    assert_non_null(strstr(rig.upstream.last_form, "&end=100.250&"));
    expect_health();
}

static void upstreams_results_are_limited_here(void **state)
{
    rig.upstream.mode = UPSTREAM_THREE;
    expect(ask(SPLIT "&limit=3"), 200, "\"value\":[1,\"3\"]}]}}");
    struct reply reply = ask(SPLIT "&limit=2");
    assert_string_equal(reply.body,
                        "{\"status\":\"success\",\"data\":{\"resultType\":\"vector\",\"result\":[{\"metric\":{"
                        "\"a\":\"1\"},\"value\":[1,\"1\"]},{\"metric\":{\"a\":\"2\"},\"value\":[1,\"2\"]}]},"
                        "\"warnings\":[\"results truncated due to limit\"]}");
    reply_free(&reply);
    expect_health();
}

static void annotations_are_passed_on(void **state)
{
    rig.upstream.mode = UPSTREAM_INFOS;
    expect(ask(SPLIT), 200,
           "\"warnings\":[\"a \\\"w\xc3\xa4rning\\\"\"],\"infos\":[\"metric might not be a counter\"]}");
    expect_health();
}

/* --- parameters --- */

static void parameters_are_checked_in_prometheuss_words(void **state)
{
    static const struct {
        const char *path, *error;
    } CASES[] = {
        {"query?query=up&time=x",
         "invalid parameter \\\"time\\\": invalid time value for 'time': cannot parse \\\"x\\\" to a valid timestamp"},
        {"query?query=up&limit=-1&time=x", "invalid parameter \\\"limit\\\": limit must be non-negative"},
        {"query?query=up&limit=a", "invalid parameter \\\"limit\\\": strconv.Atoi: parsing \\\"a\\\": invalid syntax"},
        {"query?query=up&timeout=x", "invalid parameter \\\"timeout\\\": cannot parse \\\"x\\\" to a valid duration"},
        {"query?query=up&lookback_delta=x",
         "\"error parsing lookback delta duration: cannot parse \\\"x\\\" to a valid duration\""},
        {"query?query=", "invalid parameter \\\"query\\\": "},
        {"query?query=sum(", "invalid parameter \\\"query\\\": 1:"},
        {"query_range?query=up&end=1&step=1",
         "invalid parameter \\\"start\\\": cannot parse \\\"\\\" to a valid timestamp"},
        {"query_range?query=up&start=2&end=1&step=1",
         "invalid parameter \\\"end\\\": end timestamp must not be before start time"},
        {"query_range?query=up&start=1&end=2&step=0",
         "zero or negative query resolution step widths are not accepted. Try a positive integer"},
        {"query_range?query=up&start=0&end=12000&step=1",
         "\"exceeded maximum resolution of 11,000 points per timeseries. Try decreasing the query resolution "
         "(?step=XX)\""},
        {"query_range?query=up[5m]&start=0&end=1&step=1",
         "invalid parameter \\\"query\\\": invalid expression type \\\"range vector\\\" for range query, must be "
         "Scalar or instant Vector"},
        {"query?query={__task_id__=%22a%22}", "__task_id__"},
    };
    for (size_t i = 0; i < ARRAY_LENGTH(CASES); i++) {
        char path[256];
        snprintf(path, sizeof path, "/api/v1/%s", CASES[i].path);
        expect(http_get(rig.port, path), 400, CASES[i].error);
    }
    assert_int_equal(rig.upstream.queries, 0);
    expect_health();
}

/* --- upstream fails --- */

static void upstream_is_down(void **state)
{
    int64_t begun_ms = monotonic_ms();
    expect(ask(SPLIT), 502, "\"errorType\":\"unavailable\"");
    assert_true(monotonic_ms() - begun_ms < 5000);
    expect(ask(DIRECT), 200, "\"21\"");
    rig_expect_quiet(&rig);
}

static int start_without_upstream(void **state)
{
    return start_with(&(struct rig_options){.no_upstream = true});
}

static void upstream_never_reads(void **state)
{
    rig.upstream.mode = UPSTREAM_NO_CALLBACK;
    expect(ask(SPLIT), 502,
           "did not read back sum by (n) (rate(m_total[5m])): its remote_read section must have the url");
    expect_health();
}

static void upstream_reads_only_some(void **state)
{
    rig.upstream.mode = UPSTREAM_SOME_CALLBACKS;
    expect(ask(TWO), 502, "did not read back sum(rate(b_total[5m]))");
    expect_health();
}

static void upstream_reads_after_the_deadline(void **state)
{
    rig.upstream.mode = UPSTREAM_LATE;
    rig.upstream.late_ms = 400;
    int64_t begun_ms = monotonic_ms();
    expect(ask(SPLIT "&timeout=100ms"), 503, "query timed out in expression evaluation");
    assert_in_range(monotonic_ms() - begun_ms, 90, 350);
    rig_expect_quiet(&rig);
    poll(NULL, 0, 500); /* the late read finds no task */
    expect_health();
}

static void upstream_leaves_its_read_halfway(void **state)
{
    rig.upstream.mode = UPSTREAM_CUT_CALLBACK;
    rig.backend.raw_samples = 3000000;
    expect(ask(RAW), 502, "broke off its remote read");
    expect_health();
}

static void upstream_leaves_its_read_before_the_result(void **state)
{
    rig.upstream.mode = UPSTREAM_IMPATIENT;
    rig.backend.run_delay_ms = 300;
    expect(ask(SPLIT), 502, "upstream broke off its remote read");
    expect_health();
}

static void upstream_adds_its_external_labels(void **state)
{
    rig.upstream.mode = UPSTREAM_STRAY;
    expect(ask(SPLIT), 502, "matcher on \\\"cluster\\\"");
    expect(ask(RAW), 502, "filter_external_labels: false");
    expect_health();
}

static void upstream_never_answers(void **state)
{
    rig.upstream.mode = UPSTREAM_HANGS;
    expect(ask(SPLIT "&timeout=0.15"), 503, "\"errorType\":\"timeout\"");
    expect_health();
}

static void upstreams_errors_quote_the_user(void **state)
{
    rig.upstream.mode = UPSTREAM_BAD_DATA;
    expect(
        ask(SPLIT), 422,
        "{\"status\":\"error\",\"errorType\":\"execution\",\"error\":\"cannot: abs(sum by (n) (rate(m_total[5m])))\"}");
    rig.upstream.mode = UPSTREAM_GARBAGE;
    expect(ask(SPLIT), 502, "answered HTTP 502, and no JSON of the Prometheus API: <html>proxy</html>");
    expect_health();
}

static void upstreams_warning_of_a_failed_read_is_an_error(void **state)
{
    rig.upstream.mode = UPSTREAM_WARNS;
    expect(ask(SPLIT), 502, "upstream's remote read failed: remote_read: remote server returned HTTP status 500");
    expect_health();
}

/* --- the engine fails --- */

static void the_engine_breaks(void **state)
{
    rig.backend.run_fails = true;
    expect(ask(SPLIT), 500, "the engine broke");
    expect(ask(DIRECT), 500, "\"errorType\":\"internal\",\"error\":\"the engine broke\"");
    expect_health();
}

/* Asked again with nothing pushed: two series of ten samples are read. */
static void what_promql_forbids_is_prometheus_to_say(void **state)
{
    rig.backend.run_forbids = true;
    expect(ask(DIRECT), 200, "\"20\"");
    assert_int_equal(rig.backend.runs, 1);
    expect(ask(SPLIT), 200, "\"20\"");
    assert_int_equal(rig.backend.runs, 2);
    rig.upstream.mode = UPSTREAM_WARNS;
    expect(ask(DIRECT), 502, "upstream's remote read failed");
    expect_health();
}

/* The engine notices a little after its task is gone. */
static void expect_cancelled_runs(int n)
{
    rig_expect_quiet(&rig);
    for (int waited = 0; waited < 10000 && rig.backend.cancelled_runs < n; waited += 5)
        poll(NULL, 0, 5);
    assert_int_equal(rig.backend.cancelled_runs, n);
}

static void the_engine_takes_too_long(void **state)
{
    rig.backend.run_hangs = true;
    expect(ask(SPLIT "&timeout=0.15"), 503, "query timed out");
    expect(ask(DIRECT "&timeout=0.15"), 503, "query timed out in expression evaluation");
    expect_cancelled_runs(2);
    expect_health();
}

static void the_store_breaks_in_the_middle_of_samples(void **state)
{
    rig.backend.raw_fails_after = 3;
    rig.backend.raw_samples = 100000;
    expect(ask(RAW), 500, "the disk broke");
    rig.upstream.mode = UPSTREAM_GOOD_STREAMED;
    expect(ask(RAW), 500, "the disk broke");
    rig.backend.raw_fails_after = 0;
    expect(ask(RAW), 500, "the disk broke");
    expect_health();
}

static void too_many_tasks_are_refused(void **state)
{
    struct cancel cancel;
    struct fragment fragment = {.kind = FRAGMENT_RAW};
    struct task_owner owner = {.cancel = &cancel};
    struct tasks *tasks;
    struct task *first, *second;
    struct error error;
    cancel_init(&cancel, INT64_MAX);
    assert_int_equal(tasks_new(&rig.app, 1, &tasks, NULL), OK);
    assert_int_equal(task_register(tasks, &fragment, &owner, &first, NULL), OK);
    assert_int_equal(task_register(tasks, &fragment, &owner, &second, &error), E_LIMIT);
    assert_non_null(strstr(error.message, "--query.max-tasks allows 1"));
    task_end(first);
    assert_int_equal(task_register(tasks, &fragment, &owner, &second, &error), OK);
    task_end(second);
    tasks_free(tasks);
    cancel_release(&cancel);
}

static void task_ids_differ_and_are_wholly_random(void **state)
{
    struct cancel cancel;
    struct fragment fragment = {.kind = FRAGMENT_RAW};
    struct task_owner owner = {.cancel = &cancel};
    struct task *tasks[200];
    bool seen[TASK_ID_LENGTH][256] = {{false}};
    cancel_init(&cancel, INT64_MAX);
    for (size_t i = 0; i < ARRAY_LENGTH(tasks); i++) {
        assert_int_equal(task_register(rig.app.tasks, &fragment, &owner, &tasks[i], NULL), OK);
        for (size_t k = 0; k < TASK_ID_LENGTH; k++)
            seen[k][(unsigned char)task_id(tasks[i]).ptr[k]] = true;
        for (size_t j = 0; j < i; j++)
            assert_false(str_eq(task_id(tasks[i]), task_id(tasks[j])));
    }
    for (size_t k = 0; k < TASK_ID_LENGTH; k++) {
        int different = 0;
        for (int c = 0; c < 256; c++)
            different += seen[k][c];
        assert_in_range(different, k == 0 ? 6 : 24, k == 0 ? 8 : 32); /* the first digit has three bits */
    }
    for (size_t i = 0; i < ARRAY_LENGTH(tasks); i++)
        task_end(tasks[i]);
    cancel_release(&cancel);
}

/* --- the client leaves --- */

/* Asks, leaves once the engine has begun `runs` fragments in all (0: never mind), or after ms. */
static void ask_and_leave(const char *query, int runs, int ms)
{
    char request[1024];
    int fd = http_connect(rig.port);
    int n = snprintf(request, sizeof request, "GET /api/v1/query?query=%s HTTP/1.1\r\nHost: t\r\n\r\n", query);
    http_send(fd, request, (size_t)n);
    for (int waited = 0; waited < ms && !(runs && rig.backend.runs >= runs); waited += 5)
        poll(NULL, 0, 5);
    close(fd);
}

static void the_client_leaves(void **state)
{
    rig.backend.run_hangs = true;
    ask_and_leave(DIRECT, 1, 10000);
    expect_cancelled_runs(1);
    ask_and_leave(SPLIT, 2, 10000);
    expect_cancelled_runs(2);
    rig.backend.run_hangs = false;
    rig.upstream.mode = UPSTREAM_HANGS;
    ask_and_leave(SPLIT, 0, 50);
    expect_health();
}

static void a_waiting_query_is_left_or_late(void **state)
{
    rig.backend.run_hangs = true;
    int fd = http_connect(rig.port);
    http_say(fd, "GET /api/v1/query?query=" DIRECT " HTTP/1.1\r\nHost: t\r\n\r\n");
    for (int i = 0; i < 1000 && rig.backend.runs == 0; i++)
        poll(NULL, 0, 1);
    expect(ask(DIRECT "&timeout=0.1"), 503, "query timed out in query queue");
    ask_and_leave(DIRECT, 0, 50);
    close(fd);
    rig_expect_quiet(&rig);
    assert_int_equal(rig.backend.runs, 1); /* those who waited never ran */
    expect_health();
}

static int start_single(void **state)
{
    return start_with(&(struct rig_options){.concurrency = 1});
}

/* --- many at once --- */

struct crowd {
    const char *query;
    atomic_int good, refused, other;
};

static void *ask_once(void *arg)
{
    struct crowd *crowd = arg;
    struct reply reply = ask(crowd->query);
    if (reply.code == 200 && strstr(reply.body, "\"42\""))
        crowd->good++;
    else if (reply.code == 503 && strstr(reply.body, "too many queries"))
        crowd->refused++;
    else
        crowd->other++;
    reply_free(&reply);
    return NULL;
}

static void ask_at_once(struct crowd *crowd, int n)
{
    pthread_t threads[64];
    for (int i = 0; i < n; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, ask_once, crowd), 0);
    for (int i = 0; i < n; i++)
        pthread_join(threads[i], NULL);
}

/* The two-pool rule: one worker for queries, fifty split queries at once, each waiting for an upstream that calls back.
 */
static void one_worker_carries_fifty_split_queries(void **state)
{
    struct crowd crowd = {.query = SPLIT};
    rig.backend.run_delay_ms = 20;
    ask_at_once(&crowd, 50);
    assert_int_equal(crowd.good, 50);
    assert_int_equal(rig.upstream.queries, 50);
    expect_health();
}

static int start_one_worker(void **state)
{
    return start_with(&(struct rig_options){.query_workers = 1, .concurrency = 50});
}

static int start_one_worker_three_places(void **state)
{
    return start_with(&(struct rig_options){.query_workers = 1, .concurrency = 3});
}

static void beyond_the_queue_queries_are_refused(void **state)
{
    struct crowd crowd = {.query = SPLIT};
    rig.backend.run_delay_ms = 200;
    ask_at_once(&crowd, 30);
    assert_int_equal(crowd.other, 0);
    assert_true(crowd.good >= 5);
    assert_true(crowd.refused >= 1);
    assert_int_equal(crowd.good + crowd.refused, 30);
    expect_health();
}

static int start_short_queue(void **state)
{
    return start_with(&(struct rig_options){.concurrency = 2, .queue_max = 3});
}

static void stopping_ends_running_queries(void **state)
{
    struct crowd crowd = {.query = SPLIT};
    pthread_t threads[8];
    rig.backend.run_hangs = true;
    for (int i = 0; i < 8; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, ask_once, &crowd), 0);
    for (int i = 0; i < 2000 && rig.backend.runs < 4; i++)
        poll(NULL, 0, 1);
    http_server_stop(rig.app.server, 50);
    rig.app.server = NULL;
    for (int i = 0; i < 8; i++)
        pthread_join(threads[i], NULL);
    assert_int_equal(crowd.other, 8);
    rig_expect_quiet(&rig);
}

#define CASE(name)             cmocka_unit_test_setup_teardown(name, start, stop)
#define CASE_WITH(name, setup) cmocka_unit_test_setup_teardown(name, setup, stop)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(a_split_query_is_answered),
        CASE(raw_tasks_are_answered_with_samples),
        CASE(pushed_parts_remark_as_prometheus_does),
        CASE(a_direct_query_needs_no_upstream),
        CASE_WITH(on_read_dispatch_runs_with_the_first_read, start_on_read),
        CASE(scalars_go_to_upstream),
        CASE(what_upstream_is_asked),
        CASE(upstreams_results_are_limited_here),
        CASE(annotations_are_passed_on),
        CASE(parameters_are_checked_in_prometheuss_words),
        CASE_WITH(upstream_is_down, start_without_upstream),
        CASE(upstream_never_reads),
        CASE(upstream_reads_only_some),
        CASE(upstream_reads_after_the_deadline),
        CASE(upstream_leaves_its_read_halfway),
        CASE(upstream_leaves_its_read_before_the_result),
        CASE(upstream_adds_its_external_labels),
        CASE(upstream_never_answers),
        CASE(upstreams_errors_quote_the_user),
        CASE(upstreams_warning_of_a_failed_read_is_an_error),
        CASE(the_engine_breaks),
        CASE(what_promql_forbids_is_prometheus_to_say),
        CASE(the_engine_takes_too_long),
        CASE(the_store_breaks_in_the_middle_of_samples),
        CASE(too_many_tasks_are_refused),
        CASE(task_ids_differ_and_are_wholly_random),
        CASE(the_client_leaves),
        CASE_WITH(a_waiting_query_is_left_or_late, start_single),
        CASE_WITH(one_worker_carries_fifty_split_queries, start_one_worker),
        CASE_WITH(one_worker_carries_fifty_split_queries, start_one_worker_three_places),
        CASE_WITH(beyond_the_queue_queries_are_refused, start_short_queue),
        CASE(stopping_ends_running_queries),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
