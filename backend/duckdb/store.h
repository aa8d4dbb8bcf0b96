/* backend/duckdb/store.h: the backend as its own files see it; the operations of backend.h, one file per family. */
#ifndef PROMSPLIT_BACKEND_DUCKDB_STORE_H
#define PROMSPLIT_BACKEND_DUCKDB_STORE_H

#include "backend/duckdb/catalogue.h"
#include "backend/duckdb/engine.h"
#include "backend/duckdb/metadata.h"
#include "backend/duckdb/regex.h"

/* What an accepted sample of the transaction under way replaced in the catalogue. */
struct undo {
    struct known_series *series;
    bool has_samples;
    int64_t newest_ms;
    uint64_t newest_bits;
};

struct staged_row {
    struct known_series *series;
    struct sample sample;
};

/* All that writes share; one thread at a time. */
struct writer {
    pthread_mutex_t lock;
    struct connection *connection;
    duckdb_data_chunk series_chunk, samples_chunk;
    struct catalogue catalogue;
    uint64_t transaction; /* number of the one under way: the batch of its rows */
    struct staged_row *rows;
    size_t rows_n, rows_capacity;
    struct undo *undo; /* one per series touched */
    size_t undo_n, undo_capacity;
    pthread_mutex_t totals_lock; /* taken alone or inside `lock`, for moments */
    struct totals totals;
};

/* The thread that moves recent rows into chunks (compact.c). */
struct compactor {
    bool initialised, started;
    pthread_t thread;
    pthread_mutex_t lock; /* guards stop and woken; taken alone or inside the writer's */
    pthread_cond_t wake;
    bool stop, woken;
    pthread_mutex_t running; /* held by who compacts; the writer's lock may be taken inside */
    struct connection *connection;
    struct cancel cancel; /* stops the statement under way when the store is closed */
    uint64_t rows;        /* duckdb_options.compact_rows */
    _Atomic uint64_t recent_n, moves_n, failures_n;
};

struct duckdb_store {
    struct backend backend; /* first: the public face */
    struct engine engine;
    struct writer writer;
    struct compactor compactor;
    struct metadata_table metadata;
    struct regex_cache regex;
    int64_t future_max_ms;
    char *directory; /* NULL: in memory */
};

static inline struct duckdb_store *store_of(struct backend *backend)
{
    return (struct duckdb_store *)backend;
}

/* append.c */
MUST_USE enum status writer_init(struct writer *writer, struct engine *engine, struct error *reterr);
void writer_release(struct writer *writer); /* a zeroed one is fine */
struct totals writer_totals(struct writer *writer);
enum status store_append(struct backend *backend, struct append_request *requests, size_t n, struct error *reterr);

/* compact.c */
MUST_USE enum status compactor_start(struct duckdb_store *store, uint64_t rows, struct error *reterr);
void compactor_stop(struct duckdb_store *store);                                      /* one never started is fine */
void compactor_appended(struct duckdb_store *store, uint64_t rows_n);                 /* committed just now */
MUST_USE enum status compactor_run(struct duckdb_store *store, struct error *reterr); /* moves everything, now */

/* run.c */
enum status store_run(struct backend *backend, const struct fragment *fragment, const struct run_limits *limits,
                      struct cancel *cancel, struct grid_result **ret_result, struct error *reterr);

/* raw.c */
enum status store_raw_open(struct backend *backend, const struct matcher *at, size_t n, struct time_span span,
                           struct cancel *cancel, struct raw_cursor **ret_cursor, struct error *reterr);
enum status store_raw_next(struct raw_cursor *cursor, struct raw_block *ret_block, struct error *reterr);
void store_raw_close(struct raw_cursor *cursor);

/* listing.c */
enum status store_series(struct backend *backend, const struct series_query *query, struct cancel *cancel,
                         struct series_list **ret_list, struct error *reterr);
enum status store_label_names(struct backend *backend, const struct series_query *query, struct cancel *cancel,
                              struct string_list **ret_list, struct error *reterr);
enum status store_label_values(struct backend *backend, struct str name, const struct series_query *query,
                               struct cancel *cancel, struct string_list **ret_list, struct error *reterr);

/* E_BAD_DATA if a regular expression among the matchers is wrong. */
MUST_USE enum status store_check_matchers(struct duckdb_store *store, const struct matcher *at, size_t n,
                                          struct error *reterr);

#endif
