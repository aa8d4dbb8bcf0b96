/* base/float_text.c: see float_text.h.
 *
 * The shortest digits come from Schubfach (Raffaello Giulietti, "The Schubfach way to render doubles", 2020): scale the
 * value and the two borders of the interval that rounds to it by one power of ten, held to 128 bits, so that the
 * interval holds at least one and at most ten whole numbers; then pick. All steps are exact in effect: rounding to odd
 * keeps every comparison right.
 */
#include "base/float_text.h"

#include <math.h>
#include <string.h>

#include "base/assert.h"
#include "base/pow10.h"

#define EXPONENT_BIAS 1075 /* of the double's significand taken as a whole number */

const struct uint128 pow10_table[POW10_MAX - POW10_MIN + 1] = {
#include "base/pow10.def"
};

/* A finite double as decimal digits: value = 0.d1d2… x 10^point, no trailing zeros ("0" with point 1 for zero). */
struct decimal {
    char digits[20];
    int count;
    int point;
    bool negative;
};

/* A whole number times a power of ten. */
struct scaled {
    uint64_t digits;
    int exponent;
};

/* The upper 64 bits of factor x multiplier / 2^64; the last bit is set if anything below was cut off. */
static uint64_t multiply_to_odd(struct uint128 factor, uint64_t multiplier)
{
    unsigned __int128 low = (unsigned __int128)factor.low * multiplier;
    unsigned __int128 high = (unsigned __int128)factor.high * multiplier + (uint64_t)(low >> 64);
    return (uint64_t)(high >> 64) | ((uint64_t)high > 1);
}

/* The shortest number that reads back to significand x 2^exponent, the closest of that length. */
static struct scaled shortest(uint64_t significand, int exponent, bool lower_border_is_closer)
{
    bool even = significand % 2 == 0; /* the borders themselves round to an even significand */
    uint64_t low = 4 * significand - 2 + lower_border_is_closer;
    uint64_t middle = 4 * significand;
    uint64_t high = 4 * significand + 2;
    /* floor(log10(width of the interval)) */
    int k = (exponent * 1262611 - (lower_border_is_closer ? 524031 : 0)) >> 22;
    int shift = exponent + pow10_log2(-k) + 1;
    struct uint128 factor = pow10_table[-k - POW10_MIN];
    low = multiply_to_odd(factor, low << shift) + !even;
    middle = multiply_to_odd(factor, middle << shift);
    high = multiply_to_odd(factor, high << shift) - !even;
    uint64_t whole = middle / 4;
    if (whole >= 10) { /* one digit less? */
        uint64_t tens = whole / 10;
        bool down = low <= 40 * tens, up = 40 * tens + 40 <= high;
        if (down != up)
            return (struct scaled){tens + up, k + 1};
    }
    bool down = low <= 4 * whole, up = 4 * whole + 4 <= high;
    if (down != up)
        return (struct scaled){whole + up, k};
    uint64_t half = 4 * whole + 2;
    return (struct scaled){whole + (middle > half || (middle == half && whole % 2 == 1)), k};
}

/* Decimal digits of a number, most significant first; returns how many. */
static int write_digits(char *out, uint64_t number)
{
    static const char PAIRS[] = "00010203040506070809101112131415161718192021222324252627282930313233343536373839"
                                "40414243444546474849505152535455565758596061626364656667686970717273747576777879"
                                "8081828384858687888990919293949596979899";
    char reversed[20];
    size_t at = sizeof reversed;
    while (number >= 100) {
        at -= 2;
        memcpy(reversed + at, PAIRS + number % 100 * 2, 2);
        number /= 100;
    }
    if (number >= 10) {
        at -= 2;
        memcpy(reversed + at, PAIRS + number * 2, 2);
    } else {
        reversed[--at] = (char)('0' + number);
    }
    memcpy(out, reversed + at, sizeof reversed - at);
    return (int)(sizeof reversed - at);
}

static void to_decimal(struct decimal *out, double value)
{
    uint64_t bits = double_bits(value);
    uint64_t fraction = bits & ((UINT64_C(1) << 52) - 1);
    int exponent = (int)(bits >> 52 & 0x7ff);
    out->negative = bits >> 63;
    struct scaled scaled = {0, 0};
    if (exponent != 0)
        scaled = shortest(fraction | UINT64_C(1) << 52, exponent - EXPONENT_BIAS, fraction == 0 && exponent > 1);
    else if (fraction != 0)
        scaled = shortest(fraction, 1 - EXPONENT_BIAS, false);
    out->count = write_digits(out->digits, scaled.digits);
    out->point = scaled.exponent + out->count;
    while (out->count > 1 && out->digits[out->count - 1] == '0')
        out->count--;
}

static size_t special(char *out, double value)
{
    const char *text = isnan(value) ? "NaN" : value > 0 ? "+Inf" : "-Inf";
    strcpy(out, text);
    return strlen(text);
}

static size_t write_plain(char *out, const struct decimal *d)
{
    char *at = out;
    if (d->negative)
        *at++ = '-';
    if (d->point <= 0) {
        *at++ = '0';
        *at++ = '.';
        memset(at, '0', (size_t)-d->point);
        at += -d->point;
        memcpy(at, d->digits, (size_t)d->count);
        at += d->count;
    } else {
        int whole = d->point < d->count ? d->point : d->count;
        memcpy(at, d->digits, (size_t)whole);
        memset(at + whole, '0', (size_t)(d->point - whole));
        at += d->point;
        if (d->count > whole) {
            *at++ = '.';
            memcpy(at, d->digits + whole, (size_t)(d->count - whole));
            at += d->count - whole;
        }
    }
    *at = '\0';
    return (size_t)(at - out);
}

static size_t write_exponent(char *out, const struct decimal *d)
{
    char *at = out;
    int exponent = d->point - 1;
    if (d->negative)
        *at++ = '-';
    *at++ = d->digits[0];
    if (d->count > 1) {
        *at++ = '.';
        memcpy(at, d->digits + 1, (size_t)(d->count - 1));
        at += d->count - 1;
    }
    *at++ = 'e';
    *at++ = exponent < 0 ? '-' : '+';
    unsigned magnitude = (unsigned)(exponent < 0 ? -exponent : exponent);
    if (magnitude < 10)
        *at++ = '0';
    at += write_digits(at, magnitude);
    *at = '\0';
    return (size_t)(at - out);
}

/* Whole numbers below 2^53 are common (counters) and need no search for digits. */
static bool small_whole(char *out, double value, size_t *ret_length)
{
    if (!(fabs(value) < 0x1p53))
        return false;
    int64_t whole = (int64_t)value;
    if ((double)whole != value || (whole == 0 && signbit(value)))
        return false;
    size_t sign = whole < 0;
    if (sign)
        out[0] = '-';
    *ret_length = sign + (size_t)write_digits(out + sign, (uint64_t)(whole < 0 ? -whole : whole));
    out[*ret_length] = '\0';
    return true;
}

size_t float_text_json(char out[FLOAT_TEXT_MAX], double value)
{
    size_t length;
    if (small_whole(out, value, &length))
        return length;
    if (!isfinite(value))
        return special(out, value);
    struct decimal d;
    to_decimal(&d, value);
    double magnitude = fabs(value);
    if (magnitude != 0 && (magnitude < 1e-6 || magnitude >= 1e21))
        return write_exponent(out, &d);
    return write_plain(out, &d);
}

size_t float_text_plain(char out[FLOAT_TEXT_MAX], double value)
{
    size_t length;
    if (small_whole(out, value, &length))
        return length;
    if (!isfinite(value))
        return special(out, value);
    struct decimal d;
    to_decimal(&d, value);
    return write_plain(out, &d);
}

size_t float_text_general(char out[FLOAT_TEXT_MAX], double value)
{
    if (!isfinite(value))
        return special(out, value);
    struct decimal d;
    to_decimal(&d, value);
    int exponent = d.point - 1;
    if (value != 0 && (exponent < -4 || exponent > 5))
        return write_exponent(out, &d);
    return write_plain(out, &d);
}

size_t time_text_json(char out[32], int64_t time_ms)
{
    uint64_t magnitude = time_ms < 0 ? -(uint64_t)time_ms : (uint64_t)time_ms;
    uint64_t rest = magnitude % 1000;
    char *at = out;
    if (time_ms < 0)
        *at++ = '-';
    at += write_digits(at, magnitude / 1000);
    if (rest != 0) {
        *at++ = '.';
        *at++ = (char)('0' + rest / 100);
        *at++ = (char)('0' + rest / 10 % 10);
        *at++ = (char)('0' + rest % 10);
    }
    *at = '\0';
    return (size_t)(at - out);
}
