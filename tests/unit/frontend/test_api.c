/* The handlers beside queries (frontend/api.h) over a fake backend: shapes, error texts and codes of Prometheus 3.5.
 *
 * Handlers answer through http_respond…; here those are ours and keep the answer. What the probe knows is ours too.
 */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <semaphore.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "backend/fake/fake_backend.h"
#include "base/assert.h"
#include "frontend/api.h"
#include "frontend/app.h"
#include "frontend/json.h"
#include "frontend/probe.h"

/* --- the server's side --- */

struct exchange {
    struct http_request request; /* first */
    struct http_param params[16];
    int code;
    char type[128];
    char *body;
    sem_t answered;
};

static struct upstream_facts facts;

struct upstream_facts probe_facts(struct probe *probe)
{
    return facts;
}

const struct str *http_param(const struct http_request *request, const char *name)
{
    for (size_t i = 0; i < request->params_n; i++)
        if (str_eq(request->params[i].name, str_from(name)))
            return &request->params[i].value;
    return NULL;
}

void http_set_deadline(struct http_request *request, int64_t deadline_ms)
{
    assert_true(deadline_ms > request->received_ms);
}

void http_header(struct http_request *request, const char *name, const char *value)
{
    assert_true(name[0] && value[0]);
}

void http_respond(struct http_request *request, int code, const char *content_type, struct strbuf *body)
{
    struct exchange *exchange = (struct exchange *)request;
    size_t n;
    assert_int_equal(exchange->code, 0); /* one answer to a request */
    exchange->code = code;
    snprintf(exchange->type, sizeof exchange->type, "%s", content_type);
    exchange->body = strbuf_detach(body, &n);
    sem_post(&exchange->answered);
}

void http_respond_error(struct http_request *request, const struct error *error)
{
    struct strbuf body;
    strbuf_init(&body, 1u << 16);
    json_error(&body, error);
    http_respond(request, status_http_code(error->status), "application/json", &body);
}

void http_respond_text(struct http_request *request, int code, const char *format, ...)
{
    char text[256];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    struct strbuf body;
    strbuf_init(&body, sizeof text);
    strbuf_cstr(&body, text);
    http_respond(request, code, "text/plain", &body);
}

/* --- the program --- */

static struct app app;

static void add_series(const char *name, const char *job, int64_t time_ms)
{
    struct label labels[] = {{LABEL_METRIC_NAME, str_from(name)}, {STR("job"), str_from(job)}};
    struct sample sample = {time_ms, 1};
    struct append_series series = {{labels, 2}, &sample, 1};
    struct metric_metadata metadata = {str_from(name), METRIC_COUNTER, STR("Help \"me\"."), STR("")};
    struct label trace = {STR("trace_id"), STR("a\"b")};
    struct append_exemplar exemplar = {0, {{&trace, job[0] == 'd'}, 0.25, time_ms}};
    struct append_request request = {.series = &series,
                                     .series_n = 1,
                                     .exemplars = &exemplar,
                                     .exemplars_n = 1,
                                     .metadata = &metadata,
                                     .metadata_n = 1};
    assert_int_equal(app.backend->ops->append(app.backend, &request, 1, NULL), OK);
    assert_int_equal(request.written, 1);
}

static int set_up(void **state)
{
    config_init(&app.config);
    app.backend = fake_backend_new();
    app.started_ms = 1700000000000;
    facts = (struct upstream_facts){.known = true,
                                    .ready = true,
                                    .version = "2.42.0+ds",
                                    .rule = WINDOW_CLOSED,
                                    .lookback_ms = 120000,
                                    .evaluation_interval_ms = 15000};
    add_series("requests_total", "api", 1000);
    add_series("up", "api", 1000);
    add_series("up", "db", 9000);
    return metrics_new(&app.metrics, NULL) == OK ? 0 : -1;
}

static int tear_down(void **state)
{
    app.backend->ops->close(app.backend);
    metrics_free(app.metrics);
    config_release(&app.config);
    memset(&app, 0, sizeof app);
    return 0;
}

/* --- asking --- */

/* `form` is name=value&…, nothing encoded. */
static void ask(struct exchange *exchange, void (*handle)(struct http_request *), const char *path,
                const char *wildcard, const char *form)
{
    memset(exchange, 0, sizeof *exchange);
    struct http_request *request = &exchange->request;
    *request = (struct http_request){.app = &app,
                                     .method = HTTP_GET,
                                     .path = str_from(path),
                                     .wildcard = str_from(wildcard),
                                     .params = exchange->params,
                                     .received_ms = monotonic_ms()};
    sem_init(&exchange->answered, 0, 0);
    arena_init(&request->arena, 16u << 20);
    cancel_init(&request->cancel, INT64_MAX);
    for (const char *at = form; *at;) {
        size_t n = strcspn(at, "&"), name = strcspn(at, "=");
        assert_true(name < n && request->params_n < ARRAY_LENGTH(exchange->params));
        exchange->params[request->params_n++] = (struct http_param){{at, name}, {at + name + 1, n - name - 1}};
        at += n + (at[n] == '&');
    }
    handle(request);
    sem_wait(&exchange->answered);
}

static void done(struct exchange *exchange)
{
    cancel_release(&exchange->request.cancel);
    arena_release(&exchange->request.arena);
    sem_destroy(&exchange->answered);
    free(exchange->body);
}

#define OK_BODY(data)   "{\"status\":\"success\",\"data\":" data "}"
#define BAD_BODY(error) "{\"status\":\"error\",\"errorType\":\"bad_data\",\"error\":\"" error "\"}"
#define CUT_BODY(data)  "{\"status\":\"success\",\"data\":" data ",\"warnings\":[\"results truncated due to limit\"]}"

struct row {
    void (*handle)(struct http_request *);
    const char *wildcard, *form;
    int code;
    const char *body;
};

static void check_rows(const struct row *rows, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        struct exchange exchange;
        ask(&exchange, rows[i].handle, "/api/v1/x", rows[i].wildcard, rows[i].form);
        if (exchange.code != rows[i].code || strcmp(exchange.body, rows[i].body) != 0)
            fail_msg("%s %s: %d %s\nexpected: %d %s", rows[i].wildcard, rows[i].form, exchange.code, exchange.body,
                     rows[i].code, rows[i].body);
        assert_string_equal(exchange.type, exchange.code == 204 ? "text/plain" : "application/json");
        done(&exchange);
    }
}

static void labels_and_series(void **state)
{
    static const struct row rows[] = {
        {api_labels, "", "", 200, OK_BODY("[\"__name__\",\"job\"]")},
        {api_labels, "", "limit=1", 200, CUT_BODY("[\"__name__\"]")},
        {api_labels, "", "limit=0", 200, OK_BODY("[\"__name__\",\"job\"]")},
        {api_labels, "", "match[]=nothing", 200, OK_BODY("[]")},
        {api_labels, "", "limit=-1", 400, BAD_BODY("invalid parameter \\\"limit\\\": limit must be non-negative")},
        {api_labels, "", "limit=1.5", 400,
         BAD_BODY("invalid parameter \\\"limit\\\": strconv.Atoi: parsing \\\"1.5\\\": invalid syntax")},
        {api_labels, "", "start=yesterday", 400,
         BAD_BODY(
             "invalid parameter \\\"start\\\": invalid time value for 'start': cannot parse \\\"yesterday\\\" to a "
             "valid timestamp")},
        {api_labels, "", "match[]={job=\"\"}", 400, BAD_BODY("match[] must contain at least one non-empty matcher")},
        {api_label_values, "job", "", 200, OK_BODY("[\"api\",\"db\"]")},
        {api_label_values, "job", "limit=1", 200, CUT_BODY("[\"api\"]")},
        {api_label_values, "job", "start=5", 200, OK_BODY("[\"db\"]")},
        {api_label_values, "job", "start=2&end=3", 200, OK_BODY("[]")},
        {api_label_values, "__name__", "match[]=up&match[]=requests_total", 200,
         OK_BODY("[\"requests_total\",\"up\"]")},
        {api_label_values, "__name__", "match[]={__name__=~\"u.*\",}", 200, OK_BODY("[\"up\"]")},
        {api_label_values, "U__job", "", 200, OK_BODY("[\"api\",\"db\"]")},
        {api_label_values, "U___6a_ob", "", 200, OK_BODY("[\"api\",\"db\"]")},
        {api_label_values, "\xff", "", 400, BAD_BODY("invalid label name: \\\"\\\\xff\\\"")},
        {api_series, "", "", 400, BAD_BODY("no match[] parameter provided")},
        {api_series, "", "match[]=up{job=\"db\"}", 200, OK_BODY("[{\"__name__\":\"up\",\"job\":\"db\"}]")},
        {api_series, "", "match[]={__name__!=\"\"}&limit=1", 200,
         CUT_BODY("[{\"__name__\":\"requests_total\",\"job\":\"api\"}]")},
        {api_series, "", "match[]={job=~\".*\"}", 400,
         BAD_BODY("invalid parameter \\\"match[]\\\": match[] must contain at least one non-empty matcher")},
        {api_series, "", "match[]=up&start=x", 400,
         BAD_BODY("invalid parameter \\\"start\\\": invalid time value for 'start': cannot parse \\\"x\\\" to a valid "
                  "timestamp")},
    };
    check_rows(rows, ARRAY_LENGTH(rows));
}

static void admin(void **state)
{
    static const char off[] = "{\"status\":\"error\",\"errorType\":\"unavailable\",\"error\":\"admin APIs disabled\"}";
    static const struct row refused[] = {
        {api_delete_series, "", "match[]=up", 503, off},
        {api_clean_tombstones, "", "", 503, off},
        {api_snapshot, "", "", 503, off},
    };
    static const struct row wrong[] = {
        {api_delete_series, "", "start=1", 400, BAD_BODY("no match[] parameter provided")},
        {api_delete_series, "", "match[]=up&start=x", 400,
         BAD_BODY("invalid parameter \\\"start\\\": invalid time value for 'start': cannot parse \\\"x\\\" to a valid "
                  "timestamp")},
        {api_delete_series, "", "match[]={job=\"\"}", 400,
         BAD_BODY("invalid parameter \\\"match[]\\\": match[] must contain at least one non-empty matcher")},
        {api_snapshot, "", "", 422,
         "{\"status\":\"error\",\"errorType\":\"execution\",\"error\":\"snapshots are not made here: stop the program "
         "and "
         "copy the storage directory\"}"},
    };
    static const struct {
        void (*handle)(struct http_request *);
        const char *form, *left; /* series afterwards */
    } right[] = {
        {api_clean_tombstones, "", "[\"api\",\"db\"]"},
        {api_delete_series, "match[]=up&end=0.5", "[\"api\",\"db\"]"},
        {api_delete_series, "match[]=up{job=\"db\"}&match[]=none&start=9&end=9", "[\"api\"]"},
        {api_delete_series, "match[]={__name__=~\".+\"}", "[]"},
    };
    check_rows(refused, ARRAY_LENGTH(refused));
    app.config.web_admin_api = true;
    check_rows(wrong, ARRAY_LENGTH(wrong));
    for (size_t i = 0; i < ARRAY_LENGTH(right); i++) {
        struct exchange exchange;
        ask(&exchange, right[i].handle, "/api/v1/x", "", right[i].form);
        assert_int_equal(exchange.code, 204);
        done(&exchange);
        ask(&exchange, api_label_values, "/api/v1/x", "job", "");
        assert_non_null(strstr(exchange.body, right[i].left));
        done(&exchange);
    }
    fake_fail(app.backend, FAKE_DELETE_SERIES, 1, E_STORE);
    struct exchange exchange;
    ask(&exchange, api_delete_series, "/api/v1/x", "", "match[]=up");
    assert_int_equal(exchange.code, 500);
    done(&exchange);
}

static void metadata(void **state)
{
    static const struct row rows[] = {
        {api_metadata, "", "limit=1", 200,
         OK_BODY("{\"requests_total\":[{\"type\":\"counter\",\"unit\":\"\",\"help\":\"Help \\\"me\\\".\"}]}")},
        {api_metadata, "", "metric=up&limit_per_metric=1", 200,
         OK_BODY("{\"up\":[{\"type\":\"counter\",\"unit\":\"\",\"help\":\"Help \\\"me\\\".\"}]}")},
        {api_metadata, "", "metric=none", 200, OK_BODY("{}")},
        {api_metadata, "", "limit=0", 200, OK_BODY("{}")},
        {api_metadata, "", "limit=many", 400, BAD_BODY("limit must be a number")},
        {api_metadata, "", "limit_per_metric=many", 400, BAD_BODY("limit_per_metric must be a number")},
    };
    check_rows(rows, ARRAY_LENGTH(rows));
}

static void expressions(void **state)
{
    static const struct row rows[] = {
        {api_format_query, "", "query=sum(up)by(job)", 200, OK_BODY("\"sum by (job) (up)\"")},
        {api_format_query, "", "query=sum(", 400,
         BAD_BODY("invalid parameter \\\"query\\\": 1:5: parse error: unclosed left parenthesis")},
        {api_format_query, "", "", 400,
         BAD_BODY("invalid parameter \\\"query\\\": unknown position: parse error: no expression found in input")},
        {api_parse_query, "", "query=1", 200, OK_BODY("{\"type\":\"numberLiteral\",\"val\":\"1\"}")},
        {api_query_exemplars, "", "query=test&start=1700000000000&end=1700000600000", 200, OK_BODY("[]")},
        {api_query_exemplars, "", "query=1", 204, ""},
        {api_query_exemplars, "", "query=rate(up{job=\"db\"}[5m])-on()requests_total&start=1&end=9", 200,
         OK_BODY("[{\"seriesLabels\":{\"__name__\":\"requests_total\",\"job\":\"api\"},\"exemplars\":[{\"labels\":{},"
                 "\"value\":\"0.25\",\"timestamp\":1}]},{\"seriesLabels\":{\"__name__\":\"up\",\"job\":\"db\"},"
                 "\"exemplars\":[{\"labels\":{\"trace_id\":\"a\\\"b\"},\"value\":\"0.25\",\"timestamp\":9}]}]")},
        {api_query_exemplars, "", "query=up&start=2&end=8", 200, OK_BODY("[]")},
        {api_query_exemplars, "", "query=up&start=2&end=1", 400,
         BAD_BODY("end timestamp must not be before start timestamp")},
        {api_explain, "", "query=up&start=3&end=2&step=1", 400,
         BAD_BODY("invalid parameter \\\"end\\\": end timestamp must not be before start time")},
        {api_explain, "", "query=up&start=1&end=2", 400,
         BAD_BODY("invalid parameter \\\"step\\\": cannot parse \\\"\\\" to a valid duration")},
        {api_explain, "", "query=up&start=1&end=2&step=0", 400,
         BAD_BODY("invalid parameter \\\"step\\\": zero or negative query resolution step widths are not accepted. Try "
                  "a positive integer")},
        {api_explain, "", "query=up&start=0&end=11001&step=1", 400,
         BAD_BODY("exceeded maximum resolution of 11,000 points per timeseries. Try decreasing the query resolution "
                  "(?step=XX)")},
        {api_explain, "", "query=up[5m]&start=0&end=1&step=1", 400,
         BAD_BODY("invalid expression type \\\"range vector\\\" for range query, must be Scalar or instant Vector")},
        {api_explain, "", "query=up&format=pdf", 400,
         BAD_BODY("invalid parameter \\\"format\\\": allowed are json, text and dot")},
    };
    check_rows(rows, ARRAY_LENGTH(rows));
}

/* What the probe learnt and what flags say reaches the plan. */
static void explain_follows_upstream_and_flags(void **state)
{
    struct exchange exchange;
    ask(&exchange, api_explain, "/api/v1/explain", "", "query=up&time=1000&format=text");
    assert_int_equal(exchange.code, 200);
    assert_string_equal(exchange.type, "text/plain; charset=utf-8");
    assert_non_null(strstr(exchange.body, "windows closed"));
    assert_non_null(strstr(exchange.body, "lookback 2m"));
    done(&exchange);
    app.config.upstream_version = "3";
    app.config.query_lookback_ms = 60000;
    ask(&exchange, api_explain, "/api/v1/explain", "", "query=up&time=1000");
    assert_string_equal(exchange.type, "application/json");
    struct json_member data[] = {{.name = STR("data")}};
    struct json_member members[] = {{.name = STR("windows")}, {.name = STR("lookbackMs")}};
    assert_true(json_members(str_from(exchange.body), data, 1));
    assert_true(json_members(data[0].value, members, 2));
    assert_true(str_eq(members[0].value, STR("\"left-open\"")));
    assert_true(str_eq(members[1].value, STR("60000")));
    done(&exchange);
    ask(&exchange, api_explain, "/api/v1/explain", "", "query=up&time=1000&format=dot");
    assert_true(strncmp(exchange.body, "digraph", 7) == 0);
    done(&exchange);
}

static void status_pages(void **state)
{
    static const struct row rows[] = {
        {api_status_buildinfo, "", "", 200,
         OK_BODY("{\"version\":\"2.42.0+ds\",\"revision\":\"promsplit-" PROMSPLIT_VERSION
                 "\",\"branch\":\"\",\"buildUser\":\"\",\"buildDate\":\"\",\"goVersion\":\"\"}")},
        {api_status_tsdb, "", "limit=1", 200,
         OK_BODY(
             "{\"headStats\":{\"numSeries\":3,\"numLabelPairs\":4,\"chunkCount\":0,\"minTime\":1000,\"maxTime\":9000},"
             "\"seriesCountByMetricName\":[{\"name\":\"up\",\"value\":2}],"
             "\"labelValueCountByLabelName\":[{\"name\":\"__name__\",\"value\":2}],"
             "\"memoryInBytesByLabelName\":[{\"name\":\"__name__\",\"value\":18}],"
             "\"seriesCountByLabelValuePair\":[{\"name\":\"__name__=up\",\"value\":2}]}")},
        {api_status_tsdb, "", "limit=10001", 400, BAD_BODY("limit must not exceed 10000")},
        {api_status_tsdb, "", "limit=0", 400, BAD_BODY("limit must be a positive number")},
    };
    check_rows(rows, ARRAY_LENGTH(rows));
    facts.known = false;
    struct exchange exchange;
    ask(&exchange, api_status_buildinfo, "/", "", "");
    assert_non_null(strstr(exchange.body, "\"version\":\"3.5.0\""));
    done(&exchange);
    ask(&exchange, api_status_runtimeinfo, "/", "", "");
    assert_non_null(strstr(exchange.body, "{\"startTime\":\"2023-11-14T22:13:20Z\",\"CWD\":\"/"));
    assert_non_null(strstr(exchange.body, ",\"reloadConfigSuccess\":true,"));
    done(&exchange);
    ask(&exchange, api_status_flags, "/", "", "");
    assert_non_null(strstr(exchange.body, "\"query.timeout\":\"2m\""));
    done(&exchange);
    ask(&exchange, api_status_config, "/", "", "");
    assert_non_null(strstr(exchange.body, "{\"yaml\":\"web:\\n  listen-address: "));
    done(&exchange);
}

/* More pairs than the table begins with. */
static void many_label_values_are_counted(void **state)
{
    char job[32];
    for (int i = 0; i < 3000; i++) {
        snprintf(job, sizeof job, "job%04d", i);
        add_series("many", job, 1000);
    }
    struct exchange exchange;
    ask(&exchange, api_status_tsdb, "/", "", "limit=2");
    assert_non_null(strstr(exchange.body, "\"numSeries\":3003,\"numLabelPairs\":3005,"));
    assert_non_null(strstr(exchange.body, "\"seriesCountByMetricName\":[{\"name\":\"many\",\"value\":3000},"
                                          "{\"name\":\"up\",\"value\":2}]"));
    assert_non_null(strstr(exchange.body, "\"labelValueCountByLabelName\":[{\"name\":\"job\",\"value\":3002},"
                                          "{\"name\":\"__name__\",\"value\":3}]"));
    done(&exchange);
}

static void metrics_show_the_store(void **state)
{
    struct exchange exchange;
    ask(&exchange, api_metrics, "/metrics", "", "");
    assert_string_equal(exchange.type, "text/plain; version=0.0.4; charset=utf-8");
    assert_non_null(strstr(exchange.body, "\npromsplit_store_series 3\n"));
    assert_non_null(strstr(exchange.body, "\npromsplit_upstream_ready 1\n"));
    done(&exchange);
}

static void failures_of_the_store_are_answers(void **state)
{
    static const struct {
        enum fake_call call;
        void (*handle)(struct http_request *);
        const char *form;
    } rows[] = {
        {FAKE_LABEL_NAMES, api_labels, ""},      {FAKE_LABEL_VALUES, api_label_values, ""},
        {FAKE_SERIES, api_series, "match[]=up"}, {FAKE_METADATA, api_metadata, ""},
        {FAKE_CARDINALITY, api_status_tsdb, ""}, {FAKE_STATS, api_status_tsdb, ""},
    };
    for (size_t i = 0; i < ARRAY_LENGTH(rows); i++) {
        struct exchange exchange;
        fake_fail(app.backend, rows[i].call, 1, E_STORE);
        ask(&exchange, rows[i].handle, "/", "job", rows[i].form);
        assert_int_equal(exchange.code, 500);
        assert_non_null(strstr(exchange.body, "\"errorType\":\"internal\""));
        done(&exchange);
    }
}

static void the_page_can_be_switched_off(void **state)
{
    struct exchange exchange;
    ask(&exchange, api_page, "/", "", "");
    assert_int_equal(exchange.code, 200);
    assert_string_equal(exchange.type, "text/html; charset=utf-8");
    assert_true(strncmp(exchange.body, "<!doctype html>", 15) == 0);
    assert_null(strstr(exchange.body, "http://localhost")); /* nothing from elsewhere */
    assert_null(strstr(exchange.body, "https://"));
    done(&exchange);
    app.config.web_page = false;
    ask(&exchange, api_page, "/", "", "");
    assert_int_equal(exchange.code, 404);
    done(&exchange);
}

/* Nobody listens on port 1: the honest answer is that upstream cannot be asked. */
static void rules_without_upstream_are_an_error(void **state)
{
    struct upstream_options options = {.url = "http://127.0.0.1:1",
                                       .peer = "upstream",
                                       .connections_max = 1,
                                       .connect_timeout_ms = 1000,
                                       .answer_max_bytes = 1u << 20,
                                       .user_agent = "test"};
    assert_int_equal(upstream_new(&options, &app.upstream, NULL), OK);
    assert_int_equal(pool_new(&(struct pool_plan){"queries", 1, 10, false}, &app.pools[POOL_QUERIES], NULL), OK);
    struct exchange exchange;
    ask(&exchange, api_proxied, "/api/v1/rules", "", "type=alert&match[]=a b");
    assert_int_equal(exchange.code, 502);
    assert_non_null(strstr(exchange.body, "\"errorType\":\"unavailable\""));
    assert_non_null(strstr(exchange.body, "http://127.0.0.1:1"));
    upstream_free(app.upstream);
    pool_free(app.pools[POOL_QUERIES]);
    done(&exchange);
}

static void names_are_unescaped(void **state)
{
    static const struct {
        const char *escaped, *name;
    } rows[] = {
        {"job", "job"},
        {"U__", ""},
        {"U__a__b", "a_b"},
        {"U__my_2e_label", "my.label"},
        {"U__my_2E_label", "my.label"},
        {"U___e9_", "\xc3\xa9"},
        {"U___1f600_x", "\xf0\x9f\x98\x80x"},
        {"U____", "_"},
        {"U___", "U___"},                 /* ends in an escape */
        {"U__a_2e", "U__a_2e"},           /* not closed */
        {"U___g_", "U___g_"},             /* no digit */
        {"U___d800_", "U___d800_"},       /* half a surrogate */
        {"U___110000_", "U___110000_"},   /* above the last character */
        {"U___0000041_", "U___0000041_"}, /* too long */
        {"u__a_2e_", "u__a_2e_"},
    };
    struct arena arena;
    arena_init(&arena, 1u << 16);
    for (size_t i = 0; i < ARRAY_LENGTH(rows); i++) {
        struct str name = api_unescape_name(&arena, str_from(rows[i].escaped));
        if (!str_eq(name, str_from(rows[i].name)))
            fail_msg("%s: " STR_FORMAT, rows[i].escaped, STR_ARG(name));
    }
    arena_release(&arena);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(labels_and_series, set_up, tear_down),
        cmocka_unit_test_setup_teardown(admin, set_up, tear_down),
        cmocka_unit_test_setup_teardown(metadata, set_up, tear_down),
        cmocka_unit_test_setup_teardown(expressions, set_up, tear_down),
        cmocka_unit_test_setup_teardown(explain_follows_upstream_and_flags, set_up, tear_down),
        cmocka_unit_test_setup_teardown(status_pages, set_up, tear_down),
        cmocka_unit_test_setup_teardown(many_label_values_are_counted, set_up, tear_down),
        cmocka_unit_test_setup_teardown(metrics_show_the_store, set_up, tear_down),
        cmocka_unit_test_setup_teardown(failures_of_the_store_are_answers, set_up, tear_down),
        cmocka_unit_test_setup_teardown(the_page_can_be_switched_off, set_up, tear_down),
        cmocka_unit_test_setup_teardown(rules_without_upstream_are_an_error, set_up, tear_down),
        cmocka_unit_test(names_are_unescaped),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
