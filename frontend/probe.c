/* frontend/probe.c: see probe.h.
 *
 * One thread asks upstream in turn. It may wait, for it belongs to no pool; its callback is answered like any other.
 * While upstream is not ready it is asked every second, so that a start-up in any order becomes ready soon.
 */
#include "frontend/probe.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/random.h>
#include <time.h>

#include "base/assert.h"
#include "base/float_text.h"
#include "frontend/app.h"
#include "frontend/json.h"
#include "frontend/probe_config.h"
#include "frontend/tasks.h"
#include "promql/parse.h"

#define ASK_TIMEOUT_MS   10000
#define RETRY_MS         1000
#define FIRST_MS         100 /* the server that is to answer the callback is just starting */
#define TEXT_MAX         ((size_t)16 << 20)
#define LOOKBACK_TEXT    "query.lookback-delta"
#define PROBE_ARENA_MAX  4096
#define EVALUATION_UNSET 60000
#define AHEAD_MS         (INT64_C(10) * 366 * 24 * 3600 * 1000) /* longer than any block of upstream: see probe.h */

struct probe {
    struct app *app;
    pthread_t thread;
    pthread_mutex_t lock; /* guards facts, waits, asked, ending */
    pthread_cond_t wake;
    struct upstream_facts facts;
    struct probe_wait *waits;
    bool asked, ending;
    struct cancel cancel; /* fired at the end */
    char advice[384];     /* the thread's own */
};

/* --- asking --- */

static void count_request(struct app *app, enum status status)
{
    metric_add(app->metrics, METRIC_ID_upstream_requests,
               status == OK           ? "ok"
               : status == E_TIMEOUT  ? "timeout"
               : status == E_CANCELED ? "canceled"
                                      : "error",
               1);
}

/* Calls upstream; the raw text of the answer's "data" is in *ret_data, a view into ret_answer's body. */
static enum status ask(struct probe *probe, const char *path, struct str form, struct upstream_answer *ret_answer,
                       struct str *ret_data, struct error *reterr)
{
    struct upstream_request request = {.method = form.len ? "POST" : "GET",
                                       .path = path,
                                       .body = form,
                                       .deadline_ms = monotonic_ms() + ASK_TIMEOUT_MS,
                                       .cancel = &probe->cancel};
    upstream_call(probe->app->upstream, &request, ret_answer);
    count_request(probe->app, ret_answer->status);
    if (ret_answer->status != OK) {
        *reterr = ret_answer->error;
        return ret_answer->status;
    }
    struct json_member members[] = {{.name = STR("status")}, {.name = STR("data")}};
    struct str body = {ret_answer->body, ret_answer->body_len};
    if (ret_answer->http_code != 200 || !json_members(body, members, ARRAY_LENGTH(members)) ||
        !str_eq(members[0].value, STR("\"success\"")) || !members[1].value.ptr)
        return error_set(reterr, E_UPSTREAM, "upstream answered HTTP %d to %s", ret_answer->http_code, path);
    *ret_data = members[1].value;
    return OK;
}

/* One text member of the "data" of a status endpoint, appended to out. */
static enum status ask_member(struct probe *probe, const char *path, struct str name, struct strbuf *out,
                              struct error *reterr)
{
    struct upstream_answer answer = {0};
    struct str data;
    enum status status = ask(probe, path, STR(""), &answer, &data, reterr);
    struct json_member member = {.name = name};
    if (status == OK && (!json_members(data, &member, 1) || !json_text(out, member.value)))
        status =
            error_set(reterr, E_UPSTREAM, "upstream's answer to %s has no \"" STR_FORMAT "\"", path, STR_ARG(name));
    free(answer.body);
    return status;
}

static enum window_rule rule_of(const char *version)
{
    return strtol(version, NULL, 10) >= 3 ? WINDOW_LEFT_OPEN : WINDOW_CLOSED;
}

/* Fills the facts that upstream tells about itself. */
static enum status learn(struct probe *probe, struct upstream_facts *facts, struct error *reterr)
{
    struct strbuf version, lookback, yaml;
    strbuf_init(&version, sizeof facts->version - 1);
    strbuf_init(&lookback, 64);
    strbuf_init(&yaml, TEXT_MAX);
    struct upstream_config config;
    int64_t lookback_ms = 0;
    enum status status = ask_member(probe, "/api/v1/status/buildinfo", STR("version"), &version, reterr);
    if (status == OK)
        status = ask_member(probe, "/api/v1/status/flags", STR(LOOKBACK_TEXT), &lookback, reterr);
    if (status == OK)
        status = ask_member(probe, "/api/v1/status/config", STR("yaml"), &yaml, reterr);
    if (status == OK && !promql_parse_duration(strbuf_view(&lookback), &lookback_ms))
        status = error_set(reterr, E_UPSTREAM, "upstream's flag " LOOKBACK_TEXT " is no duration");
    if (status == OK) {
        upstream_config_read(strbuf_view(&yaml), &config);
        snprintf(facts->version, sizeof facts->version, STR_FORMAT, STR_ARG(strbuf_view(&version)));
        facts->rule = rule_of(facts->version);
        facts->lookback_ms = lookback_ms;
        facts->evaluation_interval_ms = config.evaluation_interval_ms;
        facts->known = true;
        memcpy(probe->advice, config.advice, sizeof probe->advice);
    }
    strbuf_release(&version);
    strbuf_release(&lookback);
    strbuf_release(&yaml);
    return status;
}

/* --- the probe task --- */

static struct grid_result *fixed_result(int64_t time_ms, double value)
{
    struct grid_result *result = calloc(1, sizeof *result);
    if (!result)
        return NULL;
    arena_init(&result->arena, PROBE_ARENA_MAX);
    result->grid = grid_instant(time_ms);
    result->series = ARENA_NEW(&result->arena, struct grid_series);
    double *values = ARENA_NEW(&result->arena, double);
    uint64_t *present = ARENA_NEW(&result->arena, uint64_t);
    if (result->arena.exhausted) {
        grid_result_free(result);
        return NULL;
    }
    *values = value;
    *present = 1;
    *result->series = (struct grid_series){.values = values, .present = present};
    result->series_n = 1;
    result->values_n = 1;
    return result;
}

static void write_form(struct strbuf *form, const struct task *task, int64_t time_ms)
{
    struct strbuf query;
    char time[32];
    strbuf_init(&query, 256);
    strbuf_f(&query, "{__task_id__=\"" STR_FORMAT "\",__task_kind__=\"fragment\"}", STR_ARG(task_id(task)));
    form_add(form, "query", strbuf_view(&query));
    form_add(form, "time", (struct str){time, time_text_json(time, time_ms)});
    strbuf_release(&query);
}

/* What is wrong, from what became of the task and what upstream's configuration says. */
static enum status explain_unread(struct probe *probe, const struct task_outcome *outcome, struct error *reterr)
{
    if (outcome->failure.status != OK) {
        *reterr = outcome->failure;
        return reterr->status;
    }
    if (probe->advice[0])
        return error_set(reterr, E_UPSTREAM, "%s", probe->advice);
    if (outcome->reads)
        return error_set(reterr, E_UPSTREAM, "upstream read the probe task back and still answered something else");
    return error_set(reterr, E_UPSTREAM,
                     "upstream did not read the probe task back: the url of its remote_read section must lead to this "
                     "server's /api/v1/read");
}

/* One query whose only selector is the probe task; OK when its value came back. */
static enum status read_back(struct probe *probe, struct error *reterr)
{
    uint32_t number = 0;
    if (getrandom(&number, sizeof number, 0) != (ssize_t)sizeof number)
        return error_set(reterr, E_INTERNAL, "the system gave no random numbers");
    int64_t time_ms = wall_clock_ms() + AHEAD_MS;
    struct grid_result *result = fixed_result(time_ms, number);
    struct task_owner owner = {0};
    struct task *task = NULL;
    if (!result)
        return error_set(reterr, E_NOMEM, "no memory for the probe task");
    enum status status = task_register_result(probe->app->tasks, result, &owner, &task, reterr);
    if (status != OK) {
        grid_result_free(result);
        return status;
    }
    struct strbuf form;
    strbuf_init(&form, 1024);
    write_form(&form, task, time_ms);
    struct upstream_answer answer = {0};
    struct str data = {0};
    char wanted[32];
    int wanted_len = snprintf(wanted, sizeof wanted, "\"%u\"", number);
    status = ask(probe, "/api/v1/query", strbuf_view(&form), &answer, &data, reterr);
    struct task_outcome outcome = task_outcome(task);
    if (status == OK && !memmem(data.ptr, data.len, wanted, (size_t)wanted_len))
        status = explain_unread(probe, &outcome, reterr);
    task_end(task);
    strbuf_release(&form);
    free(answer.body);
    return status;
}

/* --- the loop --- */

static void publish(struct probe *probe, const struct upstream_facts *facts)
{
    struct app *app = probe->app;
    pthread_mutex_lock(&probe->lock);
    bool changed = probe->facts.ready != facts->ready || strcmp(probe->facts.reason, facts->reason) != 0;
    probe->facts = *facts;
    pthread_mutex_unlock(&probe->lock);
    metric_set(app->metrics, METRIC_ID_upstream_ready, facts->ready);
    if (!changed)
        return;
    struct log_line line = log_begin(app->log, facts->ready ? LOG_INFO : LOG_WARN,
                                     facts->ready ? "upstream reads back from here" : "upstream is not ready");
    log_str(&line, "version", str_from(facts->version));
    if (!facts->ready)
        log_str(&line, "reason", str_from(facts->reason));
    log_end(&line);
}

/* Calls those who wait for any word of upstream. */
static void release_waits(struct probe *probe)
{
    pthread_mutex_lock(&probe->lock);
    struct probe_wait *wait = probe->waits;
    probe->waits = NULL;
    pthread_mutex_unlock(&probe->lock);
    while (wait) {
        struct probe_wait *next = wait->next; /* it may be gone once called */
        wait->heard(wait->arg);
        wait = next;
    }
}

/* What upstream told is of use before it is proved that it reads back: queries wait for its version. */
static void publish_learned(struct probe *probe, const struct upstream_facts *facts)
{
    pthread_mutex_lock(&probe->lock);
    probe->facts = *facts;
    pthread_mutex_unlock(&probe->lock);
    release_waits(probe);
}

static void probe_once(struct probe *probe)
{
    struct upstream_facts facts = probe_facts(probe); /* what was known stays known while upstream is away */
    struct error error = {.message = ""};
    enum status status = learn(probe, &facts, &error);
    if (status == OK) {
        publish_learned(probe, &facts);
        status = read_back(probe, &error);
    }
    facts.ready = status == OK;
    snprintf(facts.reason, sizeof facts.reason, "%.*s", (int)sizeof facts.reason - 1, error.message);
    if (cancel_check(&probe->cancel, NULL) == OK)
        publish(probe, &facts);
    release_waits(probe);
}

static void *loop(void *arg)
{
    struct probe *probe = arg;
    int64_t wait_ms = FIRST_MS;
    pthread_mutex_lock(&probe->lock);
    for (;;) {
        int64_t until_ms = monotonic_ms() + wait_ms;
        int64_t soon_ms = monotonic_ms() + (wait_ms < RETRY_MS ? wait_ms : RETRY_MS);
        while (!probe->ending && monotonic_ms() < (probe->asked ? soon_ms : until_ms)) {
            int64_t at_ms = probe->asked ? soon_ms : until_ms;
            struct timespec until = {.tv_sec = at_ms / 1000, .tv_nsec = at_ms % 1000 * 1000000};
            pthread_cond_timedwait(&probe->wake, &probe->lock, &until);
        }
        if (probe->ending)
            break;
        probe->asked = false;
        pthread_mutex_unlock(&probe->lock);
        probe_once(probe);
        pthread_mutex_lock(&probe->lock);
        int64_t interval_ms = probe->app->config.upstream_probe_interval_ms;
        wait_ms = probe->facts.ready || interval_ms < RETRY_MS ? interval_ms : RETRY_MS;
    }
    pthread_mutex_unlock(&probe->lock);
    return NULL;
}

static void release(struct probe *probe)
{
    cancel_release(&probe->cancel);
    pthread_cond_destroy(&probe->wake);
    pthread_mutex_destroy(&probe->lock);
    free(probe);
}

enum status probe_new(struct app *app, struct probe **ret_probe, struct error *reterr)
{
    struct probe *probe = calloc(1, sizeof *probe);
    if (!probe)
        return error_set(reterr, E_NOMEM, "no memory for the probe of upstream");
    probe->app = app;
    snprintf(probe->facts.reason, sizeof probe->facts.reason, "upstream was not asked yet");
    probe->facts.evaluation_interval_ms = EVALUATION_UNSET;
    cancel_init(&probe->cancel, INT64_MAX);
    pthread_mutex_init(&probe->lock, NULL);
    pthread_condattr_t clock;
    pthread_condattr_init(&clock);
    pthread_condattr_setclock(&clock, CLOCK_MONOTONIC);
    pthread_cond_init(&probe->wake, &clock);
    pthread_condattr_destroy(&clock);
    if (pthread_create(&probe->thread, NULL, loop, probe) != 0) {
        release(probe);
        return error_set(reterr, E_NOMEM, "cannot start the thread that probes upstream");
    }
    pthread_setname_np(probe->thread, "probe");
    *ret_probe = probe;
    return OK;
}

void probe_free(struct probe *probe)
{
    if (!probe)
        return;
    pthread_mutex_lock(&probe->lock);
    probe->ending = true;
    pthread_cond_signal(&probe->wake);
    pthread_mutex_unlock(&probe->lock);
    cancel_fire(&probe->cancel, E_CANCELED);
    pthread_join(probe->thread, NULL);
    release_waits(probe);
    release(probe);
}

struct upstream_facts probe_facts(struct probe *probe)
{
    pthread_mutex_lock(&probe->lock);
    struct upstream_facts facts = probe->facts;
    pthread_mutex_unlock(&probe->lock);
    return facts;
}

void probe_now(struct probe *probe)
{
    pthread_mutex_lock(&probe->lock);
    probe->asked = true;
    pthread_cond_signal(&probe->wake);
    pthread_mutex_unlock(&probe->lock);
}

void probe_await(struct probe *probe, struct probe_wait *wait)
{
    pthread_mutex_lock(&probe->lock);
    wait->next = probe->waits;
    probe->waits = wait;
    probe->asked = true;
    pthread_cond_signal(&probe->wake);
    pthread_mutex_unlock(&probe->lock);
}

/* --- the handlers --- */

void api_ready(struct http_request *request)
{
    struct upstream_facts facts = probe_facts(request->app->probe);
    if (facts.ready)
        http_respond_text(request, 200, "promsplit is Ready.\n");
    else
        http_respond_text(request, 503, "promsplit is not ready: %s\n", facts.reason);
}

void api_healthy(struct http_request *request)
{
    http_respond_text(request, 200, "promsplit is Healthy.\n");
}
