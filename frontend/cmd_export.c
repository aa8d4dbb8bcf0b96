/* frontend/cmd_export.c: promsplit export: the samples of a store as text.
 *
 * OpenMetrics wants the metrics of a family together, so there the names are taken one by one, in the order of their
 * families; JSON lines come in the order of label sets.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "backend/duckdb/duckdb_backend.h"
#include "base/assert.h"
#include "frontend/cli.h"
#include "frontend/progress.h"
#include "promql/parse.h"
#include "remote/export_text.h"
#include "remote/read_request.h"

#define STANDARD_MEMORY_BYTES (UINT64_C(256) << 20)
#define WRITE_BYTES           ((size_t)1 << 20)
#define MATCHERS_MAX          100

struct export
{
    struct config config;
    struct arena arena;
    struct backend *backend;
    enum import_format format;
    struct expr_selector selector;
    struct time_span span;
    int fd;
    struct strbuf out;
    struct progress progress;
    uint64_t all_n, samples_n, markers_n, histograms_n;
};

static enum status flush(struct export *export, struct error *reterr)
{
    enum status status = strbuf_status(&export->out, "a part of the output", reterr);
    struct str text = strbuf_view(&export->out);
    while (status == OK && text.len > 0) {
        ssize_t n = write(export->fd, text.ptr, text.len);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            status =
                error_set(reterr, E_STORE, "%s: cannot be written: %s", export->config.export_output, strerror(errno));
        else
            text = (struct str){text.ptr + n, text.len - (size_t)n};
    }
    strbuf_clear(&export->out);
    return status;
}

static enum status write_series(struct export *export, const struct matcher *matchers, size_t n, struct error *reterr)
{
    const struct backend_ops *ops = export->backend->ops;
    struct raw_cursor *cursor;
    struct raw_block block;
    enum status status = ops->raw_open(export->backend, RAW_SAMPLES, matchers, n, export->span, NULL, &cursor, reterr);
    if (status != OK)
        return status;
    while ((status = ops->raw_next(cursor, &block, reterr)) == OK && raw_block_n(&block)) {
        export->histograms_n += block.histograms_n;
        if (block.samples_n)
            export_samples(&export->out, export->format, block.labels, block.samples, block.samples_n,
                           &export->markers_n);
        export->samples_n += block.samples_n;
        if (export->out.len >= WRITE_BYTES || export->out.status != OK)
            status = flush(export, reterr);
        if (status != OK)
            break;
        double share = export->all_n ? (double)export->samples_n / (double)export->all_n : 1;
        progress_show(&export->progress, share < 1 ? share : 1, export->samples_n);
    }
    ops->raw_close(cursor);
    return status;
}

/* --- by families --- */

struct named {
    struct str name;
    struct metric_metadata family;
};

static int compare_named(const void *a, const void *b)
{
    const struct named *x = a, *y = b;
    int order = str_cmp(x->family.family, y->family.family);
    if (order == 0)
        order = (x->family.type > y->family.type) - (x->family.type < y->family.type);
    return order ? order : str_cmp(x->name, y->name);
}

static enum status write_name(struct export *export, const struct named *named, struct error *reterr)
{
    struct matcher matchers[MATCHERS_MAX + 1];
    size_t n = export->selector.matchers_n;
    if (n)
        memcpy(matchers, export->selector.matchers, n * sizeof *matchers);
    matchers[n] = (struct matcher){LABEL_METRIC_NAME, MATCH_EQUAL, named->name};
    return write_series(export, matchers, n + 1, reterr);
}

static enum status write_families(struct export *export, const struct string_list *names,
                                  const struct metadata_list *metadata, struct error *reterr)
{
    struct named *at = ARENA_ARRAY(&export->arena, struct named, names->n + 1);
    if (!at)
        return error_set(reterr, E_NOMEM, "no memory for %zu names", names->n);
    for (size_t i = 0; i < names->n; i++)
        at[i] = (struct named){names->at[i], export_family(names->at[i], metadata->at, metadata->n)};
    if (names->n)
        qsort(at, names->n, sizeof *at, compare_named);
    enum status status = OK;
    for (size_t i = 0; status == OK && i < names->n; i++) {
        bool same_family = i > 0 && str_eq(at[i].family.family, at[i - 1].family.family);
        if (same_family && at[i].family.type != at[i - 1].family.type) { /* two kinds of metric share a name */
            at[i].family = export_family(at[i].name, NULL, 0);
            same_family = false;
        }
        if (!same_family)
            export_metadata(&export->out, export->format, &at[i].family);
        status = write_name(export, &at[i], reterr);
    }
    return status;
}

static enum status write_by_families(struct export *export, struct error *reterr)
{
    const struct backend_ops *ops = export->backend->ops;
    struct series_query query = {
        .selectors = &export->selector, .selectors_n = export->selector.matchers_n ? 1 : 0, .span = export->span};
    struct string_list *names = NULL;
    struct metadata_list *metadata = NULL;
    enum status status = ops->label_values(export->backend, LABEL_METRIC_NAME, &query, NULL, &names, reterr);
    if (status == OK)
        status = ops->metadata(export->backend, STR(""), 0, &metadata, reterr);
    if (status == OK)
        status = write_families(export, names, metadata, reterr);
    string_list_free(names);
    metadata_list_free(metadata);
    return status;
}

/* --- beginning and end --- */

static enum status read_flags(struct export *export, struct error *reterr)
{
    const struct config *config = &export->config;
    if (config->text_format[0]) {
        bool known = import_format_named(str_from(config->text_format), &export->format);
        INVARIANT(known);
    }
    enum status status = cli_time("from", config->span_from, READ_TIME_MIN_MS, &export->span.min_ms, reterr);
    if (status == OK)
        status = cli_time("to", config->span_to, READ_TIME_MAX_MS, &export->span.max_ms, reterr);
    if (status != OK || !config->span_match[0])
        return status;
    struct regex_engine regex = export->backend->ops->regex(export->backend);
    if (promql_parse_selector(&export->arena, str_from(config->span_match), &PARSE_LIMITS_DEFAULT, &regex,
                              &export->selector, reterr) != OK)
        return error_prefix(reterr, "--match: ");
    if (export->selector.matchers_n > MATCHERS_MAX)
        return error_set(reterr, E_BAD_DATA, "--match: %zu matchers; allowed: %d", export->selector.matchers_n,
                         MATCHERS_MAX);
    return OK;
}

static enum status open_store(struct export *export, struct error *reterr)
{
    const struct config *config = &export->config;
    struct duckdb_options options = {.directory = config->storage_path,
                                     .threads = (unsigned)config->storage_threads,
                                     .memory_max_bytes = config->storage_memory_bytes
                                                             ? (uint64_t)config->storage_memory_bytes
                                                             : STANDARD_MEMORY_BYTES,
                                     .connections_max = 2};
    struct backend_stats stats;
    enum status status = cli_open_store(&options, &export->backend, reterr);
    if (status == OK)
        status = export->backend->ops->stats(export->backend, &stats, reterr);
    export->all_n = status == OK ? stats.samples_n : 0;
    return status;
}

static enum status open_output(struct export *export, struct error *reterr)
{
    const char *path = export->config.export_output;
    export->fd =
        strcmp(path, "-") == 0 ? dup(STDOUT_FILENO) : open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
    return export->fd >= 0 ? OK : error_set(reterr, E_STORE, "%s: cannot be written: %s", path, strerror(errno));
}

static enum status write_all(struct export *export, struct error *reterr)
{
    strbuf_init(&export->out, (size_t)256 << 20);
    progress_begin(&export->progress, 0);
    if (isatty(export->fd))
        export->progress.terminal = false;
    enum status status = export->format == IMPORT_JSON
                             ? write_series(export, export->selector.matchers, export->selector.matchers_n, reterr)
                             : write_by_families(export, reterr);
    export_end(&export->out, export->format);
    if (status == OK)
        status = flush(export, reterr);
    progress_clear(&export->progress);
    strbuf_release(&export->out);
    if (close(export->fd) != 0 && status == OK)
        status = error_set(reterr, E_STORE, "%s: cannot be written: %s", export->config.export_output, strerror(errno));
    return status;
}

static int run(struct export *export)
{
    struct error error = {.begin = ERROR_NO_POSITION};
    signal(SIGPIPE, SIG_IGN); /* a reader that leaves is a write that fails */
    arena_init(&export->arena, (size_t)1 << 30);
    enum status status = open_store(export, &error);
    if (status == OK)
        status = read_flags(export, &error);
    if (status == OK)
        status = open_output(export, &error);
    if (status == OK)
        status = write_all(export, &error);
    int code = status == OK ? CLI_OK : cli_fail(CLI_FAILED, &error, NULL);
    if (status == OK) {
        fprintf(stderr, "%llu samples written\n", (unsigned long long)(export->samples_n - export->markers_n));
        if (export->markers_n)
            fprintf(stderr, "promsplit: %llu staleness markers left out: this format has none (JSON lines do)\n",
                    (unsigned long long)export->markers_n);
        if (export->histograms_n)
            fprintf(stderr,
                    "promsplit: %llu native histograms left out: no text format has them; promsplit import reads them "
                    "from a store or a server\n",
                    (unsigned long long)export->histograms_n);
    }
    if (export->backend)
        export->backend->ops->close(export->backend);
    arena_release(&export->arena);
    return code;
}

int cmd_export(int argc, char *const argv[])
{
    struct export export = {.format = IMPORT_JSON};
    int code = cli_config(&export.config, COMMAND_EXPORT, argc, argv) == OK ? run(&export) : CLI_USAGE;
    config_release(&export.config);
    return code;
}
