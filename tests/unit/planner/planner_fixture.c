/* tests/unit/planner/planner_fixture.c: see planner_fixture.h. */
#include "planner_fixture.h"

const struct capabilities full_capabilities = {
    .backend = "duckdb",
    .dialect = DIALECT_DUCKDB,
    .selector = true,
    .subquery = true,
    .negation = true,
    .function =
        {
            [FN_RATE] = true,
            [FN_INCREASE] = true,
            [FN_DELTA] = true,
            [FN_IRATE] = true,
            [FN_IDELTA] = true,
            [FN_CHANGES] = true,
            [FN_RESETS] = true,
            [FN_DERIV] = true,
            [FN_PREDICT_LINEAR] = true,
            [FN_SUM_OVER_TIME] = true,
            [FN_AVG_OVER_TIME] = true,
            [FN_MIN_OVER_TIME] = true,
            [FN_MAX_OVER_TIME] = true,
            [FN_COUNT_OVER_TIME] = true,
            [FN_LAST_OVER_TIME] = true,
            [FN_FIRST_OVER_TIME] = true,
            [FN_PRESENT_OVER_TIME] = true,
            [FN_STDDEV_OVER_TIME] = true,
            [FN_STDVAR_OVER_TIME] = true,
            [FN_QUANTILE_OVER_TIME] = true,
            [FN_MAD_OVER_TIME] = true,
            [FN_TS_OF_FIRST_OVER_TIME] = true,
            [FN_TS_OF_LAST_OVER_TIME] = true,
            [FN_TS_OF_MAX_OVER_TIME] = true,
            [FN_TS_OF_MIN_OVER_TIME] = true,
            [FN_DOUBLE_EXPONENTIAL_SMOOTHING] = true,
            [FN_HOLT_WINTERS] = true,
            [FN_ABSENT] = true,
            [FN_ABSENT_OVER_TIME] = true,
            [FN_VECTOR] = true,
            [FN_TIME] = true,
            [FN_TIMESTAMP] = true,
            [FN_INFO] = true,
            [FN_SCALAR] = true,
            [FN_ABS] = true,
            [FN_CEIL] = true,
            [FN_FLOOR] = true,
            [FN_ROUND] = true,
            [FN_CLAMP] = true,
            [FN_CLAMP_MIN] = true,
            [FN_CLAMP_MAX] = true,
            [FN_EXP] = true,
            [FN_LN] = true,
            [FN_LOG2] = true,
            [FN_LOG10] = true,
            [FN_SQRT] = true,
            [FN_SGN] = true,
            [FN_SIN] = true,
            [FN_COS] = true,
            [FN_TAN] = true,
            [FN_ASIN] = true,
            [FN_ACOS] = true,
            [FN_ATAN] = true,
            [FN_SINH] = true,
            [FN_COSH] = true,
            [FN_TANH] = true,
            [FN_ASINH] = true,
            [FN_ACOSH] = true,
            [FN_ATANH] = true,
            [FN_DEG] = true,
            [FN_RAD] = true,
            [FN_MINUTE] = true,
            [FN_HOUR] = true,
            [FN_DAY_OF_WEEK] = true,
            [FN_DAY_OF_MONTH] = true,
            [FN_DAY_OF_YEAR] = true,
            [FN_DAYS_IN_MONTH] = true,
            [FN_MONTH] = true,
            [FN_YEAR] = true,
        },
    .aggregate =
        {
            [AGG_SUM] = true,
            [AGG_AVG] = true,
            [AGG_MIN] = true,
            [AGG_MAX] = true,
            [AGG_COUNT] = true,
            [AGG_GROUP] = true,
            [AGG_STDDEV] = true,
            [AGG_STDVAR] = true,
            [AGG_TOPK] = true,
            [AGG_BOTTOMK] = true,
            [AGG_QUANTILE] = true,
            [AGG_COUNT_VALUES] = true,
        },
    .binary =
        {
            [OP_ADD] = true,
            [OP_SUB] = true,
            [OP_MUL] = true,
            [OP_DIV] = true,
            [OP_MOD] = true,
            [OP_POW] = true,
            [OP_ATAN2] = true,
            [OP_EQL] = true,
            [OP_NEQ] = true,
            [OP_GTR] = true,
            [OP_LSS] = true,
            [OP_GTE] = true,
            [OP_LTE] = true,
            [OP_AND] = true,
            [OP_OR] = true,
            [OP_UNLESS] = true,
        },
};

const struct capabilities basic_capabilities = {
    .backend = "duckdb",
    .dialect = DIALECT_DUCKDB,
    .selector = true,
    .subquery = true,
    .function =
        {
            [FN_RATE] = true,
            [FN_INCREASE] = true,
            [FN_DELTA] = true,
            [FN_IRATE] = true,
            [FN_IDELTA] = true,
            [FN_CHANGES] = true,
            [FN_RESETS] = true,
            [FN_DERIV] = true,
            [FN_SUM_OVER_TIME] = true,
            [FN_AVG_OVER_TIME] = true,
            [FN_MIN_OVER_TIME] = true,
            [FN_MAX_OVER_TIME] = true,
            [FN_COUNT_OVER_TIME] = true,
            [FN_LAST_OVER_TIME] = true,
            [FN_PRESENT_OVER_TIME] = true,
            [FN_STDDEV_OVER_TIME] = true,
            [FN_STDVAR_OVER_TIME] = true,
        },
    .aggregate =
        {
            [AGG_SUM] = true,
            [AGG_AVG] = true,
            [AGG_MIN] = true,
            [AGG_MAX] = true,
            [AGG_COUNT] = true,
            [AGG_GROUP] = true,
            [AGG_STDDEV] = true,
            [AGG_STDVAR] = true,
        },
};

static enum status regex_check(void *arg, struct str pattern, struct error *reterr)
{
    return OK;
}

static bool regex_matches(void *arg, struct str pattern, struct str text)
{
    return false;
}

const struct regex_engine fixture_regex = {.check = regex_check, .matches = regex_matches};

struct plan_options fixture_options(void)
{
    return (struct plan_options){
        .can = &full_capabilities,
        .push = PUSH_ALL,
        .rule = WINDOW_LEFT_OPEN,
        .lookback_ms = 300000,
        .subquery_step_ms = 60000,
        .sample_interval_ms = 15000,
        .fragments_max = 64,
        .points_max = 11000,
        .bounds = {FIXTURE_START_MS, FIXTURE_END_MS},
    };
}

enum status fixture_parse(struct arena *arena, struct str query, const struct plan_options *options, int64_t step_ms,
                          struct query_text *ret_query, struct error *reterr)
{
    enum status status = promql_parse(arena, query, &PARSE_LIMITS_DEFAULT, &fixture_regex, ret_query, reterr);
    if (status != OK)
        return status;
    int64_t span_ms = step_ms ? options->bounds.max_ms - options->bounds.min_ms : 0;
    return promql_resolve(ret_query->root, step_ms, span_ms, reterr);
}

enum status fixture_split(struct arena *arena, const struct query_text *query, const struct plan_options *options,
                          int64_t step_ms, struct split *ret_split, struct error *reterr)
{
    struct plan_options own = *options;
    struct grid grid = grid_instant(own.bounds.min_ms);
    if (step_ms)
        grid = grid_range(own.bounds.min_ms, own.bounds.max_ms, step_ms);
    else
        own.bounds.max_ms = own.bounds.min_ms;
    return split_query(arena, query, grid, &own, ret_split, reterr);
}

enum status fixture_plan(struct arena *arena, struct str query, const struct plan_options *options, int64_t step_ms,
                         struct split *ret_split, struct error *reterr)
{
    struct query_text text;
    enum status status = fixture_parse(arena, query, options, step_ms, &text, reterr);
    return status == OK ? fixture_split(arena, &text, options, step_ms, ret_split, reterr) : status;
}

struct str fixture_task_id(uint32_t index, void *arg)
{
    struct strbuf *scratch = arg;
    strbuf_clear(scratch);
    strbuf_u64(scratch, index + 1);
    return strbuf_view(scratch);
}
