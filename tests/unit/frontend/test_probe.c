/* tests/unit/frontend/test_probe.c: what is learned of upstream, and readiness with its reasons. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/assert.h"
#include "frontend/probe_config.h"
#include "rig.h"

static struct rig rig;

static int start(void **state)
{
    rig = (struct rig){0};
    rig.upstream.mode = *state ? UPSTREAM_NO_CALLBACK : UPSTREAM_GOOD;
    rig.upstream.version = "2.42.0+ds";
    rig_start(&rig, &(struct rig_options){.probe = true});
    return 0;
}

static int stop(void **state)
{
    rig_stop(&rig);
    return 0;
}

/* Asks until the answer has that code and part, at most five seconds. */
static void wait_for(const char *path, int code, const char *part)
{
    struct reply reply = {0};
    for (int i = 0; i < 500; i++) {
        reply_free(&reply);
        reply = http_get(rig.port, path);
        if (reply.code == code && strstr(reply.body, part)) {
            reply_free(&reply);
            return;
        }
        poll(NULL, 0, 10);
    }
    fail_msg("wanted %d with \"%s\", got %d: %s", code, part, reply.code, reply.body);
}

static void ready_once_the_probe_was_read_back(void **state)
{
    wait_for("/-/ready", 200, "promsplit is Ready.\n");
    wait_for("/-/healthy", 200, "promsplit is Healthy.\n");
    struct upstream_facts facts = probe_facts(rig.app.probe);
    assert_true(facts.known && facts.ready);
    assert_string_equal(facts.version, "2.42.0+ds");
    assert_int_equal(facts.rule, WINDOW_CLOSED);
    assert_int_equal(facts.lookback_ms, 240000);
    assert_int_equal(facts.evaluation_interval_ms, 30000);
    /* and no more when upstream stops reading, and again when it does */
    rig.upstream.mode = UPSTREAM_NO_CALLBACK;
    wait_for("/-/ready", 503, "did not read the probe task back: the url of its remote_read section must lead to");
    rig.upstream.mode = UPSTREAM_STRAY;
    wait_for("/-/ready", 503, "filter_external_labels: false");
    rig.upstream.mode = UPSTREAM_GARBAGE;
    wait_for("/-/ready", 503, "upstream answered HTTP 502 to /api/v1/query");
    rig.upstream.mode = UPSTREAM_GOOD;
    wait_for("/-/ready", 200, "promsplit is Ready.\n");
    assert_int_equal(probe_facts(rig.app.probe).lookback_ms, 240000);
}

static void the_configuration_names_what_is_missing(void **state)
{
    rig.upstream.mode = UPSTREAM_NO_CALLBACK;
    rig.upstream.config_yaml = "global:\n  evaluation_interval: 1m\n";
    wait_for("/-/ready", 503, "no remote_read section");
}

/* Before upstream was heard of, the windows' edges are unknown: no guess. */
static void queries_wait_for_upstreams_version(void **state)
{
    struct reply reply = http_get(rig.port, "/api/v1/query?query=sum(rate(m[5m]))");
    if (reply.code != 502 || !strstr(reply.body, "start promsplit with --upstream.version=2 or --upstream.version=3"))
        fail_msg("%d: %s", reply.code, reply.body);
    reply_free(&reply);
    wait_for("/-/ready", 503, "not ready: ");
    rig_expect_quiet(&rig);
}

/* The first probe begins a moment after the start. */
static void a_query_before_the_first_probe_waits_for_it(void **state)
{
    struct reply reply = http_get(rig.port, "/api/v1/query?query=abs(sum(rate(m_total[5m])))&time=1000");
    if (reply.code != 200)
        fail_msg("%d: %s", reply.code, reply.body);
    reply_free(&reply);
    assert_true(probe_facts(rig.app.probe).known);
    rig_expect_quiet(&rig);
}

static void but_not_longer_than_its_deadline(void **state)
{
    struct reply reply = http_get(rig.port, "/api/v1/query?query=sum(rate(m_total[5m]))&timeout=0.02");
    if (reply.code != 503 || !strstr(reply.body, "\"errorType\":\"timeout\""))
        fail_msg("%d: %s", reply.code, reply.body);
    reply_free(&reply);
    assert_false(probe_facts(rig.app.probe).known);
    wait_for("/-/ready", 200, "promsplit is Ready.\n"); /* the wait that ended is called all the same */
    rig_expect_quiet(&rig);
}

/* The program ends while a query waits for a word of upstream. */
static void nor_than_the_program(void **state)
{
    int fd = http_connect(rig.port);
    http_say(fd, "GET /api/v1/query?query=sum(rate(m_total[5m])) HTTP/1.1\r\nHost: t\r\n\r\n");
    poll(NULL, 0, 20);
    close(fd);
}

static int start_alone(void **state)
{
    rig = (struct rig){0};
    rig_start(&rig, &(struct rig_options){.probe = true, .no_upstream = true});
    return 0;
}

/* --- the configuration's text --- */

static void advice(void **state)
{
    static const struct {
        const char *yaml, *advice;
        int64_t interval_ms;
    } CASES[] = {
        {"", "no remote_read section", 60000},
        {"[1, 2]", "no remote_read section", 60000},
        {"{unfinished", "", 60000},
        {"global: {evaluation_interval: 15s}\nremote_read: []", "no remote_read section", 15000},
        {"remote_read: [{url: http://p/read}]", "set read_recent: true in upstream's remote_read of http://p/read",
         60000},
        {"remote_read: [{url: u, read_recent: true}]", "", 60000},
        {"remote_read: [{url: a}, {url: b, read_recent: true}]", "", 60000},
        {"remote_read: [{url: u, read_recent: true, required_matchers: {__task_kind__: fragment}}]", "", 60000},
        {"remote_read: [{url: u, read_recent: true, required_matchers: {job: a}}]",
         "other required_matchers than {__task_kind__: fragment}", 60000},
        {"remote_read: [{url: u, read_recent: true, filter_external_labels: true}]", "", 60000},
        {"global: {external_labels: {dc: a}}\nremote_read: [{url: u, read_recent: true, filter_external_labels: true}]",
         "set filter_external_labels: false", 60000},
        {"global: {external_labels: {dc: a}}\nremote_read: [{url: u, read_recent: true}]", "", 60000},
    };
    for (size_t i = 0; i < ARRAY_LENGTH(CASES); i++) {
        struct upstream_config config;
        upstream_config_read(str_from(CASES[i].yaml), &config);
        assert_int_equal(config.evaluation_interval_ms, CASES[i].interval_ms);
        bool good = CASES[i].advice[0] ? strstr(config.advice, CASES[i].advice) != NULL : !config.advice[0];
        if (!good)
            fail_msg("%s: %s", CASES[i].yaml, config.advice);
    }
}

static int none = 1;

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(advice),
        cmocka_unit_test_setup_teardown(ready_once_the_probe_was_read_back, start, stop),
        cmocka_unit_test_prestate_setup_teardown(the_configuration_names_what_is_missing, start, stop, &none),
        cmocka_unit_test_setup_teardown(a_query_before_the_first_probe_waits_for_it, start, stop),
        cmocka_unit_test_setup_teardown(but_not_longer_than_its_deadline, start, stop),
        cmocka_unit_test_setup_teardown(nor_than_the_program, start, stop),
        cmocka_unit_test_setup_teardown(queries_wait_for_upstreams_version, start_alone, stop),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
