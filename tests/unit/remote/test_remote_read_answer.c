/* tests/unit/remote/test_remote_read_answer.c: remote read answers of both kinds, read back with protobuf-c, and a
 * frame that must equal Prometheus's byte for byte; grids with gaps and their staleness markers. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/assert.h"
#include "base/float_text.h"
#include "proto/remote.pb-c.h"
#include "remote/read_answer.h"
#include "base/xor_chunk.h"
#include "wire_test.h"

static const struct read_answer_limits LIMITS = {
    .samples_max = 1000000, .samples_body_max = 1 << 26, .frame_max_bytes = 1 << 24};

/* --- an answer as the tests see it, whichever way it travelled --- */

struct seen_series {
    char labels[200]; /* a=1,b=2 */
    struct sample *samples;
    size_t n;
    size_t chunks_n; /* streamed */
};

struct seen {
    struct seen_series series[64];
    size_t query_of[64]; /* index of the query the series belongs to */
    size_t n;
    size_t queries_n; /* READ_SAMPLES only: frames do not tell of empty results */
};

static void seen_release(struct seen *seen)
{
    for (size_t i = 0; i < seen->n; i++)
        free(seen->series[i].samples);
}

static struct seen_series *see_series(struct seen *seen, size_t query, Prometheus__Label *const *labels, size_t n)
{
    assert_true(seen->n < ARRAY_LENGTH(seen->series));
    seen->query_of[seen->n] = query;
    struct seen_series *series = &seen->series[seen->n++];
    *series = (struct seen_series){.samples = calloc(100000, sizeof *series->samples)};
    for (size_t i = 0; i < n; i++) {
        size_t at = strlen(series->labels);
        snprintf(series->labels + at, sizeof series->labels - at, "%s%.*s=%.*s", i ? "," : "", (int)labels[i]->name.len,
                 (const char *)labels[i]->name.data, (int)labels[i]->value.len, (const char *)labels[i]->value.data);
    }
    return series;
}

static void see_samples_body(struct seen *seen, struct str body)
{
    struct strbuf plain = uncompressed(body);
    Prometheus__ReadResponse *message = prometheus__read_response__unpack(NULL, plain.len, (const uint8_t *)plain.ptr);
    assert_non_null(message);
    seen->queries_n = message->n_results;
    for (size_t q = 0; q < message->n_results; q++) {
        for (size_t i = 0; i < message->results[q]->n_timeseries; i++) {
            const Prometheus__TimeSeries *from = message->results[q]->timeseries[i];
            struct seen_series *series = see_series(seen, q, from->labels, from->n_labels);
            for (size_t k = 0; k < from->n_samples; k++)
                series->samples[series->n++] = (struct sample){from->samples[k]->timestamp, from->samples[k]->value};
        }
    }
    prometheus__read_response__free_unpacked(message, NULL);
    strbuf_release(&plain);
}

static uint32_t crc_bit_by_bit(const unsigned char *bytes, size_t n)
{
    uint32_t crc = UINT32_MAX;
    for (size_t i = 0; i < n * 8; i++) {
        unsigned in = bytes[i / 8] >> (i % 8) & 1;
        crc = (crc ^ in) & 1 ? crc >> 1 ^ UINT32_C(0x82f63b78) : crc >> 1;
    }
    return ~crc;
}

static void see_chunk(struct seen_series *series, const Prometheus__Chunk *chunk)
{
    assert_int_equal(chunk->type, PROMETHEUS__CHUNK__ENCODING__XOR);
    struct sample samples[XOR_CHUNK_SAMPLES_MAX];
    size_t n;
    struct str data = {(const char *)chunk->data.data, chunk->data.len};
    assert_int_equal(xor_chunk_decode(data, samples, XOR_CHUNK_SAMPLES_MAX, &n, NULL), OK);
    assert_true(n > 0);
    assert_int_equal(chunk->min_time_ms, samples[0].time_ms);
    assert_int_equal(chunk->max_time_ms, samples[n - 1].time_ms);
    memcpy(series->samples + series->n, samples, n * sizeof *samples);
    series->n += n;
    series->chunks_n++;
}

static void see_frames(struct seen *seen, struct str stream)
{
    const unsigned char *at = (const unsigned char *)stream.ptr, *end = at + stream.len;
    while (at < end) {
        size_t len = 0;
        for (unsigned shift = 0;; shift += 7) {
            len |= (size_t)(*at & 0x7f) << shift;
            if (*at++ < 0x80)
                break;
        }
        assert_true(len + 4 <= (size_t)(end - at));
        uint32_t crc = (uint32_t)at[0] << 24 | (uint32_t)at[1] << 16 | (uint32_t)at[2] << 8 | at[3];
        at += 4;
        assert_int_equal(crc, crc_bit_by_bit(at, len));
        Prometheus__ChunkedReadResponse *message = prometheus__chunked_read_response__unpack(NULL, len, at);
        assert_non_null(message);
        assert_int_equal(message->n_chunked_series, 1); /* one series, one frame */
        const Prometheus__ChunkedSeries *from = message->chunked_series[0];
        struct seen_series *series = see_series(seen, (size_t)message->query_index, from->labels, from->n_labels);
        for (size_t i = 0; i < from->n_chunks; i++)
            see_chunk(series, from->chunks[i]);
        prometheus__chunked_read_response__free_unpacked(message, NULL);
        at += len;
    }
}

static struct seen see(enum read_answer_type type, struct strbuf *bytes)
{
    struct seen seen = {.n = 0};
    if (type == READ_SAMPLES)
        see_samples_body(&seen, strbuf_view(bytes));
    else
        see_frames(&seen, strbuf_view(bytes));
    strbuf_release(bytes);
    return seen;
}

static struct read_answer *new_answer(enum read_answer_type type, const struct read_answer_limits *limits)
{
    struct read_answer *answer;
    assert_int_equal(read_answer_new(type, limits, &answer, NULL), OK);
    return answer;
}

static struct strbuf finish(struct read_answer *answer)
{
    assert_int_equal(read_answer_end(answer, NULL), OK);
    struct strbuf bytes = new_buffer();
    read_answer_take(answer, &bytes);
    read_answer_free(answer);
    return bytes;
}

static const enum read_answer_type TYPES[] = {READ_SAMPLES, READ_STREAMED_XOR_CHUNKS};

/* --- cases --- */

static void test_types(void **state)
{
    assert_string_equal(read_answer_content_type(READ_SAMPLES), "application/x-protobuf");
    assert_string_equal(read_answer_content_encoding(READ_SAMPLES), "snappy");
    assert_string_equal(read_answer_content_type(READ_STREAMED_XOR_CHUNKS),
                        "application/x-streamed-protobuf; proto=prometheus.ChunkedReadResponse");
    assert_null(read_answer_content_encoding(READ_STREAMED_XOR_CHUNKS));
}

static void test_prometheus_frame(void **state)
{
    const struct sample samples[] = VECTOR_SAMPLES;
    const struct label labels[] = {{STR("__name__"), STR("v")}, {STR("job"), STR("x")}};
    struct read_answer *answer = new_answer(READ_STREAMED_XOR_CHUNKS, &LIMITS);
    read_answer_query(answer);
    assert_int_equal(read_answer_series(answer, (struct labels){labels, 2}, NULL), OK);
    assert_int_equal(read_answer_samples(answer, samples, ARRAY_LENGTH(samples), NULL), OK);
    struct strbuf got = finish(answer), want = from_hex(VECTOR_FRAME);
    assert_int_equal(got.len, want.len);
    assert_memory_equal(got.ptr, want.ptr, want.len);
    strbuf_release(&got);
    strbuf_release(&want);
}

/* Two queries with series between, an empty one, a series without samples, runs of many sizes. */
static void test_several_queries(void **state)
{
    const struct label a[] = {{STR("a"), STR("1")}}, b[] = {{STR("a"), STR("1")}, {STR("b"), STR("2")}};
    struct sample samples[1000];
    for (size_t i = 0; i < ARRAY_LENGTH(samples); i++)
        samples[i] =
            (struct sample){(int64_t)i * 15000 - 5000, i % 7 ? (double)i / 3 : double_from_bits(STALE_NAN_BITS)};
    for (size_t t = 0; t < ARRAY_LENGTH(TYPES); t++) {
        struct read_answer *answer = new_answer(TYPES[t], &LIMITS);
        read_answer_query(answer);
        assert_int_equal(read_answer_series(answer, (struct labels){NULL, 0}, NULL), OK);
        assert_int_equal(read_answer_samples(answer, samples, 1, NULL), OK);
        assert_int_equal(read_answer_series(answer, (struct labels){a, 1}, NULL), OK);
        for (size_t at = 0, run = 1; at < 1000; at += run, run = run * 2 + 1) {
            if (run > 1000 - at)
                run = 1000 - at;
            assert_int_equal(read_answer_samples(answer, samples + at, run, NULL), OK);
        }
        read_answer_query(answer);
        read_answer_query(answer);
        assert_int_equal(read_answer_series(answer, (struct labels){b, 2}, NULL), OK);
        struct strbuf bytes = finish(answer);
        struct seen seen = see(TYPES[t], &bytes);
        assert_int_equal(seen.n, 3);
        if (TYPES[t] == READ_SAMPLES)
            assert_int_equal(seen.queries_n, 3);
        assert_string_equal(seen.series[0].labels, "");
        assert_int_equal(seen.series[0].n, 1);
        assert_string_equal(seen.series[1].labels, "a=1");
        assert_int_equal(seen.query_of[1], 0);
        assert_int_equal(seen.series[1].n, 1000);
        assert_memory_equal(seen.series[1].samples, samples, sizeof samples);
        if (TYPES[t] == READ_STREAMED_XOR_CHUNKS)
            assert_int_equal(seen.series[1].chunks_n, 9); /* 8 of 120, one of 40: runs do not cut chunks */
        assert_string_equal(seen.series[2].labels, "a=1,b=2");
        assert_int_equal(seen.query_of[2], 2);
        assert_int_equal(seen.series[2].n, 0);
        seen_release(&seen);
    }
}

static void test_empty_answers(void **state)
{
    for (size_t queries = 0; queries < 3; queries++) {
        for (size_t t = 0; t < ARRAY_LENGTH(TYPES); t++) {
            struct read_answer *answer = new_answer(TYPES[t], &LIMITS);
            for (size_t i = 0; i < queries; i++)
                read_answer_query(answer);
            struct strbuf bytes = finish(answer);
            if (TYPES[t] == READ_STREAMED_XOR_CHUNKS)
                assert_int_equal(bytes.len, 0);
            struct seen seen = see(TYPES[t], &bytes);
            assert_int_equal(seen.n, 0);
            if (TYPES[t] == READ_SAMPLES)
                assert_int_equal(seen.queries_n, queries);
        }
    }
}

/* Bytes of a streamed series are there as soon as the next one begins, and only once. */
static void test_streams_series_by_series(void **state)
{
    struct read_answer *answer = new_answer(READ_STREAMED_XOR_CHUNKS, &LIMITS);
    struct strbuf all = new_buffer(), part = new_buffer();
    read_answer_query(answer);
    for (int i = 0; i < 50; i++) {
        char text[8];
        snprintf(text, sizeof text, "%03d", i);
        const struct label label = {STR("n"), str_from(text)};
        const struct sample sample = {i, i};
        assert_int_equal(read_answer_series(answer, (struct labels){&label, 1}, NULL), OK);
        strbuf_clear(&part);
        read_answer_take(answer, &part);
        assert_int_equal(part.len > 0, i > 0);
        assert_true(part.len < 64);
        strbuf_str(&all, strbuf_view(&part));
        assert_int_equal(read_answer_samples(answer, &sample, 1, NULL), OK);
        read_answer_take(answer, &all); /* nothing to take: the series may go on */
    }
    strbuf_release(&part);
    struct strbuf rest = finish(answer);
    strbuf_str(&all, strbuf_view(&rest));
    strbuf_release(&rest);
    struct seen seen = see(READ_STREAMED_XOR_CHUNKS, &all);
    assert_int_equal(seen.n, 50);
    assert_string_equal(seen.series[49].labels, "n=049");
    seen_release(&seen);
}

static void test_take_appends(void **state)
{
    struct read_answer *answer = new_answer(READ_SAMPLES, &LIMITS);
    read_answer_query(answer);
    assert_int_equal(read_answer_end(answer, NULL), OK);
    struct strbuf out = new_buffer();
    strbuf_cstr(&out, "before");
    read_answer_take(answer, &out);
    assert_memory_equal(out.ptr, "before", 6);
    assert_true(out.len > 6);
    size_t len = out.len;
    read_answer_take(answer, &out);
    assert_int_equal(out.len, len);
    strbuf_release(&out);
    read_answer_free(answer);
    read_answer_free(NULL);
}

/* --- limits --- */

static void test_sample_limit(void **state)
{
    struct read_answer_limits limits = LIMITS;
    limits.samples_max = 10;
    const struct sample samples[11] = {{0}};
    for (size_t t = 0; t < ARRAY_LENGTH(TYPES); t++) {
        struct read_answer *answer = new_answer(TYPES[t], &limits);
        read_answer_query(answer);
        assert_int_equal(read_answer_series(answer, (struct labels){NULL, 0}, NULL), OK);
        assert_int_equal(read_answer_samples(answer, samples, 4, NULL), OK);
        read_answer_query(answer); /* the limit is of the whole answer */
        assert_int_equal(read_answer_series(answer, (struct labels){NULL, 0}, NULL), OK);
        assert_int_equal(read_answer_samples(answer, samples, 6, NULL), OK);
        struct error error;
        assert_int_equal(read_answer_samples(answer, samples, 1, &error), E_LIMIT);
        assert_string_equal(error.message, "exceeded sample limit (10)");
        memset(&error, 0, sizeof error);
        read_answer_query(answer);
        assert_int_equal(read_answer_series(answer, (struct labels){NULL, 0}, &error), E_LIMIT); /* it stays */
        assert_int_equal(read_answer_end(answer, &error), E_LIMIT);
        assert_string_equal(error.message, "exceeded sample limit (10)");
        read_answer_free(answer);
    }
}

static enum status write_random_series(struct read_answer *answer, size_t n, struct error *error)
{
    enum status status = read_answer_series(answer, (struct labels){NULL, 0}, error);
    uint64_t bits = 88172645463325252;
    for (size_t i = 0; i < n && status == OK; i++) {
        bits ^= bits << 13;
        bits ^= bits >> 7;
        bits ^= bits << 17;
        const struct sample sample = {(int64_t)i, double_from_bits(bits)};
        status = read_answer_samples(answer, &sample, 1, error);
    }
    return status;
}

static void test_byte_limits(void **state)
{
    struct read_answer_limits limits = LIMITS;
    struct error error;
    limits.frame_max_bytes = 20000;
    struct read_answer *answer = new_answer(READ_STREAMED_XOR_CHUNKS, &limits);
    read_answer_query(answer);
    assert_int_equal(write_random_series(answer, 1000, &error), OK); /* some 10 KB each: several fit the limit */
    assert_int_equal(write_random_series(answer, 1000, &error), OK);
    assert_int_equal(write_random_series(answer, 1000, &error), OK);
    assert_int_equal(write_random_series(answer, 4000, &error), E_LIMIT);
    assert_non_null(strstr(error.message, "one series needs a frame longer than the allowed 20000 bytes"));
    read_answer_free(answer);

    limits.samples_body_max = 50000;
    for (size_t t = 0; t < ARRAY_LENGTH(TYPES); t++) {
        answer = new_answer(TYPES[t], &limits);
        read_answer_query(answer);
        enum status status = OK;
        int series = 0;
        for (; status == OK; series++)
            status = write_random_series(answer, 500, &error);
        assert_int_equal(status, E_LIMIT);
        assert_non_null(strstr(error.message, "remote read answer is longer than the allowed 50000 bytes"));
        assert_true(series > 3 && series < 20);
        read_answer_free(answer);
    }
}

/* --- grids --- */

enum {
    MARKER = 's'
};

/* v: the value of that step (its index); s: a staleness marker. Samples must stand at the right times. */
static void grid_as_text(const struct seen_series *series, struct grid grid, char *text, size_t size)
{
    memset(text, '.', size - 1);
    text[size - 1] = '\0';
    for (size_t i = 0; i < series->n; i++) {
        int64_t off = series->samples[i].time_ms - grid.start_ms;
        assert_int_equal(off % grid.step_ms, 0);
        size_t k = (size_t)(off / grid.step_ms);
        assert_true(off >= 0 && k < size - 1);
        bool stale = is_stale_marker(series->samples[i].value);
        if (!stale)
            assert_true(series->samples[i].value == (double)k);
        assert_int_equal(text[k], '.');
        text[k] = stale ? MARKER : 'v';
        if (i)
            assert_true(series->samples[i - 1].time_ms < series->samples[i].time_ms);
    }
}

static struct grid_series grid_series_of(const char *present, uint32_t steps, double *values, uint64_t *bits)
{
    memset(bits, 0, (steps / 64 + 1) * sizeof *bits);
    for (uint32_t k = 0; k < steps; k++) {
        values[k] = present[k] == '1' ? (double)k : 1e99; /* absent steps: any value */
        bits[k / 64] |= (uint64_t)(present[k] == '1') << (k % 64);
    }
    return (struct grid_series){.values = values, .present = bits};
}

static void test_grid_markers(void **state)
{
    static const struct {
        const char *present;
        int64_t from, to; /* the span, in ms from the grid's start; the step is 1000 */
        const char *want; /* one character a step and one behind the grid; NULL: no series */
    } CASES[] = {
        {"11111", 0, 4000, "vvvvv."}, /* all there, the span ends with the grid: nothing follows */
        {"11111", 0, 4999, "vvvvv."}, /* not a whole step behind it */
        {"11111", 0, 5000, "vvvvvs"}, /* one step behind the grid is inside the span */
        {"11111", -300000, 90000, "vvvvvs"},
        {"11011", 0, 4000, "vvsvv."}, /* a gap of one */
        {"10001", 0, 4000, "vs..v."}, /* only its first step is marked */
        {"00100", 0, 4000, "..vs.."}, /* nothing before the first value */
        {"10000", 0, 4000, "vs...."},
        {"00001", 0, 4000, "....v."},
        {"00001", 0, 5000, "....vs"},
        {"10101", 0, 9000, "vsvsvs"},
        {"10101", 1000, 3000, "..vs.."}, /* the span cuts both ends */
        {"11111", 1001, 3999, "..vv.."}, /* bounds between steps */
        {"11111", 2000, 2000, "..v..."}, /* one step */
        {"11011", 2000, 4000, "...vv."}, /* begins in a gap: what came before is not sent, so needs no marker */
        {"11011", 0, 2000, "vvs..."},
        {"11011", 0, 1999, "vv...."}, /* the marker's step is outside */
        {"11011", 2000, 2999, NULL},  /* only the gap is inside */
        {"11111", -9000, -1, NULL},
        {"11111", 5000, 9000, NULL},
        {"11111", 3000, 2000, NULL}, /* an empty span */
        {"1", 0, 0, "v."},
        {"1", 0, 1000, "vs"},
    };
    for (size_t i = 0; i < ARRAY_LENGTH(CASES); i++) {
        for (size_t t = 0; t < ARRAY_LENGTH(TYPES); t++) {
            double values[8];
            uint64_t bits[1];
            uint32_t steps = (uint32_t)strlen(CASES[i].present);
            struct grid_series series = grid_series_of(CASES[i].present, steps, values, bits);
            const struct grid grid = {.start_ms = 1700000000000, .step_ms = 1000, .steps = steps};
            const struct grid_result result = {.grid = grid, .series = &series, .series_n = 1};
            const struct time_span span = {grid.start_ms + CASES[i].from, grid.start_ms + CASES[i].to};
            struct read_answer *answer = new_answer(TYPES[t], &LIMITS);
            assert_int_equal(read_answer_grid(answer, &result, span, &(size_t){0}, NULL), OK);
            struct strbuf bytes = finish(answer);
            struct seen seen = see(TYPES[t], &bytes);
            assert_int_equal(seen.n, CASES[i].want ? 1 : 0);
            char text[16] = "";
            if (seen.n)
                grid_as_text(&seen.series[0], grid, text, steps + 2);
            if (CASES[i].want && strcmp(text, CASES[i].want) != 0)
                print_error("case %zu: %s\n", i, text);
            assert_string_equal(text, CASES[i].want ? CASES[i].want : "");
            seen_release(&seen);
        }
    }
}

/* The rule itself, step by step, over random presence: longer than a run and than a chunk, any span. */
static void test_grid_markers_at_random(void **state)
{
    enum {
        STEPS = 1700
    };
    uint32_t random = 7;
    char present[STEPS + 1], want[STEPS + 2], text[STEPS + 2];
    double values[STEPS];
    uint64_t bits[STEPS / 64 + 1];
    for (int round = 0; round < 60; round++) {
        uint32_t density = (uint32_t)round * 4 + 8; /* of 256 */
        for (uint32_t k = 0; k < STEPS; k++) {
            random = random * 1664525 + 1013904223;
            present[k] = (random >> 16) % 256 < density ? '1' : '0';
        }
        present[STEPS] = '\0';
        uint32_t from = (random >> 8) % STEPS, to = from + (random >> 4) % (STEPS + 1 - from);
        if (round % 3 == 0)
            from = 0, to = STEPS;
        bool alive = false;
        memset(want, '.', sizeof want);
        want[STEPS + 1] = '\0';
        for (uint32_t k = from; k <= to; k++) { /* step STEPS is behind the grid */
            bool has = k < STEPS && present[k] == '1';
            if (has || alive)
                want[k] = has ? 'v' : MARKER;
            alive = has;
        }
        struct grid_series series = grid_series_of(present, STEPS, values, bits);
        const struct grid grid = {.start_ms = -500000, .step_ms = 333, .steps = STEPS};
        const struct grid_result result = {.grid = grid, .series = &series, .series_n = 1};
        const struct time_span span = {grid.start_ms + from * grid.step_ms, grid.start_ms + to * grid.step_ms};
        struct read_answer *answer = new_answer(TYPES[round % 2], &LIMITS);
        assert_int_equal(read_answer_grid(answer, &result, span, &(size_t){0}, NULL), OK);
        struct strbuf bytes = finish(answer);
        struct seen seen = see(TYPES[round % 2], &bytes);
        if (seen.n)
            grid_as_text(&seen.series[0], grid, text, sizeof text);
        else
            assert_null(strpbrk(want, "vs"));
        if (seen.n)
            assert_string_equal(text, want);
        seen_release(&seen);
    }
}

static void test_grid_values_keep_their_bits(void **state)
{
    const uint64_t bits[] = {NORMAL_NAN_BITS, UINT64_C(0x7ff8000000000abc), UINT64_C(1) << 63,
                             UINT64_C(0x7ff0000000000000), STALE_NAN_BITS};
    double values[ARRAY_LENGTH(bits)];
    for (size_t i = 0; i < ARRAY_LENGTH(bits); i++)
        values[i] = double_from_bits(bits[i]);
    const uint64_t present = 0x1f;
    struct grid_series series = {.values = values, .present = &present};
    const struct grid_result result = {
        .grid = {.start_ms = 0, .step_ms = 1000, .steps = ARRAY_LENGTH(bits)}, .series = &series, .series_n = 1};
    for (size_t t = 0; t < ARRAY_LENGTH(TYPES); t++) {
        struct read_answer *answer = new_answer(TYPES[t], &LIMITS);
        assert_int_equal(
            read_answer_grid(answer, &result, (struct time_span){INT64_MIN, INT64_MAX}, &(size_t){0}, NULL), OK);
        struct strbuf bytes = finish(answer);
        struct seen seen = see(TYPES[t], &bytes);
        assert_int_equal(seen.series[0].n, ARRAY_LENGTH(bits) + 1);
        for (size_t i = 0; i < 4; i++)
            assert_int_equal(double_bits(seen.series[0].samples[i].value), bits[i]);
        /* a present value is no marker, whatever its bits; the marker behind the grid is one */
        assert_int_equal(double_bits(seen.series[0].samples[4].value), NORMAL_NAN_BITS);
        assert_int_equal(double_bits(seen.series[0].samples[5].value), STALE_NAN_BITS);
        seen_release(&seen);
    }
}

/* A streamed grid is given in pieces, so that memory stays bounded; SAMPLES need all of it for their one block. */
static void test_a_grid_is_streamed_in_pieces(void **state)
{
    enum {
        SERIES = 50,
        STEPS = 8000
    };
    static double values[STEPS];
    static uint64_t bits[STEPS / 64 + 1];
    static struct grid_series series[SERIES];
    for (size_t k = 0; k < STEPS; k++) {
        values[k] = 1.0 / (double)(k + 1); /* about 8 bytes each */
        bits[k / 64] |= UINT64_C(1) << (k % 64);
    }
    for (size_t i = 0; i < SERIES; i++)
        series[i] = (struct grid_series){.values = values, .present = bits};
    const struct grid_result result = {
        .grid = {.start_ms = 0, .step_ms = 1000, .steps = STEPS}, .series = series, .series_n = SERIES};
    for (size_t t = 0; t < ARRAY_LENGTH(TYPES); t++) {
        struct read_answer *answer = new_answer(TYPES[t], &LIMITS);
        struct strbuf bytes, piece;
        strbuf_init(&bytes, SIZE_MAX / 2);
        size_t at = 0, pieces = 0;
        while (at < SERIES) {
            strbuf_init(&piece, SIZE_MAX / 2);
            assert_int_equal(read_answer_grid(answer, &result, (struct time_span){0, 7999999}, &at, NULL), OK);
            read_answer_take(answer, &piece);
            assert_true(piece.len < (1u << 20) + 16 * STEPS);
            strbuf_str(&bytes, strbuf_view(&piece));
            strbuf_release(&piece);
            pieces++;
        }
        assert_true(TYPES[t] == READ_SAMPLES ? pieces == 1 : pieces > 2);
        assert_int_equal(read_answer_end(answer, NULL), OK);
        read_answer_take(answer, &bytes);
        read_answer_free(answer);
        struct seen seen = see(TYPES[t], &bytes);
        assert_int_equal(seen.n, SERIES);
        seen_release(&seen);
    }
}

static void test_grid_stops_at_the_sample_limit(void **state)
{
    struct read_answer_limits limits = LIMITS;
    limits.samples_max = 5;
    double values[4];
    uint64_t bits[1];
    struct grid_series series[2] = {grid_series_of("1011", 4, values, bits)};
    series[1] = series[0];
    const struct grid_result result = {
        .grid = {.start_ms = 0, .step_ms = 1000, .steps = 4}, .series = series, .series_n = 2};
    for (size_t t = 0; t < ARRAY_LENGTH(TYPES); t++) {
        struct read_answer *answer = new_answer(TYPES[t], &limits);
        struct error error;
        assert_int_equal(read_answer_grid(answer, &result, (struct time_span){0, 9000}, &(size_t){0}, &error), E_LIMIT);
        assert_string_equal(error.message, "exceeded sample limit (5)");
        read_answer_free(answer);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_types),
        cmocka_unit_test(test_prometheus_frame),
        cmocka_unit_test(test_several_queries),
        cmocka_unit_test(test_empty_answers),
        cmocka_unit_test(test_streams_series_by_series),
        cmocka_unit_test(test_take_appends),
        cmocka_unit_test(test_sample_limit),
        cmocka_unit_test(test_byte_limits),
        cmocka_unit_test(test_grid_markers),
        cmocka_unit_test(test_grid_markers_at_random),
        cmocka_unit_test(test_grid_values_keep_their_bits),
        cmocka_unit_test(test_a_grid_is_streamed_in_pieces),
        cmocka_unit_test(test_grid_stops_at_the_sample_limit),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
