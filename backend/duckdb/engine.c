/* backend/duckdb/engine.c: see engine.h. */
#include "backend/duckdb/engine.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/assert.h"
#include "planner/sql.h"

/* When all work of a statement is with the engine's own threads, asking for a task is answered at once: so many quick
 * answers in a row, and the caller sleeps a little between the next ones. */
#define QUICK_US     10
#define QUICK_IN_ROW 32u
#define NAP_US       20

/* How long a caller waits for an engine that is being opened again, and how long that lets statements under way go on
 * before it stops them. */
#define BROKEN_WAIT_MS INT64_C(5000)
#define SHUT_GRACE_MS  INT64_C(1000)
#define SHUT_AGAIN_MS  INT64_C(50)

#define BROKEN_WORDS "the store is being opened again after a write that failed"

#ifdef __SANITIZE_THREAD__
char engine_handover;
#endif

/* --- opening --- */

/* Settings:
 *   checkpoint_threshold    commits copy the log into the file once it has grown this far. Small values stall writers
 *                           often, large ones make start-up after a crash longer (replay runs at about 100 MB/s).
 *   preserve_insertion_order  nobody asks for it, and scans need less memory without.
 *   extensions              none is needed; switched off so that no query can reach the network.
 *   temp_directory          beside the database file.
 * Closing does not write a checkpoint (attach says so): engine_close asks for one, engine_shut must not have any.
 */
static enum status configure(duckdb_config config, const struct duckdb_options *options, const char *temporary,
                             struct error *reterr)
{
    char threads[24], memory[32];
    snprintf(threads, sizeof threads, "%u", options->threads);
    snprintf(memory, sizeof memory, "%" PRIu64 "KiB", options->memory_max_bytes / 1024);
    const char *settings[][2] = {
        {"checkpoint_threshold", "128MiB"},
        {"preserve_insertion_order", "false"},
        {"autoinstall_known_extensions", "false"},
        {"autoload_known_extensions", "false"},
        {"threads", options->threads ? threads : NULL},
        {"memory_limit", options->memory_max_bytes ? memory : NULL},
        {"temp_directory", temporary},
    };
    for (size_t i = 0; i < ARRAY_LENGTH(settings); i++) {
        if (settings[i][1] && duckdb_set_config(config, settings[i][0], settings[i][1]) != DuckDBSuccess)
            return error_set(reterr, E_STORE, "cannot set %s of the storage engine to %s", settings[i][0],
                             settings[i][1]);
    }
    return OK;
}

/* Half of the machine's memory when nothing is said. */
static uint64_t default_budget_bytes(void)
{
    long pages = sysconf(_SC_PHYS_PAGES), page_bytes = sysconf(_SC_PAGESIZE);
    return pages > 0 && page_bytes > 0 ? (uint64_t)pages * (uint64_t)page_bytes / 2 : UINT64_C(1) << 30;
}

static enum status database_path(const struct duckdb_options *options, const char *ending, char *path, size_t size,
                                 struct error *reterr)
{
    if ((size_t)snprintf(path, size, "%s/" ENGINE_FILE "%s", options->directory, ending) >= size)
        return error_set(reterr, E_STORE, "the path of the storage directory is longer than %zu bytes", size);
    return OK;
}

static enum status make_directory(const char *directory, struct error *reterr)
{
    if (directory && mkdir(directory, 0777) != 0 && errno != EEXIST)
        return error_set(reterr, E_STORE, "cannot make the storage directory %s: %s", directory, strerror(errno));
    return OK;
}

/* The database is attached to an instance that is otherwise empty: only so can its row groups be given a size. Then
 * files out of it are put out of reach of all SQL. */
static enum status attach(struct engine *engine, const char *path, struct error *reterr)
{
    duckdb_connection connection = NULL;
    if (duckdb_connect(engine->database, &connection) != DuckDBSuccess)
        return error_set(reterr, E_STORE, "cannot connect to the storage engine");
    struct sql sql;
    sql_init(&sql, SQL_BYTES_MAX);
    sql_words(&sql, "ATTACH ");
    sql_string(&sql, str_from(path));
    sql_words(&sql, " AS " ENGINE_CATALOG " (ROW_GROUP_SIZE " ENGINE_ROW_GROUP ", STORAGE_VERSION 'v1.4.0')");
    enum status status = sql_status(&sql, reterr);
    duckdb_result result = {.internal_data = NULL};
    if (status == OK && duckdb_query(connection, strbuf_view(&sql.text).ptr, &result) != DuckDBSuccess)
        status = error_set(reterr, E_STORE, "cannot open the database %s: %s", path, duckdb_result_error(&result));
    duckdb_destroy_result(&result);
    static const char *const SETTINGS[] = {"SET enable_external_access = false",
                                           "PRAGMA disable_checkpoint_on_shutdown"};
    for (size_t i = 0; status == OK && i < ARRAY_LENGTH(SETTINGS); i++) {
        if (duckdb_query(connection, SETTINGS[i], &result) != DuckDBSuccess)
            status = error_set(reterr, E_STORE, "cannot set up the storage engine: %s", duckdb_result_error(&result));
        duckdb_destroy_result(&result);
    }
    sql_release(&sql);
    duckdb_disconnect(&connection);
    return status;
}

static enum status open_database(struct engine *engine, const struct duckdb_options *options, struct error *reterr)
{
    char path[4096] = ":memory:", temporary[4096] = "";
    enum status status = make_directory(options->directory, reterr);
    if (status == OK && options->directory)
        status = database_path(options, "", path, sizeof path, reterr);
    if (status == OK && options->directory)
        status = database_path(options, ".tmp", temporary, sizeof temporary, reterr);
    duckdb_config config = NULL;
    if (status == OK && duckdb_create_config(&config) != DuckDBSuccess)
        status = error_set(reterr, E_NOMEM, "cannot make the storage engine's configuration");
    if (status == OK)
        status = configure(config, options, options->directory ? temporary : NULL, reterr);
    char *message = NULL;
    if (status == OK && duckdb_open_ext(NULL, &engine->database, config, &message) != DuckDBSuccess)
        status =
            error_set(reterr, E_STORE, "cannot start the storage engine: %s", message ? message : "no reason given");
    duckdb_free(message);
    duckdb_destroy_config(&config);
    return status == OK ? attach(engine, path, reterr) : status;
}

enum status engine_open(struct engine *engine, const struct duckdb_options *options, struct error *reterr)
{
    *engine = (struct engine){.open_max = options->connections_max ? options->connections_max : 1};
    budget_init(&engine->budget, options->memory_max_bytes ? options->memory_max_bytes : default_budget_bytes());
    pthread_condattr_t monotonic;
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_cond_init(&engine->freed, &monotonic);
    pthread_condattr_destroy(&monotonic);
    pthread_mutex_init(&engine->lock, NULL);
    pthread_mutex_init(&engine->committing, NULL);

    enum status status = open_database(engine, options, reterr);
    if (status != OK)
        engine_close(engine);
    return status;
}

/* Copies the log into the file, so that the next start need not read it; if that fails, it does. */
static void checkpoint(struct engine *engine)
{
    duckdb_connection connection = NULL;
    duckdb_result result;
    if (duckdb_connect(engine->database, &connection) != DuckDBSuccess)
        return;
    duckdb_query(connection, "CHECKPOINT " ENGINE_CATALOG, &result);
    duckdb_destroy_result(&result);
    duckdb_disconnect(&connection);
}

void engine_close(struct engine *engine)
{
    if (!engine->open_max)
        return;
    while (engine->idle) {
        struct connection *connection = engine->idle;
        engine->idle = connection->next;
        engine_disconnect(connection);
        engine->open_n--;
    }
    PRE(engine->open_n == 0 && !engine->all);
    if (engine->database && !engine_is_damaged(engine))
        checkpoint(engine);
    if (engine->database)
        duckdb_close(&engine->database);
    budget_release(&engine->budget);
    pthread_mutex_destroy(&engine->lock);
    pthread_mutex_destroy(&engine->committing);
    pthread_cond_destroy(&engine->freed);
    engine->open_max = 0;
}

/* --- connections --- */

static void wake_waiters(void *arg)
{
    struct engine *engine = arg;
    pthread_mutex_lock(&engine->lock);
    pthread_cond_broadcast(&engine->freed);
    pthread_mutex_unlock(&engine->lock);
}

static void wait_until(struct engine *engine, int64_t deadline_ms)
{
    if (deadline_ms == INT64_MAX) {
        pthread_cond_wait(&engine->freed, &engine->lock);
        return;
    }
    struct timespec until = {.tv_sec = deadline_ms / 1000, .tv_nsec = deadline_ms % 1000 * 1000000};
    pthread_cond_timedwait(&engine->freed, &engine->lock, &until);
}

static enum status connect(struct connection *connection, struct error *reterr)
{
    connection->epoch = 0;
    connection->unfinished = connection->streaming = false;
    if (duckdb_connect(connection->engine->database, &connection->handle) != DuckDBSuccess)
        return error_set(reterr, E_STORE, "cannot connect to the storage engine");
    return engine_execute(connection, "USE " ENGINE_CATALOG, reterr);
}

enum status engine_connect(struct engine *engine, struct connection **ret_connection, struct error *reterr)
{
    struct connection *connection = calloc(1, sizeof *connection);
    if (!connection)
        return error_set(reterr, E_NOMEM, "no memory for a connection to the storage engine");
    connection->engine = engine;
    pthread_mutex_lock(&engine->lock);
    connection->after = engine->all;
    if (engine->all)
        engine->all->before = connection;
    engine->all = connection;
    pthread_mutex_unlock(&engine->lock);
    enum status status = connect(connection, reterr);
    if (status == OK)
        *ret_connection = connection;
    else
        engine_disconnect(connection);
    return status;
}

static void end_session(struct connection *connection)
{
    for (size_t i = 0; i < CONNECTION_KEPT_MAX; i++) {
        duckdb_destroy_prepare(&connection->kept[i].prepared);
        connection->kept[i].sql = NULL;
    }
    duckdb_disconnect(&connection->handle);
}

void engine_disconnect(struct connection *connection)
{
    if (!connection)
        return;
    struct engine *engine = connection->engine;
    pthread_mutex_lock(&engine->lock);
    *(connection->before ? &connection->before->after : &engine->all) = connection->after;
    if (connection->after)
        connection->after->before = connection->before;
    pthread_mutex_unlock(&engine->lock);
    end_session(connection);
    free(connection);
}

/* Under the lock: until the engine serves and has a connection for us. */
static enum status wait_for_turn(struct engine *engine, struct cancel *cancel, struct error *reterr)
{
    int64_t deadline_ms = cancel ? cancel->deadline_ms : INT64_MAX, broken_until_ms = 0;
    enum status status;
    while ((status = cancel_check(cancel, reterr)) == OK) {
        bool broken = engine->shut || atomic_load(&engine->broken);
        if (!broken && (engine->idle || engine->open_n < engine->open_max))
            return OK;
        if (broken && !broken_until_ms)
            broken_until_ms = monotonic_ms() + BROKEN_WAIT_MS;
        if (broken && monotonic_ms() >= broken_until_ms)
            return error_set(reterr, E_UNAVAILABLE, BROKEN_WORDS);
        wait_until(engine, broken && broken_until_ms < deadline_ms ? broken_until_ms : deadline_ms);
    }
    return status;
}

enum status engine_acquire(struct engine *engine, struct cancel *cancel, struct connection **ret_connection,
                           struct error *reterr)
{
    struct cancel_hook hook = {.interrupt = wake_waiters, .arg = engine};
    if (cancel)
        cancel_set_hook(cancel, &hook);
    struct connection *connection = NULL;
    pthread_mutex_lock(&engine->lock);
    enum status status = wait_for_turn(engine, cancel, reterr);
    bool may_open = false;
    engine->out_n += status == OK;
    if (status == OK && engine->idle) {
        connection = engine->idle;
        engine->idle = connection->next;
    } else if (status == OK) {
        may_open = true;
        engine->open_n++;
    }
    pthread_mutex_unlock(&engine->lock);
    if (cancel)
        cancel_clear_hook(cancel, &hook);
    if (may_open) {
        status = engine_connect(engine, &connection, reterr);
        if (status != OK) {
            pthread_mutex_lock(&engine->lock);
            engine->open_n--;
            engine->out_n--;
            pthread_cond_broadcast(&engine->freed);
            pthread_mutex_unlock(&engine->lock);
        }
    }
    if (status == OK) {
        pthread_mutex_lock(&engine->lock);
        connection->epoch = atomic_load(&engine->budget.epoch);
        pthread_mutex_unlock(&engine->lock);
        *ret_connection = connection;
    }
    return status;
}

/* The engine lets go of a statement that was given up when the next one begins. */
static bool finish(struct connection *connection)
{
    duckdb_result result;
    bool done = connection->handle && duckdb_query(connection->handle, "SELECT 1", &result) == DuckDBSuccess;
    if (connection->handle)
        duckdb_destroy_result(&result);
    return done;
}

/* Under the lock: the epoch that all statements under way began in, or after. */
static uint64_t oldest_epoch(const struct engine *engine)
{
    uint64_t oldest = atomic_load(&engine->budget.epoch);
    for (const struct connection *connection = engine->all; connection; connection = connection->after) {
        if (connection->epoch && connection->epoch < oldest)
            oldest = connection->epoch;
    }
    return oldest;
}

void engine_release(struct engine *engine, struct connection *connection)
{
    if (!connection)
        return;
    bool given_up = connection->unfinished || connection->streaming;
    bool finished = !given_up || finish(connection);
    uint64_t sweep_to = 0;
    connection->unfinished = connection->streaming = false;
    pthread_mutex_lock(&engine->lock);
    if (finished)
        connection->epoch = 0; /* else it is in the way until the database is opened again */
    if (given_up)
        engine->forgotten_to = atomic_fetch_add(&engine->budget.epoch, 1) + 1;
    if (engine->forgotten_to > engine->swept_to) {
        sweep_to = oldest_epoch(engine);
        sweep_to = sweep_to > engine->swept_to ? sweep_to : 0;
        engine->swept_to = sweep_to ? sweep_to : engine->swept_to;
    }
    connection->next = engine->idle;
    engine->idle = connection;
    engine->out_n--;
    atomic_store_explicit(&engine->back_us, engine_clock_us(), memory_order_relaxed);
    pthread_cond_broadcast(&engine->freed); /* a waiter, and engine_shut */
    pthread_mutex_unlock(&engine->lock);
    ENGINE_TAKES();
    if (sweep_to)
        budget_sweep(&engine->budget, sweep_to);
}

bool engine_is_asked(const struct engine *engine, int64_t within_us)
{
    return atomic_load_explicit(&engine->out_n, memory_order_relaxed) > 0 ||
           engine_clock_us() - atomic_load_explicit(&engine->back_us, memory_order_relaxed) < within_us;
}

/* --- opening again --- */

void engine_shut(struct engine *engine)
{
    int64_t until_ms = monotonic_ms() + SHUT_GRACE_MS;
    pthread_mutex_lock(&engine->lock);
    atomic_store(&engine->broken, true);
    engine->shut = true;
    while (engine->out_n > 0) {
        wait_until(engine, until_ms);
        if (monotonic_ms() < until_ms)
            continue;
        for (struct connection *connection = engine->all; connection; connection = connection->after) {
            if (connection->epoch)
                duckdb_interrupt(connection->handle);
        }
        until_ms = monotonic_ms() + SHUT_AGAIN_MS;
    }
    for (struct connection *connection = engine->all; connection; connection = connection->after)
        end_session(connection);
    pthread_mutex_unlock(&engine->lock);
    duckdb_close(&engine->database);
}

enum status engine_start(struct engine *engine, const struct duckdb_options *options, struct error *reterr)
{
    enum status status = open_database(engine, options, reterr);
    for (struct connection *connection = engine->all; status == OK && connection; connection = connection->after)
        status = connect(connection, reterr);
    return status;
}

void engine_serve(struct engine *engine, bool works)
{
    pthread_mutex_lock(&engine->lock);
    engine->shut = false;
    atomic_store(&engine->broken, !works);
    atomic_store(&engine->stale, false);
    atomic_store(&engine->suspect, false);
    pthread_cond_broadcast(&engine->freed);
    pthread_mutex_unlock(&engine->lock);
}

/* --- statements --- */

static bool is_refusal_of_all(const char *message)
{
    return message && (strncmp(message, "FATAL", 5) == 0 || strstr(message, "database has been invalidated"));
}

bool engine_is_damaged(const struct engine *engine)
{
    return atomic_load(&engine->broken) || atomic_load(&engine->stale);
}

static void declare(struct engine *engine, _Atomic bool *damage)
{
    if (!atomic_exchange(damage, true) && engine->on_broken)
        engine->on_broken(engine->on_broken_arg);
}

static bool is_damage(const struct engine *engine, const char *message)
{
    return message && atomic_load(&engine->suspect) && strncmp(message, "INTERNAL", 8) == 0;
}

enum status engine_error(const char *message, struct cancel *cancel, struct error *reterr)
{
    if (cancel_check(cancel, reterr) != OK)
        return cancel_check(cancel, NULL);
    if (!message)
        message = "no reason given";
    if (strncmp(message, "INTERRUPT", 9) == 0)
        return error_set(reterr, E_CANCELED, "query was canceled in expression evaluation");
    const char *too_many = strstr(message, ENGINE_TOO_MANY_SAMPLES);
    if (too_many)
        return error_set(reterr, E_LIMIT, "%s", too_many);
    if (is_refusal_of_all(message))
        return error_set(reterr, E_UNAVAILABLE, BROKEN_WORDS);
    int first_line = (int)strcspn(message, "\n");
    const char *fails = strstr(message, ENGINE_PROMQL_FAILS);
    if (fails && fails < message + first_line)
        return error_set(reterr, E_EXECUTION, "%.*s", (int)strcspn(fails, "\n"), fails);
    enum status status = strncmp(message, "Out of Memory", 13) == 0 ? E_NOMEM : E_STORE;
    return error_set(reterr, status, "storage engine: %.*s", first_line, message);
}

/* Whether the engine is damaged once the commit that is under way, if one is, has ended. */
static bool turns_out_damaged(struct engine *engine)
{
    pthread_mutex_lock(&engine->committing);
    bool damaged = engine_is_damaged(engine);
    pthread_mutex_unlock(&engine->committing);
    return damaged;
}

enum status engine_contradicts(struct connection *connection, struct error *reterr)
{
    return turns_out_damaged(connection->engine) ? error_set(reterr, E_UNAVAILABLE, BROKEN_WORDS) : E_INTERNAL;
}

/* Why a statement of the connection failed: it may be a commit that fails beside it, or engine_shut. */
static enum status failure(struct connection *connection, const char *message, struct cancel *cancel,
                           struct error *reterr)
{
    if (is_damage(connection->engine, message) || is_refusal_of_all(message))
        declare(connection->engine, &connection->engine->broken);
    enum status status = engine_error(message, cancel, reterr);
    bool is_own = status != E_STORE && (status != E_CANCELED || cancel_check(cancel, NULL) != OK);
    if (is_own || !turns_out_damaged(connection->engine))
        return status;
    return error_set(reterr, E_UNAVAILABLE, BROKEN_WORDS);
}

static void interrupt(void *arg)
{
    struct connection *connection = arg;
    duckdb_interrupt(connection->handle);
}

/* Works on the statement until its result is ready. The engine forgets an interrupt that comes before a statement is
 * pending, and it has no deadline of its own; hence both are looked after here, between its tasks. */
static enum status work_until_ready(struct connection *connection, duckdb_pending_result pending, struct cancel *cancel,
                                    struct error *reterr)
{
    bool stopped = false;
    unsigned quick = 0;
    for (;;) {
        if (!stopped && cancel_check(cancel, NULL) != OK) {
            duckdb_interrupt(connection->handle);
            stopped = true;
        }
        int64_t began_us = engine_clock_us();
        duckdb_pending_state state = duckdb_pending_execute_task(pending);
        if (state == DUCKDB_PENDING_RESULT_READY)
            return OK;
        if (state == DUCKDB_PENDING_ERROR)
            return failure(connection, duckdb_pending_error(pending), cancel, reterr);
        quick = engine_clock_us() - began_us < QUICK_US ? quick + 1 : 0;
        if (quick > QUICK_IN_ROW)
            usleep(NAP_US);
    }
}

enum status engine_query(struct connection *connection, const char *sql, bool streaming, struct cancel *cancel,
                         duckdb_result *ret_result, struct error *reterr)
{
    enum status status = cancel_check(cancel, reterr);
    if (status != OK)
        return status;
    if (!connection->handle)
        return error_set(reterr, E_UNAVAILABLE, BROKEN_WORDS);
    connection->unfinished = connection->unfinished || connection->streaming;
    connection->streaming = false;
    ENGINE_GIVES();
    duckdb_prepared_statement statement = NULL;
    if (duckdb_prepare(connection->handle, sql, &statement) != DuckDBSuccess) {
        status = failure(connection, duckdb_prepare_error(statement), NULL, reterr);
        duckdb_destroy_prepare(&statement);
        return status;
    }
    duckdb_pending_result pending = NULL;
    duckdb_state made = streaming ? duckdb_pending_prepared_streaming(statement, &pending)
                                  : duckdb_pending_prepared(statement, &pending);
    if (made != DuckDBSuccess) {
        status = failure(connection, duckdb_pending_error(pending), cancel, reterr);
    } else {
        struct cancel_hook hook = {.interrupt = interrupt, .arg = connection};
        if (cancel)
            cancel_set_hook(cancel, &hook);
        status = work_until_ready(connection, pending, cancel, reterr);
        if (status == OK && duckdb_execute_pending(pending, ret_result) != DuckDBSuccess) {
            status = failure(connection, duckdb_result_error(ret_result), cancel, reterr);
            duckdb_destroy_result(ret_result);
        }
        if (cancel)
            cancel_clear_hook(cancel, &hook);
    }
    duckdb_destroy_pending(&pending);
    duckdb_destroy_prepare(&statement);
    ENGINE_TAKES();
    connection->streaming = status == OK && streaming;
    connection->unfinished = connection->unfinished || status != OK;
    return status;
}

enum status engine_execute(struct connection *connection, const char *sql, struct error *reterr)
{
    duckdb_result result;
    enum status status = OK;
    if (!connection->handle)
        return error_set(reterr, E_UNAVAILABLE, BROKEN_WORDS);
    ENGINE_GIVES();
    if (duckdb_query(connection->handle, sql, &result) != DuckDBSuccess)
        status = failure(connection, duckdb_result_error(&result), NULL, reterr);
    duckdb_destroy_result(&result);
    ENGINE_TAKES();
    ENGINE_GIVES(); /* this thread may have done the engine's work */
    return status;
}

/* The statement's plan, made if it is not there. */
static enum status keep(struct connection *connection, const char *sql, duckdb_prepared_statement *ret_prepared,
                        struct error *reterr)
{
    struct kept_statement *kept = connection->kept;
    while (kept->sql && strcmp(kept->sql, sql) != 0) {
        kept++;
        PRE(kept < connection->kept + CONNECTION_KEPT_MAX);
    }
    if (!kept->sql && duckdb_prepare(connection->handle, sql, &kept->prepared) != DuckDBSuccess) {
        enum status status = failure(connection, duckdb_prepare_error(kept->prepared), NULL, reterr);
        duckdb_destroy_prepare(&kept->prepared);
        return status;
    }
    kept->sql = sql;
    *ret_prepared = kept->prepared;
    return OK;
}

enum status engine_execute_kept(struct connection *connection, const char *sql, struct error *reterr)
{
    duckdb_result result;
    duckdb_prepared_statement prepared = NULL;
    if (!connection->handle)
        return error_set(reterr, E_UNAVAILABLE, BROKEN_WORDS);
    ENGINE_GIVES();
    enum status status = keep(connection, sql, &prepared, reterr);
    if (status == OK) {
        if (duckdb_execute_prepared(prepared, &result) != DuckDBSuccess)
            status = failure(connection, duckdb_result_error(&result), NULL, reterr);
        duckdb_destroy_result(&result);
    }
    ENGINE_TAKES();
    ENGINE_GIVES();
    return status;
}

enum status engine_change(struct connection *connection, const char *sql, struct cancel *cancel, uint64_t *ret_rows_n,
                          struct error *reterr)
{
    duckdb_result result;
    enum status status = engine_query(connection, sql, false, cancel, &result, reterr);
    if (status != OK)
        return status;
    if (ret_rows_n)
        *ret_rows_n = duckdb_rows_changed(&result);
    duckdb_destroy_result(&result);
    return OK;
}

enum status engine_ask(struct connection *connection, struct sql *sql, struct cancel *cancel, duckdb_result *ret_result,
                       struct error *reterr)
{
    enum status status = sql_status(sql, reterr);
    if (status == OK)
        status = engine_query(connection, strbuf_view(&sql->text).ptr, false, cancel, ret_result, reterr);
    sql_release(sql);
    return status;
}

enum status engine_alter(struct connection *connection, struct sql *sql, struct cancel *cancel, uint64_t *ret_rows_n,
                         struct error *reterr)
{
    enum status status = sql_status(sql, reterr);
    if (status == OK)
        status = engine_change(connection, strbuf_view(&sql->text).ptr, cancel, ret_rows_n, reterr);
    sql_release(sql);
    return status;
}

enum status engine_used_bytes(struct connection *connection, uint64_t *ret_bytes, struct error *reterr)
{
    duckdb_result rows;
    enum status status = engine_query(connection,
                                      "SELECT coalesce(sum(used_blocks * block_size), 0)::BIGINT "
                                      "FROM pragma_database_size() WHERE database_name = '" ENGINE_CATALOG "'",
                                      false, NULL, &rows, reterr);
    if (status != OK)
        return status;
    *ret_bytes = (uint64_t)duckdb_value_int64(&rows, 0, 0);
    duckdb_destroy_result(&rows);
    return OK;
}

enum status engine_table_rows(struct connection *connection, const char *table, uint64_t *ret_rows_n,
                              struct error *reterr)
{
    struct sql sql;
    duckdb_result rows;
    sql_init(&sql, SQL_BYTES_MAX);
    sql_words(
        &sql,
        "SELECT coalesce(max(estimated_size), 0)::BIGINT FROM duckdb_tables() WHERE database_name = '" ENGINE_CATALOG
        "' AND table_name = ");
    sql_string(&sql, str_from(table));
    enum status status = engine_ask(connection, &sql, NULL, &rows, reterr);
    if (status != OK)
        return status;
    *ret_rows_n = (uint64_t)duckdb_value_int64(&rows, 0, 0);
    duckdb_destroy_result(&rows);
    return OK;
}

enum status engine_begin(struct connection *connection, struct error *reterr)
{
    return engine_execute(connection, "BEGIN", reterr);
}

static enum status commit(struct connection *connection, struct error *reterr)
{
    struct engine *engine = connection->engine;
    if (!connection->handle || engine_is_damaged(engine))
        return error_set(reterr, E_UNAVAILABLE, BROKEN_WORDS);
    duckdb_result result;
    enum status status = OK;
    ENGINE_GIVES();
    if (duckdb_query(connection->handle, "COMMIT", &result) != DuckDBSuccess) {
        const char *message = duckdb_result_error(&result);
        declare(engine, is_refusal_of_all(message) ? &engine->broken : &engine->stale);
        status = engine_error(message, NULL, reterr);
    }
    duckdb_destroy_result(&result);
    ENGINE_GIVES();
    return status;
}

static enum status roll_back_unless(enum status so_far, struct connection *connection)
{
    if (so_far != OK) {
        enum status undone = engine_execute(connection, "ROLLBACK", NULL);
        (void)undone; /* a failed commit has rolled back already; the first error is the one to report */
    }
    return so_far;
}

enum status engine_end(struct connection *connection, enum status so_far, struct error *reterr)
{
    if (so_far == OK) {
        pthread_mutex_lock(&connection->engine->committing);
        so_far = commit(connection, reterr);
        pthread_mutex_unlock(&connection->engine->committing);
    }
    return roll_back_unless(so_far, connection);
}

enum status engine_end_reading(struct connection *connection, enum status so_far, struct error *reterr)
{
    return roll_back_unless(so_far == OK ? engine_execute(connection, "COMMIT", reterr) : so_far, connection);
}

void engine_chunk_free(duckdb_data_chunk *chunk)
{
    ENGINE_GIVES();
    duckdb_destroy_data_chunk(chunk);
}

enum status engine_fetch(struct connection *connection, duckdb_result *result, struct cancel *cancel,
                         duckdb_data_chunk *ret_chunk, struct error *reterr)
{
    enum status status = cancel_check(cancel, reterr);
    if (status != OK)
        return status;
    ENGINE_GIVES();
    *ret_chunk = duckdb_fetch_chunk(*result);
    ENGINE_TAKES();
    if (*ret_chunk)
        return OK;
    const char *message = duckdb_result_error(result);
    connection->streaming = false;
    if (!message || !*message)
        return OK;
    connection->unfinished = true;
    return failure(connection, message, cancel, reterr);
}
