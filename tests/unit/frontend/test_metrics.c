/* The program's own metrics in the text exposition format. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "frontend/metrics.h"

static int set_up(void **state)
{
    struct metrics *metrics;
    if (metrics_new(&metrics, NULL) != OK)
        return -1;
    *state = metrics;
    return 0;
}

static int tear_down(void **state)
{
    metrics_free(*state);
    return 0;
}

static char *written(struct metrics *metrics)
{
    struct strbuf out;
    size_t n;
    strbuf_init(&out, 1u << 20);
    metrics_write(metrics, &out);
    assert_int_equal(out.status, OK);
    return strbuf_detach(&out, &n);
}

static void has_line(struct metrics *metrics, const char *line)
{
    char *text = written(metrics), wanted[256];
    snprintf(wanted, sizeof wanted, "\n%s\n", line);
    if (!strstr(text, wanted))
        fail_msg("no line %s in\n%s", line, text);
    free(text);
}

static void counting(void **state)
{
    metric_add(*state, METRIC_ID_queries, "ok", 2);
    metric_add(*state, METRIC_ID_queries, "odd\"\\\n", 1);
    metric_add(*state, METRIC_ID_queries_direct, NULL, 5);
    metric_set(*state, METRIC_ID_queries_running, -3);
    has_line(*state, "promsplit_queries_total{result=\"ok\"} 2");
    has_line(*state, "promsplit_queries_total{result=\"timeout\"} 0");
    has_line(*state, "promsplit_queries_total{result=\"odd\\\"\\\\\\n\"} 1");
    has_line(*state, "promsplit_queries_direct_total 5");
    has_line(*state, "promsplit_queries_running -3");
    has_line(*state, "# TYPE promsplit_queries_total counter");
    has_line(*state, "# TYPE promsplit_queries_running gauge");
}

static void histograms(void **state)
{
    metric_observe_ms(*state, METRIC_ID_query_seconds, 1);      /* on the edge: le is inclusive */
    metric_observe_ms(*state, METRIC_ID_query_seconds, 30);     /* 0.05 */
    metric_observe_ms(*state, METRIC_ID_query_seconds, 500000); /* beyond the last */
    has_line(*state, "# TYPE promsplit_query_duration_seconds histogram");
    has_line(*state, "promsplit_query_duration_seconds_bucket{le=\"0.001\"} 1");
    has_line(*state, "promsplit_query_duration_seconds_bucket{le=\"0.025\"} 1");
    has_line(*state, "promsplit_query_duration_seconds_bucket{le=\"0.05\"} 2");
    has_line(*state, "promsplit_query_duration_seconds_bucket{le=\"120\"} 2");
    has_line(*state, "promsplit_query_duration_seconds_bucket{le=\"+Inf\"} 3");
    has_line(*state, "promsplit_query_duration_seconds_sum 500.031");
    has_line(*state, "promsplit_query_duration_seconds_count 3");
}

static void too_many_label_values_become_other(void **state)
{
    char value[16];
    for (int i = 0; i < 100; i++) {
        snprintf(value, sizeof value, "code%d", i);
        metric_add(*state, METRIC_ID_http_requests, value, 1);
    }
    metric_add(*state, METRIC_ID_http_requests, "code0", 1);
    has_line(*state, "promsplit_http_requests_total{code=\"code0\"} 2");
    /* "200" is there from the start, so 15 places were left. */
    has_line(*state, "promsplit_http_requests_total{code=\"code14\"} 1");
    has_line(*state, "promsplit_http_requests_total{code=\"other\"} 85");
}

static void process_and_build_are_there(void **state)
{
    static const char *const names[] = {"\nprocess_cpu_seconds_total ",
                                        "\nprocess_start_time_seconds ",
                                        "\nprocess_open_fds ",
                                        "\nprocess_max_fds ",
                                        "\nprocess_resident_memory_bytes ",
                                        "\nprocess_virtual_memory_bytes ",
                                        "\npromsplit_build_info{version=",
                                        "\npromsplit_store_series 0\n"};
    char *text = written(*state);
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        assert_non_null(strstr(text, names[i]));
    double memory = strtod(strstr(text, names[4]) + strlen(names[4]), NULL);
    double start = strtod(strstr(text, names[1]) + strlen(names[1]), NULL);
    assert_true(memory > 1e5 && memory < 1e11);
    assert_true(start > 1.5e9);
    free(text);
}

/* Each metric has one HELP and one TYPE, and every other line begins with its name. */
static void every_line_is_of_the_format(void **state)
{
    char *text = written(*state), name[128] = "";
    for (char *line = strtok(text, "\n"); line; line = strtok(NULL, "\n")) {
        char next[128];
        if (sscanf(line, "# HELP %127s", next) == 1) {
            strcpy(name, next);
        } else if (sscanf(line, "# TYPE %127s", next) == 1) {
            assert_string_equal(next, name);
        } else {
            assert_int_equal(strncmp(line, name, strlen(name)), 0);
            assert_non_null(strchr(line, ' '));
        }
    }
    free(text);
}

static void *count_much(void *metrics)
{
    for (int i = 0; i < 20000; i++) {
        metric_add(metrics, METRIC_ID_http_requests, i % 2 ? "201" : "202", 1);
        metric_observe_ms(metrics, METRIC_ID_query_seconds, 1);
    }
    return NULL;
}

static void threads_lose_no_count(void **state)
{
    pthread_t threads[4];
    for (int i = 0; i < 4; i++)
        pthread_create(&threads[i], NULL, count_much, *state);
    for (int i = 0; i < 4; i++)
        pthread_join(threads[i], NULL);
    has_line(*state, "promsplit_http_requests_total{code=\"201\"} 40000");
    has_line(*state, "promsplit_http_requests_total{code=\"202\"} 40000");
    has_line(*state, "promsplit_query_duration_seconds_count 80000");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(counting, set_up, tear_down),
        cmocka_unit_test_setup_teardown(histograms, set_up, tear_down),
        cmocka_unit_test_setup_teardown(too_many_label_values_become_other, set_up, tear_down),
        cmocka_unit_test_setup_teardown(process_and_build_are_there, set_up, tear_down),
        cmocka_unit_test_setup_teardown(every_line_is_of_the_format, set_up, tear_down),
        cmocka_unit_test_setup_teardown(threads_lose_no_count, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
