/* backend/duckdb/window_piece.h: what a window function's state keeps of one run, or of several single samples: samples
 * for windows that reach beyond it, and the windows that were evaluated when it came.
 *
 * Over many series and long windows these are most of the samples that a query reads, and most of its memory: so each
 * piece has them as narrow as they fit. Times are offsets of 32 bits, or of 64. Values, most of them counts, are whole
 * numbers of 32 bits above a base, if each comes out of that with its own bits. Weights have 8 bits where marks make
 * them, else 32 or 64.
 *
 * Memory   one allocation of piece_bytes, the caller's. Threads: a piece belongs to one at a time.
 */
#ifndef PROMSPLIT_BACKEND_DUCKDB_WINDOW_PIECE_H
#define PROMSPLIT_BACKEND_DUCKDB_WINDOW_PIECE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "backend/kernels/bits.h"
#include "backend/kernels/window.h"

/* Fixed when a piece is made. */
struct piece_shape {
    uint32_t capacity; /* samples */
    uint32_t steps;    /* windows */
    bool weighted;
    bool wide;          /* times, values and weights have 64 bits */
    bool counts;        /* values have 32 bits */
    bool short_weights; /* weights have 8 bits */
    int64_t base_ms;    /* not wide: no time is earlier, none 2^32 ms later */
    double base;        /* counts: what values are above */
};

struct piece {
    struct piece *next;
    struct piece_shape shape;
    int64_t first_ms, last_ms; /* what the run is whole in, if it promises that */
    uint32_t n;                /* samples */
    uint32_t inside_n;         /* of them, between first_ms and last_ms */
    uint32_t step;             /* the windows are those of [step, step + shape.steps) */
    bool promises;             /* that its run has all samples from first_ms to last_ms */
    double results[]; /* of the windows, then their presence bits, and the samples' values, times and weights */
};

static inline double *piece_results(struct piece *piece)
{
    return piece->results;
}

static inline uint64_t *piece_present(struct piece *piece)
{
    return (uint64_t *)(piece_results(piece) + piece->shape.steps);
}

/* The shape for the first `head` samples of a run and those from `tail` on, in order of time: bases and widths. */
struct piece_shape piece_shape_of_ends(const struct samples *run, size_t head, size_t tail);
/* The same where of the two ends only those will be kept, head_n and tail_n of them, that piece_add_kept weighs. */
struct piece_shape piece_shape_of_kept(const struct samples *run, size_t head, size_t tail, size_t head_n,
                                       size_t tail_n);
/* The shape for a run in any order. */
struct piece_shape piece_shape_of(const struct samples *run);
/* The shape for single samples that come after this one, and before it. */
struct piece_shape piece_shape_near(const struct samples *run, uint32_t capacity);

size_t piece_bytes(const struct piece_shape *shape);
void piece_init(struct piece *piece, const struct piece_shape *shape);

/* Whether a single sample fits in, by number and by time. */
bool piece_takes(const struct piece *piece, const struct samples *run);

/* n samples from `first` on, which fit in. A run without weights has 1 each. */
void piece_add(struct piece *piece, const struct samples *run, size_t first, size_t n);

/* Those of n samples from `first` on whose bit in `kept` is set, weighed as thin_to_windows (kernels/thin.h) has it.
 * Returns how many. They fit in; the piece is weighted. */
size_t piece_add_kept(struct piece *piece, const struct samples *run, size_t first, size_t n, const uint64_t *kept);

/* All samples; weight NULL: not wanted. Without weights they are 1 each. */
void piece_copy(const struct piece *piece, int64_t *time_ms, double *value, int64_t *weight);

/* Where it begins: what it is whole in, or its first sample. */
int64_t piece_begin(const struct piece *piece);

#endif
