/* Parsing: what is taken, what is refused and with which words, positions, limits. */
#include "promql_fixture.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static struct arena arena;

static int setup(void **state)
{
    arena_init(&arena, 64u << 20);
    return 0;
}

static int teardown(void **state)
{
    arena_release(&arena);
    return 0;
}

/* -- the case files --------------------------------------------------------------------------------------------- */

struct shape {
    const struct expr *parent;
    size_t text_bytes;
    const char *input;
};

/* Every node lies inside the text and is shallower than the limit. */
static bool check_shape(const struct expr *expr, void *arg)
{
    const struct shape *shape = arg;
    if (expr->range.begin >= expr->range.end || expr->range.end > shape->text_bytes)
        fail_msg("%s: a node has the range [%u, %u)", shape->input, expr->range.begin, expr->range.end);
    assert_in_range(expr->depth, 1, PARSE_LIMITS_DEFAULT.depth_max);
    assert_int_not_equal(expr->type, VALUE_NONE);
    return true;
}

/* The canonical text is the one expected, and reading it back gives the same tree. */
static void test_valid(void **state)
{
    struct promql_cases cases = promql_cases_read("valid.case");
    assert_true(cases.n >= 300);
    for (size_t i = 0; i < cases.n; i++) {
        const struct promql_case *c = &cases.at[i];
        struct expr *root = parse_ok(&arena, c->input);
        char *text = printed(root, NULL);
        if (strcmp(text, c->answer) != 0)
            fail_msg("valid.case:%u: %s\n  printed: %s\n expected: %s", c->line, c->input, text, c->answer);
        struct expr *again = parse_ok(&arena, text);
        if (!expr_eq(root, again) || !expr_eq(again, root))
            fail_msg("valid.case:%u: %s reads back as another tree", c->line, text);
        struct shape shape = {NULL, strlen(c->input), c->input};
        expr_walk(root, check_shape, &shape);
        free(text);
    }
    promql_cases_free(&cases);
}

/* "line:column" of the message and the byte range agree. */
static void check_position(const struct promql_case *c, const struct error *error)
{
    if (strncmp(error->message, "unknown position", 16) == 0)
        return;
    unsigned line, column;
    assert_int_equal(sscanf(error->message, "%u:%u: parse error: ", &line, &column), 2);
    const char *start = c->input;
    for (unsigned i = 1; i < line; i++)
        start = strchr(start, '\n') + 1;
    if (error->begin != (uint32_t)(start - c->input) + column - 1 || error->end < error->begin ||
        error->end > strlen(c->input))
        fail_msg("invalid.case:%u: %s\n has the range [%u, %u)", c->line, error->message, error->begin, error->end);
}

static void test_invalid(void **state)
{
    struct promql_cases cases = promql_cases_read("invalid.case");
    assert_true(cases.n >= 280);
    for (size_t i = 0; i < cases.n; i++) {
        const struct promql_case *c = &cases.at[i];
        struct expr *root = NULL;
        struct error error = {0};
        assert_non_null(c->message);
        if (parse_any(&arena, str_from(c->input), &root, &error) == OK)
            fail_msg("invalid.case:%u: %s is taken", c->line, c->input);
        if (strcmp(error.message, c->message) != 0)
            fail_msg("invalid.case:%u: %s\n      got: %s\n expected: %s", c->line, c->input, error.message, c->message);
        assert_int_equal(error.status, E_BAD_DATA);
        check_position(c, &error);
        assert_int_equal(parse_any(&arena, str_from(c->input), &root, NULL), E_BAD_DATA);
    }
    promql_cases_free(&cases);
}

/* -- bytes no case file can hold -------------------------------------------------------------------------------- */

static void test_odd_bytes(void **state)
{
    static const struct {
        struct str text;
        const char *message;
    } CASES[] = {
        {STR_STATIC("up\0"), "1:3: parse error: unexpected character: '\\x00'"},
        {STR_STATIC("\0"), "1:1: parse error: unexpected character: '\\x00'"},
        {STR_STATIC("up{\0}"), "1:4: parse error: unexpected character inside braces: '\\x00'"},
        {STR_STATIC("up[\0]"), "1:4: parse error: unexpected character in duration expression: '\\x00'"},
        {STR_STATIC("\xff"), "1:1: parse error: unexpected character: '\xef\xbf\xbd'"},
        {STR_STATIC("\"a\xff\""), "1:1: parse error: invalid UTF-8 rune"},
        {STR_STATIC("\"a\xef\xbf\xbd\""), "1:1: parse error: invalid UTF-8 rune"},
        {STR_STATIC("`a\xc3`"), "1:1: parse error: invalid UTF-8 rune"},
        {STR_STATIC("\"\xed\xa0\x80\""), "1:1: parse error: invalid UTF-8 rune"},
        {STR_STATIC("sum by (\"\\xff\") (a)"), "1:9: parse error: invalid label name for grouping: \"\\xff\""},
        {STR_STATIC("\xc2\xa0up"), "1:1: parse error: unexpected character: '\\u00a0'"},
        {STR_STATIC("a\r\n+\r\n]"), "3:1: parse error: unexpected right bracket ']'"},
    };
    for (size_t i = 0; i < sizeof CASES / sizeof *CASES; i++) {
        struct expr *root;
        struct error error;
        assert_int_equal(parse_any(&arena, CASES[i].text, &root, &error), E_BAD_DATA);
        assert_string_equal(error.message, CASES[i].message);
    }
}

/* A NUL inside a string is a character like any other. */
static void test_nul_in_string(void **state)
{
    struct expr *root = NULL;
    assert_int_equal(parse_any(&arena, STR("\"a\0b\""), &root, NULL), OK);
    assert_true(str_eq(root->u.string, STR("a\0b")));
}

/* -- trees ------------------------------------------------------------------------------------------------------ */

static void test_tree_of_operators(void **state)
{
    const struct expr *root = parse_ok(&arena, "a + b * c ^ d ^ e");
    assert_int_equal(root->u.binary.op, OP_ADD);
    const struct expr *product = root->u.binary.right;
    assert_int_equal(product->u.binary.op, OP_MUL);
    const struct expr *power = product->u.binary.right;
    assert_int_equal(power->u.binary.op, OP_POW);
    assert_int_equal(power->u.binary.left->kind, EXPR_SELECTOR);
    assert_int_equal(power->u.binary.right->u.binary.op, OP_POW);
    assert_int_equal(root->depth, 5);

    root = parse_ok(&arena, "a - b - c");
    assert_int_equal(root->u.binary.left->kind, EXPR_BINARY);
    root = parse_ok(&arena, "-a ^ 2");
    assert_int_equal(root->kind, EXPR_UNARY);
    assert_int_equal(root->u.unary.operand->u.binary.op, OP_POW);
}

static void test_tree_of_selector(void **state)
{
    const struct expr *root = parse_ok(&arena, "up{a=\"1\",b!~\"2\"} @ 1.5 offset -1m");
    const struct expr_selector *selector = &root->u.selector;
    assert_int_equal(root->kind, EXPR_SELECTOR);
    assert_int_equal(root->type, VALUE_VECTOR);
    assert_true(str_eq(selector->metric, STR("up")));
    assert_int_equal(selector->matchers_n, 3);
    assert_true(str_eq(selector->matchers[0].name, LABEL_METRIC_NAME));
    assert_true(str_eq(selector->matchers[0].value, STR("up")));
    assert_int_equal(selector->matchers[2].op, MATCH_NOT_REGEX);
    assert_int_equal(selector->at, AT_TIME);
    assert_int_equal(selector->at_ms, 1500);
    assert_true(selector->offset.present);
    assert_int_equal(selector->offset.ms, -60000);
    assert_int_equal(root->range.end, strlen("up{a=\"1\",b!~\"2\"} @ 1.5 offset -1m"));

    root = parse_ok(&arena, "{\"a b\"}");
    assert_int_equal(root->u.selector.metric.len, 0);
    assert_true(str_eq(root->u.selector.matchers[0].value, STR("a b")));
}

static void test_tree_of_matrix_and_subquery(void **state)
{
    const struct expr *root = parse_ok(&arena, "up[5m] offset 1h @ end()");
    assert_int_equal(root->kind, EXPR_MATRIX);
    assert_int_equal(root->u.matrix.range.ms, 300000);
    assert_int_equal(root->u.matrix.selector->u.selector.offset.ms, 3600000);
    assert_int_equal(root->u.matrix.selector->u.selector.at, AT_END);

    root = parse_ok(&arena, "(up)[1h:0.5] @ 1e9");
    assert_int_equal(root->kind, EXPR_SUBQUERY);
    assert_int_equal(root->u.subquery.range.ms, 3600000);
    assert_int_equal(root->u.subquery.step.ms, 500);
    assert_int_equal(root->u.subquery.at_ms, INT64_C(1000000000000));
    root = parse_ok(&arena, "up[1h:]");
    assert_false(root->u.subquery.step.present);
}

static void test_tree_of_matching(void **state)
{
    const struct expr_binary *binary = &parse_ok(&arena, "a / on (x, y) group_left (z) b")->u.binary;
    assert_true(binary->on && binary->matching_written);
    assert_int_equal(binary->matching.n, 2);
    assert_int_equal(binary->cardinality, CARD_MANY_TO_ONE);
    assert_true(str_eq(binary->include.at[0], STR("z")));
    assert_int_equal(parse_ok(&arena, "a and b")->u.binary.cardinality, CARD_MANY_TO_MANY);
    assert_false(parse_ok(&arena, "a + ignoring () b")->u.binary.matching_written);

    /* Between a scalar and a vector nothing is matched, so nothing of it is kept. */
    binary = &parse_ok(&arena, "1 + on () group_left (z) a")->u.binary;
    assert_false(binary->on || binary->matching_written);
    assert_int_equal(binary->include.n, 0);
    assert_int_equal(binary->cardinality, CARD_ONE_TO_ONE);
}

static void test_types(void **state)
{
    static const struct {
        const char *text;
        enum value_type type;
    } CASES[] = {
        {"1", VALUE_SCALAR},          {"\"a\"", VALUE_STRING},       {"a", VALUE_VECTOR},
        {"a[5m]", VALUE_MATRIX},      {"a[1h:]", VALUE_MATRIX},      {"1 + 1", VALUE_SCALAR},
        {"1 + a", VALUE_VECTOR},      {"(1)", VALUE_SCALAR},         {"-(a)", VALUE_VECTOR},
        {"time()", VALUE_SCALAR},     {"rate(a[5m])", VALUE_VECTOR}, {"sum(a)", VALUE_VECTOR},
        {"1 > bool 2", VALUE_SCALAR}, {"(a[5m])", VALUE_MATRIX},
    };
    for (size_t i = 0; i < sizeof CASES / sizeof *CASES; i++)
        assert_int_equal(parse_ok(&arena, CASES[i].text)->type, CASES[i].type);
}

/* -- selectors of match[] --------------------------------------------------------------------------------------- */

static void test_match_selector(void **state)
{
    static const struct {
        const char *text;
        size_t matchers_n;
        const char *message;
    } CASES[] = {
        {"up", 1, NULL},
        {"up{job=\"a\"}", 2, NULL},
        {"{__name__=~\"a.*\"}", 1, NULL},
        {"{job=~\".+\", env!=\"\"}", 2, NULL},
        {"up{__name__=\"down\"}", 2, NULL},
        {"{}", 0, "match[] must contain at least one non-empty matcher"},
        {"{job=\"\"}", 0, "match[] must contain at least one non-empty matcher"},
        {"{job=~\".*\"}", 0, "match[] must contain at least one non-empty matcher"},
        {"{job!=\"a\"}", 0, "match[] must contain at least one non-empty matcher"},
        {"up offset 5m", 0, "1:4: parse error: unexpected <offset>"},
        {"up[5m]", 0, "1:3: parse error: unexpected \"[\""},
        {"sum(up)", 0, "1:4: parse error: unexpected \"(\""},
        {"1", 0, "1:1: parse error: unexpected number \"1\""},
        {"{a=~\"(\"}", 0, "1:2: parse error: error parsing regexp: missing closing ): `(`"},
        {"", 0, "unknown position: parse error: unexpected end of input"},
    };
    struct parse_limits limits = PARSE_LIMITS_DEFAULT;
    for (size_t i = 0; i < sizeof CASES / sizeof *CASES; i++) {
        struct expr_selector selector;
        struct error error = {0};
        enum status status =
            promql_parse_selector(&arena, str_from(CASES[i].text), &limits, &FAKE_REGEX, &selector, &error);
        assert_string_equal(error.message, CASES[i].message ? CASES[i].message : "");
        assert_int_equal(status, CASES[i].message ? E_BAD_DATA : OK);
        if (status == OK)
            assert_int_equal(selector.matchers_n, CASES[i].matchers_n);
    }
}

/* Without an engine patterns are taken as they are, and as matching something. */
static void test_no_regex_engine(void **state)
{
    struct parse_limits limits = PARSE_LIMITS_DEFAULT;
    struct query_text query;
    assert_int_equal(promql_parse(&arena, STR("{a=~\"(\"}"), &limits, NULL, &query, NULL), OK);
    assert_int_equal(promql_parse(&arena, STR("{a!~\".*\"}"), &limits, NULL, &query, NULL), E_BAD_DATA);
}

/* -- limits ----------------------------------------------------------------------------------------------------- */

static enum status parse_limited(struct str text, struct parse_limits limits, struct error *reterr)
{
    struct query_text query;
    return promql_parse(&arena, text, &limits, NULL, &query, reterr);
}

static void test_limit_bytes(void **state)
{
    struct parse_limits limits = PARSE_LIMITS_DEFAULT;
    struct error error;
    limits.bytes_max = 4;
    assert_int_equal(parse_limited(STR("1+ 1"), limits, &error), OK);
    assert_int_equal(parse_limited(STR("1 + 1"), limits, &error), E_BAD_DATA);
    assert_string_equal(error.message, "query has 5 bytes, the limit is 4");
}

static void test_limit_tokens(void **state)
{
    struct parse_limits limits = PARSE_LIMITS_DEFAULT;
    struct error error;
    limits.tokens_max = 4; /* the end counts */
    assert_int_equal(parse_limited(STR("1 + 1"), limits, &error), OK);
    assert_int_equal(parse_limited(STR("1 + -1"), limits, &error), E_BAD_DATA);
    assert_string_equal(error.message, "1:7: parse error: query has more tokens than the limit of 4");
}

/* n times `open`, then `middle`, then n times `close`. */
static struct str nested(const char *open, const char *middle, const char *close, size_t n)
{
    struct strbuf text;
    strbuf_init(&text, 1 << 20);
    for (size_t i = 0; i < n; i++)
        strbuf_cstr(&text, open);
    strbuf_cstr(&text, middle);
    for (size_t i = 0; i < n; i++)
        strbuf_cstr(&text, close);
    struct str copy = arena_str(&arena, strbuf_view(&text));
    strbuf_release(&text);
    return copy;
}

static void test_limit_depth(void **state)
{
    static const struct {
        const char *open, *middle, *close;
        size_t per_level; /* how much deeper each makes the tree */
    } CASES[] = {
        {"(", "a", ")", 1},
        {"-", "a", "", 1},
        {"abs(", "a", ")", 1},
        {"sum(", "a", ")", 1},
        {"", "a", " + a", 1},
        {"a ^ ", "a", "", 1},
        {"a + (", "a", ")", 2},
        {"", "a", "[1h:]", 0},
        {"max_over_time(", "a", "[1h:])", 2},
        {"topk(1, a or ", "a", ")", 2},
    };
    struct parse_limits limits = PARSE_LIMITS_DEFAULT;
    struct error error;
    for (size_t i = 0; i < sizeof CASES / sizeof *CASES; i++) {
        if (CASES[i].per_level == 0)
            continue;
        size_t fits = (limits.depth_max - 1) / CASES[i].per_level;
        struct str text = nested(CASES[i].open, CASES[i].middle, CASES[i].close, fits);
        if (parse_limited(text, limits, &error) != OK)
            fail_msg("%s…: %s", CASES[i].open, error.message);
        text = nested(CASES[i].open, CASES[i].middle, CASES[i].close, fits + 1);
        assert_int_equal(parse_limited(text, limits, &error), E_BAD_DATA);
        assert_non_null(strstr(error.message, "levels deep, the limit is 200"));
    }
}

static void test_limit_duration_depth(void **state)
{
    struct parse_limits limits = PARSE_LIMITS_DEFAULT;
    struct error error;
    struct str text = nested("", "a[1m", " + 1m", 300);
    struct strbuf closed;
    strbuf_init(&closed, 1 << 16);
    strbuf_str(&closed, text);
    strbuf_char(&closed, ']');
    assert_int_equal(parse_limited(strbuf_view(&closed), limits, &error), E_BAD_DATA);
    assert_non_null(strstr(error.message, "duration expression is nested 201 levels deep, the limit is 200"));
    strbuf_release(&closed);
}

/* With a far higher limit on depth the parser's own stack is the limit. */
static void test_limit_stack(void **state)
{
    struct parse_limits limits = PARSE_LIMITS_DEFAULT;
    struct error error;
    limits.depth_max = 100000;
    assert_int_equal(parse_limited(nested("(", "a", ")", 5000), limits, &error), E_BAD_DATA);
    assert_non_null(strstr(error.message, "the parser's stack of 1024 entries is full"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_valid, setup, teardown),
        cmocka_unit_test_setup_teardown(test_invalid, setup, teardown),
        cmocka_unit_test_setup_teardown(test_odd_bytes, setup, teardown),
        cmocka_unit_test_setup_teardown(test_nul_in_string, setup, teardown),
        cmocka_unit_test_setup_teardown(test_tree_of_operators, setup, teardown),
        cmocka_unit_test_setup_teardown(test_tree_of_selector, setup, teardown),
        cmocka_unit_test_setup_teardown(test_tree_of_matrix_and_subquery, setup, teardown),
        cmocka_unit_test_setup_teardown(test_tree_of_matching, setup, teardown),
        cmocka_unit_test_setup_teardown(test_types, setup, teardown),
        cmocka_unit_test_setup_teardown(test_match_selector, setup, teardown),
        cmocka_unit_test_setup_teardown(test_no_regex_engine, setup, teardown),
        cmocka_unit_test_setup_teardown(test_limit_bytes, setup, teardown),
        cmocka_unit_test_setup_teardown(test_limit_tokens, setup, teardown),
        cmocka_unit_test_setup_teardown(test_limit_depth, setup, teardown),
        cmocka_unit_test_setup_teardown(test_limit_duration_depth, setup, teardown),
        cmocka_unit_test_setup_teardown(test_limit_stack, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
