/* promql/functions.h: the functions of PromQL 3.x, one row each in functions.def.
 *
 * Source: Prometheus promql/parser/functions.go (signatures), promql/functions.go (behaviour).
 * Threads: constant data.
 */
#ifndef PROMSPLIT_PROMQL_FUNCTIONS_H
#define PROMSPLIT_PROMQL_FUNCTIONS_H

#include <stdbool.h>
#include <stddef.h>

#include "base/str.h"

enum value_type {
    VALUE_NONE,
    VALUE_SCALAR,
    VALUE_STRING,
    VALUE_VECTOR,
    VALUE_MATRIX
};

/* FUNCTION(id, name, …) rows give FN_RATE, FN_SUM_OVER_TIME, … */
enum function_id {
#define FUNCTION(id, ...) FN_##id,
#include "promql/functions.def"
#undef FUNCTION
    FN_MAX
};

#define FUNCTION_ARGS_MAX 8

struct function {
    enum function_id id;
    struct str name;
    enum value_type args[FUNCTION_ARGS_MAX]; /* VALUE_NONE ends the list */
    size_t args_n;
    /* 0: exactly args_n arguments; n > 0: from args_n - 1 to args_n - 1 + n; -1: args_n - 1 or more. Those behind the
     * last of args are of its type. */
    int variadic;
    enum value_type result;
    bool keeps_name;   /* the result keeps __name__ (last_over_time, sort, …) */
    bool at_unsafe;    /* depends on the evaluation timestamp even under @ (time(), day_of_week(), timestamp(), …) */
    bool experimental; /* upstream wants --enable-feature=promql-experimental-functions */
};

const struct function *function_find(struct str name); /* NULL if there is none */
const struct function *function_get(enum function_id id);

#endif
