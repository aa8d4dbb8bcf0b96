/* tests/unit/remote/test_remote_native_histogram.c: native histograms off the wire: what is taken and what refused, as
 * Prometheus's Validate does, and the packed form, which protobuf-c reads too. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/assert.h"
#include "proto/remote.pb-c.h"
#include "remote/native_histogram.h"
#include "wire_test.h"

#include "histogram_test.h"

static struct arena arena;

static int set_up(void **state)
{
    arena_init(&arena, 1u << 24);
    return 0;
}

static int tear_down(void **state)
{
    arena_release(&arena);
    return 0;
}

static struct native_histogram unpacked(struct str message)
{
    struct native_histogram histogram;
    char *exact = exact_copy(message);
    struct error error = {.status = OK};
    if (native_histogram_unpack(&arena, (struct str){exact, message.len}, &histogram, &error) != OK)
        fail_msg("%s", error.message);
    free(exact); /* nothing points into the message */
    return histogram;
}

static struct native_histogram histogram_of(const char *text)
{
    struct strbuf message = histogram_message(text);
    struct native_histogram histogram = unpacked(strbuf_view(&message));
    strbuf_release(&message);
    return histogram;
}

static struct str packed_of(const char *text)
{
    struct native_histogram histogram = histogram_of(text);
    struct histogram_sample sample;
    assert_int_equal(native_histogram_store(&arena, &histogram, &sample, NULL), OK);
    assert_int_equal(sample.time_ms, histogram.time_ms);
    return sample.packed;
}

/* --- judging --- */

static void the_rules_are_prometheus_s(void **state)
{
    static const struct {
        const char *text, *refusal; /* NULL: it is right */
    } CASES[] = {
        {"ci=0", NULL},
        {"", NULL}, /* an integer histogram of nothing */
        {"ci=3 sum=4.5 ps=0:2,1:1 pd=1,0,0", NULL},
        {"ci=7 zi=1 sum=4.5 schema=8 zt=0.001 ps=-5:2 pd=1,1 ns=0:2 nd=2,-1", NULL},
        {"ci=4 sum=nan ps=0:2 pd=1,0", NULL}, /* NaN observed: in no bucket */
        {"ci=1 sum=nan ps=0:2 pd=1,0",
         "2 observations found in buckets, but the Count field is 1: histogram's observation count should be at least "
         "the number of observations found in the buckets"},
        {"ci=4 sum=1 ps=0:2 pd=1,0",
         "2 observations found in buckets, but the Count field is 4: histogram's observation count should equal the "
         "number of observations found in the buckets (in absence of NaN)"},
        {"sum=stale", NULL},
        {"cf=0 sum=stale", NULL},
        {"ci=2 schema=9 ps=0:1 pd=2",
         "histogram has an invalid schema, which must be between -4 and 8 for exponential buckets, or -53 for custom "
         "buckets, got schema 9"},
        {"ci=2 schema=-5 ps=0:1 pd=2",
         "histogram has an invalid schema, which must be between -4 and 8 for exponential buckets, or -53 for custom "
         "buckets, got schema -5"},
        {"ci=2 schema=-4 ps=0:1 pd=2", NULL},
        {"ci=2 ps=0:2 pd=2", "positive side: spans need 2 buckets, have 1 buckets: histogram spans specify different "
                             "number of buckets than "
                             "provided"},
        {"ci=2 ps=0:1 pd=2 ns=0:1 nd=1,2", "negative side: spans need 1 buckets, have 2 buckets: histogram spans "
                                           "specify different number of buckets than "
                                           "provided"},
        {"ci=2 ps=0:1,-1:1 pd=1,0",
         "positive side: span number 2 with offset -1: histogram has a span whose offset is negative"},
        {"ci=2 ps=-3:1,0:0,2:1 pd=1,0", NULL},
        {"ci=2 ps=0:3 pd=1,-2,3", "positive side: bucket number 2 has observation count of -1: histogram has a bucket "
                                  "whose observation count is "
                                  "negative"},
        {"ci=2 ns=0:1 nd=-2", "negative side: bucket number 1 has observation count of -2: histogram has a bucket "
                              "whose observation count is "
                              "negative"},
        {"ci=2 ps=0:1 pd=2 cv=1,2", "histogram with exponential schema must not have custom bounds"},
        /* floats: any count that is not negative */
        {"cf=2.5 sum=1 ps=0:2 pc=1.5,0.25", NULL},
        {"cf=nan sum=1 ps=0:1 pc=nan", NULL},
        {"cf=-2.5 sum=1", "observation count is  -2.5: histogram's observation count is negative"},
        {"cf=2 zf=-1", "zero bucket has observation count of -1: histogram has a bucket whose observation count is "
                       "negative"},
        {"cf=2 ps=0:2 pc=1,-0.5",
         "positive side: bucket number 2 has observation count of -0.5: histogram has a bucket whose observation count "
         "is negative"},
        {"cf=2 ps=0:2 pc=1", "positive side: spans need 2 buckets, have 1 buckets: histogram spans specify different "
                             "number of buckets than "
                             "provided"},
        /* custom buckets */
        {"ci=3 sum=1 schema=-53 ps=0:3 pd=1,0,0 cv=1,2", NULL}, /* the last is +Inf's */
        {"cf=3 sum=1 schema=-53 ps=1:1,1:1 pc=1,2 cv=-1,0,5.25", NULL},
        {"ci=0 schema=-53", NULL},
        {"ci=3 sum=1 schema=-53 ps=0:3 pd=1,0,0 cv=1", "custom buckets: only 1 custom bounds defined which is "
                                                       "insufficient to cover total span length of 3: histogram "
                                                       "custom bounds are too few"},
        {"ci=1 schema=-53 ps=0:1 pd=1 cv=2,1", "custom buckets: previous bound is 2.000000 and current is 1.000000: "
                                               "histogram custom bounds must be in strictly "
                                               "increasing order"},
        {"ci=1 schema=-53 ps=0:1 pd=1 cv=1,1", "custom buckets: previous bound is 1.000000 and current is 1.000000: "
                                               "histogram custom bounds must be in strictly "
                                               "increasing order"},
        {"ci=1 schema=-53 ps=0:1 pd=1 cv=1,nan", "custom buckets: histogram custom bounds must not be NaN"},
        {"ci=1 schema=-53 ps=0:1 pd=1 cv=1,inf",
         "custom buckets: last +Inf bound must not be explicitly defined: histogram custom bounds must be finite"},
        {"ci=1 schema=-53 ps=-1:1 pd=1 cv=1",
         "custom buckets: span number 1 with offset -1: histogram has a span whose offset is negative"},
        {"ci=1 schema=-53 zi=1 cv=1", "custom buckets: must have zero count of 0"},
        {"cf=1 schema=-53 zf=1 cv=1", "custom buckets: must have zero count of 0"},
        {"ci=1 schema=-53 zt=1 ps=0:1 pd=1 cv=1", "custom buckets: must have zero threshold of 0"},
        {"ci=1 schema=-53 ps=0:1 pd=1 ns=0:0 cv=1", "custom buckets: must not have negative spans"},
        {"ci=1 schema=-53 ps=0:1 pd=1 nd=1 cv=1", "custom buckets: must not have negative buckets"},
    };
    for (size_t i = 0; i < ARRAY_LENGTH(CASES); i++) {
        struct native_histogram histogram = histogram_of(CASES[i].text);
        struct error error = {.status = OK, .message = ""};
        enum status status = native_histogram_check(&histogram, &error);
        if (status != (CASES[i].refusal ? E_BAD_DATA : OK) ||
            (CASES[i].refusal && strcmp(error.message, CASES[i].refusal) != 0))
            fail_msg("%s: %s", CASES[i].text, status == OK ? "taken" : error.message);
    }
}

/* --- reading --- */

static void fields_are_read_in_any_layout(void **state)
{
    static const char *const SAME[] = {
        "t=77 ci=5 zi=1 sum=2 schema=3 zt=0.5 ns=1:1 nd=1 ps=-2:2 pd=1,1 hint=3",
        "hint=3 PD=1,1 ps=-2:2 schema=3 sum=2 zt=0.5 zi=1 ci=5 ND=1 ns=1:1 t=77",
        ("sum=9 cf=2.5 ci=5 zf=3 zi=1 sum=2 schema=1 schema=3 zt=0.5 ns=1:1 nd=1 ps=-2:2 "
         "pd=1 PD=1 hint=3 t=77 pc=1,2 nc=4")};
    struct str first = packed_of(SAME[0]);
    for (size_t i = 0; i < ARRAY_LENGTH(SAME); i++) {
        struct native_histogram h = histogram_of(SAME[i]);
        assert_false(h.is_float);
        assert_int_equal(h.time_ms, 77);
        assert_int_equal(h.count, 5);
        assert_int_equal(h.zero_count, 1);
        assert_true(h.sum == 2 && h.zero_threshold == 0.5);
        assert_int_equal(h.schema, 3);
        assert_int_equal(h.hint, HISTOGRAM_HINT_GAUGE);
        assert_int_equal(h.positive.spans_n, 1);
        assert_int_equal(h.positive.spans[0].offset, -2);
        assert_int_equal(h.positive.spans[0].length, 2);
        assert_int_equal(h.positive.buckets_n, 2);
        assert_int_equal(h.positive.buckets[1], 1);
        assert_int_equal(h.negative.buckets_n, 1);
        assert_true(str_eq(packed_of(SAME[i]), first));
    }
    struct native_histogram f = histogram_of("ci=5 cf=2.5 zi=1 zf=0.5 PC=1,2 ps=0:2 pd=1");
    assert_true(f.is_float && double_from_bits(f.count) == 2.5 && double_from_bits(f.zero_count) == 0.5);
    assert_int_equal(f.positive.buckets_n, 2);
    assert_true(double_from_bits(f.positive.buckets[1]) == 2);
}

static void broken_messages_are_refused(void **state)
{
    static const char *const CASES[] = {
        "08",           /* cut */
        "0d00000000",   /* a count of 32 bits */
        "1a00",         /* a sum as bytes */
        "6201ff",       /* packed deltas, cut */
        "6a0300000000", /* packed counts of three bytes */
        "5a020d00",     /* a span with a field of another kind */
        "5801",         /* spans as a number */
        "7a00",         /* a time as bytes */
    };
    for (size_t i = 0; i < ARRAY_LENGTH(CASES); i++) {
        struct strbuf bytes = from_hex(CASES[i]);
        char *exact = exact_copy(strbuf_view(&bytes));
        struct native_histogram histogram;
        if (native_histogram_unpack(&arena, (struct str){exact, bytes.len}, &histogram, NULL) != E_BAD_DATA)
            fail_msg("%s was taken", CASES[i]);
        free(exact);
        strbuf_release(&bytes);
    }
}

static void what_is_too_large_names_the_limit(void **state)
{
    struct native_histogram histogram;
    struct error error;
    for (size_t n = NATIVE_HISTOGRAM_PARTS_MAX; n <= NATIVE_HISTOGRAM_PARTS_MAX + 1; n++) {
        struct strbuf message = new_buffer(), list = new_buffer();
        for (size_t i = 0; i < n; i++)
            pb_varint(&list, 0);
        pb_bytes(&message, 12, strbuf_view(&list));
        enum status status = native_histogram_unpack(&arena, strbuf_view(&message), &histogram, &error);
        assert_int_equal(status, n > NATIVE_HISTOGRAM_PARTS_MAX ? E_LIMIT : OK);
        strbuf_release(&list);
        strbuf_release(&message);
    }
    assert_string_equal(error.message, "native histogram with 16385 buckets exceeds limit 16384");
    struct arena small;
    arena_init(&small, 1000);
    struct strbuf message = new_buffer();
    for (int i = 0; i < 1000; i++)
        pb_bytes(&message, 11, STR(""));
    assert_int_equal(native_histogram_unpack(&small, strbuf_view(&message), &histogram, &error), E_TOO_LARGE);
    strbuf_release(&message);
    arena_release(&small);
}

/* --- the packed form --- */

static void packed_histograms_come_back(void **state)
{
    static const char *const CASES[] = {
        "ci=0",
        "cf=0",
        "ci=18446744073709551615 sum=nan",
        "ci=3 sum=-0 zt=-0 schema=-4 ps=-2147483648:1,2147483647:2 pd=1,0,0",
        "cf=-0 zf=-0 sum=stale",
        "cf=nan sum=inf schema=8 zt=1e-300 zf=0.5 ns=3:2 nc=5e-324,nan ps=0:1 pc=1e300",
        "ci=3 sum=1 schema=-53 ps=0:3 pd=1,9223372036854775807,-9223372036854775808 cv=-inf,2.5",
        "hint=1 ci=2 ps=0:1 pd=2",
        "hint=3 cf=2 ps=0:1 pc=2",
    };
    for (size_t i = 0; i < ARRAY_LENGTH(CASES); i++) {
        struct native_histogram h = histogram_of(CASES[i]), again = unpacked(packed_of(CASES[i]));
        assert_int_equal(again.is_float, h.is_float);
        assert_int_equal(again.hint, h.hint);
        assert_int_equal(again.schema, h.schema);
        assert_int_equal(again.count, h.count);
        assert_int_equal(again.zero_count, h.zero_count);
        assert_int_equal(double_bits(again.sum), double_bits(h.sum));
        assert_int_equal(double_bits(again.zero_threshold), double_bits(h.zero_threshold));
        const struct histogram_side *sides[] = {&h.positive, &again.positive, &h.negative, &again.negative};
        for (size_t k = 0; k < 4; k += 2) {
            assert_int_equal(sides[k]->spans_n, sides[k + 1]->spans_n);
            assert_int_equal(sides[k]->buckets_n, sides[k + 1]->buckets_n);
            for (size_t s = 0; s < sides[k]->spans_n; s++) {
                assert_int_equal(sides[k]->spans[s].offset, sides[k + 1]->spans[s].offset);
                assert_int_equal(sides[k]->spans[s].length, sides[k + 1]->spans[s].length);
            }
            for (size_t b = 0; b < sides[k]->buckets_n; b++)
                assert_int_equal(sides[k]->buckets[b], sides[k + 1]->buckets[b]);
        }
        assert_int_equal(again.bounds_n, h.bounds_n);
        for (size_t b = 0; b < h.bounds_n; b++)
            assert_int_equal(double_bits(again.bounds[b]), double_bits(h.bounds[b]));
    }
    assert_true(str_eq(packed_of("hint=2 ci=0"), packed_of("ci=0"))); /* a promise that nobody can hold */
    assert_false(str_eq(packed_of("hint=1 ci=0"), packed_of("ci=0")));
    assert_false(str_eq(packed_of("cf=0"), packed_of("ci=0")));
}

static void protobuf_c_reads_what_is_put(void **state)
{
    struct histogram_sample sample = {
        -5, packed_of("hint=3 ci=7 zi=1 sum=4.5 schema=-2 zt=0.25 ps=-5:2 pd=1,1 ns=0:2 nd=2,-1")};
    unsigned char bytes[500];
    size_t size = native_histogram_wire_size(&sample);
    unsigned char *end = native_histogram_put(bytes, 4, &sample);
    assert_int_equal(end - bytes, size + 2);
    assert_int_equal(bytes[0], 4 * 8 + 2);
    assert_int_equal(bytes[1], size);
    Prometheus__Histogram *h = prometheus__histogram__unpack(NULL, size, bytes + 2);
    assert_non_null(h);
    assert_int_equal(h->timestamp, -5);
    assert_int_equal(h->count_case, PROMETHEUS__HISTOGRAM__COUNT_COUNT_INT);
    assert_int_equal(h->count_int, 7);
    assert_int_equal(h->zero_count_int, 1);
    assert_true(h->sum == 4.5 && h->zero_threshold == 0.25);
    assert_int_equal(h->schema, -2);
    assert_int_equal(h->reset_hint, PROMETHEUS__HISTOGRAM__RESET_HINT__GAUGE);
    assert_int_equal(h->n_positive_spans, 1);
    assert_int_equal(h->positive_spans[0]->offset, -5);
    assert_int_equal(h->positive_spans[0]->length, 2);
    assert_int_equal(h->n_positive_deltas, 2);
    assert_int_equal(h->positive_deltas[1], 1);
    assert_int_equal(h->n_negative_deltas, 2);
    assert_int_equal(h->negative_deltas[1], -1);
    prometheus__histogram__free_unpacked(h, NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(the_rules_are_prometheus_s, set_up, tear_down),
        cmocka_unit_test_setup_teardown(fields_are_read_in_any_layout, set_up, tear_down),
        cmocka_unit_test_setup_teardown(broken_messages_are_refused, set_up, tear_down),
        cmocka_unit_test_setup_teardown(what_is_too_large_names_the_limit, set_up, tear_down),
        cmocka_unit_test_setup_teardown(packed_histograms_come_back, set_up, tear_down),
        cmocka_unit_test_setup_teardown(protobuf_c_reads_what_is_put, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
