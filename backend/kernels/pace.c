/* backend/kernels/pace.c: see pace.h. */
#include "backend/kernels/pace.h"

#include "base/assert.h"
#include "base/vectors.h"

/* Of sample i; `next` runs past the last time, maybe past the end of time. */
static inline int64_t drift_of(int64_t time_ms, uint64_t next)
{
    return (int64_t)((uint64_t)time_ms - next);
}

/* How far the largest drift is from the least. */
WIDE_VECTORS static int64_t spread(const int64_t *time_ms, size_t n, int64_t pace_ms)
{
    int64_t least = 0, most = 0;
    uint64_t next = (uint64_t)time_ms[0];
    for (size_t i = 0; i < n; i++, next += (uint64_t)pace_ms) {
        int64_t drift = drift_of(time_ms[i], next);
        least = drift < least ? drift : least;
        most = drift > most ? drift : most;
    }
    return most - least;
}

int64_t pace_of(const int64_t *time_ms, size_t n)
{
    PRE(n > 0 && time_ms[n - 1] - time_ms[0] <= PACE_SPAN_MAX_MS);
    if (n == 1)
        return 0;
    int64_t first = time_ms[1] - time_ms[0], mean = (time_ms[n - 1] - time_ms[0]) / (int64_t)(n - 1);
    int64_t by_first = spread(time_ms, n, first);
    return by_first == 0 || by_first <= spread(time_ms, n, mean) ? first : mean;
}

WIDE_VECTORS void pace_drifts(const int64_t *time_ms, size_t n, int64_t pace_ms, int32_t *drift_ms)
{
    uint64_t next = (uint64_t)time_ms[0];
    for (size_t i = 0; i < n; i++, next += (uint64_t)pace_ms)
        drift_ms[i] = (int32_t)drift_of(time_ms[i], next);
}

WIDE_VECTORS void pace_times(int64_t first_ms, int64_t pace_ms, const int32_t *drift_ms, size_t n, int64_t *time_ms)
{
    uint64_t next = (uint64_t)first_ms;
    for (size_t i = 0; i < n; i++, next += (uint64_t)pace_ms)
        time_ms[i] = (int64_t)(next + (uint64_t)drift_ms[i]);
}
