/* promql/parse.h: from text to a checked tree.
 *
 * Parses the whole PromQL of Prometheus 3.x and checks it (types, arity, matching). The messages are those of
 * Prometheus 3.5, positions included: reterr->message reads "1:8: parse error: unexpected …" (line:column, both from
 * 1), and begin/end give the byte range.
 *
 * Memory   the tree lives in `arena`; the text is copied there, so the caller's may go away.
 * Threads  no shared state; any thread, one arena per thread.
 * Errors   E_BAD_DATA  the text is no valid query; E_NOMEM  the arena is full;
 *          E_BAD_DATA also for the limits on bytes, tokens and depth, naming limit, asked and allowed.
 */
#ifndef PROMSPLIT_PROMQL_PARSE_H
#define PROMSPLIT_PROMQL_PARSE_H

#include "base/arena.h"
#include "base/error.h"
#include "promql/ast.h"

struct parse_limits {
    size_t bytes_max;
    size_t tokens_max;
    unsigned depth_max;
};

#define PARSE_LIMITS_DEFAULT ((struct parse_limits){.bytes_max = 1u << 20, .tokens_max = 100000, .depth_max = 200})

/* Regular expressions are RE2; this folder has no engine for them, so a caller lends one (backend/backend.h has it).
 * NULL instead of an engine: patterns go unchecked and count as not matching the empty text.
 * check    OK, or E_BAD_DATA in Go's wording: "error parsing regexp: missing closing ): `(`".
 * matches  whether the checked pattern, anchored at both ends, dot matching newline, matches the whole text.
 * Both may be called from any thread. */
struct regex_engine {
    enum status (*check)(void *arg, struct str pattern, struct error *reterr);
    bool (*matches)(void *arg, struct str pattern, struct str text);
    void *arg;
};

struct query_text {
    struct str text; /* in the arena */
    struct expr *root;
};

MUST_USE enum status promql_parse(struct arena *arena, struct str text, const struct parse_limits *limits,
                                  const struct regex_engine *regex, struct query_text *ret_query, struct error *reterr);

/* A series selector as match[] takes it: `up{job="a"}`, without modifiers, with one matcher that does not match the
 * empty text ("match[] must contain at least one non-empty matcher"). */
MUST_USE enum status promql_parse_selector(struct arena *arena, struct str text, const struct parse_limits *limits,
                                           const struct regex_engine *regex, struct expr_selector *ret_selector,
                                           struct error *reterr);

/* Makes of a query as it is written one to evaluate: gives every duration expression of the tree its ms, and takes `@
 * start()` and `@ end()` out of the parameters of aggregations, where Prometheus does not heed them. step_ms: the
 * query's step (0 for instant queries, as upstream); range_ms: end - start of the query. Errors as upstream words them:
 * "duration must be greater than 0", … */
MUST_USE enum status promql_resolve(struct expr *root, int64_t step_ms, int64_t range_ms, struct error *reterr);

/* "1h30m", "500ms", "1d" (units y w d h m s ms, falling, each once) to ms; false if it is none or overflows. */
bool promql_parse_duration(struct str text, int64_t *ret_ms);

/* API parameters: a float number of seconds or a Prometheus duration; a float number of seconds since the epoch or an
 * RFC 3339 time. False if it is neither. Rounded to milliseconds as web/api/v1 does. */
bool promql_parse_api_duration(struct str text, int64_t *ret_ms);
bool promql_parse_api_time(struct str text, int64_t *ret_ms);

#endif
