/* backend/duckdb/shrink.c: gives free blocks of the file back to the disk.
 *
 * The engine writes into the first free blocks and cuts free ones off the file's end, but it moves none: a single block
 * in use near the end keeps all before it. So chunks of row groups that have blocks beyond the length which the file
 * could have are written anew, which brings them to its front, and the checkpoint that follows cuts the end off. Each
 * transaction is a move of chunks to chunks (chunks_replace): readers and crashes see it as they see those. What one
 * writes shares blocks, so it has rows of several row groups. The table of series, which grows between the chunks, is
 * rewritten whole when it lies beyond.
 *
 * What is free is what the next moves write into. So a file is left alone while it is written to, unless most of it is
 * free.
 */
#include <stdlib.h>

#include "backend/duckdb/partition.h"
#include "backend/duckdb/schema.h"
#include "backend/duckdb/store.h"
#include "base/assert.h"

#define FREE_BYTES_MIN (UINT64_C(16) << 20) /* less is not worth it */
#define GROUPS_MAX     16                   /* row groups of one round; a checkpoint follows */
#define MISSES_MAX     4                    /* rounds in a row that do not make the file shorter */

struct file_blocks {
    uint64_t total, used, bytes; /* bytes: of one block */
};

/* Rows of stored_chunks, by their numbers. */
struct row_range {
    int64_t first, past;
};

/* When the engine has opened a file it says as many blocks as there were before the end was last cut off. */
static enum status count_blocks(struct duckdb_store *store, struct file_blocks *ret_blocks, struct error *reterr)
{
    duckdb_result rows;
    enum status status = engine_query(store->compactor.connection,
                                      "SELECT total_blocks::BIGINT, used_blocks::BIGINT, block_size::BIGINT FROM "
                                      "pragma_database_size() WHERE database_name = '" ENGINE_CATALOG "'",
                                      false, NULL, &rows, reterr);
    if (status != OK)
        return status;
    uint64_t total = (uint64_t)duckdb_value_int64(&rows, 0, 0), bytes = (uint64_t)duckdb_value_int64(&rows, 2, 0);
    uint64_t in_file = store_file_bytes(store) / bytes;
    *ret_blocks =
        (struct file_blocks){in_file < total ? in_file : total, (uint64_t)duckdb_value_int64(&rows, 1, 0), bytes};
    duckdb_destroy_result(&rows);
    return OK;
}

static bool is_worth_it(const struct duckdb_store *store, const struct file_blocks *blocks, bool quiet)
{
    const struct compactor *c = &store->compactor;
    uint64_t free_n = blocks->total > blocks->used ? blocks->total - blocks->used : 0;
    uint64_t free_min = store->options.shrink_bytes ? store->options.shrink_bytes : FREE_BYTES_MIN;
    if (blocks->total == c->shrunk_total && blocks->used == c->shrunk_used)
        return false;
    return free_n * blocks->bytes >= free_min && (quiet ? 5 * free_n > blocks->total : 3 * free_n > 2 * blocks->total);
}

/* --- chunks --- */

/* The row groups that have lost rows, since a list of these lies where it once was put, and then those that lie last.
 * They are written into the first free blocks before their own are free, and so is, by
 * the checkpoint, the row group at the table's end, if it is not full. So together they find room in half of the free
 * blocks; or it is a single one, as long as there is room for itself. */
static enum status find_groups(struct compactor *c, uint64_t free_n, struct row_range *ret_at, size_t *ret_n,
                               struct error *reterr)
{
    struct sql sql;
    duckdb_result rows;
    sql_init(&sql, SQL_BYTES_MAX);
    sql_words(&sql,
              "WITH row_groups AS (SELECT row_group_id, min(start) FILTER (is_row) AS first, "
              "max(start + count) FILTER (is_row) AS past, count(DISTINCT block_id) AS blocks, "
              "max(block_id) AS last FROM (SELECT *, column_name = 'series' AS is_row FROM "
              "pragma_storage_info('" ENGINE_CATALOG ".stored_chunks')) GROUP BY row_group_id), "
              "rows_left AS (SELECT row_group_id, count(*) AS left_n FROM (SELECT rowid AS place FROM stored_chunks) "
              "AS chunk ASOF JOIN row_groups ON chunk.place >= row_groups.first GROUP BY row_group_id), ranked "
              "AS (SELECT *, left_n < past - first AS has_lost FROM row_groups JOIN rows_left USING "
              "(row_group_id)) SELECT first, past, ((SELECT arg_max(blocks, row_group_id) FROM row_groups) + "
              "sum(blocks) OVER (ORDER BY has_lost DESC, last DESC, row_group_id))::BIGINT, blocks FROM ranked "
              "ORDER BY has_lost DESC, last DESC, row_group_id LIMIT ");
    sql_i64(&sql, GROUPS_MAX);
    enum status status = engine_ask(c->connection, &sql, &c->cancel, &rows, reterr);
    if (status != OK)
        return status;
    *ret_n = 0;
    for (idx_t i = 0; i < duckdb_row_count(&rows); i++) {
        uint64_t room = (uint64_t)duckdb_value_int64(&rows, 2, i), own = (uint64_t)duckdb_value_int64(&rows, 3, i);
        if (i == 0 ? own <= free_n : room <= free_n / 2)
            ret_at[(*ret_n)++] = (struct row_range){duckdb_value_int64(&rows, 0, i), duckdb_value_int64(&rows, 1, i)};
    }
    duckdb_destroy_result(&rows);
    return OK;
}

/* Which rows: those of the row groups, from a place on. */
static void write_rows(struct sql *sql, const struct row_range *groups, size_t n, int64_t from)
{
    sql_words(sql, "rowid >= ");
    sql_i64(sql, from);
    for (size_t i = 0; i < n; i++) {
        sql_words(sql, i ? " OR rowid BETWEEN " : " AND (rowid BETWEEN ");
        sql_i64(sql, groups[i].first);
        sql_words(sql, " AND ");
        sql_i64(sql, groups[i].past - 1);
    }
    sql_words(sql, ")");
}

/* What one transaction rewrites: rows from one place to another, and the times of these chunks. */
struct part {
    int64_t from, last;
    struct time_span tmin;
};

/* From part->from on as many rows as have MOVE_SAMPLES, or one that has more; *ret_any: there is one. */
static enum status find_part(struct compactor *c, const struct row_range *groups, size_t n, struct part *part,
                             bool *ret_any, struct error *reterr)
{
    struct sql sql;
    duckdb_result rows;
    sql_init(&sql, SQL_BYTES_MAX);
    sql_words(&sql, "SELECT max(place), min(tmin), max(tmin) FROM (SELECT rowid AS place, tmin, "
                    "sum(n) OVER (ORDER BY rowid) - n AS before FROM stored_chunks WHERE ");
    write_rows(&sql, groups, n, part->from);
    sql_words(&sql, ") WHERE before < ");
    sql_i64(&sql, MOVE_SAMPLES);
    enum status status = engine_ask(c->connection, &sql, &c->cancel, &rows, reterr);
    if (status != OK)
        return status;
    *ret_any = !duckdb_value_is_null(&rows, 0, 0);
    part->last = duckdb_value_int64(&rows, 0, 0);
    part->tmin = (struct time_span){duckdb_value_int64(&rows, 1, 0), duckdb_value_int64(&rows, 2, 0)};
    duckdb_destroy_result(&rows);
    return OK;
}

static enum status rewrite_part(struct compactor *c, const struct row_range *groups, size_t n, const struct part *part,
                                struct error *reterr)
{
    struct time_span span = partitions_span(partition_of(part->tmin.min_ms), partition_of(part->tmin.max_ms));
    struct sql sql;
    sql_init(&sql, SQL_BYTES_MAX);
    sql_words(
        &sql,
        "CREATE OR REPLACE TEMP TABLE " FRESH_CHUNKS
        " AS SELECT metric, series, tmin, tmax, n, pace, drift, value, tmin AS replaces FROM stored_chunks WHERE ");
    write_rows(&sql, groups, n, part->from);
    sql_words(&sql, " AND rowid <= ");
    sql_i64(&sql, part->last);
    sql_words(&sql, " AND move <= (SELECT move FROM moved)");
    enum status status = engine_alter(c->connection, &sql, &c->cancel, NULL, reterr);
    return status == OK ? chunks_replace(c->connection, span, &c->cancel, reterr) : status;
}

/* All rows of the row groups, in as many transactions as it takes. Should the engine number rows anew meanwhile, others
 * are rewritten, which does no harm. */
static enum status rewrite_groups(struct compactor *c, const struct row_range *groups, size_t n, struct error *reterr)
{
    enum status status = OK;
    struct part part = {.from = 0};
    for (bool any = n > 0; status == OK && any; part.from = part.last + 1) {
        status = engine_begin(c->connection, reterr);
        if (status != OK)
            return status;
        status = find_part(c, groups, n, &part, &any, reterr);
        if (status == OK && any)
            status = rewrite_part(c, groups, n, &part, reterr);
        status = engine_end(c->connection, status, reterr);
    }
    return status;
}

/* --- series --- */

/* *ret_any is set if it was. */
static enum status rewrite_series(struct compactor *c, uint64_t used, bool *ret_any, struct error *reterr)
{
    static const char *const STATEMENTS[] = {
        "CREATE OR REPLACE TEMP TABLE kept_series AS SELECT * FROM series",
        "DELETE FROM series",
        "INSERT INTO series SELECT * FROM temp.main.kept_series ORDER BY series",
        "DROP TABLE temp.main.kept_series",
    };
    struct sql sql;
    duckdb_result rows;
    sql_init(&sql, SQL_BYTES_MAX);
    sql_words(&sql, "SELECT coalesce(max(block_id), -1) >= count(DISTINCT block_id) + ");
    sql_i64(&sql, (int64_t)used);
    sql_words(&sql, " FROM pragma_storage_info('" ENGINE_CATALOG ".series')");
    enum status status = engine_ask(c->connection, &sql, &c->cancel, &rows, reterr);
    if (status != OK)
        return status;
    bool beyond = duckdb_value_boolean(&rows, 0, 0);
    duckdb_destroy_result(&rows);
    if (!beyond)
        return OK;
    *ret_any = true;
    status = engine_begin(c->connection, reterr);
    for (size_t i = 0; status == OK && i < ARRAY_LENGTH(STATEMENTS); i++)
        status = engine_change(c->connection, STATEMENTS[i], &c->cancel, NULL, reterr);
    return engine_end(c->connection, status, reterr);
}

/* --- rounds --- */

/* One round; *ret_any: there was something to rewrite. */
static enum status rewrite_last(struct duckdb_store *store, const struct file_blocks *blocks, bool *ret_any,
                                struct error *reterr)
{
    struct compactor *c = &store->compactor;
    struct row_range groups[GROUPS_MAX];
    size_t groups_n = 0;
    enum status status = disk_check(store, CHUNKS_LOG_BYTES, reterr);
    if (status == OK)
        status = find_groups(c, blocks->total - blocks->used, groups, &groups_n, reterr);
    if (status == OK)
        status = rewrite_groups(c, groups, groups_n, reterr);
    *ret_any = groups_n > 0;
    if (status == OK)
        status = rewrite_series(c, blocks->used, ret_any, reterr);
    if (status == OK && *ret_any)
        compactor_checkpoint(store);
    return status;
}

/* A round that ends longer than it began has its new blocks at the end, where the next one takes them from. */
static enum status shorten(struct duckdb_store *store, bool quiet, struct error *reterr)
{
    struct compactor *c = &store->compactor;
    struct file_blocks blocks = {0, 0, 0};
    if (quiet)
        compactor_checkpoint(store); /* frees what a reader held when it was deleted */
    enum status status = count_blocks(store, &blocks, reterr);
    uint64_t shortest = blocks.total, used = blocks.used;
    bool any = true;
    for (unsigned misses = 0; status == OK && any && misses < MISSES_MAX && is_worth_it(store, &blocks, quiet);) {
        if (atomic_load(&c->waiting_n) > 0)
            return OK;
        status = rewrite_last(store, &blocks, &any, reterr);
        if (status == OK)
            status = count_blocks(store, &blocks, reterr);
        if (status == OK && blocks.used > used + used / 8)
            return OK; /* a reader holds what was rewritten */
        misses = blocks.total < shortest ? 0 : misses + 1;
        shortest = blocks.total < shortest ? blocks.total : shortest;
    }
    if (quiet) {
        c->shrunk_total = blocks.total;
        c->shrunk_used = blocks.used;
    }
    return status;
}

enum status shrink_run(struct duckdb_store *store, bool quiet, struct error *reterr)
{
    if (!store->directory)
        return OK;
    pthread_mutex_lock(&store->compactor.running);
    enum status status = shorten(store, quiet, reterr);
    pthread_mutex_unlock(&store->compactor.running);
    if (status != OK)
        atomic_fetch_add_explicit(&store->compactor.failures_n, 1, memory_order_relaxed);
    return status;
}
