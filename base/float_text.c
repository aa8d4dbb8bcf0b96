/* base/float_text.c: see float_text.h. */
#include "base/float_text.h"

#include <float.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"

/* A double as decimal digits: value = 0.d1d2… x 10^point, no trailing zeros ("0" with point 1 for zero). */
struct decimal {
    char digits[18];
    int count;
    int point;
    bool negative;
};

/* The fewest digits that read back to the same double. %.{n}e rounds correctly, so the first n that survives the
 * round trip is the shortest, and it is the closest of its length. */
static void shortest(struct decimal *out, double value)
{
    char text[32];
    out->negative = signbit(value);
    value = fabs(value);
    /* 15 digits of a normal number always survive, so fewer come from dropping zeros; subnormals hold fewer digits. */
    int precision = value < DBL_MIN ? 0 : 14;
    for (; precision < 16; precision++) {
        snprintf(text, sizeof text, "%.*e", precision, value);
        if (strtod(text, NULL) == value)
            break;
    }
    if (precision == 16)
        snprintf(text, sizeof text, "%.16e", value);
    char *exponent = strchr(text, 'e');
    INVARIANT(exponent);
    out->point = atoi(exponent + 1) + 1;
    out->count = 0;
    for (char *at = text; at < exponent; at++)
        if (*at != '.')
            out->digits[out->count++] = *at;
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
        for (int i = d->point; i < 0; i++)
            *at++ = '0';
        memcpy(at, d->digits, (size_t)d->count);
        at += d->count;
    } else {
        for (int i = 0; i < d->point; i++)
            *at++ = i < d->count ? d->digits[i] : '0';
        if (d->count > d->point) {
            *at++ = '.';
            memcpy(at, d->digits + d->point, (size_t)(d->count - d->point));
            at += d->count - d->point;
        }
    }
    *at = '\0';
    return (size_t)(at - out);
}

static size_t write_exponent(char *out, const struct decimal *d)
{
    char *at = out;
    if (d->negative)
        *at++ = '-';
    *at++ = d->digits[0];
    if (d->count > 1) {
        *at++ = '.';
        memcpy(at, d->digits + 1, (size_t)(d->count - 1));
        at += d->count - 1;
    }
    return (size_t)(at - out) + (size_t)sprintf(at, "e%+03d", d->point - 1);
}

/* Whole numbers below 2^53 are common (counters) and need no search for digits. */
static bool small_whole(char *out, double value, size_t *ret_length)
{
    if (!(fabs(value) < 9007199254740992.0) || value != trunc(value) || (value == 0 && signbit(value)))
        return false;
    *ret_length = (size_t)sprintf(out, "%lld", (long long)value);
    return true;
}

size_t float_text_json(char out[FLOAT_TEXT_MAX], double value)
{
    size_t length;
    if (!isfinite(value))
        return special(out, value);
    if (small_whole(out, value, &length))
        return length;
    struct decimal d;
    shortest(&d, value);
    double magnitude = fabs(value);
    if (magnitude != 0 && (magnitude < 1e-6 || magnitude >= 1e21))
        return write_exponent(out, &d);
    return write_plain(out, &d);
}

size_t float_text_plain(char out[FLOAT_TEXT_MAX], double value)
{
    size_t length;
    if (!isfinite(value))
        return special(out, value);
    if (small_whole(out, value, &length))
        return length;
    struct decimal d;
    shortest(&d, value);
    return write_plain(out, &d);
}

size_t float_text_general(char out[FLOAT_TEXT_MAX], double value)
{
    if (!isfinite(value))
        return special(out, value);
    struct decimal d;
    shortest(&d, value);
    if (value == 0)
        d.point = 1;
    int exponent = d.point - 1;
    if (value != 0 && (exponent < -4 || exponent >= (d.count > 21 ? d.count : 21)))
        return write_exponent(out, &d);
    return write_plain(out, &d);
}

size_t time_text_json(char out[32], int64_t time_ms)
{
    uint64_t magnitude = time_ms < 0 ? -(uint64_t)time_ms : (uint64_t)time_ms;
    const char *sign = time_ms < 0 ? "-" : "";
    if (magnitude % 1000 == 0)
        return (size_t)sprintf(out, "%s%llu", sign, (unsigned long long)(magnitude / 1000));
    return (size_t)sprintf(out, "%s%llu.%03llu", sign, (unsigned long long)(magnitude / 1000),
                           (unsigned long long)(magnitude % 1000));
}
