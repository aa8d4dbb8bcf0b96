/* Label sets, the table of functions, walking and comparing trees. */
#include "promql_fixture.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#include "base/assert.h"

#define LABEL(name, value)                                                                                             \
    {                                                                                                                  \
        STR_STATIC(name), STR_STATIC(value)                                                                            \
    }

/* -- labels ----------------------------------------------------------------------------------------------------- */

static void test_labels_get(void **state)
{
    static const struct label AT[] = {LABEL("a", "1"), LABEL("ab", "2"), LABEL("b", "3"), LABEL("c", "4")};
    struct labels labels = {AT, 4};
    assert_true(str_eq(labels_get(labels, STR("a")), STR("1")));
    assert_true(str_eq(labels_get(labels, STR("ab")), STR("2")));
    assert_true(str_eq(labels_get(labels, STR("c")), STR("4")));
    assert_int_equal(labels_get(labels, STR("aa")).len, 0);
    assert_int_equal(labels_get(labels, STR("")).len, 0);
    assert_int_equal(labels_get(labels, STR("d")).len, 0);
    assert_int_equal(labels_get((struct labels){NULL, 0}, STR("a")).len, 0);
}

/* The sets below stand in rising order. */
static void test_labels_order(void **state)
{
    static const struct label SETS[][2] = {
        {LABEL("", "")}, /* no label of it counts */
        {LABEL("a", "1")},
        {LABEL("a", "1"), LABEL("b", "1")},
        {LABEL("a", "1"), LABEL("b", "2")},
        {LABEL("a", "1"), LABEL("c", "0")},
        {LABEL("a", "11")},
        {LABEL("a", "2")},
        {LABEL("aa", "0")},
        {LABEL("b", "")},
    };
    static const size_t SIZES[] = {0, 1, 2, 2, 2, 1, 1, 1, 1};
    for (size_t i = 0; i < ARRAY_LENGTH(SETS); i++) {
        for (size_t j = 0; j < ARRAY_LENGTH(SETS); j++) {
            struct labels a = {SETS[i], SIZES[i]}, b = {SETS[j], SIZES[j]};
            int order = labels_cmp(a, b);
            assert_int_equal((order > 0) - (order < 0), (i > j) - (i < j));
            assert_int_equal(labels_eq(a, b), i == j);
            assert_int_equal(labels_hash(a) == labels_hash(b), i == j);
        }
    }
}

/* Where one text ends and the next begins counts. */
static void test_labels_hash(void **state)
{
    static const struct label A[] = {LABEL("ab", "c")}, B[] = {LABEL("a", "bc")};
    static const struct label LONG_A[] = {LABEL("name", "12345678")}, LONG_B[] = {LABEL("name", "123456780")};
    assert_int_not_equal(labels_hash((struct labels){A, 1}), labels_hash((struct labels){B, 1}));
    assert_int_not_equal(labels_hash((struct labels){LONG_A, 1}), labels_hash((struct labels){LONG_B, 1}));
    char name[] = "ab", value[] = "c";
    struct label copy = {{name, 2}, {value, 1}};
    assert_int_equal(labels_hash((struct labels){A, 1}), labels_hash((struct labels){&copy, 1}));
}

static void test_labels_normalize(void **state)
{
    struct label at[] = {LABEL("c", "3"), LABEL("a", ""), LABEL("b", "2"), LABEL("", "x")};
    size_t n = 4;
    struct str twice;
    assert_true(labels_normalize(at, &n, &twice));
    assert_int_equal(n, 3);
    assert_true(str_eq(at[0].name, STR("")) && str_eq(at[1].name, STR("b")) && str_eq(at[2].name, STR("c")));

    struct label repeated[] = {LABEL("b", "2"), LABEL("a", "1"), LABEL("b", "")};
    n = 3;
    assert_false(labels_normalize(repeated, &n, &twice));
    assert_true(str_eq(twice, STR("b")));
    n = 0;
    assert_true(labels_normalize(NULL, &n, &twice));
}

static void test_labels_copy(void **state)
{
    static const struct label AT[] = {LABEL("a", "1"), LABEL("b", "2")};
    for (int64_t fail_after = 0; fail_after < 6; fail_after++) {
        struct arena arena;
        arena_init(&arena, 4096);
        arena.fail_after = fail_after;
        struct labels copy = labels_copy(&arena, (struct labels){AT, 2});
        if (fail_after < 5) {
            assert_null(copy.at);
            assert_int_equal(copy.n, 0);
        } else {
            assert_true(labels_eq(copy, (struct labels){AT, 2}));
            assert_ptr_not_equal(copy.at[0].name.ptr, AT[0].name.ptr);
        }
        arena_release(&arena);
    }
}

static void test_plain_names(void **state)
{
    static const struct {
        const char *name;
        bool label, metric;
    } CASES[] = {
        {"a", true, true},     {"_a1", true, true},        {"A_b", true, true}, {"a:b", false, true},
        {":a", false, true},   {"1a", false, false},       {"", false, false},  {"a.b", false, false},
        {"a b", false, false}, {"\xc3\xa9", false, false},
    };
    for (size_t i = 0; i < ARRAY_LENGTH(CASES); i++) {
        assert_int_equal(label_name_is_plain(str_from(CASES[i].name)), CASES[i].label);
        assert_int_equal(metric_name_is_plain(str_from(CASES[i].name)), CASES[i].metric);
    }
}

/* -- functions -------------------------------------------------------------------------------------------------- */

/* The search by halves needs the rows in order. */
static void test_functions_order(void **state)
{
    for (int id = 0; id < FN_MAX; id++) {
        const struct function *function = function_get((enum function_id)id);
        assert_int_equal(function->id, id);
        assert_ptr_equal(function_find(function->name), function);
        if (id > 0)
            assert_true(str_cmp(function_get((enum function_id)(id - 1))->name, function->name) < 0);
        assert_true(function->args_n < FUNCTION_ARGS_MAX);
        for (size_t i = 0; i < FUNCTION_ARGS_MAX; i++)
            assert_int_equal(function->args[i] == VALUE_NONE, i >= function->args_n);
    }
    assert_null(function_find(STR("nosuch")));
    assert_null(function_find(STR("")));
    assert_null(function_find(STR("Rate")));
    assert_null(function_find(STR("rat")));
}

static void test_functions_rows(void **state)
{
    const struct function *round = function_find(STR("round"));
    assert_int_equal(round->id, FN_ROUND);
    assert_int_equal(round->args_n, 2);
    assert_int_equal(round->variadic, 1);
    assert_false(round->keeps_name || round->at_unsafe || round->experimental);
    assert_int_equal(function_find(STR("pi"))->args_n, 0);
    assert_int_equal(function_find(STR("pi"))->result, VALUE_SCALAR);
    assert_int_equal(function_find(STR("label_join"))->variadic, -1);
    assert_true(function_find(STR("last_over_time"))->keeps_name);
    assert_true(function_find(STR("timestamp"))->at_unsafe);
    assert_true(function_find(STR("info"))->experimental);
    assert_int_equal(function_find(STR("quantile_over_time"))->args[1], VALUE_MATRIX);
}

/* -- trees ------------------------------------------------------------------------------------------------------ */

struct visit {
    char kinds[64];
    size_t n;
    enum expr_kind skip; /* children of this kind are left out */
};

static bool note_kind(const struct expr *expr, void *arg)
{
    static const char LETTERS[] = "nsvmqacbup";
    struct visit *visit = arg;
    visit->kinds[visit->n++] = LETTERS[expr->kind];
    return expr->kind != visit->skip;
}

static void test_walk(void **state)
{
    struct arena arena;
    arena_init(&arena, 1 << 20);
    const struct expr *root =
        parse_ok(&arena, "-(a) + topk(2, sum_over_time(rate(b[5m])[1h:])) or label_join(c, \"d\", \"e\")");
    struct visit visit = {.skip = EXPR_KIND_MAX};
    expr_walk(root, note_kind, &visit);
    assert_string_equal(visit.kinds, "bbupvancqcmvcvss");
    visit = (struct visit){.skip = EXPR_CALL};
    expr_walk(root, note_kind, &visit);
    assert_string_equal(visit.kinds, "bbupvancc");
    assert_int_equal(expr_unparen(parse_ok(&arena, "(((a)))"))->kind, EXPR_SELECTOR);
    arena_release(&arena);
}

/* Texts of one group are the same tree, texts of different groups are not. */
static void test_equality(void **state)
{
    static const char *const GROUPS[][3] = {
        {"a", " a ", "a{}"},
        {"a{b=\"1\",c=\"2\"}", "a{c=\"2\",b=\"1\"}", "a{'c'='2',b='1'}"},
        {"a{b=\"1\",c=\"2\",c=\"2\"}", "a{c=\"2\",b=\"1\",c=\"2\"}", NULL},
        {"a{b=\"1\",b=\"1\",c=\"2\"}", NULL},
        {"{__name__=\"a\"}", "{\"a\"}", NULL},
        {"a{b!=\"1\",c=\"2\"}", NULL},
        {"a offset 5m", "a offset 300", NULL},
        {"a offset (5m)", NULL},
        {"a offset (300)", NULL},
        {"a @ 5", "a @ 5.0001", NULL},
        {"a @ start()", NULL},
        {"a @ 5 offset 5m", "a offset 5m @ 5", NULL},
        {"a[5m]", "a[300]", NULL},
        {"a[5m:]", NULL},
        {"a[5m:1m]", "a[5m:60]", NULL},
        {"a[5m * 2]", "a[5m*2]", NULL},
        {"a[2 * 5m]", NULL},
        {"a[(5m * 2)]", NULL},
        {"300", "3e2", "0x12c"},
        {"5m", "300s", NULL},
        {"0", "00", NULL},
        {"-0", NULL},
        {"NaN", "nan", "-NaN"},
        {"\"a\"", "'a'", "`a`"},
        {"sum(a)", "SUM by () (a)", "sum(a) by ()"},
        {"sum without () (a)", NULL},
        {"sum by (b, c) (a)", "sum(a) by (\"b\", c)", NULL},
        {"sum by (c, b) (a)", NULL},
        {"avg(a)", NULL},
        {"topk(1, a)", NULL},
        {"topk(2, a)", NULL},
        {"a + b", "a + ignoring () b", "a+b"},
        {"b + a", NULL},
        {"a - b", NULL},
        {"a + on () b", NULL},
        {"a + on (c) b", NULL},
        {"a + ignoring (c) b", NULL},
        {"a + on (c) group_left () b", "a + on (c) group_left b", NULL},
        {"a + on (c) group_right () b", NULL},
        {"a + on (c) group_left (d) b", NULL},
        {"a + fill (1) b", "a + fill_left (1) fill_right (1) b", NULL},
        {"a + fill_left (1) b", NULL},
        {"a == b", NULL},
        {"a == bool b", NULL},
        {"-a", NULL},
        {"+a", NULL},
        {"(a)", NULL},
        {"a[5m] anchored", NULL},
        {"a[5m] smoothed", NULL},
        {"abs(a)", NULL},
        {"ceil(a)", NULL},
        {"round(a)", NULL},
        {"round(a, 1)", NULL},
        {"a[step()]", NULL},
        {"a[range()]", NULL},
        {"a[-step()]", NULL},
        {"a[min_of(1m, 2m)]", "a[min(1m, 2m)]", NULL},
    };
    struct arena arena;
    arena_init(&arena, 16 << 20);
    for (size_t i = 0; i < ARRAY_LENGTH(GROUPS); i++) {
        for (size_t j = 0; j < 3 && GROUPS[i][j]; j++) {
            const struct expr *one = parse_ok(&arena, GROUPS[i][j]);
            for (size_t k = 0; k < ARRAY_LENGTH(GROUPS); k++)
                if (expr_eq(one, parse_ok(&arena, GROUPS[k][0])) != (i == k))
                    fail_msg("%s and %s", GROUPS[i][j], GROUPS[k][0]);
        }
    }
    arena_release(&arena);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_labels_get),
        cmocka_unit_test(test_labels_order),
        cmocka_unit_test(test_labels_hash),
        cmocka_unit_test(test_labels_normalize),
        cmocka_unit_test(test_labels_copy),
        cmocka_unit_test(test_plain_names),
        cmocka_unit_test(test_functions_order),
        cmocka_unit_test(test_functions_rows),
        cmocka_unit_test(test_walk),
        cmocka_unit_test(test_equality),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
