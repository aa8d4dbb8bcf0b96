/* tests/unit/base/test_base_array.c: arrays that grow keep what they have, and leave all as it is if they cannot. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/array.h"

static void test_growing_keeps_what_is_there(void **state)
{
    double *numbers = NULL;
    size_t capacity = 0, grown_n = 0;
    for (size_t n = 0; n < 100000; n++) {
        size_t before = capacity;
        assert_true(array_reserve(&numbers, &capacity, n + 1, sizeof *numbers));
        assert_in_range(capacity, n + 1, SIZE_MAX);
        grown_n += capacity != before;
        numbers[n] = (double)n;
    }
    for (size_t n = 0; n < 100000; n++)
        assert_true(numbers[n] == (double)n);
    assert_in_range(grown_n, 2, 20); /* doubling, not one by one */
    free(numbers);
}

static void test_what_cannot_be_had_changes_nothing(void **state)
{
    uint32_t *numbers = NULL;
    size_t capacity = 0;
    assert_true(array_reserve(&numbers, &capacity, 1, sizeof *numbers));
    uint32_t *before = numbers;
    size_t room = capacity;
    assert_false(array_reserve(&numbers, &capacity, SIZE_MAX / 4, sizeof *numbers)); /* twice that overflows */
    assert_false(array_reserve(&numbers, &capacity, SIZE_MAX, sizeof *numbers));
    assert_ptr_equal(numbers, before);
    assert_int_equal(capacity, room);
    free(numbers);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_growing_keeps_what_is_there),
        cmocka_unit_test(test_what_cannot_be_had_changes_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
