/* backend/duckdb/store.h: the backend as its own files see it; the operations of backend.h, one file per family. */
#ifndef PROMSPLIT_BACKEND_DUCKDB_STORE_H
#define PROMSPLIT_BACKEND_DUCKDB_STORE_H

#include "backend/duckdb/catalogue.h"
#include "backend/duckdb/engine.h"
#include "backend/duckdb/exemplars.h"
#include "backend/duckdb/functions.h"
#include "backend/duckdb/histograms.h"
#include "backend/duckdb/metadata.h"
#include "backend/duckdb/regex.h"
#include "backend/duckdb/rollup.h"
#include "planner/sql.h"

/* What an accepted sample of the transaction under way replaced in the catalogue. */
struct undo {
    struct known_series *series;
    bool has_samples, newest_is_histogram, newest_unread;
    int64_t newest_ms;
    uint64_t newest_bits;
    uint64_t transaction;
};

/* A sample on its way in. */
struct offered {
    int64_t time_ms;
    uint64_t bits;     /* as known_series.newest_bits */
    struct str packed; /* a native histogram; ptr NULL: a float */
};

struct staged_row {
    struct known_series *series;
    struct sample sample;
};

/* A sample that is older than its series' newest, but not by more than the window (late.c). */
struct late_sample {
    struct staged_row row;
    struct str packed;              /* a native histogram, of the row's series and time; ptr NULL: none, but the row */
    struct labels labels;           /* of its series, as the request has them */
    struct append_request *request; /* which is told what becomes of it */
    size_t order;                   /* as they came */
    bool taken;                     /* its place has another sample: taken_bits */
    bool taken_is_histogram;        /* that one is a native histogram */
    bool joins;                     /* a float; its place lies before the end of a chunk of its partition */
    bool accepted;
    uint64_t taken_bits;
};

/* Why writes are refused for a while (disk.c). One thread at a time: who holds the writer's turn. */
struct write_pause {
    int64_t until_ms, length_ms; /* monotonic; 0: none */
    struct error failure;
};

/* All that writes share. Locks are taken in the order turn, compactor.running, lock. */
struct writer {
    pthread_mutex_t turn; /* held by an append from its beginning to its end */
    pthread_mutex_t lock; /* guards all that follows; held by who writes to the engine or must hold such writes off */
    struct connection *connection;
    duckdb_data_chunk series_chunk, samples_chunk;
    struct catalogue catalogue;
    const struct rollups *rollups;
    struct exemplar_table exemplars;
    uint64_t transaction; /* number of the one under way: the batch of its rows */
    struct staged_row *rows;
    size_t rows_n, rows_capacity;
    struct staged_histogram *histograms; /* their bytes are the request's: not there in doubt any more */
    size_t histograms_n, histograms_capacity;
    struct undo *undo; /* one per series touched */
    size_t undo_n, undo_capacity;
    struct late_sample *late;
    size_t late_n, late_capacity;
    bool in_doubt; /* what is staged was given to a transaction that failed, and may be stored all the same */
    struct write_pause pause;
    size_t bulk_n;               /* the last so many of the rows become chunks at once (bulk.c) */
    pthread_mutex_t totals_lock; /* taken alone or inside `lock`, for moments */
    struct totals totals;
};

/* The thread that moves recent rows into chunks (compact.c) and drops what is too old (retention.c). */
struct compactor {
    bool initialised, started;
    pthread_t thread;
    pthread_mutex_t lock; /* guards stop and woken; taken alone or inside the writer's */
    pthread_cond_t wake;
    bool stop, woken;
    pthread_mutex_t
        running; /* held by who moves, drops, deletes or joins late samples; the writer's lock may be taken inside */
    _Atomic unsigned waiting_n; /* appends that wait for it */
    struct connection *connection;
    struct cancel cancel; /* stops the statement under way when the store is closed */
    uint64_t rows;        /* duckdb_options.compact_rows */
    uint64_t seen_batch;  /* the last one committed when it looked, and since when there is none after it */
    int64_t seen_ms;
    uint64_t shrunk_total, shrunk_used; /* blocks, when the file was as short as it gets */
    _Atomic uint64_t recent_n, moves_n, failures_n;
    void (*on_failure)(void *arg, const char *what, const struct error *error); /* duckdb_options */
    void *on_failure_arg;
    const char *told_what; /* what it was told last, why and when; NULL: nothing yet */
    struct error told;
    int64_t told_ms;
};

#define FRESH_CHUNKS       "fresh_chunks" /* temporary: chunks about to be stored */
#define FRESH_CHUNKS_TABLE "temp.main." FRESH_CHUNKS
#define FRESH_RUNS         "(SELECT metric, series, tmin, " SCHEMA_CHUNK_TIMES " AS ts, value FROM " FRESH_CHUNKS_TABLE ")"

/* Which samples are kept, and what was done about the others (retention.c). */
struct retention_state {
    struct retention keep;
    _Atomic int64_t due_ms; /* the newest sample's time from which on there is something to drop */
    _Atomic uint64_t partitions_n, samples_n, series_n, failures_n;
};

struct duckdb_store {
    struct backend backend; /* first: the public face */
    struct engine engine;
    struct writer writer;
    struct compactor compactor;
    struct retention_state retention;
    struct rollups rollups;
    struct metadata_table metadata;
    struct regex_cache regex;
    struct series_functions functions; /* what SQL asks of the two */
    struct duckdb_options options;     /* its directory is the one below */
    char *directory;                   /* NULL: in memory */
    _Atomic uint64_t reopens_n;
};

static inline struct duckdb_store *store_of(struct backend *backend)
{
    return (struct duckdb_store *)backend;
}

/* duckdb_backend.c: of the file, and of the log beside it; 0 in memory */
uint64_t store_file_bytes(const struct duckdb_store *store);
uint64_t store_log_bytes(const struct duckdb_store *store);

/* append.c */
MUST_USE enum status writer_init(struct writer *writer, struct engine *engine, size_t exemplars_max,
                                 struct error *reterr);
void writer_release(struct writer *writer); /* a zeroed one is fine */
struct totals writer_totals(struct writer *writer);
enum status store_append(struct backend *backend, struct append_request *requests, size_t n, struct error *reterr);

/* Counts a sample as conflicting; the first refusal of a request is kept. */
void writer_refuse_conflict(struct append_request *request, struct labels labels, const struct offered *sample,
                            uint64_t existing_bits, bool existing_is_histogram);
/* False: no memory. */
MUST_USE bool writer_stage_histogram(struct writer *writer, struct known_series *series, int64_t time_ms,
                                     struct str packed);
/* Adds rows to a table of the columns of recent. */
MUST_USE enum status writer_put_rows(struct writer *writer, const char *catalog, const char *table,
                                     const struct staged_row *rows, size_t n, struct error *reterr);

/* late.c */
bool late_within(const struct known_series *known, int64_t time_ms, int64_t window_ms);
MUST_USE bool late_stage(struct writer *writer, struct known_series *known, struct labels labels,
                         const struct offered *sample, struct append_request *request); /* false: no memory */
/* In the writer's transaction, before its rows are written, with the compactor's `running` held: judges the late
 * samples staged, and adds those accepted to the rows, but for those that join chunks. */
MUST_USE enum status late_judge(struct writer *writer, struct error *reterr);
MUST_USE enum status late_join(struct writer *writer, struct error *reterr); /* stores these; the last of the writes */

/* bulk.c. For stores opened for imports, in transactions without late samples, holding running: which of the staged
 * rows become chunks at once (they are put last), and their writing. */
MUST_USE enum status bulk_choose(struct writer *writer, struct error *reterr);
MUST_USE enum status bulk_write(struct writer *writer, struct error *reterr);

/* disk.c */
/* Before a transaction whose log is no longer than so many bytes: E_UNAVAILABLE while the disk is too full for it. */
#define CHUNKS_LOG_BYTES (UINT64_C(32) << 20) /* of chunks: a row group at most, others are not in the log */
MUST_USE enum status disk_check(const struct duckdb_store *store, uint64_t bytes, struct error *reterr);
MUST_USE enum status pause_check(const struct write_pause *pause, struct error *reterr);
void pause_begin(struct write_pause *pause, const struct error *failure); /* longer each time */
void pause_end(struct write_pause *pause);
/* After a write that failed: opens the database again if the engine refuses all work now. The caller holds running and
 * the writer's lock. Callers of engine_acquire wait meanwhile. */
MUST_USE enum status store_mend(struct duckdb_store *store, struct error *reterr);

/* compact.c */
MUST_USE enum status compactor_start(struct duckdb_store *store, const struct duckdb_options *options,
                                     struct error *reterr);
void compactor_stop(struct duckdb_store *store);                      /* one never started is fine */
void compactor_appended(struct duckdb_store *store, uint64_t rows_n); /* committed just now */
void compactor_wait(struct duckdb_store *store); /* takes `running`, after the move under way at the latest */
/* Moves everything and makes its rollups, now. */
MUST_USE enum status compactor_run(struct duckdb_store *store, struct error *reterr);
/* Between the steps of a move of so many rows: lets what is being read go first, for a moment, unless the move is a
 * small one, recent piles up or an append waits for it. */
void compactor_step_aside(struct duckdb_store *store, uint64_t rows_n);
MUST_USE enum status compactor_recount(struct compactor *compactor,
                                       struct error *reterr); /* recent_n; holding running */

/* In a transaction, holding running: the chunks of FRESH_CHUNKS take the place of those stored, each of the one of its
 * series whose tmin it `replaces`, and count as moved. Drops FRESH_CHUNKS, which has the columns metric, series, tmin,
 * tmax, n, pace, drift, value, replaces. `partitions`: where they are. */
MUST_USE enum status chunks_replace(struct connection *connection, struct time_span partitions, struct cancel *cancel,
                                    struct error *reterr);
void compactor_checkpoint(struct duckdb_store *store); /* `running` is held */

#define MOVE_SAMPLES INT64_C(4000000) /* of one transaction: bounds its memory and how long its snapshot lives */

/* "part, samples" of the chunks that begin in the span, in the order of partitions; `running` is held. */
MUST_USE enum status chunks_by_partition(struct compactor *c, struct time_span span, duckdb_result *ret_rows,
                                         struct error *reterr);

/* preload.c. Once after the store was opened. */
MUST_USE enum status preload_run(struct duckdb_store *store, struct error *reterr);

/* shrink.c. quiet: nothing is written just now, so the free blocks are of no use. */
MUST_USE enum status shrink_run(struct duckdb_store *store, bool quiet, struct error *reterr);

/* retention.c. Those about one sample or series are for the writer, under its lock. */
MUST_USE enum status retention_init(struct duckdb_store *store, const struct retention *keep, struct error *reterr);
MUST_USE enum status retention_run(struct duckdb_store *store, struct error *reterr); /* drops what is due, now */
bool retention_due(struct duckdb_store *store);
MUST_USE enum status retention_forget_rollups(struct duckdb_store *store,
                                              struct error *reterr); /* that outlive samples */
void retention_look_again(struct duckdb_store *store);               /* the newest sample may be an older one now */
int64_t retention_oldest_ms(struct duckdb_store *store, struct labels labels); /* that is taken; INT64_MIN: any */
int64_t retention_suspect_ms(struct duckdb_store *store);                      /* for older ones that is to be asked */

/* delete.c */
enum status store_delete_series(struct backend *backend, const struct series_query *query, struct cancel *cancel,
                                uint64_t *ret_samples_n, struct error *reterr);

/* histograms.c */
bool store_has_histograms(struct backend *backend, const struct expr_selector *selector, struct time_span span);

/* run.c */
enum status store_run(struct backend *backend, const struct fragment *fragment, const struct run_limits *limits,
                      struct cancel *cancel, struct grid_result **ret_result, struct error *reterr);

/* scan.c */
enum status store_scan(struct backend *backend, const struct fragment *fragment, struct cancel *cancel,
                       struct scan_figures *ret_figures, struct error *reterr);

/* raw.c */
enum status store_raw_open(struct backend *backend, enum raw_form form, const struct matcher *at, size_t n,
                           struct time_span span, struct cancel *cancel, struct raw_cursor **ret_cursor,
                           struct error *reterr);
enum status store_raw_next(struct raw_cursor *cursor, struct raw_block *ret_block, struct error *reterr);
void store_raw_close(struct raw_cursor *cursor);

/* listing.c */
enum status store_series(struct backend *backend, const struct series_query *query, struct cancel *cancel,
                         struct series_list **ret_list, struct error *reterr);
enum status store_label_names(struct backend *backend, const struct series_query *query, struct cancel *cancel,
                              struct string_list **ret_list, struct error *reterr);
enum status store_label_values(struct backend *backend, struct str name, const struct series_query *query,
                               struct cancel *cancel, struct string_list **ret_list, struct error *reterr);

enum status store_cardinality(struct backend *backend, size_t limit, struct cardinality_report **ret_cardinality,
                              struct error *reterr);

#endif
