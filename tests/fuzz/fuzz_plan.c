/* tests/fuzz/fuzz_plan.c: any query text through parse, split and explain.
 *
 * The first two bytes choose grid and options. What must hold: no crash; the split validates; the residual parses; the
 * quotes of every SQL statement pair up, and outside of them stand only our own words.
 */
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "planner/explain.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static enum status regex_check(void *arg, struct str pattern, struct error *reterr)
{
    return OK;
}

static bool regex_matches(void *arg, struct str pattern, struct str text)
{
    return false;
}

static const struct regex_engine regex = {.check = regex_check, .matches = regex_matches};

static struct str task_id(uint32_t index, void *arg)
{
    return STR("1");
}

static struct capabilities everything(void)
{
    struct capabilities can = {.backend = "duckdb", .dialect = DIALECT_DUCKDB, .selector = true, .subquery = true};
    for (unsigned i = 0; i < FN_MAX; i++) {
        const struct function *function = function_get((enum function_id)i);
        can.function[i] = function->args_n == 1 && function->args[0] == VALUE_MATRIX && i != FN_ABSENT_OVER_TIME;
    }
    for (unsigned i = 0; i < AGG_TOPK; i++)
        can.aggregate[i] = true;
    return can;
}

static void check_sql(struct str sql)
{
    char quote = 0;
    for (size_t i = 0; i < sql.len; i++) {
        char c = sql.ptr[i];
        INVARIANT(c != '\0');
        if (quote) {
            quote = c == quote ? 0 : quote; /* a doubled quote closes and opens */
            continue;
        }
        if (c == '\'' || c == '"')
            quote = c;
        else
            INVARIANT((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                      strchr("_ \n(),=<>[]*-", c));
    }
    INVARIANT(quote == 0);
}

static void check_split(struct arena *arena, const struct split *split, const struct plan_options *options)
{
    split_validate(split);
    for (uint32_t i = 0; i < split->fragments_n; i++)
        check_sql(split->fragments[i].sql);
    struct strbuf text;
    strbuf_init(&text, 32u << 20);
    split_print_residual(&text, split, task_id, NULL);
    struct query_text again;
    struct parse_limits limits = PARSE_LIMITS_DEFAULT;
    limits.depth_max *= 2; /* absent() adds calls around its own */
    INVARIANT(promql_parse(arena, strbuf_view(&text), &limits, &regex, &again, NULL) == OK);
    for (int format = EXPLAIN_TEXT; format <= EXPLAIN_DOT; format++) {
        strbuf_clear(&text);
        explain_split(&text, split, options, NULL, (enum explain_format)format);
    }
    strbuf_release(&text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 2 || size > 2000)
        return 0;
    static struct capabilities can;
    can = everything();
    struct plan_options options = {
        .can = &can,
        .push = data[0] & PUSH_ALL,
        .rule = data[0] & 0x80 ? WINDOW_CLOSED : WINDOW_LEFT_OPEN,
        .lookback_ms = 300000,
        .subquery_step_ms = 60000,
        .fragments_max = 64,
        .points_max = 1000000,
    };
    int64_t start_ms = (int64_t)data[1] * 30000 - 1000000, step_ms = 1 + (data[1] & 15) * 15000;
    struct grid grid = data[0] & 0x40 ? grid_instant(start_ms) : grid_range(start_ms, start_ms + 3600000, step_ms);
    struct arena arena;
    arena_init(&arena, 64u << 20);
    struct query_text query;
    struct split split;
    struct str text = {(const char *)data + 2, size - 2};
    if (promql_parse(&arena, text, &PARSE_LIMITS_DEFAULT, &regex, &query, NULL) == OK &&
        promql_resolve(query.root, grid.steps == 1 ? 0 : step_ms, grid.steps == 1 ? 0 : 3600000, NULL) == OK &&
        split_query(&arena, &query, grid, &options, &split, NULL) == OK)
        check_split(&arena, &split, &options);
    arena_release(&arena);
    return 0;
}
