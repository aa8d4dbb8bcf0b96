/* Errors: filling, positions, prefixes, cutting, and what the API sees of each status. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/assert.h"
#include "base/error.h"

static void test_set(void **state)
{
    struct error error;
    assert_int_equal(error_set(&error, E_LIMIT, "%d of %s", 7, "x"), E_LIMIT);
    assert_int_equal(error.status, E_LIMIT);
    assert_string_equal(error.message, "7 of x");
    assert_int_equal(error.begin, ERROR_NO_POSITION);
    assert_int_equal(error.end, ERROR_NO_POSITION);
    assert_int_equal(error_set_at(&error, E_BAD_DATA, 3, 9, "there"), E_BAD_DATA);
    assert_int_equal(error.begin, 3);
    assert_int_equal(error.end, 9);
    assert_int_equal(error_set(NULL, E_STORE, "unseen %s", "word"), E_STORE);
}

static void test_prefix(void **state)
{
    struct error error;
    (void)error_set_at(&error, E_BAD_DATA, 3, 9, "middle: 100%%");
    assert_int_equal(error_prefix(&error, "%s %d: ", "outer", 1), E_BAD_DATA);
    assert_int_equal(error_prefix(&error, "far: "), E_BAD_DATA);
    assert_string_equal(error.message, "far: outer 1: middle: 100%");
    assert_int_equal(error.begin, 3);
    (void)error_prefix(NULL, "nothing");
}

/* A long message is cut at a character's border, so that it stays UTF-8. */
static void test_cut(void **state)
{
    struct error error;
    char text[3 * ERROR_MESSAGE_MAX + 1];
    for (size_t lead = 0; lead < 3; lead++) {
        size_t n = 0;
        memset(text, 'a', lead);
        n = lead;
        while (n + 3 < sizeof text) {
            memcpy(text + n, "\xe2\x82\xac", 3);
            n += 3;
        }
        text[n] = '\0';
        (void)error_set(&error, E_LIMIT, "%s", text);
        size_t length = strlen(error.message);
        assert_in_range(length, ERROR_MESSAGE_MAX - 4, ERROR_MESSAGE_MAX - 1);
        assert_int_equal((length - lead) % 3, 0);
        (void)error_prefix(&error, "x");
        length = strlen(error.message);
        assert_in_range(length, ERROR_MESSAGE_MAX - 4, ERROR_MESSAGE_MAX - 1);
        assert_int_equal((length - lead - 1) % 3, 0);
    }
}

static void test_statuses(void **state)
{
    static const struct {
        enum status status;
        const char *api_type;
        int http_code;
    } CASES[] = {
        {OK, "", 200},
        {E_BAD_DATA, "bad_data", 400},
        {E_EXECUTION, "execution", 422},
        {E_LIMIT, "execution", 422},
        {E_TIMEOUT, "timeout", 503},
        {E_CANCELED, "canceled", 499},
        {E_UNAVAILABLE, "unavailable", 503},
        {E_NOT_FOUND, "not_found", 404},
        {E_NOMEM, "internal", 500},
        {E_INTERNAL, "internal", 500},
    };
    for (size_t i = 0; i < ARRAY_LENGTH(CASES); i++) {
        assert_string_equal(status_api_type(CASES[i].status), CASES[i].api_type);
        assert_int_equal(status_http_code(CASES[i].status), CASES[i].http_code);
    }
    for (int status = 0; status < STATUS_MAX; status++) {
        assert_true(strlen(status_text((enum status)status)) > 0);
        assert_in_range(status_http_code((enum status)status), 200, 599);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_set),
        cmocka_unit_test(test_prefix),
        cmocka_unit_test(test_cut),
        cmocka_unit_test(test_statuses),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
