/* planner/sql.c: see sql.h. The builder: quoting and layout. Statements are made in sql_fragment.c. */
#include "planner/sql.h"

#include <math.h>
#include <stdlib.h>

#include "base/assert.h"
#include "base/float_text.h"
#include "promql/print.h"

#define INDENT_BYTES 4u

void sql_init(struct sql *sql, size_t max_bytes)
{
    *sql = (struct sql){.indent = 0};
    strbuf_init(&sql->text, max_bytes);
}

void sql_release(struct sql *sql)
{
    strbuf_release(&sql->text);
}

enum status sql_status(const struct sql *sql, struct error *reterr)
{
    if (sql->status != OK)
        return error_set(reterr, sql->status, "a name or label value holds a NUL byte, which SQL text cannot carry");
    return strbuf_status(&sql->text, "a fragment's SQL", reterr);
}

void sql_words(struct sql *sql, const char *our_words)
{
    strbuf_cstr(&sql->text, our_words);
}

void sql_line(struct sql *sql)
{
    strbuf_char(&sql->text, '\n');
    for (unsigned i = 0; i < sql->indent * INDENT_BYTES; i++)
        strbuf_char(&sql->text, ' ');
}

/* Between quotes nothing but the quote itself is special: DuckDB follows the SQL standard, backslashes are plain. */
static void quoted(struct sql *sql, struct str s, char quote)
{
    strbuf_char(&sql->text, quote);
    for (size_t i = 0; i < s.len; i++) {
        if (s.ptr[i] == '\0')
            sql->status = E_BAD_DATA;
        if (s.ptr[i] == quote)
            strbuf_char(&sql->text, quote);
        strbuf_char(&sql->text, s.ptr[i]);
    }
    strbuf_char(&sql->text, quote);
}

void sql_string(struct sql *sql, struct str s)
{
    quoted(sql, s, '\'');
}

/* Keywords of DuckDB 1.4 that may not stand where a column name may (duckdb_keywords(): all but "unreserved"), and a
 * few unreserved ones that would be hard to read. Sorted. */
static const char *const keywords[] = {"all",
                                       "analyse",
                                       "analyze",
                                       "and",
                                       "anti",
                                       "any",
                                       "array",
                                       "as",
                                       "asc",
                                       "asof",
                                       "asymmetric",
                                       "at",
                                       "authorization",
                                       "between",
                                       "bigint",
                                       "binary",
                                       "bit",
                                       "boolean",
                                       "both",
                                       "by",
                                       "case",
                                       "cast",
                                       "char",
                                       "character",
                                       "check",
                                       "coalesce",
                                       "collate",
                                       "collation",
                                       "column",
                                       "columns",
                                       "concurrently",
                                       "constraint",
                                       "create",
                                       "cross",
                                       "dec",
                                       "decimal",
                                       "default",
                                       "deferrable",
                                       "desc",
                                       "describe",
                                       "distinct",
                                       "do",
                                       "else",
                                       "end",
                                       "except",
                                       "exists",
                                       "extract",
                                       "false",
                                       "fetch",
                                       "float",
                                       "for",
                                       "foreign",
                                       "freeze",
                                       "from",
                                       "full",
                                       "generated",
                                       "glob",
                                       "group",
                                       "grouping",
                                       "grouping_id",
                                       "having",
                                       "ilike",
                                       "in",
                                       "initially",
                                       "inner",
                                       "inout",
                                       "int",
                                       "integer",
                                       "intersect",
                                       "interval",
                                       "into",
                                       "is",
                                       "isnull",
                                       "join",
                                       "lambda",
                                       "lateral",
                                       "leading",
                                       "left",
                                       "like",
                                       "limit",
                                       "map",
                                       "national",
                                       "natural",
                                       "nchar",
                                       "none",
                                       "not",
                                       "notnull",
                                       "null",
                                       "nullif",
                                       "numeric",
                                       "offset",
                                       "on",
                                       "only",
                                       "or",
                                       "order",
                                       "out",
                                       "outer",
                                       "overlaps",
                                       "overlay",
                                       "pivot",
                                       "pivot_longer",
                                       "pivot_wider",
                                       "placing",
                                       "position",
                                       "positional",
                                       "precision",
                                       "primary",
                                       "qualify",
                                       "real",
                                       "recursive",
                                       "references",
                                       "returning",
                                       "right",
                                       "row",
                                       "select",
                                       "semi",
                                       "setof",
                                       "show",
                                       "similar",
                                       "smallint",
                                       "some",
                                       "struct",
                                       "substring",
                                       "summarize",
                                       "symmetric",
                                       "table",
                                       "tablesample",
                                       "then",
                                       "time",
                                       "timestamp",
                                       "to",
                                       "trailing",
                                       "treat",
                                       "trim",
                                       "true",
                                       "try_cast",
                                       "union",
                                       "unique",
                                       "unpack",
                                       "unpivot",
                                       "using",
                                       "values",
                                       "varchar",
                                       "variadic",
                                       "verbose",
                                       "when",
                                       "where",
                                       "window",
                                       "with",
                                       "xmlattributes",
                                       "xmlconcat",
                                       "xmlelement",
                                       "xmlexists",
                                       "xmlforest",
                                       "xmlnamespaces",
                                       "xmlparse",
                                       "xmlpi",
                                       "xmlroot",
                                       "xmlserialize",
                                       "xmltable"};

static int compare_keyword(const void *name, const void *keyword)
{
    return str_cmp(*(const struct str *)name, str_from(*(const char *const *)keyword));
}

static bool identifier_is_plain(struct str name)
{
    if (name.len == 0 || (name.ptr[0] >= '0' && name.ptr[0] <= '9'))
        return false;
    for (size_t i = 0; i < name.len; i++) {
        char c = name.ptr[i];
        if (!(c >= 'a' && c <= 'z') && !(c >= '0' && c <= '9') && c != '_')
            return false;
    }
    return !bsearch(&name, keywords, ARRAY_LENGTH(keywords), sizeof keywords[0], compare_keyword);
}

void sql_identifier(struct sql *sql, struct str name)
{
    if (identifier_is_plain(name))
        strbuf_str(&sql->text, name);
    else
        quoted(sql, name, '"');
}

void sql_i64(struct sql *sql, int64_t number)
{
    strbuf_i64(&sql->text, number);
}

void sql_u64(struct sql *sql, uint64_t number)
{
    strbuf_u64(&sql->text, number);
}

void sql_between(struct sql *sql, const char *what, struct time_span span)
{
    sql_words(sql, what);
    sql_words(sql, " BETWEEN ");
    sql_i64(sql, span.min_ms);
    sql_words(sql, " AND ");
    sql_i64(sql, span.max_ms);
}

void sql_meets(struct sql *sql, struct time_span span)
{
    sql_words(sql, "tmax >= ");
    sql_i64(sql, span.min_ms);
    sql_words(sql, " AND tmin <= ");
    sql_i64(sql, span.max_ms);
}

/* With an exponent a literal is a DOUBLE; without one it would be a DECIMAL, which rounds on its way. */
void sql_double(struct sql *sql, double number)
{
    if (isnan(number)) {
        sql_words(sql, "'NaN'::DOUBLE");
        return;
    }
    if (isinf(number)) {
        sql_words(sql, number > 0 ? "'Infinity'::DOUBLE" : "'-Infinity'::DOUBLE");
        return;
    }
    char digits[FLOAT_TEXT_MAX];
    size_t n = float_text_json(digits, number);
    strbuf_bytes(&sql->text, digits, n);
    if (!memchr(digits, 'e', n))
        sql_words(sql, "e0");
}

void sql_series_matching(struct sql *sql, const struct matcher *at, size_t n, struct time_span span)
{
    struct strbuf selector;
    strbuf_init(&selector, sql->text.max);
    promql_print_matchers(&selector, at, n);
    sql_words(sql, "SELECT series FROM series_matching(");
    sql_string(sql, strbuf_view(&selector));
    sql_words(sql, ", ");
    sql_i64(sql, span.min_ms);
    sql_words(sql, ", ");
    sql_i64(sql, span.max_ms);
    sql_words(sql, ")");
    if (sql->status == OK)
        sql->status = selector.status;
    strbuf_release(&selector);
}

static bool is_regex(const struct matcher *matcher)
{
    return matcher->op == MATCH_REGEX || matcher->op == MATCH_NOT_REGEX;
}

/* (?-s:pattern) */
static struct str without_dotall(struct arena *arena, struct str pattern)
{
    static const char before[] = "(?-s:", after[] = ")";
    char *text = arena_alloc(arena, pattern.len + sizeof before + sizeof after);
    if (!text)
        return (struct str){NULL, 0};
    memcpy(text, before, sizeof before - 1);
    memcpy(text + sizeof before - 1, pattern.ptr, pattern.len);
    memcpy(text + sizeof before - 1 + pattern.len, after, sizeof after);
    return (struct str){text, pattern.len + sizeof before + sizeof after - 2};
}

const struct matcher *sql_rule_matchers(struct arena *arena, const struct expr_selector *selector,
                                        enum window_rule rule)
{
    size_t regexes = 0;
    for (size_t i = 0; i < selector->matchers_n; i++)
        regexes += is_regex(&selector->matchers[i]);
    if (rule != WINDOW_CLOSED || regexes == 0)
        return selector->matchers;
    struct matcher *matchers = ARENA_ARRAY(arena, struct matcher, selector->matchers_n);
    for (size_t i = 0; matchers && i < selector->matchers_n; i++) {
        matchers[i] = selector->matchers[i];
        if (!is_regex(&matchers[i]))
            continue;
        matchers[i].value = without_dotall(arena, matchers[i].value);
        if (!matchers[i].value.ptr)
            return NULL;
    }
    return matchers;
}
