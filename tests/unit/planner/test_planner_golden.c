/* tests/unit/planner/test_planner_golden.c: every case of tests/golden, and the laws that hold for all of them.
 *
 * Run with --rewrite to write what the planner says now into the files; the diff is the review.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>

#include <cmocka.h>

#include "base/assert.h"
#include "golden_file.h"
#include "planner/sql.h"
#include "planner_fixture.h"

#define FILES_MAX 64

static struct golden_file files[FILES_MAX];
static size_t files_n;

#define FOR_EACH_CASE(c)                                                                                               \
    for (size_t file_i = 0; file_i < files_n; file_i++)                                                                \
        for (const struct golden_case *c = files[file_i].cases; c < files[file_i].cases + files[file_i].cases_n; c++)

static void actual_text(const struct golden_case *c, struct strbuf *out)
{
    struct arena arena;
    arena_init(&arena, 16u << 20);
    struct split split;
    struct error error;
    enum status status = fixture_plan(&arena, c->query, &c->options, c->step_ms, &split, &error);
    if (status == OK)
        explain_split(out, &split, &c->options, NULL, c->format);
    else
        strbuf_f(out, "%s: %s\n", status_text(status), error.message);
    strbuf_char(out, '\n');
    arena_release(&arena);
}

/* --- the cases --- */

static struct str first_difference(struct str a, struct str b)
{
    size_t line = 0;
    for (size_t i = 0; i < a.len && i < b.len && a.ptr[i] == b.ptr[i]; i++)
        if (a.ptr[i] == '\n')
            line = i + 1;
    struct str from = {a.ptr + (line < a.len ? line : a.len), 0};
    while (from.ptr + from.len < a.ptr + a.len && from.ptr[from.len] != '\n')
        from.len++;
    return from;
}

static void test_cases(void **state)
{
    size_t wrong = 0, n = 0;
    FOR_EACH_CASE(c)
    {
        struct strbuf actual;
        strbuf_init(&actual, 16u << 20);
        actual_text(c, &actual);
        struct str got = strbuf_view(&actual);
        if (!str_eq(got, c->expected)) {
            struct str want = first_difference(c->expected, got), have = first_difference(got, c->expected);
            print_error("%s: " STR_FORMAT "\n  expected: " STR_FORMAT "\n  actual:   " STR_FORMAT "\n",
                        files[file_i].path, STR_ARG(c->name), STR_ARG(want), STR_ARG(have));
            wrong++;
        }
        n++;
        strbuf_release(&actual);
    }
    assert_int_equal(wrong, 0);
    assert_true(n >= 80);
}

static void rewrite(void)
{
    for (size_t i = 0; i < files_n; i++) {
        struct strbuf out;
        strbuf_init(&out, 16u << 20);
        strbuf_str(&out, files[i].preamble);
        for (size_t k = 0; k < files[i].cases_n; k++) {
            const struct golden_case *c = &files[i].cases[k];
            strbuf_cstr(&out, "=== ");
            strbuf_str(&out, c->name);
            strbuf_char(&out, '\n');
            strbuf_str(&out, c->header);
            strbuf_cstr(&out, "---\n");
            actual_text(c, &out);
        }
        FILE *file = fopen(files[i].path, "wb");
        if (!file || fwrite(out.ptr, 1, out.len, file) != out.len || fclose(file) != 0)
            fprintf(stderr, "cannot write %s\n", files[i].path);
        strbuf_release(&out);
    }
}

/* --- laws --- */

typedef void law(const struct golden_case *c, struct arena *arena, const struct split *split);

static void for_each_plan(push_set forced, law *check)
{
    FOR_EACH_CASE(c)
    {
        struct arena arena;
        arena_init(&arena, 16u << 20);
        struct plan_options options = c->options;
        options.push &= forced;
        struct split split;
        if (fixture_plan(&arena, c->query, &options, c->step_ms, &split, NULL) == OK)
            check(c, &arena, &split);
        arena_release(&arena);
    }
}

static struct expr *reparse(struct arena *arena, struct str text)
{
    struct query_text query;
    struct error error;
    if (promql_parse(arena, text, &PARSE_LIMITS_DEFAULT, &fixture_regex, &query, &error) != OK)
        fail_msg(STR_FORMAT ": %s", STR_ARG(text), error.message);
    return query.root;
}

/* What Prometheus gets parses, says the same when printed again, and is of the query's type. A direct one is not sent.
 */
static void check_residual(const struct golden_case *c, struct arena *arena, const struct split *split)
{
    struct strbuf scratch, residual, again;
    strbuf_init(&scratch, 64);
    strbuf_init(&residual, 1u << 20);
    strbuf_init(&again, 1u << 20);
    split_print_residual(&residual, split, fixture_task_id, &scratch);
    const struct expr *parsed = reparse(arena, strbuf_view(&residual));
    promql_print(&again, parsed, NULL);
    if (!str_eq(strbuf_view(&residual), strbuf_view(&again)))
        fail_msg("%s\nis printed again as\n%s", residual.ptr, again.ptr);
    if (parsed->type != split->query.root->type && !split->direct)
        fail_msg(STR_FORMAT ": the residual %s has another type", STR_ARG(c->query), residual.ptr);
    strbuf_release(&scratch);
    strbuf_release(&residual);
    strbuf_release(&again);
}

static void test_residuals_reparse(void **state)
{
    for_each_plan(PUSH_ALL, check_residual);
    for_each_plan(PUSH_NONE, check_residual);
    for_each_plan(1u << PUSH_WINDOW | 1u << PUSH_SUBQUERY, check_residual);
}

static void check_valid(const struct golden_case *c, struct arena *arena, const struct split *split)
{
    split_validate(split);
    for (uint32_t i = 0; i < split->fragments_n; i++) {
        const struct fragment *fragment = &split->fragments[i];
        const struct expr *parsed = reparse(arena, fragment->promql);
        assert_int_equal(parsed->kind, fragment->root->kind);
    }
}

static void test_splits_validate(void **state)
{
    for (push_set push = PUSH_NONE; push <= PUSH_ALL; push++)
        for_each_plan(push, check_valid);
}

static void check_raw_only(const struct golden_case *c, struct arena *arena, const struct split *split)
{
    for (uint32_t i = 0; i < split->fragments_n; i++) {
        const struct expr *root = split->fragments[i].root;
        bool info = root->kind == EXPR_CALL && root->u.call.function->id == FN_INFO;
        assert_int_equal(split->fragments[i].kind, info ? FRAGMENT_GRID : FRAGMENT_RAW);
        assert_false(split->direct && !info);
    }
}

static void test_nothing_pushed_is_all_raw(void **state)
{
    for_each_plan(PUSH_NONE, check_raw_only);
}

/* The span of a grid fragment lies within what the raw selectors in its place may read. */
static void check_span(const struct golden_case *c, struct arena *arena, const struct split *split)
{
    struct plan_options raw_options = c->options;
    raw_options.push = PUSH_NONE;
    struct split raw;
    if (fixture_plan(arena, c->query, &raw_options, c->step_ms, &raw, NULL) != OK)
        return;
    struct time_span all = {0, -1};
    for (uint32_t i = 0; i < raw.fragments_n; i++)
        all = time_span_union(all, raw.fragments[i].span);
    for (uint32_t i = 0; i < split->fragments_n; i++) {
        struct time_span span = split->fragments[i].span;
        if (span.max_ms < span.min_ms)
            continue;
        if (span.min_ms < all.min_ms || span.max_ms > all.max_ms)
            fail_msg(STR_FORMAT, STR_ARG(c->query));
    }
}

static void test_spans_are_prometheus_own(void **state)
{
    for_each_plan(PUSH_ALL, check_span);
}

static void test_plans_repeat(void **state)
{
    FOR_EACH_CASE(c)
    {
        struct strbuf first, second;
        strbuf_init(&first, 16u << 20);
        strbuf_init(&second, 16u << 20);
        actual_text(c, &first);
        actual_text(c, &second);
        assert_true(str_eq(strbuf_view(&first), strbuf_view(&second)));
        strbuf_release(&first);
        strbuf_release(&second);
    }
}

/* Each allocation of a split fails once: a clean error, the output untouched, nothing lost. */
static void check_failing_allocations(const struct golden_case *c, const struct query_text *query)
{
    static const struct split untouched;
    for (int64_t n = 0;; n++) {
        struct arena arena;
        arena_init(&arena, 16u << 20);
        arena.fail_after = n;
        struct split split = untouched;
        struct error error = {.status = OK};
        enum status status = fixture_split(&arena, query, &c->options, c->step_ms, &split, &error);
        arena_release(&arena);
        if (status == OK)
            break;
        if (status != E_NOMEM || error.status != E_NOMEM || memcmp(&split, &untouched, sizeof split) != 0)
            fail_msg(STR_FORMAT ", allocation %d: %s: %s", STR_ARG(c->query), (int)n, status_text(status),
                     error.message);
    }
}

static void test_every_allocation_may_fail(void **state)
{
    FOR_EACH_CASE(c)
    {
        struct arena arena;
        arena_init(&arena, 16u << 20);
        struct query_text query;
        struct split split;
        if (fixture_parse(&arena, c->query, &c->options, c->step_ms, &query, NULL) == OK &&
            fixture_split(&arena, &query, &c->options, c->step_ms, &split, NULL) == OK)
            check_failing_allocations(c, &query);
        arena_release(&arena);
    }
}

int main(int argc, char **argv)
{
    files_n = golden_load_all(files, FILES_MAX, TEST_SOURCE_DIR "/golden");
    int result = 0;
    if (argc > 1 && strcmp(argv[1], "--rewrite") == 0) {
        rewrite();
    } else {
        const struct CMUnitTest tests[] = {
            cmocka_unit_test(test_cases),
            cmocka_unit_test(test_residuals_reparse),
            cmocka_unit_test(test_splits_validate),
            cmocka_unit_test(test_nothing_pushed_is_all_raw),
            cmocka_unit_test(test_spans_are_prometheus_own),
            cmocka_unit_test(test_plans_repeat),
            cmocka_unit_test(test_every_allocation_may_fail),
        };
        result = cmocka_run_group_tests(tests, NULL, NULL);
    }
    for (size_t i = 0; i < files_n; i++)
        golden_release(&files[i]);
    return result;
}
