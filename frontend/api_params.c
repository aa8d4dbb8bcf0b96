/* frontend/api_params.c: parameters and answers of API handlers; see api.h. */
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "backend/backend.h"
#include "base/assert.h"
#include "frontend/api.h"
#include "frontend/app.h"
#include "frontend/json.h"
#include "frontend/probe.h"
#include "planner/shape.h"
#include "promql/parse.h"
#include "promql/print.h"

#define LOOKBACK_STANDARD_MS      300000 /* Prometheus's own when nothing else is known */
#define SUBQUERY_STEP_STANDARD_MS 60000  /* its evaluation interval */
#define FRAGMENTS_MAX             1000
#define ANSWER_MAX_BYTES          (1u << 30)

static struct str parameter(const struct http_request *request, const char *name)
{
    const struct str *value = http_param(request, name);
    return value ? *value : (struct str){0};
}

/* `<before>"<text>"<after>` with the text quoted as Go's %q does. */
static enum status quoted_error(struct error *reterr, const char *before, struct str text, const char *after)
{
    struct strbuf quoted;
    strbuf_init(&quoted, 4 * ERROR_MESSAGE_MAX);
    if (text.len > ERROR_MESSAGE_MAX)
        text.len = ERROR_MESSAGE_MAX;
    promql_print_string(&quoted, text);
    enum status status =
        error_set(reterr, E_BAD_DATA, "%s" STR_FORMAT "%s", before, STR_ARG(strbuf_view(&quoted)), after);
    strbuf_release(&quoted);
    return status;
}

static enum status invalid_parameter(struct error *reterr, const char *name)
{
    return error_prefix(reterr, "invalid parameter \"%s\": ", name);
}

static enum status parse_time(struct str text, int64_t *ret_ms, struct error *reterr)
{
    return promql_parse_api_time(text, ret_ms) ? OK
                                               : quoted_error(reterr, "cannot parse ", text, " to a valid timestamp");
}

static enum status parse_duration(struct str text, int64_t *ret_ms, struct error *reterr)
{
    return promql_parse_api_duration(text, ret_ms)
               ? OK
               : quoted_error(reterr, "cannot parse ", text, " to a valid duration");
}

enum status api_time(const struct http_request *request, const char *name, int64_t standard, int64_t *ret_ms,
                     struct error *reterr)
{
    struct str text = parameter(request, name);
    *ret_ms = standard;
    if (text.len == 0 || parse_time(text, ret_ms, reterr) == OK)
        return OK;
    error_prefix(reterr, "invalid time value for '%s': ", name);
    return invalid_parameter(reterr, name);
}

enum status api_duration(const struct http_request *request, const char *name, int64_t standard, int64_t *ret_ms,
                         struct error *reterr)
{
    struct str text = parameter(request, name);
    *ret_ms = standard;
    if (text.len == 0 || parse_duration(text, ret_ms, reterr) == OK)
        return OK;
    return invalid_parameter(reterr, name);
}

bool api_whole(struct str text, int64_t *ret_number)
{
    char digits[24];
    if (text.len == 0 || text.len >= sizeof digits)
        return false;
    memcpy(digits, text.ptr, text.len);
    digits[text.len] = '\0';
    char *end;
    errno = 0;
    long long number = strtoll(digits, &end, 10);
    if (errno != 0 || *end != '\0' || (size_t)(end - digits) != text.len || digits[0] == ' ')
        return false;
    *ret_number = number;
    return true;
}

enum status api_limit(const struct http_request *request, size_t *ret_limit, struct error *reterr)
{
    struct str text = parameter(request, "limit");
    int64_t limit = 0;
    if (text.len > 0 && !api_whole(text, &limit)) {
        quoted_error(reterr, "strconv.Atoi: parsing ", text, ": invalid syntax");
        return invalid_parameter(reterr, "limit");
    }
    if (limit < 0) {
        error_set(reterr, E_BAD_DATA, "limit must be non-negative");
        return invalid_parameter(reterr, "limit");
    }
    *ret_limit = (size_t)limit;
    return OK;
}

/* A missing parameter is an error, in the words of parsing the empty text. */
enum status api_range(const struct http_request *request, struct grid *ret_grid, struct error *reterr)
{
    int64_t start, end, step;
    if (parse_time(parameter(request, "start"), &start, reterr) != OK)
        return invalid_parameter(reterr, "start");
    if (parse_time(parameter(request, "end"), &end, reterr) != OK)
        return invalid_parameter(reterr, "end");
    if (end < start) {
        error_set(reterr, E_BAD_DATA, "end timestamp must not be before start time");
        return invalid_parameter(reterr, "end");
    }
    if (parse_duration(parameter(request, "step"), &step, reterr) != OK)
        return invalid_parameter(reterr, "step");
    if (step <= 0) {
        error_set(reterr, E_BAD_DATA,
                  "zero or negative query resolution step widths are not accepted. Try a positive integer");
        return invalid_parameter(reterr, "step");
    }
    if (((uint64_t)end - (uint64_t)start) / (uint64_t)step > API_POINTS_MAX)
        return error_set(reterr, E_BAD_DATA,
                         "exceeded maximum resolution of 11,000 points per timeseries. Try decreasing the query "
                         "resolution (?step=XX)");
    *ret_grid = grid_range(start, end, step);
    return OK;
}

enum status api_parse(struct http_request *request, struct query_text *ret_query, struct error *reterr)
{
    struct regex_engine regex = request->app->backend->ops->regex(request->app->backend);
    return promql_parse(&request->arena, parameter(request, "query"), &PARSE_LIMITS_DEFAULT, &regex, ret_query, reterr);
}

enum status api_expression(struct http_request *request, struct query_text *ret_query, struct error *reterr)
{
    enum status status = api_parse(request, ret_query, reterr);
    return status == OK ? OK : invalid_parameter(reterr, "query");
}

enum status api_settle_query(struct query_text *query, int64_t step_ms, int64_t range_ms, struct error *reterr)
{
    enum value_type type = query->root->type;
    if (step_ms > 0 && type != VALUE_VECTOR && type != VALUE_SCALAR)
        return error_set(reterr, E_BAD_DATA,
                         "invalid expression type \"%s\" for range query, must be Scalar or instant Vector",
                         value_type_text(type));
    return promql_resolve(query->root, step_ms, range_ms, reterr);
}

void api_answer_begin(struct strbuf *out)
{
    strbuf_init(out, ANSWER_MAX_BYTES);
    json_success_begin(out);
}

void api_answer_end(struct http_request *request, struct strbuf *out, bool truncated)
{
    static const struct str cut = STR_STATIC("results truncated due to limit");
    json_success_end(out, &cut, truncated, NULL, 0);
    struct error error = {0};
    if (strbuf_status(out, "answer", &error) == OK)
        http_respond(request, 200, "application/json", out);
    else
        http_respond_error(request, &error);
    strbuf_release(out);
}

/* "2.42.0+ds" is 2042; 0 if it says nothing. */
static uint32_t version_number(const char *version)
{
    unsigned major, minor;
    return sscanf(version, "%u.%u", &major, &minor) == 2 && minor < 1000 ? major * 1000 + minor : 0;
}

enum status api_plan_options(const struct config *config, const struct upstream_facts *facts,
                             const struct capabilities *can, struct plan_options *ret_options, struct error *reterr)
{
    struct plan_options options = {
        .can = can,
        .rule = WINDOW_LEFT_OPEN,
        .lookback_ms = LOOKBACK_STANDARD_MS,
        .subquery_step_ms = SUBQUERY_STEP_STANDARD_MS,
        .sample_interval_ms = config->planner_sample_interval_ms,
        .fragments_max = FRAGMENTS_MAX,
        .rollups_ms = config->rollups_ms,
        .rollups_n = config->rollups_n,
        .points_max = 10 * API_POINTS_MAX, /* subqueries are finer than the query */
    };
    if (facts && facts->known) {
        options.rule = facts->rule;
        options.lookback_ms = facts->lookback_ms;
        options.subquery_step_ms = facts->evaluation_interval_ms;
        options.version = version_number(facts->version);
    } else if (config->upstream_version[0] == '2') {
        options.version = 2999; /* the newest of its kind */
    }
    if (config->upstream_version[0])
        options.rule = config->upstream_version[0] == '2' ? WINDOW_CLOSED : WINDOW_LEFT_OPEN;
    if (config->query_lookback_ms > 0)
        options.lookback_ms = config->query_lookback_ms;
    enum status status = push_set_parse(str_from(config->planner_push), &options.push, reterr);
    if (status == OK)
        *ret_options = options;
    return status;
}

#define METADATA_LABELS_SINCE 3005 /* the version that drops them with the name */

/* plan_options.has_gauges */
static bool has_gauges(const struct expr_selector *selector, void *arg)
{
    const struct plan_store *store = arg;
    struct series_query query = {.selectors = selector, .selectors_n = 1, .span = {INT64_MIN, INT64_MAX}};
    struct string_list *names;
    struct error error;
    if (store->backend->ops->label_values(store->backend, LABEL_METRIC_NAME, &query, store->cancel, &names, &error) !=
        OK)
        return true;
    bool found = false;
    for (size_t i = 0; i < names->n && !found; i++)
        found = !metric_name_counts(names->at[i]);
    string_list_free(names);
    return found;
}

/* plan_options.has_histograms */
static bool has_histograms(const struct expr_selector *selector, struct time_span span, void *arg)
{
    const struct plan_store *store = arg;
    return store->backend->ops->has_histograms(store->backend, selector, span);
}

void api_plan_for_store(struct plan_store *store, struct plan_options *options)
{
    const struct backend *backend = store->backend;
    options->has_gauges = has_gauges;
    options->has_gauges_arg = store;
    options->has_histograms = has_histograms;
    options->has_histograms_arg = store;
    bool drops = options->version ? options->version >= METADATA_LABELS_SINCE : options->rule == WINDOW_LEFT_OPEN;
    options->metadata_labels = drops && atomic_load(&backend->metadata_labels);
    options->raw_from_ms = atomic_load(&backend->raw_from_ms);
}
