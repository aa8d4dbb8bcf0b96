/* tests/unit/remote/test_remote_read_request.c: remote read requests, well-formed and not. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/assert.h"
#include "remote/read_request.h"
#include "wire_test.h"

static const struct read_limits LIMITS = {
    .body_max_bytes = 1 << 16, .decoded_max_bytes = 1 << 18, .queries_max = 4, .matchers_max = 8};

static void add_matcher(struct strbuf *query, int64_t type, struct str name, struct str value)
{
    struct strbuf matcher = new_buffer();
    if (type)
        pb_number(&matcher, 1, (uint64_t)type);
    pb_bytes(&matcher, 2, name);
    pb_bytes(&matcher, 3, value);
    pb_message(query, 3, &matcher);
}

/* As Prometheus 3.5 asks for rate(up{job=~"a|b"}[5m]). */
static struct strbuf usual_request(void)
{
    struct strbuf request = new_buffer(), query = new_buffer(), hints = new_buffer();
    pb_number(&query, 1, 1700000000001);
    pb_number(&query, 2, 1700003600000);
    add_matcher(&query, 0, STR("__name__"), STR("up"));
    add_matcher(&query, 2, STR("job"), STR("a|b"));
    pb_number(&hints, 1, 15000);
    pb_bytes(&hints, 2, STR("rate"));
    pb_number(&hints, 3, 1700000000001);
    pb_number(&hints, 4, 1700003600000);
    pb_number(&hints, 7, 300000);
    pb_message(&query, 4, &hints);
    pb_message(&request, 1, &query);
    pb_bytes(&request, 2, STR("\x01\x00")); /* packed: STREAMED_XOR_CHUNKS, SAMPLES */
    return request;
}

static enum status unpack(struct arena *arena, const struct strbuf *message, struct read_request *request,
                          struct error *error)
{
    char *copy = exact_copy(strbuf_view(message));
    enum status status = read_request_unpack(arena, (struct str){copy, message->len}, &LIMITS, request, error);
    free(copy); /* nothing decoded may point into it */
    return status;
}

static void test_decodes_what_prometheus_sends(void **state)
{
    struct arena arena;
    arena_init(&arena, 1 << 20);
    struct strbuf message = usual_request();
    struct strbuf body = compressed(strbuf_view(&message));
    struct read_request request;
    assert_int_equal(read_request_decode(&arena, strbuf_view(&body), &LIMITS, &request, NULL), OK);
    strbuf_release(&body);
    strbuf_release(&message);
    assert_int_equal(request.answer, READ_STREAMED_XOR_CHUNKS);
    assert_int_equal(request.queries_n, 1);
    const struct read_query *query = &request.queries[0];
    assert_int_equal(query->span.min_ms, 1700000000001);
    assert_int_equal(query->span.max_ms, 1700003600000);
    assert_false(query->series_only);
    assert_int_equal(query->matchers_n, 2);
    assert_str(query->matchers[0].name, "__name__");
    assert_int_equal(query->matchers[0].op, MATCH_EQUAL);
    assert_str(query->matchers[0].value, "up");
    assert_str(query->matchers[1].name, "job");
    assert_int_equal(query->matchers[1].op, MATCH_REGEX);
    assert_str(query->matchers[1].value, "a|b");
    arena_release(&arena);
}

static void test_matchers_of_every_kind(void **state)
{
    static const struct {
        int64_t wire;
        enum status want;
        enum match_op op;
    } CASES[] = {
        {0, OK, MATCH_EQUAL},
        {1, OK, MATCH_NOT_EQUAL},
        {2, OK, MATCH_REGEX},
        {3, OK, MATCH_NOT_REGEX},
        {4, E_BAD_DATA, MATCH_EQUAL},
        {-1, E_BAD_DATA, MATCH_EQUAL},
        {INT32_MAX, E_BAD_DATA, MATCH_EQUAL},
    };
    for (size_t i = 0; i < ARRAY_LENGTH(CASES); i++) {
        struct arena arena;
        arena_init(&arena, 1 << 20);
        struct strbuf message = new_buffer(), query = new_buffer();
        add_matcher(&query, CASES[i].wire, STR("a"), STR("with \0 byte"));
        pb_message(&message, 1, &query);
        struct read_request request;
        struct error error;
        assert_int_equal(unpack(&arena, &message, &request, &error), CASES[i].want);
        if (CASES[i].want == OK) {
            assert_int_equal(request.queries[0].matchers[0].op, CASES[i].op);
            assert_int_equal(request.queries[0].matchers[0].value.len, 11);
            assert_memory_equal(request.queries[0].matchers[0].value.ptr, "with \0 byte", 11);
        } else {
            assert_non_null(strstr(error.message, "invalid matcher type"));
        }
        strbuf_release(&message);
        arena_release(&arena);
    }
}

static void test_chooses_the_answer(void **state)
{
    static const struct {
        const char *hex; /* of field 2, as often as it comes */
        enum status want;
        enum read_answer_type answer;
    } CASES[] = {
        {"", OK, READ_SAMPLES},
        {"1200", OK, READ_SAMPLES},                   /* packed, empty */
        {"12020100", OK, READ_STREAMED_XOR_CHUNKS},   /* packed [1 0] */
        {"12020001", OK, READ_SAMPLES},               /* packed [0 1] */
        {"10011000", OK, READ_STREAMED_XOR_CHUNKS},   /* unpacked [1 0] */
        {"1000", OK, READ_SAMPLES},                   /* unpacked [0] */
        {"1001", OK, READ_STREAMED_XOR_CHUNKS},       /* unpacked [1] */
        {"1007120101", OK, READ_STREAMED_XOR_CHUNKS}, /* unpacked 7, packed 1 */
        {"12020709", E_BAD_DATA, READ_SAMPLES},       /* none that we know */
        {"10ffffffffffffffffff01", E_BAD_DATA, READ_SAMPLES},
    };
    for (size_t i = 0; i < ARRAY_LENGTH(CASES); i++) {
        struct arena arena;
        arena_init(&arena, 1 << 20);
        struct strbuf message = from_hex(CASES[i].hex);
        struct read_request request;
        struct error error;
        assert_int_equal(unpack(&arena, &message, &request, &error), CASES[i].want);
        if (CASES[i].want == OK)
            assert_int_equal(request.answer, CASES[i].answer);
        else
            assert_non_null(strstr(error.message, "server does not support any of the requested response types: ["));
        strbuf_release(&message);
        arena_release(&arena);
    }
}

static void test_times_are_clamped(void **state)
{
    struct arena arena;
    arena_init(&arena, 1 << 20);
    struct strbuf message = new_buffer(), query = new_buffer();
    pb_number(&query, 1, (uint64_t)INT64_MIN);
    pb_number(&query, 2, INT64_MAX);
    pb_message(&message, 1, &query);
    pb_number(&query, 1, (uint64_t)INT64_C(-5000));
    pb_number(&query, 2, (uint64_t)INT64_C(-6000));
    pb_message(&message, 1, &query);
    struct read_request request;
    assert_int_equal(unpack(&arena, &message, &request, NULL), OK);
    assert_int_equal(request.queries_n, 2);
    assert_int_equal(request.queries[0].span.min_ms, READ_TIME_MIN_MS);
    assert_int_equal(request.queries[0].span.max_ms, READ_TIME_MAX_MS);
    assert_int_equal(request.queries[1].span.min_ms, -5000);
    assert_int_equal(request.queries[1].span.max_ms, -6000);
    strbuf_release(&message);
    arena_release(&arena);
}

static void test_series_only(void **state)
{
    static const struct {
        const char *func;
        bool want;
    } CASES[] = {{"series", true}, {"serie", false}, {"seriesx", false}, {"", false}, {"sum", false}};
    for (size_t i = 0; i < ARRAY_LENGTH(CASES); i++) {
        struct arena arena;
        arena_init(&arena, 1 << 20);
        struct strbuf message = new_buffer(), query = new_buffer(), hints = new_buffer();
        pb_bytes(&hints, 2, str_from(CASES[i].func));
        pb_message(&query, 4, &hints);
        pb_message(&message, 1, &query);
        struct read_request request;
        assert_int_equal(unpack(&arena, &message, &request, NULL), OK);
        assert_int_equal(request.queries[0].series_only, CASES[i].want);
        strbuf_release(&message);
        arena_release(&arena);
    }
}

static void test_limits(void **state)
{
    struct arena arena;
    arena_init(&arena, 1 << 20);
    struct read_request request;
    struct error error;

    char *body = calloc(1, LIMITS.body_max_bytes + 1);
    assert_int_equal(
        read_request_decode(&arena, (struct str){body, LIMITS.body_max_bytes + 1}, &LIMITS, &request, &error),
        E_TOO_LARGE);
    assert_non_null(strstr(error.message, "remote read request of 65537 bytes exceeds limit 65536"));
    free(body);

    struct strbuf big = new_buffer();
    assert_non_null(memset(strbuf_reserve(&big, LIMITS.decoded_max_bytes + 1), 0, LIMITS.decoded_max_bytes + 1));
    strbuf_commit(&big, LIMITS.decoded_max_bytes + 1);
    struct strbuf bomb = compressed(strbuf_view(&big));
    assert_int_equal(read_request_decode(&arena, strbuf_view(&bomb), &LIMITS, &request, &error), E_TOO_LARGE);
    assert_non_null(strstr(error.message, "snappy: decoded length 262145 exceeds limit 262144"));
    strbuf_release(&bomb);
    strbuf_release(&big);
    assert_int_equal(arena.used_bytes, 0); /* refused before anything was allocated */

    struct strbuf message = new_buffer();
    for (size_t i = 0; i <= LIMITS.queries_max; i++)
        pb_bytes(&message, 1, STR(""));
    assert_int_equal(unpack(&arena, &message, &request, &error), E_TOO_LARGE);
    assert_non_null(strstr(error.message, "5 queries exceed limit 4"));
    strbuf_release(&message);

    struct strbuf query = new_buffer();
    for (size_t i = 0; i <= LIMITS.matchers_max; i++)
        add_matcher(&query, 0, STR("a"), STR("b"));
    pb_message(&message, 1, &query);
    assert_int_equal(unpack(&arena, &message, &request, &error), E_TOO_LARGE);
    assert_non_null(strstr(error.message, "9 matchers in one query exceed limit 8"));
    strbuf_release(&message);
    arena_release(&arena);
}

/* Sizes that the preamble declares and the body cannot hold. */
static void test_snappy_that_lies(void **state)
{
    static const struct {
        const char *name, *hex;
        enum status want;
    } CASES[] = {
        {"empty", "", E_BAD_DATA},
        {"preamble without end", "ffffff", E_BAD_DATA},
        {"preamble over 32 bits", "ffffffffff7f", E_BAD_DATA},
        {"4 GiB", "ffffffff0f00", E_TOO_LARGE},
        {"256 KiB in two bytes", "80801000000000", E_BAD_DATA},
        {"shorter than declared",
         "0500"
         "61",
         E_BAD_DATA},
        {"longer than declared",
         "0108"
         "616263",
         E_BAD_DATA},
        {"copy before the start",
         "04"
         "00"
         "61"
         "0105",
         E_BAD_DATA},
        {"nothing, well said", "00", OK},
    };
    for (size_t i = 0; i < ARRAY_LENGTH(CASES); i++) {
        struct arena arena;
        arena_init(&arena, 1 << 20);
        struct strbuf body = from_hex(CASES[i].hex);
        char *copy = exact_copy(strbuf_view(&body));
        struct read_request request;
        enum status got = read_request_decode(&arena, (struct str){copy, body.len}, &LIMITS, &request, NULL);
        if (got != CASES[i].want)
            print_error("%s\n", CASES[i].name);
        assert_int_equal(got, CASES[i].want);
        free(copy);
        strbuf_release(&body);
        arena_release(&arena);
    }
}

static void test_malformed_messages(void **state)
{
    static const char *const CASES[] = {
        "0a05",     /* query longer than the message */
        "0a021800", /* query with matchers of the wrong wire type */
        "0a021b1c", /* a group */
        "0a04"
        "1a020a05", /* matcher type with a length */
        "0a05"
        "1a03120561", /* name longer than its matcher */
        "0a03"
        "08ffff",                 /* varint without end */
        "0affffffffffffffffff7f", /* absurd length */
        "10",                     /* enum without value */
        "1203ffffff",             /* packed enums without end */
        "0a04"
        "1a0212"
        "01", /* matcher name: length behind the matcher's end */
        "0a06"
        "1a04"
        "1202c328", /* not UTF-8: c3 28 */
        "0a06"
        "1a04"
        "1a02eda0", /* not UTF-8: half a surrogate */
    };
    for (size_t i = 0; i < ARRAY_LENGTH(CASES); i++) {
        struct arena arena;
        arena_init(&arena, 1 << 20);
        struct strbuf message = from_hex(CASES[i]);
        struct read_request request;
        struct error error;
        enum status got = unpack(&arena, &message, &request, &error);
        if (got != E_BAD_DATA)
            print_error("%s\n", CASES[i]);
        assert_int_equal(got, E_BAD_DATA);
        strbuf_release(&message);
        arena_release(&arena);
    }
}

/* Cut anywhere: refused, or (between fields of the outermost message) a smaller request; never anything else. */
static void test_every_cut(void **state)
{
    struct strbuf message = usual_request();
    size_t accepted = 0;
    for (size_t len = 0; len < message.len; len++) {
        struct arena arena;
        arena_init(&arena, 1 << 20);
        struct strbuf cut = {.ptr = message.ptr, .len = len};
        struct read_request request;
        enum status got = unpack(&arena, &cut, &request, NULL);
        assert_true(got == OK || got == E_BAD_DATA);
        accepted += got == OK;
        arena_release(&arena);
    }
    assert_int_equal(accepted, 2); /* nothing at all; the query without the response types */
    struct strbuf body = compressed(strbuf_view(&message));
    for (size_t len = 0; len < body.len; len++) {
        struct arena arena;
        arena_init(&arena, 1 << 20);
        char *copy = exact_copy((struct str){body.ptr, len});
        struct read_request request;
        assert_int_equal(read_request_decode(&arena, (struct str){copy, len}, &LIMITS, &request, NULL), E_BAD_DATA);
        free(copy);
        arena_release(&arena);
    }
    strbuf_release(&body);
    strbuf_release(&message);
}

static void test_memory_failures(void **state)
{
    struct strbuf message = usual_request();
    struct strbuf body = compressed(strbuf_view(&message));
    enum status status = E_NOMEM;
    int64_t failed = 0;
    for (int64_t after = 0; status != OK; after++) {
        struct arena arena;
        arena_init(&arena, 1 << 20);
        arena.fail_after = after;
        struct read_request request;
        status = read_request_decode(&arena, strbuf_view(&body), &LIMITS, &request, NULL);
        assert_true(status == OK || status == E_NOMEM);
        failed += status != OK;
        arena_release(&arena);
    }
    assert_true(failed > 8);
    status = E_TOO_LARGE;
    for (size_t cap = 0; status != OK; cap += 64) {
        struct arena arena;
        arena_init(&arena, cap);
        struct read_request request;
        status = read_request_decode(&arena, strbuf_view(&body), &LIMITS, &request, NULL);
        assert_true(status == OK || status == E_TOO_LARGE);
        arena_release(&arena);
    }
    strbuf_release(&body);
    strbuf_release(&message);
}

static void test_task_queries(void **state)
{
    const struct matcher kind = {STR("__task_kind__"), MATCH_EQUAL, STR("fragment")};
    const struct matcher id = {STR("__task_id__"), MATCH_EQUAL, STR("01JD")};
    const struct matcher other = {STR("cluster"), MATCH_EQUAL, STR("eu")};
    const struct matcher wrong_kind = {STR("__task_kind__"), MATCH_EQUAL, STR("fragments")};
    const struct matcher regex_kind = {STR("__task_kind__"), MATCH_REGEX, STR("fragment")};
    const struct matcher regex_id = {STR("__task_id__"), MATCH_REGEX, STR(".*")};
    const struct {
        struct matcher matchers[3];
        size_t n;
        bool is_task;
        const char *id;
        int stray; /* index, -1: none */
    } cases[] = {
        {{kind, id}, 2, true, "01JD", -1},
        {{id, kind}, 2, true, "01JD", -1},
        {{other, kind, id}, 3, true, "01JD", 0},
        {{kind, id, other}, 3, true, "01JD", 2},
        {{kind, id, id}, 3, true, "01JD", 2},
        {{kind, regex_id}, 2, true, "", 1},
        {{kind}, 1, true, "", -1},
        {{id}, 1, false, "", -1},
        {{wrong_kind, id}, 2, false, "", -1},
        {{regex_kind, id}, 2, false, "", -1},
        {{other}, 1, false, "", -1},
        {{other}, 0, false, "", -1},
    };
    for (size_t i = 0; i < ARRAY_LENGTH(cases); i++) {
        struct matcher matchers[3];
        memcpy(matchers, cases[i].matchers, sizeof matchers);
        const struct read_query query = {.matchers = matchers, .matchers_n = cases[i].n};
        struct str task_id = {0};
        const struct matcher *stray = &other;
        assert_int_equal(read_query_task(&query, &task_id, &stray), cases[i].is_task);
        if (!cases[i].is_task)
            continue;
        assert_str(task_id, cases[i].id);
        assert_ptr_equal(stray, cases[i].stray < 0 ? NULL : &matchers[cases[i].stray]);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_decodes_what_prometheus_sends),
        cmocka_unit_test(test_matchers_of_every_kind),
        cmocka_unit_test(test_chooses_the_answer),
        cmocka_unit_test(test_times_are_clamped),
        cmocka_unit_test(test_series_only),
        cmocka_unit_test(test_limits),
        cmocka_unit_test(test_snappy_that_lies),
        cmocka_unit_test(test_malformed_messages),
        cmocka_unit_test(test_every_cut),
        cmocka_unit_test(test_memory_failures),
        cmocka_unit_test(test_task_queries),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
