/* backend/duckdb/catalogue.h: what a writer must know of every series without asking the engine: its number and its
 * newest sample; and the metadata of metric families.
 *
 * Loaded when the database is opened, then kept in step by append. A series enters it when its first sample is
 * accepted; a transaction that fails leaves `stored` false, and the next one stores the series again.
 *
 * Memory   one arena; label sets are copied into it. What is removed leaves with catalogue_tidy.
 * Threads  guarded by the backend's writer lock.
 */
#ifndef PROMSPLIT_BACKEND_DUCKDB_CATALOGUE_H
#define PROMSPLIT_BACKEND_DUCKDB_CATALOGUE_H

#include "backend/duckdb/engine.h"
#include "base/arena.h"
#include "promql/labels.h"

struct known_series {
    struct labels labels;
    uint64_t hash;
    uint32_t id; /* its place in the catalogue and its number in the tables */
    bool stored; /* its row in the table series is committed */
    bool has_samples;
    int64_t newest_ms; /* if has_samples */
    uint64_t newest_bits;
    uint64_t transaction; /* the last one that touched it */
};

struct catalogue {
    struct arena arena;
    struct known_series **at; /* by id; NULL where the table has a gap */
    uint32_t n, capacity;
    uint32_t *slots; /* open addressing: id + 1, 0 empty */
    uint64_t slots_n;
    uint32_t live_n, removed_n; /* series in it; and those removed whose labels still take room in the arena */
    bool metadata_labels;       /* see struct backend */
};

/* What is stored, for statistics and for listings over all times. */
struct totals {
    uint64_t series_n, samples_n;
    int64_t min_ms, max_ms; /* INT64_MAX, INT64_MIN when there are no samples */
    uint64_t batch;         /* the last one committed (schema.h) */
};

MUST_USE enum status catalogue_load(struct catalogue *catalogue, struct connection *connection,
                                    struct totals *ret_totals, struct error *reterr);
void catalogue_release(struct catalogue *catalogue); /* a zeroed one is fine */

struct known_series *catalogue_find(const struct catalogue *catalogue, struct labels labels, uint64_t hash);

/* Adds a series that is not known yet, with the next free id; NULL when memory is short or all ids are taken. */
struct known_series *catalogue_add(struct catalogue *catalogue, struct labels labels, uint64_t hash);

/* Forgets a series. Its number is not given again while the store is open: a reader's snapshot may still know it. */
void catalogue_remove(struct catalogue *catalogue, struct known_series *series);

/* Copies what is left into a new arena when most of the old one is of removed series; pointers to series are then
 * others. Without memory for that all stays as it is. */
void catalogue_tidy(struct catalogue *catalogue);

#endif
