/* The arena: alignment, zeroing, cap, injected failures, copies of text. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/arena.h"

static void test_aligned_and_zeroed(void **state)
{
    struct arena arena;
    arena_init(&arena, 1 << 20);
    for (size_t bytes = 0; bytes < 300; bytes++) {
        unsigned char *p = arena_alloc(&arena, bytes);
        assert_non_null(p);
        assert_int_equal((uintptr_t)p % 16, 0);
        for (size_t i = 0; i < bytes; i++)
            assert_int_equal(p[i], 0);
        if (bytes)
            memset(p, 0xaa, bytes);
    }
    arena_release(&arena);
}

/* What was handed out stays in place while blocks are added, the large among them. */
static void test_blocks(void **state)
{
    struct arena arena;
    unsigned char *at[200];
    arena_init(&arena, 64u << 20);
    for (size_t i = 0; i < 200; i++) {
        size_t bytes = i % 50 == 49 ? 3u << 20 : 1000 + i;
        at[i] = arena_alloc(&arena, bytes);
        assert_non_null(at[i]);
        memset(at[i], (int)i, bytes);
    }
    for (size_t i = 0; i < 200; i++) {
        assert_int_equal(at[i][0], i);
        assert_int_equal(at[i][999], i);
    }
    assert_true(arena.used_bytes >= 200 * 1000 + (12u << 20));
    arena_reset(&arena);
    assert_int_equal(arena.used_bytes, 0);
    assert_non_null(arena_alloc(&arena, 10));
    arena_release(&arena);
    arena_release(&arena);
    arena_release(NULL);
}

static void test_cap(void **state)
{
    struct arena arena;
    arena_init(&arena, 1024);
    assert_non_null(arena_alloc(&arena, 1024));
    assert_false(arena.exhausted);
    assert_null(arena_alloc(&arena, 1));
    assert_true(arena.exhausted);
    assert_true(arena.used_bytes <= arena.cap_bytes);
    assert_non_null(arena_alloc(&arena, 0));
    assert_true(arena.exhausted); /* stays set until the reset */
    arena_reset(&arena);
    assert_false(arena.exhausted);
    assert_null(arena_alloc(&arena, 1025));
    assert_null(arena_alloc(&arena, SIZE_MAX));
    assert_null(arena_alloc(&arena, SIZE_MAX - 8));
    assert_int_equal(arena.used_bytes, 0);
    arena_release(&arena);
}

static void test_array_overflow(void **state)
{
    struct arena arena;
    arena_init(&arena, SIZE_MAX);
    assert_null(arena_alloc_array(&arena, SIZE_MAX / 2, 3));
    assert_true(arena.exhausted);
    arena_reset(&arena);
    uint64_t *numbers = ARENA_ARRAY(&arena, uint64_t, 7);
    assert_non_null(numbers);
    assert_int_equal(numbers[6], 0);
    assert_non_null(ARENA_NEW(&arena, struct str));
    arena_release(&arena);
}

static void test_fail_after(void **state)
{
    struct arena arena;
    arena_init(&arena, 1 << 20);
    arena.fail_after = 2;
    assert_non_null(arena_alloc(&arena, 1));
    assert_non_null(arena_alloc(&arena, 1));
    assert_null(arena_alloc(&arena, 1));
    assert_null(arena_alloc(&arena, 1));
    assert_true(arena.exhausted);
    arena.fail_after = -1;
    assert_non_null(arena_alloc(&arena, 1));
    arena_release(&arena);
}

static void test_str(void **state)
{
    struct arena arena;
    arena_init(&arena, 64);
    char text[] = "abcdef";
    struct str copy = arena_str(&arena, (struct str){text, 3});
    text[0] = 'x';
    assert_int_equal(copy.len, 3);
    assert_string_equal(copy.ptr, "abc");
    struct str empty = arena_str(&arena, (struct str){NULL, 0});
    assert_non_null(empty.ptr);
    assert_string_equal(empty.ptr, "");
    assert_null(arena_str(&arena, (struct str){text, 6000}).ptr);
    arena_release(&arena);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_aligned_and_zeroed), cmocka_unit_test(test_blocks),     cmocka_unit_test(test_cap),
        cmocka_unit_test(test_array_overflow),     cmocka_unit_test(test_fail_after), cmocka_unit_test(test_str),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
