/* backend/duckdb/regex.c: see regex.h.
 *
 * The engine compiles patterns with RE2 in C++, Prometheus with Go's regexp/syntax: the same language, but for \C,
 * which Go refuses, and messages, which REWORDED translates.
 */
#include "backend/duckdb/regex.h"

#include <stdlib.h>
#include <string.h>

#include "base/assert.h"

#define SUBJECTS_THREADS_MAX 64 /* the engine has fewer */

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

/* --- regex_subjects(): the texts of regex_match_all, as a table --- */

static void subjects_bind(duckdb_bind_info info)
{
    static const struct {
        const char *name;
        duckdb_type type;
    } COLUMNS[] = {{"place", DUCKDB_TYPE_UBIGINT}, {"subject", DUCKDB_TYPE_VARCHAR}};
    for (size_t i = 0; i < ARRAY_LENGTH(COLUMNS); i++) {
        duckdb_logical_type type = duckdb_create_logical_type(COLUMNS[i].type);
        duckdb_bind_add_result_column(info, COLUMNS[i].name, type);
        duckdb_destroy_logical_type(&type);
    }
}

static void subjects_init(duckdb_init_info info)
{
    duckdb_init_set_max_threads(info, SUBJECTS_THREADS_MAX);
}

static void subjects_give(duckdb_function_info info, duckdb_data_chunk output)
{
    ENGINE_TAKES();
    struct regex_cache *cache = duckdb_function_get_extra_info(info);
    size_t most = duckdb_vector_size(), first = atomic_fetch_add(&cache->subjects_given, most);
    size_t n = first >= cache->subjects_n ? 0 : cache->subjects_n - first < most ? cache->subjects_n - first : most;
    uint64_t *place = duckdb_vector_get_data(duckdb_data_chunk_get_vector(output, 0));
    duckdb_vector subject = duckdb_data_chunk_get_vector(output, 1);
    for (size_t i = 0; i < n; i++) {
        struct str text = cache->subjects[first + i];
        place[i] = first + i;
        duckdb_vector_assign_string_element_len(subject, i, text.len ? text.ptr : "", text.len);
    }
    duckdb_data_chunk_set_size(output, n);
    ENGINE_GIVES();
}

static enum status register_subjects(struct regex_cache *cache, struct error *reterr)
{
    duckdb_table_function function = duckdb_create_table_function();
    duckdb_table_function_set_name(function, "regex_subjects");
    duckdb_table_function_set_extra_info(function, cache, NULL);
    duckdb_table_function_set_bind(function, subjects_bind);
    duckdb_table_function_set_init(function, subjects_init);
    duckdb_table_function_set_function(function, subjects_give);
    duckdb_state registered = duckdb_register_table_function(cache->connection->handle, function);
    duckdb_destroy_table_function(&function);
    return registered == DuckDBSuccess ? OK : error_set(reterr, E_STORE, "the storage engine refuses regex_subjects");
}

static enum status prepare_one(struct regex_cache *cache, const char *sql, duckdb_prepared_statement *ret_statement,
                               struct error *reterr)
{
    if (duckdb_prepare(cache->connection->handle, sql, ret_statement) == DuckDBSuccess)
        return OK;
    enum status status = engine_error(*ret_statement ? duckdb_prepare_error(*ret_statement) : NULL, NULL, reterr);
    duckdb_destroy_prepare(ret_statement);
    return status;
}

static enum status prepare(struct regex_cache *cache, struct error *reterr)
{
    if (!cache->connection->handle)
        return error_set(reterr, E_UNAVAILABLE, "the storage engine could not be opened again");
    enum status status = register_subjects(cache, reterr);
    if (status == OK)
        status = prepare_one(cache, "SELECT regexp_full_match($1, $2, 's')", &cache->statement, reterr);
    if (status == OK)
        status = prepare_one(cache, "SELECT place FROM regex_subjects() WHERE regexp_full_match(subject, $1, 's')",
                             &cache->filter, reterr);
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
    duckdb_destroy_prepare(&cache->filter);
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
    duckdb_destroy_prepare(&cache->filter);
    engine_disconnect(cache->connection);
    for (size_t i = 0; i < REGEX_REMEMBERED_MAX; i++)
        free((char *)cache->memos[i].pattern.ptr);
    free(cache->memos);
    pthread_mutex_destroy(&cache->lock);
    *cache = (struct regex_cache){.connection = NULL};
}

/* Under the lock. */
static bool works(const struct regex_cache *cache, struct error *reterr)
{
    bool does = cache->filter && !atomic_load(&cache->connection->engine->broken);
    if (!does)
        error_set(reterr, E_UNAVAILABLE, "the storage engine is being opened again");
    return does;
}

/* Under the lock. */
static enum status ask(struct regex_cache *cache, struct str pattern, struct str text, bool *ret_matches,
                       struct error *reterr)
{
    duckdb_result result;
    *ret_matches = false;
    if (!works(cache, reterr))
        return E_UNAVAILABLE;
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

/* Under the lock: marks the places that the filter gives. */
static enum status read_places(struct connection *connection, duckdb_result *rows, size_t n, bool *ret_matches,
                               struct error *reterr)
{
    duckdb_data_chunk chunk = NULL;
    enum status status;
    while ((status = engine_fetch(connection, rows, NULL, &chunk, reterr)) == OK && chunk) {
        const uint64_t *places = duckdb_vector_get_data(duckdb_data_chunk_get_vector(chunk, 0));
        for (idx_t i = 0; i < duckdb_data_chunk_get_size(chunk); i++) {
            INVARIANT(places[i] < n);
            ret_matches[places[i]] = true;
        }
        engine_chunk_free(&chunk);
    }
    return status;
}

enum status regex_match_all(struct regex_cache *cache, struct str pattern, const struct str *texts, size_t n,
                            bool *ret_matches, struct error *reterr)
{
    memset(ret_matches, 0, n * sizeof *ret_matches);
    pthread_mutex_lock(&cache->lock);
    cache->subjects = texts;
    cache->subjects_n = n;
    atomic_store(&cache->subjects_given, 0);
    enum status status = OK;
    duckdb_result rows;
    if (!works(cache, reterr)) {
        status = E_UNAVAILABLE;
    } else if (duckdb_bind_varchar_length(cache->filter, 1, pattern.len ? pattern.ptr : "", pattern.len) !=
               DuckDBSuccess) {
        status =
            error_set(reterr, E_BAD_DATA, "error parsing regexp: invalid UTF-8: `" STR_FORMAT "`", STR_ARG(pattern));
    } else {
        ENGINE_GIVES();
        if (duckdb_execute_prepared(cache->filter, &rows) != DuckDBSuccess)
            status = reword(duckdb_result_error(&rows), pattern, reterr);
        else
            status = read_places(cache->connection, &rows, n, ret_matches, reterr);
        ENGINE_TAKES();
        duckdb_destroy_result(&rows);
    }
    cache->subjects = NULL;
    cache->subjects_n = 0;
    pthread_mutex_unlock(&cache->lock);
    return status;
}

struct regex_engine regex_of(struct regex_cache *cache)
{
    return (struct regex_engine){.check = check, .matches = matches, .arg = cache};
}
