/* base/float_text.h: doubles as Prometheus writes them, and read back.
 *
 * The digits are the shortest that read back to the same double. Source: Prometheus util/jsonutil (MarshalFloat) and
 * Go strconv.FormatFloat(v, fmt, -1, 64). NaN is "NaN", infinities "+Inf" and "-Inf", negative zero "-0".
 * Threads: no state.
 */
#ifndef PROMSPLIT_BASE_FLOAT_TEXT_H
#define PROMSPLIT_BASE_FLOAT_TEXT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/str.h"

#define FLOAT_TEXT_MAX 352 /* bytes enough for any plain notation, with the final NUL */

/* Plain notation for 1e-6 <= |v| < 1e21 and zero, exponent form ("1e+21", "1e-07") otherwise: the JSON API. */
size_t float_text_json(char out[FLOAT_TEXT_MAX], double value);

/* Plain notation always (Go 'f'): count_values and label values. */
size_t float_text_plain(char out[FLOAT_TEXT_MAX], double value);

/* Go 'g', which %v means: exponent form when the exponent is below -4 or above 5 ("1e+06"). */
size_t float_text_general(char out[FLOAT_TEXT_MAX], double value);

/* Milliseconds as seconds with up to three decimals, as the JSON API writes timestamps: 1.5 -> "1.500", 2 -> "2". */
size_t time_text_json(char out[32], int64_t time_ms);

/* The number that text begins with, correctly rounded whatever its length: decimal digits with an optional sign,
 * fraction and exponent, or inf, infinity or nan in any case. Returns the bytes it takes up, 0 if there is none.
 * Numbers beyond the largest double give infinity, as they do for strtod. Source: fast path Clinger 1990, else the
 * product with 128 bits of the power of ten when that decides the rounding (Lemire 2021), else strtod. */
size_t float_text_read(struct str text, double *ret_value);

/* The whole number, with an optional sign, that text begins with: bytes taken up; 0 if there is none or it does not
 * fit. */
size_t whole_text_read(struct str text, int64_t *ret_number);

/* The staleness marker: one exact NaN (Prometheus model/value/value.go). Compare bits, never values. */
#define STALE_NAN_BITS  UINT64_C(0x7ff0000000000002)
#define NORMAL_NAN_BITS UINT64_C(0x7ff8000000000001)

static inline uint64_t double_bits(double value)
{
    union {
        double d;
        uint64_t u;
    } pun = {.d = value};
    return pun.u;
}

static inline double double_from_bits(uint64_t bits)
{
    union {
        double d;
        uint64_t u;
    } pun = {.u = bits};
    return pun.d;
}

static inline bool is_stale_marker(double value)
{
    return double_bits(value) == STALE_NAN_BITS;
}

#endif
