/* backend/duckdb/duckdb_backend.h: the embedded engine.
 *
 * One database file in the storage directory, opened by one process at a time. Only this folder includes duckdb.h.
 */
#ifndef PROMSPLIT_BACKEND_DUCKDB_DUCKDB_BACKEND_H
#define PROMSPLIT_BACKEND_DUCKDB_DUCKDB_BACKEND_H

#include "backend/backend.h"

/* Samples of a partition of two hours go when all of it is this much older than the newest sample of the store. */
struct retention_rule {
    struct expr_selector selector; /* its matchers stay until the store is closed */
    int64_t time_ms;               /* 0: kept for ever */
};

struct retention {
    const struct retention_rule *rules; /* the first that matches a series says; stay until the store is closed */
    size_t rules_n;
    int64_t time_ms; /* of series that no rule matches; 0: kept for ever */
    /* Rollups of samples that were dropped for their age stay until all of a partition is so much older than the newest
     * sample; 0: they go with their samples. Else not less than time_ms, which is not 0, without rules or a size, and
     * with rollups. */
    int64_t rollups_ms;
    uint64_t size_bytes; /* the oldest partitions go, whatever the rules say, while there are more; 0: none do */
};

/* Which rollups are kept: samples thinned to buckets of these lengths, from which functions over windows of whole
 * buckets follow exactly. */
#define ROLLUP_LEVELS_MAX 3
struct rollup_settings {
    int64_t levels_ms[ROLLUP_LEVELS_MAX];  /* 60 000, 300 000 or 3 600 000, each once */
    size_t levels_n;                       /* 0: none are kept */
    const struct expr_selector *selectors; /* of series that have rollups, if they match one; they stay until the store
                                              is closed */
    size_t selectors_n;                    /* 0: all have */
};

struct duckdb_options {
    const char *directory;     /* made if missing; NULL: a database in memory (explain, tests) */
    unsigned threads;          /* the engine's own; 0: one per core */
    uint64_t memory_max_bytes; /* the engine's buffers; 0: its default */
    int64_t future_max_ms;     /* samples later than now + this are refused (Prometheus: 10 min); 0: none is */
    int64_t
        out_of_order_window_ms; /* samples older than their series' newest by no more than this are stored; 0: none */
    uint64_t min_free_bytes;    /* of the disk: nothing is written when less would be free */
    unsigned connections_max;   /* queries, cursors and listings at the same time; further callers wait for one */
    uint64_t compact_rows;      /* samples stored as they came that start a compaction; 0: the default (compact.c) */
    uint64_t exemplars_max;     /* the newest are kept; 0: none is taken or shown, those stored stay */
    uint64_t preload_bytes;     /* of the newest chunks, that are read when the store is opened (preload.c); 0: none */
    uint64_t shrink_bytes;      /* of free blocks in the file that make shortening it worth it; 0: the default */
    uint64_t slice_samples;     /* that a cursor on raw samples reads by one statement; 0: the default */
    uint64_t by_run_series; /* of a query, that make it worth asking whether it can be computed run by run (by_run.h);
                               0: the default */
    bool bulk;              /* for imports: samples of whole partitions become chunks at once; appends wait for moves */
    struct retention retention;
    /* Told what the store's own thread could not do, and why: "samples were not moved into chunks". Once a minute while
     * it is the same; from that thread. NULL: nobody is. */
    void (*on_failure)(void *arg, const char *what, const struct error *error);
    void *on_failure_arg;
    const struct rollup_settings *rollups; /* what others were kept goes, unless it is
                                              all that is left of samples, then E_BAD_DATA; NULL: as stored */
};

MUST_USE enum status duckdb_backend_open(const struct duckdb_options *options, struct backend **ret_backend,
                                         struct error *reterr);

/* Brings all samples stored so far into the layout that queries read fastest, and makes their rollups, which else
 * happens in the background when there are enough. For commands, benchmarks and tests. */
MUST_USE enum status duckdb_backend_compact(struct backend *backend, struct error *reterr);

/* Gives free blocks of the file back to the disk, as else happens when nothing was written for a while. */
MUST_USE enum status duckdb_backend_shrink(struct backend *backend, struct error *reterr);

/* Drops now what retention no longer keeps, which else happens soon after a partition is beyond it. For tests. */
MUST_USE enum status duckdb_backend_retain(struct backend *backend, struct error *reterr);

/* Takes out the rollups that are all that is left of samples, and series that have nothing else. For a command: what it
 * lets go of cannot be made again. */
MUST_USE enum status duckdb_backend_forget_rollups(struct backend *backend, struct error *reterr);

/* Whether the tables hold what docs/storage.md promises. Nobody may write meanwhile: the rules are looked at one after
 * the other. */
#define VERIFY_RULES_MAX 32

struct verify_rule {
    const char *text; /* what must hold; static */
    uint64_t rows_n;  /* that break it */
};

struct verify_report {
    struct verify_rule rules[VERIFY_RULES_MAX];
    size_t rules_n;
};

MUST_USE enum status duckdb_backend_verify(struct backend *backend, struct cancel *cancel,
                                           struct verify_report *ret_report, struct error *reterr);

/* Known without opening anything: for explain. */
extern const struct capabilities duckdb_capabilities;

const char *duckdb_backend_version(void); /* of the linked engine: "v1.4.4" */

#endif
