/* tests/unit/remote/test_remote_otlp.c: names, what is rejected, broken messages. What becomes of each kind of metric
 * is held to Prometheus's mapping in the service tests. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>

#include "base/assert.h"
#include "base/float_text.h"
#include "remote/native_histogram.h"
#include "remote/otlp.h"
#include "wire_test.h"

static const struct write_limits NO_LIMITS = {0};

static void metrics_get_the_names_of_prometheus(void **state)
{
    static const struct {
        const char *name, *unit;
        enum otlp_kind kind;
        const char *want;
    } ROWS[] = {
        {"system.network.io", "By", OTLP_COUNTER, "system_network_io_bytes_total"},
        {"system.memory.usage", "By", OTLP_GAUGE, "system_memory_usage_bytes"},
        {"total.requests.total", "", OTLP_COUNTER, "requests_total"},
        {"cpu.utilization", "1", OTLP_GAUGE, "cpu_utilization_ratio"},
        {"cpu.utilization", "1", OTLP_COUNTER, "cpu_utilization_total"},
        {"speed", "m/s", OTLP_GAUGE, "speed_meters_per_second"},
        {"requests", "{request}/s", OTLP_GAUGE, "requests_per_second"},
        {"requests", "{request}", OTLP_OTHER, "requests"},
        {"duration.seconds", "s", OTLP_OTHER, "duration_seconds"},
        {"a//b__c", "", OTLP_OTHER, "a_b_c"},
        {"1st", "", OTLP_OTHER, "_1st"},
        {"ns:x", "%", OTLP_GAUGE, "ns:x_percent"},
        {"odd", "foo bar/*", OTLP_OTHER, "odd_foo_bar"},
        {"\xc3\xa9t\xc3\xa9", "", OTLP_OTHER, "t"},
        {"...", "", OTLP_OTHER, ""},
    };
    struct arena arena;
    arena_init(&arena, 1 << 20);
    for (size_t i = 0; i < ARRAY_LENGTH(ROWS); i++) {
        struct str got = otlp_metric_name(&arena, str_from(ROWS[i].name), str_from(ROWS[i].unit), ROWS[i].kind);
        if (!str_eq(got, str_from(ROWS[i].want)))
            fail_msg("%s %s: " STR_FORMAT ", wanted %s", ROWS[i].name, ROWS[i].unit, STR_ARG(got), ROWS[i].want);
    }
    static const char *const LABELS[][2] = {{"a.b", "a_b"},   {"0x", "key_0x"},     {"_a", "key_a"},  {"__a", "__a"},
                                            {"a__b", "a__b"}, {"a:b", "a_b"},       {"\xc3\xa9", ""}, {"___", ""},
                                            {"", ""},         {"x\xc3\xa9y", "x_y"}};
    for (size_t i = 0; i < ARRAY_LENGTH(LABELS); i++) {
        struct str got = otlp_label_name(&arena, str_from(LABELS[i][0]));
        if (!str_eq(got, str_from(LABELS[i][1])))
            fail_msg("%s: " STR_FORMAT ", wanted %s", LABELS[i][0], STR_ARG(got), LABELS[i][1]);
    }
    static const char *const UNITS[][2] = {
        {"By/s", "bytes_per_second"}, {"1", ""}, {"s", "seconds"}, {"{x}/m", "per_minute"}};
    for (size_t i = 0; i < ARRAY_LENGTH(UNITS); i++)
        assert_true(str_eq(otlp_unit_name(&arena, str_from(UNITS[i][0])), str_from(UNITS[i][1])));
    arena_release(&arena);
}

/* --- messages --- */

static void add_attribute(struct strbuf *out, unsigned field, struct str key, struct str value)
{
    struct strbuf text = new_buffer(), pair = new_buffer();
    pb_bytes(&text, 1, value);
    pb_bytes(&pair, 1, key);
    pb_message(&pair, 2, &text);
    pb_message(out, field, &pair);
}

static void add_time(struct strbuf *point, int64_t time_ms)
{
    pb_varint(point, 3 * 8 + 1);
    for (int i = 0; i < 8; i++)
        strbuf_char(point, (char)((uint64_t)time_ms * 1000000 >> (8 * i)));
}

/* A request with one metric of one data point; `kind`: 5 a gauge, 7 a sum, 10 an exponential histogram. */
static struct strbuf request_of(unsigned kind, uint64_t temporality, size_t attributes_n, struct str key)
{
    struct strbuf point = new_buffer(), data = new_buffer(), metric = new_buffer(), scope = new_buffer(),
                  resource = new_buffer(), resources = new_buffer(), message = new_buffer();
    add_time(&point, 5000);
    for (size_t i = 0; i < attributes_n; i++) {
        char name[32];
        snprintf(name, sizeof name, "a%zu", i);
        add_attribute(&point, 7, key.len ? key : str_from(name), STR("v"));
    }
    pb_message(&data, 1, &point);
    pb_number(&data, 2, temporality);
    pb_bytes(&metric, 1, STR("m"));
    pb_message(&metric, kind, &data);
    pb_message(&scope, 2, &metric);
    add_attribute(&resource, 1, STR("service.name"), STR("s"));
    pb_message(&resources, 1, &resource);
    pb_message(&resources, 2, &scope);
    pb_message(&message, 1, &resources);
    return message;
}

static void what_is_rejected_is_counted_and_named(void **state)
{
    static const struct {
        unsigned kind;
        uint64_t temporality;
        size_t attributes_n;
        const char *key, *why;
    } ROWS[] = {
        {7, 1, 0, "", "invalid temporality and type combination (delta; only cumulative is stored) for metric \"m\""},
        {7, 0, 0, "", "invalid temporality and type combination for metric \"m\""},
        {6, 0, 0, "", NULL},
        {5, 0, 1, "...", "an attribute whose name has no letter or digit \"m\""},
        {5, 0, 125, "", "more than 124 attributes \"m\""},
    };
    for (size_t i = 0; i < ARRAY_LENGTH(ROWS); i++) {
        struct strbuf message =
            request_of(ROWS[i].kind, ROWS[i].temporality, ROWS[i].attributes_n, str_from(ROWS[i].key));
        struct arena arena;
        struct otlp_request got;
        arena_init(&arena, 1 << 20);
        assert_int_equal(otlp_unpack(&arena, strbuf_view(&message), &NO_LIMITS, &got, NULL), OK);
        assert_int_equal(got.request.series_n, 0);
        if (ROWS[i].why && !strstr(got.rejected.message, ROWS[i].why))
            fail_msg("row %zu: %s", i, got.rejected.message);
        assert_int_equal(got.rejected_points, ROWS[i].why ? 1 : 0);
        arena_release(&arena);
        strbuf_release(&message);
    }
}

/* --- exponential histograms --- */

#define BUCKETS_MAX 12
#define SPANS_MAX   3

/* One of them with these dense buckets, a count that fits, and what it must become. */
struct exponential_row {
    const char *name;
    int32_t scale, offset;
    size_t counts_n;
    uint64_t counts[BUCKETS_MAX];
    int32_t schema;
    size_t spans_n;
    struct histogram_span spans[SPANS_MAX];
    size_t deltas_n;
    int64_t deltas[BUCKETS_MAX];
};

static const struct exponential_row EXPONENTIAL[] = {
    {"none", 3, 7, 0, {0}, 3, 0, {{0, 0}}, 0, {0}},
    {"one up", 0, 4, 2, {3, 1}, 0, 1, {{5, 2}}, 2, {3, -2}},
    {"two empty ones stay", 0, 0, 4, {3, 0, 0, 1}, 0, 1, {{1, 4}}, 4, {3, -3, 0, 1}},
    {"three are a gap", 0, -3, 5, {3, 0, 0, 0, 1}, 0, 2, {{-2, 1}, {3, 1}}, 2, {3, -2}},
    {"empty at both ends", 1, 0, 4, {0, 2, 2, 0}, 1, 1, {{1, 4}}, 4, {0, 2, 0, -2}},
    {"all empty", 1, 0, 3, {0, 0, 0}, 1, 1, {{1, 3}}, 3, {0, 0, 0}},
    {"all empty and many", 1, 0, 5, {0, 0, 0, 0, 0}, 1, 1, {{5, 1}}, 1, {0}},
    {"many empty at the front", 1, 0, 5, {0, 0, 0, 2, 3}, 1, 1, {{4, 2}}, 2, {2, 1}},
    {"scaled down", 9, -3, 5, {1, 2, 4, 8, 16}, 8, 1, {{-1, 3}}, 3, {1, 5, 18}},
    {"scaled down to one", INT32_MAX, 5, 3, {1, 2, 4}, 8, 1, {{1, 1}}, 1, {7}},
    {"scaled down behind a gap", 9, 0, 8, {1, 0, 0, 0, 0, 0, 5, 7}, 8, 1, {{1, 4}}, 4, {1, -1, 5, 2}},
};

static struct strbuf exponential_request(const struct exponential_row *row, bool packed)
{
    struct strbuf point = new_buffer(), buckets = new_buffer(), numbers = new_buffer(), data = new_buffer(),
                  metric = new_buffer(), scope = new_buffer(), resources = new_buffer(), message = new_buffer();
    uint64_t count = 2;
    add_time(&point, 5000);
    pb_number(&buckets, 1, ((uint32_t)row->offset << 1) ^ (row->offset < 0 ? UINT32_MAX : 0));
    for (size_t i = 0; i < row->counts_n; i++) {
        count += row->counts[i];
        if (packed)
            pb_varint(&numbers, row->counts[i]);
        else
            pb_number(&buckets, 2, row->counts[i]);
    }
    if (packed)
        pb_message(&buckets, 2, &numbers);
    pb_fixed64(&point, 4, count);
    pb_fixed64(&point, 5, double_bits(1.5));
    pb_number(&point, 6, ((uint32_t)row->scale << 1) ^ (row->scale < 0 ? UINT32_MAX : 0));
    pb_fixed64(&point, 7, 2);
    pb_message(&point, 8, &buckets);
    pb_message(&data, 1, &point);
    pb_number(&data, 2, 2);
    pb_bytes(&metric, 1, STR("m"));
    pb_message(&metric, 10, &data);
    pb_message(&scope, 2, &metric);
    pb_message(&resources, 2, &scope);
    pb_message(&message, 1, &resources);
    return message;
}

static bool is_as_wanted(const struct native_histogram *got, const struct exponential_row *row)
{
    const struct histogram_side *side = &got->positive;
    bool good = got->schema == row->schema && side->spans_n == row->spans_n && side->buckets_n == row->deltas_n;
    for (size_t i = 0; good && i < row->spans_n; i++)
        good = side->spans[i].offset == row->spans[i].offset && side->spans[i].length == row->spans[i].length;
    for (size_t i = 0; good && i < row->deltas_n; i++)
        good = (int64_t)side->buckets[i] == row->deltas[i];
    return good && got->zero_count == 2 && got->zero_threshold == 1e-128 && got->sum == 1.5 &&
           got->negative.spans_n == 0;
}

static void exponential_histograms_become_native_ones(void **state)
{
    for (size_t i = 0; i < 2 * ARRAY_LENGTH(EXPONENTIAL); i++) {
        const struct exponential_row *row = &EXPONENTIAL[i / 2];
        struct strbuf message = exponential_request(row, i % 2);
        struct arena arena;
        struct otlp_request got;
        struct native_histogram histogram;
        arena_init(&arena, 1 << 20);
        assert_int_equal(otlp_unpack(&arena, strbuf_view(&message), &NO_LIMITS, &got, NULL), OK);
        assert_int_equal(got.request.histograms_n, 1);
        assert_int_equal(got.request.histograms[0].is.time_ms, 5000);
        assert_int_equal(native_histogram_unpack(&arena, got.request.histograms[0].is.packed, &histogram, NULL), OK);
        if (!is_as_wanted(&histogram, row))
            fail_msg("%s", row->name);
        arena_release(&arena);
        strbuf_release(&message);
    }
}

static void good_points_are_kept_however_short_memory_is(void **state)
{
    struct strbuf message = request_of(5, 0, 3, STR(""));
    bool good = false;
    for (size_t cap = 0; !good; cap += 256) {
        struct arena arena;
        struct otlp_request got;
        struct error error = {0};
        arena_init(&arena, cap);
        enum status status = otlp_unpack(&arena, strbuf_view(&message), &NO_LIMITS, &got, &error);
        assert_true(status == OK || status == E_TOO_LARGE || status == E_NOMEM);
        good = status == OK;
        if (good) {
            assert_int_equal(got.request.samples_n, 1);
            assert_int_equal(got.request.series[0].labels.n, 5);
            assert_int_equal(got.request.series[0].samples[0].time_ms, 5000);
        }
        arena_release(&arena);
    }
    strbuf_release(&message);
}

static void broken_messages_are_refused(void **state)
{
    struct strbuf message = request_of(5, 0, 2, STR(""));
    for (size_t n = 0; n < message.len; n++) {
        struct arena arena;
        struct otlp_request got;
        struct error error = {0};
        char *exact = malloc(n ? n : 1);
        memcpy(exact, message.ptr, n);
        arena_init(&arena, 1 << 20);
        enum status status = otlp_unpack(&arena, (struct str){exact, n}, &NO_LIMITS, &got, &error);
        assert_int_equal(status, n == 0 ? OK : E_BAD_DATA);
        assert_true(n == 0 || strstr(error.message, "OTLP request is not valid protobuf: "));
        arena_release(&arena);
        free(exact);
    }
    strbuf_release(&message);
}

static void answers_say_what_was_not_stored(void **state)
{
    struct strbuf out = new_buffer();
    otlp_response(&out, 0, STR(""));
    assert_int_equal(out.len, 0);
    otlp_response(&out, 300, STR("why"));
    assert_int_equal(out.len, 10);
    assert_memory_equal(out.ptr, "\x0a\x08\x08\xac\x02\x12\x03why", 10);
    strbuf_release(&out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(metrics_get_the_names_of_prometheus),
        cmocka_unit_test(what_is_rejected_is_counted_and_named),
        cmocka_unit_test(exponential_histograms_become_native_ones),
        cmocka_unit_test(good_points_are_kept_however_short_memory_is),
        cmocka_unit_test(broken_messages_are_refused),
        cmocka_unit_test(answers_say_what_was_not_stored),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
