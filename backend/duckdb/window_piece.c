/* backend/duckdb/window_piece.c: see window_piece.h. */
#include "backend/duckdb/window_piece.h"

#include <string.h>

#include "base/assert.h"
#include "base/float_text.h"
#include "base/vectors.h"

/* --- where what lies --- */

static size_t results_bytes(const struct piece_shape *shape)
{
    return shape->steps * sizeof(double) + bits_words(shape->steps) * sizeof(uint64_t);
}

static size_t value_bytes(const struct piece_shape *shape)
{
    return shape->counts ? sizeof(uint32_t) : sizeof(double);
}

static size_t time_bytes(const struct piece_shape *shape)
{
    return shape->wide ? sizeof(int64_t) : sizeof(uint32_t);
}

static size_t weight_bytes(const struct piece_shape *shape)
{
    return !shape->weighted ? 0 : shape->short_weights ? sizeof(uint8_t) : time_bytes(shape);
}

static void *values_of(const struct piece *piece)
{
    return (char *)piece->results + results_bytes(&piece->shape);
}

static void *times_of(const struct piece *piece)
{
    return (char *)values_of(piece) + piece->shape.capacity * value_bytes(&piece->shape);
}

static void *weights_of(const struct piece *piece)
{
    return (char *)times_of(piece) + piece->shape.capacity * time_bytes(&piece->shape);
}

size_t piece_bytes(const struct piece_shape *shape)
{
    return sizeof(struct piece) + results_bytes(shape) +
           shape->capacity * (value_bytes(shape) + time_bytes(shape) + weight_bytes(shape));
}

void piece_init(struct piece *piece, const struct piece_shape *shape)
{
    *piece = (struct piece){.shape = *shape};
}

/* --- values as whole numbers above a base --- */

/* Added to a double of [0, 2^32) this leaves its whole part in the low 32 bits; the high ones then are its own. */
#define WHOLE      0x1p52
#define WHOLE_BITS UINT64_C(0x4330000000000000)

static uint32_t count_of(double value, double base)
{
    return (uint32_t)double_bits(value - base + WHOLE);
}

static double value_of(uint32_t count, double base)
{
    return base + (double_from_bits(WHOLE_BITS | count) - WHOLE);
}

/* Whether each value comes out of count_of and value_of with its own bits. */
WIDE_VECTORS static bool are_counts(const double *value, size_t n, double base)
{
    uint64_t odd = 0;
    for (size_t i = 0; i < n; i++) {
        uint64_t whole = double_bits(value[i] - base + WHOLE);
        odd |= (whole ^ WHOLE_BITS) >> 32;
        odd |= double_bits(base + (double_from_bits(whole) - WHOLE)) ^ double_bits(value[i]);
    }
    return odd == 0;
}

/* --- shapes --- */

/* weights: or'ed */
static struct piece_shape shape_between(size_t n, int64_t min_ms, int64_t max_ms, uint64_t weights)
{
    bool wide = (uint64_t)max_ms - (uint64_t)min_ms > UINT32_MAX || weights > UINT32_MAX;
    return (struct piece_shape){.capacity = (uint32_t)n, .wide = wide, .base_ms = min_ms};
}

/* Counters ascend: the first is the least, or there was a reset. Most values that are none are told by the second. */
static void shape_values(struct piece_shape *shape, const struct samples *run, size_t head, size_t tail)
{
    shape->base = run->value[head > 0 ? 0 : tail];
    shape->counts = !shape->wide && are_counts(run->value, head < 2 ? head : 2, shape->base) &&
                    are_counts(run->value, head, shape->base) &&
                    are_counts(run->value + tail, run->n - tail, shape->base);
}

static uint64_t weights_between(const struct samples *run, size_t from, size_t to)
{
    uint64_t weights = 0;
    for (size_t i = from; run->weight && i < to; i++)
        weights |= (uint64_t)run->weight[i];
    return weights;
}

struct piece_shape piece_shape_of_ends(const struct samples *run, size_t head, size_t tail)
{
    size_t n = head + run->n - tail;
    if (n == 0)
        return (struct piece_shape){.capacity = 0};
    struct piece_shape shape =
        shape_between(n, run->time_ms[head > 0 ? 0 : tail], run->time_ms[tail < run->n ? run->n - 1 : head - 1],
                      weights_between(run, 0, head) | weights_between(run, tail, run->n));
    shape_values(&shape, run, head, tail);
    return shape;
}

struct piece_shape piece_shape_of_kept(const struct samples *run, size_t head, size_t tail, size_t head_n,
                                       size_t tail_n)
{
    struct piece_shape shape = piece_shape_of_ends(run, head, tail);
    shape.capacity = (uint32_t)(head_n + tail_n);
    shape.weighted = true;
    shape.short_weights = !shape.wide && head <= UINT8_MAX && run->n - tail <= UINT8_MAX;
    return shape;
}

struct piece_shape piece_shape_of(const struct samples *run)
{
    int64_t min_ms = INT64_MAX, max_ms = INT64_MIN;
    for (size_t i = 0; i < run->n; i++) {
        min_ms = run->time_ms[i] < min_ms ? run->time_ms[i] : min_ms;
        max_ms = run->time_ms[i] > max_ms ? run->time_ms[i] : max_ms;
    }
    struct piece_shape shape = shape_between(run->n, min_ms, max_ms, weights_between(run, 0, run->n));
    if (run->n > 0)
        shape_values(&shape, run, run->n, run->n);
    return shape;
}

struct piece_shape piece_shape_near(const struct samples *run, uint32_t capacity)
{
    int64_t time_ms = run->time_ms[0], before_ms = INT64_C(1) << 31;
    return (struct piece_shape){.capacity = capacity,
                                .wide = run->weight && (uint64_t)run->weight[0] > UINT32_MAX,
                                .base_ms = time_ms < INT64_MIN + before_ms ? time_ms : time_ms - before_ms};
}

bool piece_takes(const struct piece *piece, const struct samples *run)
{
    const struct piece_shape *shape = &piece->shape;
    if (piece->n == shape->capacity)
        return false;
    return shape->wide ||
           (run->time_ms[0] >= shape->base_ms && (uint64_t)run->time_ms[0] - (uint64_t)shape->base_ms <= UINT32_MAX &&
            (!run->weight || (uint64_t)run->weight[0] <= UINT32_MAX));
}

/* --- samples --- */

static void put_values(struct piece *piece, const double *value, size_t n)
{
    if (!piece->shape.counts) {
        memcpy((double *)values_of(piece) + piece->n, value, n * sizeof *value);
        return;
    }
    uint32_t *count = (uint32_t *)values_of(piece) + piece->n;
    for (size_t i = 0; i < n; i++)
        count[i] = count_of(value[i], piece->shape.base);
}

static void put_times(struct piece *piece, const int64_t *time_ms, size_t n)
{
    if (piece->shape.wide) {
        memcpy((int64_t *)times_of(piece) + piece->n, time_ms, n * sizeof *time_ms);
        return;
    }
    uint32_t *offset = (uint32_t *)times_of(piece) + piece->n;
    for (size_t i = 0; i < n; i++)
        offset[i] = (uint32_t)((uint64_t)time_ms[i] - (uint64_t)piece->shape.base_ms);
}

/* weight NULL: 1 each. */
static void put_weights(struct piece *piece, const int64_t *weight, size_t n)
{
    void *weights = weights_of(piece);
    for (size_t i = 0; i < n; i++) {
        int64_t w = weight ? weight[i] : 1;
        if (piece->shape.short_weights)
            ((uint8_t *)weights)[piece->n + i] = (uint8_t)w;
        else if (piece->shape.wide)
            ((int64_t *)weights)[piece->n + i] = w;
        else
            ((uint32_t *)weights)[piece->n + i] = (uint32_t)w;
    }
}

static void put(struct piece *piece, const struct samples *samples)
{
    PRE(samples->n <= piece->shape.capacity - piece->n);
    put_values(piece, samples->value, samples->n);
    put_times(piece, samples->time_ms, samples->n);
    if (piece->shape.weighted)
        put_weights(piece, samples->weight, samples->n);
    piece->n += (uint32_t)samples->n;
}

WIDE_VECTORS void piece_add(struct piece *piece, const struct samples *run, size_t first, size_t n)
{
    put(piece,
        &(struct samples){run->time_ms + first, run->value + first, n, run->weight ? run->weight + first : NULL});
}

WIDE_VECTORS size_t piece_add_kept(struct piece *piece, const struct samples *run, size_t first, size_t n,
                                   const uint64_t *kept)
{
    PRE(piece->shape.weighted);
    size_t added = 0, before = 0;
    for (size_t word = 0; word < bits_words(n); word++) {
        int64_t time_ms[64], weight[64];
        double value[64];
        size_t marked = 0;
        for (uint64_t bits = kept[word]; bits; bits &= bits - 1) {
            size_t at = word * 64 + (size_t)__builtin_ctzll(bits);
            time_ms[marked] = run->time_ms[first + at];
            value[marked] = run->value[first + at];
            weight[marked++] = added + marked ? (int64_t)(at - before) : 1;
            before = at;
        }
        put(piece, &(struct samples){time_ms, value, marked, weight});
        added += marked;
    }
    return added;
}

static void copy_values(const struct piece *piece, double *value)
{
    if (!piece->shape.counts) {
        memcpy(value, values_of(piece), piece->n * sizeof *value);
        return;
    }
    const uint32_t *count = values_of(piece);
    for (size_t i = 0; i < piece->n; i++)
        value[i] = value_of(count[i], piece->shape.base);
}

static void copy_times(const struct piece *piece, int64_t *time_ms)
{
    if (piece->shape.wide) {
        memcpy(time_ms, times_of(piece), piece->n * sizeof *time_ms);
        return;
    }
    const uint32_t *offset = times_of(piece);
    for (size_t i = 0; i < piece->n; i++)
        time_ms[i] = piece->shape.base_ms + offset[i];
}

static void copy_weights(const struct piece *piece, int64_t *weight)
{
    const void *weights = weights_of(piece);
    size_t n = piece->n;
    if (!piece->shape.weighted) {
        for (size_t i = 0; i < n; i++)
            weight[i] = 1;
    } else if (piece->shape.short_weights) {
        for (size_t i = 0; i < n; i++)
            weight[i] = ((const uint8_t *)weights)[i];
    } else if (piece->shape.wide) {
        memcpy(weight, weights, n * sizeof *weight);
    } else {
        for (size_t i = 0; i < n; i++)
            weight[i] = ((const uint32_t *)weights)[i];
    }
}

WIDE_VECTORS void piece_copy(const struct piece *piece, int64_t *time_ms, double *value, int64_t *weight)
{
    copy_values(piece, value);
    copy_times(piece, time_ms);
    if (weight)
        copy_weights(piece, weight);
}

int64_t piece_begin(const struct piece *piece)
{
    if (piece->promises)
        return piece->first_ms;
    return piece->shape.wide ? *(const int64_t *)times_of(piece)
                             : piece->shape.base_ms + *(const uint32_t *)times_of(piece);
}
