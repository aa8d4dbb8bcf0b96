/* backend/duckdb/sample_order.c: see sample_order.h. A natural merge sort. */
#include "backend/duckdb/sample_order.h"

#include <stdlib.h>
#include <string.h>

static size_t ascent_end(const struct sample *at, size_t from, size_t n)
{
    size_t end = from + 1;
    while (end < n && at[end - 1].time_ms <= at[end].time_ms)
        end++;
    return end;
}

/* Merges [from, middle) and [middle, to). */
static void merge_neighbours(struct sample *at, size_t from, size_t middle, size_t to, struct sample *scratch)
{
    size_t left_n = middle - from, left = 0, right = middle;
    memcpy(scratch, at + from, left_n * sizeof *at);
    for (size_t k = from; left < left_n; k++) {
        bool is_right = right < to && at[right].time_ms < scratch[left].time_ms;
        at[k] = is_right ? at[right] : scratch[left];
        right += is_right;
        left += !is_right;
    }
}

void samples_sort(struct sample *samples, size_t n, struct sample *scratch)
{
    for (size_t first_end = n > 0 ? ascent_end(samples, 0, n) : 0; first_end < n;
         first_end = ascent_end(samples, 0, n)) {
        size_t from = 0, middle = first_end;
        while (middle < n) {
            size_t to = ascent_end(samples, middle, n);
            merge_neighbours(samples, from, middle, to, scratch);
            from = to;
            middle = from < n ? ascent_end(samples, from, n) : n;
        }
    }
}

bool samples_put_in_order(struct sample *samples, size_t n, struct sample_scratch *scratch)
{
    if (n == 0 || ascent_end(samples, 0, n) == n)
        return true;
    if (scratch->n < n) {
        free(scratch->at);
        scratch->at = malloc(n * sizeof *scratch->at);
        scratch->n = scratch->at ? n : 0;
        if (!scratch->at)
            return false;
    }
    samples_sort(samples, n, scratch->at);
    return true;
}
