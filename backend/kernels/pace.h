/* backend/kernels/pace.h: the times of a run as a pace and what each is off it.
 *
 * Series are scraped at regular times: sample i of a run comes at first + i * pace, or some milliseconds beside it.
 * What is left is 0, or small, however many series lie behind each other, which engines store in next to nothing.
 *
 *     time[i] = time[0] + i * pace + drift[i]
 *
 * Units   milliseconds. Threads: pure functions.
 */
#ifndef PROMSPLIT_BACKEND_KERNELS_PACE_H
#define PROMSPLIT_BACKEND_KERNELS_PACE_H

#include <stddef.h>
#include <stdint.h>

/* Longest run, from its first time to its last: no drift is larger. */
#define PACE_SPAN_MAX_MS INT64_C(0x3fffffff)

/* The pace by which the drifts of ascending times differ least: the first distance, or else the mean one; 0 for a
 * single time. n > 0. */
int64_t pace_of(const int64_t *time_ms, size_t n);

/* The run is not longer than PACE_SPAN_MAX_MS, the pace its own. */
void pace_drifts(const int64_t *time_ms, size_t n, int64_t pace_ms, int32_t *drift_ms);

/* The times; any numbers are taken. */
void pace_times(int64_t first_ms, int64_t pace_ms, const int32_t *drift_ms, size_t n, int64_t *time_ms);

#endif
