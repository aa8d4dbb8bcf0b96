/* frontend/query_answer.c: the judgement over a query's tasks and upstream's answer, and the body for the client.
 *
 * The order of the judgement is the order of causes: the query was stopped; a task failed; upstream could not be asked;
 * upstream calls the query wrong; a task was not read, or its reading broke off; upstream says itself that a read
 * failed. Only then is upstream's data believed, and passed on as it came.
 *
 * A task that was not read counts as failed even when others were: Prometheus selects the series of every selector
 * before it evaluates (promql/engine.go, populateSeries), and fetches all remote reads of a query together
 * (storage/secondary.go).
 */
#include <ctype.h>
#include <math.h>
#include <stdlib.h>

#include "base/assert.h"
#include "frontend/json.h"
#include "frontend/probe.h"
#include "frontend/query_internal.h"
#include "planner/notes.h"
#include "planner/shape.h"

#define MESSAGES_MAX 64 /* warnings or infos; Prometheus sends ten of each */

static const struct str truncated_warning = STR_STATIC("results truncated due to limit");

/* --- what pushed parts remark --- */

/* "… (1:86)": the text before the position, and line << 32 | column. */
static struct str split_position(struct str remark, uint64_t *ret_position)
{
    uint64_t line = 0, number = 0;
    size_t open = remark.len;
    *ret_position = 0;
    while (open > 0 && remark.ptr[open - 1] != '(')
        open--;
    if (open == 0 || remark.ptr[remark.len - 1] != ')')
        return remark;
    for (size_t i = open; i < remark.len - 1; i++) {
        char c = remark.ptr[i];
        if (!(c >= '0' && c <= '9') && c != ':')
            return remark;
        line = c == ':' ? number : line;
        number = c == ':' ? 0 : number * 10 + (uint64_t)(c - '0');
    }
    *ret_position = line << 32 | number;
    return (struct str){remark.ptr, open - 1};
}

/* Of equal remarks Prometheus keeps the one it makes last, which is the one that stands last in the query. */
static size_t add_info(struct str infos[MESSAGES_MAX], size_t n, struct str info)
{
    uint64_t position, other;
    struct str text = split_position(info, &position);
    size_t same = 0;
    while (same < n && !str_eq(split_position(infos[same], &other), text))
        same++;
    if (same == MESSAGES_MAX)
        return n;
    if (same == n || position > other)
        infos[same] = info;
    return n + (same == n);
}

/* Adds the notes of tasks that gave anything. Returns how many infos there are then. */
static size_t add_notes(const struct query *query, struct str infos[MESSAGES_MAX], size_t n)
{
    for (uint32_t i = 0; i < query->tasks_n; i++) {
        const struct fragment *fragment = &query->split.fragments[i];
        struct error error;
        const struct grid_result *result = fragment->notes_n ? task_result(query->tasks[i], &error) : NULL;
        for (size_t k = 0; result && result->series_n > 0 && k < fragment->notes_n; k++)
            n = add_info(infos, n, fragment->notes[k]);
    }
    return n;
}

bool query_leaves_remark_open(const struct query *query)
{
    bool open = false;
    for (uint32_t i = 0; i < query->tasks_n && !query->remarks_apart && !open; i++) {
        const struct fragment *fragment = &query->split.fragments[i];
        struct error error;
        const struct grid_result *result = fragment->notes_hidden ? task_result(query->tasks[i], &error) : NULL;
        open = result && result->series_n == 0;
    }
    return open;
}

/* --- direct answers --- */

/* The same members as Prometheus's, from what is known here. */
static void write_stats(struct strbuf *out, const struct query *query, const struct grid_result *result)
{
    double total_s = (double)(monotonic_ms() - query->begun_ms) / 1e3, engine_s = (double)result->engine_us / 1e6;
    INVARIANT(out->len > 0 && out->ptr[out->len - 1] == '}');
    out->len--; /* reopens the object "data" */
    strbuf_f(out,
             ",\"stats\":{\"timings\":{\"evalTotalTime\":%.6f,\"resultSortTime\":0,\"queryPreparationTime\":0,"
             "\"innerEvalTime\":%.6f,\"execQueueTime\":0,\"execTotalTime\":%.6f},"
             "\"samples\":{\"totalQueryableSamples\":%llu,\"peakSamples\":%llu}}}",
             total_s, engine_s, total_s, (unsigned long long)result->values_n, (unsigned long long)result->values_n);
}

static bool is_left_out(const struct expr_aggregate *aggregate, struct str name)
{
    return str_eq(name, LABEL_METRIC_NAME) || name_list_has(aggregate->grouping, name);
}

/* Groups of topk and bottomk: by the labels of by(…), or by all but the name and those of without(…). */
static int compare_groups(const struct expr_aggregate *aggregate, struct labels a, struct labels b)
{
    if (!aggregate->without) {
        int order = 0;
        for (size_t i = 0; order == 0 && i < aggregate->grouping.n; i++)
            order = str_cmp(labels_get(a, aggregate->grouping.at[i]), labels_get(b, aggregate->grouping.at[i]));
        return order;
    }
    for (size_t i = 0, k = 0;; i++, k++) {
        while (i < a.n && is_left_out(aggregate, a.at[i].name))
            i++;
        while (k < b.n && is_left_out(aggregate, b.at[k].name))
            k++;
        if (i == a.n || k == b.n)
            return (i < a.n) - (k < b.n);
        int name = str_cmp(a.at[i].name, b.at[k].name);
        int order = name ? name : str_cmp(a.at[i].value, b.at[k].value);
        if (order)
            return order;
    }
}

static int compare_choices(const void *left, const void *right, void *arg)
{
    const struct grid_series *a = left, *b = right;
    const struct expr_aggregate *aggregate = arg;
    int groups = compare_groups(aggregate, a->labels, b->labels);
    if (groups)
        return groups;
    double x = a->values[0], y = b->values[0];
    if (isnan(x) || isnan(y) || x == y)
        return isnan(x) != isnan(y) ? (isnan(x) ? 1 : -1) : labels_cmp(a->labels, b->labels);
    return (x < y) == (aggregate->op == AGG_BOTTOMK) ? -1 : 1;
}

/* An instant topk or bottomk lists its groups one after the other, each from the first choice to the last, NaN last. */
static enum status order_choices(struct query *query, struct grid_result *result, struct error *reterr)
{
    const struct expr *root = expr_unparen(query->split.fragments[0].root);
    bool chooses =
        root->kind == EXPR_AGGREGATE && (root->u.aggregate.op == AGG_TOPK || root->u.aggregate.op == AGG_BOTTOMK);
    if (!chooses || result->series_n < 2)
        return OK;
    struct grid_series *series = ARENA_ARRAY(&query->arena, struct grid_series, result->series_n);
    if (!series)
        return error_set(reterr, E_NOMEM, "no memory to order %zu series", result->series_n);
    memcpy(series, result->series, result->series_n * sizeof *series);
    struct expr_aggregate aggregate = root->u.aggregate;
    qsort_r(series, result->series_n, sizeof *series, compare_choices, &aggregate);
    result->series = series;
    return OK;
}

static enum status answer_direct(struct query *query, struct strbuf *out, struct error *reterr)
{
    const struct grid_result *result = task_result(query->tasks[0], reterr);
    if (!result)
        return reterr->status;
    struct grid_result ordered = *result;
    if (!query->params.range && order_choices(query, &ordered, reterr) != OK)
        return reterr->status;
    size_t limit = query->params.limit;
    json_success_begin(out);
    if (query->params.range)
        json_matrix(out, result, limit);
    else if (query->text.root->type == VALUE_SCALAR)
        json_scalar(out, result);
    else
        json_vector(out, &ordered, limit);
    if (query->params.stats.len && out->status == OK)
        write_stats(out, query, result);
    bool truncated = limit && result->series_n > limit;
    struct str infos[MESSAGES_MAX];
    size_t infos_n = add_notes(query, infos, 0);
    json_success_end(out, &truncated_warning, truncated, infos, infos_n);
    return strbuf_status(out, "the query's answer", reterr);
}

/* --- the user's words in upstream's messages --- */

static const struct fragment *fragment_named(const struct query *query, struct str text, size_t at)
{
    while (at < text.len && !isalnum((unsigned char)text.ptr[at]))
        at++; /* =" or =\" */
    if (text.len - at < TASK_ID_LENGTH)
        return NULL;
    for (uint32_t i = 0; i < query->tasks_n; i++)
        if (str_eq(task_id(query->tasks[i]), (struct str){text.ptr + at, TASK_ID_LENGTH}))
            return &query->split.fragments[i];
    return NULL;
}

/* Appends text with every task selector replaced by what the user had written there. */
static void restore(const struct query *query, struct str text, struct strbuf *out)
{
    static const char NAME[] = "__task_id__";
    size_t written = 0, from = 0;
    const char *found;
    while ((found = memmem(text.ptr + from, text.len - from, NAME, sizeof NAME - 1))) {
        size_t at = (size_t)(found - text.ptr), open = at;
        from = at + sizeof NAME - 1;
        const struct fragment *fragment = fragment_named(query, text, from);
        while (open > written && text.ptr[open] != '{')
            open--;
        const char *close = memchr(text.ptr + from, '}', text.len - from);
        if (!fragment || !close || text.ptr[open] != '{')
            continue;
        strbuf_str(out, (struct str){text.ptr + written, open - written});
        strbuf_str(out, fragment->promql);
        written = from = (size_t)(close - text.ptr) + 1;
    }
    strbuf_str(out, (struct str){text.ptr + written, text.len - written});
}

/* --- upstream's answer --- */

enum member {
    MEMBER_STATUS,
    MEMBER_DATA,
    MEMBER_WARNINGS,
    MEMBER_INFOS,
    MEMBER_ERROR_TYPE,
    MEMBER_ERROR,
    MEMBER_MAX
};

static const struct json_member MEMBERS[MEMBER_MAX] = {
    [MEMBER_STATUS] = {.name = STR_STATIC("status")},        [MEMBER_DATA] = {.name = STR_STATIC("data")},
    [MEMBER_WARNINGS] = {.name = STR_STATIC("warnings")},    [MEMBER_INFOS] = {.name = STR_STATIC("infos")},
    [MEMBER_ERROR_TYPE] = {.name = STR_STATIC("errorType")}, [MEMBER_ERROR] = {.name = STR_STATIC("error")},
};

static enum status status_of_type(struct str raw_type)
{
    static const struct {
        struct str type;
        enum status status;
    } TYPES[] = {{STR_STATIC("\"bad_data\""), E_BAD_DATA},  {STR_STATIC("\"execution\""), E_EXECUTION},
                 {STR_STATIC("\"timeout\""), E_TIMEOUT},    {STR_STATIC("\"canceled\""), E_CANCELED},
                 {STR_STATIC("\"internal\""), E_INTERNAL},  {STR_STATIC("\"unavailable\""), E_UNAVAILABLE},
                 {STR_STATIC("\"not_found\""), E_NOT_FOUND}};
    for (size_t i = 0; i < ARRAY_LENGTH(TYPES); i++)
        if (str_eq(TYPES[i].type, raw_type))
            return TYPES[i].status;
    return E_UPSTREAM;
}

/* Upstream answered with an error of its own: the same type, the user's words. */
static enum status upstream_error(struct query *query, const struct json_member *members, struct error *reterr)
{
    struct strbuf raw, text;
    strbuf_init(&raw, QUERY_TEXT_MAX);
    strbuf_init(&text, QUERY_TEXT_MAX);
    json_text(&raw, members[MEMBER_ERROR].value);
    restore(query, strbuf_view(&raw), &text);
    enum status status =
        error_set(reterr, status_of_type(members[MEMBER_ERROR_TYPE].value), STR_FORMAT, STR_ARG(strbuf_view(&text)));
    strbuf_release(&raw);
    strbuf_release(&text);
    return status;
}

static enum status bad_answer(struct query *query, struct error *reterr)
{
    struct str body = {query->answer.body, query->answer.body_len < 200 ? query->answer.body_len : 200};
    return error_set(reterr, E_UPSTREAM, "upstream %s answered HTTP %d, and no JSON of the Prometheus API: " STR_FORMAT,
                     upstream_url(query->app->upstream), query->answer.http_code, STR_ARG(body));
}

static enum status check_answer(struct query *query, struct json_member members[MEMBER_MAX], struct error *reterr)
{
    struct upstream_answer *answer = &query->answer;
    if (answer->status != OK) {
        *reterr = answer->error;
        return answer->status;
    }
    memcpy(members, MEMBERS, sizeof MEMBERS);
    if (!json_members((struct str){answer->body, answer->body_len}, members, MEMBER_MAX))
        return bad_answer(query, reterr);
    if (str_eq(members[MEMBER_STATUS].value, STR("\"error\"")))
        return upstream_error(query, members, reterr);
    if (!str_eq(members[MEMBER_STATUS].value, STR("\"success\"")) || !members[MEMBER_DATA].value.ptr ||
        answer->http_code != 200)
        return bad_answer(query, reterr);
    return OK;
}

/* --- the tasks --- */

static enum status unread(struct query *query, uint32_t index, struct error *reterr)
{
    struct app *app = query->app;
    struct upstream_facts facts = {0};
    metric_add(app->metrics, METRIC_ID_task_failures, "unread", 1);
    if (app->probe) {
        facts = probe_facts(app->probe);
        probe_now(app->probe); /* /-/ready should say so soon */
    }
    return error_set(reterr, E_UPSTREAM,
                     "upstream %s did not read back " STR_FORMAT ": its remote_read section must have the url of this "
                     "server's /api/v1/read, read_recent: true and filter_external_labels: false%s%s",
                     upstream_url(app->upstream), STR_ARG(query->split.fragments[index].promql),
                     facts.reason[0] ? "; the last probe said: " : "", facts.reason);
}

/* Whether upstream has any use for a task: none in a subquery without a step, whose series it does not even read on. */
static bool is_of_use(const struct query *query, uint32_t i)
{
    return query->split.fragments[i].grid.steps > 0;
}

/* Failures of running a task, or of its reading by upstream: what upstream says itself comes in between, for it leaves
 * a read when it finds another fault. */
static enum status check_task_failures(struct query *query, bool of_reading, struct error *reterr)
{
    for (uint32_t i = 0; i < query->tasks_n; i++) {
        struct task_outcome outcome = task_outcome(query->tasks[i]);
        if (outcome.failure.status != OK && is_of_use(query, i) &&
            (outcome.failure.status == E_UPSTREAM) == of_reading) {
            *reterr = outcome.failure;
            return outcome.failure.status;
        }
    }
    return OK;
}

static enum status check_task_reads(struct query *query, struct error *reterr)
{
    for (uint32_t i = 0; i < query->tasks_n; i++) {
        struct task_outcome outcome = task_outcome(query->tasks[i]);
        if (outcome.reads == 0)
            return unread(query, i, reterr);
        if (outcome.reads_complete < outcome.reads && is_of_use(query, i))
            return error_set(reterr, E_UPSTREAM,
                             "upstream broke off its remote read of " STR_FORMAT
                             "; its remote_timeout must exceed the time a query may take",
                             STR_ARG(query->split.fragments[i].promql));
    }
    return OK;
}

/* --- what is passed on --- */

/* Warnings or infos, decoded into the query's arena, in the user's words. */
static size_t read_messages(struct query *query, struct str array, struct str *out)
{
    size_t n = 0;
    struct str element;
    while (n < MESSAGES_MAX && json_next(&array, &element)) {
        struct strbuf raw, placed, text;
        strbuf_init(&raw, QUERY_TEXT_MAX);
        strbuf_init(&placed, QUERY_TEXT_MAX);
        strbuf_init(&text, QUERY_TEXT_MAX);
        if (json_text(&raw, element)) {
            notes_translate(&placed, &query->arena, &query->split, query->residual, strbuf_view(&raw));
            restore(query, strbuf_view(&placed), &text);
        }
        out[n] = arena_str(&query->arena, strbuf_view(&text));
        n += out[n].ptr != NULL;
        strbuf_release(&raw);
        strbuf_release(&placed);
        strbuf_release(&text);
    }
    return n;
}

static enum status check_warnings(const struct str *warnings, size_t n, struct error *reterr)
{
    for (size_t i = 0; i < n; i++)
        if (str_starts_with(warnings[i], STR("remote_read: ")))
            return error_set(reterr, E_UPSTREAM, "upstream's remote read failed: " STR_FORMAT, STR_ARG(warnings[i]));
    return OK;
}

/* How many elements a vector or matrix has, up to one more than the limit; *ret_kept: the text of the first `limit`. */
static size_t count_results(struct str result, size_t limit, struct str *ret_kept)
{
    struct str rest = result, element;
    size_t n = 0;
    *ret_kept = (struct str){result.ptr, 1};
    while (n <= limit && json_next(&rest, &element))
        if (n++ < limit)
            ret_kept->len = (size_t)(element.ptr + element.len - result.ptr);
    return n;
}

/* "data" with at most `limit` series; false if it has no more anyway. Older Prometheuses do not know the parameter, so
 * it is never left to upstream. */
static bool write_limited(struct strbuf *out, struct str data, size_t limit)
{
    struct json_member members[] = {{.name = STR("resultType")}, {.name = STR("result")}, {.name = STR("stats")}};
    struct str kept;
    if (limit == 0 || !json_members(data, members, ARRAY_LENGTH(members)))
        return false;
    if (!str_eq(members[0].value, STR("\"vector\"")) && !str_eq(members[0].value, STR("\"matrix\"")))
        return false;
    if (count_results(members[1].value, limit, &kept) <= limit)
        return false;
    strbuf_cstr(out, "{\"resultType\":");
    strbuf_str(out, members[0].value);
    strbuf_cstr(out, ",\"result\":");
    strbuf_str(out, kept);
    strbuf_char(out, ']');
    if (members[2].value.ptr) {
        strbuf_cstr(out, ",\"stats\":");
        strbuf_str(out, members[2].value);
    }
    strbuf_char(out, '}');
    return true;
}

static enum status pass_on(struct query *query, const struct json_member *members, struct strbuf *out,
                           struct error *reterr)
{
    struct str warnings[MESSAGES_MAX + 1], infos[MESSAGES_MAX];
    size_t warnings_n = read_messages(query, members[MEMBER_WARNINGS].value, warnings);
    size_t infos_n = read_messages(query, members[MEMBER_INFOS].value, infos);
    infos_n = add_notes(query, infos, infos_n);
    if (check_warnings(warnings, warnings_n, reterr) != OK)
        return reterr->status;
    json_success_begin(out);
    if (write_limited(out, members[MEMBER_DATA].value, query->params.limit))
        warnings[warnings_n++] = truncated_warning;
    else
        strbuf_str(out, members[MEMBER_DATA].value);
    json_success_end(out, warnings, warnings_n, infos, infos_n);
    return strbuf_status(out, "the query's answer", reterr);
}

enum status query_judge(struct query *query, struct strbuf *out, struct error *reterr)
{
    struct json_member members[MEMBER_MAX];
    enum status status = cancel_check(&query->cancel, reterr);
    if (status == OK && query->split.direct)
        return answer_direct(query, out, reterr);
    if (status == OK)
        status = check_task_failures(query, false, reterr);
    if (status == OK)
        status = check_answer(query, members, reterr);
    if (status == OK)
        status = check_task_failures(query, true, reterr);
    if (status == OK)
        status = check_task_reads(query, reterr);
    return status == OK ? pass_on(query, members, out, reterr) : status;
}
