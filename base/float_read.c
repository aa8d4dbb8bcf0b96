/* base/float_read.c: numbers out of text; see float_text.h.
 *
 * Digits become a whole number of at most 19 digits and a power of ten. A power that a double holds exactly needs one
 * multiplication or division. Else the product of the number with the table's 128-bit power is known to lie between two
 * 192-bit numbers; when both round to the same double, that is the answer, because rounding is monotonic. What is left
 * (more digits than 19, subnormals, products too near the middle between two doubles) goes to strtod.
 */
#include <stdlib.h>
#include <strings.h>

#include "base/assert.h"
#include "base/float_text.h"
#include "base/pow10.h"

#define DIGITS_MAX   19 /* of a number that fits in 64 bits */
#define EXPONENT_MAX 100000

/* A number as it was written. */
struct written {
    uint64_t digits; /* the first DIGITS_MAX significant ones */
    int exponent;    /* of ten, for `digits` */
    bool negative;
    bool cut; /* there were more digits */
};

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static void take_digit(struct written *w, char c, int *digits_n, bool fraction)
{
    if (*digits_n == DIGITS_MAX) {
        w->cut = w->cut || c != '0';
        w->exponent += !fraction;
        return;
    }
    w->digits = w->digits * 10 + (uint64_t)(c - '0');
    *digits_n += w->digits != 0;
    w->exponent -= fraction;
}

static const char *read_exponent(struct written *w, const char *at, const char *end)
{
    if (at == end || (*at | 0x20) != 'e')
        return at;
    const char *next = at + 1;
    bool negative = next < end && *next == '-';
    next += next < end && (*next == '-' || *next == '+');
    if (next == end || !is_digit(*next))
        return at; /* the "e" belongs to something else */
    int exponent = 0;
    for (; next < end && is_digit(*next); next++)
        exponent = exponent < EXPONENT_MAX ? exponent * 10 + (*next - '0') : exponent;
    w->exponent += negative ? -exponent : exponent;
    return next;
}

static size_t read_decimal(struct str text, struct written *w)
{
    const char *at = text.ptr, *end = at + text.len;
    *w = (struct written){.negative = text.len && *at == '-'};
    at += text.len && (*at == '-' || *at == '+');
    int digits_n = 0;
    const char *begin = at;
    for (; at < end && is_digit(*at); at++)
        take_digit(w, *at, &digits_n, false);
    size_t seen = (size_t)(at - begin);
    if (at < end && *at == '.') {
        begin = ++at;
        for (; at < end && is_digit(*at); at++)
            take_digit(w, *at, &digits_n, true);
        seen += (size_t)(at - begin);
    }
    if (seen == 0)
        return 0;
    return (size_t)(read_exponent(w, at, end) - text.ptr);
}

static size_t read_word(struct str text, double *ret_value)
{
    static const struct {
        struct str word;
        double value;
    } WORDS[] = {
        {STR_STATIC("infinity"), __builtin_inf()}, {STR_STATIC("inf"), __builtin_inf()}, {STR_STATIC("nan"), 0}};
    size_t sign = text.len && (text.ptr[0] == '-' || text.ptr[0] == '+');
    for (size_t i = 0; i < ARRAY_LENGTH(WORDS); i++) {
        struct str word = WORDS[i].word;
        if (text.len < sign + word.len || strncasecmp(text.ptr + sign, word.ptr, word.len) != 0)
            continue;
        *ret_value = WORDS[i].value == 0 ? double_from_bits(NORMAL_NAN_BITS) : WORDS[i].value;
        if (sign && text.ptr[0] == '-' && WORDS[i].value != 0)
            *ret_value = -*ret_value;
        return sign + word.len;
    }
    return 0;
}

/* --- rounding --- */

/* A 192-bit number, its highest bit set or the one below, to the nearest double's 53 bits, ties to even; *ret_up says
 * whether it has 192 bits (else 191). 2^53 may come out. */
static uint64_t round_product(uint64_t high, uint64_t middle, uint64_t low, int *ret_top)
{
    *ret_top = (int)(high >> 63);
    unsigned cut = 10 + (unsigned)*ret_top; /* bits of `high` below the 53 */
    uint64_t kept = high >> cut, rest = high & ((UINT64_C(1) << cut) - 1), half = UINT64_C(1) << (cut - 1);
    bool more = rest > half || (rest == half && (middle | low));
    bool tie = rest == half && !(middle | low);
    return kept + (more || (tie && (kept & 1)));
}

/* digits x 10^exponent, digits not 0; false when this way cannot tell. */
static bool scale(uint64_t digits, int exponent, double *ret_value)
{
    if (exponent < POW10_MIN || exponent > POW10_MAX)
        return false;
    int shift = __builtin_clzll(digits);
    struct uint128 power = pow10_table[exponent - POW10_MIN];
    uint64_t factor = digits << shift;
    unsigned __int128 below = (unsigned __int128)power.low * factor;
    unsigned __int128 above = (unsigned __int128)power.high * factor + (uint64_t)(below >> 64);
    uint64_t high = (uint64_t)(above >> 64), middle = (uint64_t)above, low = (uint64_t)below;
    int top;
    uint64_t rounded = round_product(high, middle, low, &top);
    if (exponent < 0 || exponent > POW10_EXACT_MAX) { /* the power is up to 1 too large: the product up to `factor` */
        uint64_t borrow = low < factor, borrow2 = middle < borrow;
        int lower_top;
        uint64_t lower = round_product(high - borrow2, middle - borrow, low - factor, &lower_top);
        if (lower != rounded || lower_top != top)
            return false;
    }
    /* The product is about high x 2^128; digits x 10^exponent = product x 2^(log2 - 127 - shift). */
    int binary = pow10_log2(exponent) - 127 - shift + 128 + 10 + top;
    if (rounded >> 53) {
        rounded >>= 1;
        binary++;
    }
    int biased = binary + 1075;
    if (biased < 1 || biased > 2046)
        return false;
    *ret_value = double_from_bits((rounded & ((UINT64_C(1) << 52) - 1)) | (uint64_t)biased << 52);
    return true;
}

static bool by_library(struct str number, double *ret_value)
{
    char local[128];
    char *text = number.len < sizeof local ? local : malloc(number.len + 1);
    if (!text)
        return false;
    memcpy(text, number.ptr, number.len);
    text[number.len] = '\0';
    *ret_value = strtod(text, NULL);
    if (text != local)
        free(text);
    return true;
}

size_t float_text_read(struct str text, double *ret_value)
{
    static const double EXACT[] = {1e0,  1e1,  1e2,  1e3,  1e4,  1e5,  1e6,  1e7,  1e8,  1e9,  1e10, 1e11,
                                   1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18, 1e19, 1e20, 1e21, 1e22};
    struct written w;
    size_t used = read_decimal(text, &w);
    if (used == 0)
        return read_word(text, ret_value);
    bool small = w.digits >> 53 == 0 && w.exponent >= -22 && w.exponent <= 22;
    double value = 0;
    if (w.cut)
        return by_library((struct str){text.ptr, used}, ret_value) ? used : 0;
    if (small)
        value = w.exponent < 0 ? (double)w.digits / EXACT[-w.exponent] : (double)w.digits * EXACT[w.exponent];
    else if (w.digits != 0 && !scale(w.digits, w.exponent, &value))
        return by_library((struct str){text.ptr, used}, ret_value) ? used : 0;
    *ret_value = w.negative ? -value : value;
    return used;
}

size_t whole_text_read(struct str text, int64_t *ret_number)
{
    size_t at = text.len && (text.ptr[0] == '-' || text.ptr[0] == '+');
    bool negative = at && text.ptr[0] == '-';
    size_t first = at;
    int64_t number = 0; /* negative all along: that side has one number more */
    for (; at < text.len && is_digit(text.ptr[at]); at++)
        if (__builtin_mul_overflow(number, 10, &number) || __builtin_sub_overflow(number, text.ptr[at] - '0', &number))
            return 0;
    if (at == first || (!negative && number == INT64_MIN))
        return 0;
    *ret_number = negative ? number : -number;
    return at;
}
