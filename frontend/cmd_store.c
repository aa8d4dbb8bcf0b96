/* frontend/cmd_store.c: promsplit store: what a store holds, whether it is as it should be, its compaction, and letting
 * go of rollups that outlive their samples. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "backend/duckdb/duckdb_backend.h"
#include "base/assert.h"
#include "base/float_text.h"
#include "frontend/cli.h"

static void row(struct strbuf *out, const char *name, uint64_t number)
{
    strbuf_f(out, "%-22s %" PRIu64 "\n", name, number);
}

static void time_row(struct strbuf *out, const char *name, int64_t time_ms)
{
    char text[32];
    time_text_json(text, time_ms);
    strbuf_f(out, "%-22s %s\n", name, text);
}

static enum status stats(struct backend *backend, struct strbuf *out, struct error *reterr)
{
    struct backend_stats s;
    struct metadata_list *metadata;
    enum status status = backend->ops->stats(backend, &s, reterr);
    if (status == OK)
        status = backend->ops->metadata(backend, STR(""), 0, &metadata, reterr);
    if (status != OK)
        return status;
    row(out, "series", s.series_n);
    row(out, "samples", s.samples_n);
    row(out, "samples not in chunks", s.recent_n);
    row(out, "native histograms", s.histograms_n);
    if (s.samples_n) {
        time_row(out, "oldest sample", s.min_time_ms);
        time_row(out, "newest sample", s.max_time_ms);
    }
    if (s.rollup_min_time_ms != INT64_MAX)
        time_row(out, "oldest in rollups", s.rollup_min_time_ms);
    row(out, "metadata entries", metadata->n);
    row(out, "bytes on disk", s.disk_bytes);
    row(out, "bytes in use", s.used_bytes);
    metadata_list_free(metadata);
    return OK;
}

static enum status compact(struct backend *backend, struct strbuf *out, struct error *reterr)
{
    enum status status = duckdb_backend_compact(backend, reterr);
    if (status == OK)
        status = duckdb_backend_shrink(backend, reterr);
    return status == OK ? stats(backend, out, reterr) : status;
}

static enum status forget_rollups(struct backend *backend, struct strbuf *out, struct error *reterr)
{
    enum status status = duckdb_backend_forget_rollups(backend, reterr);
    return status == OK ? stats(backend, out, reterr) : status;
}

static enum status verify(struct backend *backend, struct strbuf *out, struct error *reterr)
{
    struct verify_report report;
    enum status status = duckdb_backend_verify(backend, NULL, &report, reterr);
    size_t broken = 0;
    for (size_t i = 0; status == OK && i < report.rules_n; i++) {
        const struct verify_rule *rule = &report.rules[i];
        broken += rule->rows_n > 0;
        strbuf_f(out, "%-6s %s", rule->rows_n ? "BROKEN" : "ok", rule->text);
        if (rule->rows_n)
            strbuf_f(out, ": %" PRIu64 " are not", rule->rows_n);
        strbuf_char(out, '\n');
    }
    if (broken)
        return error_set(reterr, E_STORE, "%zu of %zu rules do not hold", broken, report.rules_n);
    return status;
}

static const struct {
    const char *name;
    enum status (*run)(struct backend *backend, struct strbuf *out, struct error *reterr);
} actions[] = {{"stats", stats}, {"verify", verify}, {"compact", compact}, {"forget-rollups", forget_rollups}};

static enum status run(const struct config *config, struct strbuf *out, struct error *reterr)
{
    struct duckdb_options options = {.directory = config->storage_path,
                                     .threads = (unsigned)config->storage_threads,
                                     .memory_max_bytes = (uint64_t)config->storage_memory_bytes,
                                     .min_free_bytes = (uint64_t)config->storage_min_free_bytes,
                                     .connections_max = 2};
    size_t action = 0;
    while (action < ARRAY_LENGTH(actions) && strcmp(actions[action].name, config->arguments[0]) != 0)
        action++;
    if (action == ARRAY_LENGTH(actions))
        return error_set(reterr, E_BAD_DATA,
                         "promsplit store does not know \"%s\": stats, verify, compact or forget-rollups",
                         config->arguments[0]);
    struct backend *backend;
    enum status status = cli_open_store(&options, &backend, reterr);
    if (status != OK)
        return status;
    status = actions[action].run(backend, out, reterr);
    backend->ops->close(backend);
    return status;
}

int cmd_store(int argc, char *const argv[])
{
    struct config config;
    struct error error = {.begin = ERROR_NO_POSITION};
    if (cli_config(&config, COMMAND_STORE, argc, argv) != OK) {
        config_release(&config);
        return CLI_USAGE;
    }
    struct strbuf out;
    strbuf_init(&out, 1u << 20);
    enum status status = run(&config, &out, &error);
    int printed = cli_print(&out);
    int code = status == OK           ? printed
               : status == E_BAD_DATA ? cli_fail(CLI_USAGE, &error, NULL)
                                      : cli_fail(CLI_FAILED, &error, NULL);
    strbuf_release(&out);
    config_release(&config);
    return code;
}
