/* frontend/query_internal.h: what the parts of a query's life share; nobody else includes it.
 *
 *   query.c         states, admission, planning, upstream, the end
 *   query_params.c  the parameters of the two endpoints
 *   query_answer.c  the judgement over tasks and upstream's answer; the body that goes to the client
 *
 * A query is counted by reference: its life's until the end, each of its tasks' until released, one per queued job that
 * may come late. So its plan, its cancel and its arena outlive the answer while a read still uses them.
 */
#ifndef PROMSPLIT_FRONTEND_QUERY_INTERNAL_H
#define PROMSPLIT_FRONTEND_QUERY_INTERNAL_H

#include <pthread.h>
#include <stdatomic.h>

#include "frontend/api.h"
#include "frontend/app.h"
#include "frontend/probe.h"
#include "frontend/query.h"
#include "frontend/tasks.h"
#include "planner/split.h"

#define QUERY_ARENA_MAX  ((size_t)64 << 20)
#define QUERY_TEXT_MAX   ((size_t)16 << 20) /* a residual, a form, a message */
#define QUERY_ANSWER_MAX ((size_t)4 << 30)
#define QUERY_SLOW_MS    5000 /* logged even when it went well */

struct query_params {
    bool range;
    struct grid grid;
    int64_t start_ms, end_ms; /* as asked: the grid ends on its phase, maybe earlier */
    int64_t timeout_ms;
    int64_t lookback_ms; /* 0: not given */
    size_t limit;        /* 0: none */
    struct str stats;    /* "": not wanted */
};

struct query {
    struct app *app;
    struct http_request *request;
    struct query_params params;
    atomic_int references;
    struct arena arena;
    struct cancel cancel;
    struct cancel_hook left; /* on the request's cancel: hands it on to ours */
    atomic_bool interrupted;
    int64_t id; /* for the log */
    int64_t begun_ms;

    struct query_text text;
    struct plan_store store;
    struct split split;
    struct task **tasks; /* one per fragment */
    uint32_t tasks_n;    /* registered */
    struct str residual; /* as sent */
    bool asked_upstream;
    bool plain;         /* planned again with nothing pushed: the pushed part met what PromQL calls an error */
    bool remarks_apart; /* planned again because an empty answer left a remark open */
    struct upstream_answer answer; /* of upstream; its body is freed at the end */

    /* under queries->lock */
    struct query *next;
    bool waiting;  /* for a place */
    bool settling; /* its answer is there, reads are still being sent */
    bool learning; /* until upstream tells its version */

    struct probe_wait wait; /* for that; has a reference */
    bool has_waited;        /* once is enough */
};

/* Fills query->params and the deadline, the text and its checks. */
MUST_USE enum status query_read_params(struct query *query, struct error *reterr);

/* The body for the client, or why there is none: the judgement over tasks and answers. */
MUST_USE enum status query_judge(struct query *query, struct strbuf *out, struct error *reterr);

/* After a good judgement: whether a task's empty answer leaves open if Prometheus would remark on something in it. */
bool query_leaves_remark_open(const struct query *query);

#endif
