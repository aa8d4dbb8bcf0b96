/* backend/duckdb/histograms.h: the table of native histograms: rows as they came, never moved into chunks.
 *
 * They are read by raw cursors only (raw_histograms.h): no statement of a fragment knows them, so the planner is told
 * which series have some (store_has_histograms).
 *
 * Threads: those of the writer (store.h).
 */
#ifndef PROMSPLIT_BACKEND_DUCKDB_HISTOGRAMS_H
#define PROMSPLIT_BACKEND_DUCKDB_HISTOGRAMS_H

#include "backend/duckdb/catalogue.h"

struct staged_histogram {
    struct known_series *series;
    struct histogram_sample sample;
};

/* In the writer's transaction: adds the rows, of that batch. */
MUST_USE enum status histograms_write(struct connection *connection, const struct staged_histogram *at, size_t n,
                                      uint64_t batch, struct error *reterr);

#endif
