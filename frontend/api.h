/* frontend/api.h: the handlers of the Prometheus HTTP API beside queries, and what handlers share.
 *
 * Source: Prometheus 3.5 web/api/v1/api.go; error texts are its own, shapes and status codes too.
 *
 * Threads  handlers run on the pool of their route; helpers work on one request, on its thread.
 * Errors   helpers fill reterr so that http_respond_error can send it as it is (E_BAD_DATA for parameters).
 */
#ifndef PROMSPLIT_FRONTEND_API_H
#define PROMSPLIT_FRONTEND_API_H

#include "frontend/http.h"
#include "planner/split.h"

#define API_TIME_MIN_MS                                                                                                \
    (-(INT64_C(1) << 60)) /* what a missing start and end stand for: before and after all samples                      \
                           */
#define API_TIME_MAX_MS (INT64_C(1) << 60)
#define API_POINTS_MAX  11000 /* steps of a range query, as Prometheus */

/* --- parameters --- */

/* Each takes the first parameter of that name; a missing or empty one gives `standard`. */
MUST_USE enum status api_time(const struct http_request *request, const char *name, int64_t standard, int64_t *ret_ms,
                              struct error *reterr);
MUST_USE enum status api_duration(const struct http_request *request, const char *name, int64_t standard,
                                  int64_t *ret_ms, struct error *reterr);
/* A whole number that is not negative; 0 means none. */
MUST_USE enum status api_limit(const struct http_request *request, size_t *ret_limit, struct error *reterr);
/* strconv.Atoi; false for anything else. */
bool api_whole(struct str text, int64_t *ret_number);
/* start, end, step of a range query, checked as Prometheus does. */
MUST_USE enum status api_range(const struct http_request *request, struct grid *ret_grid, struct error *reterr);
/* The parsed `query` parameter, in the request's arena. Prometheus names the parameter in front of the parser's message
 * (api_expression), but for exemplars (api_parse). */
MUST_USE enum status api_parse(struct http_request *request, struct query_text *ret_query, struct error *reterr);
MUST_USE enum status api_expression(struct http_request *request, struct query_text *ret_query, struct error *reterr);

/* All match[] parameters as selectors, in the request's arena; `prefix` stands before the parser's message. */
struct series_query;
MUST_USE enum status api_selectors(struct http_request *request, struct series_query *query, const char *prefix,
                                   struct error *reterr);

/* What a parsed query still needs before it is split: durations that depend on step and range (0, 0: instant), and for
 * a range query a type that may stand there. */
MUST_USE enum status api_settle_query(struct query_text *query, int64_t step_ms, int64_t range_ms,
                                      struct error *reterr);

/* --- answers --- */

/* A builder for an answer, and its end: sends it with 200, or the builder's failure. */
void api_answer_begin(struct strbuf *out); /* {"status":"success","data": */
void api_answer_end(struct http_request *request, struct strbuf *out, bool truncated);

/* What a query is planned with: flags, and what the probe knows of upstream. `config` alone: probe is NULL. */
struct config;
struct upstream_facts;
MUST_USE enum status api_plan_options(const struct config *config, const struct upstream_facts *facts,
                                      const struct capabilities *can, struct plan_options *ret_options,
                                      struct error *reterr);
/* What a plan asks of the store while it is made. */
struct plan_store {
    struct backend *backend;
    struct cancel *cancel;
};
/* Adds what the stored series say; *store must live as long as the options are used. */
void api_plan_for_store(struct plan_store *store, struct plan_options *options);

/* --- handlers: api_labels.c --- */

void api_labels(struct http_request *request);       /* GET, POST /api/v1/labels */
void api_label_values(struct http_request *request); /* GET /api/v1/label/<name>/values */
void api_series(struct http_request *request);       /* GET, POST /api/v1/series */

/* A label name as older identifiers allow it, "U__" and escapes, turned back (model.UnescapeName); text that is not
 * well escaped comes back as it is. Views `name` or the arena; ptr NULL without memory. */
struct str api_unescape_name(struct arena *arena, struct str name);

/* --- api_admin.c: POST, PUT /api/v1/admin/tsdb/… --- */

void api_delete_series(struct http_request *request);
void api_clean_tombstones(struct http_request *request);
void api_snapshot(struct http_request *request);

/* --- api_status.c --- */

void api_status_buildinfo(struct http_request *request);
void api_status_runtimeinfo(struct http_request *request);
void api_status_flags(struct http_request *request);
void api_status_config(struct http_request *request);
void api_status_tsdb(struct http_request *request);
void api_metrics(struct http_request *request); /* GET /metrics */

/* --- api_import.c --- */

void api_import(struct http_request *request); /* POST /api/v1/import */
void api_otlp(struct http_request *request);   /* POST /api/v1/otlp/v1/metrics */

void api_query_exemplars(struct http_request *request); /* api_exemplars.c: GET, POST /api/v1/query_exemplars */

/* --- api_misc.c --- */

void api_format_query(struct http_request *request);
void api_parse_query(struct http_request *request);
void api_metadata(struct http_request *request);
void api_explain(struct http_request *request); /* GET, POST /api/v1/explain */
void api_proxied(struct http_request *request); /* what upstream knows alone: rules, alerts, targets, … */
void api_page(struct http_request *request);    /* GET / */

#endif
