/* backend/kernels/thin.c: see thin.h. */
#include "backend/kernels/thin.h"

#include <math.h>
#include <string.h>

#include "backend/kernels/bits.h"
#include "backend/kernels/compensated.h"
#include "base/assert.h"
#include "base/vectors.h"

/* Sums below this can be added up, 2^32 and more of them. Values that are greater may overflow a sum on the way and
 * come back in the bucket's own. NaN is not below. */
#define SUM_MAX 1e298

/* The bucket's number; its end belongs to it. */
static int64_t bucket_of(int64_t time_ms, int64_t level_ms)
{
    return (time_ms - 1) / level_ms - ((time_ms - 1) % level_ms < 0);
}

static size_t bucket_end(const struct samples *s, size_t from, int64_t level_ms)
{
    int64_t bucket = bucket_of(s->time_ms[from], level_ms);
    size_t end = from + 1;
    while (end < s->n && bucket_of(s->time_ms[end], level_ms) == bucket)
        end++;
    return end;
}

/* A sample kept, `before` being the one kept before it in the same bucket, or itself. */
static void keep(const struct samples *s, size_t at, size_t before, struct thinned *out, size_t *n)
{
    out->time_ms[*n] = s->time_ms[at];
    out->value[*n] = s->value[at];
    out->weight[*n] = at == before ? 1 : (int64_t)(at - before);
    ++*n;
}

/* --- edges --- */

/* Places of a bucket's extremes, of equal ones the first and the last; NaN gives way to any number. */
struct extremes {
    size_t least[2], most[2];
};

static struct extremes extremes_of(const double *value, size_t from, size_t end)
{
    struct extremes e = {{from, from}, {from, from}};
    for (size_t i = from + 1; i < end; i++) {
        double least = value[e.least[0]], most = value[e.most[0]], v = value[i];
        if (v < least || (isnan(least) && !isnan(v)))
            e.least[0] = e.least[1] = i;
        else if (v == least)
            e.least[1] = i;
        if (v > most || (isnan(most) && !isnan(v)))
            e.most[0] = e.most[1] = i;
        else if (v == most)
            e.most[1] = i;
    }
    return e;
}

static bool is_extreme(const struct extremes *e, size_t i)
{
    return i == e->least[0] || i == e->least[1] || i == e->most[0] || i == e->most[1];
}

/* Between two samples kept, of which the later is lower although nothing fell on the way: a NaN on the way says so. */
static size_t keep_separator(const struct samples *s, size_t before, size_t at, struct thinned *out, size_t *n)
{
    if (at - before < 2 || !(s->value[at] < s->value[before]))
        return before;
    for (size_t i = before + 1; i < at; i++) {
        if (isnan(s->value[i])) {
            keep(s, i, before, out, n);
            return i;
        }
    }
    return before;
}

static void thin_edges(const struct samples *s, size_t from, size_t end, struct thinned *out, size_t *n)
{
    struct extremes e = extremes_of(s->value, from, end);
    size_t before = from;
    for (size_t i = from; i < end; i++) {
        bool falls = i > from && s->value[i] < s->value[i - 1];
        bool falls_next = i + 1 < end && s->value[i + 1] < s->value[i];
        if (i > from && i + 1 < end && !falls && !falls_next && !is_extreme(&e, i))
            continue;
        before = keep_separator(s, before, i, out, n);
        keep(s, i, before, out, n);
        before = i;
    }
}

/* --- sums --- */

static void thin_sum(const struct samples *s, size_t from, size_t end, struct thinned *out, size_t *n)
{
    struct compensated sum = {s->value[from], 0};
    bool small = fabs(s->value[from]) < SUM_MAX;
    for (size_t i = from + 1; i < end; i++) {
        sum = compensated_add(sum, s->value[i]);
        small = small && fabs(s->value[i]) < SUM_MAX && fabs(sum.sum) < SUM_MAX;
    }
    if (end - from == 1 || !small) {
        for (size_t i = from; i < end; i++)
            keep(s, i, i, out, n);
        return;
    }
    out->time_ms[*n] = s->time_ms[from];
    out->value[*n] = sum.sum;
    out->weight[(*n)++] = 1;
    out->time_ms[*n] = s->time_ms[end - 1];
    out->value[*n] = sum.lost;
    out->weight[(*n)++] = (int64_t)(end - from - 1);
}

size_t thin(enum thin_kind kind, const struct samples *samples, int64_t level_ms, struct thinned *ret_thinned)
{
    PRE(level_ms > 0);
    size_t n = 0;
    for (size_t from = 0, end; from < samples->n; from = end) {
        end = bucket_end(samples, from, level_ms);
        (kind == THIN_EDGES ? thin_edges : thin_sum)(samples, from, end, ret_thinned, &n);
    }
    return n;
}

/* --- the windows of a grid --- */

/* How many samples are not later than at_ms; `guess` is about right. */
static size_t count_until(const struct samples *s, size_t guess, int64_t at_ms)
{
    size_t n = guess < s->n ? guess : s->n;
    while (n < s->n && s->time_ms[n] <= at_ms)
        n++;
    while (n > 0 && s->time_ms[n - 1] > at_ms)
        n--;
    return n;
}

/* Samples come at regular times, mostly: from one window to the next a bound moves as far as it did before. */
struct bound {
    size_t at, stride;
};

static void bound_move(struct bound *bound, const struct samples *s, int64_t at_ms)
{
    size_t at = count_until(s, bound->at + bound->stride, at_ms);
    bound->stride = at - bound->at;
    bound->at = at;
}

static void mark_ends(const struct window_grid *grid, const struct samples *s, uint64_t *kept)
{
    struct bound from = {0, 0}, to = {0, 0};
    for (uint32_t k = 0; k < grid->steps; k++) {
        int64_t end_ms = grid->start_ms + (int64_t)k * grid->step_ms;
        bound_move(&from, s, end_ms - grid->window_ms - (grid->closed ? 1 : 0));
        bound_move(&to, s, end_ms);
        if (from.at >= to.at)
            continue;
        bits_set(kept, from.at);
        bits_set(kept, to.at - 1);
    }
}

/* Whether any value falls, or is NaN; without a branch in the loop it is vectorised. */
static bool some_fall(const double *value, size_t n)
{
    unsigned some = n > 0 && isnan(value[0]);
    for (size_t i = 1; i < n; i++)
        some |= (unsigned)!(value[i] >= value[i - 1]);
    return some;
}

/* False where a NaN is met. */
static bool mark_falls(const struct samples *s, uint64_t *kept)
{
    for (size_t i = 0; i < s->n; i++) {
        if (isnan(s->value[i]))
            return false;
        if (i > 0 && s->value[i] < s->value[i - 1]) {
            bits_set(kept, i - 1);
            bits_set(kept, i);
        }
    }
    return true;
}

static size_t mark_all(uint64_t *kept, size_t n)
{
    return bits_load(kept, NULL, 0, n);
}

WIDE_VECTORS size_t thin_to_windows(const struct window_kernel *kernel, const struct window_grid *grid,
                                    const struct samples *samples, uint64_t *kept)
{
    PRE(kernel->sees_ends && !samples->weight);
    if (grid->steps >= samples->n)
        return mark_all(kept, samples->n);
    memset(kept, 0, bits_words(samples->n) * sizeof *kept);
    mark_ends(grid, samples, kept);
    if (kernel->wants_falls && some_fall(samples->value, samples->n) && !mark_falls(samples, kept))
        return mark_all(kept, samples->n);
    return bits_count(kept, samples->n);
}
