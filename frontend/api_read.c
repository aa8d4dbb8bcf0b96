/* frontend/api_read.c: POST /api/v1/read: callbacks of task selectors, and plain remote reads of the store.
 *
 * A request is answered in three steps: its tasks are looked up; it waits, holding no thread, until the results of the
 * grid tasks are there; its queries are encoded in order. SAMPLES make one compressed block and are encoded whole;
 * STREAMED_XOR_CHUNKS are a stream that a pull of the pool continues, so that raw samples never pile up in memory.
 *
 * What must hold: every begun read of a task is ended exactly once, with what became of it; an answer that failed
 * halfway is broken off, never ended properly. Errors are plain text, which Prometheus shows as it is.
 *
 * Threads  one at a time per reading. Memory: a reading lives in its request's arena.
 */
#include <stdlib.h>
#include <strings.h>

#include "base/assert.h"
#include "frontend/app.h"
#include "frontend/tasks.h"
#include "remote/read_answer.h"

#define READ_QUERIES_MAX      1000
#define READ_MATCHERS_MAX     1000
#define READ_BODY_MAX         ((size_t)1 << 30)  /* SAMPLES before compression */
#define READ_FRAME_MAX        ((size_t)50000000) /* Prometheus's default chunked_read_limit */
#define READ_PIECE_BYTES      ((size_t)1 << 20)
#define READ_CONTENT_ENCODING "snappy"

struct part { /* one query of the request */
    const struct read_query *query;
    bool is_task, begun;
    struct task_read read;
};

struct reading {
    struct http_request *request;
    struct backend *backend;
    struct read_request decoded;
    struct part *parts;
    struct read_answer *answer;
    size_t at;                 /* the part being encoded */
    struct raw_cursor *cursor; /* of that part; NULL: not opened */
    bool in_series;
    size_t series_at;     /* of that part's grid */
    struct error failure; /* the first one */
};

/* A reader that left is no failure of the task: its read stays incomplete, and the query judges that after it heard
 * upstream's own answer, since upstream drops its reads when a query of its own fails. */
static void end_reads(struct reading *reading, bool complete)
{
    for (size_t i = 0; i < reading->decoded.queries_n; i++) {
        struct part *part = &reading->parts[i];
        if (!part->begun)
            continue;
        part->begun = false;
        bool own = reading->failure.status != OK && reading->failure.status != E_CANCELED && reading->at == i;
        task_read_end(&part->read, complete, own ? &reading->failure : NULL);
    }
}

static void close_reading(struct reading *reading)
{
    if (reading->cursor)
        reading->backend->ops->raw_close(reading->cursor);
    reading->cursor = NULL;
    read_answer_free(reading->answer);
    reading->answer = NULL;
}

/* Prometheus's remote read answers 400 where a limit is reached, not 422 as its query API does. */
static int read_http_code(enum status status)
{
    return status_http_code(status == E_LIMIT ? E_BAD_DATA : status);
}

/* Before anything was sent: the failure as text, with its code. */
static void refuse(struct reading *reading)
{
    struct error failure = reading->failure;
    close_reading(reading);
    end_reads(reading, false);
    http_respond_text(reading->request, read_http_code(failure.status), "%s\n", failure.message);
}

/* --- looking up --- */

static enum status begin_task(struct reading *reading, struct part *part, struct str id, const struct matcher *stray)
{
    enum status status = task_read_begin(reading->request->app->tasks, id, &part->read, &reading->failure);
    if (status != OK)
        return status;
    part->begun = true;
    if (!stray)
        return OK;
    return error_set(&reading->failure, E_UPSTREAM,
                     "upstream adds the matcher on \"" STR_FORMAT "\" to its reads, which its external_labels do; set "
                     "filter_external_labels: false in its remote_read section",
                     STR_ARG(stray->name));
}

static enum status begin_parts(struct reading *reading, void (*wake)(void *arg))
{
    struct app *app = reading->request->app;
    for (size_t i = 0; i < reading->decoded.queries_n; i++) {
        struct part *part = &reading->parts[i];
        struct str id;
        const struct matcher *stray = NULL;
        part->query = &reading->decoded.queries[i];
        part->is_task = read_query_task(part->query, &id, &stray);
        part->read = (struct task_read){.wake = wake, .arg = reading};
        reading->at = i;
        if (!part->is_task)
            metric_add(app->metrics, METRIC_ID_plain_reads, NULL, 1);
        else if (begin_task(reading, part, id, stray) != OK)
            return reading->failure.status;
    }
    reading->at = 0;
    return OK;
}

/* --- encoding --- */

static bool is_grid_part(const struct part *part)
{
    const struct fragment *fragment = part->is_task ? task_read_fragment(&part->read) : NULL;
    return part->is_task && (!fragment || fragment->kind == FRAGMENT_GRID);
}

static struct time_span intersect(struct time_span a, struct time_span b)
{
    return (struct time_span){a.min_ms > b.min_ms ? a.min_ms : b.min_ms, a.max_ms < b.max_ms ? a.max_ms : b.max_ms};
}

/* The matchers of the store's own series, the span and the cancel of a part that needs samples. */
static enum status open_cursor(struct reading *reading, struct part *part)
{
    const struct read_query *query = part->query;
    const struct fragment *fragment = part->is_task ? task_read_fragment(&part->read) : NULL;
    struct cancel *cancel = fragment ? task_read_cancel(&part->read) : &reading->request->cancel;
    enum raw_form form = read_answer_takes_chunks(reading->answer) ? RAW_CHUNKS : RAW_SAMPLES;
    read_answer_query(reading->answer);
    if (!fragment)
        return reading->backend->ops->raw_open(reading->backend, form, query->matchers, query->matchers_n, query->span,
                                               cancel, &reading->cursor, &reading->failure);
    task_read_sending(&part->read);
    const struct expr_selector *selector = &expr_unparen(fragment->root)->u.selector;
    return reading->backend->ops->raw_open(reading->backend, form, selector->matchers, selector->matchers_n,
                                           intersect(query->span, fragment->span), cancel, &reading->cursor,
                                           &reading->failure);
}

/* The reader left: upstream gave the read up (its remote_timeout, or its own query's end). */
static enum status check_reader(struct reading *reading)
{
    if (cancel_check(&reading->request->cancel, NULL) == OK)
        return OK;
    return error_set(&reading->failure, E_CANCELED, "the reader broke off its remote read");
}

static enum status encode_kind(struct read_answer *answer, const struct raw_block *block, struct error *reterr)
{
    if (block->samples_n)
        return read_answer_samples(answer, block->samples, block->samples_n, reterr);
    if (block->chunks_n)
        return read_answer_chunks(answer, block->chunks, block->chunks_n, reterr);
    return read_answer_histograms(answer, block->histograms, block->histograms_n, reterr);
}

/* One block of samples; *ret_end after the last. */
static enum status encode_block(struct reading *reading, bool *ret_end)
{
    struct raw_block block = {0};
    struct error *reterr = &reading->failure;
    enum status status = check_reader(reading);
    if (status == OK)
        status = reading->backend->ops->raw_next(reading->cursor, &block, reterr);
    size_t n = raw_block_n(&block);
    if (status == OK && n == 0) {
        reading->backend->ops->raw_close(reading->cursor);
        reading->cursor = NULL;
        *ret_end = true;
        return OK;
    }
    if (status == OK && !reading->in_series)
        status = read_answer_series(reading->answer, block.labels, reterr);
    if (status == OK)
        status = encode_kind(reading->answer, &block, reterr);
    if (status == OK && reading->parts[reading->at].is_task)
        task_read_count(&reading->parts[reading->at].read, n);
    reading->in_series = !block.series_ends;
    return status;
}

/* The hint "series": Prometheus's /api/v1/series wants labels only. Tasks ignore hints. */
static enum status encode_labels(struct reading *reading, const struct read_query *query)
{
    struct expr_selector selector = {.matchers = query->matchers, .matchers_n = query->matchers_n};
    struct series_query wanted = {.selectors = &selector, .selectors_n = 1, .span = query->span};
    struct series_list *list = NULL;
    enum status status =
        reading->backend->ops->series(reading->backend, &wanted, &reading->request->cancel, &list, &reading->failure);
    if (status != OK)
        return status;
    read_answer_query(reading->answer);
    for (size_t i = 0; i < list->n && status == OK; i++)
        status = read_answer_series(reading->answer, list->at[i], &reading->failure);
    series_list_free(list);
    return status;
}

/* The next piece of the current part; goes on to the next part when it ends. */
static enum status encode_some(struct reading *reading)
{
    struct part *part = &reading->parts[reading->at];
    bool end = true;
    enum status status = OK;
    if (is_grid_part(part)) {
        const struct grid_result *result = task_read_result(&part->read, &reading->failure);
        status = result ? read_answer_grid(reading->answer, result, part->query->span, &reading->series_at,
                                           &reading->failure)
                        : reading->failure.status;
        end = status == OK && reading->series_at == result->series_n;
    } else if (!part->is_task && part->query->series_only) {
        status = encode_labels(reading, part->query);
    } else {
        if (!reading->cursor)
            status = open_cursor(reading, part);
        end = false;
        if (status == OK)
            status = encode_block(reading, &end);
    }
    if (status == OK && end) {
        reading->at++;
        reading->series_at = 0;
    }
    return status;
}

/* --- answering --- */

static void samples_sent(void *arg, bool complete)
{
    end_reads(arg, complete);
}

static void answer_samples(struct reading *reading)
{
    enum status status = OK;
    while (status == OK && reading->at < reading->decoded.queries_n)
        status = encode_some(reading);
    if (status == OK)
        status = read_answer_end(reading->answer, &reading->failure);
    struct strbuf body;
    strbuf_init(&body, READ_BODY_MAX);
    if (status == OK) {
        read_answer_take(reading->answer, &body);
        status = strbuf_status(&body, "remote read answer", &reading->failure);
    }
    if (status != OK) {
        strbuf_release(&body);
        refuse(reading);
        return;
    }
    close_reading(reading);
    http_respond_then(reading->request, 200, read_answer_content_type(READ_SAMPLES),
                      read_answer_content_encoding(READ_SAMPLES), &body, samples_sent, reading);
}

static enum status pull(void *arg, struct strbuf *out, bool *ret_done, struct error *reterr)
{
    struct reading *reading = arg;
    enum status status = OK;
    while (status == OK && reading->at < reading->decoded.queries_n && out->len < READ_PIECE_BYTES) {
        status = encode_some(reading);
        read_answer_take(reading->answer, out);
    }
    if (status == OK && reading->at == reading->decoded.queries_n) {
        status = read_answer_end(reading->answer, &reading->failure);
        read_answer_take(reading->answer, out);
        *ret_done = true;
    }
    if (status != OK && reterr)
        *reterr = reading->failure;
    return status;
}

static void stream_over(void *arg, bool complete)
{
    struct reading *reading = arg;
    close_reading(reading);
    end_reads(reading, complete);
}

/* On POOL_CALLBACKS: goes on when the results of all grid tasks are there. Called again by each that was waited for. */
static void go_on(void *arg)
{
    struct reading *reading = arg;
    for (; reading->at < reading->decoded.queries_n; reading->at++) {
        struct part *part = &reading->parts[reading->at];
        if (is_grid_part(part) && !task_read_ready(&part->read))
            return;
        if (is_grid_part(part) && !task_read_result(&part->read, &reading->failure)) {
            refuse(reading);
            return;
        }
    }
    reading->at = 0;
    if (check_reader(reading) != OK) {
        refuse(reading);
        return;
    }
    if (reading->decoded.answer == READ_SAMPLES) {
        answer_samples(reading);
        return;
    }
    for (size_t i = 0; i < reading->decoded.queries_n; i++)
        if (reading->parts[i].begun)
            task_read_sending(&reading->parts[i].read);
    struct http_stream stream = {.pull = pull, .release = stream_over, .arg = reading};
    http_respond_stream(reading->request, 200, read_answer_content_type(READ_STREAMED_XOR_CHUNKS),
                        read_answer_content_encoding(READ_STREAMED_XOR_CHUNKS), &stream);
}

/* --- the request --- */

static enum status check_encoding(const struct http_request *request, struct error *reterr)
{
    struct str encoding = request->content_encoding;
    if (encoding.len == 0 || (encoding.len == sizeof READ_CONTENT_ENCODING - 1 &&
                              strncasecmp(encoding.ptr, READ_CONTENT_ENCODING, encoding.len) == 0))
        return OK;
    return error_set(reterr, E_UNSUPPORTED_MEDIA,
                     "content encoding \"" STR_FORMAT "\" is not taken, only " READ_CONTENT_ENCODING,
                     STR_ARG(encoding));
}

static enum status decode(struct reading *reading)
{
    struct http_request *request = reading->request;
    size_t max = (size_t)request->app->config.read_body_max_bytes;
    struct read_limits limits = {.body_max_bytes = max,
                                 .decoded_max_bytes = max,
                                 .queries_max = READ_QUERIES_MAX,
                                 .matchers_max = READ_MATCHERS_MAX};
    struct error *reterr = &reading->failure;
    enum status status = check_encoding(request, reterr);
    if (status == OK)
        status = read_request_decode(&request->arena, request->body, &limits, &reading->decoded, reterr);
    if (status != OK)
        return status;
    size_t n = reading->decoded.queries_n;
    reading->parts = ARENA_ARRAY(&request->arena, struct part, n ? n : 1);
    if (!reading->parts) {
        reading->decoded.queries_n = 0;
        return error_set(reterr, E_NOMEM, "no memory for %zu queries", n);
    }
    struct read_answer_limits answer = {.samples_max = (uint64_t)request->app->config.query_samples_max,
                                        .samples_body_max = READ_BODY_MAX,
                                        .frame_max_bytes = READ_FRAME_MAX};
    return read_answer_new(reading->decoded.answer, &answer, &reading->answer, reterr);
}

void api_read(struct http_request *request)
{
    struct reading *reading = ARENA_NEW(&request->arena, struct reading);
    if (!reading) {
        http_respond_text(request, 500, "no memory for the request\n");
        return;
    }
    reading->request = request;
    reading->backend = request->app->backend;
    if (decode(reading) != OK || begin_parts(reading, go_on) != OK)
        refuse(reading);
    else
        go_on(reading);
}
