/* promql/labels.h: label sets and matchers, as Prometheus defines them.
 *
 * A label set is sorted by name (bytewise), names are unique, no value is empty: a label with an empty value is the
 * same as no label. `__name__` is an ordinary label here.
 *
 * Memory   views; whoever built the set owns names and values (an arena, a catalogue, a decoded message).
 * Threads  plain data.
 * Source   Prometheus model/labels.
 */
#ifndef PROMSPLIT_PROMQL_LABELS_H
#define PROMSPLIT_PROMQL_LABELS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/str.h"

#define LABEL_METRIC_NAME STR("__name__")
#define LABEL_TASK_ID     STR("__task_id__")   /* reserved: names one task; never in a user's query or in data */
#define LABEL_TASK_KIND   STR("__task_kind__") /* reserved: the constant matcher that marks every task selector */
#define TASK_KIND_VALUE   STR("fragment")

struct label {
    struct str name;
    struct str value;
};

struct labels {
    const struct label *at; /* sorted by name */
    size_t n;
};

enum match_op {
    MATCH_EQUAL,     /* =  */
    MATCH_NOT_EQUAL, /* != */
    MATCH_REGEX,     /* =~ : RE2 syntax, anchored at both ends, dot matches newline */
    MATCH_NOT_REGEX  /* !~ */
};

struct matcher {
    struct str name;
    enum match_op op;
    struct str value;
};

const char *match_op_text(enum match_op op); /* "=", "!=", "=~", "!~" */

/* The value of a label, or the empty text. */
struct str labels_get(struct labels labels, struct str name);

/* Total order of label sets: name, then value, pair by pair; a shorter prefix first (labels.Compare). */
int labels_cmp(struct labels a, struct labels b);
bool labels_eq(struct labels a, struct labels b);
uint64_t labels_hash(struct labels labels); /* stable within one process only */

/* Sorts in place, removes empty values. Returns false when a name occurs twice (then *ret_twice is that name). */
bool labels_normalize(struct label *at, size_t *n, struct str *ret_twice);

/* Copies names and values into the arena; at is NULL on failure. */
struct labels labels_copy(struct arena *arena, struct labels labels);

/* [a-zA-Z_][a-zA-Z0-9_]* : may be written without quotes. Metric names also allow ':'. */
bool label_name_is_plain(struct str name);
bool metric_name_is_plain(struct str name);

#endif
