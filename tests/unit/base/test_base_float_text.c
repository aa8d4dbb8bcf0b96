/* Doubles as text: known answers of Go, the shortest digits, the table of powers of ten, timestamps. */
#include <float.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/assert.h"
#include "base/float_text.h"

/* The answers of strconv.FormatFloat(v, …, -1, 64) with the formats the three functions stand for. */
static const struct {
    double value;
    const char *json, *plain, *general;
} KNOWN[] = {
    {0, "0", "0", "0"},
    {-0.0, "-0", "-0", "-0"},
    {1, "1", "1", "1"},
    {-1, "-1", "-1", "-1"},
    {10, "10", "10", "10"},
    {0.1, "0.1", "0.1", "0.1"},
    {0.3, "0.3", "0.3", "0.3"},
    {0.1 + 0.2, "0.30000000000000004", "0.30000000000000004", "0.30000000000000004"},
    {1.0 / 3, "0.3333333333333333", "0.3333333333333333", "0.3333333333333333"},
    {2.0 / 3, "0.6666666666666666", "0.6666666666666666", "0.6666666666666666"},
    {100.5, "100.5", "100.5", "100.5"},
    {123456.7, "123456.7", "123456.7", "123456.7"},
    {100000, "100000", "100000", "100000"},
    {1e6, "1000000", "1000000", "1e+06"},
    {1234567, "1234567", "1234567", "1.234567e+06"},
    {1e20, "100000000000000000000", "100000000000000000000", "1e+20"},
    {123456789012345680000.0, "123456789012345680000", "123456789012345680000", "1.2345678901234568e+20"},
    {1e21, "1e+21", "1000000000000000000000", "1e+21"},
    {1.5e300, "1.5e+300",
     "1500000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000"
     "0000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000"
     "0000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000"
     "0",
     "1.5e+300"},
    {1e-5, "0.00001", "0.00001", "1e-05"},
    {0.0001, "0.0001", "0.0001", "0.0001"},
    {1e-6, "0.000001", "0.000001", "1e-06"},
    {9.999e-7, "9.999e-07", "0.0000009999", "9.999e-07"},
    {1e-7, "1e-07", "0.0000001", "1e-07"},
    {1e-10, "1e-10", "0.0000000001", "1e-10"},
    {1e-100, "1e-100",
     "0.000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000"
     "1",
     "1e-100"},
    {9007199254740991, "9007199254740991", "9007199254740991", "9.007199254740991e+15"},
    {9007199254740992, "9007199254740992", "9007199254740992", "9.007199254740992e+15"},
    {9007199254740994, "9007199254740994", "9007199254740994", "9.007199254740994e+15"},
    {-9007199254740993.5, "-9007199254740994", "-9007199254740994", "-9.007199254740994e+15"},
    {18446744073709551616.0, "18446744073709552000", "18446744073709552000", "1.8446744073709552e+19"},
    {1609746000.123, "1609746000.123", "1609746000.123", "1.609746000123e+09"},
    {5e-324, "5e-324", NULL, "5e-324"},
    {1e-323, "1e-323", NULL, "1e-323"},
    {DBL_MIN, "2.2250738585072014e-308", NULL, "2.2250738585072014e-308"},
    {2.225073858507201e-308, "2.225073858507201e-308", NULL, "2.225073858507201e-308"},
    {DBL_MAX, "1.7976931348623157e+308", NULL, "1.7976931348623157e+308"},
    {9.5367431640625e-7, "9.5367431640625e-07", "0.00000095367431640625", "9.5367431640625e-07"},
    {4.35, "4.35", "4.35", "4.35"},
    {5e-5, "0.00005", "0.00005", "5e-05"},
    {2e-44, "2e-44", "0.00000000000000000000000000000000000000000002", "2e-44"},
    {INFINITY, "+Inf", "+Inf", "+Inf"},
    {-INFINITY, "-Inf", "-Inf", "-Inf"},
    {NAN, "NaN", "NaN", "NaN"},
};

static void test_known(void **state)
{
    char text[FLOAT_TEXT_MAX];
    for (size_t i = 0; i < ARRAY_LENGTH(KNOWN); i++) {
        assert_int_equal(float_text_json(text, KNOWN[i].value), strlen(KNOWN[i].json));
        assert_string_equal(text, KNOWN[i].json);
        assert_int_equal(float_text_general(text, KNOWN[i].value), strlen(KNOWN[i].general));
        assert_string_equal(text, KNOWN[i].general);
        size_t length = float_text_plain(text, KNOWN[i].value);
        assert_int_equal(length, strlen(text));
        if (KNOWN[i].plain)
            assert_string_equal(text, KNOWN[i].plain);
    }
}

/* The longest texts fit. */
static void test_longest(void **state)
{
    char text[FLOAT_TEXT_MAX];
    assert_int_equal(float_text_plain(text, -DBL_MAX), 310);
    assert_true(float_text_plain(text, -2.2250738585072009e-308) < FLOAT_TEXT_MAX);
    assert_int_equal(float_text_plain(text, -4.9406564584124654e-324), 327);
    assert_true(float_text_plain(text, -1.7800590868057611e-307) < FLOAT_TEXT_MAX);
}

static void test_nan_payloads(void **state)
{
    char text[FLOAT_TEXT_MAX];
    float_text_json(text, double_from_bits(STALE_NAN_BITS));
    assert_string_equal(text, "NaN");
    assert_true(is_stale_marker(double_from_bits(STALE_NAN_BITS)));
    assert_false(is_stale_marker(double_from_bits(NORMAL_NAN_BITS)));
    assert_false(is_stale_marker(NAN));
    assert_int_equal(double_bits(1.0), UINT64_C(0x3ff0000000000000));
}

/* -- the digits, against the C library's correctly rounded conversions ------------------------------------------ */

static uint64_t next_random(uint64_t *state)
{
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    return *state;
}

/* The text reads back to the same bits, and no shorter one does: %.{n}e is the closest with n digits, so if that of one
 * digit less does not read back, none does; and ours is as close as that of the same length. */
static void check_shortest(double value)
{
    char text[FLOAT_TEXT_MAX], other[64];
    float_text_json(text, value);
    if (double_bits(strtod(text, NULL)) != double_bits(value))
        fail_msg("%a is written %s", value, text);
    float_text_general(text, value);
    assert_int_equal(double_bits(strtod(text, NULL)), double_bits(value));
    int digits = 0;
    for (const char *at = text; *at && *at != 'e'; at++)
        digits += *at >= '0' && *at <= '9' && (digits > 0 || *at != '0');
    char *last = text + strcspn(text, "e");
    for (const char *at = last; !memchr(text, '.', (size_t)(last - text)) && at > text && at[-1] == '0'; at--)
        digits--;
    if (digits > 1) {
        snprintf(other, sizeof other, "%.*e", digits - 2, value);
        if (strtod(other, NULL) == value)
            fail_msg("%a is written %s, but %s is shorter", value, text, other);
    }
    if (digits >= 1) {
        snprintf(other, sizeof other, "%.*e", digits - 1, value);
        long double ours = fabsl(strtold(text, NULL) - (long double)value);
        long double best = fabsl(strtold(other, NULL) - (long double)value);
        if (strtod(other, NULL) == value && ours > best)
            fail_msg("%a is written %s, but %s is closer", value, text, other);
    }
}

static void test_random(void **state)
{
    uint64_t seed = UINT64_C(88172645463325252);
    for (int i = 0; i < 60000; i++) {
        uint64_t bits = next_random(&seed);
        if ((bits >> 52 & 0x7ff) == 0x7ff)
            continue;
        check_shortest(double_from_bits(bits));
        check_shortest((double)(bits >> 11) / 9007199254740992.0 * 1000);
        check_shortest((double)(bits % 10000000) / 1000);
    }
}

/* Where the interval of numbers that round to a double is lopsided or its borders belong to it. */
static void test_borders(void **state)
{
    for (uint64_t exponent = 0; exponent < 0x7ff; exponent++) {
        static const uint64_t FRACTIONS[] = {
            0, 1, 2, UINT64_C(0xfffffffffffff), UINT64_C(0xffffffffffffe), UINT64_C(0x8000000000000)};
        for (size_t i = 0; i < ARRAY_LENGTH(FRACTIONS); i++)
            check_shortest(double_from_bits(exponent << 52 | FRACTIONS[i]));
    }
    for (int exponent = -323; exponent <= 308; exponent++) {
        char text[32];
        snprintf(text, sizeof text, "1e%d", exponent);
        double power = strtod(text, NULL);
        check_shortest(power);
        check_shortest(nextafter(power, 0));
        check_shortest(nextafter(power, INFINITY));
        check_shortest(9 * power);
    }
}

/* -- powers of ten ---------------------------------------------------------------------------------------------- */

/* Numbers of 40 words of 32 bits, least first: room for 10^324 and for 2^1280. */
#define WORDS 40
struct big {
    uint32_t word[WORDS];
};

static void big_multiply(struct big *big, uint32_t factor)
{
    uint64_t carry = 0;
    for (int i = 0; i < WORDS; i++) {
        carry += (uint64_t)big->word[i] * factor;
        big->word[i] = (uint32_t)carry;
        carry >>= 32;
    }
    assert_int_equal(carry, 0);
}

/* Divides by ten; returns whether something was left over. */
static bool big_divide_by_ten(struct big *big)
{
    uint64_t rest = 0;
    for (int i = WORDS - 1; i >= 0; i--) {
        rest = rest << 32 | big->word[i];
        big->word[i] = (uint32_t)(rest / 10);
        rest %= 10;
    }
    return rest != 0;
}

static int big_top_bit(const struct big *big)
{
    for (int bit = WORDS * 32 - 1; bit >= 0; bit--)
        if (big->word[bit / 32] >> (bit % 32) & 1)
            return bit;
    return -1;
}

/* The upper 128 bits, rounded up; `more` says that something below was lost before. */
static void big_top(const struct big *big, bool more, uint64_t *ret_high, uint64_t *ret_low)
{
    int top = big_top_bit(big);
    unsigned __int128 value = 0;
    for (int bit = top; bit > top - 128; bit--)
        value = value << 1 | (bit >= 0 && (big->word[bit / 32] >> (bit % 32) & 1));
    for (int bit = top - 128; bit >= 0; bit--)
        more = more || (big->word[bit / 32] >> (bit % 32) & 1);
    value += more;
    *ret_high = (uint64_t)(value >> 64);
    *ret_low = (uint64_t)value;
}

static void test_powers_of_ten(void **state)
{
    static const struct {
        uint64_t high, low;
    } TABLE[] = {
#include "base/pow10.def"
    };
    const int zero = 292; /* the place of 10^0 */
    assert_int_equal(ARRAY_LENGTH(TABLE), 292 + 1 + 324);
    struct big big = {{1}};
    uint64_t high, low;
    for (int k = 0; k <= 324; k++, big_multiply(&big, 10)) {
        big_top(&big, false, &high, &low);
        assert_int_equal(TABLE[zero + k].high, high);
        assert_int_equal(TABLE[zero + k].low, low);
    }
    big = (struct big){{0}};
    big.word[WORDS - 1] = 1u << 31; /* 2^1279 leaves more than 128 bits after 292 divisions */
    bool more = false;
    for (int k = -1; k >= -292; k--) {
        more = big_divide_by_ten(&big) || more;
        big_top(&big, more, &high, &low);
        assert_int_equal(TABLE[zero + k].high, high);
        assert_int_equal(TABLE[zero + k].low, low);
    }
}

static void test_time(void **state)
{
    static const struct {
        int64_t ms;
        const char *text;
    } CASES[] = {
        {0, "0"},
        {1, "0.001"},
        {-1, "-0.001"},
        {1500, "1.500"},
        {2000, "2"},
        {-2000, "-2"},
        {-1500, "-1.500"},
        {1609746000123, "1609746000.123"},
        {1609746000120, "1609746000.120"},
        {INT64_MAX, "9223372036854775.807"},
        {INT64_MIN, "-9223372036854775.808"},
    };
    char text[32];
    for (size_t i = 0; i < ARRAY_LENGTH(CASES); i++) {
        assert_int_equal(time_text_json(text, CASES[i].ms), strlen(CASES[i].text));
        assert_string_equal(text, CASES[i].text);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_known),         cmocka_unit_test(test_longest), cmocka_unit_test(test_nan_payloads),
        cmocka_unit_test(test_powers_of_ten), cmocka_unit_test(test_borders), cmocka_unit_test(test_random),
        cmocka_unit_test(test_time),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
