/* tests/unit/backend/test_duckdb_crash.c: what append acknowledged survives kill -9, what was deleted stays deleted.
 *
 * A child writes rounds of samples, deletes some of them and tells the parent through a pipe what was acknowledged;
 * the parent kills it at a random moment, opens the store and compares it with a model. Rounds are small and large, so
 * that commits, checkpoints, compactions, rollups, drops by retention, deletions and first writes of series are all
 * hit. Each has late samples too, most of them into chunks, and a native histogram. Rounds are told apart by value and
 * time, so a sample lost or stored twice is seen.
 *
 * What must hold after each kill: a round that was acknowledged is there, once, whole, unless retention or a deletion
 * took it; the one round or deletion that was under way is there as a whole or not at all, for all its series;
 * retention cut at the beginning of a partition, no later than it may, the same for all series; and the rules that the
 * tables keep hold (verify), above all that rollups are those of the chunks.
 *
 * Then the same with rollups that outlive the samples retention drops: of a series that loses nothing else there are
 * always either, never neither and never both.
 *
 * PROMSPLIT_KILLS=200 asks for so many kills; PROMSPLIT_SEED repeats a run's moments, as far as a clock can.
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

#define KILLS         12
#define KILLS_OUTLIVE 6
#define MOVES         2 /* done by each child of those that live longer */
#define SERIES        40
#define SHRINK_EVERY  16
#define COMPACT_ROWS  20000 /* so that a compaction is nearly always under way */
#define SAMPLE_MS     5000  /* between samples: partitions fill in some rounds */
#define BATCH         2500  /* samples a series and round, at most */
#define PARTITION_MS  INT64_C(7200000)
#define KEEP_PARTS    8
#define KEEP_OUTLIVED 2
#define LATE          4                           /* samples of a series and round that come late */
#define LATE_MS       (INT64_C(2000) * SAMPLE_MS) /* by so much at most */
#define CUT_FIRST     2                           /* of the series that deletions cut pieces out of */
#define CUT_LAST      5
#define ROUNDS_MAX    20000
#define EXEMPLARS_MAX 20     /* a round has one of series 1, whose value is its number */
#define HISTOGRAMS    SERIES /* one more series, of a native histogram a round, which is its number */

static int64_t keep_ms; /* of samples */

/* --- what a round does is fixed by its number, so that the parent knows what to look for --- */

enum deletion {
    NO_DELETION,
    CUT,     /* a span out of series CUT_FIRST to CUT_LAST */
    WIPE_NEW /* all of two of the series that some round began */
};

static size_t round_samples(uint32_t round)
{
    struct random r = random_from(round + 1);
    return random_below(&r, 3) ? 1 + random_below(&r, 20) : 1 + random_below(&r, BATCH);
}

/* The late samples of a round lie between others before its begin; each round's have a phase of their own. The value
 * has the round's number, and a half. The first rounds have none. */
static size_t round_late(uint32_t round, int64_t begin_ms, struct sample late[LATE])
{
    struct random r = random_from(round + UINT64_C(2000003));
    for (size_t k = 0; k < LATE && begin_ms > LATE_MS; k++) {
        int64_t places = (LATE_MS / SAMPLE_MS - 1) / LATE; /* each has some of its own */
        int64_t back = (int64_t)k * places + (int64_t)random_below(&r, (uint64_t)places) + 1;
        late[k] = (struct sample){begin_ms - back * SAMPLE_MS + 1 + round % (SAMPLE_MS - 1), round + 0.5};
    }
    return begin_ms > LATE_MS ? LATE : 0;
}

/* After the round whose last sample is at `now_ms`. *ret_span: of a cut; *ret_first: the series' round, of two. */
static enum deletion round_deletion(uint32_t round, int64_t now_ms, struct time_span *ret_span, uint32_t *ret_first)
{
    struct random r = random_from(round + UINT64_C(1000003));
    uint64_t choice = random_below(&r, 8);
    int64_t back_ms = (int64_t)random_below(&r, (uint64_t)keep_ms), length_ms = (int64_t)random_below(&r, 20000000);
    *ret_first = (uint32_t)random_below(&r, round + 1);
    *ret_span = (struct time_span){now_ms - back_ms, now_ms - back_ms + length_ms};
    return choice == 0 ? CUT : choice == 1 ? WIPE_NEW : NO_DELETION;
}

/* --- the child --- */

/* What a child tells its parent. */
struct told {
    uint32_t round;
    bool deleted; /* the round's deletion is acknowledged, too */
    uint32_t moves_n;
};

static void delete_or_exit(struct backend *backend, struct arena *arena, const char *matchers, struct time_span span)
{
    struct expr_selector selector = selector_of(arena, matchers);
    struct series_query query = {&selector, 1, span, 0};
    uint64_t samples_n;
    if (backend->ops->delete_series(backend, &query, NULL, &samples_n, NULL) != OK)
        _exit(5);
}

static void append_or_exit(struct backend *backend, struct arena *arena, uint32_t round, int64_t *time_ms)
{
    static struct append_series series[SERIES + 1];
    static struct sample samples[BATCH + LATE];
    size_t n = round_samples(round), late_n = round_late(round, *time_ms, samples + n);
    for (size_t k = 0; k < n; k++)
        samples[k] = (struct sample){ *time_ms += SAMPLE_MS, round};
    for (int i = 0; i < SERIES; i++) {
        char text[48];
        snprintf(text, sizeof text, i ? "m;i=%d" : "m;new=%d", i ? i : (int)round); /* a new series each round */
        series[i] = (struct append_series){labels_of(arena, text), samples, n + late_n};
    }
    char text[48];
    snprintf(text, sizeof text, "m;i=%d", HISTOGRAMS);
    series[HISTOGRAMS] = (struct append_series){.labels = labels_of(arena, text)};
    double number = round;
    struct append_histogram histogram = {HISTOGRAMS, {*time_ms, {(const char *)&number, sizeof number}}};
    struct append_exemplar exemplar = {1, {labels_of(arena, "trace=x"), round, *time_ms}};
    struct append_request request = {.series = series,
                                     .series_n = SERIES + 1,
                                     .histograms = &histogram,
                                     .histograms_n = 1,
                                     .exemplars = &exemplar,
                                     .exemplars_n = 1};
    if (backend->ops->append(backend, &request, 1, NULL) != OK || request.written != SERIES * (n + late_n) + 1 ||
        request.exemplars_by[EXEMPLAR_WRITTEN] != 1)
        _exit(2);
}

static void tell_or_exit(struct backend *backend, int acknowledge, uint32_t round, bool deleted)
{
    struct backend_stats stats;
    if (backend->ops->stats(backend, &stats, NULL) != OK || stats.move_failures_n + stats.retention_failures_n > 0)
        _exit(3);
    struct told told = {round, deleted, (uint32_t)stats.moves_n};
    if (write(acknowledge, &told, sizeof told) != sizeof told)
        _exit(4);
}

static const struct rollup_settings ROLLUPS = {.levels_ms = {3600000, 300000, 60000}, .levels_n = 3};

static void write_until_killed(const char *directory, bool outlive, uint32_t first_round, int64_t time_ms,
                               int acknowledge)
{
    struct duckdb_options options = {.directory = directory,
                                     .threads = 2,
                                     .connections_max = 2,
                                     .compact_rows = COMPACT_ROWS,
                                     .shrink_bytes = 1 << 20,
                                     .exemplars_max = EXEMPLARS_MAX,
                                     .out_of_order_window_ms = LATE_MS + INT64_C(1) * BATCH * SAMPLE_MS,
                                     .rollups = &ROLLUPS,
                                     .retention = {.time_ms = keep_ms, .rollups_ms = outlive ? INT64_MAX / 2 : 0}};
    struct backend *backend = NULL;
    if (duckdb_backend_open(&options, &backend, NULL) != OK)
        _exit(1);
    for (uint32_t round = first_round; round < ROUNDS_MAX; round++) {
        struct arena arena;
        arena_init(&arena, SIZE_MAX);
        append_or_exit(backend, &arena, round, &time_ms);
        tell_or_exit(backend, acknowledge, round, false);
        struct time_span span;
        uint32_t first;
        char matchers[64];
        enum deletion deletion = round_deletion(round, time_ms, &span, &first);
        if (deletion == CUT)
            delete_or_exit(backend, &arena, "__name__=m i=~[2-5]", span);
        snprintf(matchers, sizeof matchers, "new=~%u|%u", first, first + 1);
        if (deletion == WIPE_NEW)
            delete_or_exit(backend, &arena, matchers, (struct time_span){INT64_MIN, INT64_MAX});
        if (deletion != NO_DELETION)
            tell_or_exit(backend, acknowledge, round, true);
        if (round % SHRINK_EVERY == 0 && duckdb_backend_shrink(backend, NULL) != OK)
            _exit(7);
        arena_release(&arena);
    }
    _exit(6);
}

/* --- the model --- */

struct model {
    bool outlive; /* rollups their samples */
    uint32_t rounds;
    int64_t now_ms;
    int64_t round_end_ms[ROUNDS_MAX];
    bool wiped[ROUNDS_MAX + 1]; /* the series that this round began */
    uint8_t *cut;               /* by sample number, time / SAMPLE_MS: cut out of some series */
    size_t cut_room;
    struct late {
        struct sample sample;
        bool cut; /* by a deletion after it came */
    } late[ROUNDS_MAX * LATE];
    size_t late_n;
};

static void model_add_round(struct model *m)
{
    struct sample late[LATE];
    assert_true(m->rounds < ROUNDS_MAX);
    for (size_t k = round_late(m->rounds, m->now_ms, late); k > 0; k--)
        m->late[m->late_n++] = (struct late){late[k - 1], false};
    m->now_ms += (int64_t)round_samples(m->rounds) * SAMPLE_MS;
    m->round_end_ms[m->rounds++] = m->now_ms;
    size_t wanted = (size_t)(m->now_ms / SAMPLE_MS) + 1;
    if (wanted > m->cut_room) {
        m->cut = realloc(m->cut, 2 * wanted);
        assert_non_null(m->cut);
        memset(m->cut + m->cut_room, 0, 2 * wanted - m->cut_room);
        m->cut_room = 2 * wanted;
    }
}

/* The deletion of the last round. */
static void model_delete(struct model *m)
{
    struct time_span span;
    uint32_t first, round = m->rounds - 1;
    enum deletion deletion = round_deletion(round, m->now_ms, &span, &first);
    for (int64_t k = 1; deletion == CUT && k * SAMPLE_MS <= m->now_ms; k++)
        m->cut[k] |= k * SAMPLE_MS >= span.min_ms && k * SAMPLE_MS <= span.max_ms;
    for (size_t i = 0; deletion == CUT && i < m->late_n; i++) {
        int64_t time_ms = m->late[i].sample.time_ms;
        m->late[i].cut |= time_ms >= span.min_ms && time_ms <= span.max_ms;
    }
    for (uint32_t i = first; deletion == WIPE_NEW && i < first + 2 && i < m->rounds; i++)
        m->wiped[i] = true;
}

/* --- the store against it --- */

struct samples_read {
    struct sample *at;
    size_t n;
};

/* Native histograms are read as samples of the number they are. */
static struct samples_read read_samples(struct fixture *f, int series)
{
    char matchers[48];
    snprintf(matchers, sizeof matchers, "__name__=m i=%d", series);
    struct expr_selector selector = selector_of(&f->arena, matchers);
    struct raw_cursor *cursor = NULL;
    struct raw_block block;
    struct samples_read read = {NULL, 0};
    assert_int_equal(f->backend->ops->raw_open(f->backend, RAW_SAMPLES, selector.matchers, selector.matchers_n,
                                               (struct time_span){INT64_MIN, INT64_MAX}, NULL, &cursor, NULL),
                     OK);
    while (f->backend->ops->raw_next(cursor, &block, NULL) == OK && raw_block_n(&block) > 0) {
        read.at = realloc(read.at, (read.n + raw_block_n(&block)) * sizeof *read.at);
        assert_non_null(read.at);
        if (block.samples_n)
            memcpy(read.at + read.n, block.samples, block.samples_n * sizeof *read.at);
        for (size_t i = 0; i < block.histograms_n; i++) {
            assert_int_equal(block.histograms[i].packed.len, sizeof read.at->value);
            read.at[read.n + i].time_ms = block.histograms[i].time_ms;
            memcpy(&read.at[read.n + i].value, block.histograms[i].packed.ptr, sizeof read.at->value);
        }
        read.n += raw_block_n(&block);
    }
    f->backend->ops->raw_close(cursor);
    return read;
}

static int compare_samples(const void *a, const void *b)
{
    const struct sample *x = a, *y = b;
    return (x->time_ms > y->time_ms) - (x->time_ms < y->time_ms);
}

/* All samples of a series from cut_ms on, but those cut out. */
static struct samples_read modelled_samples(const struct model *m, bool has_cuts, int64_t cut_ms)
{
    struct samples_read all = {malloc(((size_t)(m->now_ms / SAMPLE_MS) + m->late_n + 1) * sizeof *all.at), 0};
    uint32_t round = 0;
    assert_non_null(all.at);
    for (int64_t k = 1; k * SAMPLE_MS <= m->now_ms; k++) {
        while (m->round_end_ms[round] < k * SAMPLE_MS)
            round++;
        if (k * SAMPLE_MS >= cut_ms && !(has_cuts && m->cut[k]))
            all.at[all.n++] = (struct sample){k * SAMPLE_MS, round};
    }
    for (size_t i = 0; i < m->late_n; i++) {
        if (m->late[i].sample.time_ms >= cut_ms && !(has_cuts && m->late[i].cut))
            all.at[all.n++] = m->late[i].sample;
    }
    qsort(all.at, all.n, sizeof *all.at, compare_samples);
    return all;
}

/* One native histogram a round, at its end. */
static struct samples_read modelled_histograms(const struct model *m, int64_t cut_ms)
{
    struct samples_read all = {malloc((m->rounds + 1) * sizeof *all.at), 0};
    assert_non_null(all.at);
    for (uint32_t round = 0; round < m->rounds; round++) {
        if (m->round_end_ms[round] >= cut_ms)
            all.at[all.n++] = (struct sample){m->round_end_ms[round], round};
    }
    return all;
}

static bool is_as_modelled(struct fixture *f, const struct model *m, int series, int64_t cut_ms)
{
    struct samples_read read = read_samples(f, series);
    struct samples_read wanted = series == HISTOGRAMS
                                     ? modelled_histograms(m, cut_ms)
                                     : modelled_samples(m, series >= CUT_FIRST && series <= CUT_LAST, cut_ms);
    bool right = read.n == wanted.n;
    for (size_t i = 0; right && i < read.n; i++)
        right = read.at[i].time_ms == wanted.at[i].time_ms && read.at[i].value == wanted.at[i].value;
    free(read.at);
    free(wanted.at);
    return right;
}

/* Those of before cut_ms have no samples, but rollups if there are any. */
static bool new_series_are_as_modelled(struct fixture *f, const struct model *m, int64_t cut_ms)
{
    static bool listed[ROUNDS_MAX];
    struct expr_selector selector = selector_of(&f->arena, "new=~.+");
    struct series_query query = {&selector, 1, {INT64_MIN, INT64_MAX}, 0};
    struct series_list *list = NULL;
    assert_int_equal(f->backend->ops->series(f->backend, &query, NULL, &list, NULL), OK);
    bool right = true;
    memset(listed, 0, sizeof listed);
    for (size_t i = 0; i < list->n; i++) {
        uint32_t round = (uint32_t)atoi(labels_get(list->at[i], STR("new")).ptr);
        right = right && round < m->rounds && !listed[round];
        if (right)
            listed[round] = true;
    }
    series_list_free(list);
    for (uint32_t round = 0; round < m->rounds; round++)
        right = right && listed[round] == ((m->outlive || m->round_end_ms[round] >= cut_ms) && !m->wiped[round]);
    return right;
}

/* Those of the last rounds, each once. */
static bool exemplars_are_as_modelled(struct fixture *f, const struct model *m)
{
    struct expr_selector selector = selector_of(&f->arena, "__name__=m");
    struct series_query query = {&selector, 1, {INT64_MIN, INT64_MAX}, 0};
    struct exemplar_list *list = NULL;
    assert_int_equal(f->backend->ops->exemplars(f->backend, &query, &list, NULL), OK);
    size_t wanted = m->rounds < EXEMPLARS_MAX ? m->rounds : EXEMPLARS_MAX;
    bool right = list->n == 1 && list->at[0].exemplars_n == wanted;
    for (size_t i = 0; right && i < wanted; i++) {
        const struct exemplar *is = &list->at[0].exemplars[i];
        size_t round = m->rounds - wanted + i;
        right = is->value == (double)round && is->time_ms == m->round_end_ms[round];
    }
    exemplar_list_free(list);
    return right;
}

static bool all_is_as_modelled(struct fixture *f, const struct model *m, int64_t cut_ms)
{
    static const int LOOKED_AT[] = {1, CUT_FIRST, CUT_FIRST + 1, CUT_LAST, SERIES - 1, HISTOGRAMS};
    for (size_t i = 0; i < sizeof LOOKED_AT / sizeof *LOOKED_AT; i++) {
        if (!is_as_modelled(f, m, LOOKED_AT[i], cut_ms))
            return false;
    }
    return new_series_are_as_modelled(f, m, cut_ms) && exemplars_are_as_modelled(f, m);
}

/* From which time on samples are there, by a series that nobody deletes from. */
static int64_t find_cut_ms(struct fixture *f, const struct model *m)
{
    struct samples_read read = read_samples(f, 1);
    size_t i = 0;
    assert_true(read.n > 0 && read.at[read.n - 1].time_ms == m->now_ms);
    while (read.at[i].time_ms % SAMPLE_MS != 0) /* late ones */
        i++;
    int64_t first_ms = read.at[i].time_ms, cut_ms = first_ms / PARTITION_MS * PARTITION_MS;
    free(read.at);
    assert_true(first_ms == SAMPLE_MS || first_ms == cut_ms + (SAMPLE_MS - cut_ms % SAMPLE_MS) % SAMPLE_MS);
    assert_true(cut_ms <= m->now_ms - keep_ms || cut_ms == 0);
    return cut_ms;
}

/* Whether the round after the last that was told of is there. */
static bool has_one_more(struct fixture *f, const struct model *m)
{
    struct backend_stats stats;
    assert_int_equal(f->backend->ops->stats(f->backend, &stats, NULL), OK);
    int64_t newest_ms = m->rounds || stats.samples_n ? stats.max_time_ms : 0;
    if (newest_ms == m->now_ms)
        return false;
    assert_int_equal(newest_ms, m->now_ms + (int64_t)round_samples(m->rounds) * SAMPLE_MS);
    return true;
}

static double ask_number(struct fixture *f, const char *sql)
{
    struct fragment fragment =
        fragment_of(&f->arena, sql, (struct grid){.start_ms = 0, .step_ms = 1, .steps = 1}, false, false, "");
    struct grid_result *result = run_ok(f, &fragment);
    assert_int_equal(result->series_n, 1);
    double number = result->series[0].values[0];
    grid_result_free(result);
    return number;
}

/* Of a series that nobody deletes from, rollups count what is gone, exactly. */
static void check_outliving(struct fixture *f, const struct model *m, int64_t cut_ms)
{
    static const char *const LEVELS_MS[] = {"3600000", "300000", "60000"};
    struct samples_read all = modelled_samples(m, false, INT64_MIN), left = modelled_samples(m, false, cut_ms);
    for (size_t i = 0; i < sizeof LEVELS_MS / sizeof *LEVELS_MS; i++) {
        char sql[500];
        snprintf(sql, sizeof sql,
                 "SELECT [coalesce(sum(list_sum(weight[1:len(list_filter(ts, lambda t: t < raw_from))])), 0)::DOUBLE] "
                 "AS value FROM rollups, rolled WHERE tmin < raw_from AND level = %s AND series = (SELECT series FROM "
                 "series WHERE labels['i'] = '1')",
                 LEVELS_MS[i]);
        double counted = ask_number(f, sql);
        if (counted != (double)(all.n - left.n))
            fail_msg("%g samples behind in rollups, %zu were there", counted, all.n - left.n);
    }
    free(all.at);
    free(left.at);
}

/* Brings the model to what is stored, and compares. `deleted`: so was the deletion of the last acknowledged round. */
static void check(struct fixture *f, struct model *m, bool deleted)
{
    bool one_more = has_one_more(f, m);
    if (m->rounds > 0 && (deleted || one_more))
        model_delete(m); /* the child came to it before the next round */
    if (one_more)
        model_add_round(m);
    int64_t cut_ms = find_cut_ms(f, m);
    bool right = all_is_as_modelled(f, m, cut_ms);
    if (!right && (one_more || !deleted)) { /* committed, not yet told */
        model_delete(m);
        right = all_is_as_modelled(f, m, cut_ms);
    }
    assert_true(right);
    expect_rules(f);
    if (m->outlive)
        check_outliving(f, m, cut_ms);
    struct time_span span;
    uint32_t first;
    print_message("%u rounds, to %" PRId64 " min, from %" PRId64 " min%s%s\n", m->rounds, m->now_ms / 60000,
                  cut_ms / 60000, one_more ? ", one not told" : "",
                  round_deletion(m->rounds - 1, m->now_ms, &span, &first) ? ", a deletion at the end" : "");
}

/* --- kills --- */

/* One child's life; true if the last acknowledged round's deletion is acknowledged, too. */
static bool live_and_die(struct fixture *f, struct model *m, struct random *r, bool lives_longer)
{
    int pipe_ends[2];
    assert_int_equal(pipe(pipe_ends), 0);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        close(pipe_ends[0]);
        write_until_killed(f->directory, m->outlive, m->rounds, m->now_ms, pipe_ends[1]);
    }
    close(pipe_ends[1]);
    struct told told = {.moves_n = 0};
    uint32_t before = m->rounds, moves_wanted = lives_longer ? MOVES : 0;
    bool deleted = false;
    int64_t kill_at_ms = monotonic_ms() + 50 + (int64_t)random_below(r, 700);
    while (read(pipe_ends[0], &told, sizeof told) == sizeof told) {
        if (told.round >= m->rounds) {
            if (m->rounds > before) /* of this child; it did what the last round says before it went on */
                model_delete(m);
            model_add_round(m);
        }
        deleted = told.deleted;
        if (monotonic_ms() >= kill_at_ms && told.moves_n >= moves_wanted) {
            usleep((useconds_t)random_below(r, 5000)); /* into the midst of what comes next */
            kill(child, SIGKILL);
        }
    }
    int how;
    assert_int_equal(waitpid(child, &how, 0), child);
    close(pipe_ends[0]);
    if (!WIFSIGNALED(how) || WTERMSIG(how) != SIGKILL)
        fail_msg("the child ended by itself with %d", WEXITSTATUS(how));
    assert_true(m->rounds > before);
    return deleted;
}

static void survive(bool outlive, int kills)
{
    const char *kills_text = getenv("PROMSPLIT_KILLS"), *seed_text = getenv("PROMSPLIT_SEED");
    kills = kills_text ? atoi(kills_text) : kills;
    uint64_t seed = seed_text ? strtoull(seed_text, NULL, 10) : (uint64_t)getpid();
    static struct model model;
    struct fixture f;
    struct random r = random_from(seed);
    memset(&model, 0, sizeof model);
    model.outlive = outlive;
    keep_ms = (outlive ? KEEP_OUTLIVED : KEEP_PARTS) * PARTITION_MS;
    print_message("%d kills, PROMSPLIT_SEED=%" PRIu64 "\n", kills, seed);
    fixture_init_on_disk(&f);
    fixture_close(&f);
    f.exemplars_max = EXEMPLARS_MAX;
    for (int i = 0; i < kills; i++) {
        /* Most die young; every fourth lives to finish moves, and dies in a later one or between. */
        bool deleted = live_and_die(&f, &model, &r, i % 4 == 3);
        fixture_open(&f); /* keeps everything: what is there is what the child left */
        print_message("kill %d: ", i + 1);
        check(&f, &model, deleted);
        fixture_close(&f);
        arena_reset(&f.arena);
    }
    fixture_open(&f);
    struct backend_stats stats;
    assert_int_equal(f.backend->ops->stats(f.backend, &stats, NULL), OK);
    assert_true(stats.recent_n < stats.samples_n); /* the moves that were finished are */
    assert_true(stats.rollup_rows_n > 0);
    print_message("%" PRIu64 " samples, %" PRIu64 " of them recent, %" PRIu64 " rows of rollups\n", stats.samples_n,
                  stats.recent_n, stats.rollup_rows_n);
    free(model.cut);
    fixture_release(&f);
}

static void test_acknowledged_rounds_survive(void **state)
{
    survive(false, KILLS);
}

static void test_rollups_outlive_samples(void **state)
{
    survive(true, KILLS_OUTLIVE);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_acknowledged_rounds_survive),
        cmocka_unit_test(test_rollups_outlive_samples),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
