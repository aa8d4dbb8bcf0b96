/* backend/kernels/element.c: see element.h. */
#include "backend/kernels/element.h"

#include <float.h>
#include <math.h>
#include <string.h>

#include "backend/kernels/bits.h"
#include "base/assert.h"

/* --- numbers --- */

static double negate(double x)
{
    return -x;
}

static double sign(double x)
{
    return x < 0 ? -1 : x > 0 ? 1 : x;
}

static double degrees(double x)
{
    return x * 180 / M_PI;
}

static double radians(double x)
{
    return x * M_PI / 180;
}

/* Go's Log on amd64 takes a denormal number's bits as if it were normal, with the least exponent. */
static double logarithm(double x)
{
    if (!(x > 0 && x < DBL_MIN))
        return log(x);
    return log(0.5 + x * (0.5 / DBL_MIN)) - 1022 * M_LN2;
}

/* Go's Log2: exact for powers of two; a little above 1 the exponent and the fraction's logarithm nearly cancel. */
static double logarithm_2(double x)
{
    int exponent;
    double fraction = frexp(x, &exponent);
    if (!isfinite(x) || x <= 0)
        return log(x);
    if (fraction == 0.5)
        return exponent - 1;
    return log(fraction) * (1 / M_LN2) + exponent;
}

static double logarithm_10(double x)
{
    return logarithm(x) * (1 / M_LN10);
}

/* Go's Exp on amd64 overflows once the nearest power of two does: above 709.43, not 709.78. */
static double exponential(double x)
{
    return nearbyint(x * M_LOG2E) >= 1024 ? INFINITY : exp(x);
}

/* Go's Sinh and Cosh beyond 21: half the exponential, which overflows before they do. */
static double hyperbolic_sine(double x)
{
    return fabs(x) > 21 ? copysign(exponential(fabs(x)) * 0.5, x) : sinh(x);
}

static double hyperbolic_cosine(double x)
{
    return fabs(x) > 21 ? exponential(fabs(x)) * 0.5 : cosh(x);
}

/* Go's Acos, a difference that loses digits near 1. */
static double arc_cosine(double x)
{
    return M_PI_2 - asin(x);
}

static double add(double a, double b)
{
    return a + b;
}

static double subtract(double a, double b)
{
    return a - b;
}

static double multiply(double a, double b)
{
    return a * b;
}

static double divide(double a, double b)
{
    return a / b;
}

/* x to a whole power n < 2^63, |x| neither 0 nor infinite: squares of the fraction, exponents counted apart. Each
 * squaring doubles the error before it; so it does in Go, and large powers of numbers near 1 show it. */
static double whole_power(double start, double x, int64_t n, bool inverse)
{
    int x_exponent;
    double fraction = frexp(x, &x_exponent), product = start;
    int64_t factor_exponent = x_exponent, exponent = 0;
    for (; n != 0; n >>= 1) {
        if (factor_exponent < -(1 << 12) || factor_exponent > 1 << 12) {
            /* Out of every double's reach, also with what the rest may still contribute. */
            exponent += factor_exponent;
            break;
        }
        if (n & 1) {
            product *= fraction;
            exponent += factor_exponent;
        }
        fraction *= fraction;
        factor_exponent *= 2;
        if (fraction < 0.5) {
            fraction += fraction;
            factor_exponent--;
        }
    }
    if (inverse) {
        product = 1 / product;
        exponent = -exponent;
    }
    return ldexp(product, (int)exponent);
}

/* Go's Pow. C's agrees with it on every special value, and at what overflows by its exponent alone. */
static double element_pow(double x, double y)
{
    double magnitude = fabs(y);
    if (x == 0 || x == 1 || y == 0 || y == 1 || !isfinite(x) || !isfinite(y) || magnitude == 0.5 ||
        magnitude >= 0x1p63 || (x < 0 && magnitude != floor(magnitude)))
        return pow(x, y);
    double whole, part = modf(magnitude, &whole), start = 1;
    if (part != 0) {
        if (part > 0.5) {
            part--;
            whole++;
        }
        start = exp(part * logarithm(x));
    }
    return whole_power(start, x, (int64_t)whole, y < 0);
}

/* Ties round up, as PromQL has it. */
static double round_to(double x, double unit)
{
    double inverse = 1.0 / unit;
    return floor(x * inverse + 0.5) / inverse;
}

/* Go's Max and Min: an infinity of their side first, then NaN, then by value, where -0 is less than 0. */
static double element_max(double a, double b)
{
    if ((isinf(a) && a > 0) || (isinf(b) && b > 0))
        return INFINITY;
    if (isnan(a) || isnan(b))
        return NAN;
    if (a == b)
        return signbit(a) ? b : a;
    return a > b ? a : b;
}

static double element_min(double a, double b)
{
    return -element_max(-a, -b);
}

/* --- dates --- */

#define DAY_S 86400

/* Go counts seconds without sign from a first day that is the earliest it can name; what lies before that, a few
 * hundred years at the end of the 64-bit range, comes around to the latest. Day 0 is 1970-01-01. */
#define FIRST_DAY (INT64_C(-292277022400) / 400 * 146097 - 719162)

struct moment {
    int64_t day, second;
};

static struct moment moment_of(double x)
{
    int64_t s = x >= -0x1p63 && x < 0x1p63 ? (int64_t)x : INT64_MIN;
    uint64_t since_first = (uint64_t)s - (uint64_t)FIRST_DAY * DAY_S;
    return (struct moment){(int64_t)(since_first / DAY_S) + FIRST_DAY, (int64_t)(since_first % DAY_S)};
}

static double date_minute(double x)
{
    return (double)(moment_of(x).second / 60 % 60);
}

static double date_hour(double x)
{
    int64_t whole_hours = moment_of(x).second / 3600;
    return (double)whole_hours;
}

static double date_day_of_week(double x)
{
    int64_t day = (moment_of(x).day + 4) % 7; /* 1970-01-01 was a Thursday */
    return (double)(day < 0 ? day + 7 : day);
}

static bool is_leap(int64_t year)
{
    return year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
}

struct date {
    int64_t year;
    int month; /* 1 … 12 */
    int day;   /* 1 … 31 */
};

/* Years are counted from March, so that the leap day is the last of its year: the days before a month are then
 * (153 m + 2) / 5, and 400 years are 146097 days. */
static struct date date_of(double x)
{
    int64_t day = moment_of(x).day + 719468; /* since 0000-03-01 */
    int64_t era = day / 146097 - (day % 146097 < 0);
    int64_t of_era = day - era * 146097;
    int64_t year = (of_era - of_era / 1460 + of_era / 36524 - of_era / 146096) / 365;
    int64_t of_year = of_era - (365 * year + year / 4 - year / 100);
    int month = (int)((5 * of_year + 2) / 153);
    int day_of_month = (int)(of_year - (153 * month + 2) / 5) + 1;
    return (struct date){year + era * 400 + (month >= 10), month < 10 ? month + 3 : month - 9, day_of_month};
}

static double date_day_of_month(double x)
{
    return date_of(x).day;
}

static double date_month(double x)
{
    return date_of(x).month;
}

static double date_year(double x)
{
    return (double)date_of(x).year;
}

static double date_day_of_year(double x)
{
    static const int BEFORE[12] = {0, 31, 59, 90, 120, 151, 181, 212, 243, 273, 304, 334};
    struct date date = date_of(x);
    return BEFORE[date.month - 1] + date.day + (date.month > 2 && is_leap(date.year));
}

static double date_days_in_month(double x)
{
    static const int DAYS[12] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    struct date date = date_of(x);
    return DAYS[date.month - 1] + (date.month == 2 && is_leap(date.year));
}

/* --- along grids --- */

const char *const element_function_names[ELEMENT_FUNCTION_MAX] = {
#define UNARY(id, name, function) [ELEMENT_##id] = name,
#include "backend/kernels/element.def"
};

const char *const element_op_names[ELEMENT_OP_MAX] = {
#define ARITHMETIC(id, name, function) [ELEMENT_##id] = name,
#define COMPARISON(id, name, operator) [ELEMENT_##id] = name, [ELEMENT_##id##_BOOL] = name "_bool",
#include "backend/kernels/element.def"
    [ELEMENT_AND] = "and",
    [ELEMENT_UNLESS] = "unless",
};

void element_apply(enum element_function function, const double *values, size_t n, double *ret_values)
{
    switch (function) {
#define UNARY(id, name, function)                                                                                      \
    case ELEMENT_##id:                                                                                                 \
        for (size_t i = 0; i < n; i++)                                                                                 \
            ret_values[i] = function(values[i]);                                                                       \
        break;
#include "backend/kernels/element.def"
    case ELEMENT_FUNCTION_MAX:
        break;
    }
}

static void both_present(const struct element_side *a, const struct element_side *b, size_t n, uint64_t *ret)
{
    bits_load(ret, NULL, 0, n);
    for (size_t word = 0; word < bits_words(n); word++) {
        if (!a->constant)
            ret[word] &= a->present[word];
        if (!b->constant)
            ret[word] &= b->present[word];
    }
}

static inline double side_at(const struct element_side *side, size_t i)
{
    return side->values[side->constant ? 0 : i];
}

/* Clears the bits of a word's worth of elements of which `holds` says no. */
#define FILTER(operator)                                                                                               \
    for (size_t i = 0; i < n; i++) {                                                                                   \
        double a = side_at(left, i), b = side_at(right, i);                                                            \
        ret_values[i] = left->constant ? b : a;                                                                        \
        ret_present[i / 64] &= ~((uint64_t) !(a operator b) << (i % 64));                                              \
    }

static void combine_present(enum element_op op, const struct element_side *left, const struct element_side *right,
                            size_t n, double *ret_values, uint64_t *ret_present)
{
    switch (op) {
#define ARITHMETIC(id, name, function)                                                                                 \
    case ELEMENT_##id:                                                                                                 \
        for (size_t i = 0; i < n; i++)                                                                                 \
            ret_values[i] = function(side_at(left, i), side_at(right, i));                                             \
        break;
#define COMPARISON(id, name, operator)                                                                                 \
    case ELEMENT_##id:                                                                                                 \
        FILTER(operator)                                                                                               \
        break;                                                                                                         \
    case ELEMENT_##id##_BOOL:                                                                                          \
        for (size_t i = 0; i < n; i++)                                                                                 \
            ret_values[i] = side_at(left, i) operator side_at(right, i);                                               \
        break;
#include "backend/kernels/element.def"
    case ELEMENT_AND:
    case ELEMENT_UNLESS:
    case ELEMENT_OP_MAX:
        break;
    }
}

void element_combine(enum element_op op, const struct element_side *left, const struct element_side *right, size_t n,
                     double *ret_values, uint64_t *ret_present)
{
    if (op != ELEMENT_AND && op != ELEMENT_UNLESS) {
        both_present(left, right, n, ret_present);
        combine_present(op, left, right, n, ret_values, ret_present);
        return;
    }
    PRE(!left->constant && !right->constant);
    memcpy(ret_values, left->values, n * sizeof *ret_values);
    for (size_t word = 0; word < bits_words(n); word++)
        ret_present[word] = left->present[word] & (op == ELEMENT_AND ? right->present[word] : ~right->present[word]);
}

void element_clamp(const struct element_side *value, const struct element_side *least, const struct element_side *most,
                   size_t n, double *ret_values, uint64_t *ret_present)
{
    both_present(least, most, n, ret_present);
    for (size_t word = 0; word < bits_words(n); word++)
        ret_present[word] &= value->present[word];
    for (size_t i = 0; i < n; i++) {
        double low = side_at(least, i), high = side_at(most, i);
        ret_values[i] = element_max(low, element_min(high, value->values[i]));
        ret_present[i / 64] &= ~((uint64_t)(high < low) << (i % 64));
    }
}
