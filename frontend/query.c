/* frontend/query.c: see query.h for the states.
 *
 * No state but PLAN and FINISH holds a thread, and these do only work of their own; so the pool of queries may have one
 * worker and still carry any number of queries that wait for upstream.
 */
#include "frontend/query.h"

#include <stdlib.h>

#include "base/assert.h"
#include "base/float_text.h"
#include "frontend/api.h"
#include "frontend/probe.h"
#include "frontend/query_internal.h"

#define PUSHED_ERROR_PREFIX "promql: " /* docs/adding-a-backend.md */

struct queries {
    struct app *app;
    pthread_mutex_t lock;
    struct query *first, **last; /* waiting */
    size_t waiting, waiting_max;
    size_t inside, inside_max; /* planned, run, with upstream, or being answered */
    _Atomic int64_t running;   /* between request and answer: the gauge */
    _Atomic int64_t id_last;
};

enum status queries_new(struct app *app, struct queries **ret_queries, struct error *reterr)
{
    struct queries *queries = calloc(1, sizeof *queries);
    if (!queries)
        return error_set(reterr, E_NOMEM, "no memory for the list of queries");
    queries->app = app;
    queries->last = &queries->first;
    queries->waiting_max = (size_t)app->config.query_queue_max;
    queries->inside_max = (size_t)app->config.query_concurrency_max;
    pthread_mutex_init(&queries->lock, NULL);
    *ret_queries = queries;
    return OK;
}

void queries_free(struct queries *queries)
{
    if (!queries)
        return;
    PRE(queries->inside == 0 && !queries->first);
    pthread_mutex_destroy(&queries->lock);
    free(queries);
}

static void query_unref(struct query *query)
{
    if (atomic_fetch_sub(&query->references, 1) != 1)
        return;
    free(query->answer.body);
    cancel_release(&query->cancel);
    arena_release(&query->arena);
    free(query);
}

static void query_continue(struct query *query, void (*run)(void *arg))
{
    pool_continue(query->app->pools[POOL_QUERIES], run, query);
}

/* --- admission --- */

enum admission {
    ADMITTED,
    MUST_WAIT,
    REFUSED
};

static enum admission admit(struct queries *queries, struct query *query)
{
    enum admission admission = REFUSED;
    pthread_mutex_lock(&queries->lock);
    if (queries->inside < queries->inside_max) {
        queries->inside++;
        admission = ADMITTED;
    } else if (queries->waiting < queries->waiting_max) {
        queries->waiting++;
        query->waiting = true;
        *queries->last = query;
        queries->last = &query->next;
        admission = MUST_WAIT;
    }
    pthread_mutex_unlock(&queries->lock);
    return admission;
}

/* Under the lock. */
static void unlink_waiting(struct queries *queries, struct query *query)
{
    struct query **at = &queries->first;
    while (*at != query)
        at = &(*at)->next;
    *at = query->next;
    if (!*at)
        queries->last = at;
    query->waiting = false;
    queries->waiting--;
}

static void plan(void *arg);
static void finish(void *arg);

/* Gives the place of a query that ends to the one that waits longest. */
static void leave(struct queries *queries)
{
    pthread_mutex_lock(&queries->lock);
    struct query *next = queries->first;
    if (next)
        unlink_waiting(queries, next);
    else
        queries->inside--;
    pthread_mutex_unlock(&queries->lock);
    if (next)
        query_continue(next, plan);
}

/* --- the end --- */

static enum log_level query_log_level(const struct error *error, bool slow)
{
    if (!error)
        return slow ? LOG_INFO : LOG_DEBUG;
    return error->status == E_CANCELED ? LOG_INFO : error->status == E_BAD_DATA ? LOG_DEBUG : LOG_WARN;
}

static void log_query(const struct query *query, const struct error *error, int64_t took_ms)
{
    bool slow = took_ms >= QUERY_SLOW_MS;
    struct log_line line = log_begin(query->app->log, query_log_level(error, slow),
                                     error  ? "query failed"
                                     : slow ? "slow query"
                                            : "query");
    const struct str *text = http_param(query->request, "query");
    log_i64(&line, "query_id", query->id);
    log_str(&line, "query", text ? *text : STR(""));
    log_i64(&line, "took_ms", took_ms);
    log_i64(&line, "start_ms", query->params.start_ms);
    log_i64(&line, "end_ms", query->params.end_ms);
    log_i64(&line, "step_ms", query->params.range ? query->params.grid.step_ms : 0);
    log_i64(&line, "tasks", query->tasks_n);
    if (query->asked_upstream)
        log_str(&line, "residual", query->residual);
    if (error)
        log_error(&line, error);
    log_end(&line);
}

/* One line per task, so that a TaskID seen in upstream's log or in a remote read can be traced to what ran for it. */
static void log_tasks(const struct query *query)
{
    for (uint32_t i = 0; i < query->tasks_n && log_on(query->app->log, LOG_DEBUG); i++) {
        const struct fragment *fragment = &query->split.fragments[i];
        struct task_outcome outcome = task_outcome(query->tasks[i]);
        struct log_line line = log_begin(query->app->log, LOG_DEBUG, "task");
        log_i64(&line, "query_id", query->id);
        log_str(&line, "task_id", task_id(query->tasks[i]));
        log_str(&line, "kind", fragment->kind == FRAGMENT_GRID ? STR("grid") : STR("raw"));
        log_str(&line, "part", fragment->promql);
        if (fragment->kind == FRAGMENT_GRID)
            log_str(&line, "sql", outcome.by_run ? fragment->sql_by_run : fragment->sql);
        log_i64(&line, "rows", (int64_t)outcome.rows);
        log_i64(&line, "took_ms", outcome.took_ms);
        log_i64(&line, "reads", (int64_t)outcome.reads);
        if (outcome.failure.status != OK)
            log_error(&line, &outcome.failure);
        log_end(&line);
    }
}

static void end_tasks(struct query *query)
{
    log_tasks(query);
    for (uint32_t i = 0; i < query->tasks_n; i++)
        task_end(query->tasks[i]);
    query->tasks_n = 0;
}

/* Everything a query holds is given back before the client hears of its end; then the request is gone. */
static void end(struct query *query, struct strbuf *body, const struct error *error, bool inside)
{
    struct app *app = query->app;
    struct http_request *request = query->request;
    int64_t took_ms = monotonic_ms() - query->begun_ms;
    log_query(query, error, took_ms);
    cancel_clear_hook(&request->cancel, &query->left);
    cancel_fire(&query->cancel, E_CANCELED); /* what still runs or reads for it is wanted no longer */
    end_tasks(query);
    query->request = NULL;
    if (inside)
        leave(app->queries);
    metric_add(app->metrics, METRIC_ID_queries, error ? status_api_type(error->status) : "ok", 1);
    metric_set(app->metrics, METRIC_ID_queries_running, atomic_fetch_sub(&app->queries->running, 1) - 1);
    metric_observe_ms(app->metrics, METRIC_ID_query_seconds, (double)took_ms);
    if (error)
        http_respond_error(request, error);
    else
        http_respond(request, 200, "application/json", body);
    query_unref(query);
}

static void end_with(struct query *query, const struct error *error)
{
    end(query, NULL, error, true);
}

/* --- the client leaves, the deadline passes --- */

/* On POOL_QUERIES, once: only the states that wait for nobody who hears of the cancel need help. */
static void interrupted(void *arg)
{
    struct query *query = arg;
    struct queries *queries = query->app->queries;
    pthread_mutex_lock(&queries->lock);
    bool waited = query->waiting, settled = query->settling, learning = query->learning;
    if (waited)
        unlink_waiting(queries, query);
    query->settling = false;
    query->learning = false;
    pthread_mutex_unlock(&queries->lock);
    if (waited) {
        struct error error;
        enum status status = cancel_check(&query->cancel, NULL);
        error_set(&error, status, "query %s in query queue", status == E_TIMEOUT ? "timed out" : "was canceled");
        end(query, NULL, &error, false);
    } else if (settled) {
        finish(query);
    } else if (learning) {
        plan(query); /* which finds that it was stopped */
    }
    query_unref(query);
}

/* The hook on the request's cancel; may be called twice. */
static void hand_on(void *arg)
{
    struct query *query = arg;
    if (atomic_exchange(&query->interrupted, true))
        return;
    cancel_fire(&query->cancel, (enum status)atomic_load(&query->request->cancel.status));
    atomic_fetch_add(&query->references, 1);
    query_continue(query, interrupted);
}

/* --- PLAN --- */

static void released(void *arg)
{
    query_unref(arg);
}

static void direct_done(void *arg)
{
    query_continue(arg, finish);
}

static enum status register_tasks(struct query *query, struct error *reterr)
{
    const struct split *split = &query->split;
    query->tasks = ARENA_ARRAY(&query->arena, struct task *, split->fragments_n ? split->fragments_n : 1);
    if (!query->tasks)
        return error_set(reterr, E_NOMEM, "no memory for %u tasks", split->fragments_n);
    struct task_owner owner = {
        .cancel = &query->cancel, .done = split->direct ? direct_done : NULL, .released = released, .arg = query};
    for (uint32_t i = 0; i < split->fragments_n; i++) {
        atomic_fetch_add(&query->references, 1);
        enum status status = task_register(query->app->tasks, &split->fragments[i], &owner, &query->tasks[i], reterr);
        if (status != OK) {
            query_unref(query);
            return status;
        }
        query->tasks_n++;
    }
    return OK;
}

/* On the probe's thread: upstream was asked, whatever came of it. */
static void heard(void *arg)
{
    struct query *query = arg;
    struct queries *queries = query->app->queries;
    pthread_mutex_lock(&queries->lock);
    bool go_on = query->learning;
    query->learning = false;
    pthread_mutex_unlock(&queries->lock);
    if (go_on)
        query_continue(query, plan);
    query_unref(query);
}

/* Without any word of upstream's version the windows' edges are unknown, and a guess would be a wrong answer: such a
 * query waits until upstream was asked, once and not longer than its deadline. True: someone will call plan again. */
static bool must_learn(struct query *query)
{
    struct app *app = query->app;
    if (!app->probe || app->config.upstream_version[0] || query->has_waited || probe_facts(app->probe).known)
        return false;
    struct queries *queries = app->queries;
    query->has_waited = true;
    query->wait = (struct probe_wait){.heard = heard, .arg = query};
    atomic_fetch_add(&query->references, 1); /* the wait's; a cancel may end the query before it begins */
    pthread_mutex_lock(&queries->lock);
    query->learning = cancel_check(&query->cancel, NULL) == OK;
    bool patient = query->learning;
    pthread_mutex_unlock(&queries->lock);
    if (!patient) {
        query_unref(query);
        return false;
    }
    probe_await(app->probe, &query->wait);
    return true;
}

static enum status plan_options(struct query *query, struct plan_options *ret_options, struct error *reterr)
{
    struct app *app = query->app;
    struct upstream_facts facts = {0};
    if (app->probe)
        facts = probe_facts(app->probe);
    if (!facts.known && !app->config.upstream_version[0])
        return error_set(reterr, E_UPSTREAM,
                         "upstream %s has not told its version yet, which decides how windows end (%s); make it "
                         "reachable, or start promsplit with --upstream.version=2 or --upstream.version=3, the first "
                         "number of its version",
                         upstream_url(app->upstream), facts.reason);
    enum status status = api_plan_options(&app->config, &facts, app->backend->ops->capabilities, ret_options, reterr);
    if (status != OK)
        return status;
    query->store = (struct plan_store){app->backend, &query->cancel};
    api_plan_for_store(&query->store, ret_options);
    ret_options->bounds = (struct time_span){query->params.start_ms, query->params.end_ms};
    if (query->params.lookback_ms > 0)
        ret_options->lookback_ms = query->params.lookback_ms;
    if (query->plain)
        ret_options->push = PUSH_NONE;
    ret_options->remarks_apart = query->remarks_apart;
    return OK;
}

static struct str id_of(uint32_t index, void *arg)
{
    const struct query *query = arg;
    return task_id(query->tasks[index]);
}

static enum status print_residual(struct query *query, struct error *reterr)
{
    struct strbuf text;
    strbuf_init(&text, QUERY_TEXT_MAX);
    split_print_residual(&text, &query->split, id_of, query);
    enum status status = strbuf_status(&text, "the residual expression", reterr);
    if (status == OK)
        query->residual = arena_str(&query->arena, strbuf_view(&text));
    strbuf_release(&text);
    if (status == OK && !query->residual.ptr)
        status = error_set(reterr, E_NOMEM, "no memory for the residual expression");
    return status;
}

static void add_time(struct strbuf *form, const char *name, int64_t time_ms)
{
    char text[32];
    form_add(form, name, (struct str){text, time_text_json(text, time_ms)});
}

static void add_duration(struct strbuf *form, const char *name, int64_t ms)
{
    struct strbuf text;
    strbuf_init(&text, 32);
    strbuf_i64(&text, ms);
    strbuf_cstr(&text, "ms");
    form_add(form, name, strbuf_view(&text));
    strbuf_release(&text);
}

static void write_form(struct query *query, struct strbuf *form)
{
    const struct query_params *params = &query->params;
    int64_t lookback_ms = params->lookback_ms > 0 ? params->lookback_ms : query->app->config.query_lookback_ms;
    int64_t left_ms = query->cancel.deadline_ms - monotonic_ms();
    form_add(form, "query", query->residual);
    if (params->range) {
        add_time(form, "start", params->start_ms);
        add_time(form, "end", params->end_ms);
        add_duration(form, "step", params->grid.step_ms);
    } else {
        add_time(form, "time", params->start_ms);
    }
    add_duration(form, "timeout", left_ms > 0 ? left_ms : 1);
    if (lookback_ms > 0)
        add_duration(form, "lookback_delta", lookback_ms);
    if (params->stats.len)
        form_add(form, "stats", params->stats);
}

/* On the client's thread: quick. */
static void answered(void *arg, struct upstream_answer *answer)
{
    struct query *query = arg;
    query->answer = *answer;
    metric_add(query->app->metrics, METRIC_ID_upstream_requests,
               answer->status == OK           ? "ok"
               : answer->status == E_TIMEOUT  ? "timeout"
               : answer->status == E_CANCELED ? "canceled"
                                              : "error",
               1);
    query_continue(query, finish);
}

static enum status send_upstream(struct query *query, struct error *reterr)
{
    struct strbuf form;
    strbuf_init(&form, 3 * QUERY_TEXT_MAX);
    write_form(query, &form);
    enum status status = strbuf_status(&form, "the request to upstream", reterr);
    struct upstream_request request = {.method = "POST",
                                       .path = query->params.range ? "/api/v1/query_range" : "/api/v1/query",
                                       .body = strbuf_view(&form),
                                       .deadline_ms = query->cancel.deadline_ms,
                                       .cancel = &query->cancel,
                                       .done = answered,
                                       .arg = query};
    query->asked_upstream = true; /* before: the answer may come at once */
    if (status == OK)
        status = upstream_send(query->app->upstream, &request, reterr);
    strbuf_release(&form);
    return status;
}

static enum status make_plan(struct query *query, struct error *reterr)
{
    struct plan_options options;
    enum status status = cancel_check(&query->cancel, reterr);
    if (status == OK)
        status = plan_options(query, &options, reterr);
    if (status != OK)
        return status;
    status = split_query(&query->arena, &query->text, query->params.grid, &options, &query->split, reterr);
    if (status == E_BAD_DATA)
        error_prefix(reterr, "invalid parameter \"query\": ");
    if (status == OK)
        status = register_tasks(query, reterr);
    if (status == OK && !query->split.direct)
        status = print_residual(query, reterr);
    return status;
}

/* On POOL_QUERIES, with a place. */
static void plan(void *arg)
{
    struct query *query = arg;
    struct error error;
    if (must_learn(query))
        return;
    if (make_plan(query, &error) != OK) {
        end_with(query, &error);
        return;
    }
    const struct split *split = &query->split;
    bool direct = split->direct;
    bool eager = direct || strcmp(query->app->config.task_dispatch, "eager") == 0;
    /* The query may end on another worker as soon as its answer is on its way; this one needs it a little longer. */
    atomic_fetch_add(&query->references, 1);
    for (uint32_t i = 0; i < split->fragments_n && eager && !direct; i++)
        task_start(query->tasks[i]);
    if (direct)
        task_start(query->tasks[0]);
    else if (send_upstream(query, &error) != OK)
        end_with(query, &error);
    query_unref(query);
}

/* --- FINISH --- */

static void settled(void *arg)
{
    struct query *query = arg;
    struct queries *queries = query->app->queries;
    pthread_mutex_lock(&queries->lock);
    bool go_on = query->settling;
    query->settling = false;
    pthread_mutex_unlock(&queries->lock);
    if (go_on)
        query_continue(query, finish);
}

/* Upstream's answer may overtake the news that the last byte of a read has left: wait for it, holding no thread. True:
 * someone will call finish again. */
static bool must_settle(struct query *query)
{
    struct queries *queries = query->app->queries;
    for (uint32_t i = 0; i < query->tasks_n && !query->split.direct; i++) {
        pthread_mutex_lock(&queries->lock);
        query->settling = cancel_check(&query->cancel, NULL) == OK;
        bool patient = query->settling;
        pthread_mutex_unlock(&queries->lock);
        if (!patient)
            return false;
        if (task_is_sending(query->tasks[i], settled, query))
            return true;
        pthread_mutex_lock(&queries->lock);
        bool taken = !query->settling; /* the cancel came in between and finishes the query */
        query->settling = false;
        pthread_mutex_unlock(&queries->lock);
        if (taken)
            return true;
    }
    return false;
}

/* A pushed part says by its text that PromQL forbids what it met: two elements with the same labels, several matches.
 */
static bool is_of_promql(const struct error *error)
{
    return error->status == E_EXECUTION &&
           strncmp(error->message, PUSHED_ERROR_PREFIX, sizeof PUSHED_ERROR_PREFIX - 1) == 0;
}

/* What is pushed even so when the query is asked plainly (info()) is left to its own words. */
static void end_failed(struct query *query, struct error *error)
{
    if (is_of_promql(error))
        memmove(error->message, error->message + sizeof PUSHED_ERROR_PREFIX - 1,
                sizeof error->message - (sizeof PUSHED_ERROR_PREFIX - 1));
    end_with(query, error);
}

/* The same query once more, with less pushed. Its tasks' memory stays in the arena until its end. */
static void plan_again(struct query *query)
{
    end_tasks(query);
    free(query->answer.body);
    query->answer = (struct upstream_answer){.body = NULL};
    query->asked_upstream = false;
    plan(query);
}

/* On POOL_QUERIES: the direct task or upstream has answered. */
static void finish(void *arg)
{
    struct query *query = arg;
    if (must_settle(query))
        return;
    struct strbuf body;
    struct error error;
    strbuf_init(&body, QUERY_ANSWER_MAX);
    enum status status = query_judge(query, &body, &error);
    bool remark_open = status == OK && query_leaves_remark_open(query);
    /* Only Prometheus words what it forbids, and only it knows whether it would have come so far. */
    bool forbidden = status != OK && is_of_promql(&error) && !query->plain;
    query->plain |= forbidden;
    query->remarks_apart |= remark_open;
    if (status == OK && !remark_open && query->split.direct)
        metric_add(query->app->metrics, METRIC_ID_queries_direct, NULL, 1);
    if (remark_open || forbidden)
        plan_again(query);
    else if (status == OK)
        end(query, &body, NULL, true);
    else
        end_failed(query, &error);
    strbuf_release(&body);
}

/* --- the request --- */

static struct query *query_new(struct http_request *request, bool range)
{
    struct query *query = calloc(1, sizeof *query);
    if (!query)
        return NULL;
    struct app *app = request->app;
    query->app = app;
    query->request = request;
    query->params.range = range;
    query->begun_ms = request->received_ms;
    query->id = atomic_fetch_add(&app->queries->id_last, 1) + 1;
    query->left = (struct cancel_hook){.interrupt = hand_on, .arg = query};
    atomic_init(&query->references, 1);
    arena_init(&query->arena, QUERY_ARENA_MAX);
    return query;
}

static void refuse(struct query *query)
{
    struct error error;
    error_set(&error, E_UNAVAILABLE,
              "too many queries: %lld run and %lld wait, which --query.max-concurrency and "
              "--query.max-queue allow",
              (long long)query->app->config.query_concurrency_max, (long long)query->app->config.query_queue_max);
    end(query, NULL, &error, false);
}

static void begin(struct http_request *request, bool range)
{
    struct query *query = query_new(request, range);
    if (!query) {
        http_respond_error(request, &(struct error){.status = E_NOMEM, .message = "no memory for a query"});
        return;
    }
    struct queries *queries = query->app->queries;
    struct error error;
    metric_set(query->app->metrics, METRIC_ID_queries_running, atomic_fetch_add(&queries->running, 1) + 1);
    enum status status = query_read_params(query, &error);
    int64_t deadline_ms = request->received_ms + query->params.timeout_ms;
    cancel_init(&query->cancel, deadline_ms);
    if (status == OK)
        http_set_deadline(request, deadline_ms);
    cancel_set_hook(&request->cancel, &query->left);
    if (status != OK) {
        end(query, NULL, &error, false);
        return;
    }
    /* A reference, for once it waits the query may end on another worker. */
    atomic_fetch_add(&query->references, 1);
    enum admission admission = admit(queries, query);
    if (admission == ADMITTED)
        plan(query);
    else if (admission == REFUSED)
        refuse(query);
    query_unref(query);
}

void api_query(struct http_request *request)
{
    begin(request, false);
}

void api_query_range(struct http_request *request)
{
    begin(request, true);
}
