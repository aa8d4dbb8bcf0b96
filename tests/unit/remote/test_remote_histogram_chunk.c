/* tests/unit/remote/test_remote_histogram_chunk.c: chunks of native histograms: bits written out by hand from the
 * description of the format, where chunks end, and random histograms there and back. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/assert.h"
#include "base/bit_stream.h"
#include "remote/histogram_chunk.h"
#include "wire_test.h"

#include "histogram_test.h"

#define MOST 400

static struct arena arena; /* of a test's histograms */

static int set_up(void **state)
{
    arena_init(&arena, 1u << 28);
    return 0;
}

static int tear_down(void **state)
{
    arena_release(&arena);
    return 0;
}

static struct native_histogram histogram_of(const char *text)
{
    struct strbuf message = histogram_message(text);
    struct native_histogram histogram;
    assert_int_equal(native_histogram_unpack(&arena, strbuf_view(&message), &histogram, NULL), OK);
    struct error error;
    if (native_histogram_check(&histogram, &error) != OK)
        fail_msg("%s: %s", text, error.message);
    strbuf_release(&message);
    return histogram;
}

static void add(struct histogram_encoder *encoder, const char *text)
{
    struct native_histogram h = histogram_of(text);
    assert_true(histogram_encoder_takes(encoder, &h));
    assert_int_equal(histogram_encoder_add(encoder, &h, NULL), OK);
}

/* --- by hand --- */

static void expect(struct strbuf *bits, const char *digits)
{
    for (; *digits; digits++)
        if (*digits != ' ')
            strbuf_char(bits, *digits);
}

static void expect_number(struct strbuf *bits, uint64_t number, int n)
{
    while (n-- > 0)
        strbuf_char(bits, number >> n & 1 ? '1' : '0');
}

static void expect_double(struct strbuf *bits, double number)
{
    expect_number(bits, double_bits(number), 64);
}

static void assert_bits(struct str chunk, unsigned samples, unsigned char flags, struct strbuf *bits)
{
    const unsigned char *at = (const unsigned char *)chunk.ptr;
    while (bits->len % 8)
        strbuf_char(bits, '0');
    assert_int_equal(chunk.len, 3 + bits->len / 8);
    assert_int_equal(at[0], 0);
    assert_int_equal(at[1], samples);
    assert_int_equal(at[2], flags);
    struct strbuf got = new_buffer();
    for (size_t i = 3; i < chunk.len; i++)
        expect_number(&got, at[i], 8);
    assert_string_equal(strbuf_view(&got).ptr, strbuf_view(bits).ptr);
    strbuf_release(&got);
    strbuf_release(bits);
}

static void integers_by_hand(void **state)
{
    struct histogram_encoder *encoder;
    assert_int_equal(histogram_encoder_new(&encoder, NULL), OK);
    add(encoder, "t=1000 ci=3 zi=1 sum=1.5 schema=1 zt=2.938735877055719e-39 ps=0:2 pd=1,0");
    add(encoder, "t=2000 ci=5 zi=1 sum=2.5 schema=1 zt=2.938735877055719e-39 ps=0:2 pd=2,0");
    struct strbuf bits = new_buffer();
    expect(&bits, "01110100");           /* 2^-128: -127 + 243 */
    expect(&bits, "10 001");             /* schema 1 */
    expect(&bits, "10 001  10 010  0");  /* one positive span: length 2, offset 0 */
    expect(&bits, "0");                  /* no negative span */
    expect(&bits, "11110 001111101000"); /* 1000 */
    expect(&bits, "10 011  10 001");     /* count 3, zero count 1 */
    expect_double(&bits, 1.5);
    expect(&bits, "10 001  0");                     /* buckets +1, 0 */
    expect(&bits, "11110 001111101000");            /* 1000 later, after no change */
    expect(&bits, "10 010  0");                     /* counts: 2 more, as many */
    expect(&bits, "11 00001 001101 1111111111111"); /* 2.5 ^ 1.5 = 0x7ffc << 48 */
    expect(&bits, "10 001  0");                     /* buckets: +1 of +1, as before */
    bool is_float;
    assert_bits(histogram_encoder_finish(encoder, &is_float), 2, 0, &bits);
    assert_false(is_float);
    histogram_encoder_free(encoder);
}

static void floats_and_custom_bounds_by_hand(void **state)
{
    struct histogram_encoder *encoder;
    assert_int_equal(histogram_encoder_new(&encoder, NULL), OK);
    add(encoder, "hint=3 t=1000 cf=2.5 sum=1.5 schema=-53 ps=1:1 pc=2.5 cv=-1,0.5,40000");
    add(encoder, "hint=3 t=2000 cf=0 sum=stale");
    struct strbuf bits = new_buffer();
    expect(&bits, "00000000");               /* threshold 0 */
    expect(&bits, "1110 111001011");         /* schema -53 */
    expect(&bits, "10 001  10 001  10 001"); /* one positive span: length 1, offset 1 */
    expect(&bits, "0");
    expect(&bits, "10 011"); /* three bounds: */
    expect(&bits, "0");      /* -1 as it is, */
    expect_double(&bits, -1);
    expect(&bits, "1110 111110101"); /* 0.5 as 501, */
    expect(&bits, "0");              /* 40000 as it is */
    expect_double(&bits, 40000);
    expect(&bits, "11110 001111101000");
    expect_double(&bits, 2.5);
    expect_double(&bits, 0);
    expect_double(&bits, 1.5);
    expect_double(&bits, 2.5);
    expect(&bits, "11110 001111101000");
    expect(&bits, "11 00001 001101 1000000000001"); /* count 2.5 -> 0 */
    expect(&bits, "0");
    expect(&bits, "11 00001 111110"); /* sum 1.5 -> the marker: 62 bits */
    expect_number(&bits, (double_bits(1.5) ^ STALE_NAN_BITS) >> 1, 62);
    bool is_float;
    assert_bits(histogram_encoder_finish(encoder, &is_float), 2, 0xc0, &bits);
    assert_true(is_float);
    histogram_encoder_free(encoder);
}

static void numbers_of_every_class(void **state)
{
    static const int64_t EDGES[] = {0,
                                    1,
                                    -1,
                                    -3,
                                    4,
                                    -4,
                                    5,
                                    -31,
                                    32,
                                    -255,
                                    256,
                                    257,
                                    -2047,
                                    2048,
                                    131072,
                                    -131071,
                                    131073,
                                    16777216,
                                    -16777215,
                                    16777217,
                                    INT64_C(36028797018963968),
                                    -INT64_C(36028797018963967),
                                    INT64_C(36028797018963969),
                                    INT64_MAX,
                                    INT64_MIN};
    unsigned char bytes[2 * 9 * ARRAY_LENGTH(EDGES) + BITS_WORD_BYTES];
    struct bit_writer out = {.at = bytes};
    for (size_t i = 0; i < ARRAY_LENGTH(EDGES); i++) {
        bits_put_signed(&out, EDGES[i]);
        bits_put_unsigned(&out, (uint64_t)EDGES[i]);
    }
    struct bit_reader in = {.at = bytes, .end = bits_end(&out)};
    for (size_t i = 0; i < ARRAY_LENGTH(EDGES); i++) {
        assert_int_equal(bits_get_signed(&in), EDGES[i]);
        assert_int_equal(bits_get_unsigned(&in), EDGES[i]);
    }
    assert_false(in.short_);
}

/* --- where chunks end --- */

static void a_chunk_takes_what_goes_on(void **state)
{
    static const struct {
        const char *first, *second;
        bool taken;
    } CASES[] = {
        {"ci=2 sum=1 ps=0:1 pd=2", "ci=2 sum=1 ps=0:1 pd=2", true},
        {"ci=2 sum=1 ps=0:1 pd=2", "hint=2 ci=3 sum=1 ps=0:1 pd=3", true},
        {"ci=2 sum=1 ps=0:1 pd=2", "hint=1 ci=3 sum=1 ps=0:1 pd=3", false},
        {"ci=2 sum=1 ps=0:1 pd=2", "hint=3 ci=3 sum=1 ps=0:1 pd=3", false},
        {"hint=3 ci=2 sum=1 ps=0:1 pd=2", "hint=3 ci=1 sum=1 ps=0:1 pd=1", true},
        {"hint=3 ci=2 sum=1 ps=0:1 pd=2", "ci=3 sum=1 ps=0:1 pd=3", false},
        {"ci=2 sum=1 ps=0:1 pd=2", "ci=1 sum=1 ps=0:1 pd=1", false},      /* a reset */
        {"ci=3 sum=1 ps=0:2 pd=2,-1", "ci=3 sum=1 ps=0:2 pd=1,1", false}, /* a bucket shrinks */
        {"ci=3 sum=1 ps=0:2 pd=1,1", "ci=4 sum=1 ps=0:2 pd=2,0", true},   /* a delta shrinks */
        {"ci=3 sum=1 ns=0:2 nd=2,-1", "ci=3 sum=1 ns=0:2 nd=1,1", false},
        {"ci=3 zi=1 sum=1 ps=0:1 pd=2", "ci=3 zi=0 sum=1 ps=0:1 pd=3", false},
        {"ci=2 sum=1 ps=0:1 pd=2", "cf=2 sum=1 ps=0:1 pc=2", false},
        {"cf=2 sum=1 ps=0:1 pc=2", "cf=2.5 sum=1 ps=0:1 pc=2.5", true},
        {"cf=2 sum=1 ps=0:1 pc=2", "cf=2.5 sum=1 ps=0:1 pc=1.5", false},
        {"cf=2 sum=1 ps=0:1 pc=2", "cf=nan sum=1 ps=0:1 pc=2", false},
        {"ci=2 sum=1 ps=0:1 pd=2", "ci=2 sum=1 ps=1:1 pd=2", false},
        {"ci=2 sum=1 ps=0:1 pd=2", "ci=2 sum=1 ps=0:2 pd=2,-2", false},
        {"ci=2 sum=1 ps=0:1 pd=2", "ci=2 sum=1 ns=0:1 nd=2", false},
        {"ci=2 sum=1 ps=0:1 pd=2", "ci=2 sum=1 schema=1 ps=0:1 pd=2", false},
        {"ci=2 sum=1 ps=0:1 pd=2", "ci=2 sum=1 zt=1 ps=0:1 pd=2", false},
        {"ci=2 sum=1 schema=-53 ps=0:1 pd=2 cv=1", "ci=2 sum=1 schema=-53 ps=0:1 pd=2 cv=2", false},
        {"ci=2 sum=1 schema=-53 ps=0:1 pd=2 cv=1", "ci=2 sum=1 schema=-53 ps=0:1 pd=2 cv=1", true},
        {"ci=2 sum=1 ps=0:1 pd=2", "sum=stale", true},
        {"ci=2 sum=1 ps=0:1 pd=2", "cf=0 sum=stale", false},
        {"sum=stale", "sum=stale", true},
        {"sum=stale", "ci=2 sum=1 ps=0:1 pd=2", false},
        {"sum=stale", "ci=0 sum=1", false},
    };
    struct histogram_encoder *encoder;
    assert_int_equal(histogram_encoder_new(&encoder, NULL), OK);
    for (size_t i = 0; i < ARRAY_LENGTH(CASES); i++) {
        add(encoder, CASES[i].first);
        struct native_histogram second = histogram_of(CASES[i].second);
        if (histogram_encoder_takes(encoder, &second) != CASES[i].taken)
            fail_msg("%s after %s", CASES[i].second, CASES[i].first);
        bool is_float;
        histogram_encoder_finish(encoder, &is_float);
    }
    histogram_encoder_free(encoder);
}

static void flags_are_the_first_sample_s(void **state)
{
    static const struct {
        const char *text;
        unsigned char flags;
    } CASES[] = {{"ci=0", 0}, {"hint=1 ci=0", 0x80}, {"hint=2 ci=0", 0x40}, {"hint=3 ci=0", 0xc0}};
    struct histogram_encoder *encoder;
    assert_int_equal(histogram_encoder_new(&encoder, NULL), OK);
    for (size_t i = 0; i < ARRAY_LENGTH(CASES); i++) {
        bool is_float;
        add(encoder, CASES[i].text);
        assert_int_equal((unsigned char)histogram_encoder_finish(encoder, &is_float).ptr[2], CASES[i].flags);
    }
    histogram_encoder_free(encoder);
}

/* --- there and back --- */

static uint64_t seed;

static uint64_t below(uint64_t n)
{
    seed ^= seed << 13;
    seed ^= seed >> 7;
    seed ^= seed << 17;
    return (seed >> 11) % n;
}

/* A histogram that may continue the one before: as itself, or with another layout, kind, hint … */
static struct native_histogram random_histogram(const struct native_histogram *before, size_t round)
{
    struct strbuf text = new_buffer();
    size_t n = below(4) == 0 ? below(300) : below(6);
    bool is_float = below(2), custom = below(4) == 0;
    if (before && below(10)) {
        struct native_histogram next = *before;
        uint64_t *buckets = ARENA_ARRAY(&arena, uint64_t, next.positive.buckets_n + 1);
        for (size_t i = 0; i < next.positive.buckets_n; i++)
            buckets[i] = next.is_float
                             ? double_bits(double_from_bits(next.positive.buckets[i]) + (double)below(1000) / 8)
                             : next.positive.buckets[i] + (i == 0 ? below(100) : 0);
        next.positive.buckets = buckets;
        next.count =
            next.is_float ? double_bits(double_from_bits(next.count) + (double)below(3)) : next.count + below(40);
        next.sum = below(20) == 0 ? double_from_bits(STALE_NAN_BITS) : next.sum + (double)below(1000) / 7;
        next.time_ms += 15000 + (int64_t)(below(3) == 0 ? below(UINT64_C(1) << below(40)) : 0);
        next.hint = below(30) ? (next.hint == HISTOGRAM_HINT_GAUGE ? next.hint : HISTOGRAM_HINT_UNKNOWN) : below(4);
        return next;
    }
    strbuf_f(&text, "t=%zu schema=%d hint=%d %s", 1000 * round, custom ? -53 : (int)below(13) - 4, (int)below(4),
             is_float ? "cf=3.5" : "ci=9");
    strbuf_f(&text, " sum=%d.125", (int)below(100));
    if (!custom && below(2))
        strbuf_f(&text, " zt=%s", below(2) ? "0.001" : "0.25");
    for (size_t i = 0; i < n; i++)
        strbuf_f(&text, "%s%d:%d", i ? "," : " ps=", custom ? 0 : (int)below(3), (int)(i % 3 > 0));
    for (size_t i = 0, k = 0; i < n; i++)
        if (i % 3 > 0)
            strbuf_f(&text, "%s%d", k++ ? "," : is_float ? " pc=" : " pd=", is_float ? (int)below(1000) : 0);
    for (size_t i = 0; custom && i < n; i++)
        strbuf_f(&text, "%s%.17g", i ? "," : " cv=", (double)i * (round % 2 ? 0.005 : 0.3333) - 0.02);
    struct strbuf message = histogram_message(strbuf_view(&text).ptr);
    struct native_histogram histogram;
    assert_int_equal(native_histogram_unpack(&arena, strbuf_view(&message), &histogram, NULL), OK);
    strbuf_release(&message);
    strbuf_release(&text);
    return histogram;
}

struct check {
    const struct native_histogram *want;
    size_t i, n;
};

static void assert_same(const struct native_histogram *got, const struct native_histogram *want, bool is_first)
{
    enum histogram_hint hint = is_first || want->hint == HISTOGRAM_HINT_GAUGE ? want->hint : HISTOGRAM_HINT_NOT_RESET;
    assert_int_equal(got->time_ms, want->time_ms);
    assert_int_equal(got->is_float, want->is_float);
    assert_int_equal(got->hint, hint);
    assert_int_equal(double_bits(got->sum), double_bits(want->sum));
    if (double_bits(want->sum) == STALE_NAN_BITS) {
        assert_int_equal(got->positive.buckets_n + got->negative.buckets_n + got->count, 0);
        return;
    }
    assert_int_equal(got->schema, want->schema);
    assert_int_equal(got->count, want->count);
    assert_int_equal(got->zero_count, want->zero_count);
    assert_int_equal(double_bits(got->zero_threshold), double_bits(want->zero_threshold));
    assert_int_equal(got->positive.spans_n, want->positive.spans_n);
    for (size_t i = 0; i < want->positive.spans_n; i++) {
        assert_int_equal(got->positive.spans[i].offset, want->positive.spans[i].offset);
        assert_int_equal(got->positive.spans[i].length, want->positive.spans[i].length);
    }
    assert_int_equal(got->positive.buckets_n, want->positive.buckets_n);
    for (size_t i = 0; i < want->positive.buckets_n; i++)
        assert_int_equal(got->positive.buckets[i], want->positive.buckets[i]);
    assert_int_equal(got->bounds_n, want->bounds_n);
    for (size_t i = 0; i < want->bounds_n; i++)
        assert_int_equal(double_bits(got->bounds[i]), double_bits(want->bounds[i]));
}

static enum status compare(const struct native_histogram *got, void *arg)
{
    struct check *check = arg;
    assert_true(check->i < check->n);
    assert_same(got, &check->want[check->i], check->i == 0);
    check->i++;
    return OK;
}

/* Decodes a chunk, and every way of cutting it short. */
static void check_chunk(struct histogram_encoder *encoder, const struct native_histogram *want, size_t n)
{
    bool is_float;
    struct str chunk = histogram_encoder_finish(encoder, &is_float);
    struct arena room;
    arena_init(&room, 1u << 24);
    struct check check = {want, 0, n};
    assert_int_equal(is_float, want->is_float);
    assert_int_equal(histogram_chunk_decode(chunk, is_float, &room, compare, &check, NULL), OK);
    assert_int_equal(check.i, n);
    struct error error;
    for (size_t cut = chunk.len > 300 ? chunk.len - 300 : 0; cut < chunk.len; cut++) {
        char *exact = exact_copy((struct str){chunk.ptr, cut});
        check.i = 0;
        assert_int_equal(histogram_chunk_decode((struct str){exact, cut}, is_float, &room, compare, &check, &error),
                         E_BAD_DATA);
        free(exact);
    }
    arena_release(&room);
}

static void random_histograms_there_and_back(void **state)
{
    size_t chunks_n = 0, samples_n = 0;
    for (seed = 1; seed < 20;) {
        uint64_t round = seed;
        struct histogram_encoder *encoder;
        struct native_histogram *at = ARENA_ARRAY(&arena, struct native_histogram, MOST);
        size_t n = 0, first = 0;
        assert_int_equal(histogram_encoder_new(&encoder, NULL), OK);
        for (size_t i = 0; i < MOST; i++) {
            at[n] = random_histogram(n ? &at[n - 1] : NULL, i);
            if (!histogram_encoder_takes(encoder, &at[n])) {
                check_chunk(encoder, at + first, n - first);
                first = n;
                chunks_n++;
            }
            assert_int_equal(histogram_encoder_add(encoder, &at[n], NULL), OK);
            assert_true(histogram_encoder_n(encoder) <= HISTOGRAM_CHUNK_SAMPLES_MAX);
            n++;
        }
        check_chunk(encoder, at + first, n - first);
        histogram_encoder_free(encoder);
        samples_n += n;
        arena_reset(&arena);
        seed = round + 1;
    }
    assert_true(chunks_n > 100 && samples_n > 3 * chunks_n);
}

static enum status no_sample(const struct native_histogram *histogram, void *arg)
{
    return OK;
}

static void impossible_chunks_are_refused(void **state)
{
    struct error error;
    struct arena room;
    arena_init(&room, 1u << 20);
    unsigned char bytes[64] = {0, 1, 0};
    struct bit_writer out = {.at = bytes + 3};
    bits_put(&out, 0, 8);
    bits_put_signed(&out, 0);
    bits_put_unsigned(&out, UINT64_C(1) << 40); /* spans */
    struct str chunk = {(const char *)bytes, (size_t)(bits_end(&out) - bytes)};
    assert_int_equal(histogram_chunk_decode(chunk, false, &room, no_sample, NULL, &error), E_LIMIT);
    assert_string_equal(error.message, "native histogram chunk with 1099511627776 spans exceeds limit 16384");
    out = (struct bit_writer){.at = bytes + 3};
    bits_put(&out, 0, 8);
    bits_put_signed(&out, 0);
    bits_put_unsigned(&out, 1);
    bits_put_unsigned(&out, UINT32_MAX);
    bits_put_signed(&out, 0);
    chunk.len = (size_t)(bits_end(&out) - bytes);
    assert_int_equal(histogram_chunk_decode(chunk, true, &room, no_sample, NULL, &error), E_LIMIT);
    assert_int_equal(histogram_chunk_decode(STR("x"), true, &room, no_sample, NULL, &error), E_BAD_DATA);
    assert_int_equal(histogram_chunk_decode((struct str){"\0\0\0", 3}, true, &room, no_sample, NULL, NULL), OK);
    arena_release(&room);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(integers_by_hand, set_up, tear_down),
        cmocka_unit_test_setup_teardown(floats_and_custom_bounds_by_hand, set_up, tear_down),
        cmocka_unit_test_setup_teardown(numbers_of_every_class, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_chunk_takes_what_goes_on, set_up, tear_down),
        cmocka_unit_test_setup_teardown(flags_are_the_first_sample_s, set_up, tear_down),
        cmocka_unit_test_setup_teardown(random_histograms_there_and_back, set_up, tear_down),
        cmocka_unit_test_setup_teardown(impossible_chunks_are_refused, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
