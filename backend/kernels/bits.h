/* backend/kernels/bits.h: presence bits of a grid, and the bit columns of engines, which may start inside a word. */
#ifndef PROMSPLIT_BACKEND_KERNELS_BITS_H
#define PROMSPLIT_BACKEND_KERNELS_BITS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

static inline size_t bits_words(size_t bits)
{
    return (bits + 63) / 64;
}

static inline bool bits_get(const uint64_t *bits, size_t at)
{
    return bits[at / 64] >> (at % 64) & 1;
}

static inline void bits_set(uint64_t *bits, size_t at)
{
    bits[at / 64] |= UINT64_C(1) << (at % 64);
}

/* How many of the first n are set; unused bits of the last word are 0. */
static inline size_t bits_count(const uint64_t *bits, size_t n)
{
    size_t set = 0;
    for (size_t word = 0; word < bits_words(n); word++)
        set += (size_t)__builtin_popcountll(bits[word]);
    return set;
}

/* Copies n bits from bit `from` of source to the start of to; unused bits of the last word become 0. source NULL: all
 * ones. Returns how many are set. */
size_t bits_load(uint64_t *to, const uint64_t *source, size_t from, size_t n);

/* Copies n bits from the start of source to bit `at` of to, leaving the others. */
void bits_store(uint64_t *to, size_t at, const uint64_t *source, size_t n);

#endif
