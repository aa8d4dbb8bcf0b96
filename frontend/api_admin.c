/* frontend/api_admin.c: what changes the store on request: /api/v1/admin/tsdb/…; refused unless --web.enable-admin-api.
 *
 * Source: Prometheus 3.5 web/api/v1/api.go: parameters, their order, error texts and codes. delete_series deletes at
 * once, so there is nothing for clean_tombstones to do.
 */
#include "frontend/api.h"
#include "frontend/app.h"

static enum status check_enabled(const struct http_request *request, struct error *reterr)
{
    if (request->app->config.web_admin_api)
        return OK;
    return error_set(reterr, E_UNAVAILABLE, "admin APIs disabled");
}

static void answer_nothing(struct http_request *request, enum status status, const struct error *error)
{
    if (status == OK)
        http_respond_text(request, 204, "%s", "");
    else
        http_respond_error(request, error);
}

static enum status read_deletion(struct http_request *request, struct series_query *query, struct error *reterr)
{
    *query = (struct series_query){0};
    if (!http_param(request, "match[]"))
        return error_set(reterr, E_BAD_DATA, "no match[] parameter provided");
    enum status status = api_time(request, "start", API_TIME_MIN_MS, &query->span.min_ms, reterr);
    if (status == OK)
        status = api_time(request, "end", API_TIME_MAX_MS, &query->span.max_ms, reterr);
    if (status == OK)
        status = api_selectors(request, query, "invalid parameter \"match[]\": ", reterr);
    return status;
}

static void log_deletion(struct http_request *request, const struct series_query *query, uint64_t samples_n)
{
    struct log_line line = log_begin(request->app->log, LOG_INFO, "series deleted");
    for (size_t i = 0; i < request->params_n; i++)
        if (str_eq(request->params[i].name, STR("match[]")))
            log_str(&line, "match", request->params[i].value);
    log_i64(&line, "start_ms", query->span.min_ms);
    log_i64(&line, "end_ms", query->span.max_ms);
    log_i64(&line, "samples", (int64_t)samples_n);
    log_end(&line);
}

void api_delete_series(struct http_request *request)
{
    struct backend *backend = request->app->backend;
    struct series_query query;
    struct error error = {0};
    uint64_t samples_n = 0;
    http_set_deadline(request, request->received_ms + request->app->config.query_timeout_ms);
    enum status status = check_enabled(request, &error);
    if (status == OK)
        status = read_deletion(request, &query, &error);
    if (status == OK)
        status = backend->ops->delete_series(backend, &query, &request->cancel, &samples_n, &error);
    if (status == OK)
        log_deletion(request, &query, samples_n);
    answer_nothing(request, status, &error);
}

void api_clean_tombstones(struct http_request *request)
{
    struct error error = {0};
    enum status status = check_enabled(request, &error);
    answer_nothing(request, status, &error);
}

void api_snapshot(struct http_request *request)
{
    struct error error = {0};
    enum status status = check_enabled(request, &error);
    if (status == OK)
        status = error_set(&error, E_EXECUTION,
                           "snapshots are not made here: stop the program and copy the storage directory");
    answer_nothing(request, status, &error);
}
