/* tests/unit/backend/test_duckdb_crash_late.c: what append acknowledged survives kill -9.
 *
 * A child writes rounds of samples and tells each acknowledged round through a pipe; the parent kills it at a random
 * moment, opens the store and looks for every acknowledged round. The child's rounds are small and large, so that
 * commits, checkpoints, compactions and first writes of series are all hit. Rounds are told apart by value and time, so
 * a sample lost or stored twice is seen. Each round has late samples too, most of them into chunks.
 */
#include <inttypes.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>

#include "base/cancel.h"
#include "tests/unit/backend/fixture.h"
#include "tests/unit/backend/random.h"

#define KILLS        12
#define MOVES        2 /* done by each child of those that live longer */
#define SERIES       40
#define COMPACT_ROWS 20000                       /* so that a compaction is nearly always under way */
#define SAMPLE_MS    5000                        /* between samples: partitions fill in some rounds */
#define BATCH        2500                        /* samples a series and round, at most */
#define LATE         4                           /* samples of a series and round that come late */
#define LATE_MS      (INT64_C(2000) * SAMPLE_MS) /* by so much at most */

/* What a child tells its parent. */
struct told {
    uint32_t round; /* acknowledged */
    uint32_t moves_n;
};

/* Samples of a round are fixed by its number, so that the parent knows what to look for. */
static size_t round_samples(uint32_t round)
{
    struct random r = random_from(round + 1);
    return random_below(&r, 3) ? 1 + random_below(&r, 20) : 1 + random_below(&r, BATCH);
}

/* The late samples of a round lie between others before its begin; each round's have a phase of their own. The value
 * has the round's number, and a half. The first rounds have none. */
static size_t round_late(uint32_t round, int64_t begin_ms, struct sample *late)
{
    struct random r = random_from(round + 1);
    for (size_t k = 0; k < LATE && begin_ms > LATE_MS; k++) {
        int64_t places = (LATE_MS / SAMPLE_MS - 1) / LATE; /* each has some of its own */
        int64_t back = (int64_t)k * places + (int64_t)random_below(&r, (uint64_t)places) + 1;
        late[k] = (struct sample){begin_ms - back * SAMPLE_MS + 1 + round % (SAMPLE_MS - 1), round + 0.5};
    }
    return begin_ms > LATE_MS ? LATE : 0;
}

static void write_until_killed(const char *directory, uint32_t first_round, int64_t first_ms, int acknowledge)
{
    struct duckdb_options options = {.directory = directory,
                                     .threads = 2,
                                     .connections_max = 2,
                                     .compact_rows = COMPACT_ROWS,
                                     .out_of_order_window_ms = LATE_MS + INT64_C(1) * BATCH * SAMPLE_MS};
    static struct append_series series[SERIES];
    static struct sample samples[BATCH + LATE];
    struct arena arena;
    struct backend *backend = NULL;
    arena_init(&arena, SIZE_MAX);
    if (duckdb_backend_open(&options, &backend, NULL) != OK)
        _exit(1);
    int64_t time_ms = first_ms;
    for (uint32_t round = first_round;; round++) {
        size_t n = round_samples(round), late_n = round_late(round, time_ms, samples + n);
        for (size_t k = 0; k < n; k++)
            samples[k] = (struct sample){time_ms += SAMPLE_MS, round};
        for (int i = 0; i < SERIES; i++) {
            char text[48];
            snprintf(text, sizeof text, i ? "m;i=%d" : "m;new=%d", i ? i : (int)round); /* a new series each round */
            series[i] = (struct append_series){labels_of(&arena, text), samples, n + late_n};
        }
        struct append_request request = {.series = series, .series_n = SERIES};
        if (backend->ops->append(backend, &request, 1, NULL) != OK || request.written != SERIES * (n + late_n))
            _exit(2);
        struct backend_stats stats;
        if (backend->ops->stats(backend, &stats, NULL) != OK)
            _exit(3);
        struct told told = {round, (uint32_t)stats.moves_n};
        if (write(acknowledge, &told, sizeof told) != sizeof told)
            _exit(4);
    }
}

/* Whether that late sample, met behind the time of the newest sample so far, can be one. */
static bool is_late(const struct sample *late, uint32_t round, int64_t time_ms)
{
    uint32_t of = (uint32_t)late->value;
    return late->value == of + 0.5 && of >= round && late->time_ms == time_ms + 1 + of % (SAMPLE_MS - 1);
}

/* Samples of one series, all of them; checks that they are whole rounds in order, with their late samples. */
static size_t stored_rounds(struct fixture *f, const char *matchers)
{
    struct expr_selector selector = selector_of(&f->arena, matchers);
    struct raw_cursor *cursor = NULL;
    struct raw_block block;
    assert_int_equal(f->backend->ops->raw_open(f->backend, selector.matchers, selector.matchers_n,
                                               (struct time_span){INT64_MIN, INT64_MAX}, NULL, &cursor, NULL),
                     OK);
    uint32_t round = 0;
    size_t of_round = 0, late_n = 0, late_wanted = 0;
    int64_t time_ms = 0;
    struct sample late[LATE];
    while (f->backend->ops->raw_next(cursor, &block, NULL) == OK && block.samples_n > 0) {
        for (size_t i = 0; i < block.samples_n; i++) {
            if (block.samples[i].time_ms % SAMPLE_MS != 0) {
                assert_true(is_late(&block.samples[i], round, time_ms));
                late_n++;
                continue;
            }
            late_wanted += of_round == 0 ? round_late(round, time_ms, late) : 0;
            assert_int_equal(block.samples[i].time_ms, time_ms += SAMPLE_MS);
            assert_true(block.samples[i].value == round);
            if (++of_round == round_samples(round)) {
                round++;
                of_round = 0;
            }
        }
    }
    assert_int_equal(of_round, 0); /* no torn round */
    assert_int_equal(late_n, late_wanted);
    f->backend->ops->raw_close(cursor);
    return round;
}

static size_t stored_new_series(struct fixture *f)
{
    struct expr_selector selector = selector_of(&f->arena, "new=~.+");
    struct series_query query = {&selector, 1, {INT64_MIN, INT64_MAX}, 0};
    struct series_list *list = NULL;
    assert_int_equal(f->backend->ops->series(f->backend, &query, NULL, &list, NULL), OK);
    size_t n = list->n;
    series_list_free(list);
    return n;
}

static void test_acknowledged_rounds_survive(void **state)
{
    struct fixture f;
    fixture_init_on_disk(&f);
    fixture_close(&f);
    struct random r = random_from((uint64_t)getpid());
    uint32_t rounds = 0;
    int64_t time_ms = 0;
    for (int kills = 0; kills < KILLS; kills++) {
        int pipe_ends[2];
        assert_int_equal(pipe(pipe_ends), 0);
        pid_t child = fork();
        assert_true(child >= 0);
        if (child == 0) {
            close(pipe_ends[0]);
            write_until_killed(f.directory, rounds, time_ms, pipe_ends[1]);
        }
        close(pipe_ends[1]);
        struct told told = {.moves_n = 0};
        uint32_t acknowledged = rounds;
        /* Most die young; every fourth lives to finish moves, and dies in a later one or between. */
        uint32_t moves_wanted = kills % 4 == 3 ? MOVES : 0;
        int64_t kill_at_ms = monotonic_ms() + 50 + (int64_t)random_below(&r, 700);
        while (read(pipe_ends[0], &told, sizeof told) == sizeof told) {
            acknowledged = told.round + 1;
            if (monotonic_ms() >= kill_at_ms && told.moves_n >= moves_wanted) {
                usleep((useconds_t)random_below(&r, 5000)); /* into the middle of a later round */
                kill(child, SIGKILL);
            }
        }
        int how;
        assert_int_equal(waitpid(child, &how, 0), child);
        assert_true(WIFSIGNALED(how) && WTERMSIG(how) == SIGKILL);
        close(pipe_ends[0]);
        fixture_open(&f);
        size_t stored = stored_rounds(&f, "__name__=m i=1");
        print_message("kill %d: %u rounds acknowledged, %zu stored\n", kills + 1, acknowledged, stored);
        assert_true(acknowledged > rounds);
        assert_true(stored == acknowledged || stored == acknowledged + 1); /* committed, not yet told */
        assert_int_equal(stored_rounds(&f, "__name__=m i=39"), stored);
        assert_int_equal(stored_new_series(&f), stored);
        fixture_close(&f);
        for (; rounds < stored; rounds++)
            time_ms += (int64_t)round_samples(rounds) * SAMPLE_MS;
    }
    fixture_open(&f);
    struct backend_stats stats;
    assert_int_equal(f.backend->ops->stats(f.backend, &stats, NULL), OK);
    assert_true(stats.recent_n < stats.samples_n); /* the moves that were finished are */
    print_message("%" PRIu64 " samples, %" PRIu64 " of them recent\n", stats.samples_n, stats.recent_n);
    fixture_release(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_acknowledged_rounds_survive)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
