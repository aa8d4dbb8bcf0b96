/* Command lines, files and documents made from the table of flags (frontend/config.h). */
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
#include "frontend/config.h"
#include "frontend/config_table.h"

#define WORDS_MAX 8

/* Splits at '|', so that a word may hold blanks. Returns the number of words; `copy` keeps them. */
static int split_words(char *copy, const char *line, char *words[WORDS_MAX])
{
    int n = 0;
    strcpy(copy, line);
    for (char *word = strtok(copy, "|"); word; word = strtok(NULL, "|")) {
        assert_true(n < WORDS_MAX);
        words[n++] = word;
    }
    return n;
}

static enum status parse_line(struct config *config, enum command command, const char *line, struct error *error)
{
    char copy[1024];
    char *words[WORDS_MAX];
    int n = split_words(copy, line, words);
    config_init(config);
    enum status status = config_parse(config, command, n, words, error);
    /* Arguments are views of argv: keep what the tests look at. */
    for (int i = 0; status == OK && i < config->arguments_n; i++)
        ((const char **)config->arguments)[i] = arena_str(&config->arena, str_from(config->arguments[i])).ptr;
    return status;
}

static void shown_is(const struct config *config, const char *name, const char *expected)
{
    const struct param *param = param_find(str_from(name));
    assert_non_null(param);
    struct strbuf out;
    strbuf_init(&out, 4096);
    param_print(&out, config, param);
    assert_string_equal(out.ptr ? out.ptr : "", expected);
    strbuf_release(&out);
}

static void standard_values_are_those_of_the_table(void **state)
{
    struct config config;
    config_init(&config);
    assert_string_equal(config.listen_address, "0.0.0.0:9095");
    assert_int_equal(config.query_timeout_ms, 120000);
    assert_int_equal(config.read_body_max_bytes, 32 << 20);
    assert_true(config.web_page);
    config_release(&config);
}

static void good_command_lines(void **state)
{
    static const struct {
        enum command command;
        const char *line, *name, *shown;
    } rows[] = {
        {COMMAND_SERVE, "--query.timeout=30s", "query.timeout", "30s"},
        {COMMAND_SERVE, "--query.timeout|90", "query.timeout", "1m30s"},
        {COMMAND_SERVE, "--query.timeout=1h30m", "query.timeout", "1h30m"},
        {COMMAND_SERVE, "--query.max-concurrency=7", "query.max-concurrency", "7"},
        {COMMAND_SERVE, "--upstream.max-answer-size=512MB", "upstream.max-answer-size", "512MB"},
        {COMMAND_SERVE, "--upstream.max-answer-size=1GiB", "upstream.max-answer-size", "1GB"},
        {COMMAND_SERVE, "--upstream.max-answer-size=65537", "upstream.max-answer-size", "65537B"},
        {COMMAND_SERVE, "--storage.memory=0", "storage.memory", "0B"},
        {COMMAND_SERVE, "--no-web.page", "web.page", "false"},
        {COMMAND_SERVE, "--web.page", "web.page", "true"},
        {COMMAND_SERVE, "--web.page=false", "web.page", "false"},
        {COMMAND_SERVE, "--task.dispatch=on-read", "task.dispatch", "on-read"},
        {COMMAND_SERVE, "--log.level|debug", "log.level", "debug"},
        {COMMAND_SERVE, "--upstream.url=http://u:p@h:1/x@y", "upstream.url", "http://<secret>@h:1/x@y"},
        {COMMAND_SERVE, "--upstream.url=http://h:1/a@b", "upstream.url", "http://h:1/a@b"},
        {COMMAND_SERVE, "--storage.path=", "storage.path", ""},
        {COMMAND_EXPLAIN, "--upstream.version=2|up", "upstream.version", "2"},
        {COMMAND_EXPLAIN, "up|--step|15s", "step", "15s"},
        {COMMAND_QUERY, "--format=json|up", "format", "json"},
    };
    for (size_t i = 0; i < ARRAY_LENGTH(rows); i++) {
        struct config config;
        struct error error = {0};
        enum status status = parse_line(&config, rows[i].command, rows[i].line, &error);
        if (status != OK)
            fail_msg("%s: %s", rows[i].line, error.message);
        shown_is(&config, rows[i].name, rows[i].shown);
        config_release(&config);
    }
}

static void arguments_are_what_is_no_flag(void **state)
{
    static const struct {
        const char *line, *argument;
    } rows[] = {
        {"up", "up"}, {"-up", "-up"}, {"--|--up", "--up"}, {"--time=5|sum (up)", "sum (up)"}, {"up|--time=5", "up"},
    };
    for (size_t i = 0; i < ARRAY_LENGTH(rows); i++) {
        struct config config;
        struct error error = {0};
        assert_int_equal(parse_line(&config, COMMAND_QUERY, rows[i].line, &error), OK);
        assert_int_equal(config.arguments_n, 1);
        assert_string_equal(config.arguments[0], rows[i].argument);
        config_release(&config);
    }
}

static void rollup_levels_come_longest_first(void **state)
{
    struct config config;
    struct error error = {0};
    assert_int_equal(parse_line(&config, COMMAND_SERVE,
                                "--storage.rollups.levels=5m,1h,60|--storage.rollups.match={job=\"a\"}", &error),
                     OK);
    assert_int_equal(config.rollups_n, 3);
    assert_int_equal(config.rollups_ms[0], 3600000);
    assert_int_equal(config.rollups_ms[1], 300000);
    assert_int_equal(config.rollups_ms[2], 60000);
    assert_int_equal(config.rollups_selector.matchers_n, 1);
    config_release(&config);
}

static void rollups_may_outlive_samples(void **state)
{
    static const char *const LINES[] = {
        "--storage.rollups.levels=1h|--storage.retention.time=15d|--storage.rollups.retention=1y",
        "--storage.rollups.levels=1h|--storage.retention.time=15d|--storage.rollups.retention=15d",
        "--storage.rollups.levels=1h|--storage.retention.time=15d|--storage.rollups.retention=0"};
    static const int64_t KEPT_D[] = {365, 15, 0};
    for (size_t i = 0; i < ARRAY_LENGTH(LINES); i++) {
        struct config config;
        struct error error = {0};
        assert_int_equal(parse_line(&config, COMMAND_SERVE, LINES[i], &error), OK);
        assert_int_equal(config.storage_rollups_retention_ms, KEPT_D[i] * 86400000);
        config_release(&config);
    }
}

static void bad_command_lines(void **state)
{
    static const struct {
        enum command command;
        const char *line, *message;
    } rows[] = {
        {COMMAND_SERVE, "--query.timeut=1s", "unknown flag --query.timeut; did you mean --query.timeout?"},
        {COMMAND_SERVE, "--nothing.like.any.flag.that.is.here", "unknown flag --nothing.like.any.flag.that.is.here"},
        {COMMAND_SERVE, "--time=1", "--time is no flag of promsplit serve"},
        {COMMAND_SERVE, "--query.timeout", "--query.timeout wants a value"},
        {COMMAND_SERVE, "--query.timeout=soon", "--query.timeout: \"soon\" is not a duration such as 30s, 5m or 1h30m"},
        {COMMAND_SERVE, "--query.timeout=2d", "--query.timeout: 2d is out of range; allowed: 1ms to 1d"},
        {COMMAND_SERVE, "--query.timeout=-1s", "--query.timeout: \"-1s\" is not a duration such as 30s, 5m or 1h30m"},
        {COMMAND_SERVE, "--web.threads=0", "--web.threads: 0 is out of range; allowed: 1 to 256"},
        {COMMAND_SERVE, "--web.threads=2x", "--web.threads: \"2x\" is not a whole number"},
        {COMMAND_SERVE, "--web.threads=99999999999999999999",
         "--web.threads: \"99999999999999999999\" is not a whole number"},
        {COMMAND_SERVE, "--web.max-form-size=1", "--web.max-form-size: 1 is out of range; allowed: 1KB to 1GB"},
        {COMMAND_SERVE, "--storage.memory=99EB", "--storage.memory: \"99EB\" is not a number of bytes such as 512MB"},
        {COMMAND_SERVE, "--storage.memory=5XB", "--storage.memory: \"5XB\" is not a number of bytes such as 512MB"},
        {COMMAND_SERVE, "--task.dispatch=never", "--task.dispatch: \"never\" is unknown; allowed: eager|on-read"},
        {COMMAND_SERVE, "--task.dispatch=eage", "--task.dispatch: \"eage\" is unknown; allowed: eager|on-read"},
        {COMMAND_SERVE, "--storage.rollups.levels=1h,2m",
         "--storage.rollups.levels: \"2m\" is unknown; allowed: none, or some of 1m, 5m and 1h, separated by commas"},
        {COMMAND_SERVE, "--storage.rollups.levels=",
         "--storage.rollups.levels: \"\" is unknown; allowed: none, or some of 1m, 5m and 1h, separated by commas"},
        {COMMAND_EXPLAIN, "--storage.rollups.levels=5m,1h,60m|up", "--storage.rollups.levels: 60m is given twice"},
        {COMMAND_SERVE, "--storage.rollups.match=a b",
         "--storage.rollups.match: 1:3: parse error: unexpected identifier \"b\""},
        {COMMAND_SERVE, "--storage.rollups.retention=1y", "--storage.rollups.retention needs --storage.rollups.levels"},
        {COMMAND_SERVE, "--storage.rollups.retention=1y|--storage.rollups.levels=1h",
         "--storage.rollups.retention needs --storage.retention.time: samples that are kept for ever keep their "
         "rollups"},
        {COMMAND_SERVE, "--storage.rollups.retention=10d|--storage.rollups.levels=1h|--storage.retention.time=15d",
         "--storage.rollups.retention: 10d asked, no less than --storage.retention.time, 15d, is allowed"},
        {COMMAND_SERVE,
         "--storage.rollups.retention=1y|--storage.rollups.levels=1h|--storage.retention.time=15d|"
         "--storage.retention.size=1GB",
         "--storage.rollups.retention cannot be set with --storage.retention.size: a limit by size takes samples with "
         "their rollups"},
        {COMMAND_SERVE, "--web.page=maybe", "--web.page: \"maybe\" is not true or false"},
        {COMMAND_SERVE, "--no-query.timeout", "unknown flag --no-query.timeout; did you mean --query.timeout?"},
        {COMMAND_SERVE, "--web.threads=2|--web.threads=3", "--web.threads is given twice"},
        {COMMAND_SERVE, "extra", "promsplit serve takes no arguments, only flags: \"extra\""},
        {COMMAND_QUERY, "--time=1", "an expression is missing: promsplit query [flags] EXPR"},
        {COMMAND_EXPLAIN, "sum|(up)", "one expression is expected, not 2 arguments; quote it as one"},
        {COMMAND_SERVE, "--config.file=/nonexistent.yml",
         "/nonexistent.yml: cannot open it: No such file or directory"},
    };
    for (size_t i = 0; i < ARRAY_LENGTH(rows); i++) {
        struct config config;
        struct error error = {0};
        assert_int_equal(parse_line(&config, rows[i].command, rows[i].line, &error), E_BAD_DATA);
        assert_string_equal(error.message, rows[i].message);
        config_release(&config);
    }
}

/* --- files --- */

static void write_file(char *path, const char *text, size_t n)
{
    strcpy(path, "/tmp/promsplit_test_config_XXXXXX");
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, text, n), (ssize_t)n);
    close(fd);
}

static enum status parse_file(struct config *config, const char *text, size_t n, const char *flags, struct error *error,
                              char *path)
{
    char line[256];
    write_file(path, text, n);
    snprintf(line, sizeof line, "--config.file=%s%s", path, flags);
    enum status status = parse_line(config, COMMAND_SERVE, line, error);
    unlink(path);
    return status;
}

static void good_files(void **state)
{
    static const struct {
        const char *text, *flags, *name, *shown;
    } rows[] = {
        {"", "", "query.timeout", "2m"},
        {"# nothing\n", "", "query.timeout", "2m"},
        {"query: {timeout: 1m}", "", "query.timeout", "1m"},
        {"query:\n  timeout: 90\n  max-queue: 5\n", "", "query.timeout", "1m30s"},
        {"query.timeout: 1m\n", "", "query.timeout", "1m"},
        {"query: {timeout: 1m}", "|--query.timeout=3m", "query.timeout", "3m"},
        {"web: {page: false}", "", "web.page", "false"},
        {"planner: {push: \"rate,sum\"}", "", "planner.push", "rate,sum"},
        {"storage:\n  retention:\n    time: 15d\n    rules: []\n", "", "storage.retention.time", "15d"},
        {"storage: {retention: {size: 10GB}, retention.time: 1y}", "", "storage.retention.size", "10GB"},
        {"---\nlog: {level: warn}\n...\n", "", "log.level", "warn"},
    };
    for (size_t i = 0; i < ARRAY_LENGTH(rows); i++) {
        struct config config;
        struct error error = {0};
        char path[64];
        if (parse_file(&config, rows[i].text, strlen(rows[i].text), rows[i].flags, &error, path) != OK)
            fail_msg("%s: %s", rows[i].text, error.message);
        shown_is(&config, rows[i].name, rows[i].shown);
        config_release(&config);
    }
}

static void bad_files(void **state)
{
    static const struct {
        const char *text, *flags, *message; /* behind "<path>: " */
    } rows[] = {
        {"query: {timeut: 1m}", "", "line 1: unknown key query.timeut; did you mean query.timeout?"},
        {"web:\n  threads: 0\n", "", "line 2: web.threads: 0 is out of range; allowed: 1 to 256"},
        {"web:\n  threads: 0\n", "|--web.threads=3", "line 2: web.threads: 0 is out of range; allowed: 1 to 256"},
        {"query: {timeout: 1m}\nquery.timeout: 2m\n", "", "line 2: query.timeout is given twice"},
        {"query: {timeout: {a: b}}", "", "line 1: query.timeout wants a single value"},
        {"query: {timeout: [1m]}", "", "line 1: query.timeout wants a single value"},
        {"config: {file: x}", "", "line 1: config.file cannot be set in a file"},
        {"server: http://x", "", "line 1: unknown key server"},
        {"query: 5", "", "line 1: query is the first part of flags' names: wanted is query: {name: value, …}"},
        {"web:\n  page: false\nquery:\n", "",
         "line 3: query is the first part of flags' names: wanted is query: {name: value, …}"},
        {"- a\n- b\n", "", "a mapping of flags' names to values is expected"},
        {"? [a]\n: b\n", "", "line 1: a key is a flag's name, at most 127 bytes"},
        {"storage: {retention: {tim: 1d}}", "",
         "line 1: unknown key storage.retention.tim; did you mean storage.retention.time?"},
        {"storage: {retention: 1d}", "",
         "line 1: storage.retention is the first part of flags' names: wanted is storage.retention: {name: value, …}"},
        {"storage.retention.rules: 1d", "",
         "line 1: storage.retention.rules wants a list of {match: SELECTOR, time: DURATION}"},
        {"storage.retention.rules: []\nstorage: {retention: {rules: []}}", "",
         "line 2: storage.retention.rules is given twice"},
        {"storage.retention.rules: [{match: up}]", "",
         "line 1: storage.retention.rules: a rule has match and time, once each"},
        {"storage.retention.rules: [{match: up, time: 1d, size: 5}]", "",
         "line 1: storage.retention.rules: a rule has match and time, once each, and nothing else"},
        {"storage.retention.rules: [up]", "",
         "line 1: storage.retention.rules: a rule is {match: SELECTOR, time: DURATION}"},
        {"storage.retention.rules: [{match: up, time: soon}]", "",
         "line 1: storage.retention.rules: time: \"soon\" is not a duration such as 12h or 15d"},
        {"storage.retention.rules: [{match: '{job=\"\"}', time: 1d}]", "",
         "line 1: storage.retention.rules: match: match[] must contain at least one non-empty matcher"},
        {"query: {timeout: 1m", "", "line 2: did not find expected ',' or '}'"},
    };
    for (size_t i = 0; i < ARRAY_LENGTH(rows); i++) {
        struct config config;
        struct error error = {0};
        char path[64], expected[256];
        enum status status = parse_file(&config, rows[i].text, strlen(rows[i].text), rows[i].flags, &error, path);
        snprintf(expected, sizeof expected, "%s: %s", path, rows[i].message);
        assert_string_equal(error.message, expected);
        assert_int_equal(status, E_BAD_DATA);
        config_release(&config);
    }
}

static void a_file_may_not_hold_nul_bytes_or_be_huge(void **state)
{
    struct config config;
    struct error error = {0};
    char path[64];
    static const char nul[] = "storage: {path: \"a\\0b\"}";
    assert_int_equal(parse_file(&config, nul, sizeof nul - 1, "", &error, path), E_BAD_DATA);
    assert_non_null(strstr(error.message, "a NUL byte is not allowed"));
    config_release(&config);
    size_t n = (1u << 20) + 1;
    char *big = malloc(n);
    memset(big, '\n', n);
    assert_int_equal(parse_file(&config, big, n, "", &error, path), E_LIMIT);
    config_release(&config);
    free(big);
}

/* --- documents --- */

static void what_is_shown_as_yaml_can_be_read_back(void **state)
{
    struct config config, again;
    struct error error = {0};
    struct strbuf yaml, first, second;
    char path[64];
    assert_int_equal(parse_line(&config, COMMAND_SERVE,
                                "--query.timeout=77s|--no-web.page|--storage.path=a \"b\": c|--storage.memory=3MB",
                                &error),
                     OK);
    strbuf_init(&yaml, 1u << 20);
    strbuf_init(&first, 1u << 20);
    strbuf_init(&second, 1u << 20);
    config_yaml(&yaml, &config);
    if (parse_file(&again, yaml.ptr, yaml.len, "", &error, path) != OK)
        fail_msg("%s\n%s", error.message, yaml.ptr);
    again.config_file = "";
    config_flags_json(&first, &config);
    config_flags_json(&second, &again);
    assert_string_equal(first.ptr, second.ptr);
    assert_non_null(strstr(first.ptr, "\"query.timeout\":\"1m17s\""));
    assert_null(strstr(first.ptr, "\"server\":"));
    strbuf_release(&yaml);
    strbuf_release(&first);
    strbuf_release(&second);
    config_release(&config);
    config_release(&again);
}

static void retention_rules_are_read_and_shown(void **state)
{
    static const char text[] = "storage:\n  retention:\n    rules:\n      - {match: 'up{job=~\"a|b\"}', time: 1y}\n"
                               "      - match: '{__name__=~\"node_.*\"}'\n        time: 0\n";
    struct config config, again;
    struct error error = {0};
    struct strbuf yaml;
    char path[64];
    if (parse_file(&config, text, sizeof text - 1, "", &error, path) != OK)
        fail_msg("%s", error.message);
    assert_int_equal(config.retention_rules_n, 2);
    assert_int_equal(config.retention_rules[0].selector.matchers_n, 2);
    assert_true(config.retention_rules[0].time_ms == INT64_C(365) * 86400000);
    assert_int_equal(config.retention_rules[1].time_ms, 0);
    strbuf_init(&yaml, 1u << 20);
    config_yaml(&yaml, &config);
    if (parse_file(&again, yaml.ptr, yaml.len, "", &error, path) != OK)
        fail_msg("%s\n%s", error.message, yaml.ptr);
    assert_int_equal(again.retention_rules_n, 2);
    assert_string_equal(again.retention_rules[0].match, "up{job=~\"a|b\"}");
    assert_true(again.retention_rules[0].time_ms == config.retention_rules[0].time_ms);
    strbuf_release(&yaml);
    config_release(&config);
    config_release(&again);
    assert_int_equal(
        parse_file(&config, text, sizeof text - 1,
                   "|--storage.rollups.levels=1h|--storage.retention.time=1d|--storage.rollups.retention=2d", &error,
                   path),
        E_BAD_DATA);
    assert_string_equal(error.message, "--storage.rollups.retention cannot be set with storage.retention.rules: these "
                                       "say how long all of a series is kept");
    config_release(&config);
}

static void help_names_every_flag_of_its_command_and_no_other(void **state)
{
    for (enum command c = COMMAND_SERVE; c <= COMMAND_QUERY; c <<= 1) {
        struct strbuf out;
        strbuf_init(&out, 1u << 20);
        config_help(&out, c);
        for (size_t i = 0; i < PARAMS_N; i++) {
            char synopsis[128];
            snprintf(synopsis, sizeof synopsis, "\n  --%s%s", params[i].kind == PARAM_switch ? "[no-]" : "",
                     params[i].name);
            assert_int_equal(strstr(out.ptr, synopsis) != NULL, (params[i].commands & c) != 0);
        }
        for (char *line = strtok(out.ptr, "\n"); line; line = strtok(NULL, "\n"))
            assert_true(strlen(line) <= 100);
        strbuf_release(&out);
    }
}

static void documents_have_a_row_for_every_flag(void **state)
{
    struct strbuf man, markdown;
    strbuf_init(&man, 1u << 20);
    strbuf_init(&markdown, 1u << 20);
    config_man_page(&man);
    config_markdown(&markdown);
    for (size_t i = 0; i < PARAMS_N; i++) {
        char cell[128];
        snprintf(cell, sizeof cell, "| `--%s` |", params[i].name);
        assert_non_null(strstr(markdown.ptr, cell));
        assert_true(params[i].name[0] != '\0' && params[i].text[0] != '\0' && params[i].unit != NULL);
    }
    assert_non_null(strstr(man.ptr, "\\fB\\-\\-query.max\\-concurrency\\fR=\\fIqueries\\fR"));
    assert_non_null(strstr(markdown.ptr, "eager\\|on-read"));
    strbuf_release(&man);
    strbuf_release(&markdown);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(standard_values_are_those_of_the_table),
        cmocka_unit_test(good_command_lines),
        cmocka_unit_test(arguments_are_what_is_no_flag),
        cmocka_unit_test(rollup_levels_come_longest_first),
        cmocka_unit_test(rollups_may_outlive_samples),
        cmocka_unit_test(bad_command_lines),
        cmocka_unit_test(good_files),
        cmocka_unit_test(bad_files),
        cmocka_unit_test(a_file_may_not_hold_nul_bytes_or_be_huge),
        cmocka_unit_test(what_is_shown_as_yaml_can_be_read_back),
        cmocka_unit_test(retention_rules_are_read_and_shown),
        cmocka_unit_test(help_names_every_flag_of_its_command_and_no_other),
        cmocka_unit_test(documents_have_a_row_for_every_flag),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
