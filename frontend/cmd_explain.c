/* frontend/cmd_explain.c: promsplit explain: the plan of a query, without a server and without data. */
#include <string.h>

#include "backend/duckdb/duckdb_backend.h"
#include "frontend/api.h"
#include "frontend/cli.h"
#include "planner/explain.h"
#include "promql/parse.h"

#define ARENA_MAX_BYTES  (256u << 20)
#define OUTPUT_MAX_BYTES (256u << 20)

/* *ret_range_ms is end - start of a range query, -1 for an instant one. */
static enum status read_grid(const struct config *config, struct grid *ret_grid, int64_t *ret_range_ms,
                             struct error *reterr)
{
    int64_t time, start, end, now = wall_clock_ms();
    enum status status = cli_time("time", config->explain_time, now, &time, reterr);
    if (status == OK)
        status = cli_time("start", config->explain_start, now, &start, reterr);
    if (status == OK)
        status = cli_time("end", config->explain_end, now, &end, reterr);
    if (status != OK)
        return status;
    if (!config->explain_start[0] && !config->explain_end[0]) {
        *ret_grid = grid_instant(time);
        *ret_range_ms = -1;
        return OK;
    }
    if (!config->explain_start[0] || config->explain_time[0])
        return error_set(reterr, E_BAD_DATA, "a range wants --start and may have --end and --step; an instant --time");
    if (end < start)
        return error_set(reterr, E_BAD_DATA, "--end is before --start");
    uint64_t steps = ((uint64_t)end - (uint64_t)start) / (uint64_t)config->explain_step_ms;
    if (steps > API_POINTS_MAX)
        return error_set(reterr, E_BAD_DATA, "--step: %llu points are asked for; allowed: %d",
                         (unsigned long long)steps, API_POINTS_MAX);
    *ret_grid = grid_range(start, end, config->explain_step_ms);
    *ret_range_ms = end - start;
    return OK;
}

static bool find_regex(const struct expr *expr, void *arg)
{
    bool *found = arg;
    if (expr->kind == EXPR_SELECTOR)
        for (size_t i = 0; i < expr->u.selector.matchers_n; i++)
            *found |=
                expr->u.selector.matchers[i].op == MATCH_REGEX || expr->u.selector.matchers[i].op == MATCH_NOT_REGEX;
    return true;
}

/* The engine checks regular expressions; it is opened, in memory, only for a query that has any. */
static enum status parse(struct arena *arena, const char *text, struct query_text *ret_query, struct error *reterr)
{
    enum status status = promql_parse(arena, str_from(text), &PARSE_LIMITS_DEFAULT, NULL, ret_query, reterr);
    if (status != OK)
        return status;
    bool has_regex = false;
    expr_walk(ret_query->root, find_regex, &has_regex);
    if (!has_regex)
        return OK;
    struct backend *backend;
    status = duckdb_backend_open(&(struct duckdb_options){.threads = 1, .connections_max = 1}, &backend, reterr);
    if (status != OK)
        return status;
    struct regex_engine regex = backend->ops->regex(backend);
    status = promql_parse(arena, str_from(text), &PARSE_LIMITS_DEFAULT, &regex, ret_query, reterr);
    backend->ops->close(backend);
    return status;
}

static enum explain_format format_of(const char *text)
{
    return strcmp(text, "json") == 0 ? EXPLAIN_JSON : strcmp(text, "dot") == 0 ? EXPLAIN_DOT : EXPLAIN_TEXT;
}

static int explain(const struct config *config, struct arena *arena)
{
    struct plan_options options;
    struct grid grid;
    int64_t range_ms = -1;
    struct error error = {.begin = ERROR_NO_POSITION};
    if (read_grid(config, &grid, &range_ms, &error) != OK ||
        api_plan_options(config, NULL, &duckdb_capabilities, &options, &error) != OK)
        return cli_fail(CLI_USAGE, &error, NULL);
    if (config->storage_rollups_retention_ms) /* to two hours, of a server whose newest sample is of now */
        options.raw_from_ms = wall_clock_ms() - config->storage_retention_time_ms;
    options.bounds = (struct time_span){grid.start_ms, grid.start_ms + (range_ms < 0 ? 0 : range_ms)};
    struct query_text query;
    struct split split;
    if (parse(arena, config->arguments[0], &query, &error) != OK ||
        api_settle_query(&query, range_ms < 0 ? 0 : grid.step_ms, range_ms < 0 ? 0 : range_ms, &error) != OK ||
        split_query(arena, &query, grid, &options, &split, &error) != OK)
        return cli_fail(CLI_FAILED, &error, config->arguments[0]);
    struct strbuf out;
    strbuf_init(&out, OUTPUT_MAX_BYTES);
    explain_split(&out, &split, &options, NULL, format_of(config->explain_format));
    if (out.len > 0 && out.ptr[out.len - 1] != '\n')
        strbuf_char(&out, '\n');
    int code = cli_print(&out);
    strbuf_release(&out);
    return code;
}

int cmd_explain(int argc, char *const argv[])
{
    struct config config;
    struct arena arena;
    arena_init(&arena, ARENA_MAX_BYTES);
    int code = cli_config(&config, COMMAND_EXPLAIN, argc, argv) == OK ? explain(&config, &arena) : CLI_USAGE;
    arena_release(&arena);
    config_release(&config);
    return code;
}
