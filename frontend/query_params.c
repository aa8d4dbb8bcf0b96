/* frontend/query_params.c: the parameters of /api/v1/query and /api/v1/query_range.
 *
 * Order of checks, words and limits are those of Prometheus 3.5 web/api/v1/api.go (query, queryRange, extractQueryOpts)
 * and promql/engine.go (NewInstantQuery, NewRangeQuery). The helpers of api.h hold the words.
 */
#include "frontend/api.h"
#include "frontend/query_internal.h"

static enum status read_times(const struct http_request *request, struct query_params *params, struct error *reterr)
{
    enum status status = api_limit(request, &params->limit, reterr);
    if (status != OK)
        return status;
    if (!params->range) {
        status = api_time(request, "time", wall_clock_ms(), &params->start_ms, reterr);
        params->end_ms = params->start_ms;
        params->grid = grid_instant(params->start_ms);
        return status;
    }
    status = api_range(request, &params->grid, reterr);
    params->start_ms = params->grid.start_ms;
    /* The end as asked, which upstream needs for @ end(); it was checked just now. */
    return status == OK ? api_time(request, "end", 0, &params->end_ms, reterr) : status;
}

static enum status read_lookback(const struct http_request *request, int64_t *ret_ms, struct error *reterr)
{
    static const char PARAMETER[] = "invalid parameter \"lookback_delta\": ";
    enum status status = api_duration(request, "lookback_delta", 0, ret_ms, reterr);
    if (status == OK) {
        *ret_ms = *ret_ms < 0 ? 0 : *ret_ms;
        return OK;
    }
    /* Prometheus words this one parameter differently. */
    size_t prefix = sizeof PARAMETER - 1;
    if (strncmp(reterr->message, PARAMETER, prefix) == 0)
        memmove(reterr->message, reterr->message + prefix, strlen(reterr->message + prefix) + 1);
    return error_prefix(reterr, "error parsing lookback delta duration: ");
}

static enum status read_text(struct query *query, struct error *reterr)
{
    struct backend *backend = query->app->backend;
    struct regex_engine regex = backend->ops->regex(backend);
    const struct query_params *params = &query->params;
    const struct str *text = http_param(query->request, "query");
    enum status status =
        promql_parse(&query->arena, text ? *text : STR(""), &PARSE_LIMITS_DEFAULT, &regex, &query->text, reterr);
    if (status == OK)
        status = api_settle_query(&query->text, params->range ? params->grid.step_ms : 0,
                                  params->end_ms - params->start_ms, reterr);
    return status == E_BAD_DATA ? error_prefix(reterr, "invalid parameter \"query\": ") : status;
}

enum status query_read_params(struct query *query, struct error *reterr)
{
    const struct http_request *request = query->request;
    struct query_params *params = &query->params;
    const struct str *stats = http_param(request, "stats");
    params->stats = stats ? *stats : STR("");
    int64_t allowed_ms = query->app->config.query_timeout_ms;
    enum status status = read_times(request, params, reterr);
    if (status == OK)
        status = api_duration(request, "timeout", allowed_ms, &params->timeout_ms, reterr);
    if (status == OK)
        status = read_lookback(request, &params->lookback_ms, reterr);
    if (status == OK)
        status = read_text(query, reterr);
    if (params->timeout_ms > allowed_ms)
        params->timeout_ms = allowed_ms;
    return status;
}
