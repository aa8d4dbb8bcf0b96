/* frontend/api_misc.c: about expressions (format, parse, explain), metadata, what upstream alone knows, the page. */
#include <stdlib.h>
#include <string.h>

#include "backend/metric_type.h"
#include "base/assert.h"
#include "frontend/api.h"
#include "frontend/app.h"
#include "frontend/json.h"
#include "frontend/probe.h"
#include "frontend/ui_page.h"
#include "planner/explain.h"
#include "promql/print.h"

/* --- expressions --- */

void api_format_query(struct http_request *request)
{
    struct query_text query;
    struct error error = {0};
    if (api_expression(request, &query, &error) != OK) {
        http_respond_error(request, &error);
        return;
    }
    struct strbuf out, text;
    strbuf_init(&text, 16u << 20);
    promql_prettify(&text, query.root);
    enum status status = strbuf_status(&text, "formatted query", &error);
    api_answer_begin(&out);
    strbuf_json(&out, strbuf_view(&text));
    strbuf_release(&text);
    if (status == OK) {
        api_answer_end(request, &out, false);
        return;
    }
    strbuf_release(&out);
    http_respond_error(request, &error);
}

void api_parse_query(struct http_request *request)
{
    struct query_text query;
    struct error error = {0};
    if (api_expression(request, &query, &error) != OK) {
        http_respond_error(request, &error);
        return;
    }
    struct strbuf out;
    api_answer_begin(&out);
    promql_print_json(&out, query.root);
    api_answer_end(request, &out, false);
}

/* --- explain --- */

/* As the query would be asked. *ret_range_ms is end - start; the grid may end earlier, on its phase. */
static enum status explain_grid(const struct http_request *request, struct grid *ret_grid, bool *ret_range,
                                int64_t *ret_range_ms, struct error *reterr)
{
    int64_t time_ms;
    *ret_range_ms = 0;
    *ret_range = http_param(request, "start") || http_param(request, "end") || http_param(request, "step");
    enum status status = *ret_range ? api_range(request, ret_grid, reterr)
                                    : api_time(request, "time", wall_clock_ms(), &time_ms, reterr);
    if (status != OK)
        return status;
    if (!*ret_range)
        *ret_grid = grid_instant(time_ms);
    else if ((status = api_time(request, "end", 0, &time_ms, reterr)) == OK)
        *ret_range_ms = time_ms - ret_grid->start_ms;
    return status;
}

static enum status explain_format(const struct http_request *request, enum explain_format *ret_format,
                                  struct error *reterr)
{
    const struct str *format = http_param(request, "format");
    *ret_format = EXPLAIN_JSON;
    if (!format || str_eq(*format, STR("json")))
        return OK;
    *ret_format = str_eq(*format, STR("dot")) ? EXPLAIN_DOT : EXPLAIN_TEXT;
    if (*ret_format == EXPLAIN_DOT || str_eq(*format, STR("text")))
        return OK;
    return error_set(reterr, E_BAD_DATA, "invalid parameter \"format\": allowed are json, text and dot");
}

/* With analyze=true, what each fragment would look at; else *ret_scans is NULL. */
static enum status explain_scans(struct http_request *request, const struct split *split,
                                 const struct scan_figures **ret_scans, struct error *reterr)
{
    struct backend *backend = request->app->backend;
    const struct str *analyze = http_param(request, "analyze");
    *ret_scans = NULL;
    if (!analyze || str_eq(*analyze, STR("false")))
        return OK;
    if (!str_eq(*analyze, STR("true")))
        return error_set(reterr, E_BAD_DATA, "invalid parameter \"analyze\": allowed are true and false");
    struct scan_figures *scans = ARENA_ARRAY(&request->arena, struct scan_figures, split->fragments_n + 1);
    if (!scans)
        return error_set(reterr, E_NOMEM, "no memory to explain a query");
    enum status status = OK;
    for (uint32_t i = 0; status == OK && i < split->fragments_n; i++) {
        scans[i] = (struct scan_figures){.selectors_n = 0};
        if (split->fragments[i].kind == FRAGMENT_GRID)
            status = backend->ops->scan(backend, &split->fragments[i], &request->cancel, &scans[i], reterr);
    }
    *ret_scans = scans;
    return status;
}

static void respond_explained(struct http_request *request, const struct split *split,
                              const struct plan_options *options, const struct scan_figures *scans,
                              enum explain_format format)
{
    struct strbuf out;
    if (format == EXPLAIN_JSON) {
        api_answer_begin(&out);
        explain_split(&out, split, options, scans, format);
        api_answer_end(request, &out, false);
        return;
    }
    struct error error = {0};
    strbuf_init(&out, 64u << 20);
    explain_split(&out, split, options, scans, format);
    if (strbuf_status(&out, "explanation", &error) == OK)
        http_respond(request, 200,
                     format == EXPLAIN_DOT ? "text/vnd.graphviz; charset=utf-8" : "text/plain; charset=utf-8", &out);
    else
        http_respond_error(request, &error);
    strbuf_release(&out);
}

/* query, then start, end, step or time, as the query would be asked; format=json|text|dot; analyze=true. No fragment is
 * run. */
void api_explain(struct http_request *request)
{
    struct app *app = request->app;
    struct upstream_facts facts = probe_facts(app->probe);
    struct plan_store store = {app->backend, &request->cancel};
    struct plan_options options;
    enum explain_format format;
    struct query_text query;
    struct grid grid;
    struct split split;
    bool range;
    int64_t range_ms;
    struct error error = {0};
    enum status status = explain_format(request, &format, &error);
    if (status == OK)
        status = explain_grid(request, &grid, &range, &range_ms, &error);
    if (status == OK)
        status = api_plan_options(&app->config, &facts, app->backend->ops->capabilities, &options, &error);
    if (status == OK) {
        api_plan_for_store(&store, &options);
        options.bounds = (struct time_span){grid.start_ms, grid.start_ms + (range ? range_ms : 0)};
        status = api_expression(request, &query, &error);
    }
    if (status == OK)
        status = api_settle_query(&query, range ? grid.step_ms : 0, range_ms, &error);
    if (status == OK)
        status = split_query(&request->arena, &query, grid, &options, &split, &error);
    const struct scan_figures *scans = NULL;
    if (status == OK)
        status = explain_scans(request, &split, &scans, &error);
    if (status == OK)
        respond_explained(request, &split, &options, scans, format);
    else
        http_respond_error(request, &error);
}

/* --- metadata --- */

/* Like Prometheus: a negative limit is none, 0 gives nothing. */
static enum status read_number(const struct http_request *request, const char *name, int64_t *ret, struct error *reterr)
{
    const struct str *text = http_param(request, name);
    *ret = -1;
    if (text && text->len > 0 && !api_whole(*text, ret))
        return error_set(reterr, E_BAD_DATA, "%s must be a number", name);
    return OK;
}

static void write_metadata(struct strbuf *out, const struct metadata_list *list)
{
    for (size_t i = 0; i < list->n && out->status == OK; i++) {
        const struct metric_metadata *m = &list->at[i];
        if (i > 0)
            strbuf_char(out, ',');
        strbuf_json(out, m->family);
        strbuf_f(out, ":[{\"type\":\"%s\",\"unit\":", metric_type_text(m->type));
        strbuf_json(out, m->unit);
        strbuf_cstr(out, ",\"help\":");
        strbuf_json(out, m->help);
        strbuf_cstr(out, "}]");
    }
}

/* limit_per_metric is checked and changes nothing: one entry is kept of each metric, the newest. */
void api_metadata(struct http_request *request)
{
    struct backend *backend = request->app->backend;
    struct metadata_list *list = NULL;
    const struct str *metric = http_param(request, "metric");
    int64_t limit, limit_per_metric;
    struct error error = {0};
    enum status status = read_number(request, "limit", &limit, &error);
    if (status == OK)
        status = read_number(request, "limit_per_metric", &limit_per_metric, &error);
    if (status == OK && limit != 0)
        status = backend->ops->metadata(backend, metric ? *metric : (struct str){0}, limit > 0 ? (size_t)limit : 0,
                                        &list, &error);
    if (status != OK) {
        http_respond_error(request, &error);
        return;
    }
    struct strbuf out;
    api_answer_begin(&out);
    strbuf_char(&out, '{');
    if (list)
        write_metadata(&out, list);
    strbuf_char(&out, '}');
    metadata_list_free(list);
    api_answer_end(request, &out, false);
}

/* --- what upstream alone knows --- */

#define PROXY_TARGET_MAX_BYTES 65536

struct proxied {
    struct http_request *request;
    struct upstream_answer answer;
};

static void proxied_finish(void *arg)
{
    struct proxied *proxied = arg;
    struct http_request *request = proxied->request;
    struct upstream_answer *answer = &proxied->answer;
    if (answer->status != OK) {
        http_respond_error(request, &answer->error);
    } else {
        bool is_json = strncmp(answer->content_type, "application/json", 16) == 0;
        struct strbuf body;
        strbuf_init(&body, answer->body_len);
        strbuf_bytes(&body, answer->body, answer->body_len);
        struct error error = {0};
        if (strbuf_status(&body, "answer of upstream", &error) == OK)
            http_respond(request, answer->http_code, is_json ? "application/json" : "text/plain; charset=utf-8", &body);
        else
            http_respond_error(request, &error);
        strbuf_release(&body);
    }
    free(answer->body);
    free(proxied);
}

/* On the upstream client's thread. */
static void proxied_done(void *arg, struct upstream_answer *answer)
{
    struct proxied *proxied = arg;
    proxied->answer = *answer;
    pool_continue(proxied->request->app->pools[POOL_QUERIES], proxied_finish, proxied);
}

static void write_target(struct http_request *request, struct strbuf *out)
{
    strbuf_str(out, request->path);
    struct strbuf query;
    strbuf_init(&query, PROXY_TARGET_MAX_BYTES);
    for (size_t i = 0; i < request->params_n; i++) {
        struct str name = arena_str(&request->arena, request->params[i].name);
        if (name.ptr)
            form_add(&query, name.ptr, request->params[i].value);
    }
    if (query.len > 0) {
        strbuf_char(out, '?');
        strbuf_str(out, strbuf_view(&query));
    }
    if (query.status != OK)
        out->status = query.status;
    strbuf_release(&query);
}

/* Rules, alerts and targets are upstream's. When it cannot be asked the answer is an error (502): an empty list would
 * say that there are none. */
void api_proxied(struct http_request *request)
{
    struct app *app = request->app;
    struct proxied *proxied = calloc(1, sizeof *proxied);
    struct strbuf target;
    struct error error = {0};
    strbuf_init(&target, PROXY_TARGET_MAX_BYTES);
    write_target(request, &target);
    enum status status = proxied ? strbuf_status(&target, "request to upstream", &error)
                                 : error_set(&error, E_NOMEM, "no memory to ask upstream");
    if (status == OK) {
        proxied->request = request;
        int64_t deadline_ms = request->received_ms + app->config.query_timeout_ms;
        status = upstream_send(app->upstream,
                               &(struct upstream_request){.method = "GET",
                                                          .path = target.ptr,
                                                          .deadline_ms = deadline_ms,
                                                          .cancel = &request->cancel,
                                                          .done = proxied_done,
                                                          .arg = proxied},
                               &error);
    }
    strbuf_release(&target);
    if (status != OK) {
        free(proxied);
        http_respond_error(request, &error);
    }
}

/* --- the page --- */

void api_page(struct http_request *request)
{
    if (!request->app->config.web_page) {
        http_respond_text(request, 404, "the status page is switched off (--no-web.page)\n");
        return;
    }
    struct strbuf body;
    struct error error = {0};
    strbuf_init(&body, ui_page_size);
    strbuf_bytes(&body, ui_page, ui_page_size);
    http_header(request, "Content-Security-Policy",
                "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; connect-src 'self'; "
                "img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'");
    if (strbuf_status(&body, "page", &error) == OK)
        http_respond(request, 200, "text/html; charset=utf-8", &body);
    else
        http_respond_error(request, &error);
    strbuf_release(&body);
}
