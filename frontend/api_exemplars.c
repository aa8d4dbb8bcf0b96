/* frontend/api_exemplars.c: /api/v1/query_exemplars, from the store alone: what upstream has of its own is not asked
 * for.
 */
#include <stdlib.h>

#include "base/float_text.h"
#include "frontend/api.h"
#include "frontend/app.h"
#include "frontend/json.h"

struct found {
    struct expr_selector *at; /* NULL: only counted */
    size_t n;
};

static bool note_selector(const struct expr *expr, void *arg)
{
    struct found *found = arg;
    if (expr->kind != EXPR_SELECTOR)
        return true;
    if (found->at)
        found->at[found->n] = expr->u.selector;
    found->n++;
    return true;
}

static enum status find_selectors(struct arena *arena, const struct expr *root, struct series_query *query,
                                  struct error *reterr)
{
    struct found found = {NULL, 0};
    expr_walk(root, note_selector, &found);
    found.at = ARENA_ARRAY(arena, struct expr_selector, found.n + 1);
    if (!found.at)
        return error_set(reterr, E_NOMEM, "no memory for %zu selectors", found.n);
    found.n = 0;
    expr_walk(root, note_selector, &found);
    query->selectors = found.at;
    query->selectors_n = found.n;
    return OK;
}

static enum status read_query(struct http_request *request, struct series_query *query, struct error *reterr)
{
    struct query_text text;
    *query = (struct series_query){0};
    enum status status = api_time(request, "start", API_TIME_MIN_MS, &query->span.min_ms, reterr);
    if (status == OK)
        status = api_time(request, "end", API_TIME_MAX_MS, &query->span.max_ms, reterr);
    if (status == OK && query->span.max_ms < query->span.min_ms)
        status = error_set(reterr, E_BAD_DATA, "end timestamp must not be before start timestamp");
    if (status == OK)
        status = api_parse(request, &text, reterr);
    return status == OK ? find_selectors(&request->arena, text.root, query, reterr) : status;
}

static void write_exemplar(struct strbuf *out, const struct exemplar *exemplar)
{
    char number[FLOAT_TEXT_MAX];
    strbuf_cstr(out, "{\"labels\":");
    json_labels(out, exemplar->labels);
    strbuf_cstr(out, ",\"value\":\"");
    strbuf_bytes(out, number, float_text_json(number, exemplar->value));
    strbuf_cstr(out, "\",\"timestamp\":");
    strbuf_bytes(out, number, time_text_json(number, exemplar->time_ms));
    strbuf_char(out, '}');
}

static void write_list(struct strbuf *out, const struct exemplar_list *list)
{
    strbuf_char(out, '[');
    for (size_t i = 0; i < list->n; i++) {
        const struct exemplar_series *series = &list->at[i];
        strbuf_cstr(out, i ? ",{\"seriesLabels\":" : "{\"seriesLabels\":");
        json_labels(out, series->labels);
        strbuf_cstr(out, ",\"exemplars\":[");
        for (size_t k = 0; k < series->exemplars_n; k++) {
            strbuf_cstr(out, k ? "," : "");
            write_exemplar(out, &series->exemplars[k]);
        }
        strbuf_cstr(out, "]}");
    }
    strbuf_char(out, ']');
}

/* Of every selector of the query; ranges, offsets and @ do not count. Without any: 204, as Prometheus. Grafana asks
 * with milliseconds for seconds when it looks whether there are any. */
void api_query_exemplars(struct http_request *request)
{
    struct backend *backend = request->app->backend;
    struct series_query query;
    struct exemplar_list *list = NULL;
    struct error error = {0};
    enum status status = read_query(request, &query, &error);
    if (status == OK && query.selectors_n > 0)
        status = backend->ops->exemplars(backend, &query, &list, &error);
    if (status != OK) {
        http_respond_error(request, &error);
        return;
    }
    if (!list) {
        http_respond_text(request, 204, "%s", "");
        return;
    }
    struct strbuf out;
    api_answer_begin(&out);
    write_list(&out, list);
    exemplar_list_free(list);
    api_answer_end(request, &out, false);
}
