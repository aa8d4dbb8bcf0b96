/* tests/unit/backend/fixture.h: stores in temporary directories, and short ways to write and read them. */
#ifndef PROMSPLIT_TESTS_UNIT_BACKEND_FIXTURE_H
#define PROMSPLIT_TESTS_UNIT_BACKEND_FIXTURE_H

#include <stdbool.h>

#include "backend/backend.h"
#include "backend/duckdb/duckdb_backend.h"
#include "backend/kernels/window.h"
#include "base/strbuf.h"

struct fixture {
    char directory[64]; /* "" : in memory */
    unsigned threads;
    unsigned connections;
    uint64_t memory_max_bytes;
    uint64_t compact_rows;
    uint64_t preload_bytes;
    uint64_t shrink_bytes;
    uint64_t slice_samples;
    uint64_t exemplars_max;
    uint64_t min_free_bytes;
    int64_t out_of_order_window_ms;
    bool bulk;
    struct retention retention;
    const struct rollup_settings *rollups;
    void (*on_failure)(void *arg, const char *what, const struct error *error);
    void *on_failure_arg;
    struct backend *backend;
    struct arena arena; /* labels and texts of the test */
};

void fixture_init(struct fixture *fixture);         /* in memory, opened */
void fixture_init_on_disk(struct fixture *fixture); /* in a new directory, opened */
/* Likewise; it keeps these rollups, NULL: none, and takes samples of any age. */
void fixture_init_rolled(struct fixture *fixture, const struct rollup_settings *rollups);
void fixture_open(struct fixture *fixture);
void fixture_close(struct fixture *fixture);
void fixture_release(struct fixture *fixture); /* closes, removes the directory */

/* "up;job=a;instance=b" -> {__name__="up", instance="b", job="a"}; a first part without '=' is the metric name. */
struct labels labels_of(struct arena *arena, const char *text);

/* The same text from a label set: the name, then the other labels in order. */
const char *labels_text(struct arena *arena, struct labels labels);

/* Appends one series; the request's outcome. Fails the test when append fails. */
struct append_request append(struct fixture *fixture, const char *series, const struct sample *samples, size_t n);

/* append with a sample list written in place. */
#define APPEND(fixture, series, ...)                                                                                   \
    append(fixture, series, (const struct sample[]){__VA_ARGS__},                                                      \
           sizeof((const struct sample[]){__VA_ARGS__}) / sizeof(struct sample))

/* A list as text: "up;job=a: 1@1000{trace=x} 2@2000{}\n", one line per series. */
const char *exemplars_text(struct arena *arena, const struct exemplar_list *list);

/* The first arguments of a window function: what runs() has; times only: a list of them, a single one. */
#define STORED_RUN       "tmin, pace, drift, value"
#define LISTED_TIMES(ts) ts "[1], prom_pace(" ts "), prom_drift(" ts ", prom_pace(" ts "))"
#define SINGLE_TIME(ts)  ts "::BIGINT, 0::BIGINT, [0::INTEGER]"

struct backend_stats stats_of(struct fixture *fixture);

/* duckdb_backend_compact; fails the test when that fails. */
void compact(struct fixture *fixture);

/* The rules that the store's tables keep hold (duckdb_backend_verify); fails the test naming one that does not. */
void expect_rules(struct fixture *fixture);

/* Matchers of a text: "job=a", "job!=a", "job=~a", "job!~a", separated by spaces. */
struct expr_selector selector_of(struct arena *arena, const char *text);

/* A fragment of that statement; `by` names its columns, space-separated ("" none). */
struct fragment fragment_of(struct arena *arena, const char *sql, struct grid grid, bool metric, bool map,
                            const char *by);

/* The fragment that is all of a query, where everything may be pushed; rollups as the store has them. */
struct fragment planned(struct fixture *fixture, const char *promql, struct grid grid, enum window_rule rule);

/* The same series and steps, and values of the same bits, or, if not exact, nearly so. */
void expect_same_result(const char *promql, const struct grid_result *a, const struct grid_result *b, bool exact);

/* A kernel's further arguments as SQL, with a comma in front (", 0.5"), and the same for a call of the kernel; room:
 * one number per sample. */
const char *kernel_arguments(const struct window_kernel *kernel);
struct window_parameters kernel_parameters(double *room);

/* Runs it; fails the test on error. Free the result. */
struct grid_result *run_ok(struct fixture *fixture, const struct fragment *fragment);

/* The result as text, one line per series: "le=1: 1 - 3\n". Values as %.6g, '-' where absent. */
const char *result_text(struct arena *arena, const struct grid_result *result);

#endif
