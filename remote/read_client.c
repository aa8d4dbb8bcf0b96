/* remote/read_client.c: see read_client.h. */
#include "remote/read_client.h"

#include "base/assert.h"
#include "remote/body.h"
#include "remote/crc32c.h"
#include "remote/histogram_chunk.h"
#include "remote/wire.h"
#include "base/xor_chunk.h"

#define WHAT        "remote read answer"
#define SCRATCH_MAX ((size_t)16 << 20) /* of a native histogram; the largest needs some 1 MB */

enum { /* of Chunk.type */
    CHUNK_XOR = 1,
    CHUNK_HISTOGRAM,
    CHUNK_FLOAT_HISTOGRAM
};

/* --- the request --- */

static size_t matcher_size(const struct matcher *matcher)
{
    return 1 + wire_varint_size(matcher->op) + wire_bytes_size(matcher->name.len) + wire_bytes_size(matcher->value.len);
}

static unsigned char *put_matcher(unsigned char *at, const struct matcher *matcher)
{
    at = wire_put_head(at, 3, matcher_size(matcher));
    *at++ = WIRE_TAG(1, WIRE_VARINT);
    at = wire_put_varint(at, matcher->op); /* the numbers of the wire are those of enum match_op */
    at = wire_put_bytes(at, WIRE_TAG(2, WIRE_BYTES), matcher->name);
    return wire_put_bytes(at, WIRE_TAG(3, WIRE_BYTES), matcher->value);
}

enum status read_client_encode(const struct matcher *matchers, size_t n, struct time_span span, struct strbuf *out,
                               struct error *reterr)
{
    static const struct matcher ALL = {STR_STATIC("__name__"), MATCH_REGEX, STR_STATIC(".+")};
    _Static_assert(MATCH_EQUAL == 0 && MATCH_NOT_EQUAL == 1 && MATCH_REGEX == 2 && MATCH_NOT_REGEX == 3,
                   "as LabelMatcher.Type");
    matchers = n ? matchers : &ALL;
    n = n ? n : 1;
    size_t size = 2 + wire_varint_size((uint64_t)span.min_ms) + wire_varint_size((uint64_t)span.max_ms);
    for (size_t i = 0; i < n; i++)
        size += wire_bytes_size(matcher_size(&matchers[i]));
    struct strbuf message;
    strbuf_init(&message, size + 64);
    unsigned char *at = (unsigned char *)strbuf_reserve(&message, size + 2 * WIRE_BYTES_HEAD_MAX);
    if (at) {
        unsigned char *begin = at;
        at = wire_put_head(at, 1, size);
        *at++ = WIRE_TAG(1, WIRE_VARINT);
        at = wire_put_varint(at, (uint64_t)span.min_ms);
        *at++ = WIRE_TAG(2, WIRE_VARINT);
        at = wire_put_varint(at, (uint64_t)span.max_ms);
        for (size_t i = 0; i < n; i++)
            at = put_matcher(at, &matchers[i]);
        *at++ = WIRE_TAG(2, WIRE_BYTES); /* accepted types, packed: streamed chunks, else samples */
        *at++ = 2;
        *at++ = READ_STREAMED_XOR_CHUNKS;
        *at++ = READ_SAMPLES;
        strbuf_commit(&message, (size_t)(at - begin));
    }
    enum status status = strbuf_status(&message, "remote read request", reterr);
    if (status == OK)
        status = body_compress(strbuf_view(&message), out, "remote read request", reterr);
    strbuf_release(&message);
    return status;
}

/* --- the answer --- */

struct reading {
    const struct read_client *client;
    struct series_builder *builder;
    const char *begin; /* of the message, which begins at byte `offset` of what errors count */
    size_t offset;
    struct error *reterr;
    struct arena *scratch; /* of a native histogram, or of a chunk of such */
};

static enum status broken(const struct reading *r, const void *at, const char *what)
{
    return error_set(r->reterr, E_BAD_DATA, WHAT ": %s at byte %zu", what,
                     r->offset + (size_t)((const char *)at - r->begin));
}

static bool in_span(const struct read_client *client, int64_t time_ms)
{
    return time_ms >= client->span.min_ms && time_ms <= client->span.max_ms;
}

static enum status read_label(const struct reading *r, struct str bytes)
{
    struct wire_in in = wire_in(bytes);
    struct label label = {STR(""), STR("")};
    while (in.at < in.end) {
        struct wire_field field;
        if (!wire_get_field(&in, &field) || (field.number <= 2 && field.type != WIRE_BYTES))
            return broken(r, bytes.ptr, "a broken label");
        if (field.number <= 2)
            *(field.number == 1 ? &label.name : &label.value) = field.bytes;
    }
    return series_builder_label(r->builder, label.name, label.value) ? OK : r->builder->status;
}

static enum status read_sample(const struct reading *r, struct str bytes, size_t *n)
{
    struct wire_in in = wire_in(bytes);
    struct sample *sample = series_builder_room(r->builder, *n + 1);
    if (!sample)
        return r->builder->status;
    sample[*n] = (struct sample){0};
    while (in.at < in.end) {
        struct wire_field field;
        if (!wire_get_field(&in, &field) || (field.number == 1 && field.type != WIRE_FIXED64) ||
            (field.number == 2 && field.type != WIRE_VARINT))
            return broken(r, bytes.ptr, "a broken sample");
        if (field.number == 1)
            sample[*n].value = double_from_bits(field.value);
        else if (field.number == 2)
            sample[*n].time_ms = (int64_t)field.value;
    }
    *n += in_span(r->client, sample[*n].time_ms);
    return OK;
}

/* The chunk's samples inside the span, behind the n that are there. */
static enum status decode_chunk(const struct reading *r, struct str data, size_t *n)
{
    struct error error;
    if (data.len < 2)
        return broken(r, data.ptr, "a chunk without a head");
    size_t room = (size_t)((unsigned char)data.ptr[0] << 8 | (unsigned char)data.ptr[1]), decoded;
    struct sample *samples = series_builder_room(r->builder, *n + room);
    if (!samples)
        return r->builder->status;
    samples += *n;
    if (xor_chunk_decode(data, samples, room, &decoded, &error) != OK)
        return broken(r, data.ptr, error.message);
    size_t kept = 0;
    for (size_t i = 0; i < decoded; i++)
        if (in_span(r->client, samples[i].time_ms))
            samples[kept++] = samples[i];
    *n += kept;
    return OK;
}

/* A native histogram behind those that are there, if it is in the span and right. */
static enum status take_histogram(const struct native_histogram *histogram, void *arg)
{
    const struct reading *r = arg;
    struct series_builder *builder = r->builder;
    struct histogram_sample sample;
    if (!in_span(r->client, histogram->time_ms))
        return OK;
    if (native_histogram_check(histogram, NULL) != OK) {
        builder->request->invalid_histograms++;
        return OK;
    }
    enum status status = native_histogram_store(builder->arena, histogram, &sample, r->reterr);
    if (status == OK && !series_builder_histogram(builder, &sample))
        status = builder->status;
    return status;
}

static enum status read_histogram(const struct reading *r, struct str bytes)
{
    struct native_histogram histogram;
    struct error error;
    enum status status = native_histogram_unpack(r->scratch, bytes, &histogram, &error);
    if (status == OK)
        status = take_histogram(&histogram, (void *)r);
    else
        status = broken(r, bytes.ptr, error.message);
    arena_reset(r->scratch);
    return status;
}

static enum status decode_histograms(const struct reading *r, struct str data, bool is_float)
{
    struct error error = {.status = OK};
    enum status status = histogram_chunk_decode(data, is_float, r->scratch, take_histogram, (void *)r, &error);
    if (status != OK && error.status != OK)
        status = broken(r, data.ptr, error.message);
    arena_reset(r->scratch);
    return status;
}

static enum status read_chunk(const struct reading *r, struct str bytes, size_t *n)
{
    struct wire_in in = wire_in(bytes);
    uint64_t type = 0;
    struct str data = {NULL, 0};
    while (in.at < in.end) {
        struct wire_field field;
        if (!wire_get_field(&in, &field) || (field.number == 3 && field.type != WIRE_VARINT) ||
            (field.number == 4 && field.type != WIRE_BYTES))
            return broken(r, bytes.ptr, "a broken chunk");
        if (field.number == 3)
            type = field.value;
        else if (field.number == 4)
            data = field.bytes;
    }
    if (type == CHUNK_XOR)
        return decode_chunk(r, data, n);
    if (type == CHUNK_HISTOGRAM || type == CHUNK_FLOAT_HISTOGRAM)
        return decode_histograms(r, data, type == CHUNK_FLOAT_HISTOGRAM);
    return broken(r, bytes.ptr, "a chunk of an unknown kind");
}

/* ChunkedSeries, and TimeSeries, whose second field is samples and whose fourth is native histograms. */
static enum status read_series(const struct reading *r, struct str bytes)
{
    bool chunked = r->client->type == READ_STREAMED_XOR_CHUNKS;
    struct wire_in in = wire_in(bytes);
    size_t n = 0;
    enum status status = OK;
    while (status == OK && in.at < in.end) {
        struct wire_field field;
        if (!wire_get_field(&in, &field) || (field.number <= 2 && field.type != WIRE_BYTES))
            return broken(r, bytes.ptr, "a broken series");
        if (field.number == 1)
            status = read_label(r, field.bytes);
        else if (field.number == 2)
            status = chunked ? read_chunk(r, field.bytes, &n) : read_sample(r, field.bytes, &n);
        else if (field.number == 4 && !chunked)
            status =
                field.type == WIRE_BYTES ? read_histogram(r, field.bytes) : broken(r, bytes.ptr, "a broken series");
    }
    if (status != OK || (n == 0 && !series_builder_has_histograms(r->builder)))
        series_builder_drop(r->builder);
    else
        series_builder_end(r->builder, n);
    return status == OK ? r->builder->status : status;
}

/* The messages of field 1, each with `read`. */
static enum status read_each(const struct reading *r, struct str bytes,
                             enum status (*read)(const struct reading *, struct str))
{
    struct wire_in in = wire_in(bytes);
    enum status status = OK;
    while (status == OK && in.at < in.end) {
        struct wire_field field;
        const unsigned char *at = in.at;
        if (!wire_get_field(&in, &field) || (field.number == 1 && field.type != WIRE_BYTES))
            return broken(r, at, "no valid protobuf");
        if (field.number == 1)
            status = read(r, field.bytes);
    }
    return status;
}

static enum status read_result(const struct reading *r, struct str bytes)
{
    return read_each(r, bytes, read_series);
}

static enum status next_frame(struct read_client *client, struct series_builder *builder, struct error *reterr)
{
    struct str rest = {client->answer.ptr + client->at, client->answer.len - client->at};
    struct arena scratch;
    struct reading r = {client, builder, client->answer.ptr, 0, reterr, &scratch};
    struct wire_in in = wire_in(rest);
    uint64_t len;
    if (!wire_get_varint(&in, &len) || len > (uint64_t)(in.end - in.at) || (uint64_t)(in.end - in.at) - len < 4)
        return broken(&r, rest.ptr, "the answer ends in the middle of a frame");
    uint32_t want = 0;
    for (int i = 0; i < 4; i++)
        want = want << 8 | *in.at++;
    if (crc32c(0, in.at, (size_t)len) != want)
        return broken(&r, rest.ptr, "the checksum of a frame is wrong");
    client->at += (size_t)((const char *)in.at - rest.ptr) + (size_t)len;
    arena_init(&scratch, SCRATCH_MAX);
    enum status status = read_each(&r, (struct str){(const char *)in.at, (size_t)len}, read_series);
    arena_release(&scratch);
    return status;
}

static enum status read_block(struct read_client *client, struct series_builder *builder, struct error *reterr)
{
    struct str message;
    enum status status = body_uncompress(builder->arena, client->answer, client->answer.len, client->decoded_max_bytes,
                                         WHAT, &message, reterr);
    if (status != OK)
        return status;
    client->at = client->answer.len;
    struct arena scratch;
    struct reading r = {client, builder, message.ptr, 0, reterr, &scratch};
    arena_init(&scratch, SCRATCH_MAX);
    status = read_each(&r, message, read_result);
    arena_release(&scratch);
    return status;
}

enum status read_client_begin(struct read_client *client, struct str answer, struct str content_type,
                              struct time_span span, size_t decoded_max_bytes, struct error *reterr)
{
    *client = (struct read_client){.answer = answer, .span = span, .decoded_max_bytes = decoded_max_bytes};
    if (str_starts_with(content_type, STR("application/x-streamed-protobuf")))
        client->type = READ_STREAMED_XOR_CHUNKS;
    else if (str_starts_with(content_type, STR("application/x-protobuf")))
        client->type = READ_SAMPLES;
    else
        return error_set(reterr, E_BAD_DATA, WHAT " of content type \"" STR_FORMAT "\": no remote read speaks here",
                         STR_ARG(content_type));
    return OK;
}

enum status read_client_next(struct read_client *client, struct series_builder *builder, bool *ret_done,
                             struct error *reterr)
{
    enum status status = OK;
    if (client->at < client->answer.len)
        status =
            client->type == READ_SAMPLES ? read_block(client, builder, reterr) : next_frame(client, builder, reterr);
    *ret_done = client->at == client->answer.len;
    return status;
}
