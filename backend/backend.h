/* backend/backend.h: the one interface to the SQL engines that hold samples.
 *
 * A backend stores samples durably, lists series and labels, hands out raw samples, and runs the SQL of fragments. The
 * engine behind it is reached only through this struct of functions; backend/duckdb/ is the default, backend/fake/ is
 * for tests (a few series in memory, counters that make the n-th call fail or hang).
 *
 * Policy   One sample per (series, timestamp), a float or a native histogram. Same timestamp and same value bits:
 * dropped quietly. Same timestamp and another value: refused, the first one stays (Prometheus's rule). Older than the
 *          series' newest: stored if it is not older by more than the window the backend was opened with, else refused.
 * Threads  Every call may come from any thread, and calls run side by side; append takes one thread at a time. How many
 *          connections the engine gets is set when it is opened.
 * Memory   Results own what they point to until they are freed. Inputs are only read during the call.
 * Errors   E_STORE the engine or the disk failed; E_UNAVAILABLE for the time being: the disk is full, or the engine is
 *          being brought back after a write that failed; E_LIMIT a limit of the call; E_CANCELED, E_TIMEOUT through
 * `cancel`; E_BAD_DATA for a bad regular expression; E_EXECUTION for what PromQL itself forbids (equal label sets).
 */
#ifndef PROMSPLIT_BACKEND_BACKEND_H
#define PROMSPLIT_BACKEND_BACKEND_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/cancel.h"
#include "base/error.h"
#include "base/sample.h"
#include "planner/capability.h"
#include "planner/fragment.h"
#include "promql/labels.h"
#include "promql/parse.h"

/* A native histogram: the message Histogram of proto/remote.proto without its time, in the one form that
 * remote/native_histogram.h gives it. Here it is bytes: equal ones are the same value. */
struct histogram_sample {
    int64_t time_ms;
    struct str packed;
};

enum metric_type { /* numbers of the remote write 1.0 message */
    METRIC_UNKNOWN,
    METRIC_COUNTER,
    METRIC_GAUGE,
    METRIC_HISTOGRAM,
    METRIC_GAUGE_HISTOGRAM,
    METRIC_SUMMARY,
    METRIC_INFO,
    METRIC_STATESET
};

struct metric_metadata {
    struct str family;
    enum metric_type type;
    struct str help, unit;
};

/* An example of what a sample counted: a trace, mostly. */
struct exemplar {
    struct labels labels; /* its own, as valid as those of a series, but for __name__; may be none */
    double value;
    int64_t time_ms;
};

/* --- writing --- */

struct append_series {
    struct labels labels; /* valid: sorted, unique, non-empty, with __name__ */
    const struct sample *samples;
    size_t samples_n;
};

/* When the counter that a sample is of began to count. If that is earlier than the sample and later than all that is
 * stored of its series, a zero is stored at that time: so rates see the first increase. Else it is passed over. */
struct append_start {
    const struct sample *sample;
    int64_t time_ms;
};

struct append_histogram {
    size_t series; /* which of the request's series it is of */
    struct histogram_sample is;
};

struct append_exemplar {
    size_t series; /* which of the request's series it is of */
    struct exemplar is;
};

/* What becomes of an exemplar. The rules are in exemplar_ring.h; none of them keeps a sample from being stored. */
enum exemplar_fate {
    EXEMPLAR_WRITTEN,
    EXEMPLAR_DUPLICATE,         /* dropped quietly */
    EXEMPLAR_OUT_OF_ORDER,      /* refused */
    EXEMPLAR_TOO_LONG,          /* refused, as are those that follow: its labels */
    EXEMPLAR_TOO_FAR_AHEAD,     /* later than the future bound */
    EXEMPLAR_OF_UNKNOWN_SERIES, /* which has no sample */
    EXEMPLAR_NOT_KEPT,          /* the store was opened to keep none */
    EXEMPLAR_FATES
};

/* One write request. The caller fills the inputs; append fills the outcome. */
struct append_request {
    const struct append_series *series;
    size_t series_n;
    const struct append_start *starts; /* of samples of the series, in their order; those samples lie in one array */
    size_t starts_n;
    const struct append_histogram *histograms; /* in the order of their series, and behind its samples */
    size_t histograms_n;
    const struct append_exemplar *exemplars; /* in the order of their series */
    size_t exemplars_n;
    const struct metric_metadata *metadata;
    size_t metadata_n;
    /* outcome, valid when append returned OK; native histograms are samples, too */
    size_t written;          /* samples stored */
    size_t zeros;            /* stored at starts, not among `written` */
    size_t late;             /* those of them that were older than their series' newest */
    size_t duplicates;       /* dropped quietly: same timestamp, same value */
    size_t out_of_order;     /* refused: older than the series' newest, and there is no window for such */
    size_t too_old;          /* refused: older than the series' newest by more than the window */
    size_t conflicting;      /* refused: same timestamp, another value */
    size_t too_far_ahead;    /* refused: later than the future bound */
    size_t beyond_retention; /* refused: older than what is kept */
    size_t histograms_written, histograms_known; /* of those written, of the duplicates: native histograms */
    size_t metadata_refused;                     /* entries of more families than can be kept */
    struct error refused; /* status E_BAD_DATA and the first refusal in Prometheus's words; OK if none */
    size_t exemplars_by[EXEMPLAR_FATES];
    struct error exemplar_refused; /* likewise, of exemplars out of order */
};

/* --- reading --- */

struct series_list {
    struct labels *at; /* sorted by labels_cmp */
    size_t n;
    bool truncated; /* `limit` cut it */
    struct arena arena;
};

struct string_list {
    struct str *at; /* sorted bytewise, unique */
    size_t n;
    bool truncated;
    struct arena arena;
};

struct metadata_list {
    struct metric_metadata *at; /* sorted by family */
    size_t n;
    struct arena arena;
};

struct exemplar_series {
    struct labels labels;
    const struct exemplar *exemplars; /* ascending in time */
    size_t exemplars_n;               /* at least one */
};

struct exemplar_list {
    struct exemplar_series *at; /* sorted by labels_cmp */
    size_t n;
    struct arena arena;
};

/* Which series: those that match any of the matcher lists (all series if there is none) and have a sample in span. */
struct series_query {
    const struct expr_selector *selectors;
    size_t selectors_n;
    struct time_span span;
    size_t limit; /* 0: none */
};

/* The value of a fragment on its grid. */
struct grid_series {
    struct labels labels;
    const double *values;    /* one per step */
    const uint64_t *present; /* bit k: step k has a value; values of absent steps are unspecified */
};

struct grid_result {
    struct grid grid;
    struct grid_series *series; /* sorted by labels_cmp, all different; each has a value at some step */
    size_t series_n;
    uint64_t values_n; /* present values of all series */
    int64_t engine_us; /* time the engine took */
    bool by_run;       /* it took fragment.sql_by_run */
    struct arena arena;
};

static inline bool grid_series_has(const struct grid_series *series, uint32_t step)
{
    return series->present[step / 64] >> (step % 64) & 1;
}

/* A run of samples of one series, or of its native histograms; a series' blocks follow each other in time, series come
 * sorted by labels_cmp. */
/* An XOR chunk (base/xor_chunk.h). */
struct raw_chunk {
    int64_t min_ms, max_ms;
    uint32_t samples_n;
    struct str bytes;
};

/* How a cursor gives floats. RAW_CHUNKS is a wish: it may give samples all the same. */
enum raw_form {
    RAW_SAMPLES,
    RAW_CHUNKS
};

/* Of samples, chunks and histograms there is one kind. */
struct raw_block {
    struct labels labels;
    const struct sample *samples; /* ascending, staleness markers included */
    size_t samples_n;
    bool series_ends;                          /* the last block of this series */
    const struct histogram_sample *histograms; /* likewise */
    size_t histograms_n;
    const struct raw_chunk *chunks; /* likewise */
    size_t chunks_n, chunks_samples_n;
};

static inline size_t raw_block_n(const struct raw_block *block)
{
    return block->samples_n + block->histograms_n + block->chunks_samples_n;
}

struct raw_cursor;

struct backend_stats {
    uint64_t series_n;
    uint64_t samples_n;
    int64_t min_time_ms, max_time_ms; /* of samples that are stored; INT64_MAX, INT64_MIN when none is */
    uint64_t disk_bytes;
    uint64_t memory_bytes; /* the engine's own buffers, and the index of series */
    uint64_t recent_n;     /* of samples_n: still in the order they came, not yet in the layout for queries */
    uint64_t moves_n, move_failures_n; /* transactions that brought samples into it since the start; that failed to */
    uint64_t reopens_n;                /* times the engine was opened again after a write that failed */
    uint64_t used_bytes;               /* of the file: hold something, the others are free for what comes */
    uint64_t exemplars_n;
    uint64_t histograms_n; /* of samples_n: native histograms */
    /* What retention dropped since the start, and how often it failed to. */
    uint64_t dropped_partitions_n, dropped_samples_n, dropped_series_n, retention_failures_n;
    /* Of rollups: rows, about; and since the start transactions that made some, that failed to, and their time. */
    uint64_t rollup_rows_n, rollup_rounds_n, rollup_failures_n, rollup_spent_us;
    int64_t rollup_min_time_ms; /* the oldest sample that they tell of; INT64_MAX: there are none */
};

/* How many series, values and bytes each label has: the figures of /api/v1/status/tsdb. */
enum cardinality_of {
    CARDINALITY_METRIC,      /* series of each metric */
    CARDINALITY_VALUES,      /* values of each label name */
    CARDINALITY_VALUE_BYTES, /* bytes of each label name's values, counted once for each series */
    CARDINALITY_PAIR,        /* series of each label name and value */
    CARDINALITY_MAX
};

struct cardinality_figure {
    struct str name, value; /* value: of CARDINALITY_PAIR only, and of CARDINALITY_METRIC the metric */
    uint64_t count;
};

struct cardinality_report {
    uint64_t series_n, pairs_n;                     /* series, different pairs of name and value */
    struct cardinality_figure *at[CARDINALITY_MAX]; /* the largest first, equal ones by name and value */
    size_t n[CARDINALITY_MAX];
    struct arena arena;
};

struct run_limits {
    uint64_t samples_max; /* values of a result; E_LIMIT names it */
};

struct backend {
    const struct backend_ops *ops; /* private data follows in the implementation's struct */
    /* Some series has a label __type__ or __unit__, as plan_options.metadata_labels says: set before a sample of it can
     * be read, and never taken back. */
    atomic_bool metadata_labels;
    /* Samples before it are gone, and fragments that read rollups alone are told of them; 0: of none. */
    _Atomic int64_t raw_from_ms;
};

struct backend_ops {
    const char *name;
    const struct capabilities *capabilities;

    /* Stores all requests as one durable transaction: when it returns OK, everything counted `written` survives a
     * crash. On failure nothing of any request is stored. */
    enum status (*append)(struct backend *, struct append_request *requests, size_t n, struct error *reterr);

    /* Deletes the samples of a query (its limit is 0) that were stored when it was called, durably and all at once for
     * readers; a series without any other is no longer there. What a series' newest sample is then decides what may be
     * written to it. *ret_samples_n: how many. On failure none is gone. */
    enum status (*delete_series)(struct backend *, const struct series_query *, struct cancel *,
                                 uint64_t *ret_samples_n, struct error *reterr);

    /* Runs a FRAGMENT_GRID. */
    enum status (*run)(struct backend *, const struct fragment *, const struct run_limits *, struct cancel *,
                       struct grid_result **ret_result, struct error *reterr);

    /* What running a FRAGMENT_GRID would look at, without doing so; zeros if the backend has no such rows. */
    enum status (*scan)(struct backend *, const struct fragment *, struct cancel *, struct scan_figures *ret_figures,
                        struct error *reterr);

    /* Whether a series that the selector matches and that may have samples in the span has had native histograms: true
     * where it is not known, and where it had some once. Asks no engine where none of its values had. */
    bool (*has_histograms)(struct backend *, const struct expr_selector *, struct time_span span);

    /* Opens a cursor on raw samples with times in span; next gives blocks of at most some ten thousand samples until
     * one has none. The block is valid until the next call. One thread at a time per cursor. */
    enum status (*raw_open)(struct backend *, enum raw_form form, const struct matcher *at, size_t n,
                            struct time_span span, struct cancel *, struct raw_cursor **ret_cursor,
                            struct error *reterr);
    enum status (*raw_next)(struct raw_cursor *, struct raw_block *ret_block, struct error *reterr);
    void (*raw_close)(struct raw_cursor *);

    enum status (*series)(struct backend *, const struct series_query *, struct cancel *, struct series_list **ret_list,
                          struct error *reterr);
    enum status (*label_names)(struct backend *, const struct series_query *, struct cancel *,
                               struct string_list **ret_list, struct error *reterr);
    enum status (*label_values)(struct backend *, struct str name, const struct series_query *, struct cancel *,
                                struct string_list **ret_list, struct error *reterr);
    enum status (*metadata)(struct backend *, struct str family /* empty: all */, size_t limit,
                            struct metadata_list **ret_list, struct error *reterr);
    /* Those of the series that match and with times in the span. Its limit is 0, and it has selectors. */
    enum status (*exemplars)(struct backend *, const struct series_query *, struct exemplar_list **ret_list,
                             struct error *reterr);
    enum status (*stats)(struct backend *, struct backend_stats *ret_stats, struct error *reterr);
    /* The `limit` largest of each. */
    enum status (*cardinality)(struct backend *, size_t limit, struct cardinality_report **ret_cardinality,
                               struct error *reterr);

    struct regex_engine (*regex)(struct backend *);

    void (*close)(struct backend *); /* no call may be under way */
};

void series_list_free(struct series_list *list);
void string_list_free(struct string_list *list);
void metadata_list_free(struct metadata_list *list);
void exemplar_list_free(struct exemplar_list *list);
void grid_result_free(struct grid_result *result);
void cardinality_free(struct cardinality_report *cardinality);

#endif
