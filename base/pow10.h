/* base/pow10.h: powers of ten to 128 bits, for the writer and the reader of doubles. Only base/ uses it.
 *
 * 10^k scaled by the power of two that brings it into [2^127, 2^128), rounded up; exact for k in 0 … 55.
 * Threads: constant data.
 */
#ifndef PROMSPLIT_BASE_POW10_H
#define PROMSPLIT_BASE_POW10_H

#include <stdint.h>

#define POW10_MIN       (-292)
#define POW10_MAX       324
#define POW10_EXACT_MAX 55 /* 5^55 < 2^128 */

struct uint128 {
    uint64_t high, low;
};

extern const struct uint128 pow10_table[POW10_MAX - POW10_MIN + 1];

/* floor(log2(10^k)) for the k of the table. */
static inline int pow10_log2(int k)
{
    return (k * 1741647) >> 19;
}

#endif
