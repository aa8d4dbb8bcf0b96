/* backend/duckdb/regex.c: see regex.h.
 *
 * The engine compiles patterns with RE2 in C++, Prometheus with Go's regexp/syntax: the same language, but for \C,
 * which Go refuses, and messages, which REWORDED translates.
 */
#include "backend/duckdb/regex.h"

#include <stdlib.h>
#include <string.h>

#include "base/assert.h"

static const struct {
    const char *re2, *go;
} REWORDED[] = {
    {"missing ): ", "missing closing )"},
    {"missing ]: ", "missing closing ]"},
    {"unexpected ): ", "unexpected )"},
    {"no argument for repetition operator: ", "missing argument to repetition operator"},
    {"bad repetition operator: ", "invalid nested repetition operator"},
    {"invalid repetition size: ", "invalid repeat count"},
    {"invalid escape sequence: ", "invalid escape sequence"},
    {"invalid character class range: ", "invalid character class range"},
    {"invalid character class: ", "invalid character class"},
    {"invalid named capture group: ", "invalid named capture"},
    {"invalid perl operator: ", "invalid or unsupported Perl syntax"},
    {"invalid UTF-8", "invalid UTF-8"},
    {"trailing \\", "trailing backslash at end of expression"},
};

static enum status reword(const char *message, struct str pattern, struct error *reterr)
{
    const char *prefix = strstr(message, "Error: ");
    const char *said = prefix ? prefix + strlen("Error: ") : message;
    for (size_t i = 0; i < ARRAY_LENGTH(REWORDED); i++) {
        size_t len = strlen(REWORDED[i].re2);
        if (strncmp(said, REWORDED[i].re2, len) != 0)
            continue;
        const char *rest = REWORDED[i].re2[len - 1] == ' ' ? said + len : "";
        return error_set(reterr, E_BAD_DATA, "error parsing regexp: %s: `%s`", REWORDED[i].go, rest);
    }
    return error_set(reterr, E_BAD_DATA, "error parsing regexp: %s: `" STR_FORMAT "`", said, STR_ARG(pattern));
}

static enum status prepare(struct regex_cache *cache, struct error *reterr)
{
    if (cache->connection->handle && duckdb_prepare(cache->connection->handle, "SELECT regexp_full_match($1, $2, 's')",
                                                    &cache->statement) == DuckDBSuccess)
        return OK;
    enum status status = engine_error(cache->statement ? duckdb_prepare_error(cache->statement) : NULL, NULL, reterr);
    duckdb_destroy_prepare(&cache->statement);
    return status;
}

enum status regex_init(struct regex_cache *cache, struct engine *engine, struct error *reterr)
{
    *cache = (struct regex_cache){.connection = NULL};
    cache->memos = calloc(REGEX_REMEMBERED_MAX, sizeof *cache->memos);
    if (!cache->memos)
        return error_set(reterr, E_NOMEM, "no memory for regular expressions");
    pthread_mutex_init(&cache->lock, NULL);
    enum status status = engine_connect(engine, &cache->connection, reterr);
    if (status == OK)
        status = prepare(cache, reterr);
    if (status != OK)
        regex_release(cache);
    return status;
}

void regex_pause(struct regex_cache *cache)
{
    pthread_mutex_lock(&cache->lock);
    duckdb_destroy_prepare(&cache->statement);
}

enum status regex_resume(struct regex_cache *cache, struct error *reterr)
{
    enum status status = prepare(cache, reterr);
    pthread_mutex_unlock(&cache->lock);
    return status;
}

void regex_release(struct regex_cache *cache)
{
    if (!cache->memos)
        return;
    duckdb_destroy_prepare(&cache->statement);
    engine_disconnect(cache->connection);
    for (size_t i = 0; i < REGEX_REMEMBERED_MAX; i++)
        free((char *)cache->memos[i].pattern.ptr);
    free(cache->memos);
    pthread_mutex_destroy(&cache->lock);
    *cache = (struct regex_cache){.connection = NULL};
}

/* Under the lock. */
static enum status ask(struct regex_cache *cache, struct str pattern, struct str text, bool *ret_matches,
                       struct error *reterr)
{
    duckdb_result result;
    *ret_matches = false;
    if (!cache->statement || atomic_load(&cache->connection->engine->broken))
        return error_set(reterr, E_UNAVAILABLE, "the storage engine is being opened again");
    if (duckdb_bind_varchar_length(cache->statement, 1, text.len ? text.ptr : "", text.len) != DuckDBSuccess ||
        duckdb_bind_varchar_length(cache->statement, 2, pattern.len ? pattern.ptr : "", pattern.len) != DuckDBSuccess)
        return error_set(reterr, E_BAD_DATA, "error parsing regexp: invalid UTF-8: `" STR_FORMAT "`", STR_ARG(pattern));
    enum status status = OK;
    if (duckdb_execute_prepared(cache->statement, &result) != DuckDBSuccess)
        status = reword(duckdb_result_error(&result), pattern, reterr);
    else
        *ret_matches = duckdb_value_boolean(&result, 0, 0);
    duckdb_destroy_result(&result);
    return status;
}

/* \C, one byte whatever it is, outside \Q…\E. */
static bool names_a_byte(struct str pattern)
{
    bool quoted = false;
    for (size_t i = 0; i + 1 < pattern.len; i++) {
        if (pattern.ptr[i] != '\\')
            continue;
        char escaped = pattern.ptr[i + 1];
        if (quoted) {
            quoted = escaped != 'E';
        } else {
            quoted = escaped == 'Q';
            if (escaped == 'C')
                return true;
            i++;
        }
    }
    return false;
}

static uint64_t hash_of(struct str s)
{
    uint64_t hash = UINT64_C(0xcbf29ce484222325); /* FNV-1a: a bad pattern set costs time, not answers */
    for (size_t i = 0; i < s.len; i++)
        hash = (hash ^ (unsigned char)s.ptr[i]) * UINT64_C(0x100000001b3);
    return hash;
}

/* Under the lock: what is known of a pattern; asked for if it is new. NULL when memory is short. */
static struct regex_memo *memo_of(struct regex_cache *cache, struct str pattern)
{
    struct regex_memo *memo = &cache->memos[hash_of(pattern) % REGEX_REMEMBERED_MAX];
    bool judged = memo->error.status == OK || memo->error.status == E_BAD_DATA; /* by an engine that works */
    if (memo->pattern.ptr && judged && str_eq(memo->pattern, pattern))
        return memo;
    char *copy = malloc(pattern.len + 1);
    if (!copy)
        return NULL;
    if (pattern.len)
        memcpy(copy, pattern.ptr, pattern.len);
    free((char *)memo->pattern.ptr);
    *memo = (struct regex_memo){.pattern = {copy, pattern.len}};
    if (names_a_byte(pattern))
        memo->error.status =
            error_set(&memo->error, E_BAD_DATA, "error parsing regexp: invalid escape sequence: `\\C`");
    else
        memo->error.status = ask(cache, pattern, STR(""), &memo->matches_empty, &memo->error);
    return memo;
}

enum status regex_check(struct regex_cache *cache, struct str pattern, struct error *reterr)
{
    pthread_mutex_lock(&cache->lock);
    const struct regex_memo *memo = memo_of(cache, pattern);
    enum status status = memo ? memo->error.status : E_NOMEM;
    if (!memo)
        error_set(reterr, E_NOMEM, "no memory for a regular expression");
    else if (status != OK && reterr)
        *reterr = memo->error;
    pthread_mutex_unlock(&cache->lock);
    return status;
}

static enum status check(void *arg, struct str pattern, struct error *reterr)
{
    return regex_check(arg, pattern, reterr);
}

static bool matches(void *arg, struct str pattern, struct str text)
{
    struct regex_cache *cache = arg;
    bool does = false;
    pthread_mutex_lock(&cache->lock);
    const struct regex_memo *memo = memo_of(cache, pattern);
    if (memo && memo->error.status == OK) {
        if (text.len == 0)
            does = memo->matches_empty;
        else if (ask(cache, pattern, text, &does, NULL) != OK)
            does = false;
    }
    pthread_mutex_unlock(&cache->lock);
    return does;
}

struct regex_engine regex_of(struct regex_cache *cache)
{
    return (struct regex_engine){.check = check, .matches = matches, .arg = cache};
}
