/* Every allocation of a parse fails once: the answer is E_NOMEM, the tree is never half there, the next parse works. */
#include "promql_fixture.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static void fail_each_allocation(const char *text)
{
    for (int64_t n = 0;; n++) {
        struct arena arena;
        struct expr *root = NULL;
        struct error error = {0};
        arena_init(&arena, 1u << 20);
        arena.fail_after = n;
        enum status status = parse_any(&arena, str_from(text), &root, &error);
        bool exhausted = arena.exhausted;
        if (status == OK && exhausted)
            fail_msg("%s: taken although allocation %lld failed", text, (long long)n);
        if (exhausted) {
            assert_int_equal(status, E_NOMEM);
            assert_int_equal(error.status, E_NOMEM);
            assert_non_null(strstr(error.message, "no memory for the query's tree"));
            assert_null(root);
        }
        arena_release(&arena);
        if (!exhausted) {
            assert_int_equal(status, OK);
            return;
        }
    }
}

static void test_each_allocation(void **state)
{
    static const char *const QUERIES[] = {
        "1",
        "\"a\\nb\"",
        "up{a=\"1\",b=~\"2\",c!=\"3\",d!~\"4\",e=\"5\",\"f g\"=\"\\x41\"} offset 5m @ 100",
        "sum by (a, b, c, d, e, \"f\\u0041\") (rate(x{y=\"z\"}[5m] offset (1m + 2 * step())))",
        "label_join(a, \"b\", \",\", \"c\", \"d\", \"e\", \"f\") + on (x) group_left (y) fill (0) -b ^ 2",
        "topk(5, (a > bool 1) unless ignoring (x, y, z, u, v) {\"m\"})",
        "rate(a[max_of(1m, (2m)) - -range() % 7])[1h:5m] offset -(5m)",
    };
    for (size_t i = 0; i < sizeof QUERIES / sizeof *QUERIES; i++)
        fail_each_allocation(QUERIES[i]);
}

static void test_case_file(void **state)
{
    struct promql_cases cases = promql_cases_read("valid.case");
    for (size_t i = 0; i < cases.n; i++)
        fail_each_allocation(cases.at[i].input);
    promql_cases_free(&cases);
}

static void test_small_arena(void **state)
{
    struct arena arena;
    struct expr *root;
    struct error error;
    arena_init(&arena, 256);
    assert_int_equal(parse_any(&arena, STR("sum(rate(a[5m])) / sum(rate(b[5m]))"), &root, &error), E_NOMEM);
    assert_non_null(strstr(error.message, "of the allowed 256"));
    arena_reset(&arena);
    assert_int_equal(parse_any(&arena, STR("1"), &root, &error), OK);
    arena_release(&arena);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_each_allocation),
        cmocka_unit_test(test_case_file),
        cmocka_unit_test(test_small_arena),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
