/* promql/literal.c: see literal.h. */
#include "promql/literal.h"

#include <ctype.h>
#include <errno.h>
#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <strings.h>

#include "base/assert.h"
#include "base/utf8.h"

#define NUMBER_TEXT_MAX 512 /* bytes; longer spellings are refused */

/* Underscores may stand between digits and between a base prefix and a digit, nowhere else. */
static bool underscores_fine(struct str s)
{
    size_t i = 0;
    char before = '^'; /* '0' a digit or prefix, '_' an underscore, '!' anything else, '^' the start */
    if (s.len > 0 && (s.ptr[0] == '-' || s.ptr[0] == '+'))
        i = 1;
    bool hex = false;
    if (s.len - i >= 2 && s.ptr[i] == '0' && strchr("bBoOxX", s.ptr[i + 1])) {
        hex = (s.ptr[i + 1] | 0x20) == 'x';
        before = '0';
        i += 2;
    }
    for (; i < s.len; i++) {
        unsigned char c = (unsigned char)s.ptr[i];
        if (isdigit(c) || (hex && isxdigit(c))) {
            before = '0';
        } else if (c == '_') {
            if (before != '0')
                return false;
            before = '_';
        } else {
            if (before == '_')
                return false;
            before = '!';
        }
    }
    return before != '_';
}

/* Copies without underscores, NUL-terminated; false if the spelling has one in a wrong place or is too long. */
static bool strip(struct str s, char out[NUMBER_TEXT_MAX])
{
    size_t n = 0;
    bool underscore = s.len > 0 && memchr(s.ptr, '_', s.len) != NULL;
    if (underscore && !underscores_fine(s))
        return false;
    for (size_t i = 0; i < s.len; i++) {
        if (s.ptr[i] == '_')
            continue;
        if (n + 1 == NUMBER_TEXT_MAX)
            return false;
        out[n++] = s.ptr[i];
    }
    out[n] = '\0';
    return n > 0;
}

/* Go's integer of base 0, but only those that fit int64: the rest are floats. */
static bool integer(struct str s, double *ret_value)
{
    char text[NUMBER_TEXT_MAX];
    if (!strip(s, text))
        return false;
    const char *digits = text;
    int base = 10;
    if (text[0] == '0' && (text[1] | 0x20) == 'x') {
        base = 16;
        digits += 2;
    } else if (text[0] == '0' && text[1] != '\0') {
        base = 8;
        digits += 1;
    }
    if (!isxdigit((unsigned char)*digits))
        return false;
    char *end;
    errno = 0;
    unsigned long long value = strtoull(digits, &end, base);
    if (*end != '\0' || errno == ERANGE || value > INT64_MAX)
        return false;
    *ret_value = (double)value;
    return true;
}

/* [+-] digits with at most one dot and an exponent, as Go spells decimal floats. */
static bool is_decimal_float(const char *s)
{
    s += *s == '+' || *s == '-';
    size_t digits = 0;
    for (; isdigit((unsigned char)*s); s++)
        digits++;
    if (*s == '.')
        for (s++; isdigit((unsigned char)*s); s++)
            digits++;
    if (digits == 0)
        return false;
    if ((*s | 0x20) == 'e') {
        s++;
        s += *s == '+' || *s == '-';
        if (!isdigit((unsigned char)*s))
            return false;
        while (isdigit((unsigned char)*s))
            s++;
    }
    return *s == '\0';
}

/* Go wants the exponent in hexadecimal floats that C lets one leave out. */
static bool is_hex_float(const char *s)
{
    s += *s == '+' || *s == '-';
    if (s[0] != '0' || (s[1] | 0x20) != 'x')
        return false;
    size_t digits = 0;
    for (s += 2; isxdigit((unsigned char)*s); s++)
        digits++;
    if (*s == '.')
        for (s++; isxdigit((unsigned char)*s); s++)
            digits++;
    if (digits == 0 || (*s | 0x20) != 'p')
        return false;
    s++;
    s += *s == '+' || *s == '-';
    if (!isdigit((unsigned char)*s))
        return false;
    while (isdigit((unsigned char)*s))
        s++;
    return *s == '\0';
}

static bool is_word(const char *s)
{
    bool sign = *s == '+' || *s == '-';
    return strcasecmp(s + sign, "inf") == 0 || strcasecmp(s + sign, "infinity") == 0 ||
           (!sign && strcasecmp(s, "nan") == 0);
}

enum number_fault literal_float(struct str text, double *ret_value)
{
    char plain[NUMBER_TEXT_MAX];
    if (!strip(text, plain))
        return NUMBER_INVALID;
    bool word = is_word(plain);
    if (!word && !is_decimal_float(plain) && !is_hex_float(plain))
        return NUMBER_INVALID;
    *ret_value = strtod(plain, NULL);
    return isinf(*ret_value) && !word ? NUMBER_OUT_OF_RANGE : NUMBER_FINE;
}

/* Up to 15 digits with at most one dot: both the digits and the power of ten are exact doubles, so is the quotient. */
static bool short_decimal(struct str s, double *ret_value)
{
    static const double POWERS[] = {1, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15};
    if (s.len > 16 || (s.len > 1 && s.ptr[0] == '0' && s.ptr[1] != '.'))
        return false;
    uint64_t digits = 0;
    size_t count = 0, behind_dot = 0;
    bool dot = false;
    for (size_t i = 0; i < s.len; i++) {
        char c = s.ptr[i];
        if (c == '.' && !dot) {
            dot = true;
        } else if (c >= '0' && c <= '9') {
            digits = digits * 10 + (uint64_t)(c - '0');
            count++;
            behind_dot += dot;
        } else {
            return false;
        }
    }
    if (count == 0 || count > 15)
        return false;
    *ret_value = (double)digits / POWERS[behind_dot];
    return true;
}

enum number_fault literal_number(struct str text, double *ret_value)
{
    if (short_decimal(text, ret_value) || integer(text, ret_value))
        return NUMBER_FINE;
    return literal_float(text, ret_value);
}

static int32_t digits_value(const char *at, unsigned n, unsigned base)
{
    int32_t value = 0;
    for (unsigned i = 0; i < n; i++) {
        int c = (unsigned char)at[i];
        int digit = c <= '9' ? c - '0' : (c | 0x20) - 'a' + 10;
        value = value * (int32_t)base + digit;
    }
    return value;
}

/* Writes what the escape at `at` (behind the backslash) stands for; returns how many bytes of the text it took. */
static size_t unescape(const char *at, char out[4], unsigned *ret_written)
{
    static const char FROM[] = "abfnrtv", TO[] = "\a\b\f\n\r\t\v";
    *ret_written = 1;
    const char *simple = strchr(FROM, *at);
    if (simple) {
        out[0] = TO[simple - FROM];
        return 1;
    }
    if (*at >= '0' && *at <= '7') {
        out[0] = (char)digits_value(at, 3, 8);
        return 3;
    }
    if (*at == 'x') {
        out[0] = (char)digits_value(at + 1, 2, 16);
        return 3;
    }
    if (*at == 'u' || *at == 'U') {
        unsigned n = *at == 'u' ? 4 : 8;
        *ret_written = (unsigned)utf8_put(out, (uint32_t)digits_value(at + 1, n, 16));
        return 1 + n;
    }
    out[0] = *at; /* a quote or a backslash */
    return 1;
}

struct str literal_unquote(struct arena *arena, struct str quoted)
{
    struct str inner = {quoted.ptr + 1, quoted.len - 2};
    if (quoted.ptr[0] == '`' || inner.len == 0 || !memchr(inner.ptr, '\\', inner.len))
        return inner;
    char *out = arena_alloc(arena, inner.len + 1); /* every escape is at least as long as what it stands for */
    if (!out)
        return (struct str){NULL, 0};
    size_t n = 0;
    for (size_t i = 0; i < inner.len;) {
        if (inner.ptr[i] != '\\') {
            out[n++] = inner.ptr[i++];
            continue;
        }
        char bytes[4];
        unsigned written;
        i += 1 + unescape(inner.ptr + i + 1, bytes, &written);
        memcpy(out + n, bytes, written);
        n += written;
    }
    return (struct str){out, n};
}

enum duration_fault literal_duration(struct str text, int64_t *ret_ms, struct str *ret_unit)
{
    static const struct {
        struct str name;
        uint64_t ms;
    } UNITS[] = {{STR_STATIC("y"), 31536000000}, {STR_STATIC("w"), 604800000}, {STR_STATIC("d"), 86400000},
                 {STR_STATIC("h"), 3600000},     {STR_STATIC("m"), 60000},     {STR_STATIC("s"), 1000},
                 {STR_STATIC("ms"), 1}};
    const uint64_t max_ms = INT64_MAX / 1000000;
    if (str_eq(text, STR("0"))) {
        *ret_ms = 0;
        return DURATION_FINE;
    }
    size_t least = 0; /* units must fall from here on */
    uint64_t total_ms = 0;
    for (size_t i = 0; i < text.len;) {
        uint64_t number = 0;
        size_t digits = i;
        for (; i < text.len && isdigit((unsigned char)text.ptr[i]); i++)
            if (__builtin_mul_overflow(number, 10, &number) ||
                __builtin_add_overflow(number, (uint64_t)(text.ptr[i] - '0'), &number))
                return DURATION_INVALID;
        size_t unit = i;
        while (i < text.len && !isdigit((unsigned char)text.ptr[i]))
            i++;
        if (unit == digits || i == unit)
            return DURATION_INVALID;
        *ret_unit = (struct str){text.ptr + unit, i - unit};
        size_t u = 0;
        while (u < ARRAY_LENGTH(UNITS) && !str_eq(UNITS[u].name, *ret_unit))
            u++;
        if (u == ARRAY_LENGTH(UNITS))
            return DURATION_UNKNOWN_UNIT;
        if (u < least)
            return DURATION_INVALID;
        least = u + 1;
        if (number > max_ms / UNITS[u].ms || (total_ms += number * UNITS[u].ms) > max_ms)
            return DURATION_OUT_OF_RANGE;
    }
    if (text.len == 0)
        return DURATION_INVALID;
    *ret_ms = (int64_t)total_ms;
    return DURATION_FINE;
}
