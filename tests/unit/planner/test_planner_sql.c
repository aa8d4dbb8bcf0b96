/* tests/unit/planner/test_planner_sql.c: quoting: what goes into SQL text lexes back to the same literal. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <math.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/assert.h"
#include "base/float_text.h"
#include "planner/sql.h"
#include "planner_fixture.h"

/* --- a reader of SQL literals that shares nothing with the writer --- */

/* Reads one quoted token by the SQL standard's rule and returns the bytes after it, or NULL. */
static const char *read_quoted(const char *at, const char *end, char quote, struct strbuf *ret_text)
{
    if (at == end || *at != quote)
        return NULL;
    for (at++; at < end; at++) {
        if (*at == quote && (at + 1 == end || at[1] != quote))
            return at + 1;
        if (*at == quote)
            at++;
        strbuf_char(ret_text, *at);
    }
    return NULL;
}

static void check_round_trip(struct str text)
{
    struct sql sql;
    struct strbuf back;
    sql_init(&sql, 1u << 16);
    strbuf_init(&back, 1u << 16);
    sql_string(&sql, text);
    const char *end = sql.text.ptr + sql.text.len;
    assert_ptr_equal(read_quoted(sql.text.ptr, end, '\'', &back), end);
    assert_true(str_eq(strbuf_view(&back), text));
    assert_int_equal(sql_status(&sql, NULL), OK);
    sql_release(&sql);
    strbuf_release(&back);
}

static const char *const hostile[] = {
    "",
    "plain",
    "'",
    "''",
    "'''",
    "it's",
    "\\",
    "\\'",
    "'\\",
    "\"",
    "--",
    "/*",
    "*/",
    ";",
    "'; DROP TABLE samples; --",
    "$$",
    "$1",
    "E'x'",
    "\n",
    "\r\n",
    "\t",
    "über",
    "🔥",
    "\xff\xfe",
    "\x01\x7f",
    "a''b'c\\\\d\"e",
    "' OR ''='",
};

static void test_strings_lex_back(void **state)
{
    for (size_t i = 0; i < ARRAY_LENGTH(hostile); i++)
        check_round_trip(str_from(hostile[i]));
    unsigned seed = 7;
    for (int round = 0; round < 20000; round++) {
        char text[24];
        size_t n = (seed = seed * 1103515245u + 12345u) >> 16 & 15;
        static const char alphabet[] = "'\"\\;-/*\na \xc3";
        for (size_t i = 0; i < n; i++) {
            seed = seed * 1103515245u + 12345u;
            text[i] = alphabet[(seed >> 16) % (sizeof alphabet - 1)];
        }
        check_round_trip((struct str){text, n});
    }
}

static void test_identifiers(void **state)
{
    static const struct {
        const char *name, *sql;
    } cases[] = {
        {"le", "le"},
        {"_x9", "_x9"},
        {"group", "\"group\""},
        {"order", "\"order\""},
        {"xmltable", "\"xmltable\""},
        {"all", "\"all\""},
        {"Job", "\"Job\""},
        {"9x", "\"9x\""},
        {"a.b", "\"a.b\""},
        {"a\"b", "\"a\"\"b\""},
        {"", "\"\""},
        {"rate", "rate"},
    };
    for (size_t i = 0; i < ARRAY_LENGTH(cases); i++) {
        struct sql sql;
        sql_init(&sql, 1000);
        sql_identifier(&sql, str_from(cases[i].name));
        assert_string_equal(sql.text.ptr, cases[i].sql);
        sql_release(&sql);
    }
}

static void test_nul_is_refused(void **state)
{
    struct sql sql;
    struct error error;
    sql_init(&sql, 1000);
    sql_string(&sql, (struct str){"a\0b", 3});
    assert_int_equal(sql_status(&sql, &error), E_BAD_DATA);
    sql_release(&sql);
    sql_init(&sql, 1000);
    sql_identifier(&sql, (struct str){"a\0b", 3});
    sql_words(&sql, "it sticks");
    assert_int_equal(sql_status(&sql, NULL), E_BAD_DATA);
    sql_release(&sql);
}

static void test_length_limit(void **state)
{
    struct sql sql;
    sql_init(&sql, 10);
    sql_string(&sql, STR("much too long for it"));
    assert_int_equal(sql_status(&sql, NULL), E_LIMIT);
    sql_release(&sql);
}

static void test_doubles_are_exact(void **state)
{
    static const double numbers[] = {
        0.0, -0.0, 1.0, -1.5, 0.1, 1e21, 1e-7, 5e-324, 1.7976931348623157e308, 1.0 / 3, 123456789.123456789};
    for (size_t i = 0; i < ARRAY_LENGTH(numbers); i++) {
        struct sql sql;
        sql_init(&sql, 1000);
        sql_double(&sql, numbers[i]);
        char *end;
        double back = strtod(sql.text.ptr, &end);
        assert_int_equal(*end, '\0');
        assert_true(double_bits(back) == double_bits(numbers[i]));
        assert_non_null(strchr(sql.text.ptr, 'e')); /* else DuckDB would read a DECIMAL */
        sql_release(&sql);
    }
    static const struct {
        double number;
        const char *sql;
    } special[] = {{NAN, "'NaN'::DOUBLE"}, {INFINITY, "'Infinity'::DOUBLE"}, {-INFINITY, "'-Infinity'::DOUBLE"}};
    for (size_t i = 0; i < ARRAY_LENGTH(special); i++) {
        struct sql sql;
        sql_init(&sql, 1000);
        sql_double(&sql, special[i].number);
        assert_string_equal(sql.text.ptr, special[i].sql);
        sql_release(&sql);
    }
}

static void test_matchers(void **state)
{
    static const struct matcher matchers[] = {
        {STR_STATIC("__name__"), MATCH_EQUAL, STR_STATIC("up")},
        {STR_STATIC("a'b"), MATCH_NOT_EQUAL, STR_STATIC("x'y")},
        {STR_STATIC("c"), MATCH_REGEX, STR_STATIC("p|q")},
        {STR_STATIC("__name__"), MATCH_NOT_REGEX, STR_STATIC("x.*")},
    };
    struct sql sql;
    sql_init(&sql, 1000);
    sql_series_matching(&sql, matchers, ARRAY_LENGTH(matchers), (struct time_span){-5, 7});
    assert_string_equal(sql.text.ptr,
                        "SELECT series FROM series_matching('{__name__=\"up\",\"a''b\"!=\"x''y\",c=~\"p|q\","
                        "__name__!~\"x.*\"}', -5, 7)");
    sql_release(&sql);
}

/* A NUL byte is escaped in the selector, so that the statement can carry it. */
static void test_matchers_of_any_bytes(void **state)
{
    static const struct matcher matcher = {STR_STATIC("a"), MATCH_EQUAL, STR_STATIC("x\0\"\\\n")};
    struct sql sql;
    sql_init(&sql, 1000);
    sql_series_matching(&sql, &matcher, 1, (struct time_span){0, 0});
    assert_int_equal(sql_status(&sql, NULL), OK);
    assert_string_equal(sql.text.ptr, "SELECT series FROM series_matching('{a=\"x\\x00\\\"\\\\\\n\"}', 0, 0)");
    sql_release(&sql);
}

/* A hostile text as a label value and as a grouping label: its literal is found in the statement, all quotes pair up
 * and outside of them only our own words and numbers stand. */
static void check_statement(struct str sql, struct str text)
{
    struct strbuf token;
    strbuf_init(&token, 1u << 16);
    bool found = false;
    const char *end = sql.ptr + sql.len;
    for (const char *at = sql.ptr; at < end;) {
        if (*at != '\'' && *at != '"') {
            assert_true((*at >= 'a' && *at <= 'z') || (*at >= 'A' && *at <= 'Z') || (*at >= '0' && *at <= '9') ||
                        strchr("_ \n(),=<>[]", *at));
            at++;
            continue;
        }
        strbuf_clear(&token);
        char quote = *at;
        at = read_quoted(at, end, quote, &token);
        assert_non_null(at);
        found |= quote == '\'' && str_eq(strbuf_view(&token), text);
    }
    assert_true(found);
    strbuf_release(&token);
}

static void test_statements_hold_hostile_text(void **state)
{
    for (size_t i = 0; i < ARRAY_LENGTH(hostile); i++) {
        struct str text = str_from(hostile[i]);
        if (strchr(hostile[i], (char)0xff) || text.len == 0)
            continue; /* no UTF-8; no name */
        struct strbuf query;
        strbuf_init(&query, 1000);
        strbuf_cstr(&query, "sum by (");
        promql_print_string(&query, text);
        strbuf_cstr(&query, ") (rate(up{a=");
        promql_print_string(&query, text);
        strbuf_cstr(&query, ",");
        promql_print_string(&query, text);
        strbuf_cstr(&query, "!=\"x\"}[5m]))");
        struct arena arena;
        arena_init(&arena, 1u << 20);
        struct plan_options options = fixture_options();
        struct split split;
        struct error error;
        if (fixture_plan(&arena, strbuf_view(&query), &options, FIXTURE_STEP_MS, &split, &error) != OK)
            fail_msg("%s: %s", query.ptr, error.message);
        assert_int_equal(split.fragments_n, 1);
        check_statement(split.fragments[0].sql, text);
        assert_true(str_eq(split.fragments[0].columns.by.at[0], text));
        arena_release(&arena);
        strbuf_release(&query);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_strings_lex_back),      cmocka_unit_test(test_identifiers),
        cmocka_unit_test(test_nul_is_refused),        cmocka_unit_test(test_length_limit),
        cmocka_unit_test(test_doubles_are_exact),     cmocka_unit_test(test_matchers),
        cmocka_unit_test(test_matchers_of_any_bytes), cmocka_unit_test(test_statements_hold_hostile_text),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
