/* promql/literal.h: from the text of a literal to its value, for the parser's own files only.
 *
 * Sources: Go strconv.ParseInt and ParseFloat (which spellings are numbers), Prometheus util/strutil/quote.go,
 * model.ParseDuration of Prometheus's common library.
 * Threads: no state.
 */
#ifndef PROMSPLIT_PROMQL_LITERAL_H
#define PROMSPLIT_PROMQL_LITERAL_H

#include <stdint.h>

#include "base/arena.h"
#include "base/str.h"

enum number_fault {
    NUMBER_FINE,
    NUMBER_INVALID,     /* "invalid syntax" */
    NUMBER_OUT_OF_RANGE /* "value out of range" */
};

/* A PromQL number: an integer of Go's spelling (0x1f, 017, 1_000), else a float. */
enum number_fault literal_number(struct str text, double *ret_value);

/* Go's strconv.ParseFloat: with sign, "inf", "infinity", "nan", hexadecimal floats, underscores. */
enum number_fault literal_float(struct str text, double *ret_value);

/* The value of a quoted string that the lexer accepted; a view into it, or a copy in the arena (ptr NULL: no memory).
 */
struct str literal_unquote(struct arena *arena, struct str quoted);

enum duration_fault {
    DURATION_FINE,
    DURATION_INVALID,      /* not a valid duration string */
    DURATION_UNKNOWN_UNIT, /* *ret_unit is no unit */
    DURATION_OUT_OF_RANGE
};

/* Whole milliseconds of "1h30m"; more than int64 nanoseconds can hold is out of range (model.ParseDuration). */
enum duration_fault literal_duration(struct str text, int64_t *ret_ms, struct str *ret_unit);

#endif
