/* backend/duckdb/engine.h: the database, its connections, and running a statement that can be stopped.
 *
 * A connection runs one statement at a time; every call of the backend takes its own from the pool and gives it back.
 * duckdb_interrupt may come from any thread, all else on a connection from the thread that holds it (tested with
 * libduckdb 1.4 by tests/unit/backend/test_duckdb_threads.c).
 *
 * Memory of the window, fold and row functions is not the engine's own, so it is counted against a budget here, and
 * swept when a statement did not run to its end (budget.h). Only connections of the pool run those functions.
 */
#ifndef PROMSPLIT_BACKEND_DUCKDB_ENGINE_H
#define PROMSPLIT_BACKEND_DUCKDB_ENGINE_H

#include <duckdb.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <time.h>

#include "backend/duckdb/budget.h"
#include "backend/duckdb/duckdb_backend.h"
#include "base/cancel.h"
#include "base/error.h"
#include "base/str.h"
#include "planner/sql.h"

/* The engine runs our functions on its own threads and orders their work among themselves and with ours, by means that
 * a thread sanitizer does not see in an uninstrumented library. These two tell it: what was done before ENGINE_GIVES on
 * any thread is seen after ENGINE_TAKES on any other. Other builds need nothing. */
#ifdef __SANITIZE_THREAD__
#    include <sanitizer/tsan_interface.h>
extern char engine_handover;
#    define ENGINE_GIVES() __tsan_release(&engine_handover)
#    define ENGINE_TAKES() __tsan_acquire(&engine_handover)
#else
#    define ENGINE_GIVES() ((void)0)
#    define ENGINE_TAKES() ((void)0)
#endif

static inline int64_t engine_clock_us(void) /* monotonic */
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000000 + now.tv_nsec / 1000;
}

/* Rows of a row group: what the engine reads or skips as one. A row of chunks is some hundred samples, so the engine's
 * default of 122880 would make every query read nearly all of a small store and leave threads without work. */
#define ENGINE_ROW_GROUP "4096"

#define ENGINE_CATALOG "store"            /* the database's name in SQL; every connection uses it */
#define ENGINE_FILE    "promsplit.duckdb" /* in the storage directory; its log is beside it, named .wal */

/* What functions say when they refuse for size; engine_error recognises it. */
#define ENGINE_TOO_MANY_SAMPLES "query processing would load too many samples into memory in query execution"

/* What functions say when PromQL itself fails over the data starts with this; the rest is E_EXECUTION's message. */
#define ENGINE_PROMQL_FAILS "promql: "

struct engine;

#define CONNECTION_KEPT_MAX 2

struct kept_statement {
    const char *sql; /* NULL: none */
    duckdb_prepared_statement prepared;
};

struct connection {
    duckdb_connection handle; /* NULL while the database could not be opened again */
    struct engine *engine;
    struct connection *next;           /* in the pool */
    uint64_t epoch;                    /* of the budget, when it left the pool; 0: it is there, or never was */
    bool streaming;                    /* not all rows of the last statement are read */
    bool unfinished;                   /* so it was of one before, or one failed */
    struct connection *before, *after; /* among all of the engine's */
    struct kept_statement kept[CONNECTION_KEPT_MAX];
};

struct engine {
    duckdb_database database;
    struct budget budget;
    pthread_mutex_t lock; /* guards what follows; never held while the engine works */
    pthread_cond_t freed; /* a connection came back, a waiter's query was cancelled, or the engine serves again */
    struct connection *idle;
    struct connection *all; /* those out of the pool as well */
    unsigned open_n, open_max;
    _Atomic unsigned out_n;          /* of the pool; changed under the lock */
    _Atomic int64_t back_us;         /* when the last one came back, by engine_clock_us */
    bool shut;                       /* no connection is given out */
    uint64_t forgotten_to, swept_to; /* epochs of the budget: what the engine may have forgotten, what is swept */

    /* What calls for opening the database again (disk.c). Set by whoever meets it, with a call of on_broken, if there
     * is one; cleared by engine_serve. */
    _Atomic bool broken;        /* the engine refuses all work: a write failed in the wrong place */
    _Atomic bool stale;         /* a commit failed: what is read is right, but nothing may be written */
    pthread_mutex_t committing; /* held while a transaction that writes is committed; after a failed one none is */
    /* A write failed since the database was opened. What the engine then calls an internal error is what that left
     * behind in its memory; such an error counts as broken, too. Cleared by engine_serve. */
    _Atomic bool suspect;
    void (*on_broken)(void *arg); /* from any thread; set before there are others */
    void *on_broken_arg;
};

MUST_USE enum status engine_open(struct engine *engine, const struct duckdb_options *options, struct error *reterr);
void engine_close(struct engine *engine); /* no connection may be out; a zeroed engine is fine */

/* Closes the database and opens it again under its connections, which stay valid: first engine_shut, which waits until
 * all of the pool are back, and stops statements that take long with E_UNAVAILABLE, then engine_start, which forgets
 * registered functions and prepared statements, then engine_serve. The caller sees to it that nobody uses connections
 * outside the pool. If engine_start fails, the connections stay, and say E_UNAVAILABLE to all that is asked of them. */
void engine_shut(struct engine *engine);
MUST_USE enum status engine_start(struct engine *engine, const struct duckdb_options *options, struct error *reterr);
void engine_serve(struct engine *engine, bool works);

/* A connection of the pool; waits for one until cancel stops it. While the engine is broken: E_UNAVAILABLE after some
 * seconds at most, for the caller may hold another one that engine_shut waits for. */
MUST_USE enum status engine_acquire(struct engine *engine, struct cancel *cancel, struct connection **ret_connection,
                                    struct error *reterr);
void engine_release(struct engine *engine, struct connection *connection); /* NULL is fine */

/* Whether a connection of the pool is out, or was not that long ago: somebody reads. Any thread, at any time. */
bool engine_is_asked(const struct engine *engine, int64_t within_us);

/* A connection outside the pool, for the backend's own use; closed with engine_disconnect (NULL is fine). */
MUST_USE enum status engine_connect(struct engine *engine, struct connection **ret_connection, struct error *reterr);
void engine_disconnect(struct connection *connection);

/* Runs one statement. *ret_result is to be destroyed after OK only. `streaming`: rows come with duckdb_fetch_chunk as
 * the engine makes them, else all are there when this returns. */
MUST_USE enum status engine_query(struct connection *connection, const char *sql, bool streaming, struct cancel *cancel,
                                  duckdb_result *ret_result, struct error *reterr);

/* engine_query, not streaming, and engine_change of a statement that was built, which they release. */
MUST_USE enum status engine_ask(struct connection *connection, struct sql *sql, struct cancel *cancel,
                                duckdb_result *ret_result, struct error *reterr);
MUST_USE enum status engine_alter(struct connection *connection, struct sql *sql, struct cancel *cancel,
                                  uint64_t *ret_rows_n, struct error *reterr);

/* Runs a statement that gives no rows of interest. */
MUST_USE enum status engine_execute(struct connection *connection, const char *sql, struct error *reterr);

/* The same of a constant, planned once for each connection, of which a connection has CONNECTION_KEPT_MAX at most: a
 * fraction of the time. Not for a statement with a condition: the plan may rest on the tables' bounds of the first
 * time, nor for one with variables, which are numbers in it. */
MUST_USE enum status engine_execute_kept(struct connection *connection, const char *sql, struct error *reterr);

/* Runs a statement that writes or deletes rows; *ret_rows_n: how many. It may be NULL. */
MUST_USE enum status engine_change(struct connection *connection, const char *sql, struct cancel *cancel,
                                   uint64_t *ret_rows_n, struct error *reterr);

/* Bytes of the file's blocks that hold something; deleted rows count until a checkpoint. 0 in memory. */
MUST_USE enum status engine_used_bytes(struct connection *connection, uint64_t *ret_bytes, struct error *reterr);

/* Rows of a table, those included that are deleted and not given back yet. Outside a transaction. */
MUST_USE enum status engine_table_rows(struct connection *connection, const char *table, uint64_t *ret_rows_n,
                                       struct error *reterr);

/* Whether the database is to be opened again before anything is written. */
bool engine_is_damaged(const struct engine *engine);

/* What rows that do not fit together mean, as *reterr tells with E_INTERNAL: if a commit that fails beside the reader
 * has taken some of them back, it is told to come again, E_UNAVAILABLE. */
MUST_USE enum status engine_contradicts(struct connection *connection, struct error *reterr);

/* A transaction: engine_end commits if all went well so far, else rolls back; returns the first failure. If the commit
 * itself fails the engine is stale, and until it is opened again nothing is committed: E_UNAVAILABLE.
 * engine_end_reading is for transactions that wrote nothing, and does not wait for those that do. */
MUST_USE enum status engine_begin(struct connection *connection, struct error *reterr);
MUST_USE enum status engine_end(struct connection *connection, enum status so_far, struct error *reterr);
MUST_USE enum status engine_end_reading(struct connection *connection, enum status so_far, struct error *reterr);

/* The next chunk of a result, or NULL at its end; for engine_chunk_free. */
MUST_USE enum status engine_fetch(struct connection *connection, duckdb_result *result, struct cancel *cancel,
                                  duckdb_data_chunk *ret_chunk, struct error *reterr);

/* Its memory is the engine's again, which may give it to any thread. */
void engine_chunk_free(duckdb_data_chunk *chunk);

/* Turns the engine's message into ours: cancellation by its reason, refusals for size, memory, E_UNAVAILABLE when the
 * engine refuses all work, else E_STORE. */
enum status engine_error(const char *message, struct cancel *cancel, struct error *reterr);

#endif
