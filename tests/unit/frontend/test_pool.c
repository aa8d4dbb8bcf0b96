/* tests/unit/frontend/test_pool.c: the worker pool. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <poll.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <string.h>

#include "frontend/pool.h"

struct gate {
    atomic_int entered, done;
    atomic_bool open;
};

static void pass_gate(void *arg)
{
    struct gate *gate = arg;
    gate->entered++;
    while (!gate->open)
        poll(NULL, 0, 1);
    gate->done++;
}

static void wait_for(atomic_int *number, int wanted)
{
    for (int i = 0; i < 5000 && *number != wanted; i++)
        poll(NULL, 0, 1);
    assert_int_equal(*number, wanted);
}

static void jobs_run_and_are_drained(void **state)
{
    struct gate gate = {0};
    struct pool *pool;
    gate.open = true;
    assert_int_equal(pool_new(&(struct pool_plan){"test", 3, 1000, false}, &pool, NULL), OK);
    for (int i = 0; i < 500; i++)
        assert_int_equal(pool_submit(pool, pass_gate, &gate, NULL), OK);
    pool_free(pool);
    assert_int_equal(gate.done, 500);
}

static void a_full_queue_refuses_and_says_the_limit(void **state)
{
    struct gate gate = {0};
    struct pool *pool;
    struct error error;
    assert_int_equal(pool_new(&(struct pool_plan){"test", 1, 2, false}, &pool, NULL), OK);
    assert_int_equal(pool_submit(pool, pass_gate, &gate, NULL), OK);
    wait_for(&gate.entered, 1);
    assert_int_equal(pool_submit(pool, pass_gate, &gate, NULL), OK);
    assert_int_equal(pool_submit(pool, pass_gate, &gate, NULL), OK);
    assert_int_equal(pool_submit(pool, pass_gate, &gate, &error), E_UNAVAILABLE);
    assert_non_null(strstr(error.message, "at most 2"));
    pool_continue(pool, pass_gate, &gate); /* already admitted work is never refused */
    struct pool_stats stats = pool_stats(pool);
    assert_int_equal(stats.workers, 1);
    assert_int_equal(stats.busy, 1);
    assert_int_equal(stats.queued, 3);
    gate.open = true;
    pool_free(pool);
    assert_int_equal(gate.done, 4);
}

struct chain {
    struct pool *pool;
    atomic_int left;
};

static void next_link(void *arg)
{
    struct chain *chain = arg;
    if (--chain->left > 0)
        pool_continue(chain->pool, next_link, chain);
}

static void a_job_may_continue_while_the_pool_ends(void **state)
{
    struct chain chain = {.left = 1000};
    assert_int_equal(pool_new(&(struct pool_plan){"test", 2, 1, false}, &chain.pool, NULL), OK);
    pool_continue(chain.pool, next_link, &chain);
    pool_free(chain.pool);
    assert_int_equal(chain.left, 0);
}

static void nothing_is_fine_to_free(void **state)
{
    pool_free(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(jobs_run_and_are_drained),
        cmocka_unit_test(a_full_queue_refuses_and_says_the_limit),
        cmocka_unit_test(a_job_may_continue_while_the_pool_ends),
        cmocka_unit_test(nothing_is_fine_to_free),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
