/* Text views and the bounded builder: appending, limits, reserving, JSON. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/assert.h"
#include "base/strbuf.h"

static void test_append(void **state)
{
    struct strbuf sb;
    strbuf_init(&sb, 1000);
    assert_string_equal(strbuf_view(&sb).ptr, "");
    strbuf_cstr(&sb, "a");
    strbuf_str(&sb, STR("bc"));
    strbuf_str(&sb, (struct str){0});
    strbuf_char(&sb, 'd');
    strbuf_bytes(&sb, "\0e", 2);
    strbuf_i64(&sb, -12);
    strbuf_u64(&sb, 34);
    strbuf_f(&sb, "<%s:%03d>", "x", 7);
    assert_true(str_eq(strbuf_view(&sb), STR("abcd\0e-1234<x:007>")));
    assert_int_equal(sb.ptr[sb.len], '\0');
    assert_int_equal(strbuf_status(&sb, "it", NULL), OK);
    strbuf_clear(&sb);
    strbuf_i64(&sb, INT64_MIN);
    strbuf_char(&sb, ' ');
    strbuf_i64(&sb, INT64_MAX);
    strbuf_char(&sb, ' ');
    strbuf_u64(&sb, UINT64_MAX);
    strbuf_u64(&sb, 0);
    assert_string_equal(sb.ptr, "-9223372036854775808 9223372036854775807 184467440737095516150");
    strbuf_release(&sb);
    strbuf_release(&sb);
    strbuf_release(NULL);
}

/* Exactly the limit fits; one more fails, sticks, and leaves what was there. */
static void test_limit(void **state)
{
    struct strbuf sb;
    struct error error;
    strbuf_init(&sb, 5);
    strbuf_cstr(&sb, "abc");
    strbuf_cstr(&sb, "de");
    assert_int_equal(strbuf_status(&sb, "it", &error), OK);
    strbuf_char(&sb, 'f');
    strbuf_cstr(&sb, "");
    strbuf_f(&sb, "%d", 1);
    assert_null(strbuf_reserve(&sb, 0));
    assert_string_equal(sb.ptr, "abcde");
    assert_int_equal(strbuf_status(&sb, "the answer", &error), E_LIMIT);
    assert_string_equal(error.message, "the answer is longer than the allowed 5 bytes");
    strbuf_clear(&sb);
    assert_int_equal(strbuf_status(&sb, "it", &error), OK);
    strbuf_cstr(&sb, "12345");
    assert_string_equal(sb.ptr, "12345");
    strbuf_release(&sb);

    strbuf_init(&sb, 100);
    assert_null(strbuf_reserve(&sb, SIZE_MAX));
    assert_int_equal(sb.status, E_LIMIT);
    strbuf_release(&sb);
}

static void test_out_of_memory(void **state)
{
    struct strbuf sb;
    struct error error;
    strbuf_init(&sb, SIZE_MAX);
    assert_null(strbuf_reserve(&sb, SIZE_MAX / 2));
    assert_int_equal(strbuf_status(&sb, "it", &error), E_NOMEM);
    strbuf_release(&sb);

    strbuf_init(&sb, SIZE_MAX); /* sizes near the end of the address space must not wrap around */
    assert_null(strbuf_reserve(&sb, SIZE_MAX - 1));
    assert_int_equal(strbuf_status(&sb, "it", &error), E_NOMEM);
    strbuf_release(&sb);

    strbuf_init(&sb, SIZE_MAX);
    assert_null(strbuf_reserve(&sb, SIZE_MAX));
    assert_int_equal(strbuf_status(&sb, "it", &error), E_NOMEM);
    strbuf_release(&sb);
}

static void test_reserve_and_detach(void **state)
{
    struct strbuf sb;
    strbuf_init(&sb, 1 << 20);
    for (int i = 0; i < 1000; i++) {
        char *place = strbuf_reserve(&sb, 100);
        assert_non_null(place);
        memset(place, 'a' + i % 26, 10);
        strbuf_commit(&sb, 10);
    }
    assert_int_equal(sb.len, 10000);
    assert_int_equal(sb.ptr[9999], 'a' + 999 % 26);
    size_t length;
    char *bytes = strbuf_detach(&sb, &length);
    assert_int_equal(length, 10000);
    assert_int_equal(strlen(bytes), 10000);
    assert_null(sb.ptr);
    assert_int_equal(sb.max, 1 << 20);
    free(bytes);
    assert_null(strbuf_detach(&sb, NULL));
}

static void test_json(void **state)
{
    static const struct {
        struct str text;
        const char *json;
    } CASES[] = {
        {{NULL, 0}, "\"\""},
        {STR_STATIC(""), "\"\""},
        {STR_STATIC("plain text"), "\"plain text\""},
        {STR_STATIC("\"\\/\n\r\t"), "\"\\\"\\\\/\\n\\r\\t\""},
        {STR_STATIC("\0\x01\b\f\x1f\x7f"), "\"\\u0000\\u0001\\u0008\\u000c\\u001f\x7f\""},
        {STR_STATIC("\xc3\xa9 \xe2\x82\xac \xf0\x9f\x98\x80"), "\"\xc3\xa9 \xe2\x82\xac \xf0\x9f\x98\x80\""},
        {STR_STATIC("<>&\xe2\x80\xa8"), "\"<>&\xe2\x80\xa8\""},
        /* broken: stray continuation, cut short, overlong, surrogate, too large */
        {STR_STATIC("\x80"), "\"\xef\xbf\xbd\""},
        {STR_STATIC("a\xc3"), "\"a\xef\xbf\xbd\""},
        {STR_STATIC("\xe2\x82z"), "\"\xef\xbf\xbd\xef\xbf\xbdz\""},
        {STR_STATIC("\xc0\xaf"), "\"\xef\xbf\xbd\xef\xbf\xbd\""},
        {STR_STATIC("\xe0\x80\xaf"), "\"\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\""},
        {STR_STATIC("\xed\xa0\x80"), "\"\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\""},
        {STR_STATIC("\xf4\x90\x80\x80"), "\"\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\""},
        {STR_STATIC("\xf5"), "\"\xef\xbf\xbd\""},
    };
    for (size_t i = 0; i < ARRAY_LENGTH(CASES); i++) {
        struct strbuf sb;
        strbuf_init(&sb, 1000);
        strbuf_json(&sb, CASES[i].text);
        assert_string_equal(strbuf_view(&sb).ptr, CASES[i].json);
        strbuf_release(&sb);
    }
}

static void test_str(void **state)
{
    struct str empty = {0};
    assert_true(str_eq(empty, STR("")));
    assert_false(str_eq(STR("a"), STR("ab")));
    assert_false(str_eq(STR("a"), STR("b")));
    assert_true(str_eq(STR("a\0b"), (struct str){"a\0b", 3}));
    assert_true(str_cmp(STR("a"), STR("ab")) < 0);
    assert_true(str_cmp(STR("b"), STR("ab")) > 0);
    assert_true(str_cmp(STR("\xff"), STR("a")) > 0);
    assert_int_equal(str_cmp(empty, STR("")), 0);
    assert_true(str_starts_with(STR("abc"), STR("ab")) && str_starts_with(STR("abc"), empty));
    assert_false(str_starts_with(STR("ab"), STR("abc")));
    assert_true(str_ends_with(STR("abc"), STR("bc")) && str_ends_with(empty, empty));
    assert_false(str_ends_with(STR("abc"), STR("ab")));
    assert_int_equal(str_from(NULL).len, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_append),        cmocka_unit_test(test_limit),
        cmocka_unit_test(test_out_of_memory), cmocka_unit_test(test_reserve_and_detach),
        cmocka_unit_test(test_json),          cmocka_unit_test(test_str),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
