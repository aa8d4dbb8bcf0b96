/* backend/duckdb/disk.c: what happens when the disk does not take a write.
 *
 * The engine (1.4) answers a write that fails with an error and takes the transaction back. But when rows that were
 * written ahead of the commit cannot be, or a checkpoint fails, it declares the whole instance invalid, and refuses
 * reads too until it is opened again. When a commit fails it does not, and should: appended lists and texts are taken
 * back by half (RowGroupCollection::RevertAppendInternal), and what is appended next to the same rows in memory has
 * the leftovers in it, as have the chunks made of that. What was committed before is on disk in all cases. Hence:
 *
 *   - nothing is written when less than a certain part of the disk would stay free, or when the log cannot have what
 *     the commit will need of it, so that the engine does not come to its end in the ordinary case; readers notice
 *     nothing, and writes go on as soon as there is space;
 *   - where that does not help (the file's own growth, a disk that fails, somebody else who is quicker), the database
 *     is closed and opened again under its connections, once readers have given theirs back. An invalid engine fails
 *     them at once. After a failed commit what they read is right: they go on until there is space to open the
 *     database again, and only those that then take long are stopped;
 *   - after a failed commit nothing else is committed before that, and closing writes no checkpoint;
 *   - after a write that failed, writes are refused for a while, longer each time, so that senders who repeat do not
 *     make the engine fail as often as they ask.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "backend/duckdb/functions.h"
#include "backend/duckdb/store.h"

/* With less a disk is full. Reading the log seldom adds more to the file, which then waits for more space. */
#define OPENING_BYTES (UINT64_C(8) << 20)

#define PAUSE_FIRST_MS INT64_C(250)
#define PAUSE_LAST_MS  INT64_C(30000)

/* Makes the log's next bytes its own on the disk, beyond its end; what was so before counts, until a checkpoint empties
 * the log. Returns why the disk does not let it; on file systems that cannot say, or without a log, 0. Closing it lets
 * go of the engine's lock on the log; the lock that keeps other processes out is the one on the database file. */
static int reserve_log(const struct duckdb_store *store, uint64_t bytes, uint64_t *ret_held)
{
    char path[4096];
    struct stat log;
    struct rlimit limit;
    snprintf(path, sizeof path, "%s/" ENGINE_FILE ".wal", store->directory);
    int file = open(path, O_WRONLY | O_CLOEXEC), refusal = 0;
    if (file < 0)
        return 0;
    if (fstat(file, &log) != 0)
        log = (struct stat){.st_size = 0};
    uint64_t held = *ret_held = (uint64_t)log.st_size;
    if (getrlimit(RLIMIT_FSIZE, &limit) == 0 && limit.rlim_cur < held + bytes)
        refusal = EFBIG;
    else if ((uint64_t)log.st_blocks * 512 < held + bytes &&
             fallocate(file, FALLOC_FL_KEEP_SIZE, log.st_size, (off_t)bytes) != 0)
        refusal = errno;
    close(file);
    return refusal == EFBIG || refusal == ENOSPC || refusal == EDQUOT ? refusal : 0;
}

enum status disk_check(const struct duckdb_store *store, uint64_t bytes, struct error *reterr)
{
    struct statvfs disk;
    uint64_t wanted = store->options.min_free_bytes + bytes, held_bytes;
    if (!store->directory || store->options.min_free_bytes == 0 || statvfs(store->directory, &disk) != 0)
        return OK;
    uint64_t free_bytes = (uint64_t)disk.f_bavail * disk.f_frsize;
    if (free_bytes < wanted)
        return error_set(reterr, E_UNAVAILABLE,
                         "no space for writes: the disk of %s has %" PRIu64 " bytes free, %" PRIu64
                         " bytes are asked for and %" PRIu64 " must stay free",
                         store->directory, free_bytes, bytes, store->options.min_free_bytes);
    int refusal = reserve_log(store, bytes, &held_bytes);
    if (refusal)
        return error_set(reterr, E_UNAVAILABLE,
                         "no space for writes: the log in %s has %" PRIu64 " bytes, %" PRIu64 " more are asked for: %s",
                         store->directory, held_bytes, bytes, strerror(refusal));
    return OK;
}

enum status pause_check(const struct write_pause *pause, struct error *reterr)
{
    int64_t left_ms = pause->length_ms ? pause->until_ms - monotonic_ms() : 0;
    if (left_ms <= 0)
        return OK;
    return error_set(reterr, E_UNAVAILABLE, "the store could not be written and is tried again in %" PRId64 " ms: %s",
                     left_ms, pause->failure.message);
}

void pause_begin(struct write_pause *pause, const struct error *failure)
{
    pause->length_ms = pause->length_ms ? 2 * pause->length_ms : PAUSE_FIRST_MS;
    if (pause->length_ms > PAUSE_LAST_MS)
        pause->length_ms = PAUSE_LAST_MS;
    pause->until_ms = monotonic_ms() + pause->length_ms;
    pause->failure = *failure;
}

void pause_end(struct write_pause *pause)
{
    pause->length_ms = 0;
}

/* Whether there is space for the database to be opened again: rows that are read from the log may be written into the
 * file. */
static enum status check_opening(const struct duckdb_store *store, struct error *reterr)
{
    struct statvfs disk;
    struct rlimit limit;
    uint64_t held = store_file_bytes(store), left = UINT64_MAX;
    if (getrlimit(RLIMIT_FSIZE, &limit) == 0 && limit.rlim_cur != RLIM_INFINITY)
        left = limit.rlim_cur > held ? limit.rlim_cur - held : 0;
    if (statvfs(store->directory, &disk) == 0 && (uint64_t)disk.f_bavail * disk.f_frsize < left)
        left = (uint64_t)disk.f_bavail * disk.f_frsize;
    if (left >= OPENING_BYTES)
        return OK;
    return error_set(reterr, E_UNAVAILABLE,
                     "no space to open the store again after a write that failed: it may need %" PRIu64
                     " bytes, and the disk of %s lets it have %" PRIu64,
                     OPENING_BYTES, store->directory, left);
}

enum status store_mend(struct duckdb_store *store, struct error *reterr)
{
    struct engine *engine = &store->engine;
    /* What fails need not be what says that nothing works any more; the next statement says it. */
    enum status status =
        engine_is_damaged(engine) ? E_STORE : engine_execute(store->writer.connection, "SELECT 1", reterr);
    if (status == OK) {
        atomic_store(&engine->suspect, true);
        return OK;
    }
    if (!engine_is_damaged(engine))
        return error_set(reterr, E_STORE, "the storage engine does not answer");
    if (!store->directory)
        return error_set(reterr, E_STORE, "the storage engine has failed, and a store in memory is gone with it");
    /* As long as reads work, nothing is risked. */
    status = atomic_load(&engine->broken) ? OK : check_opening(store, reterr);
    if (status != OK)
        return status;
    engine_shut(engine); /* first: statements of the pool may match regular expressions */
    regex_pause(&store->regex);
    status = engine_start(engine, &store->options, reterr);
    if (status == OK)
        status = functions_register(engine, store->writer.connection, reterr);
    if (status == OK)
        status = functions_register_series(&store->functions, store->writer.connection, reterr);
    enum status resumed = regex_resume(&store->regex, status == OK ? reterr : NULL);
    status = status == OK ? resumed : status;
    if (status == OK)
        status = compactor_recount(&store->compactor, reterr);
    if (status == OK)
        atomic_fetch_add_explicit(&store->reopens_n, 1, memory_order_relaxed);
    engine_serve(engine, status == OK);
    return status;
}
