/* backend/kernels/thin.h: what functions need of a series' samples, and no more: over whole buckets, whatever the
 * windows will be, and over the windows of a grid.
 *
 * Buckets: time is cut into buckets (k * level, (k + 1) * level]. A function over windows that begin and end at
 * buckets' edges gives the same for a run and for its thinned run, which has a few samples of each bucket:
 *
 *   THIN_EDGES  samples of the run: a bucket's first and last, its least and greatest (of equal ones the first and the
 * last), both sides of each fall, and a NaN between neighbours that would look like one. For first, last, min, max and
 * their times, for resets, and, by the weights, for rate, increase, delta and count: equal bits. THIN_SUMS   a bucket's
 * compensated sum in place of its first sample and what is lost to it in place of its last. For sum and, by the
 * weights, avg over left-open windows: as compensated sums of sums are, to far below 1e-12 of the sum of all absolute
 * values. A bucket that has a value which is not finite, or a value or sum so great that sums of buckets could
 * overflow, keeps all its samples.
 *
 * A sample's weight says how many of the run it stands for: itself, and those left out since the one before it. The
 * first of a bucket weighs 1. Closed windows may begin with the last sample of the bucket before, which then counts as
 * 1 (window.h).
 *
 * Units   milliseconds. Threads: pure functions. Memory: the caller's.
 */
#ifndef PROMSPLIT_BACKEND_KERNELS_THIN_H
#define PROMSPLIT_BACKEND_KERNELS_THIN_H

#include "backend/kernels/window.h"

enum thin_kind {
    THIN_EDGES,
    THIN_SUMS
};

/* Room for as many as the run has. */
struct thinned {
    int64_t *time_ms;
    double *value;
    int64_t *weight;
};

/* Of samples in order of time without staleness markers; level_ms > 0. Returns how many are left. */
size_t thin(enum thin_kind kind, const struct samples *samples, int64_t level_ms, struct thinned *ret_thinned);

/* Marks in `kept` (bits_words(n) words) those samples that a kernel which sees ends needs for the grid's windows: the
 * first and the last in each, and if the kernel wants them both sides of each fall. Samples in order of time, without
 * weights. Returns how many; the samples kept, weighed as above but for buckets, give the windows equal bits. Where a
 * NaN may hide a fall, or hardly fewer would be left, all are. */
size_t thin_to_windows(const struct window_kernel *kernel, const struct window_grid *grid,
                       const struct samples *samples, uint64_t *kept);

#endif
