/* tests/unit/backend/test_exemplar_ring.c: which exemplars are taken, which make way, and who sees them. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "backend/exemplar_ring.h"
#include "base/assert.h"
#include "tests/unit/backend/fixture.h"

static struct arena arena;

static int setup(void **state)
{
    arena_init(&arena, SIZE_MAX);
    return 0;
}

static int teardown(void **state)
{
    arena_release(&arena);
    return 0;
}

static struct exemplar_ring *new_ring(size_t max)
{
    struct exemplar_ring *ring;
    assert_int_equal(exemplar_ring_new(max, &ring, NULL), OK);
    return ring;
}

static enum exemplar_fate stage(struct exemplar_ring *ring, const char *series, const char *labels, double value,
                                int64_t time_ms)
{
    struct exemplar is = {labels_of(&arena, labels), value, time_ms};
    enum exemplar_fate fate;
    assert_int_equal(exemplar_ring_stage(ring, labels_of(&arena, series), &is, &fate, NULL), OK);
    return fate;
}

static enum exemplar_fate put(struct exemplar_ring *ring, const char *series, const char *labels, double value,
                              int64_t time_ms)
{
    enum exemplar_fate fate = stage(ring, series, labels, value, time_ms);
    exemplar_ring_keep(ring);
    return fate;
}

/* A pattern matches texts that begin with it; "(" is wrong. */
static enum status match_all(void *arg, struct str pattern, const struct str *texts, size_t n, bool *ret_matches,
                             struct error *reterr)
{
    if (str_eq(pattern, STR("(")))
        return error_set(reterr, E_BAD_DATA, "wrong");
    for (size_t i = 0; i < n; i++)
        ret_matches[i] = str_starts_with(texts[i], pattern);
    return OK;
}

static const struct pattern_engine PATTERNS = {match_all, NULL};

static const char *text(struct exemplar_ring *ring, const char *selectors, struct time_span span)
{
    struct expr_selector at[4];
    struct series_query query = {.selectors = at, .span = span};
    for (const char *rest = selectors; *rest; query.selectors_n++) {
        size_t n = strcspn(rest, "|");
        at[query.selectors_n] = selector_of(&arena, arena_str(&arena, (struct str){rest, n}).ptr);
        rest += n + (rest[n] == '|');
    }
    struct exemplar_list *list;
    assert_int_equal(exemplar_ring_query(ring, &query, &PATTERNS, &list, NULL), OK);
    const char *out = exemplars_text(&arena, list);
    exemplar_list_free(list);
    return out;
}

#define ALL "__name__!=none"

static void the_rules(void **state)
{
    struct exemplar_ring *ring = new_ring(10);
    static const struct {
        const char *labels;
        double value;
        int64_t time_ms;
        enum exemplar_fate fate;
    } CASES[] = {
        {"trace=b", 1, 1000, EXEMPLAR_WRITTEN},
        {"trace=b", 1, 1000, EXEMPLAR_DUPLICATE},
        {"trace=b", 1, 999, EXEMPLAR_OUT_OF_ORDER},
        {"trace=c", 0.5, 1000, EXEMPLAR_OUT_OF_ORDER}, /* of one time, values ascend */
        {"trace=a", 1, 1000, EXEMPLAR_OUT_OF_ORDER},   /* of one value, labels do */
        {"trace=c", 1, 1000, EXEMPLAR_WRITTEN},
        {"trace=a", 2, 1000, EXEMPLAR_WRITTEN},
        {"trace=b", 1, 1000, EXEMPLAR_DUPLICATE}, /* a request again: not the newest any more */
        {"trace=b", 1, 1001, EXEMPLAR_WRITTEN},
        {"trace=b", 1, 1000, EXEMPLAR_DUPLICATE},
        {"trace=d", 1, 1000, EXEMPLAR_OUT_OF_ORDER},
        {"", NAN, 1001, EXEMPLAR_WRITTEN}, /* a NaN is equal to nothing and before nothing */
        {"", NAN, 1001, EXEMPLAR_WRITTEN},
    };
    for (size_t i = 0; i < ARRAY_LENGTH(CASES); i++)
        if (put(ring, "up", CASES[i].labels, CASES[i].value, CASES[i].time_ms) != CASES[i].fate)
            fail_msg("case %zu", i);
    assert_int_equal(put(ring, "other", "trace=b", 1, 1), EXEMPLAR_WRITTEN); /* series do not know of each other */
    assert_int_equal(exemplar_ring_n(ring), 7);
    exemplar_ring_free(ring);
}

/* 128 characters, however many bytes. */
static void the_length_of_labels(void **state)
{
    struct exemplar_ring *ring = new_ring(10);
    char labels[600] = "k=";
    for (size_t i = 0; i < 127; i++)
        strcat(labels, "\xe2\x82\xac");
    assert_int_equal(put(ring, "up", labels, 1, 1), EXEMPLAR_WRITTEN);
    strcat(labels, "x");
    assert_int_equal(put(ring, "up", labels, 1, 2), EXEMPLAR_TOO_LONG);
    assert_int_equal(exemplar_ring_n(ring), 1);
    exemplar_ring_free(ring);
}

static void the_oldest_to_come_make_way(void **state)
{
    struct exemplar_ring *ring = new_ring(3);
    put(ring, "up;job=a", "", 1, 5000); /* the first to come, if the latest in time */
    put(ring, "up;job=b", "", 2, 1000);
    put(ring, "up;job=b", "", 3, 2000);
    assert_string_equal(text(ring, ALL, EVER), "up;job=a: 1@5000{}\nup;job=b: 2@1000{} 3@2000{}\n");
    put(ring, "up;job=b", "", 4, 3000);
    assert_string_equal(text(ring, ALL, EVER), "up;job=b: 2@1000{} 3@2000{} 4@3000{}\n");
    assert_int_equal(put(ring, "up;job=a", "", 1, 1), EXEMPLAR_WRITTEN); /* its order is forgotten with it */
    assert_string_equal(text(ring, ALL, EVER), "up;job=a: 1@1{}\nup;job=b: 3@2000{} 4@3000{}\n");
    assert_int_equal(exemplar_ring_n(ring), 3);
    exemplar_ring_free(ring);
}

/* More at once than there is room for. */
static void many_in_one_step(void **state)
{
    struct exemplar_ring *ring = new_ring(3);
    put(ring, "up;job=a", "", 1, 1);
    for (int i = 0; i < 100; i++)
        assert_int_equal(stage(ring, i % 2 ? "up;job=a" : "up;job=b", "", i, 100 + i), EXEMPLAR_WRITTEN);
    assert_string_equal(text(ring, ALL, EVER), "up;job=a: 1@1{}\n");
    assert_int_equal(exemplar_ring_staged_n(ring), 100);
    assert_int_equal(exemplar_ring_staged(ring, 99).number, 100);
    exemplar_ring_keep(ring);
    assert_string_equal(text(ring, ALL, EVER), "up;job=a: 97@197{} 99@199{}\nup;job=b: 98@198{}\n");
    assert_int_equal(exemplar_ring_n(ring), 3);
    assert_int_equal(exemplar_ring_next(ring), 101);
    exemplar_ring_free(ring);
}

static void what_is_discarded_never_was(void **state)
{
    struct exemplar_ring *ring = new_ring(3);
    put(ring, "up;job=a", "", 1, 1000);
    stage(ring, "up;job=a", "", 2, 2000);
    stage(ring, "up;job=b", "", 2, 2000);
    assert_int_equal(stage(ring, "up;job=a", "", 3, 1500), EXEMPLAR_OUT_OF_ORDER);
    exemplar_ring_discard(ring);
    assert_string_equal(text(ring, ALL, EVER), "up;job=a: 1@1000{}\n");
    assert_int_equal(exemplar_ring_next(ring), 1);
    assert_int_equal(put(ring, "up;job=a", "", 3, 1500), EXEMPLAR_WRITTEN);
    assert_string_equal(text(ring, ALL, EVER), "up;job=a: 1@1000{} 3@1500{}\n");
    exemplar_ring_free(ring);
}

static void none_are_kept(void **state)
{
    struct exemplar_ring *ring = new_ring(0);
    assert_int_equal(put(ring, "up", "", 1, 1), EXEMPLAR_NOT_KEPT);
    assert_string_equal(text(ring, ALL, EVER), "");
    exemplar_ring_free(ring);
}

static void queries(void **state)
{
    struct exemplar_ring *ring = new_ring(10);
    put(ring, "up;job=web", "trace=1", 1, 1000);
    put(ring, "up;job=web", "", 2, 2000);
    put(ring, "up;job=db", "", 3, 2000);
    put(ring, "down;job=web", "", 4, 3000);
    put(ring, "up", "", 5, 4000);
    static const struct {
        const char *selectors;
        struct time_span span;
        const char *want;
    } CASES[] = {
        {"__name__=up",
         {INT64_MIN, INT64_MAX},
         "up: 5@4000{}\nup;job=db: 3@2000{}\nup;job=web: 1@1000{trace=1} 2@2000{}\n"},
        {"__name__=up job=", {INT64_MIN, INT64_MAX}, "up: 5@4000{}\n"},
        {"__name__=up job!=web", {INT64_MIN, INT64_MAX}, "up: 5@4000{}\nup;job=db: 3@2000{}\n"},
        {"__name__=up job=~we", {INT64_MIN, INT64_MAX}, "up;job=web: 1@1000{trace=1} 2@2000{}\n"},
        {"__name__=up job!~we", {2001, INT64_MAX}, "up: 5@4000{}\n"},
        {"__name__=up job=~we|job=db|job=db",
         {INT64_MIN, INT64_MAX},
         "up;job=db: 3@2000{}\nup;job=web: 1@1000{trace=1} 2@2000{}\n"},
        {ALL, {1000, 1999}, "up;job=web: 1@1000{trace=1}\n"},
        {ALL, {2000, 3000}, "down;job=web: 4@3000{}\nup;job=db: 3@2000{}\nup;job=web: 2@2000{}\n"},
        {ALL, {5000, 6000}, ""},
        {"__name__=none", {INT64_MIN, INT64_MAX}, ""},
    };
    for (size_t i = 0; i < ARRAY_LENGTH(CASES); i++)
        assert_string_equal(text(ring, CASES[i].selectors, CASES[i].span), CASES[i].want);
    struct expr_selector wrong = selector_of(&arena, "job=~(");
    struct series_query query = {.selectors = &wrong, .selectors_n = 1, .span = EVER};
    struct exemplar_list *list = NULL;
    struct error error;
    assert_int_equal(exemplar_ring_query(ring, &query, &PATTERNS, &list, &error), E_BAD_DATA);
    assert_null(list);
    exemplar_ring_free(ring);
}

int main(void)
{
#define TEST(test) cmocka_unit_test_setup_teardown(test, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(the_rules),        TEST(the_length_of_labels),        TEST(the_oldest_to_come_make_way),
        TEST(many_in_one_step), TEST(what_is_discarded_never_was), TEST(none_are_kept),
        TEST(queries),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
