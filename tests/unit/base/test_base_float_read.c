/* tests/unit/base/test_base_float_read.c: doubles and whole numbers out of text. The witness is strtod, bit for bit. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/assert.h"
#include "base/float_text.h"

static uint64_t state_ = UINT64_C(0x1234567);

static uint64_t random_bits(void) /* xorshift64* */
{
    state_ ^= state_ >> 12;
    state_ ^= state_ << 25;
    state_ ^= state_ >> 27;
    return state_ * UINT64_C(0x2545f4914f6cdd1d);
}

static void expect_as_strtod(const char *text)
{
    double got = 0, want = strtod(text, NULL);
    size_t n = strlen(text);
    if (float_text_read((struct str){text, n}, &got) != n || double_bits(got) != double_bits(want))
        fail_msg("%s: got %a, want %a", text, got, want);
}

static void hard_ones_are_rounded_right(void **state)
{
    static const char *const TEXTS[] = {
        "0",
        "-0",
        "0.0",
        "0e9",
        "-0e-400",
        "1",
        "+1",
        "-1.5",
        ".5",
        "5.",
        "1e22",
        "1e23",
        "123456789012345678",
        "9007199254740993",
        "9007199254740992.5",
        "9007199254740993.0000000000000000000000001",
        "9223372036854775807",
        "18446744073709551615",
        "18446744073709551616",
        "99999999999999999999",
        "1.7976931348623157e308",
        "1.7976931348623158e308",
        "1.7976931348623159e308",
        "1e309",
        "-1e999999999999",
        "2.2250738585072014e-308",
        "2.2250738585072011e-308",
        "4.9e-324",
        "2.4703282292062327e-324",
        "2.4703282292062328e-324",
        "1e-400",
        "5e-324",
        "1e-292",
        "1e-293",
        "6.02214076e23",
        "0.1",
        "0.30000000000000004",
        "7.2057594037927933e16",
        "1e55",
        "1e56",
        "1234567890123456789e36",
        "1234567890123456789e37",
        "8.98846567431158e307",
        "0.000000000000000000000000000000000000000000000001234567890123456789",
        "1448997445238699",
        "2.9802322387695312500000000000000000000000000000000000000000000000000000000001e-8",
        "100000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000",
        "0.00000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000001",
        "3.4028236692093846e38",
        "340282366920938463463374607431768211456",
        "5708990770823839524233143877797980545530986496",
    };
    for (size_t i = 0; i < ARRAY_LENGTH(TEXTS); i++)
        expect_as_strtod(TEXTS[i]);
}

static void random_ones_are_rounded_right(void **state)
{
    char text[FLOAT_TEXT_MAX + 64];
    for (int i = 0; i < 300000; i++) {
        double value = double_from_bits(random_bits());
        if (!isfinite(value))
            continue;
        snprintf(text, sizeof text, "%.17g", value);
        expect_as_strtod(text);
        float_text_json(text, value);
        expect_as_strtod(text);
        double near = (double)(int64_t)random_bits() / 1e6;
        float_text_plain(text, near);
        expect_as_strtod(text);
        /* any digits, any power: also those in the middle between two doubles */
        snprintf(text, sizeof text, "%llu.%llue%d", (unsigned long long)(random_bits() >> (random_bits() % 64)),
                 (unsigned long long)(random_bits() >> (random_bits() % 64)), (int)(random_bits() % 660) - 340);
        expect_as_strtod(text);
    }
}

/* Halfway between two doubles, exactly, and one digit beside it. */
static void the_middle_between_two_doubles_goes_to_the_even_one(void **state)
{
    char text[128];
    for (int i = 0; i < 50000; i++) {
        uint64_t significand = random_bits() >> 11 | UINT64_C(1) << 52;
        for (int d = -1; d <= 1; d++) {
            snprintf(text, sizeof text, "%llu", (unsigned long long)(2 * significand + 1) + (unsigned long long)d);
            expect_as_strtod(text);
            snprintf(text, sizeof text, "%llu.%d", (unsigned long long)significand, 5 + d);
            expect_as_strtod(text);
        }
    }
}

static void words_and_what_is_none(void **state)
{
    static const struct {
        const char *text;
        size_t used;
        double value;
    } ROWS[] = {
        {"Inf", 3, INFINITY}, {"+inf", 4, INFINITY}, {"-INFINITY,", 9, -INFINITY},
        {"NaN", 3, NAN},      {"nan]", 3, NAN},      {"1e", 1, 1},
        {"1e+", 1, 1},        {"1.5.5", 3, 1.5},     {"12 13", 2, 12},
        {"", 0, 0},           {"-", 0, 0},           {".", 0, 0},
        {"e5", 0, 0},         {"in", 0, 0},          {"+-1", 0, 0},
        {" 1", 0, 0},         {"0x10", 1, 0},        {"1_000", 1, 1},
        {"-.e1", 0, 0},       {"1e5x", 3, 1e5},
    };
    for (size_t i = 0; i < ARRAY_LENGTH(ROWS); i++) {
        double value = 0;
        size_t used = float_text_read(str_from(ROWS[i].text), &value);
        if (used != ROWS[i].used ||
            (used && double_bits(value) !=
                         double_bits(isnan(ROWS[i].value) ? double_from_bits(NORMAL_NAN_BITS) : ROWS[i].value)))
            fail_msg("\"%s\": %zu bytes, %g", ROWS[i].text, used, value);
    }
}

static void whole_numbers(void **state)
{
    static const struct {
        const char *text;
        size_t used;
        int64_t number;
    } ROWS[] = {
        {"0", 1, 0},
        {"-0", 2, 0},
        {"+15x", 3, 15},
        {"1700000000123]", 13, 1700000000123},
        {"9223372036854775807", 19, INT64_MAX},
        {"9223372036854775808", 0, 0},
        {"-9223372036854775808", 20, INT64_MIN},
        {"-9223372036854775809", 0, 0},
        {"99999999999999999999999", 0, 0},
        {"", 0, 0},
        {"-", 0, 0},
        {"a", 0, 0},
    };
    for (size_t i = 0; i < ARRAY_LENGTH(ROWS); i++) {
        int64_t number = 0;
        assert_int_equal(whole_text_read(str_from(ROWS[i].text), &number), ROWS[i].used);
        assert_int_equal(number, ROWS[i].number);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(hard_ones_are_rounded_right),
        cmocka_unit_test(random_ones_are_rounded_right),
        cmocka_unit_test(the_middle_between_two_doubles_goes_to_the_even_one),
        cmocka_unit_test(words_and_what_is_none),
        cmocka_unit_test(whole_numbers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
