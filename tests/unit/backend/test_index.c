/* tests/unit/backend/test_index.c: finding series: all kinds of matchers, spans of time and limits against brute force,
 * in the embedded engine and in the fake; figures of cardinality; series taken out; readers beside a writer.
 *
 * The oracle knows every series and sample. Its regular expressions are POSIX ones, anchored, and the patterns are
 * those that mean the same in RE2.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <pthread.h>
#include <regex.h>
#include <cmocka.h>

#include "backend/duckdb/matching.h"
#include "backend/duckdb/store.h"
#include "backend/fake/fake_backend.h"
#include "base/assert.h"
#include "tests/unit/backend/fixture.h"
#include "tests/unit/backend/random.h"

#define SERIES_MAX  400u
#define SAMPLES_MAX 24u
#define TIME_MAX    1000
#define ALL_TIMES   ((struct time_span){INT64_MIN, INT64_MAX})

struct known {
    struct labels labels;
    int64_t times[SAMPLES_MAX];
    size_t n;
    bool removed;
};

struct world {
    struct random random;
    struct arena arena;
    struct backend *backend;
    struct fixture *fixture; /* NULL: the fake */
    struct known at[SERIES_MAX];
    size_t n;
};

static const struct str NAMES[] = {STR_STATIC("__name__"), STR_STATIC("a"), STR_STATIC("b.c"), STR_STATIC("job"),
                                   STR_STATIC("Zone")};
static const struct str VALUES[] = {STR_STATIC("x"),       STR_STATIC("y"),   STR_STATIC("xy"),
                                    STR_STATIC("x|y"),     STR_STATIC("x.y"), STR_STATIC("it's \"q\"\\"),
                                    STR_STATIC("l1\nl2"),  STR_STATIC("zoë"), STR_STATIC("a longer value than twelve"),
                                    STR_STATIC("__name__")};
static const struct str PATTERNS[] = {
    STR_STATIC(""),        STR_STATIC(".*"),      STR_STATIC(".+"),         STR_STATIC("x"),     STR_STATIC("x|y"),
    STR_STATIC("x|"),      STR_STATIC("|"),       STR_STATIC("y|x|y"),      STR_STATIC("x.*"),   STR_STATIC(".*y"),
    STR_STATIC("(x|y)+"),  STR_STATIC("x?"),      STR_STATIC("[xy]"),       STR_STATIC("l1.l2"), STR_STATIC("x.y|zoë"),
    STR_STATIC("nothing"), STR_STATIC("n.thing"), STR_STATIC("a longer.*"), STR_STATIC("x\\|y"), STR_STATIC("(.*y)?")};

/* --- the oracle --- */

static bool pattern_takes(struct str pattern, struct str text)
{
    char source[128], subject[128];
    snprintf(source, sizeof source, "^(" STR_FORMAT ")$", STR_ARG(pattern));
    snprintf(subject, sizeof subject, STR_FORMAT, STR_ARG(text));
    regex_t compiled;
    assert_int_equal(regcomp(&compiled, pattern.len ? source : "^$", REG_EXTENDED | REG_NOSUB), 0);
    bool takes = regexec(&compiled, subject, 0, NULL, 0) == 0;
    regfree(&compiled);
    return takes;
}

/* pattern_takes, asked once for each of our patterns and values. */
static bool known_pattern_takes(struct str pattern, struct str text)
{
    static signed char answers[ARRAY_LENGTH(PATTERNS)][ARRAY_LENGTH(VALUES) + 1]; /* 0: not asked; the last: "" */
    size_t p = 0, v = 0;
    while (!str_eq(PATTERNS[p], pattern))
        p++;
    while (v < ARRAY_LENGTH(VALUES) && !str_eq(VALUES[v], text))
        v++;
    if (answers[p][v] == 0)
        answers[p][v] = pattern_takes(pattern, text) ? 1 : -1;
    return answers[p][v] > 0;
}

static bool matcher_takes(const struct matcher *matcher, struct labels labels)
{
    struct str value = labels_get(labels, matcher->name);
    switch (matcher->op) {
    case MATCH_EQUAL:
        return str_eq(value, matcher->value);
    case MATCH_NOT_EQUAL:
        return !str_eq(value, matcher->value);
    case MATCH_REGEX:
        return known_pattern_takes(matcher->value, value);
    case MATCH_NOT_REGEX:
        return !known_pattern_takes(matcher->value, value);
    }
    return false;
}

static bool takes(const struct series_query *query, const struct known *known)
{
    bool matches = query->selectors_n == 0, in_span = false;
    for (size_t i = 0; !matches && i < query->selectors_n; i++) {
        matches = true;
        for (size_t k = 0; matches && k < query->selectors[i].matchers_n; k++)
            matches = matcher_takes(&query->selectors[i].matchers[k], known->labels);
    }
    for (size_t i = 0; !in_span && i < known->n; i++)
        in_span = known->times[i] >= query->span.min_ms && known->times[i] <= query->span.max_ms;
    return matches && in_span && !known->removed;
}

/* --- the data --- */

static size_t find(const struct world *w, struct labels labels)
{
    size_t i = 0;
    while (i < w->n && (w->at[i].removed || !labels_eq(w->at[i].labels, labels)))
        i++;
    return i;
}

static struct labels random_labels(struct world *w)
{
    struct label *at = ARENA_ARRAY(&w->arena, struct label, ARRAY_LENGTH(NAMES));
    size_t n = 0;
    for (size_t i = 0; i < ARRAY_LENGTH(NAMES); i++) {
        if (i == 0 || random_below(&w->random, 3) > 0)
            at[n++] = (struct label){NAMES[i], VALUES[random_below(&w->random, ARRAY_LENGTH(VALUES))]};
    }
    struct str twice;
    assert_true(labels_normalize(at, &n, &twice));
    return (struct labels){at, n};
}

/* Series of random labels, each with some samples between gaps; some only late, some only early. One request. */
static void grow(struct world *w, size_t series_n)
{
    struct append_series series[SERIES_MAX];
    struct append_request request = {.series = series};
    size_t samples_n = 0;
    for (; request.series_n < series_n && w->n < SERIES_MAX; request.series_n++) {
        struct labels labels = random_labels(w);
        size_t at = find(w, labels);
        if (at == w->n)
            w->at[w->n++] = (struct known){.labels = labels};
        struct known *known = &w->at[at];
        struct sample *samples = ARENA_ARRAY(&w->arena, struct sample, SAMPLES_MAX);
        size_t n = 0;
        int64_t time_ms = known->n ? known->times[known->n - 1] : (int64_t)random_below(&w->random, TIME_MAX / 2);
        for (size_t k = random_below(&w->random, 4) + 1; k > 0 && known->n < SAMPLES_MAX; k--) {
            time_ms += 1 + (int64_t)random_below(&w->random, random_below(&w->random, 4) ? 20 : TIME_MAX / 3);
            samples[n++] = (struct sample){time_ms, 1};
            known->times[known->n++] = time_ms;
        }
        series[request.series_n] = (struct append_series){labels, samples, n};
        samples_n += n;
    }
    assert_int_equal(w->backend->ops->append(w->backend, &request, 1, NULL), OK);
    assert_int_equal(request.written, samples_n);
}

/* --- questions --- */

static struct expr_selector random_selector(struct world *w)
{
    size_t n = 1 + random_below(&w->random, 3);
    struct matcher *at = ARENA_ARRAY(&w->arena, struct matcher, n);
    for (size_t i = 0; i < n; i++) {
        at[i].op = (enum match_op)random_below(&w->random, 4);
        at[i].name = random_below(&w->random, 12) ? NAMES[random_below(&w->random, ARRAY_LENGTH(NAMES))] : STR("none");
        if (at[i].op == MATCH_REGEX || at[i].op == MATCH_NOT_REGEX)
            at[i].value = PATTERNS[random_below(&w->random, ARRAY_LENGTH(PATTERNS))];
        else if (random_below(&w->random, 6))
            at[i].value = VALUES[random_below(&w->random, ARRAY_LENGTH(VALUES))];
        else
            at[i].value = random_below(&w->random, 2) ? STR("") : STR("nothing");
    }
    return (struct expr_selector){.matchers = at, .matchers_n = n};
}

static struct time_span random_span(struct world *w)
{
    if (random_below(&w->random, 3) == 0)
        return ALL_TIMES;
    int64_t begin = (int64_t)random_below(&w->random, 2 * TIME_MAX);
    int64_t length = (int64_t)random_below(&w->random, random_below(&w->random, 2) ? 30 : 2 * TIME_MAX);
    return (struct time_span){begin, begin + length};
}

static struct series_query random_query(struct world *w)
{
    size_t n = random_below(&w->random, 4);
    struct expr_selector *selectors = ARENA_ARRAY(&w->arena, struct expr_selector, n + 1);
    for (size_t i = 0; i < n; i++)
        selectors[i] = random_selector(w);
    return (struct series_query){.selectors = selectors,
                                 .selectors_n = n,
                                 .span = random_span(w),
                                 .limit = random_below(&w->random, 3) ? 0 : 1 + random_below(&w->random, 20)};
}

static int by_labels(const void *a, const void *b)
{
    return labels_cmp(*(const struct labels *)a, *(const struct labels *)b);
}

static int by_text(const void *a, const void *b)
{
    return str_cmp(*(const struct str *)a, *(const struct str *)b);
}

static void check_series(struct world *w, const struct series_query *query)
{
    struct labels wanted[SERIES_MAX];
    size_t n = 0;
    for (size_t i = 0; i < w->n; i++) {
        if (takes(query, &w->at[i]))
            wanted[n++] = w->at[i].labels;
    }
    qsort(wanted, n, sizeof *wanted, by_labels);
    struct series_list *list = NULL;
    assert_int_equal(w->backend->ops->series(w->backend, query, NULL, &list, NULL), OK);
    assert_int_equal(list->truncated, query->limit && n > query->limit);
    n = list->truncated ? query->limit : n;
    assert_int_equal(list->n, n);
    for (size_t i = 0; i < n; i++)
        assert_true(labels_eq(list->at[i], wanted[i]));
    series_list_free(list);
}

/* name NULL: label names. */
static void check_strings(struct world *w, const struct series_query *query, const struct str *name)
{
    struct str wanted[SERIES_MAX * ARRAY_LENGTH(NAMES)];
    size_t n = 0, kept = 0;
    for (size_t i = 0; i < w->n; i++) {
        struct labels labels = w->at[i].labels;
        for (size_t k = 0; takes(query, &w->at[i]) && k < labels.n; k++) {
            if (!name || str_eq(labels.at[k].name, *name))
                wanted[n++] = name ? labels.at[k].value : labels.at[k].name;
        }
    }
    qsort(wanted, n, sizeof *wanted, by_text);
    for (size_t i = 0; i < n; i++) {
        if (kept == 0 || !str_eq(wanted[kept - 1], wanted[i]))
            wanted[kept++] = wanted[i];
    }
    struct string_list *list = NULL;
    const struct backend_ops *ops = w->backend->ops;
    if (name)
        assert_int_equal(ops->label_values(w->backend, *name, query, NULL, &list, NULL), OK);
    else
        assert_int_equal(ops->label_names(w->backend, query, NULL, &list, NULL), OK);
    assert_int_equal(list->truncated, query->limit && kept > query->limit);
    kept = list->truncated ? query->limit : kept;
    assert_int_equal(list->n, kept);
    for (size_t i = 0; i < kept; i++)
        assert_true(str_eq(list->at[i], wanted[i]));
    string_list_free(list);
}

/* All samples of the span, series by series in order. */
static void check_raw(struct world *w, const struct series_query *query)
{
    struct labels wanted[SERIES_MAX];
    size_t n = 0, at = 0;
    for (size_t i = 0; i < w->n; i++) {
        if (takes(query, &w->at[i]))
            wanted[n++] = w->at[i].labels;
    }
    qsort(wanted, n, sizeof *wanted, by_labels);
    struct raw_cursor *cursor = NULL;
    struct raw_block block;
    const struct expr_selector *selector = query->selectors;
    assert_int_equal(w->backend->ops->raw_open(w->backend, RAW_SAMPLES, selector->matchers, selector->matchers_n,
                                               query->span, NULL, &cursor, NULL),
                     OK);
    for (;;) {
        assert_int_equal(w->backend->ops->raw_next(cursor, &block, NULL), OK);
        if (block.samples_n == 0)
            break;
        assert_true(at < n);
        assert_true(labels_eq(block.labels, wanted[at]));
        at += block.series_ends;
    }
    assert_int_equal(at, n);
    w->backend->ops->raw_close(cursor);
}

static void check_random(struct world *w, unsigned rounds)
{
    for (unsigned i = 0; i < rounds; i++) {
        struct series_query query = random_query(w);
        check_series(w, &query);
        check_strings(w, &query, NULL);
        struct str name =
            random_below(&w->random, 9) ? NAMES[random_below(&w->random, ARRAY_LENGTH(NAMES))] : STR("none");
        check_strings(w, &query, &name);
        if (query.selectors_n == 1)
            check_raw(w, &query);
    }
}

/* --- figures --- */

static void check_cardinality(struct world *w, size_t limit)
{
    struct cardinality_report *report = NULL;
    assert_int_equal(w->backend->ops->cardinality(w->backend, limit, &report, NULL), OK);
    uint64_t series_n = 0, pairs_n = 0, largest = 0, bytes = 0;
    for (size_t i = 0; i < w->n; i++)
        series_n += !w->at[i].removed;
    for (size_t name = 0; name < ARRAY_LENGTH(NAMES); name++) {
        uint64_t values_n = 0, name_bytes = 0;
        for (size_t value = 0; value < ARRAY_LENGTH(VALUES); value++) {
            uint64_t count = 0;
            for (size_t i = 0; i < w->n; i++)
                count += !w->at[i].removed && str_eq(labels_get(w->at[i].labels, NAMES[name]), VALUES[value]);
            values_n += count > 0;
            name_bytes += count * VALUES[value].len;
            largest = count > largest ? count : largest;
        }
        pairs_n += values_n;
        bytes = name_bytes > bytes ? name_bytes : bytes;
    }
    assert_int_equal(report->series_n, series_n);
    assert_int_equal(report->pairs_n, pairs_n);
    assert_int_equal(report->at[CARDINALITY_PAIR][0].count, largest);
    assert_int_equal(report->at[CARDINALITY_VALUE_BYTES][0].count, bytes);
    assert_int_equal(report->n[CARDINALITY_PAIR], limit < pairs_n ? limit : pairs_n);
    assert_int_equal(report->n[CARDINALITY_VALUES], limit < ARRAY_LENGTH(NAMES) ? limit : ARRAY_LENGTH(NAMES));
    for (int list = 0; list < CARDINALITY_MAX; list++) {
        for (size_t i = 1; i < report->n[list]; i++)
            assert_true(report->at[list][i - 1].count >= report->at[list][i].count);
    }
    uint64_t metrics = 0;
    for (size_t i = 0; i < report->n[CARDINALITY_METRIC]; i++)
        metrics += report->at[CARDINALITY_METRIC][i].count;
    assert_true(limit < ARRAY_LENGTH(VALUES) ? metrics <= series_n : metrics == series_n);
    cardinality_free(report);
}

/* --- cases --- */

static struct world *world_new(uint64_t seed)
{
    struct world *w = calloc(1, sizeof *w);
    assert_non_null(w);
    w->random = random_from(seed);
    arena_init(&w->arena, SIZE_MAX);
    return w;
}

static void world_free(struct world *w)
{
    arena_release(&w->arena);
    free(w);
}

static void test_embedded(void **state)
{
    for (uint64_t seed = 1; seed <= 2; seed++) {
        struct fixture fixture;
        struct world *w = world_new(seed);
        fixture_init_on_disk(&fixture);
        w->fixture = &fixture;
        w->backend = fixture.backend;
        check_random(w, 3); /* of nothing */
        grow(w, 60);
        check_random(w, 25);
        assert_int_equal(duckdb_backend_compact(w->backend, NULL), OK);
        check_random(w, 15);
        grow(w, 100);
        check_random(w, 15);
        check_cardinality(w, 1000);
        check_cardinality(w, 3);
        fixture_close(&fixture);
        fixture_open(&fixture);
        w->backend = fixture.backend;
        check_random(w, 15);
        check_cardinality(w, 1000);
        fixture_release(&fixture);
        world_free(w);
    }
}

static void test_fake(void **state)
{
    for (uint64_t seed = 1; seed <= 4; seed++) {
        struct world *w = world_new(seed);
        w->backend = fake_backend_new();
        grow(w, 60);
        check_random(w, 30);
        check_cardinality(w, 1000);
        check_cardinality(w, 3);
        w->backend->ops->close(w->backend);
        world_free(w);
    }
}

/* --- series taken out --- */

/* Takes a random part of the series out of the catalogue, which is all that readers go by. */
static void take_out(struct world *w, struct catalogue *c)
{
    uint32_t ids[SERIES_MAX];
    size_t n = 0;
    struct writer *writer = &store_of(w->backend)->writer;
    pthread_mutex_lock(&writer->lock);
    for (size_t i = 0; i < w->n; i++) {
        if (w->at[i].removed || random_below(&w->random, 3))
            continue;
        struct known_series *series = catalogue_find(c, w->at[i].labels, labels_hash(w->at[i].labels));
        assert_non_null(series);
        ids[n++] = series->id;
        w->at[i].removed = true;
    }
    ids[n++] = UINT32_MAX - 1; /* unknown */
    catalogue_remove(c, ids, n);
    pthread_mutex_unlock(&writer->lock);
}

static void test_series_taken_out(void **state)
{
    struct fixture *f = *state;
    struct world *w = world_new(7);
    w->backend = f->backend;
    struct catalogue *c = &store_of(f->backend)->writer.catalogue;
    for (unsigned round = 0; round < 5; round++) {
        grow(w, 45);
        unsigned entered = catalogue_enter(c);
        const struct label label = catalogue_label(c, catalogue_at(c, c->n - 1), 0);
        const struct label copy = {arena_str(&w->arena, label.name), arena_str(&w->arena, label.value)};
        take_out(w, c);
        check_random(w, 6);
        take_out(w, c);
        assert_true(str_eq(label.name, copy.name) && str_eq(label.value, copy.value));
        catalogue_leave(c, entered);
        check_random(w, 6);
        check_cardinality(w, 1000);
    }
    world_free(w);
}

/* What nobody looks at any more is freed: the catalogue does not grow with series that come and go. */
static void test_churn_is_freed(void **state)
{
    struct fixture *f = *state;
    struct catalogue *c = &store_of(f->backend)->writer.catalogue;
    uint64_t bytes_early = 0;
    for (int round = 0; round < 40; round++) {
        uint32_t ids[200];
        pthread_mutex_lock(&store_of(f->backend)->writer.lock);
        for (int i = 0; i < 200; i++) {
            char text[64];
            snprintf(text, sizeof text, "m;pod=pod-with-a-long-name-%d-%d", round, i);
            struct labels labels = labels_of(&f->arena, text);
            struct known_series *series = catalogue_add(c, labels, labels_hash(labels));
            assert_non_null(series);
            catalogue_publish_begin(c);
            catalogue_publish(c, series, round, round);
            catalogue_publish_end(c);
            ids[i] = series->id;
        }
        catalogue_remove(c, ids, 200);
        pthread_mutex_unlock(&store_of(f->backend)->writer.lock);
        if (round == 10)
            bytes_early = catalogue_bytes(c);
    }
    assert_true(catalogue_bytes(c) <= bytes_early + CATALOGUE_BLOCK * sizeof(struct known_series));
    assert_int_equal(c->listed_n, 0);
}

static size_t listed_in(struct fixture *f, int64_t min_ms, int64_t max_ms)
{
    struct series_query query = {.span = {min_ms, max_ms}};
    struct series_list *list = NULL;
    assert_int_equal(f->backend->ops->series(f->backend, &query, NULL, &list, NULL), OK);
    size_t n = list->n;
    series_list_free(list);
    return n;
}

static void delete_samples(struct fixture *f, const char *where)
{
    char sql[128];
    struct grid_result *result = NULL;
    snprintf(sql, sizeof sql, "DELETE FROM recent WHERE %s", where);
    struct fragment fragment = fragment_of(&f->arena, sql, grid_instant(0), false, false, "");
    assert_int_equal(f->backend->ops->run(f->backend, &fragment, &(struct run_limits){1}, NULL, &result, NULL),
                     E_INTERNAL); /* it is no grid */
}

/* A series may have lost its oldest samples, or some of its last: the tables are asked then. */
static void test_bounds_after_deletion(void **state)
{
    struct fixture *f = *state;
    struct catalogue *c = &store_of(f->backend)->writer.catalogue;
    APPEND(f, "up", {10, 1}, {50, 1}, {90, 1}, {120, 1});
    assert_int_equal(listed_in(f, 20, 40), 0);
    assert_int_equal(listed_in(f, 0, 40), 1);
    delete_samples(f, "ts < 30");
    catalogue_forget_before(c, 30, 30);
    assert_int_equal(listed_in(f, 0, 40), 0);
    assert_int_equal(listed_in(f, 0, 60), 1);
    delete_samples(f, "ts > 100");
    catalogue_loosen(c, 0);
    assert_int_equal(listed_in(f, 100, 150), 0);
    assert_int_equal(listed_in(f, 80, 150), 1);
    APPEND(f, "up", {140, 1});
    assert_int_equal(listed_in(f, 100, 150), 1);
    assert_int_equal(listed_in(f, 30, 49), 0);
}

/* --- readers beside a writer that adds series --- */

#define ROUNDS    60
#define PER_ROUND 40
#define READERS_N 3

struct traffic {
    struct backend *backend;
    _Atomic int acknowledged; /* rounds */
    _Atomic bool done;
};

static void *add_series(void *arg)
{
    struct traffic *traffic = arg;
    struct sample sample = {1000, 1};
    for (int round = 0; round < ROUNDS; round++) {
        struct arena arena;
        struct append_series series[PER_ROUND];
        arena_init(&arena, SIZE_MAX);
        for (int i = 0; i < PER_ROUND; i++) {
            char text[64];
            snprintf(text, sizeof text, "m;i=%d;r=round-%d;parity=%s", i, round, i % 2 ? "odd" : "even");
            series[i] = (struct append_series){labels_of(&arena, text), &sample, 1};
        }
        struct append_request request = {.series = series, .series_n = PER_ROUND};
        enum status status = traffic->backend->ops->append(traffic->backend, &request, 1, NULL);
        arena_release(&arena);
        if (status != OK || request.written != PER_ROUND)
            break;
        atomic_store(&traffic->acknowledged, round + 1);
    }
    atomic_store(&traffic->done, true);
    return NULL;
}

/* How many series: by a listing, or by a fragment. A negative number: it failed. */
static int count_listed(struct backend *backend, const struct expr_selector *selector)
{
    struct series_query query = {.selectors = selector, .selectors_n = 1, .span = {0, 2000}};
    struct series_list *list = NULL;
    if (backend->ops->series(backend, &query, NULL, &list, NULL) != OK)
        return -1;
    int n = (int)list->n;
    series_list_free(list);
    return n;
}

static int count_by_sql(struct backend *backend, const struct fragment *fragment)
{
    struct grid_result *result = NULL;
    if (backend->ops->run(backend, fragment, &(struct run_limits){1000000}, NULL, &result, NULL) != OK)
        return -1;
    int n = (int)result->series_n;
    bool well = true;
    for (size_t i = 0; i < result->series_n; i++)
        well &=
            result->series[i].labels.n == 4 && str_eq(labels_get(result->series[i].labels, STR("parity")), STR("odd"));
    grid_result_free(result);
    return well ? n : -1;
}

static void *count_series(void *arg)
{
    struct traffic *traffic = arg;
    struct arena arena;
    arena_init(&arena, SIZE_MAX);
    struct expr_selector selector = selector_of(&arena, "r=~round-.* parity=odd i!=none");
    struct fragment fragment = fragment_of(
        &arena,
        "SELECT metric_of(series) AS metric, labels_of(series) AS labels, prom_last(" STORED_RUN ", 1000, 1, 1, 1000, "
        "false) "
        "FROM runs() WHERE series IN (SELECT series FROM series_matching('{r=~\"round-.*\",parity!~\"ev.n\"}', 0, "
        "2000)) "
        "GROUP BY series",
        grid_instant(1000), true, true, "");
    bool right = true;
    while (right && !atomic_load(&traffic->done)) {
        for (int by_sql = 0; right && by_sql < 2; by_sql++) {
            int before = atomic_load(&traffic->acknowledged);
            int n = by_sql ? count_by_sql(traffic->backend, &fragment) : count_listed(traffic->backend, &selector);
            int after = atomic_load(&traffic->acknowledged) + 1;
            right = n % (PER_ROUND / 2) == 0 && n >= before * PER_ROUND / 2 && n <= after * PER_ROUND / 2;
        }
    }
    arena_release(&arena);
    return right ? traffic : NULL;
}

static void test_readers_beside_new_series(void **state)
{
    struct fixture *f = *state;
    struct traffic traffic = {.backend = f->backend};
    pthread_t writer, readers[READERS_N];
    pthread_create(&writer, NULL, add_series, &traffic);
    for (int i = 0; i < READERS_N; i++)
        pthread_create(&readers[i], NULL, count_series, &traffic);
    pthread_join(writer, NULL);
    assert_int_equal(traffic.acknowledged, ROUNDS);
    for (int i = 0; i < READERS_N; i++) {
        void *right;
        pthread_join(readers[i], &right);
        assert_non_null(right);
    }
}

static int setup(void **state)
{
    static struct fixture fixture;
    fixture_init(&fixture);
    *state = &fixture;
    return 0;
}

static int teardown(void **state)
{
    fixture_release(*state);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_embedded),
        cmocka_unit_test(test_fake),
        cmocka_unit_test_setup_teardown(test_series_taken_out, setup, teardown),
        cmocka_unit_test_setup_teardown(test_churn_is_freed, setup, teardown),
        cmocka_unit_test_setup_teardown(test_bounds_after_deletion, setup, teardown),
        cmocka_unit_test_setup_teardown(test_readers_beside_new_series, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
