/* tests/unit/backend/test_duckdb_preload.c: a start reads the newest partitions into memory, as many as it is allowed.
 */
#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <unistd.h>
#include <cmocka.h>

#include "tests/unit/backend/fixture.h"
#include "tests/unit/backend/random.h"

#define SERIES   4500 /* so a partition has more chunks than a row group, which is read as a whole */
#define EACH     60   /* samples of a series in one partition */
#define PARTS    4
#define STEP_MS  INT64_C(120000)
#define START_MS INT64_C(1699992000000) /* where a partition begins */
#define MIB      (UINT64_C(1) << 20)
#define PATIENCE 200 /* times 50 ms */

static void write_all(struct fixture *f)
{
    static struct sample samples[SERIES][EACH * PARTS];
    static struct append_series list[SERIES];
    struct random random = random_from(7);
    for (int i = 0; i < SERIES; i++) {
        char text[32];
        snprintf(text, sizeof text, "m;i=%d", i);
        list[i] = (struct append_series){labels_of(&f->arena, text), samples[i], EACH * PARTS};
        for (int k = 0; k < EACH * PARTS; k++)
            samples[i][k] = (struct sample){START_MS + k * STEP_MS, random_unit(&random)};
    }
    struct append_request append = {.series = list, .series_n = SERIES};
    assert_int_equal(f->backend->ops->append(f->backend, &append, 1, NULL), OK);
    assert_int_equal(append.written, SERIES * EACH * PARTS);
    compact(f);
}

static void reopen(struct fixture *f, uint64_t preload_bytes)
{
    fixture_close(f);
    f->preload_bytes = preload_bytes;
    fixture_open(f);
}

/* What the store has in memory once that stays the same for a while. */
static uint64_t memory_at_rest(struct fixture *f)
{
    uint64_t last = 0, now;
    int same = 0;
    for (int i = 0; same < 10; i++) {
        if (i == PATIENCE)
            fail_msg("the memory of a store that is not asked still changes after some seconds");
        usleep(50000);
        now = stats_of(f).memory_bytes;
        same = now == last ? same + 1 : 0;
        last = now;
    }
    return last;
}

static void newest_partitions_are_read(void **state)
{
    struct fixture f;
    fixture_init_on_disk(&f);
    write_all(&f);
    reopen(&f, 0);
    uint64_t used = stats_of(&f).used_bytes, none = memory_at_rest(&f);
    if (used < 4 * MIB)
        fail_msg("%" PRIu64 " bytes are too few to tell", used);
    reopen(&f, 2 * used);
    uint64_t all = memory_at_rest(&f) - none;
    reopen(&f, used * 5 / 8);
    uint64_t half = memory_at_rest(&f) - none; /* two of four partitions */
    reopen(&f, used / 8);
    uint64_t too_little = memory_at_rest(&f) - none;
    if (all < used * 3 / 4 || half < used / 4 || half > used * 5 / 8 || too_little > used / 8)
        fail_msg("of %" PRIu64 " bytes in use %" PRIu64 " were read, %" PRIu64 " of two partitions, and %" PRIu64
                 " where less than one was allowed",
                 used, all, half, too_little);
    fixture_release(&f);
}

static void an_empty_store_has_nothing_to_read(void **state)
{
    struct fixture f;
    fixture_init_on_disk(&f);
    reopen(&f, MIB);
    APPEND(&f, "m", {START_MS, 1}); /* recent only */
    reopen(&f, MIB);
    assert_int_equal(stats_of(&f).samples_n, 1);
    fixture_release(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(newest_partitions_are_read),
        cmocka_unit_test(an_empty_store_has_nothing_to_read),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
