/* backend/duckdb/compact.c: moves samples from the table recent, where they lie as they came, into chunks, where each
 * series' samples of a partition are one row.
 *
 * A thread of its own looks after it: it moves all rows once there are many or nothing comes in, and rows of partitions
 * that are over soon after they are. One move is one transaction (move.h). So a crash leaves the state before or after,
 * a failed move is simply tried again later, readers see one or the other, and a series never has two chunks in a
 * partition.
 *
 * Appends never wait for a move, but for those with late samples, which change chunks too (late.c): the engine lets
 * both write side by side, and rows that come during it stay recent. After the last move of a round the file is
 * checkpointed, so that the rows deleted are no longer scanned; that alone holds up appends, as the checkpoints do that
 * commits make.
 */
#include <inttypes.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "backend/duckdb/move.h"
#include "backend/duckdb/partition.h"
#include "backend/duckdb/schema.h"
#include "backend/duckdb/store.h"
#include "base/assert.h"
#include "base/priority.h"
#include "planner/sql.h"

/* Rows in recent that start a move. Scans of fewer take a few milliseconds; a move rewrites the open partition's
 * chunks, so a series should have got some samples since the last: the larger of this and RECENT_PER_SERIES for each.
 */
#define RECENT_ROWS       UINT64_C(1000000)
#define RECENT_PER_SERIES 32

/* A partition is over when the newest sample is this much later: senders are a little behind each other. */
#define GRACE_MS INT64_C(600000)

#define LOOK_EVERY_MS INT64_C(30000)
#define MEND_EVERY_MS INT64_C(1000)  /* to open a broken engine again */
#define TELL_EVERY_MS INT64_C(60000) /* of the same failure */

#define LET_OTHERS_US 500

/* Bytes that a row moved may need on the disk before the old ones are given back: in its chunk, and in the log. */
#define MOVED_ROW_BYTES 32

/* The oldest partitions that recent has rows of, up to number `last` and to MOVE_SAMPLES rows, of ret_chosen's batches.
 */
static enum status choose(struct compactor *c, int64_t last, struct partitions *ret_chosen, struct error *reterr)
{
    struct partitions chosen = {.batch = ret_chosen->batch};
    struct sql sql;
    duckdb_result rows;
    sql_init(&sql, SQL_BYTES_MAX);
    sql_words(&sql, "SELECT part, count(*)::BIGINT FROM (SELECT ");
    partition_write(&sql, "ts");
    sql_words(&sql, " AS part FROM recent WHERE ");
    schema_within(&sql, chosen.batch);
    sql_words(&sql, ") WHERE part <= ");
    sql_i64(&sql, last);
    sql_words(&sql, " GROUP BY part ORDER BY part");
    enum status status = engine_ask(c->connection, &sql, &c->cancel, &rows, reterr);
    if (status != OK)
        return status;
    duckdb_data_chunk chunk = NULL;
    bool full = false;
    while ((status = engine_fetch(c->connection, &rows, &c->cancel, &chunk, reterr)) == OK && chunk) {
        const int64_t *part = duckdb_vector_get_data(duckdb_data_chunk_get_vector(chunk, 0));
        const int64_t *n = duckdb_vector_get_data(duckdb_data_chunk_get_vector(chunk, 1));
        for (idx_t i = 0; i < duckdb_data_chunk_get_size(chunk); i++) {
            full = full || (chosen.rows_n > 0 && chosen.rows_n + (uint64_t)n[i] > MOVE_SAMPLES);
            if (full)
                break;
            chosen.first = chosen.rows_n ? chosen.first : part[i];
            chosen.last = part[i];
            chosen.rows_n += (uint64_t)n[i];
        }
        engine_chunk_free(&chunk);
    }
    duckdb_destroy_result(&rows);
    if (status == OK)
        *ret_chosen = chosen;
    return status;
}

enum status chunks_replace(struct connection *connection, struct time_span partitions, struct cancel *cancel,
                           struct error *reterr)
{
    static const char *const STATEMENTS[] = {
        SCHEMA_NEXT_MOVE,
        "DROP TABLE " FRESH_CHUNKS_TABLE,
    };
    struct sql sql;
    sql_init(&sql, SQL_BYTES_MAX);
    sql_words(&sql, "DELETE FROM stored_chunks AS old USING " FRESH_CHUNKS_TABLE " AS fresh WHERE ");
    sql_between(&sql, "old.tmin", partitions);
    sql_words(&sql, " AND fresh.series = old.series AND fresh.replaces = old.tmin");
    enum status status = engine_alter(connection, &sql, cancel, NULL, reterr);
    sql_init(&sql, SQL_BYTES_MAX);
    sql_words(&sql, "INSERT INTO stored_chunks SELECT md5_number_lower(metric) AS metric_key, metric, series, tmin, "
                    "tmax, n, pace, drift, value, (SELECT move + 1 FROM moved) FROM " FRESH_CHUNKS_TABLE " ORDER BY ");
    partition_write(&sql, "tmin");
    sql_words(&sql, ", metric_key, series");
    if (status == OK)
        status = engine_alter(connection, &sql, cancel, NULL, reterr);
    else
        sql_release(&sql);
    for (size_t i = 0; status == OK && i < ARRAY_LENGTH(STATEMENTS); i++)
        status = engine_change(connection, STATEMENTS[i], cancel, NULL, reterr);
    return status;
}

static enum status move(struct duckdb_store *store, const struct partitions *chosen, struct error *reterr)
{
    struct compactor *c = &store->compactor;
    enum status status = engine_begin(c->connection, reterr);
    if (status == OK)
        status = engine_end(c->connection, move_rows(store, chosen, reterr), reterr);
    if (status != OK)
        return status;
    atomic_fetch_sub_explicit(&c->recent_n, chosen->rows_n, memory_order_relaxed);
    atomic_fetch_add_explicit(&c->moves_n, 1, memory_order_relaxed);
    return OK;
}

enum status chunks_by_partition(struct compactor *c, struct time_span span, duckdb_result *ret_rows,
                                struct error *reterr)
{
    struct sql sql;
    sql_init(&sql, SQL_BYTES_MAX);
    sql_words(&sql, "SELECT part, sum(n)::BIGINT FROM (SELECT ");
    partition_write(&sql, "tmin");
    sql_words(&sql, " AS part, n FROM chunks() WHERE ");
    sql_between(&sql, "tmin", span);
    sql_words(&sql, ") GROUP BY part ORDER BY part");
    return engine_ask(c->connection, &sql, &c->cancel, ret_rows, reterr);
}

/* Copies the log into the file and drops what is deleted. Appends are held off meanwhile, since the engine refuses a
 * checkpoint beside a transaction that writes; if a reader's old snapshot still needs the rows, a later one drops them.
 */
void compactor_checkpoint(struct duckdb_store *store)
{
    pthread_mutex_lock(&store->writer.lock);
    if (engine_is_damaged(&store->engine) ||
        engine_execute(store->compactor.connection, "CHECKPOINT " ENGINE_CATALOG, NULL) != OK) {
        enum status mended = store_mend(store, NULL);
        (void)mended; /* the log keeps what the file does not have yet; the thread tries again to mend it */
    }
    pthread_mutex_unlock(&store->writer.lock);
}

void compactor_wait(struct duckdb_store *store)
{
    struct compactor *c = &store->compactor;
    atomic_fetch_add(&c->waiting_n, 1);
    pthread_mutex_lock(&c->running);
    atomic_fetch_sub(&c->waiting_n, 1);
}

static uint64_t rows_wanted(const struct compactor *c, uint64_t series_n)
{
    if (c->rows)
        return c->rows;
    return series_n * RECENT_PER_SERIES > RECENT_ROWS ? series_n * RECENT_PER_SERIES : RECENT_ROWS;
}

/* How long it steps aside at most, and for whom: those who read, and those who did a moment ago, for they come back.
 * Not when recent has more than so many times what starts a move. */
#define ASIDE_ROWS_MIN 100000 /* fewer are moved in a moment */
#define ASIDE_MS       INT64_C(500)
#define ASIDE_BACK_US  INT64_C(20000)
#define ASIDE_NAP_US   500
#define ASIDE_ROWS     3

void compactor_step_aside(struct duckdb_store *store, uint64_t rows_n)
{
    struct compactor *c = &store->compactor;
    uint64_t most = ASIDE_ROWS * rows_wanted(c, writer_totals(&store->writer).series_n);
    int64_t until_ms = monotonic_ms() + ASIDE_MS;
    while (rows_n >= ASIDE_ROWS_MIN && engine_is_asked(&store->engine, ASIDE_BACK_US) &&
           atomic_load(&c->waiting_n) == 0 && atomic_load_explicit(&c->recent_n, memory_order_relaxed) < most &&
           cancel_check(&c->cancel, NULL) == OK && monotonic_ms() < until_ms)
        usleep(ASIDE_NAP_US);
}

/* Before a round, so that who waits does not do so for several. */
static void let_others(struct compactor *c)
{
    while (atomic_load(&c->waiting_n) > 0)
        usleep(LET_OTHERS_US);
}

/* The engine may need to be opened again, and the move may be done all the same. */
static void look_after_failure(struct duckdb_store *store)
{
    pthread_mutex_lock(&store->writer.lock);
    enum status known = store_mend(store, NULL);
    if (known == OK)
        known = compactor_recount(&store->compactor, NULL);
    (void)known; /* then the thread mends it, or recent_n is wrong until the next time */
    pthread_mutex_unlock(&store->writer.lock);
}

/* Moves the rows of partitions up to number `last` that are there now; stops after a move when others wait, with
 * *ret_more. The batch is read with `running` held, as long as it counts: late samples of later ones may belong before
 * its rows. */
static enum status compact_until(struct duckdb_store *store, int64_t last, bool *ret_more, struct error *reterr)
{
    struct compactor *c = &store->compactor;
    uint64_t moved_n = 0;
    bool more = false;
    enum status status;
    let_others(c);
    pthread_mutex_lock(&c->running);
    struct partitions chosen = {.batch = writer_totals(&store->writer).batch};
    while (!more && (status = choose(c, last, &chosen, reterr)) == OK && chosen.rows_n > 0) {
        status = disk_check(store, chosen.rows_n * MOVED_ROW_BYTES + CHUNKS_LOG_BYTES, reterr);
        if (status == OK)
            status = move(store, &chosen, reterr);
        if (status != OK)
            break;
        moved_n += chosen.rows_n;
        more = atomic_load(&c->waiting_n) > 0;
    }
    if (moved_n > 0) {
        compactor_step_aside(store, moved_n);
        compactor_checkpoint(store);
    }
    if (status != OK)
        look_after_failure(store);
    pthread_mutex_unlock(&c->running);
    if (status != OK)
        atomic_fetch_add_explicit(&c->failures_n, 1, memory_order_relaxed);
    *ret_more = more;
    return status;
}

/* Rollups of partitions up to number `last`; stops when others wait, with *ret_more. */
static enum status roll_up_until(struct duckdb_store *store, int64_t last, bool *ret_more, struct error *reterr)
{
    struct compactor *c = &store->compactor;
    let_others(c);
    pthread_mutex_lock(&c->running);
    enum status status = rollup_advance(store, partitions_span(last + 1, last + 1).min_ms, ret_more, reterr);
    if (status != OK)
        look_after_failure(store);
    pthread_mutex_unlock(&c->running);
    return status;
}

enum status compactor_run(struct duckdb_store *store, struct error *reterr)
{
    bool more = true;
    enum status status = OK;
    while (status == OK && more)
        status = compact_until(store, INT64_MAX, &more, reterr);
    struct totals totals = writer_totals(&store->writer);
    for (more = totals.samples_n > 0; status == OK && more;)
        status = roll_up_until(store, partition_of(totals.max_ms), &more, reterr);
    return status;
}

/* --- when --- */

static bool has_many(struct duckdb_store *store)
{
    uint64_t recent_n = atomic_load_explicit(&store->compactor.recent_n, memory_order_relaxed);
    return recent_n >= rows_wanted(&store->compactor, writer_totals(&store->writer).series_n);
}

/* The newest partition that is over, by the data's own clock. */
static bool last_closed(struct duckdb_store *store, int64_t *ret_last)
{
    int64_t max_ms = writer_totals(&store->writer).max_ms;
    if (max_ms < INT64_MIN + GRACE_MS + PARTITION_MS)
        return false;
    *ret_last = (max_ms - GRACE_MS) / PARTITION_MS - 1;
    return true;
}

/* Of what has been moved: partitions that are over, and when nothing comes any more, the last one too. */
static enum status roll_up(struct duckdb_store *store, bool quiet, bool *ret_more, struct error *reterr)
{
    struct totals totals = writer_totals(&store->writer);
    int64_t last = partition_of(totals.max_ms);
    if (totals.samples_n == 0 || (!quiet && !last_closed(store, &last)))
        return OK;
    return roll_up_until(store, last, ret_more, reterr);
}

enum heeding {
    NOTHING,
    DAMAGE, /* that the engine is to be opened again cuts it short */
    WORK    /* so do appends */
};

static void wait_for_work(struct duckdb_store *store, int64_t length_ms, enum heeding heeding)
{
    struct compactor *c = &store->compactor;
    struct timespec until;
    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_sec += length_ms / 1000;
    while (!c->stop && !(heeding >= DAMAGE && engine_is_damaged(&store->engine)) && !(heeding == WORK && c->woken)) {
        if (pthread_cond_timedwait(&c->wake, &c->lock, &until) != 0)
            break;
    }
    c->woken = false;
}

/* engine.on_broken */
static void wake_to_mend(void *arg)
{
    struct compactor *c = arg;
    pthread_mutex_lock(&c->lock);
    pthread_cond_signal(&c->wake);
    pthread_mutex_unlock(&c->lock);
}

/* Nothing was written for a while. */
static bool is_quiet(struct duckdb_store *store)
{
    struct compactor *c = &store->compactor;
    uint64_t batch = writer_totals(&store->writer).batch;
    if (batch != c->seen_batch) {
        c->seen_batch = batch;
        c->seen_ms = monotonic_ms();
    }
    return monotonic_ms() - c->seen_ms >= LOOK_EVERY_MS;
}

/* Tells whoever wants to know, unless it was told that a moment ago, or the store is being closed. */
static void tell(struct compactor *c, const char *what, const struct error *error)
{
    int64_t now_ms = monotonic_ms();
    bool same = c->told_what == what && strcmp(c->told.message, error->message) == 0;
    if (!c->on_failure || cancel_check(&c->cancel, NULL) != OK || (same && now_ms - c->told_ms < TELL_EVERY_MS))
        return;
    c->told_what = what;
    c->told = *error;
    c->told_ms = now_ms;
    c->on_failure(c->on_failure_arg, what, error);
}

static bool mend(struct duckdb_store *store)
{
    if (!engine_is_damaged(&store->engine))
        return true;
    pthread_mutex_lock(&store->compactor.running);
    pthread_mutex_lock(&store->writer.lock);
    struct error error = {.status = OK};
    enum status status = store_mend(store, &error);
    pthread_mutex_unlock(&store->writer.lock);
    pthread_mutex_unlock(&store->compactor.running);
    if (status != OK)
        tell(&store->compactor, "the database was not opened again", &error);
    return status == OK;
}

/* One round: moves, retention, rollups, the file's length. Retention comes after a failure, too: what is dropped may be
 * the room that a move lacks. */
static enum status tidy(struct duckdb_store *store, bool quiet, bool *ret_more)
{
    struct compactor *c = &store->compactor;
    struct error error = {.status = OK};
    int64_t last = INT64_MAX;
    enum status status = OK, dropped;
    if (quiet || has_many(store) || last_closed(store, &last))
        status = compact_until(store, last, ret_more, &error);
    if (status != OK)
        tell(c, "samples were not moved into chunks", &error);
    dropped = retention_run(store, &error);
    if (dropped != OK)
        tell(c, "samples that are too old were not dropped", &error);
    if (status == OK && dropped == OK && !*ret_more) {
        status = roll_up(store, quiet, ret_more, &error);
        if (status != OK)
            tell(c, "rollups were not made", &error);
    }
    if (status == OK && dropped == OK && !*ret_more) {
        status = shrink_run(store, quiet, &error);
        if (status != OK)
            tell(c, "the file was not shortened", &error);
    }
    return status == OK ? dropped : status;
}

static void *work(void *arg)
{
    struct duckdb_store *store = arg;
    struct compactor *c = &store->compactor;
    priority_step_behind(PRIORITY_TIDIES);
    enum status preloaded = preload_run(store, NULL);
    (void)preloaded; /* then queries read the chunks themselves */
    pthread_mutex_lock(&c->lock);
    while (!c->stop) {
        pthread_mutex_unlock(&c->lock);
        bool works = mend(store), more = false, quiet = is_quiet(store);
        enum status status = works ? tidy(store, quiet, &more) : OK;
        blocks_rest(&store->engine.budget.blocks, monotonic_ms());
        pthread_mutex_lock(&c->lock);
        /* After a failed move not at once again, or a full disk would see nothing else. */
        if (!c->stop && !more)
            wait_for_work(store, works ? LOOK_EVERY_MS : MEND_EVERY_MS,
                          !works         ? NOTHING
                          : status != OK ? DAMAGE
                                         : WORK);
    }
    pthread_mutex_unlock(&c->lock);
    return NULL;
}

void compactor_appended(struct duckdb_store *store, uint64_t rows_n)
{
    struct compactor *c = &store->compactor;
    atomic_fetch_add_explicit(&c->recent_n, rows_n, memory_order_relaxed);
    if (!has_many(store) && !retention_due(store))
        return;
    pthread_mutex_lock(&c->lock);
    c->woken = true;
    pthread_cond_signal(&c->wake);
    pthread_mutex_unlock(&c->lock);
}

enum status compactor_recount(struct compactor *c, struct error *reterr)
{
    duckdb_result rows;
    enum status status = engine_query(c->connection, "SELECT count(*)::BIGINT FROM recent", false, NULL, &rows, reterr);
    if (status != OK)
        return status;
    atomic_store_explicit(&c->recent_n, (uint64_t)duckdb_value_int64(&rows, 0, 0), memory_order_relaxed);
    duckdb_destroy_result(&rows);
    return OK;
}

enum status compactor_start(struct duckdb_store *store, const struct duckdb_options *options, struct error *reterr)
{
    struct compactor *c = &store->compactor;
    pthread_condattr_t monotonic;
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_cond_init(&c->wake, &monotonic);
    pthread_condattr_destroy(&monotonic);
    pthread_mutex_init(&c->lock, NULL);
    pthread_mutex_init(&c->running, NULL);
    cancel_init(&c->cancel, INT64_MAX);
    c->rows = options->compact_rows;
    c->on_failure = options->on_failure;
    c->on_failure_arg = options->on_failure_arg;
    c->initialised = true;
    enum status status = engine_connect(&store->engine, &c->connection, reterr);
    if (status == OK)
        status = compactor_recount(c, reterr);
    if (status == OK)
        status = rollup_init(store, options->rollups, reterr);
    store->engine.on_broken_arg = c;
    store->engine.on_broken = wake_to_mend;
    if (status == OK && pthread_create(&c->thread, NULL, work, store) != 0)
        status = error_set(reterr, E_NOMEM, "cannot start the storage engine's compaction thread");
    c->started = status == OK;
    if (c->started)
        pthread_setname_np(c->thread, "compact");
    return status;
}

void compactor_stop(struct duckdb_store *store)
{
    struct compactor *c = &store->compactor;
    if (!c->initialised)
        return;
    if (c->started) {
        pthread_mutex_lock(&c->lock);
        c->stop = true;
        pthread_cond_signal(&c->wake);
        pthread_mutex_unlock(&c->lock);
        cancel_fire(&c->cancel, E_CANCELED);
        pthread_join(c->thread, NULL);
    }
    engine_disconnect(c->connection);
    cancel_release(&c->cancel);
    pthread_cond_destroy(&c->wake);
    pthread_mutex_destroy(&c->lock);
    pthread_mutex_destroy(&c->running);
    *c = (struct compactor){.initialised = false};
}
