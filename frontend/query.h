/* frontend/query.h: the life of one PromQL query, as named states.
 *
 *   WAITING   for a place among --query.max-concurrency; no thread held
 *   LEARN     waiting for the first word of upstream, whose version decides how windows end; no thread held
 *   PLAN      on POOL_QUERIES: parse, check, split, register the tasks, start them (eager)
 *   DIRECT    waiting for the one task that is the whole answer; no thread held
 *   UPSTREAM  the residual is with Prometheus; no thread held; its callbacks are served meanwhile (tasks.h)
 *   FINISH    on POOL_QUERIES: judge the tasks' outcomes, encode or pass on the answer, respond, end the tasks
 *
 * A failed, unread or cut-off task makes the answer an error, whatever upstream said (docs/semantics.md 1, 2): upstream
 * answers a failed remote read with success, a warning and a wrong value.
 *
 * Threads: one thread at a time works on a query; hand-off is by pool.
 */
#ifndef PROMSPLIT_FRONTEND_QUERY_H
#define PROMSPLIT_FRONTEND_QUERY_H

#include "frontend/http.h"

/* Admission: --query.max-concurrency queries are planned, run or with upstream at once; up to --query.max-queue more
 * wait in a list, holding no thread; beyond, E_UNAVAILABLE. */
struct queries;

MUST_USE enum status queries_new(struct app *app, struct queries **ret_queries, struct error *reterr);
void queries_free(struct queries *queries); /* no query may be left: after http_server_stop. NULL is fine */

/* GET, POST /api/v1/query and /api/v1/query_range. */
void api_query(struct http_request *request);
void api_query_range(struct http_request *request);

#endif
