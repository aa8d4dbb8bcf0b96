/* remote/read_request.c: see read_request.h. Requests are small (one selector's matchers), so protobuf-c's generated
 * decoder is fast enough; its copies go into the arena. */
#include "remote/read_request.h"

#include "base/strbuf.h"
#include "base/utf8.h"
#include "proto/remote.pb-c.h"
#include "remote/body.h"

#define WHAT "remote read request"

static struct str view(ProtobufCBinaryData bytes)
{
    return (struct str){bytes.data ? (const char *)bytes.data : "", bytes.len};
}

static int64_t clamp_ms(int64_t time_ms)
{
    return time_ms < READ_TIME_MIN_MS ? READ_TIME_MIN_MS : time_ms > READ_TIME_MAX_MS ? READ_TIME_MAX_MS : time_ms;
}

static enum status set_matcher(const Prometheus__LabelMatcher *wire, struct matcher *matcher, struct error *reterr)
{
    switch ((int)wire->type) { /* int: a peer may send any number */
    case PROMETHEUS__LABEL_MATCHER__TYPE__EQ:
        matcher->op = MATCH_EQUAL;
        break;
    case PROMETHEUS__LABEL_MATCHER__TYPE__NEQ:
        matcher->op = MATCH_NOT_EQUAL;
        break;
    case PROMETHEUS__LABEL_MATCHER__TYPE__RE:
        matcher->op = MATCH_REGEX;
        break;
    case PROMETHEUS__LABEL_MATCHER__TYPE__NRE:
        matcher->op = MATCH_NOT_REGEX;
        break;
    default:
        return error_set(reterr, E_BAD_DATA, WHAT ": invalid matcher type %d", (int)wire->type);
    }
    matcher->name = view(wire->name);
    matcher->value = view(wire->value);
    if (!utf8_valid(matcher->name) || !utf8_valid(matcher->value))
        return error_set(reterr, E_BAD_DATA, WHAT ": matcher name or value is not valid UTF-8");
    return OK;
}

static enum status set_query(struct arena *arena, const Prometheus__Query *wire, size_t matchers_max,
                             struct read_query *query, struct error *reterr)
{
    query->span.min_ms = clamp_ms(wire->start_timestamp_ms);
    query->span.max_ms = clamp_ms(wire->end_timestamp_ms);
    query->series_only = wire->hints && str_eq(view(wire->hints->func), STR("series"));
    query->matchers_n = wire->n_matchers;
    if (wire->n_matchers > matchers_max)
        return error_set(reterr, E_TOO_LARGE, WHAT ": %zu matchers in one query exceed limit %zu", wire->n_matchers,
                         matchers_max);
    void *matchers;
    enum status status = body_alloc(arena, wire->n_matchers, sizeof *query->matchers, WHAT, &matchers, reterr);
    query->matchers = matchers;
    for (size_t i = 0; status == OK && i < wire->n_matchers; i++)
        status = set_matcher(wire->matchers[i], &query->matchers[i], reterr);
    return status;
}

static enum status refuse_types(const Prometheus__ReadRequest *wire, struct error *reterr)
{
    struct strbuf asked;
    strbuf_init(&asked, ERROR_MESSAGE_MAX / 2);
    for (size_t i = 0; i < wire->n_accepted_response_types; i++)
        strbuf_f(&asked, "%s%d", i ? " " : "", (int)wire->accepted_response_types[i]);
    enum status status = error_set(reterr, E_BAD_DATA,
                                   "server does not support any of the requested response types: [" STR_FORMAT
                                   "]; supported: [0 (SAMPLES) 1 (STREAMED_XOR_CHUNKS)]",
                                   STR_ARG(strbuf_view(&asked)));
    strbuf_release(&asked);
    return status;
}

/* The list is in the reader's order of preference; the first that we serve is taken, as Prometheus does. */
static enum status choose_answer(const Prometheus__ReadRequest *wire, enum read_answer_type *ret, struct error *reterr)
{
    *ret = READ_SAMPLES;
    if (wire->n_accepted_response_types == 0)
        return OK;
    for (size_t i = 0; i < wire->n_accepted_response_types; i++) {
        int type = (int)wire->accepted_response_types[i];
        if (type == READ_SAMPLES || type == READ_STREAMED_XOR_CHUNKS) {
            *ret = (enum read_answer_type)type;
            return OK;
        }
    }
    return refuse_types(wire, reterr);
}

static enum status set_request(struct arena *arena, const Prometheus__ReadRequest *wire,
                               const struct read_limits *limits, struct read_request *request, struct error *reterr)
{
    enum status status = choose_answer(wire, &request->answer, reterr);
    if (status != OK)
        return status;
    if (wire->n_queries > limits->queries_max)
        return error_set(reterr, E_TOO_LARGE, WHAT ": %zu queries exceed limit %zu", wire->n_queries,
                         limits->queries_max);
    void *queries;
    status = body_alloc(arena, wire->n_queries, sizeof *request->queries, WHAT, &queries, reterr);
    request->queries = queries;
    request->queries_n = wire->n_queries;
    for (size_t i = 0; status == OK && i < wire->n_queries; i++)
        status = set_query(arena, wire->queries[i], limits->matchers_max, &request->queries[i], reterr);
    return status;
}

enum status read_request_unpack(struct arena *arena, struct str message, const struct read_limits *limits,
                                struct read_request *ret_request, struct error *reterr)
{
    struct body_allocator allocator;
    body_allocator_init(&allocator, arena);
    Prometheus__ReadRequest *wire =
        prometheus__read_request__unpack(&allocator.base, message.len, (const uint8_t *)message.ptr);
    if (!wire && allocator.refused_bytes)
        return body_refused(arena, allocator.refused_bytes, WHAT, reterr);
    if (!wire)
        return error_set(reterr, E_BAD_DATA, WHAT " is not valid protobuf");
    struct read_request request = {0};
    enum status status = set_request(arena, wire, limits, &request, reterr);
    if (status == OK)
        *ret_request = request;
    return status;
}

enum status read_request_decode(struct arena *arena, struct str body, const struct read_limits *limits,
                                struct read_request *ret_request, struct error *reterr)
{
    struct str message;
    enum status status =
        body_uncompress(arena, body, limits->body_max_bytes, limits->decoded_max_bytes, WHAT, &message, reterr);
    return status == OK ? read_request_unpack(arena, message, limits, ret_request, reterr) : status;
}

bool read_query_task(const struct read_query *query, struct str *ret_task_id, const struct matcher **ret_stray)
{
    bool is_task = false;
    struct str task_id = {0};
    const struct matcher *stray = NULL;
    for (size_t i = 0; i < query->matchers_n; i++) {
        const struct matcher *matcher = &query->matchers[i];
        if (matcher->op == MATCH_EQUAL && str_eq(matcher->name, LABEL_TASK_KIND) &&
            str_eq(matcher->value, TASK_KIND_VALUE))
            is_task = true;
        else if (matcher->op == MATCH_EQUAL && str_eq(matcher->name, LABEL_TASK_ID) && !task_id.ptr)
            task_id = matcher->value;
        else if (!stray)
            stray = matcher;
    }
    if (!is_task)
        return false;
    *ret_task_id = task_id;
    *ret_stray = stray;
    return true;
}
