/* tests/unit/planner/golden_file.h: the files of tests/golden: queries with what the planner is to make of them.
 *
 *     === name of the case
 *     query: sum(rate(x[5m]))
 *     push: aggregate,window            options, one a line, all with defaults (golden_options)
 *     ---
 *     … the explained plan, up to the next ===
 *
 * Lines before the first case are comments. Options: range (start end step in seconds), time (seconds), windows
 * (left-open, closed), lookback, subquery-step, push, rollups (all: of 1m, 5m and 1h), gone-before
 * (a duration from 1970 on: when samples begin), backend (full, basic), tasks (limit), points (limit), format (text,
 * json, dot).
 */
#ifndef PROMSPLIT_TESTS_GOLDEN_FILE_H
#define PROMSPLIT_TESTS_GOLDEN_FILE_H

#include "planner/explain.h"

struct golden_case {
    struct str name;
    struct str header; /* the lines between === and ---, kept for rewriting */
    struct str query;
    struct str expected;
    struct plan_options options;
    int64_t step_ms; /* 0: instant */
    enum explain_format format;
};

struct golden_file {
    char path[512];
    struct str preamble;
    struct golden_case *cases;
    size_t cases_n;
    char *text; /* all views point here */
};

/* Stops the program with a message when a file is malformed: a test's own defect. */
void golden_load(struct golden_file *file, const char *path);
void golden_release(struct golden_file *file);

/* All files of a directory, sorted by name; returns how many. */
size_t golden_load_all(struct golden_file *files, size_t max, const char *directory);

#endif
