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
    duckdb_prepared_statement filter;    /* pattern -> places of the subjects that match */
    const struct str *subjects;          /* what the table function regex_subjects gives */
    size_t subjects_n;
    _Atomic size_t subjects_given;
    struct regex_memo *memos; /* REGEX_REMEMBERED_MAX, placed by hash; a newcomer takes the place over */
};

MUST_USE enum status regex_init(struct regex_cache *cache, struct engine *engine, struct error *reterr);
void regex_release(struct regex_cache *cache); /* a zeroed one is fine */
/* While the engine is opened again: callers wait from the one until the other. */
void regex_pause(struct regex_cache *cache);
MUST_USE enum status regex_resume(struct regex_cache *cache, struct error *reterr);
struct regex_engine regex_of(struct regex_cache *cache);

MUST_USE enum status regex_check(struct regex_cache *cache, struct str pattern, struct error *reterr);

/* Which of many texts a pattern matches, in one statement. May be called while another statement is bound or run. */
MUST_USE enum status regex_match_all(struct regex_cache *cache, struct str pattern, const struct str *texts, size_t n,
                                     bool *ret_matches, struct error *reterr);

#endif
