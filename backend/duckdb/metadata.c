/* backend/duckdb/metadata.c: see metadata.h. */
#include "backend/duckdb/metadata.h"

#include <stdlib.h>
#include <string.h>

#include "backend/duckdb/decode.h"
#include "base/array.h"
#include "base/assert.h"

/* One allocation: the struct, then the bytes of its three texts. */
struct metadata_entry {
    struct metric_metadata is;
    bool is_stored; /* of a change: the table on disk has a row of the family */
};

static struct metadata_entry *entry_new(const struct metric_metadata *from)
{
    struct metadata_entry *entry = malloc(sizeof *entry + from->family.len + from->help.len + from->unit.len);
    if (!entry)
        return NULL;
    entry->is = *from;
    char *at = (char *)(entry + 1);
    struct str *texts[] = {&entry->is.family, &entry->is.help, &entry->is.unit};
    for (size_t i = 0; i < ARRAY_LENGTH(texts); i++) {
        if (texts[i]->len)
            memcpy(at, texts[i]->ptr, texts[i]->len);
        texts[i]->ptr = at;
        at += texts[i]->len;
    }
    return entry;
}

/* The place of a family among entries, or where it would go. */
static size_t place_of(struct metadata_entry *const *at, size_t n, struct str family, bool *ret_found)
{
    size_t low = 0, high = n;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        int order = str_cmp(at[middle]->is.family, family);
        if (order == 0) {
            *ret_found = true;
            return middle;
        }
        if (order < 0)
            low = middle + 1;
        else
            high = middle;
    }
    *ret_found = false;
    return low;
}

/* Puts the entry in the place of its family's, which is freed, or adds it: there is room for one more. */
static void keep(struct metadata_entry **entries, size_t *n, struct metadata_entry *entry)
{
    bool found;
    size_t at = place_of(entries, *n, entry->is.family, &found);
    if (found) {
        free(entries[at]);
    } else {
        memmove(&entries[at + 1], &entries[at], (*n - at) * sizeof(struct metadata_entry *));
        ++*n;
    }
    entries[at] = entry;
}

static enum status load_chunk(struct metadata_table *table, duckdb_data_chunk chunk, struct error *reterr)
{
    struct text_column family = text_column_of(duckdb_data_chunk_get_vector(chunk, 0));
    const uint8_t *type = duckdb_vector_get_data(duckdb_data_chunk_get_vector(chunk, 1));
    struct text_column help = text_column_of(duckdb_data_chunk_get_vector(chunk, 2));
    struct text_column unit = text_column_of(duckdb_data_chunk_get_vector(chunk, 3));
    idx_t n = duckdb_data_chunk_get_size(chunk);
    if (!array_reserve(&table->at, &table->capacity, table->n + n, sizeof(struct metadata_entry *)))
        return error_set(reterr, E_NOMEM, "no memory for metric metadata");
    for (idx_t row = 0; row < n; row++) {
        struct metric_metadata is = {
            .family = text_column_get(&family, row),
            .type = type[row] <= METRIC_STATESET ? (enum metric_type)type[row] : METRIC_UNKNOWN,
            .help = text_column_get(&help, row),
            .unit = text_column_get(&unit, row),
        };
        struct metadata_entry *entry = entry_new(&is);
        if (!entry)
            return error_set(reterr, E_NOMEM, "no memory for metric metadata");
        keep(table->at, &table->n, entry);
    }
    return OK;
}

enum status metadata_load(struct metadata_table *table, struct connection *connection, struct error *reterr)
{
    duckdb_result result;
    enum status status =
        engine_query(connection, "SELECT family, type, help, unit FROM metadata", false, NULL, &result, reterr);
    if (status == OK) {
        duckdb_data_chunk chunk = NULL;
        while (status == OK && (status = engine_fetch(connection, &result, NULL, &chunk, reterr)) == OK && chunk) {
            status = load_chunk(table, chunk, reterr);
            engine_chunk_free(&chunk);
        }
        duckdb_destroy_result(&result);
    }
    return status;
}

void metadata_init(struct metadata_table *table)
{
    *table = (struct metadata_table){.n = 0};
    pthread_rwlock_init(&table->lock, NULL);
}

void metadata_release(struct metadata_table *table)
{
    for (size_t i = 0; i < table->n; i++)
        free(table->at[i]);
    free(table->at);
    pthread_rwlock_destroy(&table->lock);
    *table = (struct metadata_table){.n = 0};
}

static bool says_the_same(const struct metric_metadata *a, const struct metric_metadata *b)
{
    return a->type == b->type && str_eq(a->help, b->help) && str_eq(a->unit, b->unit);
}

enum status metadata_stage(struct metadata_table *table, struct metadata_changes *changes,
                           const struct metric_metadata *entry, struct error *reterr)
{
    bool is_known, is_changed;
    size_t at = place_of(table->at, table->n, entry->family, &is_known);
    size_t change = place_of(changes->at, changes->n, entry->family, &is_changed);
    if ((is_known || is_changed) && says_the_same(is_changed ? &changes->at[change]->is : &table->at[at]->is, entry))
        return OK;
    bool is_added = !is_known && !is_changed;
    size_t families_n = table->n + changes->added_n + is_added;
    if (is_added && families_n > METADATA_FAMILIES_MAX)
        return error_set(reterr, E_LIMIT, "metadata of more than %d metric families: %zu asked, %d allowed",
                         METADATA_FAMILIES_MAX, families_n, METADATA_FAMILIES_MAX);
    struct metadata_entry *copy = entry_new(entry);
    if (!copy || !array_reserve(&changes->at, &changes->capacity, changes->n + 1, sizeof(struct metadata_entry *)) ||
        !array_reserve(&table->at, &table->capacity, families_n, sizeof(struct metadata_entry *))) {
        free(copy);
        return error_set(reterr, E_NOMEM, "no memory for metric metadata");
    }
    copy->is_stored = is_known;
    changes->added_n += is_added;
    keep(changes->at, &changes->n, copy);
    return OK;
}

/* The names of the families that have a row already, as a list; NULL without memory. */
static duckdb_value stored_families(const struct metadata_changes *changes)
{
    duckdb_value *names = calloc(changes->n, sizeof(duckdb_value));
    if (!names)
        return NULL;
    size_t n = 0;
    for (size_t i = 0; i < changes->n; i++) {
        struct str family = changes->at[i]->is.family;
        if (changes->at[i]->is_stored)
            names[n++] = duckdb_create_varchar_length(family.ptr, family.len);
    }
    duckdb_logical_type text = duckdb_create_logical_type(DUCKDB_TYPE_VARCHAR);
    duckdb_value list = duckdb_create_list_value(text, names, n);
    duckdb_destroy_logical_type(&text);
    for (size_t i = 0; i < n; i++)
        duckdb_destroy_value(&names[i]);
    free(names);
    return list;
}

static enum status delete_rows(const struct metadata_changes *changes, struct connection *connection,
                               struct error *reterr)
{
    if (changes->n == changes->added_n)
        return OK;
    duckdb_value families = stored_families(changes);
    if (!families)
        return error_set(reterr, E_NOMEM, "no memory for metric metadata");
    duckdb_prepared_statement statement = NULL;
    duckdb_result result = {0};
    enum status status = OK;
    if (duckdb_prepare(connection->handle, "DELETE FROM metadata WHERE family IN (SELECT unnest($1))", &statement) !=
            DuckDBSuccess ||
        duckdb_bind_value(statement, 1, families) != DuckDBSuccess)
        status = engine_error(duckdb_prepare_error(statement), NULL, reterr);
    else if (duckdb_execute_prepared(statement, &result) != DuckDBSuccess)
        status = engine_error(duckdb_result_error(&result), NULL, reterr);
    duckdb_destroy_result(&result);
    duckdb_destroy_prepare(&statement);
    duckdb_destroy_value(&families);
    return status;
}

static bool append_row(duckdb_appender appender, const struct metric_metadata *is)
{
    return duckdb_append_varchar_length(appender, is->family.ptr, is->family.len) == DuckDBSuccess &&
           duckdb_append_uint8(appender, (uint8_t)is->type) == DuckDBSuccess &&
           duckdb_append_varchar_length(appender, is->help.ptr, is->help.len) == DuckDBSuccess &&
           duckdb_append_varchar_length(appender, is->unit.ptr, is->unit.len) == DuckDBSuccess &&
           duckdb_appender_end_row(appender) == DuckDBSuccess;
}

/* Maybe many: a new sender brings all of its families at once. */
static enum status append_rows(const struct metadata_changes *changes, struct connection *connection,
                               struct error *reterr)
{
    duckdb_appender appender = NULL;
    bool done =
        duckdb_appender_create_ext(connection->handle, ENGINE_CATALOG, NULL, "metadata", &appender) == DuckDBSuccess;
    for (size_t i = 0; done && i < changes->n; i++)
        done = append_row(appender, &changes->at[i]->is);
    done = done && duckdb_appender_close(appender) == DuckDBSuccess;
    enum status status = done ? OK : engine_error(duckdb_appender_error(appender), NULL, reterr);
    duckdb_appender_destroy(&appender);
    return status;
}

enum status metadata_write(const struct metadata_changes *changes, struct connection *connection, struct error *reterr)
{
    if (changes->n == 0)
        return OK;
    enum status status = delete_rows(changes, connection, reterr);
    return status == OK ? append_rows(changes, connection, reterr) : status;
}

void metadata_keep(struct metadata_table *table, struct metadata_changes *changes)
{
    pthread_rwlock_wrlock(&table->lock);
    for (size_t i = 0; i < changes->n; i++)
        keep(table->at, &table->n, changes->at[i]);
    pthread_rwlock_unlock(&table->lock);
    changes->n = changes->added_n = 0;
}

void metadata_changes_release(struct metadata_changes *changes)
{
    for (size_t i = 0; i < changes->n; i++)
        free(changes->at[i]);
    free(changes->at);
    *changes = (struct metadata_changes){.n = 0};
}

static enum status copy_entries(const struct metadata_table *table, size_t from, size_t n, struct metadata_list *list,
                                struct error *reterr)
{
    list->at = ARENA_ARRAY(&list->arena, struct metric_metadata, n ? n : 1);
    for (size_t i = 0; list->at && i < n; i++) {
        const struct metric_metadata *is = &table->at[from + i]->is;
        list->at[i] = (struct metric_metadata){arena_str(&list->arena, is->family), is->type,
                                               arena_str(&list->arena, is->help), arena_str(&list->arena, is->unit)};
    }
    list->n = n;
    return list->arena.exhausted ? error_set(reterr, E_NOMEM, "no memory for a list of metric metadata") : OK;
}

enum status metadata_to_list(struct metadata_table *table, struct str family, size_t limit,
                             struct metadata_list **ret_list, struct error *reterr)
{
    struct metadata_list *list = calloc(1, sizeof *list);
    if (!list)
        return error_set(reterr, E_NOMEM, "no memory for a list of metric metadata");
    arena_init(&list->arena, SIZE_MAX);
    pthread_rwlock_rdlock(&table->lock);
    size_t from = 0, n = table->n;
    if (family.len > 0) {
        bool found;
        from = place_of(table->at, table->n, family, &found);
        n = found;
    }
    n = limit && n > limit ? limit : n;
    enum status status = copy_entries(table, from, n, list, reterr);
    pthread_rwlock_unlock(&table->lock);
    if (status == OK)
        *ret_list = list;
    else
        metadata_list_free(list);
    return status;
}
