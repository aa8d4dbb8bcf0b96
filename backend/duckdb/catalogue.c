/* backend/duckdb/catalogue.c: see catalogue.h. */
#include "backend/duckdb/catalogue.h"

#include <stdlib.h>
#include <string.h>

#include "backend/duckdb/decode.h"
#include "backend/duckdb/stored_value.h"
#include "base/assert.h"
#include "base/float_text.h"

static void slot_put(struct catalogue *c, const struct known_series *series)
{
    uint64_t slot = series->hash & (c->slots_n - 1);
    while (c->slots[slot])
        slot = (slot + 1) & (c->slots_n - 1);
    c->slots[slot] = series->id + 1;
}

/* Room for one more series: the table of slots is at most half full. */
static bool grow(struct catalogue *c, uint32_t id)
{
    if (id >= c->capacity) {
        uint64_t capacity = c->capacity ? (uint64_t)c->capacity * 2 : 1024;
        capacity = capacity > id ? capacity : (uint64_t)id + 1;
        capacity = capacity > UINT32_MAX ? UINT32_MAX : capacity;
        struct known_series **at = realloc(c->at, capacity * sizeof(struct known_series *));
        if (!at)
            return false;
        memset(at + c->capacity, 0, (capacity - c->capacity) * sizeof(struct known_series *));
        c->at = at;
        c->capacity = (uint32_t)capacity;
    }
    if (c->slots_n >= 2 * ((uint64_t)c->capacity + 1))
        return true;
    uint64_t slots_n = 1024;
    while (slots_n < 2 * ((uint64_t)c->capacity + 1))
        slots_n *= 2;
    uint32_t *slots = calloc(slots_n, sizeof *slots);
    if (!slots)
        return false;
    free(c->slots);
    c->slots = slots;
    c->slots_n = slots_n;
    for (uint32_t i = 0; i < c->n; i++) {
        if (c->at[i])
            slot_put(c, c->at[i]);
    }
    return true;
}

struct known_series *catalogue_find(const struct catalogue *c, struct labels labels, uint64_t hash)
{
    if (!c->slots_n)
        return NULL;
    for (uint64_t slot = hash & (c->slots_n - 1); c->slots[slot]; slot = (slot + 1) & (c->slots_n - 1)) {
        struct known_series *series = c->at[c->slots[slot] - 1];
        if (series->hash == hash && labels_eq(series->labels, labels))
            return series;
    }
    return NULL;
}

static struct known_series *add_with_id(struct catalogue *c, struct labels labels, uint64_t hash, uint32_t id)
{
    if (id == UINT32_MAX || !grow(c, id))
        return NULL;
    struct known_series *series = ARENA_NEW(&c->arena, struct known_series);
    if (!series)
        return NULL;
    *series = (struct known_series){.labels = labels, .hash = hash, .id = id};
    c->at[id] = series;
    c->n = id >= c->n ? id + 1 : c->n;
    c->live_n++;
    slot_put(c, series);
    c->metadata_labels |= labels_get(labels, STR("__type__")).len > 0 || labels_get(labels, STR("__unit__")).len > 0;
    return series;
}

struct known_series *catalogue_add(struct catalogue *c, struct labels labels, uint64_t hash)
{
    struct labels copy = labels_copy(&c->arena, labels);
    return copy.at ? add_with_id(c, copy, hash, c->n) : NULL;
}

/* The entries behind a hole move up, unless they would then lie before their own place. */
void catalogue_remove(struct catalogue *c, struct known_series *series)
{
    uint64_t mask = c->slots_n - 1, hole = series->hash & mask;
    while (c->slots[hole] != series->id + 1)
        hole = (hole + 1) & mask;
    for (uint64_t slot = (hole + 1) & mask; c->slots[slot]; slot = (slot + 1) & mask) {
        uint64_t home = c->at[c->slots[slot] - 1]->hash & mask;
        if (((slot - home) & mask) < ((slot - hole) & mask))
            continue;
        c->slots[hole] = c->slots[slot];
        hole = slot;
    }
    c->slots[hole] = 0;
    c->at[series->id] = NULL;
    c->live_n--;
    c->removed_n++;
}

#define TIDY_MIN 1000 /* removed series; fewer are not worth the copy */

void catalogue_tidy(struct catalogue *c)
{
    if (c->removed_n < TIDY_MIN || c->removed_n < c->live_n)
        return;
    struct arena arena;
    struct known_series **at = calloc(c->capacity, sizeof(struct known_series *));
    bool copied = at != NULL;
    arena_init(&arena, SIZE_MAX);
    for (uint32_t i = 0; copied && i < c->n; i++) {
        if (!c->at[i])
            continue;
        at[i] = ARENA_NEW(&arena, struct known_series);
        copied = at[i] != NULL;
        if (!copied)
            break;
        *at[i] = *c->at[i];
        at[i]->labels = labels_copy(&arena, c->at[i]->labels);
        copied = at[i]->labels.at != NULL;
    }
    if (!copied) {
        arena_release(&arena);
        free(at);
        return;
    }
    arena_release(&c->arena);
    free(c->at);
    c->arena = arena;
    c->at = at;
    c->removed_n = 0;
}

static enum status load_series(struct catalogue *c, struct connection *connection, struct totals *totals,
                               struct error *reterr)
{
    duckdb_result result;
    enum status status =
        engine_query(connection, "SELECT series, metric, labels FROM series", true, NULL, &result, reterr);
    if (status != OK)
        return status;
    const struct fragment_columns columns = {.metric = true, .map = true};
    duckdb_data_chunk chunk = NULL;
    while ((status = engine_fetch(&result, NULL, &chunk, reterr)) == OK && chunk) {
        const uint32_t *ids = duckdb_vector_get_data(duckdb_data_chunk_get_vector(chunk, 0));
        struct label_reader reader;
        label_reader_init(&reader, &columns, NULL, chunk, 1);
        for (idx_t row = 0; status == OK && row < duckdb_data_chunk_get_size(chunk); row++) {
            struct labels labels;
            status = label_reader_get(&reader, row, &c->arena, &labels, reterr);
            struct known_series *series = status == OK ? add_with_id(c, labels, labels_hash(labels), ids[row]) : NULL;
            if (series)
                series->stored = true;
            else if (status == OK)
                status = error_set(reterr, E_NOMEM, "no memory for the catalogue of series");
            totals->series_n += series != NULL;
        }
        duckdb_destroy_data_chunk(&chunk);
        if (status != OK)
            break;
    }
    duckdb_destroy_result(&result);
    return status;
}

static void note_samples(struct catalogue *c, duckdb_data_chunk chunk, struct totals *totals)
{
    const void *column[5];
    for (idx_t i = 0; i < ARRAY_LENGTH(column); i++)
        column[i] = duckdb_vector_get_data(duckdb_data_chunk_get_vector(chunk, i));
    const uint32_t *ids = column[0];
    const int64_t *oldest = column[1], *newest = column[2], *counts = column[4];
    const double *values = column[3];
    for (idx_t row = 0; row < duckdb_data_chunk_get_size(chunk); row++) {
        totals->samples_n += (uint64_t)counts[row];
        totals->min_ms = oldest[row] < totals->min_ms ? oldest[row] : totals->min_ms;
        totals->max_ms = newest[row] > totals->max_ms ? newest[row] : totals->max_ms;
        struct known_series *series = ids[row] < c->n ? c->at[ids[row]] : NULL;
        if (!series)
            continue;
        series->has_samples = true;
        series->newest_ms = newest[row];
        series->newest_bits = double_bits(stored_value(values[row]));
    }
}

static enum status load_newest(struct catalogue *c, struct connection *connection, struct totals *totals,
                               struct error *reterr)
{
    duckdb_result result;
    enum status status =
        engine_query(connection,
                     "SELECT series, min(tmin), max(tmax), arg_max(newest, tmax), sum(n)::BIGINT FROM ("
                     "SELECT series, tmin, tmax, value[n] AS newest, n FROM chunks UNION ALL "
                     "SELECT series, ts, ts, value, 1 FROM recent) GROUP BY series",
                     true, NULL, &result, reterr);
    if (status != OK)
        return status;
    duckdb_data_chunk chunk = NULL;
    while ((status = engine_fetch(&result, NULL, &chunk, reterr)) == OK && chunk) {
        note_samples(c, chunk, totals);
        duckdb_destroy_data_chunk(&chunk);
    }
    duckdb_destroy_result(&result);
    return status;
}

static enum status load_batch(struct connection *connection, struct totals *totals, struct error *reterr)
{
    duckdb_result result;
    enum status status =
        engine_query(connection, "SELECT coalesce(max(batch), 0) FROM recent", false, NULL, &result, reterr);
    if (status != OK)
        return status;
    totals->batch = (uint64_t)duckdb_value_int64(&result, 0, 0);
    duckdb_destroy_result(&result);
    return OK;
}

enum status catalogue_load(struct catalogue *c, struct connection *connection, struct totals *ret_totals,
                           struct error *reterr)
{
    *c = (struct catalogue){.n = 0};
    *ret_totals = (struct totals){.min_ms = INT64_MAX, .max_ms = INT64_MIN};
    arena_init(&c->arena, SIZE_MAX);
    enum status status = load_series(c, connection, ret_totals, reterr);
    if (status == OK)
        status = load_newest(c, connection, ret_totals, reterr);
    if (status == OK)
        status = load_batch(connection, ret_totals, reterr);
    if (status != OK)
        catalogue_release(c);
    return status;
}

void catalogue_release(struct catalogue *c)
{
    arena_release(&c->arena);
    free(c->at);
    free(c->slots);
    c->at = NULL;
    c->slots = NULL;
    c->n = c->capacity = c->live_n = c->removed_n = 0;
    c->slots_n = 0;
}
