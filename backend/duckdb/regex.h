/* backend/duckdb/regex.h: RE2 as the engine has it, lent to the parser and to matchers (promql/parse.h).
 *
 * Answers are remembered per pattern, because a query asks for the same few patterns again and again.
 * Threads: any; one connection, used by one at a time.
 */
#ifndef PROMSPLIT_BACKEND_DUCKDB_REGEX_H
#define PROMSPLIT_BACKEND_DUCKDB_REGEX_H

#include "backend/duckdb/engine.h"
#include "promql/parse.h"

#define REGEX_REMEMBERED_MAX 512

struct regex_memo {
    struct str pattern; /* owned; ptr NULL: a free place */
    bool matches_empty;
    struct error error; /* status OK: the pattern is right */
};

struct regex_cache {
    pthread_mutex_t lock;
    struct connection *connection;
    duckdb_prepared_statement statement; /* text, pattern -> BOOLEAN */
    struct regex_memo *memos;            /* REGEX_REMEMBERED_MAX, placed by hash; a newcomer takes the place over */
};

MUST_USE enum status regex_init(struct regex_cache *cache, struct engine *engine, struct error *reterr);
void regex_release(struct regex_cache *cache); /* a zeroed one is fine */
/* While the engine is opened again: callers wait from the one until the other. */
void regex_pause(struct regex_cache *cache);
MUST_USE enum status regex_resume(struct regex_cache *cache, struct error *reterr);
struct regex_engine regex_of(struct regex_cache *cache);

MUST_USE enum status regex_check(struct regex_cache *cache, struct str pattern, struct error *reterr);

#endif
