/* tests/unit/backend/fixture.c: see fixture.h. */
#include "tests/unit/backend/fixture.h"

#include <inttypes.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

#include "base/float_text.h"
#include "planner/split.h"
#include "promql/parse.h"

static void init(struct fixture *fixture)
{
    *fixture = (struct fixture){.threads = 2, .connections = 8};
    arena_init(&fixture->arena, SIZE_MAX);
}

void fixture_init(struct fixture *fixture)
{
    init(fixture);
    fixture_open(fixture);
}

void fixture_init_on_disk(struct fixture *fixture)
{
    init(fixture);
    strcpy(fixture->directory, "/tmp/promsplit-test-XXXXXX");
    assert_non_null(mkdtemp(fixture->directory));
    fixture_open(fixture);
}

void fixture_init_rolled(struct fixture *fixture, const struct rollup_settings *rollups)
{
    fixture_init_on_disk(fixture);
    fixture_close(fixture);
    fixture->rollups = rollups;
    fixture->out_of_order_window_ms = INT64_MAX;
    fixture_open(fixture);
}

void fixture_open(struct fixture *fixture)
{
    struct duckdb_options options = {
        .directory = fixture->directory[0] ? fixture->directory : NULL,
        .threads = fixture->threads,
        .memory_max_bytes = fixture->memory_max_bytes,
        .future_max_ms = 600000,
        .connections_max = fixture->connections,
        .compact_rows = fixture->compact_rows,
        .preload_bytes = fixture->preload_bytes,
        .shrink_bytes = fixture->shrink_bytes,
        .slice_samples = fixture->slice_samples,
        .exemplars_max = fixture->exemplars_max,
        .min_free_bytes = fixture->min_free_bytes,
        .out_of_order_window_ms = fixture->out_of_order_window_ms,
        .by_run_series = 1,
        .bulk = fixture->bulk,
        .retention = fixture->retention,
        .rollups = fixture->rollups,
        .on_failure = fixture->on_failure,
        .on_failure_arg = fixture->on_failure_arg,
    };
    struct error error;
    if (duckdb_backend_open(&options, &fixture->backend, &error) != OK)
        fail_msg("cannot open the store: %s", error.message);
}

void fixture_close(struct fixture *fixture)
{
    fixture->backend->ops->close(fixture->backend);
    fixture->backend = NULL;
}

void fixture_release(struct fixture *fixture)
{
    if (fixture->backend)
        fixture_close(fixture);
    if (fixture->directory[0]) {
        const char *names[] = {"", ".wal", ".tmp"};
        char path[128];
        for (size_t i = 0; i < 3; i++) {
            snprintf(path, sizeof path, "%s/promsplit.duckdb%s", fixture->directory, names[i]);
            if (unlink(path) != 0)
                rmdir(path);
        }
        assert_int_equal(rmdir(fixture->directory), 0);
    }
    arena_release(&fixture->arena);
}

struct labels labels_of(struct arena *arena, const char *text)
{
    struct label *at = ARENA_ARRAY(arena, struct label, 64);
    size_t n = 0;
    for (const char *part = text; *part;) {
        size_t length = strcspn(part, ";");
        const char *equals = memchr(part, '=', length);
        struct str name = equals ? (struct str){part, (size_t)(equals - part)} : LABEL_METRIC_NAME;
        struct str value =
            equals ? (struct str){equals + 1, (size_t)(part + length - equals - 1)} : (struct str){part, length};
        at[n++] = (struct label){arena_str(arena, name), arena_str(arena, value)};
        part += length + (part[length] == ';');
    }
    struct str twice;
    assert_true(labels_normalize(at, &n, &twice));
    return (struct labels){at, n};
}

const char *labels_text(struct arena *arena, struct labels labels)
{
    struct strbuf out;
    strbuf_init(&out, 4096);
    strbuf_str(&out, labels_get(labels, LABEL_METRIC_NAME));
    for (size_t i = 0; i < labels.n; i++) {
        if (str_eq(labels.at[i].name, LABEL_METRIC_NAME))
            continue;
        if (out.len)
            strbuf_char(&out, ';');
        strbuf_str(&out, labels.at[i].name);
        strbuf_char(&out, '=');
        strbuf_str(&out, labels.at[i].value);
    }
    struct str copy = arena_str(arena, strbuf_view(&out));
    strbuf_release(&out);
    return copy.ptr;
}

const char *exemplars_text(struct arena *arena, const struct exemplar_list *list)
{
    struct strbuf out;
    strbuf_init(&out, 1 << 20);
    for (size_t i = 0; i < list->n; i++) {
        strbuf_cstr(&out, labels_text(arena, list->at[i].labels));
        strbuf_char(&out, ':');
        for (size_t k = 0; k < list->at[i].exemplars_n; k++) {
            const struct exemplar *is = &list->at[i].exemplars[k];
            strbuf_f(&out, " %g@%lld{%s}", is->value, (long long)is->time_ms, labels_text(arena, is->labels));
        }
        strbuf_char(&out, '\n');
    }
    struct str copy = arena_str(arena, strbuf_view(&out));
    strbuf_release(&out);
    return copy.ptr;
}

struct append_request append(struct fixture *fixture, const char *series, const struct sample *samples, size_t n)
{
    struct append_series one = {labels_of(&fixture->arena, series), samples, n};
    struct append_request request = {.series = &one, .series_n = 1};
    struct error error;
    if (fixture->backend->ops->append(fixture->backend, &request, 1, &error) != OK)
        fail_msg("append: %s", error.message);
    request.series = NULL;
    return request;
}

void compact(struct fixture *fixture)
{
    struct error error;
    if (duckdb_backend_compact(fixture->backend, &error) != OK)
        fail_msg("compact: %s", error.message);
}

void expect_rules(struct fixture *f)
{
    struct verify_report report;
    struct error error;
    if (duckdb_backend_verify(f->backend, NULL, &report, &error) != OK)
        fail_msg("verify: %s", error.message);
    for (size_t i = 0; i < report.rules_n; i++) {
        if (report.rules[i].rows_n)
            fail_msg("%s: %" PRIu64, report.rules[i].text, report.rules[i].rows_n);
    }
}

struct backend_stats stats_of(struct fixture *fixture)
{
    struct backend_stats stats;
    assert_int_equal(fixture->backend->ops->stats(fixture->backend, &stats, NULL), OK);
    return stats;
}

struct expr_selector selector_of(struct arena *arena, const char *text)
{
    static const struct {
        const char *text;
        enum match_op op;
    } OPS[] = {{"!=", MATCH_NOT_EQUAL}, {"=~", MATCH_REGEX}, {"!~", MATCH_NOT_REGEX}, {"=", MATCH_EQUAL}};
    struct matcher *at = ARENA_ARRAY(arena, struct matcher, 32);
    struct expr_selector selector = {.matchers = at};
    for (const char *part = text; *part;) {
        size_t length = strcspn(part, " "), name = strcspn(part, "=!"), op = 0;
        while (strncmp(part + name, OPS[op].text, strlen(OPS[op].text)) != 0)
            op++;
        size_t value = name + strlen(OPS[op].text);
        at[selector.matchers_n++] = (struct matcher){arena_str(arena, (struct str){part, name}), OPS[op].op,
                                                     arena_str(arena, (struct str){part + value, length - value})};
        part += length + (part[length] == ' ');
    }
    return selector;
}

struct fragment fragment_of(struct arena *arena, const char *sql, struct grid grid, bool metric, bool map,
                            const char *by)
{
    struct str *names = ARENA_ARRAY(arena, struct str, 16);
    struct fragment fragment = {
        .kind = FRAGMENT_GRID, .grid = grid, .sql = arena_str(arena, str_from(sql)), .promql = STR("test")};
    fragment.columns = (struct fragment_columns){.metric = metric, .map = map, .by = {names, 0}};
    for (const char *part = by; *part;) {
        size_t length = strcspn(part, " ");
        names[fragment.columns.by.n++] = arena_str(arena, (struct str){part, length});
        part += length + (part[length] == ' ');
    }
    return fragment;
}

const char *kernel_arguments(const struct window_kernel *kernel)
{
    return strcmp(kernel->parameters, "dd") == 0   ? ", 0.5, 0.25"
           : strcmp(kernel->parameters, "di") == 0 ? ", 0.5, 7000"
           : kernel->parameters[0] == 'd'          ? ", 0.5"
                                                   : "";
}

struct window_parameters kernel_parameters(double *room)
{
    return (struct window_parameters){.number = {0.5, 0.25}, .shift_ms = 7000, .scratch = room};
}

struct fragment planned(struct fixture *fixture, const char *promql, struct grid grid, enum window_rule rule)
{
    struct query_text query;
    struct split split;
    struct error error;
    struct parse_limits limits = PARSE_LIMITS_DEFAULT;
    struct regex_engine regex = fixture->backend->ops->regex(fixture->backend);
    struct plan_options options = {.can = fixture->backend->ops->capabilities,
                                   .push = PUSH_ALL,
                                   .rule = rule,
                                   .lookback_ms = 300000,
                                   .subquery_step_ms = 60000,
                                   .fragments_max = 10,
                                   .points_max = 11000};
    if (fixture->rollups) {
        options.rollups_ms = fixture->rollups->levels_ms;
        options.rollups_n = fixture->rollups->levels_n;
    }
    if (promql_parse(&fixture->arena, str_from(promql), &limits, &regex, &query, &error) != OK ||
        promql_resolve(query.root, grid.step_ms, 0, &error) != OK ||
        split_query(&fixture->arena, &query, grid, &options, &split, &error) != OK)
        fail_msg("%s: %s", promql, error.message);
    if (!split.direct)
        fail_msg("%s is not one fragment", promql);
    return split.fragments[0];
}

void expect_same_result(const char *promql, const struct grid_result *a, const struct grid_result *b, bool exact)
{
    assert_int_equal(a->series_n, b->series_n);
    for (size_t i = 0; i < a->series_n; i++) {
        assert_true(labels_eq(a->series[i].labels, b->series[i].labels));
        for (uint32_t k = 0; k < a->grid.steps; k++) {
            double x = a->series[i].values[k], y = b->series[i].values[k];
            if (!grid_series_has(&a->series[i], k) && !grid_series_has(&b->series[i], k))
                continue;
            bool same = double_bits(x) == double_bits(y) ||
                        (!exact && (fabs(x - y) <= 1e-12 * fabs(x) || (isnan(x) && isnan(y))));
            if (grid_series_has(&a->series[i], k) != grid_series_has(&b->series[i], k) || !same)
                fail_msg("%s, series %zu, step %u: %.17g, and %.17g", promql, i, k, x, y);
        }
    }
}

struct grid_result *run_ok(struct fixture *fixture, const struct fragment *fragment)
{
    struct run_limits limits = {.samples_max = 50000000};
    struct grid_result *result = NULL;
    struct error error;
    if (fixture->backend->ops->run(fixture->backend, fragment, &limits, NULL, &result, &error) != OK)
        fail_msg("run: %s: " STR_FORMAT, error.message, STR_ARG(fragment->sql));
    return result;
}

const char *result_text(struct arena *arena, const struct grid_result *result)
{
    struct strbuf out;
    strbuf_init(&out, 1 << 20);
    for (size_t i = 0; i < result->series_n; i++) {
        strbuf_f(&out, "%s:", labels_text(arena, result->series[i].labels));
        for (uint32_t k = 0; k < result->grid.steps; k++) {
            if (grid_series_has(&result->series[i], k))
                strbuf_f(&out, " %.6g", result->series[i].values[k]);
            else
                strbuf_cstr(&out, " -");
        }
        strbuf_char(&out, '\n');
    }
    struct str copy = arena_str(arena, strbuf_view(&out));
    strbuf_release(&out);
    return copy.ptr;
}
