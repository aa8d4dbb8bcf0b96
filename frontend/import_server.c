/* frontend/import_server.c: a Prometheus as the source of an import, by remote read; see import_source.h.
 *
 * Read by windows of time, the oldest first (import_window.h). An answer that passes ANSWER_MAX_BYTES is asked for
 * again in two halves. Its samples are decoded frame by frame into pieces. A request that fails is tried again a few
 * times: a server may be restarted meanwhile.
 */
#include <poll.h>
#include <stdlib.h>

#include "base/assert.h"
#include "frontend/import_source.h"
#include "frontend/import_window.h"
#include "remote/read_client.h"
#include "remote/upstream.h"

#define ANSWER_MAX_BYTES   ((size_t)32 << 20)
#define DECODED_MAX_BYTES  ((size_t)256 << 20) /* of an answer that is one block */
#define CONNECT_TIMEOUT_MS 10000
#define REQUEST_TIMEOUT_MS 300000
#define TRIES_MAX          5
#define TRY_AGAIN_MS       1000 /* doubled each time */

struct server_source {
    struct import_source source; /* first */
    const char *url;
    struct upstream *server;
    const struct import_query *query;
    struct import_window window;
    struct upstream_answer answer; /* that is being read; body NULL: none */
    bool reading;
    struct read_client client;
};

static void drop_answer(struct server_source *s)
{
    free(s->answer.body);
    s->answer = (struct upstream_answer){.body = NULL};
    s->reading = false;
}

static enum status ask_once(struct server_source *s, struct str request, struct error *reterr)
{
    upstream_call(s->server,
                  &(struct upstream_request){.method = "POST",
                                             .path = "/api/v1/read",
                                             .body = request,
                                             .deadline_ms = monotonic_ms() + REQUEST_TIMEOUT_MS},
                  &s->answer);
    if (s->answer.status != OK) {
        *reterr = s->answer.error;
        return s->answer.status;
    }
    if (s->answer.http_code == 200)
        return OK;
    struct str body = {s->answer.body, s->answer.body_len < 300 ? s->answer.body_len : 300};
    while (body.len && (body.ptr[body.len - 1] == '\n' || body.ptr[body.len - 1] == '\r'))
        body.len--;
    return error_set(reterr, s->answer.http_code / 100 == 5 ? E_UPSTREAM : E_BAD_DATA,
                     "%s answers %d to a remote read: " STR_FORMAT, upstream_url(s->server), s->answer.http_code,
                     STR_ARG(body));
}

/* The open window's answer; the window is halved until the answer is within the limit. */
static enum status ask(struct server_source *s, struct error *reterr)
{
    enum status status;
    int tries = 0;
    do {
        struct strbuf request;
        strbuf_init(&request, 1u << 20);
        status = read_client_encode(s->query->matchers, s->query->matchers_n, import_window_span(&s->window), &request,
                                    reterr);
        if (status == OK)
            status = ask_once(s, strbuf_view(&request), reterr);
        strbuf_release(&request);
        if (status == OK)
            break;
        drop_answer(s);
        if (status == E_LIMIT && import_window_shrink(&s->window))
            continue;
        if ((status != E_UPSTREAM && status != E_TIMEOUT) || ++tries == TRIES_MAX)
            return status;
        poll(NULL, 0, TRY_AGAIN_MS << (tries - 1));
    } while (status != OK);
    s->reading = true;
    return read_client_begin(&s->client, (struct str){s->answer.body ? s->answer.body : "", s->answer.body_len},
                             str_from(s->answer.content_type), import_window_span(&s->window), DECODED_MAX_BYTES,
                             reterr);
}

/* Names and values are views of the answer, which goes when it was read; a piece may end after that. */
static enum status keep_labels(struct series_builder *builder, size_t first, struct error *reterr)
{
    for (size_t i = first; i < builder->labels_n; i++) {
        struct label *label = &builder->labels[i];
        label->name = arena_str(builder->arena, label->name);
        label->value = arena_str(builder->arena, label->value);
        if (!label->name.ptr || !label->value.ptr)
            return error_set(reterr, E_NOMEM, "no memory for the labels of an answer");
    }
    return OK;
}

static enum status take_frame(struct server_source *s, struct series_builder *builder, struct error *reterr)
{
    if (!s->reading)
        return ask(s, reterr);
    bool done;
    size_t labels_n = builder->labels_n, samples_n = builder->samples_n + builder->histograms_n;
    enum status status = read_client_next(&s->client, builder, &done, reterr);
    if (status == OK)
        status = keep_labels(builder, labels_n, reterr);
    s->window.samples_n += builder->samples_n + builder->histograms_n - samples_n;
    if (status == OK && done) {
        drop_answer(s);
        import_window_end(&s->window);
    }
    return status;
}

static enum status server_next(struct import_source *source, struct import_piece *piece, bool *ret_done,
                               struct error *reterr)
{
    struct server_source *s = (struct server_source *)source;
    static const struct write_limits NO_LIMITS = {0};
    struct series_builder builder;
    piece->part = (struct import_part){0};
    series_builder_init(&builder, &piece->arena, &NO_LIMITS, "import", &piece->part.request, reterr);
    *ret_done = import_window_is_last(&s->window);
    enum status status = OK;
    int64_t begin_ms = s->window.next_ms;
    while (status == OK && builder.samples_n + builder.histograms_n < IMPORT_PIECE_SAMPLES &&
           s->window.next_ms == begin_ms && !*ret_done)
        status = take_frame(s, &builder, reterr);
    if (status == OK)
        status = series_builder_finish(&builder);
    piece->after = (struct import_place){s->window.next_ms, 0};
    piece->share = import_window_share(&s->window);
    return status;
}

static void server_close(struct import_source *source)
{
    struct server_source *s = (struct server_source *)source;
    drop_answer(s);
    upstream_free(s->server);
    free(s);
}

enum status import_server_open(const char *url, const struct import_query *query, const struct import_place *from,
                               struct import_source **ret_source, struct error *reterr)
{
    static const char *const HEADERS[] = {"Content-Type: application/x-protobuf", "Content-Encoding: snappy",
                                          "X-Prometheus-Remote-Read-Version: 0.1.0", NULL};
    struct server_source *s = calloc(1, sizeof *s);
    if (!s)
        return error_set(reterr, E_NOMEM, "%s: no memory to read it", url);
    s->source = (struct import_source){server_next, server_close};
    s->url = url;
    s->query = query;
    import_window_init(&s->window, query->span, from);
    struct upstream_options options = {.url = url,
                                       .peer = "the server",
                                       .connections_max = 1,
                                       .connect_timeout_ms = CONNECT_TIMEOUT_MS,
                                       .answer_max_bytes = ANSWER_MAX_BYTES,
                                       .user_agent = "promsplit/" PROMSPLIT_VERSION,
                                       .headers = HEADERS};
    enum status status = upstream_new(&options, &s->server, reterr);
    if (status == OK)
        *ret_source = &s->source;
    else
        server_close(&s->source);
    return status;
}
