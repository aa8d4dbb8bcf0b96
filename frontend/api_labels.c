/* frontend/api_labels.c: which series, label names and label values there are, from the backend's index. */
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "base/utf8.h"
#include "frontend/api.h"
#include "frontend/app.h"
#include "frontend/json.h"
#include "promql/parse.h"
#include "promql/print.h"

enum status api_selectors(struct http_request *request, struct series_query *query, const char *prefix,
                          struct error *reterr)
{
    size_t n = 0;
    for (size_t i = 0; i < request->params_n; i++)
        n += str_eq(request->params[i].name, STR("match[]"));
    struct expr_selector *selectors = ARENA_ARRAY(&request->arena, struct expr_selector, n + 1);
    if (!selectors)
        return error_set(reterr, E_NOMEM, "no memory for %zu selectors", n);
    struct regex_engine regex = request->app->backend->ops->regex(request->app->backend);
    query->selectors = selectors;
    for (size_t i = 0; i < request->params_n; i++) {
        if (!str_eq(request->params[i].name, STR("match[]")))
            continue;
        enum status status = promql_parse_selector(&request->arena, request->params[i].value, &PARSE_LIMITS_DEFAULT,
                                                   &regex, &selectors[query->selectors_n], reterr);
        if (status != OK)
            return error_prefix(reterr, "%s", prefix);
        query->selectors_n++;
    }
    return OK;
}

/* limit, start, end and match[], in the order in which Prometheus finds fault with them. */
static enum status read_query(struct http_request *request, struct series_query *query, const char *selectors_prefix,
                              struct error *reterr)
{
    *query = (struct series_query){0};
    enum status status = api_limit(request, &query->limit, reterr);
    if (status == OK)
        status = api_time(request, "start", API_TIME_MIN_MS, &query->span.min_ms, reterr);
    if (status == OK)
        status = api_time(request, "end", API_TIME_MAX_MS, &query->span.max_ms, reterr);
    if (status == OK)
        status = api_selectors(request, query, selectors_prefix, reterr);
    http_set_deadline(request, request->received_ms + request->app->config.query_timeout_ms);
    return status;
}

static void answer_strings(struct http_request *request, enum status status, struct string_list *list,
                           const struct error *error)
{
    if (status != OK) {
        http_respond_error(request, error);
        return;
    }
    struct strbuf out;
    api_answer_begin(&out);
    json_strings(&out, list->at, list->n);
    bool truncated = list->truncated;
    string_list_free(list);
    api_answer_end(request, &out, truncated);
}

void api_labels(struct http_request *request)
{
    struct backend *backend = request->app->backend;
    struct series_query query;
    struct string_list *list = NULL;
    struct error error = {0};
    enum status status = read_query(request, &query, "", &error);
    if (status == OK)
        status = backend->ops->label_names(backend, &query, &request->cancel, &list, &error);
    answer_strings(request, status, list, &error);
}

/* --- label/<name>/values --- */

/* The hexadecimal digits of one character up to the underscore that ends them: at most six. */
static bool read_rune(struct str text, size_t *at, uint32_t *ret_rune)
{
    uint32_t rune = 0;
    for (unsigned digits = 0; *at < text.len; digits++, (*at)++) {
        char c = text.ptr[*at];
        if (c == '_') {
            *ret_rune = rune;
            return rune <= 0x10ffff && (rune < 0xd800 || rune > 0xdfff);
        }
        if (digits == 6)
            return false;
        uint32_t digit;
        if (c >= '0' && c <= '9')
            digit = (uint32_t)(c - '0');
        else if ((c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F'))
            digit = (uint32_t)((c | 0x20) - 'a') + 10;
        else
            return false;
        rune = rune * 16 + digit;
    }
    return false;
}

struct str api_unescape_name(struct arena *arena, struct str name)
{
    if (!str_starts_with(name, STR("U__")))
        return name;
    /* "_0_" is the shortest escape and gives one byte, "_10ffff_" four: the text never grows. */
    char *out = arena_alloc(arena, name.len + 1);
    if (!out)
        return (struct str){0};
    size_t n = 0;
    for (size_t at = 3; at < name.len; at++) {
        if (name.ptr[at] != '_') {
            out[n++] = name.ptr[at];
            continue;
        }
        uint32_t rune = '_';
        if (++at == name.len || (name.ptr[at] != '_' && !read_rune(name, &at, &rune)))
            return name;
        n += utf8_put(out + n, rune);
    }
    return (struct str){out, n};
}

static enum status read_label_name(struct http_request *request, struct str *ret_name, struct error *reterr)
{
    struct str name = api_unescape_name(&request->arena, request->wildcard);
    if (!name.ptr)
        return error_set(reterr, E_NOMEM, "no memory for a label name");
    if (name.len == 0 || !utf8_valid(name)) {
        struct strbuf quoted;
        strbuf_init(&quoted, ERROR_MESSAGE_MAX);
        promql_print_string(&quoted, name);
        enum status status =
            error_set(reterr, E_BAD_DATA, "invalid label name: " STR_FORMAT, STR_ARG(strbuf_view(&quoted)));
        strbuf_release(&quoted);
        return status;
    }
    *ret_name = name;
    return OK;
}

void api_label_values(struct http_request *request)
{
    struct backend *backend = request->app->backend;
    struct series_query query;
    struct string_list *list = NULL;
    struct str name = {0};
    struct error error = {0};
    enum status status = read_label_name(request, &name, &error);
    if (status == OK)
        status = read_query(request, &query, "", &error);
    if (status == OK)
        status = backend->ops->label_values(backend, name, &query, &request->cancel, &list, &error);
    answer_strings(request, status, list, &error);
}

/* --- series --- */

void api_series(struct http_request *request)
{
    struct backend *backend = request->app->backend;
    struct series_query query;
    struct series_list *list = NULL;
    struct error error = {0};
    enum status status = OK;
    if (!http_param(request, "match[]"))
        status = error_set(&error, E_BAD_DATA, "no match[] parameter provided");
    if (status == OK)
        status = read_query(request, &query, "invalid parameter \"match[]\": ", &error);
    if (status == OK)
        status = backend->ops->series(backend, &query, &request->cancel, &list, &error);
    if (status != OK) {
        http_respond_error(request, &error);
        return;
    }
    struct strbuf out;
    api_answer_begin(&out);
    strbuf_char(&out, '[');
    for (size_t i = 0; i < list->n && out.status == OK; i++) {
        if (i > 0)
            strbuf_char(&out, ',');
        json_labels(&out, list->at[i]);
    }
    strbuf_char(&out, ']');
    bool truncated = list->truncated;
    series_list_free(list);
    api_answer_end(request, &out, truncated);
}
