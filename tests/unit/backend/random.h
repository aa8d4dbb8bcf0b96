/* tests/unit/backend/random.h: a small reproducible generator (xorshift64*), so that a failing seed can be run again.
 */
#ifndef PROMSPLIT_TESTS_UNIT_BACKEND_RANDOM_H
#define PROMSPLIT_TESTS_UNIT_BACKEND_RANDOM_H

#include <stdint.h>

struct random {
    uint64_t state;
};

static inline struct random random_from(uint64_t seed)
{
    return (struct random){seed * UINT64_C(0x9E3779B97F4A7C15) + 1};
}

static inline uint64_t random_next(struct random *r)
{
    r->state ^= r->state >> 12;
    r->state ^= r->state << 25;
    r->state ^= r->state >> 27;
    return r->state * UINT64_C(2685821657736338717);
}

static inline uint64_t random_below(struct random *r, uint64_t n)
{
    return (random_next(r) >> 11) % n;
}

static inline double random_unit(struct random *r)
{
    return (double)(random_next(r) >> 11) / (double)(UINT64_C(1) << 53);
}

#endif
