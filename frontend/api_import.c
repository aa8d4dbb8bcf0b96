/* frontend/api_import.c: other ways in than remote write: text by POST /api/v1/import, OTLP metrics.
 *
 * The format is that of ?format= (openmetrics, prometheus, json), else of the Content-Type. Samples without a time get
 * ?timestamp= (ms), else the time of the request. The body may be gzipped; body and text have the limit of
 * --remote-write.max-request-size. What was read is committed with remote writes, by the same rules.
 *
 * Codes of import: 204 stored; 400 a line could not be read, or something of it was refused: the first one is named,
 * all else is stored; 413, 415; 503, 500 as for remote write. Of OTLP: 200, with what was not stored in the answer's
 * partial success; 400 when nothing was; else the same.
 */
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>
#include <zlib.h>

#include "base/assert.h"
#include "frontend/api.h"
#include "frontend/app.h"
#include "frontend/ingest.h"
#include "remote/import_text.h"
#include "remote/otlp.h"

#define DECODED_FACTOR  24 /* arena bytes per byte of text, at most */
#define INFLATE_STEP    ((size_t)1 << 18)
#define OTLP_MEDIA      "application/x-protobuf"
#define OTLP_MEDIA_JSON "application/json"
#define GZIP_WINDOW     (15 + 16) /* zlib: largest window, gzip's header */

struct import {
    struct ingest_job job; /* first */
    struct http_request *request;
    struct strbuf text;    /* unpacked; empty if the body was not packed */
    struct strbuf message; /* of OTLP that came as JSON */
    bool is_json;          /* OTLP did */
    struct arena arena;
    struct import_part part;  /* of text */
    struct otlp_request otlp; /* of OTLP */
};

static void import_free(struct import *import)
{
    strbuf_release(&import->text);
    strbuf_release(&import->message);
    arena_release(&import->arena);
    free(import);
}

static void count_answer(struct app *app, int code)
{
    char text[16];
    snprintf(text, sizeof text, "%d", code);
    metric_add(app->metrics, METRIC_ID_import_requests, text, 1);
}

/* --- the body --- */

static enum status inflate_all(z_stream *stream, struct strbuf *out, struct error *reterr)
{
    for (int code = Z_OK; code != Z_STREAM_END;) {
        size_t left = out->max - out->len, step = left < INFLATE_STEP ? left : INFLATE_STEP;
        char spare; /* a byte beyond the limit tells more from the end */
        char *place = left ? strbuf_reserve(out, step) : &spare;
        if (!place)
            return error_set(reterr, E_NOMEM, "no memory for the request");
        uInt room = (uInt)(left ? step : 1);
        stream->next_out = (Bytef *)place;
        stream->avail_out = room;
        code = inflate(stream, Z_NO_FLUSH);
        size_t written = room - stream->avail_out;
        if (!left && written)
            return error_set(reterr, E_TOO_LARGE, "import: gzip: more than the %zu bytes allowed", out->max);
        if (left)
            strbuf_commit(out, written);
        if (code != Z_OK && code != Z_STREAM_END)
            return error_set(reterr, E_BAD_DATA, "import: gzip: %s",
                             code == Z_BUF_ERROR ? "unexpected end" : "corrupt input");
    }
    return stream->avail_in ? error_set(reterr, E_BAD_DATA, "import: gzip: something stands behind its end") : OK;
}

static enum status unpack(struct import *import, size_t max, struct error *reterr)
{
    struct str body = import->request->body;
    z_stream stream = {.next_in = (z_const Bytef *)body.ptr, .avail_in = (uInt)body.len};
    strbuf_init(&import->text, max);
    if (inflateInit2(&stream, GZIP_WINDOW) != Z_OK)
        return error_set(reterr, E_NOMEM, "no memory for the request");
    enum status status = inflate_all(&stream, &import->text, reterr);
    inflateEnd(&stream);
    return status;
}

static enum status text_of(struct import *import, struct str *ret_text, struct error *reterr)
{
    const struct http_request *request = import->request;
    struct str encoding = request->content_encoding;
    size_t max = (size_t)request->app->config.write_body_max_bytes;
    *ret_text = request->body;
    if (request->body.len > max)
        return error_set(reterr, E_TOO_LARGE, "import of %zu bytes exceeds limit %zu", request->body.len, max);
    if (encoding.len == 0 || str_eq(encoding, STR("identity")))
        return OK;
    if (encoding.len != 4 || strncasecmp(encoding.ptr, "gzip", 4) != 0)
        return error_set(reterr, E_UNSUPPORTED_MEDIA,
                         STR_FORMAT " encoding (compression) is not accepted here; only gzip is", STR_ARG(encoding));
    enum status status = unpack(import, max, reterr);
    *ret_text = strbuf_view(&import->text);
    return status;
}

/* --- what to read it as --- */

static enum status format_of(const struct http_request *request, enum import_format *ret_format, struct error *reterr)
{
    const struct str *format = http_param(request, "format");
    if (format && !import_format_named(*format, ret_format))
        return error_set(reterr, E_BAD_DATA,
                         "invalid parameter \"format\": \"" STR_FORMAT "\" is none of openmetrics, prometheus, json",
                         STR_ARG(*format));
    if (!format && !import_format_of_media(request->content_type, ret_format))
        return error_set(reterr, E_UNSUPPORTED_MEDIA,
                         "content type \"" STR_FORMAT "\" is none of application/openmetrics-text, text/plain "
                         "(Prometheus's format), application/json (JSON lines); ?format= names one, too",
                         STR_ARG(request->content_type));
    return OK;
}

static enum status time_of(const struct http_request *request, int64_t *ret_ms, struct error *reterr)
{
    const struct str *time = http_param(request, "timestamp");
    *ret_ms = wall_clock_ms();
    if (time && !api_whole(*time, ret_ms))
        return error_set(reterr, E_BAD_DATA,
                         "invalid parameter \"timestamp\": \"" STR_FORMAT "\" is no whole number of ms",
                         STR_ARG(*time));
    return OK;
}

static struct write_limits limits_of(const struct config *config)
{
    return (struct write_limits){.labels_max = (size_t)config->write_labels_max,
                                 .label_name_max_bytes = (size_t)config->write_label_name_max_bytes,
                                 .label_value_max_bytes = (size_t)config->write_label_value_max_bytes};
}

static enum status decode_text(struct import *import, struct error *reterr)
{
    struct write_limits limits = limits_of(&import->request->app->config);
    struct import_text reader = {.limits = &limits};
    struct str text;
    size_t used;
    enum status status = format_of(import->request, &reader.format, reterr);
    if (status == OK)
        status = time_of(import->request, &reader.time_ms, reterr);
    if (status == OK)
        status = text_of(import, &text, reterr);
    if (status == OK)
        status = import_text_read(&reader, &import->arena, text, true, SIZE_MAX, &used, &import->part, reterr);
    import->job.append = ingest_append_of(&import->part.request);
    return status;
}

static enum status otlp_format(struct import *import, struct error *reterr)
{
    struct str type = import->request->content_type, media = type;
    const char *parameters = type.len ? memchr(type.ptr, ';', type.len) : NULL;
    media.len = parameters ? (size_t)(parameters - type.ptr) : type.len;
    while (media.len && media.ptr[media.len - 1] == ' ')
        media.len--;
    import->is_json = str_eq(media, STR(OTLP_MEDIA_JSON));
    if (import->is_json || str_eq(media, STR(OTLP_MEDIA)))
        return OK;
    return error_set(reterr, E_UNSUPPORTED_MEDIA,
                     "unsupported content type: " STR_FORMAT ", supported: [" OTLP_MEDIA_JSON ", " OTLP_MEDIA "]",
                     STR_ARG(type));
}

static enum status decode_otlp(struct import *import, struct error *reterr)
{
    struct write_limits limits = limits_of(&import->request->app->config);
    struct str message;
    enum status status = otlp_format(import, reterr);
    if (status == OK)
        status = text_of(import, &message, reterr);
    if (status == OK && import->is_json) {
        status = otlp_from_json(message, &import->message, reterr);
        message = strbuf_view(&import->message);
    }
    if (status == OK)
        status = otlp_unpack(&import->arena, message, &limits, &import->otlp, reterr);
    import->job.append = ingest_append_of(&import->otlp.request);
    return status;
}

/* --- answers --- */

static void answer_error(struct http_request *request, const struct error *error)
{
    int code = ingest_error_code(request, error);
    count_answer(request->app, code);
    http_respond_text(request, code, "%s\n", error->message);
}

static void answer_text(struct import *import)
{
    const struct append_request *done = &import->job.append;
    const struct import_part *part = &import->part;
    struct http_request *request = import->request;
    size_t refused = ingest_refused(done);
    ingest_count_samples(request->app, &part->request, done);
    ingest_count_exemplars(request->app, &part->request, done);
    bool good = !refused && !part->bad_lines && !part->request.invalid_series;
    count_answer(request->app, good ? 204 : 400);
    if (good) {
        http_respond_text(request, 204, "%s", "");
        return;
    }
    const struct error *first = part->bad_lines                ? &part->bad
                                : part->request.invalid_series ? &part->request.invalid
                                                               : &done->refused;
    http_respond_text(
        request, 400,
        "%s (samples: %zu stored, %zu known, %zu out of order, %zu too old, %zu with another value than "
        "stored, %zu too far in the future, %zu older than the retention; lines that cannot be read: %zu; "
        "series with invalid labels: %zu; exemplars not stored: %zu)\n",
        first->message, done->written, done->duplicates, done->out_of_order, done->too_old, done->conflicting,
        done->too_far_ahead, done->beyond_retention, part->bad_lines, part->request.invalid_series,
        ingest_exemplars_lost(&part->request, done));
}

/* What was not stored, in the answer's partial success. */
static void answer_otlp(struct import *import)
{
    const struct append_request *done = &import->job.append;
    const struct otlp_request *otlp = &import->otlp;
    struct http_request *request = import->request;
    size_t left_out = otlp->rejected_points + otlp->request.invalid_histograms + ingest_refused(done) +
                      write_request_invalid_samples(&otlp->request);
    const char *why = otlp->rejected_points              ? otlp->rejected.message
                      : otlp->request.invalid_histograms ? otlp->request.invalid_histogram.message
                      : otlp->request.invalid_series     ? otlp->request.invalid.message
                      : ingest_refused(done)             ? done->refused.message
                                                         : "";
    ingest_count_samples(request->app, &otlp->request, done);
    ingest_count_exemplars(request->app, &otlp->request, done);
    bool nothing = left_out > 0 && done->written + done->duplicates == 0;
    count_answer(request->app, nothing ? 400 : 200);
    if (nothing) {
        http_respond_text(request, 400, "%s\n", why);
        return;
    }
    struct strbuf body;
    strbuf_init(&body, 65536);
    (import->is_json ? otlp_response_json : otlp_response)(&body, left_out, str_from(why));
    http_respond(request, 200, import->is_json ? OTLP_MEDIA_JSON : OTLP_MEDIA, &body);
}

static void text_done(struct ingest_job *job)
{
    struct import *import = (struct import *)job;
    if (job->failure.status == OK)
        answer_text(import);
    else
        answer_error(import->request, &job->failure);
    import_free(import);
}

static void otlp_done(struct ingest_job *job)
{
    struct import *import = (struct import *)job;
    if (job->failure.status == OK)
        answer_otlp(import);
    else
        answer_error(import->request, &job->failure);
    import_free(import);
}

static void receive(struct http_request *request, enum status (*decode)(struct import *, struct error *),
                    void (*done)(struct ingest_job *job))
{
    struct error error;
    struct import *import = calloc(1, sizeof *import);
    if (!import) {
        answer_error(request, &(struct error){.status = E_NOMEM, .message = "no memory for the request"});
        return;
    }
    import->request = request;
    arena_init(&import->arena, (size_t)request->app->config.write_body_max_bytes * DECODED_FACTOR);
    enum status status = decode(import, &error);
    import->job.done = done;
    import->job.bytes = sizeof *import + import->arena.used_bytes + import->text.len + import->message.len;
    if (status == OK)
        status = ingest_submit(request->app->ingest, &import->job, &error);
    if (status == OK)
        return; /* the committer answers */
    import_free(import);
    answer_error(request, &error);
}

void api_import(struct http_request *request)
{
    receive(request, decode_text, text_done);
}

void api_otlp(struct http_request *request)
{
    receive(request, decode_otlp, otlp_done);
}
