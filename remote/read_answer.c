/* remote/read_answer.c: see read_answer.h.
 *
 * Written by hand straight into one buffer, not with protobuf-c, which wants a struct of 40 bytes and a pointer for
 * each sample before it can pack them. 3.6 M samples of 10 000 series: 60 ms and the 65 MB of the message here, 300 ms
 * and 270 MB there. Messages whose length is known only at their end get room for the longest head; closing one moves
 * it to its place.
 */
#include "remote/read_answer.h"

#include <inttypes.h>
#include <stdlib.h>

#include "base/assert.h"
#include "base/float_text.h"
#include "remote/body.h"
#include "remote/crc32c.h"
#include "remote/histogram_chunk.h"
#include "remote/wire.h"
#include "base/xor_chunk.h"

#define WHAT             "remote read answer"
#define HEAD_ROOM        (1 + 5) /* tag and length of messages below 4 GiB: all that snappy can hold */
#define SAMPLES_AT_ONCE  512
#define PIECE_BYTES      ((size_t)1 << 20) /* of a streamed grid, until they are taken */
#define CHUNK_FIELDS_MAX (2 * (1 + WIRE_VARINT_MAX) + 2 + WIRE_BYTES_HEAD_MAX)
#define UNPACKED_MAX     ((size_t)16 << 20) /* of a native histogram; the largest needs some 1 MB */

enum chunk_type { /* numbers of the wire */
    CHUNK_XOR = 1,
    CHUNK_HISTOGRAM,
    CHUNK_FLOAT_HISTOGRAM
};

struct read_answer {
    enum read_answer_type type;
    struct read_answer_limits limits;
    uint64_t samples_n;
    size_t queries_n; /* begun */
    bool series_open, ended;
    struct error failure; /* status OK: none yet */
    struct strbuf out;    /* finished bytes, not taken yet */
    /* READ_SAMPLES */
    struct strbuf body;               /* the ReadResponse */
    size_t query_begin, series_begin; /* places of the open messages' heads */
    /* READ_STREAMED_XOR_CHUNKS */
    struct strbuf series; /* the open ChunkedSeries */
    struct xor_encoder chunk;
    struct histogram_encoder *histograms; /* at most one of the two has samples; NULL: none came yet */
    struct arena unpacked;                /* the histogram under way */
    int64_t chunk_min_ms, chunk_max_ms;   /* if one has */
};

enum status read_answer_new(enum read_answer_type type, const struct read_answer_limits *limits,
                            struct read_answer **ret_answer, struct error *reterr)
{
    struct read_answer *answer = calloc(1, sizeof *answer);
    if (!answer)
        return error_set(reterr, E_NOMEM, "no memory for a remote read answer");
    answer->type = type;
    answer->limits = *limits;
    size_t body_max = limits->samples_body_max < UINT32_MAX ? limits->samples_body_max : UINT32_MAX;
    strbuf_init(&answer->body, body_max);
    /* snappy_max_compressed_length of the largest body; for frames their own limit */
    strbuf_init(&answer->out, type == READ_SAMPLES ? body_max + body_max / 6 + 32 : limits->samples_body_max);
    strbuf_init(&answer->series, limits->frame_max_bytes);
    xor_encoder_start(&answer->chunk);
    arena_init(&answer->unpacked, UNPACKED_MAX);
    *ret_answer = answer;
    return OK;
}

void read_answer_free(struct read_answer *answer)
{
    if (!answer)
        return;
    strbuf_release(&answer->out);
    strbuf_release(&answer->body);
    strbuf_release(&answer->series);
    histogram_encoder_free(answer->histograms);
    arena_release(&answer->unpacked);
    free(answer);
}

const char *read_answer_content_type(enum read_answer_type type)
{
    return type == READ_SAMPLES ? "application/x-protobuf"
                                : "application/x-streamed-protobuf; proto=prometheus.ChunkedReadResponse";
}

const char *read_answer_content_encoding(enum read_answer_type type)
{
    return type == READ_SAMPLES ? "snappy" : NULL;
}

/* The first failure stays: every later call gives it again. */
static enum status report(const struct read_answer *answer, struct error *reterr)
{
    if (answer->failure.status != OK && reterr)
        *reterr = answer->failure;
    return answer->failure.status;
}

/* --- READ_SAMPLES --- */

static size_t open_message(struct strbuf *body)
{
    size_t begin = body->len;
    if (strbuf_reserve(body, HEAD_ROOM))
        strbuf_commit(body, HEAD_ROOM);
    return begin;
}

static void close_message(struct strbuf *body, size_t begin, unsigned field)
{
    if (body->status != OK)
        return;
    size_t len = body->len - begin - HEAD_ROOM;
    unsigned char *head = (unsigned char *)body->ptr + begin;
    unsigned char *content = wire_put_head(head, field, len);
    memmove(content, head + HEAD_ROOM, len);
    body->len = (size_t)((char *)content - body->ptr) + len;
    body->ptr[body->len] = '\0';
}

static void put_samples(struct strbuf *body, const struct sample *samples, size_t n)
{
    while (n > 0) {
        size_t some = n < SAMPLES_AT_ONCE ? n : SAMPLES_AT_ONCE;
        unsigned char *begin = (unsigned char *)strbuf_reserve(body, some * WIRE_SAMPLE_MAX);
        if (!begin)
            return;
        unsigned char *at = begin;
        for (size_t i = 0; i < some; i++)
            at = wire_put_sample(at, 2, &samples[i]);
        strbuf_commit(body, (size_t)(at - begin));
        samples += some;
        n -= some;
    }
}

static void put_histograms(struct strbuf *body, const struct histogram_sample *histograms, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        size_t size = WIRE_BYTES_HEAD_MAX + native_histogram_wire_size(&histograms[i]);
        unsigned char *begin = (unsigned char *)strbuf_reserve(body, size);
        if (!begin)
            return;
        strbuf_commit(body, (size_t)(native_histogram_put(begin, 4, &histograms[i]) - begin));
    }
}

/* --- READ_STREAMED_XOR_CHUNKS --- */

static void append_chunk(struct read_answer *answer, int64_t min_ms, int64_t max_ms, struct str data,
                         enum chunk_type type)
{
    uint64_t min = (uint64_t)min_ms, max = (uint64_t)max_ms;
    size_t size = 1 + wire_varint_size(min) + 1 + wire_varint_size(max) + 2 + wire_bytes_size(data.len);
    unsigned char *begin = (unsigned char *)strbuf_reserve(&answer->series, WIRE_BYTES_HEAD_MAX + size);
    if (begin) {
        unsigned char *at = wire_put_head(begin, 2, size);
        *at++ = WIRE_TAG(1, WIRE_VARINT);
        at = wire_put_varint(at, min);
        *at++ = WIRE_TAG(2, WIRE_VARINT);
        at = wire_put_varint(at, max);
        *at++ = WIRE_TAG(3, WIRE_VARINT);
        *at++ = (unsigned char)type;
        at = wire_put_bytes(at, WIRE_TAG(4, WIRE_BYTES), data);
        strbuf_commit(&answer->series, (size_t)(at - begin));
    }
}

/* Appends the chunk under construction, if there is one, to its series. */
static void close_chunk(struct read_answer *answer)
{
    if (answer->chunk.samples_n) {
        append_chunk(answer, answer->chunk_min_ms, answer->chunk_max_ms, xor_encoder_finish(&answer->chunk), CHUNK_XOR);
        xor_encoder_start(&answer->chunk);
    } else if (answer->histograms && histogram_encoder_n(answer->histograms)) {
        bool is_float;
        struct str data = histogram_encoder_finish(answer->histograms, &is_float);
        append_chunk(answer, answer->chunk_min_ms, answer->chunk_max_ms, data,
                     is_float ? CHUNK_FLOAT_HISTOGRAM : CHUNK_HISTOGRAM);
    }
}

static void put_chunks(struct read_answer *answer, const struct sample *samples, size_t n)
{
    if (n > 0 && answer->chunk.samples_n == 0)
        close_chunk(answer); /* of histograms */
    while (n > 0) {
        if (answer->chunk.samples_n == 0)
            answer->chunk_min_ms = samples[0].time_ms;
        size_t taken = xor_encoder_add(&answer->chunk, samples, n);
        answer->chunk_max_ms = samples[taken - 1].time_ms;
        samples += taken;
        n -= taken;
        if (answer->chunk.samples_n == XOR_CHUNK_SAMPLES_MAX)
            close_chunk(answer);
    }
}

static enum status chunk_histogram(struct read_answer *answer, const struct histogram_sample *sample,
                                   struct error *reterr)
{
    struct native_histogram histogram;
    struct histogram_encoder *encoder = answer->histograms;
    enum status status = native_histogram_unpack(&answer->unpacked, sample->packed, &histogram, reterr);
    if (status != OK)
        return error_set(reterr, E_STORE, WHAT ": a stored native histogram cannot be read");
    histogram.time_ms = sample->time_ms;
    if (answer->chunk.samples_n || !histogram_encoder_takes(encoder, &histogram))
        close_chunk(answer);
    if (histogram_encoder_n(encoder) == 0)
        answer->chunk_min_ms = sample->time_ms;
    answer->chunk_max_ms = sample->time_ms;
    status = histogram_encoder_add(encoder, &histogram, reterr);
    arena_reset(&answer->unpacked);
    return status;
}

static enum status chunk_histograms(struct read_answer *answer, const struct histogram_sample *samples, size_t n,
                                    struct error *reterr)
{
    enum status status = answer->histograms ? OK : histogram_encoder_new(&answer->histograms, reterr);
    for (size_t i = 0; status == OK && i < n; i++)
        status = chunk_histogram(answer, &samples[i], reterr);
    return status;
}

static enum status series_status(const struct read_answer *answer, struct error *reterr)
{
    if (answer->series.status == E_LIMIT)
        return error_set(reterr, E_LIMIT,
                         WHAT ": one series needs a frame longer than the allowed %zu bytes; narrow the time range",
                         answer->limits.frame_max_bytes);
    return strbuf_status(&answer->series, WHAT, reterr);
}

/* One series, one frame: uvarint length, CRC-32C big-endian, then the ChunkedReadResponse. */
static enum status close_frame(struct read_answer *answer, struct error *reterr)
{
    close_chunk(answer);
    enum status status = series_status(answer, reterr);
    if (status != OK)
        return status;
    struct str series = strbuf_view(&answer->series);
    unsigned char head[WIRE_BYTES_HEAD_MAX], tail[1 + WIRE_VARINT_MAX], frame[WIRE_VARINT_MAX + 4];
    size_t head_n = (size_t)(wire_put_head(head, 1, series.len) - head);
    size_t tail_n = 0;
    if (answer->queries_n > 1) { /* query_index 0 is the default */
        tail[0] = WIRE_TAG(2, WIRE_VARINT);
        tail_n = (size_t)(wire_put_varint(tail + 1, answer->queries_n - 1) - tail);
    }
    uint32_t crc = crc32c(crc32c(crc32c(0, head, head_n), series.ptr, series.len), tail, tail_n);
    unsigned char *at = wire_put_varint(frame, head_n + series.len + tail_n);
    for (int shift = 24; shift >= 0; shift -= 8)
        *at++ = (unsigned char)(crc >> shift);
    strbuf_bytes(&answer->out, frame, (size_t)(at - frame));
    strbuf_bytes(&answer->out, head, head_n);
    strbuf_str(&answer->out, series);
    strbuf_bytes(&answer->out, tail, tail_n);
    strbuf_clear(&answer->series);
    return strbuf_status(&answer->out, WHAT, reterr);
}

/* --- both --- */

static void put_labels(struct strbuf *message, struct labels labels)
{
    size_t size = 0;
    for (size_t i = 0; i < labels.n; i++)
        size += wire_bytes_size(wire_label_size(&labels.at[i]));
    unsigned char *begin = (unsigned char *)strbuf_reserve(message, size);
    if (!begin)
        return;
    unsigned char *at = begin;
    for (size_t i = 0; i < labels.n; i++)
        at = wire_put_label(at, 1, &labels.at[i]);
    strbuf_commit(message, (size_t)(at - begin));
}

static enum status close_series(struct read_answer *answer)
{
    if (!answer->series_open)
        return OK;
    answer->series_open = false;
    if (answer->type == READ_STREAMED_XOR_CHUNKS)
        return close_frame(answer, &answer->failure);
    close_message(&answer->body, answer->series_begin, 1);
    return strbuf_status(&answer->body, WHAT, &answer->failure);
}

static enum status close_query(struct read_answer *answer)
{
    enum status status = close_series(answer);
    if (status == OK && answer->type == READ_SAMPLES && answer->queries_n) {
        close_message(&answer->body, answer->query_begin, 1);
        status = strbuf_status(&answer->body, WHAT, &answer->failure);
    }
    return status;
}

void read_answer_query(struct read_answer *answer)
{
    PRE(!answer->ended);
    if (answer->failure.status != OK || close_query(answer) != OK)
        return;
    answer->queries_n++;
    if (answer->type == READ_SAMPLES)
        answer->query_begin = open_message(&answer->body);
}

enum status read_answer_series(struct read_answer *answer, struct labels labels, struct error *reterr)
{
    PRE(!answer->ended);
    if (answer->failure.status != OK || close_series(answer) != OK)
        return report(answer, reterr);
    PRE(answer->queries_n);
    answer->series_open = true;
    enum status status;
    if (answer->type == READ_SAMPLES) {
        answer->series_begin = open_message(&answer->body);
        put_labels(&answer->body, labels);
        status = strbuf_status(&answer->body, WHAT, &answer->failure);
    } else {
        put_labels(&answer->series, labels);
        status = series_status(answer, &answer->failure);
    }
    return status == OK ? OK : report(answer, reterr);
}

/* Counts n more samples. */
static enum status count_samples(struct read_answer *answer, size_t n)
{
    if (answer->failure.status != OK)
        return answer->failure.status;
    PRE(answer->series_open);
    if (n > answer->limits.samples_max - answer->samples_n)
        return error_set(&answer->failure, E_LIMIT, "exceeded sample limit (%" PRIu64 ")", answer->limits.samples_max);
    answer->samples_n += n;
    return OK;
}

enum status read_answer_samples(struct read_answer *answer, const struct sample *samples, size_t n,
                                struct error *reterr)
{
    enum status status = count_samples(answer, n);
    if (status == OK && answer->type == READ_SAMPLES) {
        put_samples(&answer->body, samples, n);
        status = strbuf_status(&answer->body, WHAT, &answer->failure);
    } else if (status == OK) {
        put_chunks(answer, samples, n);
        status = series_status(answer, &answer->failure);
    }
    return status == OK ? OK : report(answer, reterr);
}

bool read_answer_takes_chunks(const struct read_answer *answer)
{
    return answer->type == READ_STREAMED_XOR_CHUNKS;
}

enum status read_answer_chunks(struct read_answer *answer, const struct raw_chunk *chunks, size_t n,
                               struct error *reterr)
{
    PRE(read_answer_takes_chunks(answer));
    enum status status = OK;
    close_chunk(answer);
    for (size_t i = 0; status == OK && i < n; i++) {
        status = count_samples(answer, chunks[i].samples_n);
        if (status == OK)
            append_chunk(answer, chunks[i].min_ms, chunks[i].max_ms, chunks[i].bytes, CHUNK_XOR);
    }
    if (status == OK)
        status = series_status(answer, &answer->failure);
    return status == OK ? OK : report(answer, reterr);
}

enum status read_answer_histograms(struct read_answer *answer, const struct histogram_sample *histograms, size_t n,
                                   struct error *reterr)
{
    enum status status = count_samples(answer, n);
    if (status == OK && answer->type == READ_SAMPLES) {
        put_histograms(&answer->body, histograms, n);
        status = strbuf_status(&answer->body, WHAT, &answer->failure);
    } else if (status == OK) {
        status = chunk_histograms(answer, histograms, n, &answer->failure);
        if (status == OK)
            status = series_status(answer, &answer->failure);
    }
    return status == OK ? OK : report(answer, reterr);
}

enum status read_answer_end(struct read_answer *answer, struct error *reterr)
{
    PRE(!answer->ended);
    if (answer->failure.status != OK || close_query(answer) != OK)
        return report(answer, reterr);
    answer->ended = true;
    if (answer->type == READ_STREAMED_XOR_CHUNKS)
        return OK;
    enum status status = body_compress(strbuf_view(&answer->body), &answer->out, WHAT, &answer->failure);
    strbuf_release(&answer->body);
    return status == OK ? OK : report(answer, reterr);
}

void read_answer_take(struct read_answer *answer, struct strbuf *out)
{
    struct strbuf *from = &answer->out;
    if (out->len == 0 && out->status == OK && from->len <= out->max) { /* change buffers instead of copying */
        struct strbuf taken = *from;
        from->ptr = out->ptr;
        from->capacity = out->capacity;
        out->ptr = taken.ptr;
        out->capacity = taken.capacity;
        out->len = taken.len;
    } else {
        strbuf_str(out, strbuf_view(from));
    }
    strbuf_clear(from);
}

/* --- grids --- */

/* The steps of grid inside span: [*ret_from, *ret_to). Differences are taken unsigned: they cannot overflow. */
static void steps_inside(struct grid grid, struct time_span span, uint32_t *ret_from, uint32_t *ret_to)
{
    uint64_t step = (uint64_t)grid.step_ms, from = 0, to = 0;
    if (span.min_ms > grid.start_ms)
        from = ((uint64_t)span.min_ms - (uint64_t)grid.start_ms - 1) / step + 1;
    if (span.max_ms >= grid.start_ms)
        to = ((uint64_t)span.max_ms - (uint64_t)grid.start_ms) / step + 1;
    *ret_to = to < grid.steps ? (uint32_t)to : grid.steps;
    *ret_from = from < *ret_to ? (uint32_t)from : *ret_to;
}

/* What steps [from, to) of a series put on the wire; returns the number of samples. *alive: upstream's lookback would
 * find a value at the step before, and, afterwards, at the last one. */
static size_t grid_samples(struct grid grid, const struct grid_series *series, uint32_t from, uint32_t to, bool *alive,
                           struct sample *samples)
{
    size_t n = 0;
    for (uint32_t k = from; k < to; k++) {
        bool present = grid_series_has(series, k);
        if (present || *alive) {
            double value = present ? series->values[k] : double_from_bits(STALE_NAN_BITS);
            if (present && is_stale_marker(value))
                value = double_from_bits(NORMAL_NAN_BITS);
            samples[n++] = (struct sample){grid_time(grid, k), value};
        }
        *alive = present;
    }
    return n;
}

static enum status put_grid_series(struct read_answer *answer, struct grid grid, const struct grid_series *series,
                                   struct time_span span, struct error *reterr)
{
    struct sample samples[SAMPLES_AT_ONCE + 1];
    uint32_t from, to;
    steps_inside(grid, span, &from, &to);
    bool begun = false, alive = false;
    enum status status = OK;
    while (from < to && status == OK) {
        uint32_t end = to - from > SAMPLES_AT_ONCE ? from + SAMPLES_AT_ONCE : to;
        size_t n = grid_samples(grid, series, from, end, &alive, samples);
        uint64_t left_ms = (uint64_t)span.max_ms - (uint64_t)grid_time(grid, end - 1);
        if (end == to && alive && left_ms >= (uint64_t)grid.step_ms) /* upstream may look one step behind the grid */
            samples[n++] = (struct sample){grid_time(grid, to), double_from_bits(STALE_NAN_BITS)};
        if (n && !begun)
            status = read_answer_series(answer, series->labels, reterr);
        if (n && status == OK)
            status = read_answer_samples(answer, samples, n, reterr);
        begun |= n > 0;
        from = end;
    }
    return status;
}

enum status read_answer_grid(struct read_answer *answer, const struct grid_result *result, struct time_span span,
                             size_t *series_at, struct error *reterr)
{
    if (*series_at == 0)
        read_answer_query(answer);
    enum status status = report(answer, reterr);
    while (*series_at < result->series_n && answer->out.len < PIECE_BYTES && status == OK)
        status = put_grid_series(answer, result->grid, &result->series[(*series_at)++], span, reterr);
    return status;
}
