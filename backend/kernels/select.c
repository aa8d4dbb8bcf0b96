/* backend/kernels/select.c: see select.h. */
#include "backend/kernels/select.h"

#include <math.h>

#include "base/assert.h"

/* --- quantile --- */

static inline void swap_values(double *a, double *b)
{
    double kept = *a;
    *a = *b;
    *b = kept;
}

static size_t nans_first(double *values, size_t n)
{
    size_t nans = 0;
    for (size_t i = 0; i < n; i++) {
        if (isnan(values[i]))
            swap_values(&values[i], &values[nans++]);
    }
    return nans;
}

static double median_of_three(double a, double b, double c)
{
    double low = a < b ? a : b, high = a < b ? b : a;
    return c < low ? low : c > high ? high : c;
}

/* Hoare's quickselect: afterwards values[k] is what it is in a sorted array, all before it are not greater and all
 * behind it not less. No NaN. */
static void place(double *values, size_t n, size_t k)
{
    size_t from = 0, to = n;
    while (to - from > 1) {
        double pivot = median_of_three(values[from], values[from + (to - from) / 2], values[to - 1]);
        size_t low = from, high = to - 1;
        for (;;) {
            while (values[low] < pivot)
                low++;
            while (values[high] > pivot)
                high--;
            if (low >= high)
                break;
            swap_values(&values[low++], &values[high--]);
        }
        /* [from, low) is not greater than the pivot, [high + 1, to) not less. */
        size_t middle = low == high ? low + 1 : low;
        if (k < low)
            to = low;
        else if (k < middle)
            return;
        else
            from = middle;
    }
}

static double least_of(const double *values, size_t n)
{
    double least = values[0];
    for (size_t i = 1; i < n; i++)
        least = values[i] < least ? values[i] : least;
    return least;
}

/* The value at index k of the sorted array, whose first `nans` values are NaN and in place. */
static double value_at(double *values, size_t n, size_t nans, size_t k)
{
    if (k >= nans)
        place(values + nans, n - nans, k - nans);
    return values[k];
}

double select_quantile(double phi, double *values, size_t n)
{
    PRE(n > 0);
    if (isnan(phi))
        return NAN;
    if (phi < 0)
        return -INFINITY;
    if (phi > 1)
        return INFINITY;
    double rank = phi * ((double)n - 1), below = floor(rank), weight = rank - below;
    size_t nans = nans_first(values, n), lower = (size_t)below, upper = lower + 1 < n ? lower + 1 : n - 1;
    double low = value_at(values, n, nans, lower);
    double high = upper == lower ? low : upper < nans ? NAN : least_of(values + upper, n - upper);
    return low * (1 - weight) + high * weight;
}

/* --- topk, bottomk --- */

/* Whether a is chosen before b. */
static inline bool goes_first(const struct select_candidate *a, const struct select_candidate *b, bool least)
{
    bool a_nan = isnan(a->value), b_nan = isnan(b->value);
    if (a_nan != b_nan)
        return b_nan;
    if (!a_nan && a->value != b->value)
        return least ? a->value < b->value : a->value > b->value;
    return a->rank < b->rank;
}

/* A heap of those chosen so far, with the one to give up next on top. */
static void sift_down(struct select_candidate *heap, size_t n, size_t at, bool least)
{
    struct select_candidate moved = heap[at];
    for (;;) {
        size_t child = 2 * at + 1;
        if (child >= n)
            break;
        if (child + 1 < n && goes_first(&heap[child], &heap[child + 1], least))
            child++;
        if (!goes_first(&moved, &heap[child], least))
            break;
        heap[at] = heap[child];
        at = child;
    }
    heap[at] = moved;
}

size_t select_top(struct select_candidate *candidates, size_t n, size_t k, bool least)
{
    if (k >= n)
        return n;
    for (size_t i = k / 2; i-- > 0;)
        sift_down(candidates, k, i, least);
    for (size_t i = k; k > 0 && i < n; i++) {
        if (!goes_first(&candidates[i], &candidates[0], least))
            continue;
        struct select_candidate out = candidates[0];
        candidates[0] = candidates[i];
        candidates[i] = out;
        sift_down(candidates, k, 0, least);
    }
    return k;
}

/* Source: promql/engine.go convertibleToInt64. */
bool select_count(double k, size_t *ret_count)
{
    if (!(k <= 9223372036854774784.0 && k >= -9223372036854775808.0))
        return false;
    *ret_count = k < 1 ? 0 : (size_t)k;
    return true;
}
