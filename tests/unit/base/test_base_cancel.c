/* Cancelling: reasons, deadlines, hooks, threads. */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/cancel.h"

static void count_call(void *arg)
{
    atomic_fetch_add((_Atomic int *)arg, 1);
}

static void test_reasons(void **state)
{
    struct cancel cancel;
    struct error error;
    assert_int_equal(cancel_check(NULL, &error), OK);
    cancel_init(&cancel, INT64_MAX);
    assert_int_equal(cancel_check(&cancel, &error), OK);
    cancel_fire(&cancel, E_CANCELED);
    cancel_fire(&cancel, E_TIMEOUT); /* the first reason stays */
    assert_int_equal(cancel_check(&cancel, &error), E_CANCELED);
    assert_string_equal(error.message, "query was canceled in expression evaluation");
    assert_int_equal(cancel_check(&cancel, NULL), E_CANCELED);
    cancel_release(&cancel);

    cancel_init(&cancel, INT64_MAX);
    cancel_fire(&cancel, E_TIMEOUT);
    assert_int_equal(cancel_check(&cancel, &error), E_TIMEOUT);
    assert_string_equal(error.message, "query timed out in expression evaluation");
    cancel_release(&cancel);
}

static void test_deadline(void **state)
{
    struct cancel cancel;
    struct error error;
    cancel_init(&cancel, monotonic_ms() + 60000);
    assert_int_equal(cancel_check(&cancel, &error), OK);
    cancel_release(&cancel);
    cancel_init(&cancel, monotonic_ms() - 1);
    assert_int_equal(cancel_check(&cancel, &error), E_TIMEOUT);
    cancel_fire(&cancel, E_CANCELED); /* a reason that was given goes before the deadline */
    assert_int_equal(cancel_check(&cancel, &error), E_CANCELED);
    cancel_release(&cancel);
    cancel_init(&cancel, monotonic_ms() + 20);
    while (monotonic_ms() < cancel.deadline_ms)
        usleep(1000);
    assert_int_equal(cancel_check(&cancel, &error), E_TIMEOUT);
    cancel_release(&cancel);
}

static void test_hooks(void **state)
{
    struct cancel cancel;
    _Atomic int calls[3] = {0, 0, 0};
    struct cancel_hook hooks[3];
    cancel_init(&cancel, INT64_MAX);
    for (int i = 0; i < 3; i++) {
        hooks[i] = (struct cancel_hook){count_call, (void *)&calls[i], NULL};
        cancel_set_hook(&cancel, &hooks[i]);
    }
    cancel_clear_hook(&cancel, &hooks[1]);
    cancel_fire(&cancel, E_CANCELED);
    cancel_fire(&cancel, E_CANCELED);
    assert_int_equal(calls[0], 1);
    assert_int_equal(calls[1], 0);
    assert_int_equal(calls[2], 1);
    cancel_set_hook(&cancel, &hooks[1]); /* too late: called at once */
    assert_int_equal(calls[1], 1);
    for (int i = 0; i < 3; i++)
        cancel_clear_hook(&cancel, &hooks[i]);
    cancel_release(&cancel);
}

struct race {
    struct cancel cancel;
    _Atomic int calls;
    _Atomic bool cleared;
    _Atomic int late; /* calls after the hook was cleared */
};

static void note_late(void *arg)
{
    struct race *race = arg;
    atomic_fetch_add(&race->calls, 1);
    if (atomic_load(&race->cleared))
        atomic_fetch_add(&race->late, 1);
}

static void *fire(void *arg)
{
    cancel_fire(&((struct race *)arg)->cancel, E_CANCELED);
    return NULL;
}

/* A hook is called once at most and never after it was cleared, whenever another thread fires. */
static void test_race(void **state)
{
    for (int round = 0; round < 200; round++) {
        struct race race = {.calls = 0};
        struct cancel_hook hook = {note_late, &race, NULL};
        pthread_t thread;
        cancel_init(&race.cancel, INT64_MAX);
        cancel_set_hook(&race.cancel, &hook);
        assert_int_equal(pthread_create(&thread, NULL, fire, &race), 0);
        for (int i = 0; i < round; i++)
            if (cancel_check(&race.cancel, NULL) != OK)
                break;
        cancel_clear_hook(&race.cancel, &hook);
        atomic_store(&race.cleared, true);
        pthread_join(thread, NULL);
        assert_in_range(race.calls, 0, 1);
        assert_int_equal(race.late, 0);
        assert_int_equal(cancel_check(&race.cancel, NULL), E_CANCELED);
        cancel_release(&race.cancel);
    }
}

static void test_clocks(void **state)
{
    int64_t before = monotonic_ms();
    usleep(3000);
    assert_true(monotonic_ms() - before >= 2);
    assert_true(wall_clock_ms() > INT64_C(1700000000000));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_reasons), cmocka_unit_test(test_deadline), cmocka_unit_test(test_hooks),
        cmocka_unit_test(test_race),    cmocka_unit_test(test_clocks),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
