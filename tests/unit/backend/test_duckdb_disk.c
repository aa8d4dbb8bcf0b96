/* tests/unit/backend/test_duckdb_disk.c: a disk that takes no more.
 *
 * A limit on the size of files stands for a full disk: what is written beyond it fails as it does there, in appends, in
 * commits, in moves and checkpoints, whichever comes to it first. Reads must go on, what was acknowledged must be there
 * once, and writes must work again soon after the limit is gone.
 */
#include <inttypes.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>

#include "base/assert.h"
#include "tests/unit/backend/fixture.h"

#define SERIES      50
#define SAMPLES_MAX 2000 /* of a series and request */
#define STEP_MS     1000
#define WAIT_MAX_MS 60000

struct full {
    struct fixture f;
    _Atomic size_t acknowledged; /* samples of each series: at 1, 2, … steps */
    _Atomic bool done;
    _Atomic size_t reads_n, refused_n;
    char saw[256];
};

static void limit_files(rlim_t bytes)
{
    struct rlimit limit;
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &limit), 0);
    limit.rlim_cur = bytes;
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
}

static enum status write_more(struct full *full, size_t n, struct error *reterr)
{
    static struct sample samples[SAMPLES_MAX];
    struct append_series list[SERIES];
    PRE(n <= SAMPLES_MAX);
    for (size_t k = 0; k < n; k++) {
        uint64_t at = full->acknowledged + k + 1;
        samples[k] = (struct sample){(int64_t)at * STEP_MS, (double)(at * UINT64_C(0x9e3779b97f4a7c15) >> 11)};
    }
    for (int i = 0; i < SERIES; i++) {
        char text[32];
        snprintf(text, sizeof text, "m;i=%d", i);
        list[i] = (struct append_series){labels_of(&full->f.arena, text), samples, n};
    }
    struct append_request request = {.series = list, .series_n = SERIES};
    enum status status = full->f.backend->ops->append(full->f.backend, &request, 1, reterr);
    if (status == OK) {
        assert_int_equal(request.written, SERIES * n);
        full->acknowledged += n;
    }
    return status;
}

/* A statement that is under way when the engine is opened again may be told to come again. */
static bool told_to_come_again(enum status status, const struct error *error, int64_t give_up_ms)
{
    if (status == OK)
        return false;
    if (status != E_UNAVAILABLE || monotonic_ms() > give_up_ms)
        fail_msg("reads do not go on: %s", error->message);
    usleep(20000);
    return true;
}

static struct backend_stats stats_of_full(struct full *full)
{
    struct backend_stats stats;
    struct error error;
    int64_t give_up_ms = monotonic_ms() + 10000;
    while (told_to_come_again(full->f.backend->ops->stats(full->f.backend, &stats, &error), &error, give_up_ms)) {
    }
    return stats;
}

/* Every sample acknowledged, once, and no other. */
static enum status check_raw(struct full *full, struct error *reterr)
{
    struct backend *backend = full->f.backend;
    struct expr_selector selector = selector_of(&full->f.arena, "i=~[0-9]+");
    struct raw_cursor *cursor = NULL;
    struct raw_block block;
    size_t series_n = 0, n = 0;
    enum status status = backend->ops->raw_open(backend, RAW_SAMPLES, selector.matchers, selector.matchers_n,
                                                (struct time_span){INT64_MIN, INT64_MAX}, NULL, &cursor, reterr);
    if (status != OK)
        return status;
    while ((status = backend->ops->raw_next(cursor, &block, reterr)) == OK && block.samples_n > 0) {
        for (size_t k = 0; k < block.samples_n; k++)
            assert_int_equal(block.samples[k].time_ms, ++n * STEP_MS);
        if (block.series_ends) {
            assert_int_equal(n, full->acknowledged);
            n = 0;
            series_n++;
        }
    }
    backend->ops->raw_close(cursor);
    if (status == OK)
        assert_int_equal(series_n, SERIES);
    return status;
}

static enum status check_fragment(struct full *full, struct error *reterr)
{
    struct fragment fragment =
        fragment_of(&full->f.arena,
                    "SELECT prom_count_over_time(" STORED_RUN ", 1000000000, 1, 1, 1000000000, true) FROM "
                    "runs_of('m') GROUP BY series LIMIT 1",
                    grid_instant(1000000000), false, false, "");
    const struct run_limits limits = {.samples_max = 1000};
    struct grid_result *result;
    enum status status = full->f.backend->ops->run(full->f.backend, &fragment, &limits, NULL, &result, reterr);
    if (status != OK)
        return status;
    assert_true(result->series[0].values[0] == (double)full->acknowledged);
    grid_result_free(result);
    return OK;
}

static void check_samples(struct full *full)
{
    struct error error;
    int64_t give_up_ms = monotonic_ms() + 10000;
    while (told_to_come_again(check_raw(full, &error), &error, give_up_ms)) {
    }
    assert_int_equal(stats_of_full(full).samples_n, SERIES * full->acknowledged);
    while (told_to_come_again(check_fragment(full, &error), &error, give_up_ms)) {
    }
}

/* Fails until the limit is gone; then works, after a pause at most. */
static void write_again(struct full *full)
{
    int64_t give_up_ms = monotonic_ms() + 30000;
    struct error error;
    while (write_more(full, 100, &error) != OK) {
        assert_int_equal(error.status, E_UNAVAILABLE);
        if (monotonic_ms() > give_up_ms)
            fail_msg("writes do not work again: %s", error.message);
        usleep(20000);
    }
}

static void setup_full(struct full *full)
{
    *full = (struct full){.acknowledged = 0};
    fixture_init_on_disk(&full->f);
    signal(SIGXFSZ, SIG_IGN);
}

static rlim_t disk_bytes(struct full *full)
{
    return stats_of_full(full).disk_bytes;
}

/* One way to the end of the disk and back. Returns how often the engine had to be opened again. */
static uint64_t fill(struct full *full, size_t samples, rlim_t more_bytes, bool compacting)
{
    struct error error;
    limit_files(disk_bytes(full) + more_bytes);
    for (size_t i = 0; i < 5000; i++) {
        if (write_more(full, samples, &error) != OK)
            break;
        if (compacting && i % 10 == 9 && duckdb_backend_compact(full->f.backend, &error) != OK)
            break;
    }
    assert_true(error.status == E_UNAVAILABLE || (compacting && error.status == E_STORE));
    check_samples(full);
    if (write_more(full, SAMPLES_MAX, &error) != OK) /* in the pause, or it fails anew; a move may have made space */
        assert_int_equal(error.status, E_UNAVAILABLE);
    check_samples(full);
    struct backend_stats stats = stats_of_full(full);
    limit_files(RLIM_INFINITY);
    write_again(full);
    check_samples(full);
    return stats.reopens_n;
}

static void test_full_and_free_again(void **state)
{
    struct full full;
    setup_full(&full);
    uint64_t reopens_n = 0;
    assert_int_equal(write_more(&full, 100, NULL), OK);
    for (unsigned round = 0; round < 6; round++) {
        static const size_t samples[] = {20, 150, SAMPLES_MAX};
        reopens_n += fill(&full, samples[round % 3], round * 700000, round % 2);
        fixture_close(&full.f);
        fixture_open(&full.f);
        check_samples(&full);
    }
    print_message("%zu samples of each series, opened again %" PRIu64 " times\n", full.acknowledged, reopens_n);
    assert_true(reopens_n > 0);
    fixture_release(&full.f);
}

static rlim_t log_bytes(const struct full *full)
{
    char path[128];
    struct stat status;
    snprintf(path, sizeof path, "%s/promsplit.duckdb.wal", full->f.directory);
    assert_int_equal(stat(path, &status), 0);
    return (rlim_t)status.st_size;
}

/* A reader from before the first move keeps its chunks from being written into the file, so that those of the move that
 * fails are appended to them in memory. What that leaves there must not get into those after it. */
static void test_a_move_whose_commit_fails(void **state)
{
    struct full full;
    struct error error;
    struct raw_cursor *reader = NULL;
    struct expr_selector all;
    setup_full(&full);
    all = selector_of(&full.f.arena, "i=~[0-9]+");
    for (unsigned round = 0; round < 3; round++) {
        assert_int_equal(write_more(&full, 300, NULL), OK);
        assert_int_equal(full.f.backend->ops->raw_open(full.f.backend, RAW_SAMPLES, all.matchers, all.matchers_n,
                                                       (struct time_span){0, INT64_MAX}, NULL, &reader, NULL),
                         OK);
        compact(&full.f);
        assert_int_equal(write_more(&full, 300, NULL), OK);
        full.f.backend->ops->raw_close(reader);
        uint64_t reopens_n = stats_of_full(&full).reopens_n;
        limit_files(log_bytes(&full) + round * 60000);
        enum status moved = duckdb_backend_compact(full.f.backend, &error);
        if (moved != E_UNAVAILABLE) { /* else the store's own thread has met it before */
            assert_int_equal(moved, E_STORE);
            assert_non_null(strstr(error.message, "Failed to commit"));
        }
        check_samples(&full);
        limit_files(RLIM_INFINITY);
        assert_int_equal(write_more(&full, 100, NULL), OK);
        assert_true(stats_of_full(&full).reopens_n > reopens_n);
        compact(&full.f);
        check_samples(&full);
        expect_rules(&full.f);
    }
    fixture_release(&full.f);
}

static void copy_file(const char *from_directory, const char *to_directory, const char *name)
{
    char from[128], to[128];
    static char block[1 << 16];
    snprintf(from, sizeof from, "%s/%s", from_directory, name);
    snprintf(to, sizeof to, "%s/%s", to_directory, name);
    FILE *in = fopen(from, "rb"), *out = fopen(to, "wb");
    assert_non_null(in);
    assert_non_null(out);
    for (size_t n; (n = fread(block, 1, sizeof block, in)) > 0;)
        assert_int_equal(fwrite(block, 1, n, out), n);
    fclose(in);
    assert_int_equal(fclose(out), 0);
}

/* What would be there after a crash now: the files as they are. */
static void check_after_crash(const struct full *full)
{
    struct full copy = {.f = full->f, .acknowledged = full->acknowledged};
    arena_init(&copy.f.arena, SIZE_MAX);
    strcpy(copy.f.directory, "/tmp/promsplit-test-XXXXXX");
    assert_non_null(mkdtemp(copy.f.directory));
    copy_file(full->f.directory, copy.f.directory, "promsplit.duckdb");
    copy_file(full->f.directory, copy.f.directory, "promsplit.duckdb.wal");
    fixture_open(&copy.f);
    check_samples(&copy);
    expect_rules(&copy.f);
    fixture_release(&copy.f);
}

/* A commit that failed part of the way must not be in the way of those after it when the log is read. */
static void test_the_log_after_a_commit_that_failed(void **state)
{
    struct full full;
    struct error error;
    setup_full(&full);
    assert_int_equal(write_more(&full, 100, NULL), OK);
    for (rlim_t more_bytes = 100; more_bytes < 100000; more_bytes *= 5) {
        limit_files(log_bytes(&full) + more_bytes);
        while (write_more(&full, 300, &error) == OK)
            continue;
        assert_int_equal(error.status, E_UNAVAILABLE);
        limit_files(RLIM_INFINITY);
        write_again(&full);
        check_after_crash(&full);
    }
    fixture_release(&full.f);
}

/* A store can be opened and read on a disk that is full. */
static void test_start_on_a_full_disk(void **state)
{
    struct full full;
    setup_full(&full);
    assert_int_equal(write_more(&full, 500, NULL), OK);
    limit_files(disk_bytes(&full));
    while (write_more(&full, 500, NULL) == OK)
        continue;
    fixture_close(&full.f);
    fixture_open(&full.f);
    check_samples(&full);
    limit_files(RLIM_INFINITY);
    write_again(&full);
    check_samples(&full);
    fixture_release(&full.f);
}

static void *read_on(void *arg)
{
    struct full *full = arg;
    struct arena arena;
    arena_init(&arena, SIZE_MAX);
    struct fragment fragment =
        fragment_of(&arena, "SELECT [count(*)::DOUBLE] FROM samples", grid_instant(0), false, false, "");
    while (!full->done && !full->saw[0]) {
        double least = (double)(full->acknowledged * SERIES);
        struct run_limits limits = {.samples_max = 10};
        struct grid_result *result = NULL;
        struct error error;
        enum status status = full->f.backend->ops->run(full->f.backend, &fragment, &limits, NULL, &result, &error);
        if (status == OK && result->series[0].values[0] < least)
            snprintf(full->saw, sizeof full->saw, "%.0f samples of %.0f", result->series[0].values[0], least);
        else if (status != OK && status != E_UNAVAILABLE)
            snprintf(full->saw, sizeof full->saw, "%.200s", error.message);
        grid_result_free(result);
        full->reads_n += status == OK;
        full->refused_n += status != OK;
    }
    arena_release(&arena);
    return NULL;
}

/* Readers wait while the engine is opened again; those under way at that moment may be told to come again. */
static void test_readers_go_on(void **state)
{
    struct full full;
    setup_full(&full);
    pthread_t readers[2];
    assert_int_equal(write_more(&full, 100, NULL), OK);
    for (size_t i = 0; i < ARRAY_LENGTH(readers); i++)
        assert_int_equal(pthread_create(&readers[i], NULL, read_on, &full), 0);
    uint64_t reopens_n = 0;
    for (unsigned round = 0; round < 3; round++)
        reopens_n = fill(&full, 400, 1000000, false);
    full.done = true;
    for (size_t i = 0; i < ARRAY_LENGTH(readers); i++)
        pthread_join(readers[i], NULL);
    print_message("%zu reads, %zu told to come again, opened again %" PRIu64 " times\n", full.reads_n, full.refused_n,
                  reopens_n);
    assert_string_equal(full.saw, "");
    assert_true(full.reads_n > full.refused_n && reopens_n > 0);
    fixture_release(&full.f);
}

struct told {
    _Atomic unsigned n;
    char what[64];
    struct error why;
};

static void take_told(void *arg, const char *what, const struct error *error)
{
    struct told *told = arg;
    snprintf(told->what, sizeof told->what, "%s", what);
    told->why = *error;
    atomic_fetch_add(&told->n, 1);
}

static void wait_until_told(const struct told *told)
{
    int64_t give_up_ms = monotonic_ms() + WAIT_MAX_MS;
    while (atomic_load(&told->n) == 0) {
        assert_true(monotonic_ms() < give_up_ms);
        usleep(20000);
    }
}

/* What the store's own thread cannot do, nobody asked it for: it tells, and not time and again. */
static void test_failures_are_told(void **state)
{
    struct full full;
    static struct told told;
    setup_full(&full);
    assert_int_equal(write_more(&full, 100, NULL), OK);
    fixture_close(&full.f);
    full.f.min_free_bytes = UINT64_C(1) << 62;
    full.f.compact_rows = 1;
    full.f.on_failure = take_told;
    full.f.on_failure_arg = &told;
    fixture_open(&full.f);
    wait_until_told(&told);
    assert_string_equal(told.what, "samples were not moved into chunks");
    assert_int_equal(told.why.status, E_UNAVAILABLE);
    assert_non_null(strstr(told.why.message, "no space for writes"));
    fixture_close(&full.f);
    assert_int_equal(told.n, 1);
    full.f.min_free_bytes = 0;
    full.f.on_failure = NULL;
    fixture_open(&full.f);
    check_samples(&full);
    fixture_release(&full.f);
}

/* Before the disk is full: nothing fails, and nothing is written. */
static void test_some_space_stays_free(void **state)
{
    struct full full;
    struct error error;
    setup_full(&full);
    assert_int_equal(write_more(&full, 100, NULL), OK);
    fixture_close(&full.f);
    full.f.min_free_bytes = UINT64_C(1) << 62;
    fixture_open(&full.f);
    assert_int_equal(write_more(&full, 100, &error), E_UNAVAILABLE);
    assert_memory_equal(error.message, "no space for writes: the disk of /tmp/promsplit-test-", 52);
    assert_non_null(strstr(error.message, " bytes are asked for and 4611686018427387904 must stay free"));
    assert_int_equal(duckdb_backend_compact(full.f.backend, &error), E_UNAVAILABLE);
    check_samples(&full);
    fixture_close(&full.f);
    full.f.min_free_bytes = 1000;
    fixture_open(&full.f);
    assert_int_equal(write_more(&full, 100, NULL), OK);
    check_samples(&full);
    fixture_release(&full.f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_some_space_stays_free),
        cmocka_unit_test(test_failures_are_told),
        cmocka_unit_test(test_a_move_whose_commit_fails),
        cmocka_unit_test(test_the_log_after_a_commit_that_failed),
        cmocka_unit_test(test_start_on_a_full_disk),
        cmocka_unit_test(test_full_and_free_again),
        cmocka_unit_test(test_readers_go_on),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
