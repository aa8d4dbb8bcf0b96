/* The commands as a user types them: output, messages, exit codes. The server that `query` asks is a canned one here.
 */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <arpa/inet.h>
#include <math.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/assert.h"
#include "frontend/cli.h"

/* Runs the program through the shell, standard error included; free() the output. */
static char *run(const char *arguments, int *ret_code)
{
    char command[4096];
    snprintf(command, sizeof command, "%s %s 2>&1", PROMSPLIT_PROGRAM, arguments);
    FILE *pipe = popen(command, "r");
    assert_non_null(pipe);
    char *text = calloc(1, 1u << 20);
    size_t n = fread(text, 1, (1u << 20) - 1, pipe);
    text[n] = '\0';
    int status = pclose(pipe);
    assert_true(WIFEXITED(status));
    *ret_code = WEXITSTATUS(status);
    return text;
}

static void commands_say_what_they_are(void **state)
{
    static const struct {
        const char *arguments;
        int code;
        const char *part;
    } rows[] = {
        {"--version", 0, "promsplit, version " PROMSPLIT_VERSION " (DuckDB v"},
        {"--help", 0, "Usage: promsplit COMMAND"},
        {"help", 0, "Usage: promsplit COMMAND"},
        {"", 2, "Usage: promsplit COMMAND"},
        {"help serve", 0, "Usage: promsplit serve [flags]"},
        {"explain --help", 0, "Usage: promsplit explain [flags] EXPR"},
        {"query up -h", 0, "Usage: promsplit query [flags] EXPR"},
        {"server", 2, "unknown command \"server\"; the commands are serve, explain, query, import, export and store"},
        {"help server", 2, "unknown command \"server\""},
        {"query --tim=1 up", 2, "unknown flag --tim; did you mean --time?\nTry: promsplit query --help\n"},
        {"generate man", 0, ".TH PROMSPLIT 1"},
        {"generate nothing", 2, "generate takes man, flags or metrics"},
        {"serve --planner.push=everything", 1, "--planner.push: "},
        {"serve --log.level=loud", 2, "--log.level: \"loud\" is unknown; allowed: debug|info|warn|error"},
    };
    for (size_t i = 0; i < ARRAY_LENGTH(rows); i++) {
        int code;
        char *text = run(rows[i].arguments, &code);
        if (code != rows[i].code || !strstr(text, rows[i].part))
            fail_msg("%s: exit %d\n%s", rows[i].arguments, code, text);
        free(text);
    }
}

static void explain_shows_plans_and_positions(void **state)
{
    static const struct {
        const char *arguments;
        int code;
        const char *part;
    } rows[] = {
        {"explain --time=1000 'sum by (job) (rate(x[5m]))'", 0, "GROUP BY job"},
        {"explain --time=1000 'histogram_quantile(0.9, sum by (le) (rate(x[5m])))'", 0,
         "histogram_quantile(0.9, {__task_id__=\"1\",__task_kind__=\"fragment\"})"},
        {"explain --start=0 --end=600 --step=60 --format=json up", 0, "\"steps\":11"},
        {"explain --format=dot up", 0, "digraph"},
        {"explain --upstream.version=2 up", 0, "windows closed"},
        {"explain --planner.push=none up", 0, "--planner.push"},
        {"explain --time=1000 'x{a=~\"b+\"}'", 0, "b+"}, /* opens the engine to check the expression */
        {"explain 'sum by (job) (rate(x[5m]) by'", 1,
         "promsplit: 1:27: parse error: unexpected <by> in aggregation\n"
         "  sum by (job) (rate(x[5m]) by\n                            ^"},
        {"explain 'up{a=~\"(\"}'", 1, "missing closing ): `(`\n  up{a=~\"(\"}\n     ^"},
        {"explain 'sum(\n\tup{a=b})'", 1, "\n   up{a=b})\n        ^"},
        {"explain 'sum({__task_id__=\"x\"})'", 1, "__task_id__"},
        {"explain --end=5 up", 2, "a range wants --start"},
        {"explain --start=5 --end=4 up", 2, "--end is before --start"},
        {"explain --start=0 --end=100000 --step=1s up", 2, "--step: 100000 points are asked for; allowed: 11000"},
        {"explain --time=noon up", 2, "--time: \"noon\" is no time"},
        {"explain --start=0 --end=5 'up[5m]'", 1, "invalid expression type \"range vector\" for range query"},
    };
    for (size_t i = 0; i < ARRAY_LENGTH(rows); i++) {
        int code;
        char *text = run(rows[i].arguments, &code);
        if (code != rows[i].code || !strstr(text, rows[i].part))
            fail_msg("%s: exit %d\n%s", rows[i].arguments, code, text);
        free(text);
    }
}

/* --- query --- */

struct canned {
    int listener;
    uint16_t port;
    const char *body;
    char request[4096]; /* as received */
};

static void *serve_one(void *arg)
{
    struct canned *canned = arg;
    int fd = accept(canned->listener, NULL, NULL);
    size_t n = 0;
    const char *end = NULL, *length = NULL;
    do { /* until the whole form is there */
        ssize_t got = read(fd, canned->request + n, sizeof canned->request - 1 - n);
        if (got <= 0)
            break;
        n += (size_t)got;
        canned->request[n] = '\0';
        end = strstr(canned->request, "\r\n\r\n");
        length = strcasestr(canned->request, "Content-Length:");
    } while (!end || !length || n < (size_t)(end + 4 - canned->request) + strtoul(length + 15, NULL, 10));
    dprintf(fd,
            "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %zu\r\nConnection: close\r\n\r\n%s",
            strlen(canned->body), canned->body);
    close(fd);
    return NULL;
}

static char *query(const char *body, const char *arguments, struct canned *canned, int *ret_code)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t length = sizeof address;
    *canned = (struct canned){.body = body, .listener = socket(AF_INET, SOCK_STREAM, 0)};
    assert_int_equal(bind(canned->listener, (struct sockaddr *)&address, sizeof address), 0);
    assert_int_equal(listen(canned->listener, 1), 0);
    getsockname(canned->listener, (struct sockaddr *)&address, &length);
    pthread_t thread;
    pthread_create(&thread, NULL, serve_one, canned);
    char line[2048];
    snprintf(line, sizeof line, "query --server=http://127.0.0.1:%d %s", ntohs(address.sin_port), arguments);
    char *text = run(line, ret_code);
    pthread_join(thread, NULL);
    close(canned->listener);
    return text;
}

#define DATA(type, result) "{\"status\":\"success\",\"data\":{\"resultType\":\"" type "\",\"result\":" result "}}"

static void query_prints_tables(void **state)
{
    static const struct {
        const char *body, *arguments;
        int code;
        const char *text;
    } rows[] = {
        {DATA("scalar", "[4,\"2\"]"), "1+1", 0, "2\n"},
        {DATA("string", "[4,\"a\\nb\"]"), "'\"x\"'", 0, "a\nb\n"},
        {DATA("vector", "[]"), "up", 0, "no series\n"},
        {DATA("vector", "[{\"metric\":{\"job\":\"\\u00e9\",\"__name__\":\"up\"},\"value\":[1,\"1\"]},"
                        "{\"metric\":{\"__name__\":\"up\",\"a\":\"long\"},\"value\":[1,\"+Inf\"]}]"),
         "up", 0,
         "__name__  a     job  value\n"
         "up              \xc3\xa9        1\n"
         "up        long        +Inf\n"},
        {DATA("vector", "[{\"metric\":{},\"value\":[1,\"0.5\"]}]"), "'sum(up)'", 0, "value\n  0.5\n"},
        {DATA("matrix", "[{\"metric\":{\"job\":\"a\"},\"values\":[[0,\"0\"],[1,\"7\"],[2,\"NaN\"],[3,\"3\"]]}]"),
         "--start=0 --end=3 --step=1 up", 0,
         "job        min  max  last  samples\n"
         "a    \xe2\x96\x81\xe2\x96\x88 \xe2\x96\x84    0    7     3        4\n"},
        {"{\"status\":\"success\",\"data\":{\"resultType\":\"scalar\",\"result\":[4,\"2\"]},\"warnings\":[\"w\"],"
         "\"infos\":[\"i\"]}",
         "1", 0, "warning: w\ninfo: i\n2\n"},
        {"{\"status\":\"error\",\"errorType\":\"bad_data\",\"error\":\"no \\\"x\\\"\"}", "x", 1,
         "promsplit: bad_data: no \"x\"\n"},
        {"hello", "x", 1, "promsplit: the server answered 200 and no JSON of the Prometheus API: hello\n"},
        {DATA("vector", "[1]"), "x", 1, "promsplit: the server's answer holds a series that is none\n"},
        {DATA("scalar", "[4,\"2\"]"), "--format=json 1", 0, DATA("scalar", "[4,\"2\"]") "\n"},
    };
    for (size_t i = 0; i < ARRAY_LENGTH(rows); i++) {
        int code;
        struct canned canned;
        char *text = query(rows[i].body, rows[i].arguments, &canned, &code);
        assert_string_equal(text, rows[i].text);
        assert_int_equal(code, rows[i].code);
        free(text);
    }
}

static void query_asks_as_the_api_wants_it(void **state)
{
    static const struct {
        const char *arguments, *path, *form;
    } rows[] = {
        {"--time=5 'sum(a) + b'", "POST /api/v1/query HTTP/1.1\r\n", "query=sum%28a%29%20%2B%20b&timeout=120&time=5"},
        {"--query.timeout=1500ms up", "POST /api/v1/query HTTP/1.1\r\n", "query=up&timeout=1.500"},
        {"--start=1 --end=2 --step=500ms up", "POST /api/v1/query_range HTTP/1.1\r\n",
         "query=up&timeout=120&start=1&end=2&step=0.500"},
    };
    for (size_t i = 0; i < ARRAY_LENGTH(rows); i++) {
        int code;
        struct canned canned;
        free(query(DATA("vector", "[]"), rows[i].arguments, &canned, &code));
        assert_true(strncmp(canned.request, rows[i].path, strlen(rows[i].path)) == 0);
        const char *form = strstr(canned.request, "\r\n\r\n");
        assert_non_null(form);
        assert_string_equal(form + 4, rows[i].form);
    }
}

static void nobody_listens(void **state)
{
    int code;
    char *text = run("query --server=http://127.0.0.1:1 up", &code);
    assert_int_equal(code, 1);
    assert_non_null(strstr(text, "http://127.0.0.1:1"));
    free(text);
}

/* --- sparklines --- */

static void sparklines(void **state)
{
    static const struct {
        double values[6];
        size_t n, width;
        const char *line;
    } rows[] = {
        {{0}, 0, 10, ""},
        {{5}, 1, 10, "\xe2\x96\x84"},
        {{1, 1, 1}, 3, 10, "\xe2\x96\x84\xe2\x96\x84\xe2\x96\x84"},
        {{0, 1, 2, 3, 4, 5}, 6, 3, "\xe2\x96\x81\xe2\x96\x84\xe2\x96\x88"},
        {{NAN, INFINITY}, 2, 10, "  "},
        {{-1.7e308, 1.7e308}, 2, 10, "\xe2\x96\x84\xe2\x96\x84"}, /* the span is infinite */
    };
    for (size_t i = 0; i < ARRAY_LENGTH(rows); i++) {
        struct strbuf out;
        strbuf_init(&out, 1024);
        sparkline_print(&out, rows[i].values, rows[i].n, rows[i].width);
        assert_string_equal(out.ptr ? out.ptr : "", rows[i].line);
        strbuf_release(&out);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(commands_say_what_they_are),
        cmocka_unit_test(explain_shows_plans_and_positions),
        cmocka_unit_test(query_prints_tables),
        cmocka_unit_test(query_asks_as_the_api_wants_it),
        cmocka_unit_test(nobody_listens),
        cmocka_unit_test(sparklines),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
