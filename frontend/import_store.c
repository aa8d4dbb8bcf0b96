/* frontend/import_store.c: another store as the source of an import; see import_source.h.
 *
 * Read by windows of time, the oldest first, so that what is stored always ascends; a place is the window that is not
 * complete yet. Windows grow while they hold little.
 */
#include <stdlib.h>

#include "backend/duckdb/duckdb_backend.h"
#include "frontend/cli.h"
#include "frontend/import_source.h"
#include "frontend/import_window.h"
#include "remote/series_builder.h"

#define MEMORY_BYTES (UINT64_C(256) << 20)

struct store_source {
    struct import_source source; /* first */
    struct backend *backend;
    const struct import_query *query;
    struct import_window window;
    struct raw_cursor *cursor; /* of the window that is open */
    bool metadata_sent;
};

static enum status take_metadata(struct store_source *s, struct series_builder *builder, struct error *reterr)
{
    struct metadata_list *list;
    enum status status = s->backend->ops->metadata(s->backend, STR(""), 0, &list, reterr);
    if (status != OK)
        return status;
    for (size_t i = 0; i < list->n; i++) {
        const struct metric_metadata *m = &list->at[i];
        struct metric_metadata copy = {arena_str(builder->arena, m->family), m->type,
                                       arena_str(builder->arena, m->help), arena_str(builder->arena, m->unit)};
        if (copy.family.ptr && copy.help.ptr && copy.unit.ptr)
            series_builder_metadata(builder, &copy);
    }
    metadata_list_free(list);
    s->metadata_sent = true;
    return OK;
}

static enum status add_block(struct series_builder *builder, const struct raw_block *block, struct error *reterr)
{
    struct labels labels = labels_copy(builder->arena, block->labels);
    struct sample *samples = block->samples_n ? series_builder_room(builder, block->samples_n) : NULL;
    if (!labels.at || (block->samples_n && !samples))
        return error_set(reterr, E_NOMEM, "no memory for the samples of a store");
    if (block->samples_n)
        memcpy(samples, block->samples, block->samples_n * sizeof *samples);
    for (size_t i = 0; i < block->histograms_n; i++) {
        struct histogram_sample copy = block->histograms[i];
        copy.packed = arena_str(builder->arena, copy.packed);
        if (!copy.packed.ptr)
            return error_set(reterr, E_NOMEM, "no memory for the native histograms of a store");
        if (!series_builder_histogram(builder, &copy))
            return builder->status;
    }
    for (size_t i = 0; i < labels.n; i++)
        if (!series_builder_label(builder, labels.at[i].name, labels.at[i].value))
            return builder->status;
    series_builder_end(builder, block->samples_n);
    return builder->status;
}

static void end_cursor(struct store_source *s)
{
    if (s->cursor)
        s->backend->ops->raw_close(s->cursor);
    s->cursor = NULL;
}

/* One block of the open window, or the next window. */
static enum status take_block(struct store_source *s, struct series_builder *builder, struct error *reterr)
{
    const struct backend_ops *ops = s->backend->ops;
    if (!s->cursor)
        return ops->raw_open(s->backend, RAW_SAMPLES, s->query->matchers, s->query->matchers_n,
                             import_window_span(&s->window), NULL, &s->cursor, reterr);
    struct raw_block block;
    enum status status = ops->raw_next(s->cursor, &block, reterr);
    if (status != OK)
        return status;
    if (raw_block_n(&block) == 0) {
        end_cursor(s);
        import_window_end(&s->window);
        return OK;
    }
    s->window.samples_n += raw_block_n(&block);
    return add_block(builder, &block, reterr);
}

static enum status store_next(struct import_source *source, struct import_piece *piece, bool *ret_done,
                              struct error *reterr)
{
    struct store_source *s = (struct store_source *)source;
    static const struct write_limits NO_LIMITS = {0};
    struct series_builder builder;
    piece->part = (struct import_part){0};
    series_builder_init(&builder, &piece->arena, &NO_LIMITS, "import", &piece->part.request, reterr);
    *ret_done = import_window_is_last(&s->window) && s->metadata_sent;
    enum status status = s->metadata_sent ? OK : take_metadata(s, &builder, reterr);
    int64_t begin_ms = s->window.next_ms;
    while (status == OK && builder.samples_n + builder.histograms_n < IMPORT_PIECE_SAMPLES &&
           s->window.next_ms == begin_ms && !import_window_is_last(&s->window))
        status = take_block(s, &builder, reterr);
    if (status == OK)
        status = series_builder_finish(&builder);
    piece->after = (struct import_place){s->window.next_ms, 0};
    piece->share = import_window_share(&s->window);
    return status;
}

static void store_close(struct import_source *source)
{
    struct store_source *s = (struct store_source *)source;
    end_cursor(s);
    if (s->backend)
        s->backend->ops->close(s->backend);
    free(s);
}

static enum status open_backend(struct store_source *s, const char *directory, struct error *reterr)
{
    struct duckdb_options options = {.directory = directory, .memory_max_bytes = MEMORY_BYTES, .connections_max = 2};
    enum status status = cli_open_store(&options, &s->backend, reterr);
    struct backend_stats stats;
    if (status == OK)
        status = s->backend->ops->stats(s->backend, &stats, reterr);
    if (status != OK)
        return error_prefix(reterr, "%s: ", directory);
    import_window_clip(&s->window, stats.min_time_ms, stats.max_time_ms);
    return OK;
}

enum status import_store_open(const char *directory, const struct import_query *query, const struct import_place *from,
                              struct import_source **ret_source, struct error *reterr)
{
    struct store_source *s = calloc(1, sizeof *s);
    if (!s)
        return error_set(reterr, E_NOMEM, "%s: no memory to read it", directory);
    s->source = (struct import_source){store_next, store_close};
    s->query = query;
    import_window_init(&s->window, query->span, from);
    enum status status = open_backend(s, directory, reterr);
    if (status == OK)
        *ret_source = &s->source;
    else
        store_close(&s->source);
    return status;
}
