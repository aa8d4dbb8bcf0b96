/* backend/kernels/fold.c: see fold.h.
 *
 * What the planes hold, per step:
 *   sum              0 sum   1 lost
 *   avg, avg_2       0 sum   1 lost   2 count; where plane 3 is not 0: mean and lost instead of sum
 *   min, max, one    0 value
 *   count            0 count
 *   group            –
 *   stddev, stdvar   0 mean  1 lost   2 count  3 squares  4 lost
 */
#include "backend/kernels/fold.h"

#include <math.h>
#include <string.h>

#include "backend/kernels/bits.h"
#include "backend/kernels/compensated.h"
#include "base/assert.h"
#include "base/vectors.h"

const char *const fold_names[FOLD_OP_MAX] = {
    [FOLD_SUM] = "sum",
    [FOLD_AVG] = "avg",
    [FOLD_MIN] = "min",
    [FOLD_MAX] = "max",
    [FOLD_COUNT] = "count",
    [FOLD_GROUP] = "group",
    [FOLD_STDDEV] = "stddev",
    [FOLD_STDVAR] = "stdvar",
    [FOLD_AVG_2] = "avg_2",
    [FOLD_STDDEV_2] = "stddev_2",
    [FOLD_STDVAR_2] = "stdvar_2",
    [FOLD_ONE] = "one",
    [FOLD_ONE_SERIES] = "one_series",
};

static const unsigned PLANES[FOLD_OP_MAX] = {
    [FOLD_SUM] = 2,      [FOLD_AVG] = 4,    [FOLD_MIN] = 1,        [FOLD_MAX] = 1,   [FOLD_COUNT] = 1,
    [FOLD_GROUP] = 0,    [FOLD_STDDEV] = 5, [FOLD_STDVAR] = 5,     [FOLD_AVG_2] = 4, [FOLD_STDDEV_2] = 5,
    [FOLD_STDVAR_2] = 5, [FOLD_ONE] = 1,    [FOLD_ONE_SERIES] = 1,
};

size_t fold_bytes(enum fold_op op, uint32_t steps)
{
    return PLANES[op] * (size_t)steps * sizeof(double) + bits_words(steps) * sizeof(uint64_t);
}

void fold_init(struct fold *fold, enum fold_op op, uint32_t steps, void *memory)
{
    memset(memory, 0, fold_bytes(op, steps));
    *fold = (struct fold){.op = op, .steps = steps};
    double *plane = memory;
    for (unsigned i = 0; i < PLANES[op]; i++, plane += steps)
        fold->plane[i] = plane;
    fold->present = (uint64_t *)plane;
    /* Adding to -0 gives back every number, the zeros of either sign included: no first-value case is needed. */
    for (uint32_t k = 0; op == FOLD_SUM && k < steps; k++)
        fold->plane[0][k] = -0.0;
}

/* --- one step of each operator: another sample, or another part --- */

static inline void step_sum(struct fold *f, uint32_t k, double x, double lost)
{
    struct compensated s = compensated_add((struct compensated){f->plane[0][k], f->plane[1][k]}, x);
    f->plane[0][k] = s.sum;
    f->plane[1][k] = isinf(s.sum) ? 0.0 : s.lost + lost;
}

/* What a step of avg holds: a total while it is finite, a mean once the total would overflow. */
struct average {
    struct compensated at;
    double count;
    bool is_mean;
};

static inline struct average average_as_mean(struct average a)
{
    if (!a.is_mean) {
        a.at = (struct compensated){a.at.sum / a.count, a.at.lost / a.count};
        a.is_mean = true;
    }
    return a;
}

static struct average average_join(struct average a, struct average b)
{
    if (a.count == 0)
        return b;
    double count = a.count + b.count;
    if (!a.is_mean && !b.is_mean) {
        struct compensated total = compensated_add(a.at, b.at.sum);
        if (!isinf(total.sum))
            return (struct average){{total.sum, total.lost + b.at.lost}, count, false};
    }
    a = average_as_mean(a);
    b = average_as_mean(b);
    double keep = a.count / count, take = b.count / count;
    struct compensated mean =
        compensated_add((struct compensated){keep * a.at.sum, keep * a.at.lost + take * b.at.lost}, take * b.at.sum);
    return (struct average){mean, count, true};
}

static inline struct average average_load(const struct fold *f, uint32_t k)
{
    return (struct average){{f->plane[0][k], f->plane[1][k]}, f->plane[2][k], f->plane[3][k] != 0};
}

static inline void step_avg(struct fold *f, uint32_t k, struct average b)
{
    struct average a = average_join(average_load(f, k), b);
    f->plane[0][k] = a.at.sum;
    f->plane[1][k] = a.at.lost;
    f->plane[2][k] = a.count;
    f->plane[3][k] = a.is_mean;
}

static inline void step_min(struct fold *f, uint32_t k, double x)
{
    double *value = &f->plane[0][k];
    if (!bits_get(f->present, k) || *value > x || isnan(*value))
        *value = x;
}

static inline void step_max(struct fold *f, uint32_t k, double x)
{
    double *value = &f->plane[0][k];
    if (!bits_get(f->present, k) || *value < x || isnan(*value))
        *value = x;
}

/* The difference to the mean is taken in two steps, the near numbers first, so that it has no rounding of its own. */
static inline void step_variance(struct fold *f, uint32_t k, double x)
{
    struct compensated mean = {f->plane[0][k], f->plane[1][k]};
    struct compensated squares = {f->plane[3][k], f->plane[4][k]};
    double count = f->plane[2][k] + 1;
    double delta = (x - mean.sum) - mean.lost;
    mean = compensated_add(mean, delta / count);
    squares = compensated_add(squares, delta * ((x - mean.sum) - mean.lost));
    f->plane[0][k] = mean.sum;
    f->plane[1][k] = mean.lost;
    f->plane[2][k] = count;
    f->plane[3][k] = squares.sum;
    f->plane[4][k] = squares.lost;
}

/* Chan, Golub, LeVeque: the squares of both parts plus the squared distance of their means, weighted. */
static void merge_variance(struct fold *f, const struct fold *from, uint32_t k)
{
    double a = f->plane[2][k], b = from->plane[2][k], count = a + b;
    struct compensated mean = {f->plane[0][k], f->plane[1][k]};
    struct compensated squares = {f->plane[3][k], f->plane[4][k] + from->plane[4][k]};
    double delta = (from->plane[0][k] - mean.sum) + (from->plane[1][k] - mean.lost);
    if (a == 0) {
        mean = (struct compensated){from->plane[0][k], from->plane[1][k]};
        squares = (struct compensated){from->plane[3][k], from->plane[4][k]};
    } else {
        mean = compensated_add(mean, delta * (b / count));
        squares = compensated_add(squares, from->plane[3][k]);
        squares = compensated_add(squares, delta * (a / count) * delta * b);
    }
    f->plane[0][k] = mean.sum;
    f->plane[1][k] = mean.lost;
    f->plane[2][k] = count;
    f->plane[3][k] = squares.sum;
    f->plane[4][k] = squares.lost;
}

static inline void add_step(struct fold *f, uint32_t k, double x)
{
    switch (f->op) {
    case FOLD_SUM:
        step_sum(f, k, x, 0);
        break;
    case FOLD_AVG:
    case FOLD_AVG_2:
        step_avg(f, k, (struct average){{x, 0}, 1, false});
        break;
    case FOLD_MIN:
        step_min(f, k, x);
        break;
    case FOLD_MAX:
        step_max(f, k, x);
        break;
    case FOLD_COUNT:
        f->plane[0][k] += 1;
        break;
    case FOLD_STDDEV:
    case FOLD_STDVAR:
    case FOLD_STDDEV_2:
    case FOLD_STDVAR_2:
        step_variance(f, k, x);
        break;
    case FOLD_ONE:
    case FOLD_ONE_SERIES:
        f->plane[0][k] = x;
        break;
    case FOLD_GROUP:
    case FOLD_OP_MAX:
        break;
    }
}

/* Whether what comes in lies where the operator allows only one. */
static bool collides(const struct fold *fold, const uint64_t *present)
{
    if (fold->op != FOLD_ONE && fold->op != FOLD_ONE_SERIES)
        return false;
    uint64_t here = 0, there = 0, both = 0;
    for (size_t word = 0; word < bits_words(fold->steps); word++) {
        here |= fold->present[word];
        there |= present[word];
        both |= fold->present[word] & present[word];
    }
    return fold->op == FOLD_ONE ? both != 0 : here && there;
}

WIDE_VECTORS void fold_add(struct fold *fold, const double *values, const uint64_t *present)
{
    size_t words = bits_words(fold->steps);
    fold->conflict = fold->conflict || collides(fold, present);
    for (size_t word = 0; word < words; word++) {
        uint32_t first = (uint32_t)(word * 64);
        uint32_t n = fold->steps - first < 64 ? fold->steps - first : 64;
        uint64_t all = n == 64 ? UINT64_MAX : (UINT64_C(1) << n) - 1;
        if (present[word] == all) {
            for (uint32_t k = first; k < first + n; k++)
                add_step(fold, k, values[k]);
        } else {
            for (uint64_t left = present[word]; left; left &= left - 1) {
                uint32_t k = first + (uint32_t)__builtin_ctzll(left);
                add_step(fold, k, values[k]);
            }
        }
        fold->present[word] |= present[word];
    }
}

static void merge_step(struct fold *f, const struct fold *from, uint32_t k)
{
    switch (f->op) {
    case FOLD_SUM:
        step_sum(f, k, from->plane[0][k], from->plane[1][k]);
        break;
    case FOLD_AVG:
    case FOLD_AVG_2:
        step_avg(f, k, average_load(from, k));
        break;
    case FOLD_MIN:
        step_min(f, k, from->plane[0][k]);
        break;
    case FOLD_MAX:
        step_max(f, k, from->plane[0][k]);
        break;
    case FOLD_COUNT:
        f->plane[0][k] += from->plane[0][k];
        break;
    case FOLD_STDDEV:
    case FOLD_STDVAR:
    case FOLD_STDDEV_2:
    case FOLD_STDVAR_2:
        merge_variance(f, from, k);
        break;
    case FOLD_ONE:
    case FOLD_ONE_SERIES:
        f->plane[0][k] = from->plane[0][k];
        break;
    case FOLD_GROUP:
    case FOLD_OP_MAX:
        break;
    }
}

void fold_merge(struct fold *into, const struct fold *from)
{
    PRE(into->op == from->op && into->steps == from->steps);
    into->conflict = into->conflict || from->conflict || collides(into, from->present);
    size_t words = bits_words(into->steps);
    for (size_t word = 0; word < words; word++) {
        for (uint64_t left = from->present[word]; left; left &= left - 1)
            merge_step(into, from, (uint32_t)(word * 64) + (uint32_t)__builtin_ctzll(left));
        into->present[word] |= from->present[word];
    }
}

static double finish_variance(const struct fold *f, uint32_t k)
{
    return (f->plane[3][k] + f->plane[4][k]) / f->plane[2][k];
}

static double finish_average(const struct fold *f, uint32_t k)
{
    struct average a = average_load(f, k);
    return a.is_mean ? a.at.sum + a.at.lost : a.at.sum / a.count + a.at.lost / a.count;
}

static double finish_step(const struct fold *f, uint32_t k)
{
    switch (f->op) {
    case FOLD_SUM:
        return f->plane[0][k] + f->plane[1][k];
    case FOLD_AVG:
        return finish_average(f, k);
    case FOLD_AVG_2:
        return f->plane[2][k] == 1 ? f->plane[0][k] : finish_average(f, k);
    case FOLD_MIN:
    case FOLD_MAX:
    case FOLD_COUNT:
    case FOLD_ONE:
    case FOLD_ONE_SERIES:
        return f->plane[0][k];
    case FOLD_STDDEV:
        return sqrt(finish_variance(f, k));
    case FOLD_STDVAR:
        return finish_variance(f, k);
    case FOLD_STDDEV_2:
        return f->plane[2][k] == 1 ? 0 : sqrt(finish_variance(f, k));
    case FOLD_STDVAR_2:
        return f->plane[2][k] == 1 ? 0 : finish_variance(f, k);
    case FOLD_GROUP:
    case FOLD_OP_MAX:
        break;
    }
    return 1;
}

void fold_finish(const struct fold *fold, double *values)
{
    for (uint32_t k = 0; k < fold->steps; k++)
        values[k] = bits_get(fold->present, k) ? finish_step(fold, k) : 0;
}
