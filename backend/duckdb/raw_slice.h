/* backend/duckdb/raw_slice.h: the slices of a raw cursor (raw.c): floats of neighbouring series, each series in order.
 *
 * A slice is read in one statement, in whatever order the runs lie, and each run goes straight to its place, because
 * the counts tell where every series begins. So nothing is sorted but series whose runs turn out to be unordered: those
 * are merged. Each statement decodes most chunks there are, since series in label order lie anywhere among them; so
 * slices are as large as memory for them can be spared.
 *
 * While a slice is handed out, a thread reads the next one: decoding takes about as long as what is done with samples.
 * It works on the cursor's connection, which nothing else may use meanwhile: slices_settle waits for it.
 *
 * Memory: two slices, the second from the second one on. Threads: one caller.
 */
#ifndef PROMSPLIT_BACKEND_DUCKDB_RAW_SLICE_H
#define PROMSPLIT_BACKEND_DUCKDB_RAW_SLICE_H

#include <pthread.h>
#include <stdatomic.h>

#include "backend/backend.h"
#include "backend/duckdb/engine.h"
#include "backend/duckdb/sample_order.h"
#include "planner/fragment.h"

#define RAW_SLICE_TABLE "raw_slice" /* temporary: series -> slice, place; of the cursor's connection only */

/* A series of a cursor. */
struct raw_series {
    struct labels labels;
    uint32_t id;
    uint32_t slice;
    uint64_t samples_n; /* floats */
    uint64_t histograms_n, histogram_bytes;
};

struct raw_slice {
    size_t first, end; /* of the cursor's series */
    struct sample *buffer;
    uint64_t *begins; /* by place, which counts from first: where its samples begin in the buffer */
    uint64_t *filled; /* by place: samples read so far */
};

struct slices {
    struct connection *connection;
    struct cancel *cancel;
    struct time_span span;
    uint64_t batch; /* the last one that is read */
    uint64_t slice_max;
    const struct raw_series *series; /* in label order, numbered by slices_number */
    size_t series_n;

    struct raw_slice slice[2];
    struct raw_slice *current; /* one of the two; NULL at first */
    uint32_t *places;          /* of the slice that is read, by series id: its place + 1 */
    uint32_t places_n;         /* ids below it are in places */
    struct sample_scratch scratch;

    bool is_ahead;     /* `thread` reads, or has read, the slice that is not current */
    bool is_settled;   /* it has ended, with ahead_status */
    _Atomic bool stop; /* what is read ahead is not wanted any more */
    pthread_t thread;
    enum status ahead_status;
    struct error ahead_error;
};

/* Numbers the slices of series, and tells the engine which series are in which, and their order. *ret_has_table: the
 * table is there, even after an error. A series longer than slice_max has a slice for itself, which is not read here.
 */
MUST_USE enum status slices_begin(struct slices *slices, struct raw_series *series, size_t n, bool *ret_has_table,
                                  struct error *reterr);

/* The samples of a series of at most slice_max of them; they stay until a series of a later slice is asked for. Series
 * are asked for in order. */
MUST_USE enum status slices_samples(struct slices *slices, size_t series, const struct sample **ret_samples,
                                    struct error *reterr);

void slices_settle(struct slices *slices);  /* afterwards the connection is free until the next slices_samples */
void slices_release(struct slices *slices); /* a zeroed one is fine */

#endif
