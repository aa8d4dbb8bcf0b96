/* backend/duckdb/window_piece.c: see window_piece.h. */
#include "backend/duckdb/window_piece.h"

#include <string.h>

#include "base/assert.h"

/* --- where what lies --- */

static size_t values_bytes(const struct piece_shape *shape)
{
    return (shape->capacity + (size_t)shape->steps) * sizeof(double) + bits_words(shape->steps) * sizeof(uint64_t);
}

static size_t number_bytes(const struct piece_shape *shape)
{
    return shape->wide ? sizeof(int64_t) : sizeof(uint32_t);
}

static void *times_of(const struct piece *piece)
{
    return (char *)piece->value + values_bytes(&piece->shape);
}

static void *weights_of(const struct piece *piece)
{
    return (char *)times_of(piece) + piece->shape.capacity * number_bytes(&piece->shape);
}

size_t piece_bytes(const struct piece_shape *shape)
{
    return sizeof(struct piece) + values_bytes(shape) +
           (shape->weighted ? 2 : 1) * shape->capacity * number_bytes(shape);
}

void piece_init(struct piece *piece, const struct piece_shape *shape)
{
    *piece = (struct piece){.shape = *shape};
}

/* --- shapes --- */

/* weights: or'ed */
static struct piece_shape shape_between(size_t n, int64_t min_ms, int64_t max_ms, uint64_t weights)
{
    bool wide = (uint64_t)max_ms - (uint64_t)min_ms > UINT32_MAX || weights > UINT32_MAX;
    return (struct piece_shape){.capacity = (uint32_t)n, .wide = wide, .base_ms = min_ms};
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
    return shape_between(n, run->time_ms[head > 0 ? 0 : tail], run->time_ms[tail < run->n ? run->n - 1 : head - 1],
                         weights_between(run, 0, head) | weights_between(run, tail, run->n));
}

struct piece_shape piece_shape_of(const struct samples *run)
{
    int64_t min_ms = INT64_MAX, max_ms = INT64_MIN;
    for (size_t i = 0; i < run->n; i++) {
        min_ms = run->time_ms[i] < min_ms ? run->time_ms[i] : min_ms;
        max_ms = run->time_ms[i] > max_ms ? run->time_ms[i] : max_ms;
    }
    return shape_between(run->n, min_ms, max_ms, weights_between(run, 0, run->n));
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

static void add_wide(struct piece *piece, const struct samples *run, size_t first, size_t n)
{
    int64_t *weight = (int64_t *)weights_of(piece) + piece->n;
    memcpy((int64_t *)times_of(piece) + piece->n, run->time_ms + first, n * sizeof *run->time_ms);
    for (size_t i = 0; piece->shape.weighted && i < n; i++)
        weight[i] = run->weight ? run->weight[first + i] : 1;
}

static void add_narrow(struct piece *piece, const struct samples *run, size_t first, size_t n)
{
    uint32_t *offset = (uint32_t *)times_of(piece) + piece->n, *weight = (uint32_t *)weights_of(piece) + piece->n;
    for (size_t i = 0; i < n; i++)
        offset[i] = (uint32_t)((uint64_t)run->time_ms[first + i] - (uint64_t)piece->shape.base_ms);
    for (size_t i = 0; piece->shape.weighted && i < n; i++)
        weight[i] = run->weight ? (uint32_t)run->weight[first + i] : 1;
}

void piece_add(struct piece *piece, const struct samples *run, size_t first, size_t n)
{
    PRE(n <= piece->shape.capacity - piece->n);
    memcpy(piece->value + piece->n, run->value + first, n * sizeof *run->value);
    (piece->shape.wide ? add_wide : add_narrow)(piece, run, first, n);
    piece->n += (uint32_t)n;
}

static void add_weighted(struct piece *piece, int64_t time_ms, double value, int64_t weight)
{
    uint32_t n = piece->n++;
    piece->value[n] = value;
    if (piece->shape.wide) {
        ((int64_t *)times_of(piece))[n] = time_ms;
        ((int64_t *)weights_of(piece))[n] = weight;
    } else {
        ((uint32_t *)times_of(piece))[n] = (uint32_t)((uint64_t)time_ms - (uint64_t)piece->shape.base_ms);
        ((uint32_t *)weights_of(piece))[n] = (uint32_t)weight;
    }
}

size_t piece_add_kept(struct piece *piece, const struct samples *run, size_t first, size_t n, const uint64_t *kept)
{
    size_t added = 0, before = 0;
    for (size_t word = 0; word < bits_words(n); word++) {
        for (uint64_t bits = kept[word]; bits; bits &= bits - 1) {
            size_t at = word * 64 + (size_t)__builtin_ctzll(bits);
            PRE(piece->shape.weighted && piece->n < piece->shape.capacity);
            add_weighted(piece, run->time_ms[first + at], run->value[first + at], added ? (int64_t)(at - before) : 1);
            before = at;
            added++;
        }
    }
    return added;
}

void piece_copy(const struct piece *piece, int64_t *time_ms, double *value, int64_t *weight)
{
    size_t n = piece->n;
    bool weighted = weight && piece->shape.weighted;
    memcpy(value, piece->value, n * sizeof *value);
    for (size_t i = 0; weight && !weighted && i < n; i++)
        weight[i] = 1;
    if (piece->shape.wide) {
        memcpy(time_ms, times_of(piece), n * sizeof *time_ms);
        if (weighted)
            memcpy(weight, weights_of(piece), n * sizeof *weight);
        return;
    }
    const uint32_t *offset = times_of(piece), *narrow = weights_of(piece);
    for (size_t i = 0; i < n; i++)
        time_ms[i] = piece->shape.base_ms + offset[i];
    for (size_t i = 0; weighted && i < n; i++)
        weight[i] = narrow[i];
}

int64_t piece_begin(const struct piece *piece)
{
    if (piece->promises)
        return piece->first_ms;
    return piece->shape.wide ? *(const int64_t *)times_of(piece)
                             : piece->shape.base_ms + *(const uint32_t *)times_of(piece);
}
