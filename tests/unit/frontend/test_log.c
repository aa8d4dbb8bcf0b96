/* Log lines as logfmt and JSON: quoting, levels, limits. The log writes on standard error, which a test redirects. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/assert.h"
#include "frontend/json.h"
#include "frontend/log.h"

struct capture {
    FILE *file;
    int saved;
};

static struct capture capture_begin(void)
{
    struct capture capture = {tmpfile(), dup(STDERR_FILENO)};
    assert_non_null(capture.file);
    dup2(fileno(capture.file), STDERR_FILENO);
    return capture;
}

static struct str capture_end(struct capture *capture, char *text, size_t max)
{
    dup2(capture->saved, STDERR_FILENO);
    close(capture->saved);
    rewind(capture->file);
    size_t n = fread(text, 1, max - 1, capture->file);
    text[n] = '\0';
    fclose(capture->file);
    return (struct str){text, n};
}

static struct log *log_of(const char *level, const char *format)
{
    struct log *log = NULL;
    assert_int_equal(log_new(level, format, &log, NULL), OK);
    return log;
}

static void values_are_quoted_when_they_must_be(void **state)
{
    static const struct {
        const char *value, *shown;
    } rows[] = {
        {"plain", "plain"},
        {"10.5", "10.5"},
        {"http://h:1/p?x", "http://h:1/p?x"},
        {"", "\"\""},
        {"two words", "\"two words\""},
        {"a=b", "\"a=b\""},
        {"say \"x\"", "\"say \\\"x\\\"\""},
        {"back\\slash", "\"back\\\\slash\""},
        {"line\nfeed", "\"line\\nfeed\""},
        {"\x01", "\"\\u0001\""},
        {"\xff", "\"\xef\xbf\xbd\""},
        {"\xc3\xa9", "\"\xc3\xa9\""},
    };
    struct log *log = log_of("info", "logfmt");
    for (size_t i = 0; i < ARRAY_LENGTH(rows); i++) {
        char text[4096], expected[256];
        struct capture capture = capture_begin();
        struct log_line line = log_begin(log, LOG_WARN, "a message");
        log_str(&line, "key", str_from(rows[i].value));
        log_i64(&line, "n", -5);
        log_end(&line);
        capture_end(&capture, text, sizeof text);
        snprintf(expected, sizeof expected, "Z level=warn msg=\"a message\" key=%s n=-5\n", rows[i].shown);
        assert_true(strncmp(text, "ts=20", 5) == 0);
        assert_string_equal(text + strlen("ts=2026-01-02T03:04:05.678"), expected);
    }
    log_free(log);
}

static void json_lines_are_objects(void **state)
{
    struct log *log = log_of("debug", "json");
    char text[4096];
    struct capture capture = capture_begin();
    struct log_line line = log_begin(log, LOG_DEBUG, "m\"");
    log_str(&line, "key", STR("a\nb"));
    log_i64(&line, "n", 7);
    struct error error;
    error_set(&error, E_TIMEOUT, "too \"late\"");
    log_error(&line, &error);
    log_end(&line);
    struct str written = capture_end(&capture, text, sizeof text);
    struct json_member members[] = {{.name = STR("ts")},    {.name = STR("level")}, {.name = STR("msg")},
                                    {.name = STR("key")},   {.name = STR("n")},     {.name = STR("err")},
                                    {.name = STR("status")}};
    static const char *const expected[] = {
        NULL, "\"debug\"", "\"m\\\"\"", "\"a\\nb\"", "7", "\"too \\\"late\\\"\"", "\"timed out\""};
    assert_true(json_members(written, members, ARRAY_LENGTH(members)));
    for (size_t i = 1; i < ARRAY_LENGTH(members); i++)
        assert_true(str_eq(members[i].value, str_from(expected[i])));
    assert_int_equal(text[written.len - 1], '\n');
    log_free(log);
}

static void levels_below_are_silent(void **state)
{
    struct log *log = log_of("warn", "logfmt");
    char text[256];
    assert_false(log_on(log, LOG_INFO));
    assert_true(log_on(log, LOG_ERROR));
    assert_false(log_on(NULL, LOG_ERROR));
    struct capture capture = capture_begin();
    struct log_line line = log_begin(log, LOG_INFO, "quiet");
    log_str(&line, "key", STR("value"));
    log_end(&line);
    assert_int_equal(capture_end(&capture, text, sizeof text).len, 0);
    log_free(log);
}

/* A line that is full leaves pairs out whole: it is still an object and still ends. */
static void lines_are_bounded(void **state)
{
    struct log *log = log_of("info", "json");
    char *text = malloc(200000), *long_value = malloc(100000);
    memset(long_value, '"', 100000); /* every byte takes two */
    struct capture capture = capture_begin();
    struct log_line line = log_begin(log, LOG_INFO, "long");
    for (int i = 0; i < 20; i++)
        log_str(&line, "value", (struct str){long_value, 100000});
    log_i64(&line, "small", 1);
    log_end(&line);
    struct str written = capture_end(&capture, text, 200000);
    struct json_member member = {.name = STR("small")};
    assert_true(json_members(written, &member, 1));
    assert_true(str_eq(member.value, STR("1")));
    assert_true(written.len <= 65536 + 2);
    free(text);
    free(long_value);
    log_free(log);
}

static void unknown_levels_and_formats_are_refused(void **state)
{
    struct log *log = NULL;
    struct error error;
    assert_int_equal(log_new("loud", "json", &log, &error), E_BAD_DATA);
    assert_string_equal(error.message, "log level \"loud\" is unknown; allowed: debug, info, warn, error");
    assert_int_equal(log_new("info", "xml", &log, &error), E_BAD_DATA);
    assert_null(log);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(values_are_quoted_when_they_must_be),
        cmocka_unit_test(json_lines_are_objects),
        cmocka_unit_test(levels_below_are_silent),
        cmocka_unit_test(lines_are_bounded),
        cmocka_unit_test(unknown_levels_and_formats_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
