/* tests/unit/backend/test_duckdb_bulk.c: a store opened for imports holds, after the same writes, what any other holds:
 * ascending and late, series by series and interleaved, with moves in between and opened again. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>

#include "base/assert.h"
#include "base/float_text.h"
#include "tests/unit/backend/fixture.h"
#include "tests/unit/backend/random.h"

#define SERIES_N 6
#define BATCH_N  4000

static void begin(struct fixture *f, bool bulk)
{
    fixture_init_on_disk(f);
    fixture_close(f);
    f->bulk = bulk;
    f->out_of_order_window_ms = INT64_MAX;
    fixture_open(f);
}

static void expect_same(struct fixture *a, struct fixture *b)
{
    const struct time_span all = {INT64_MIN, INT64_MAX};
    struct fixture *stores[] = {a, b};
    struct raw_cursor *cursors[2];
    struct raw_block blocks[2] = {{.samples_n = 0}, {.samples_n = 0}};
    size_t at[2] = {0, 0};
    for (int i = 0; i < 2; i++)
        assert_int_equal(
            stores[i]->backend->ops->raw_open(stores[i]->backend, RAW_SAMPLES, NULL, 0, all, NULL, &cursors[i], NULL),
            OK);
    for (;;) {
        for (int i = 0; i < 2; i++) {
            if (at[i] < blocks[i].samples_n)
                continue;
            assert_int_equal(stores[i]->backend->ops->raw_next(cursors[i], &blocks[i], NULL), OK);
            at[i] = 0;
        }
        assert_int_equal(blocks[0].samples_n > 0, blocks[1].samples_n > 0);
        if (blocks[0].samples_n == 0)
            break;
        const struct sample *x = &blocks[0].samples[at[0]++], *y = &blocks[1].samples[at[1]++];
        assert_true(labels_eq(blocks[0].labels, blocks[1].labels));
        assert_int_equal(x->time_ms, y->time_ms);
        assert_int_equal(double_bits(x->value), double_bits(y->value));
    }
    for (int i = 0; i < 2; i++)
        stores[i]->backend->ops->raw_close(cursors[i]);
}

/* One transaction of several series, each with a run of samples somewhere, a few of them several runs. */
static void append_to_both(struct fixture *stores[2], struct random *seed, int64_t *now_ms)
{
    static struct sample samples[BATCH_N];
    struct append_series series[SERIES_N * 3];
    size_t n = 0, used = 0;
    char name[32];
    while (n < ARRAY_LENGTH(series) && used + 700 < BATCH_N) {
        snprintf(name, sizeof name, "m%d;s=%d", (int)(random_next(seed) % 2), (int)(random_next(seed) % SERIES_N));
        size_t run = 1 + random_next(seed) % 600;
        bool late = random_next(seed) % 8 == 0;
        int64_t step_ms = 1 + (int64_t)(random_next(seed) % 60000);
        int64_t at_ms = late ? (int64_t)(random_next(seed) % 100000000) - 20000000 : *now_ms;
        struct sample *first = samples + used;
        for (size_t i = 0; i < run; i++, at_ms += step_ms)
            samples[used++] = (struct sample){at_ms, (double)(random_next(seed) % 1000)};
        series[n++] = (struct append_series){labels_of(&stores[0]->arena, name), first, run};
    }
    *now_ms += (int64_t)(random_next(seed) % 20000000);
    struct append_request outcome[2];
    for (int i = 0; i < 2; i++) {
        outcome[i] = (struct append_request){.series = series, .series_n = n};
        assert_int_equal(stores[i]->backend->ops->append(stores[i]->backend, &outcome[i], 1, NULL), OK);
    }
    assert_int_equal(outcome[0].written, outcome[1].written);
    assert_int_equal(outcome[0].duplicates, outcome[1].duplicates);
    assert_int_equal(outcome[0].conflicting, outcome[1].conflicting);
}

static void bulk_stores_hold_what_others_hold(void **state)
{
    struct fixture plain, bulk;
    struct fixture *stores[] = {&plain, &bulk};
    struct random seed = random_from(20);
    begin(&plain, false);
    begin(&bulk, true);
    int64_t now_ms = -10000000;
    for (int round = 0; round < 40; round++) {
        append_to_both(stores, &seed, &now_ms);
        if (random_next(&seed) % 6 == 0)
            compact(&bulk);
        if (random_next(&seed) % 10 == 0) {
            fixture_close(&bulk);
            fixture_open(&bulk);
        }
        if (round % 8 == 7) {
            expect_same(&plain, &bulk);
            expect_rules(&bulk);
        }
    }
    struct backend_stats a = stats_of(&plain), b = stats_of(&bulk);
    assert_int_equal(a.samples_n, b.samples_n);
    assert_int_equal(a.series_n, b.series_n);
    fixture_release(&plain);
    fixture_release(&bulk);
}

static void whole_partitions_become_chunks_at_once(void **state)
{
    static struct sample samples[2000];
    struct fixture f;
    begin(&f, true);
    for (size_t i = 0; i < ARRAY_LENGTH(samples); i++)
        samples[i] = (struct sample){(int64_t)i * 15000, (double)i};
    append(&f, "a", samples, 1000); /* two partitions and a part */
    assert_int_equal(stats_of(&f).recent_n, 0);
    append(&f, "a", samples + 1000, 20); /* goes on within the last partition */
    assert_int_equal(stats_of(&f).recent_n, 20);
    append(&f, "a", samples + 1020, 980);
    assert_int_equal(stats_of(&f).samples_n, 2000);
    append(&f, "b", samples, 20); /* too few */
    expect_rules(&f);
    compact(&f);
    expect_rules(&f);
    assert_int_equal(stats_of(&f).samples_n, 2020);
    fixture_release(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bulk_stores_hold_what_others_hold),
        cmocka_unit_test(whole_partitions_become_chunks_at_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
