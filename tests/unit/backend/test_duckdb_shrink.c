/* tests/unit/backend/test_duckdb_shrink.c: free blocks of the file go back to the disk, and no sample with them.
 *
 * Moved rows, and then deleted series, leave a file with more room than its samples take. A compaction shortens it; a
 * reader that began before sees all samples afterwards, and so does a store opened again, which is not shortened in
 * vain.
 */
#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

#include "base/cancel.h"
#include "base/float_text.h"
#include "tests/unit/backend/fixture.h"
#include "tests/unit/backend/random.h"

#define SERIES   3000
#define REQUESTS 20
#define EACH     20 /* samples of a series in one request, over four hours: many chunks with few samples */
#define STEP_MS  INT64_C(720000)
#define START_MS INT64_C(1700000000000)
#define MIB      (UINT64_C(1) << 20)

static void write_all(struct fixture *f)
{
    static struct sample samples[SERIES][EACH];
    static struct append_series list[SERIES];
    struct random random = random_from(3);
    for (int i = 0; i < SERIES; i++) {
        char text[64];
        snprintf(text, sizeof text, "m%d;instance=host-%d", i % 4, i);
        list[i] = (struct append_series){labels_of(&f->arena, text), samples[i], EACH};
    }
    for (int request = 0; request < REQUESTS; request++) {
        for (int i = 0; i < SERIES; i++) {
            for (int k = 0; k < EACH; k++)
                samples[i][k] =
                    (struct sample){START_MS + (request * EACH + k) * STEP_MS + i % 1000, random_unit(&random)};
        }
        struct append_request append = {.series = list, .series_n = SERIES};
        struct error error = {.status = OK};
        if (f->backend->ops->append(f->backend, &append, 1, &error) != OK)
            fail_msg("%s", error.message);
        assert_int_equal(append.written, SERIES * EACH);
    }
}

/* Of everything a cursor gives, in its order. */
struct sum {
    uint64_t samples_n, series_n, bits;
};

static struct raw_cursor *cursor_of(struct fixture *f, struct cancel *cancel)
{
    struct raw_cursor *cursor = NULL;
    struct time_span ever = {INT64_MIN, INT64_MAX};
    assert_int_equal(f->backend->ops->raw_open(f->backend, RAW_SAMPLES, NULL, 0, ever, cancel, &cursor, NULL), OK);
    return cursor;
}

static struct sum sum_up(struct fixture *f, struct raw_cursor *cursor)
{
    struct sum sum = {0, 0, 0};
    struct raw_block block;
    do {
        assert_int_equal(f->backend->ops->raw_next(cursor, &block, NULL), OK);
        for (size_t i = 0; i < block.samples_n; i++)
            sum.bits = sum.bits * 31 + (uint64_t)block.samples[i].time_ms + double_bits(block.samples[i].value);
        sum.samples_n += block.samples_n;
        sum.series_n += block.samples_n > 0 && block.series_ends;
    } while (block.samples_n > 0);
    f->backend->ops->raw_close(cursor);
    return sum;
}

static void assert_same(struct sum a, struct sum b)
{
    assert_int_equal(a.samples_n, b.samples_n);
    assert_int_equal(a.series_n, b.series_n);
    assert_true(a.bits == b.bits);
}

static void delete_metrics(struct fixture *f, struct cancel *cancel, const char *matchers)
{
    struct expr_selector selector = selector_of(&f->arena, matchers);
    struct series_query query = {.selectors = &selector, .selectors_n = 1, .span = {INT64_MIN, INT64_MAX}};
    uint64_t samples_n = 0;
    assert_int_equal(f->backend->ops->delete_series(f->backend, &query, cancel, &samples_n, NULL), OK);
    assert_int_equal(samples_n, SERIES * REQUESTS * EACH * 3 / 4);
}

static void shrink(struct fixture *f)
{
    struct error error = {.status = OK};
    compact(f);
    if (duckdb_backend_shrink(f->backend, &error) != OK)
        fail_msg("%s", error.message);
}

static void compact_to_the_size_of_what_is_there(struct fixture *f)
{
    struct backend_stats before = stats_of(f);
    shrink(f);
    struct backend_stats after = stats_of(f);
    printf("%" PRIu64 " bytes in use, of %" PRIu64 " before, %" PRIu64 " after\n", after.used_bytes, before.disk_bytes,
           after.disk_bytes);
    assert_true(after.disk_bytes < after.used_bytes + after.used_bytes / 4 + 5 * MIB);
    assert_true(before.disk_bytes > after.disk_bytes);
    assert_int_equal(after.move_failures_n, 0);
}

static int64_t moved(struct fixture *f)
{
    struct fragment fragment =
        fragment_of(&f->arena, "SELECT [move::DOUBLE] FROM moved", grid_instant(0), false, false, "");
    struct grid_result *result = run_ok(f, &fragment);
    int64_t number = (int64_t)result->series[0].values[0];
    grid_result_free(result);
    return number;
}

static void test_the_file_becomes_short(void **state)
{
    struct fixture f;
    struct cancel cancel;
    fixture_init_on_disk(&f);
    fixture_close(&f);
    f.shrink_bytes = 4 * MIB;
    fixture_open(&f);
    cancel_init(&cancel, INT64_MAX);
    write_all(&f);
    struct sum all = sum_up(&f, cursor_of(&f, &cancel));
    assert_int_equal(all.samples_n, SERIES * REQUESTS * EACH);
    assert_int_equal(all.series_n, SERIES);
    compact_to_the_size_of_what_is_there(&f);
    assert_same(sum_up(&f, cursor_of(&f, &cancel)), all);

    delete_metrics(&f, &cancel, "__name__=~m[0-2]");
    struct sum left = sum_up(&f, cursor_of(&f, &cancel));
    assert_int_equal(left.series_n, SERIES / 4);
    struct raw_cursor *early = cursor_of(&f, &cancel);
    shrink(&f);
    assert_same(sum_up(&f, early), left);
    compact_to_the_size_of_what_is_there(&f);
    assert_same(sum_up(&f, cursor_of(&f, &cancel)), left);

    fixture_close(&f);
    fixture_open(&f);
    assert_same(sum_up(&f, cursor_of(&f, &cancel)), left);
    int64_t number = moved(&f); /* what is rewritten is counted */
    shrink(&f);
    assert_int_equal(moved(&f), number);
    cancel_release(&cancel);
    fixture_release(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_the_file_becomes_short)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
