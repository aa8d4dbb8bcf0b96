/* backend/duckdb/stored_value.h: how a sample's value lies in the tables.
 *
 * The engine's compression takes 0 and -0 for equal (runs of one value, segments of one value) and keeps the sign of
 * one of them; of every other value, NaNs included, it keeps the bits. So -0 is stored as the number next to it, the
 * smallest negative one, which no sender is expected to send, and that one as -0. In the tables as people see them the
 * difference is 5e-324.
 */
#ifndef PROMSPLIT_BACKEND_DUCKDB_STORED_VALUE_H
#define PROMSPLIT_BACKEND_DUCKDB_STORED_VALUE_H

#include <stdbool.h>

#include "base/float_text.h"

#define NEGATIVE_ZERO_BITS (UINT64_C(1) << 63)

/* Whether the value and what is stored of it differ. */
static inline bool is_stored_otherwise(double value)
{
    return (double_bits(value) | 1) == (NEGATIVE_ZERO_BITS | 1);
}

/* From a sample's value to what is stored, and back. */
static inline double stored_value(double value)
{
    uint64_t bits = double_bits(value);
    return double_from_bits(bits ^ ((bits | 1) == (NEGATIVE_ZERO_BITS | 1)));
}

#endif
