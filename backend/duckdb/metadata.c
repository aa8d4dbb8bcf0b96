/* backend/duckdb/metadata.c: see metadata.h. */
#include "backend/duckdb/metadata.h"

#include <stdlib.h>
#include <string.h>

#include "backend/duckdb/decode.h"
#include "base/assert.h"

/* One allocation: the struct, then the bytes of its three texts. */
struct metadata_entry {
    struct metric_metadata is;
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

/* The place of a family, or where it would go. */
static size_t place_of(const struct metadata_table *table, struct str family, bool *ret_found)
{
    size_t low = 0, high = table->n;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        int order = str_cmp(table->at[middle]->is.family, family);
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

/* Needs room for one more. */
static void keep(struct metadata_table *table, struct metadata_entry *entry)
{
    bool found;
    size_t at = place_of(table, entry->is.family, &found);
    if (found) {
        free(table->at[at]);
    } else {
        INVARIANT(table->n < table->capacity);
        memmove(&table->at[at + 1], &table->at[at], (table->n - at) * sizeof(struct metadata_entry *));
        table->n++;
    }
    table->at[at] = entry;
}

static bool reserve(struct metadata_entry ***at, size_t *capacity, size_t wanted)
{
    if (wanted <= *capacity)
        return true;
    size_t room = wanted < 64 ? 64 : wanted * 2;
    struct metadata_entry **grown = realloc(*at, room * sizeof(struct metadata_entry *));
    if (!grown)
        return false;
    *at = grown;
    *capacity = room;
    return true;
}

static enum status load_chunk(struct metadata_table *table, duckdb_data_chunk chunk, struct error *reterr)
{
    struct text_column family = text_column_of(duckdb_data_chunk_get_vector(chunk, 0));
    const uint8_t *type = duckdb_vector_get_data(duckdb_data_chunk_get_vector(chunk, 1));
    struct text_column help = text_column_of(duckdb_data_chunk_get_vector(chunk, 2));
    struct text_column unit = text_column_of(duckdb_data_chunk_get_vector(chunk, 3));
    idx_t n = duckdb_data_chunk_get_size(chunk);
    if (!reserve(&table->at, &table->capacity, table->n + n))
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
        keep(table, entry);
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
        while (status == OK && (status = engine_fetch(&result, NULL, &chunk, reterr)) == OK && chunk) {
            status = load_chunk(table, chunk, reterr);
            duckdb_destroy_data_chunk(&chunk);
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

enum status metadata_stage(struct metadata_table *table, struct metadata_changes *changes,
                           const struct metric_metadata *entry, struct error *reterr)
{
    bool found;
    size_t at = place_of(table, entry->family, &found);
    const struct metric_metadata *known = found ? &table->at[at]->is : NULL;
    if (known && known->type == entry->type && str_eq(known->help, entry->help) && str_eq(known->unit, entry->unit))
        return OK;
    if (!found && table->n + changes->n >= METADATA_FAMILIES_MAX)
        return error_set(reterr, E_LIMIT, "metadata of more than %d metric families: %zu asked, %d allowed",
                         METADATA_FAMILIES_MAX, table->n + changes->n + 1, METADATA_FAMILIES_MAX);
    struct metadata_entry *copy = entry_new(entry);
    if (!copy || !reserve(&changes->at, &changes->capacity, changes->n + 1) ||
        !reserve(&table->at, &table->capacity, table->n + changes->n + 1)) {
        free(copy);
        return error_set(reterr, E_NOMEM, "no memory for metric metadata");
    }
    changes->at[changes->n++] = copy;
    return OK;
}

static enum status write_one(duckdb_prepared_statement remove, duckdb_prepared_statement insert,
                             const struct metric_metadata *is, struct error *reterr)
{
    duckdb_bind_varchar_length(remove, 1, is->family.ptr, is->family.len);
    duckdb_bind_varchar_length(insert, 1, is->family.ptr, is->family.len);
    duckdb_bind_uint8(insert, 2, (uint8_t)is->type);
    duckdb_bind_varchar_length(insert, 3, is->help.ptr, is->help.len);
    duckdb_bind_varchar_length(insert, 4, is->unit.ptr, is->unit.len);
    duckdb_prepared_statement both[] = {remove, insert};
    for (size_t i = 0; i < ARRAY_LENGTH(both); i++) {
        duckdb_result result;
        enum status status = OK;
        if (duckdb_execute_prepared(both[i], &result) != DuckDBSuccess)
            status = engine_error(duckdb_result_error(&result), NULL, reterr);
        duckdb_destroy_result(&result);
        if (status != OK)
            return status;
    }
    return OK;
}

enum status metadata_write(const struct metadata_changes *changes, struct connection *connection, struct error *reterr)
{
    if (changes->n == 0)
        return OK;
    duckdb_prepared_statement remove = NULL, insert = NULL;
    enum status status = OK;
    if (duckdb_prepare(connection->handle, "DELETE FROM metadata WHERE family = $1", &remove) != DuckDBSuccess)
        status = engine_error(duckdb_prepare_error(remove), NULL, reterr);
    else if (duckdb_prepare(connection->handle, "INSERT INTO metadata VALUES ($1, $2, $3, $4)", &insert) !=
             DuckDBSuccess)
        status = engine_error(duckdb_prepare_error(insert), NULL, reterr);
    for (size_t i = 0; status == OK && i < changes->n; i++)
        status = write_one(remove, insert, &changes->at[i]->is, reterr);
    duckdb_destroy_prepare(&remove);
    duckdb_destroy_prepare(&insert);
    return status;
}

void metadata_keep(struct metadata_table *table, struct metadata_changes *changes)
{
    pthread_rwlock_wrlock(&table->lock);
    for (size_t i = 0; i < changes->n; i++)
        keep(table, changes->at[i]);
    pthread_rwlock_unlock(&table->lock);
    changes->n = 0;
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
        from = place_of(table, family, &found);
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
