/* test_budget: memory of aggregate states comes back, and is kept for the next query as long as there are any. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "backend/duckdb/budget.h"

static void blocks_are_kept_for_a_while(void **state)
{
    struct blocks blocks;
    blocks_init(&blocks);
    char *a = blocks_get(&blocks), *b = blocks_get(&blocks);
    assert_non_null(a);
    assert_non_null(b);
    memset(a, 1, BLOCK_BYTES);
    memset(b, 2, BLOCK_BYTES);
    blocks_put(&blocks, a);
    blocks_put(&blocks, b);
    assert_ptr_equal(blocks_get(&blocks), b); /* the last one first */
    blocks_put(&blocks, b);

    int64_t now_ms = 1000000;
    blocks_rest(&blocks, now_ms);
    blocks_rest(&blocks, now_ms + BLOCKS_IDLE_MS - 1);
    assert_non_null(blocks.kept);
    assert_ptr_equal(blocks_get(&blocks), b);
    blocks_put(&blocks, b);
    now_ms += BLOCKS_IDLE_MS; /* somebody asked in the meantime */
    blocks_rest(&blocks, now_ms);
    assert_non_null(blocks.kept);
    blocks_rest(&blocks, now_ms + BLOCKS_IDLE_MS);
    assert_null(blocks.kept);
    char *again = blocks_get(&blocks);
    assert_non_null(again);
    assert_int_equal(again[0], 0);
    blocks_put(&blocks, again);
    blocks_release(&blocks);
}

/* Pieces of many sizes, in slabs and in blocks, taken back in another order: all is counted, and comes back. */
static void pieces_come_back(void **state)
{
    enum {
        PIECES = 60000
    };
    static char *pieces[PIECES];
    struct budget budget;
    budget_init(&budget, UINT64_C(1) << 30);
    for (int round = 0; round < 3; round++) {
        for (size_t i = 0; i < PIECES; i++) {
            size_t bytes = 16 + i % 700;
            pieces[i] = budget_alloc(&budget, bytes);
            assert_non_null(pieces[i]);
            assert_int_equal((uintptr_t)pieces[i] % _Alignof(max_align_t), 0);
            memset(pieces[i], (int)i, bytes);
        }
        for (size_t i = 0; i < PIECES; i++) {
            size_t at = i * 7919 % PIECES;
            assert_int_equal(pieces[at][15 + at % 700], (char)at);
            budget_free(&budget, pieces[at]);
        }
    }
    budget_sweep(&budget, UINT64_MAX); /* what is cut off next */
    assert_int_equal(budget.used_bytes, 0);
    budget_release(&budget);
}

static void too_much_is_refused(void **state)
{
    struct budget budget;
    budget_init(&budget, 10 << 20);
    size_t n = 0;
    while (budget_alloc(&budget, 4000))
        n++;
    assert_in_range(n, (7 << 20) / 4100, (10 << 20) / 4000);
    budget_sweep(&budget, UINT64_MAX);
    assert_int_equal(budget.used_bytes, 0);
    assert_non_null(budget_alloc(&budget, 4000));
    budget_release(&budget);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(blocks_are_kept_for_a_while),
        cmocka_unit_test(pieces_come_back),
        cmocka_unit_test(too_much_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
