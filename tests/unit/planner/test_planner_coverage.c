/* tests/unit/planner/test_planner_coverage.c: the table of docs/semantics.md says of every function, aggregation and
 * operator what the planner does with it.
 *
 * Each is planned in a query of its own, with everything a backend can have; --rewrite writes the table.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/assert.h"
#include "planner_fixture.h"

#define DOCS      TEST_SOURCE_DIR "/../docs/semantics.md"
#define BEGIN     "<!-- pushed: generated -->\n"
#define END       "<!-- pushed: end -->\n"
#define REFUSED   RESIDUE_MAX /* the plan is an error */
#define DOC_BYTES (1u << 20)

struct subject {
    struct strbuf name, query;
    unsigned fate; /* enum residue_reason of the query's root, or REFUSED */
};

static void plan_subject(struct subject *subject)
{
    struct arena arena;
    arena_init(&arena, 1u << 20);
    struct split split;
    struct error error;
    struct plan_options options = fixture_options();
    enum status status = fixture_plan(&arena, strbuf_view(&subject->query), &options, FIXTURE_STEP_MS, &split, &error);
    subject->fate = status == OK ? split.nodes[0].reason : REFUSED;
    if (status != OK && status != E_EXECUTION)
        fail_msg("%.*s: %s", STR_ARG(strbuf_view(&subject->query)), error.message);
    arena_release(&arena);
}

static struct subject new_subject(const char *name)
{
    struct subject subject;
    strbuf_init(&subject.name, 100);
    strbuf_init(&subject.query, 1000);
    strbuf_cstr(&subject.name, name);
    return subject;
}

static struct subject function_subject(unsigned id)
{
    static const char *const samples[] = {[VALUE_NONE] = "",
                                          [VALUE_SCALAR] = "0.5",
                                          [VALUE_STRING] = "\"a\"",
                                          [VALUE_VECTOR] = "x",
                                          [VALUE_MATRIX] = "x[5m]"};
    const struct function *function = function_get((enum function_id)id);
    struct subject subject = new_subject(function->name.ptr);
    strbuf_str(&subject.query, function->name);
    strbuf_char(&subject.query, '(');
    for (size_t i = 0; i < function->args_n; i++) {
        strbuf_cstr(&subject.query, i ? ", " : "");
        strbuf_cstr(&subject.query, id == FN_INFO && i ? "{a=\"b\"}" : samples[function->args[i]]);
    }
    strbuf_char(&subject.query, ')');
    return subject;
}

static struct subject aggregate_subject(unsigned op)
{
    struct subject subject = new_subject(aggregate_op_text((enum aggregate_op)op));
    strbuf_cstr(&subject.query, aggregate_op_text((enum aggregate_op)op));
    strbuf_cstr(&subject.query, op < AGG_TOPK ? "(x)" : op == AGG_COUNT_VALUES ? "(\"a\", x)" : "(0.5, x)");
    return subject;
}

static struct subject operator_subject(unsigned op)
{
    struct subject subject = new_subject(binary_op_text((enum binary_op)op));
    strbuf_f(&subject.query, "x %s y", binary_op_text((enum binary_op)op));
    return subject;
}

static void print_fates(struct strbuf *out, const char *kind, struct subject (*make)(unsigned), unsigned n)
{
    struct subject *subjects = calloc(n, sizeof *subjects);
    INVARIANT(subjects);
    for (unsigned i = 0; i < n; i++) {
        subjects[i] = make(i);
        plan_subject(&subjects[i]);
    }
    for (unsigned fate = 0; fate <= REFUSED; fate++) {
        bool first = true;
        for (unsigned i = 0; i < n; i++) {
            if (subjects[i].fate != fate)
                continue;
            if (first)
                strbuf_f(out, "| %s | ", kind);
            strbuf_f(out, "%s`%.*s`", first ? "" : " ", STR_ARG(strbuf_view(&subjects[i].name)));
            first = false;
        }
        if (!first)
            strbuf_f(out, " | %s |\n", fate == REFUSED ? "refused" : residue_reason_text((enum residue_reason)fate));
    }
    for (unsigned i = 0; i < n; i++) {
        strbuf_release(&subjects[i].name);
        strbuf_release(&subjects[i].query);
    }
    free(subjects);
}

static void print_table(struct strbuf *out)
{
    strbuf_cstr(out, "| | | of plain selectors and numbers |\n|---|---|---|\n");
    print_fates(out, "function", function_subject, FN_MAX);
    print_fates(out, "aggregation", aggregate_subject, AGG_OP_MAX);
    print_fates(out, "operator", operator_subject, OP_MAX);
}

static char *read_docs(void)
{
    FILE *in = fopen(DOCS, "rb");
    char *text = calloc(1, DOC_BYTES);
    INVARIANT(in && text);
    size_t n = fread(text, 1, DOC_BYTES - 1, in);
    INVARIANT(n > 0 && n < DOC_BYTES - 1);
    fclose(in);
    return text;
}

static void test_docs_say_what_is_pushed(void **state)
{
    char *text = read_docs();
    const char *begin = strstr(text, BEGIN), *end = strstr(text, END);
    assert_true(begin && end && begin < end);
    begin += strlen(BEGIN);
    struct strbuf table;
    strbuf_init(&table, DOC_BYTES);
    print_table(&table);
    struct str want = strbuf_view(&table), have = {begin, (size_t)(end - begin)};
    if (!str_eq(want, have))
        fail_msg("docs/semantics.md is not what the planner does: run test_planner_coverage --rewrite");
    strbuf_release(&table);
    free(text);
}

static int rewrite(void)
{
    char *text = read_docs();
    const char *begin = strstr(text, BEGIN), *end = strstr(text, END);
    INVARIANT(begin && end);
    struct strbuf out;
    strbuf_init(&out, 2 * DOC_BYTES);
    strbuf_bytes(&out, text, (size_t)(begin - text) + strlen(BEGIN));
    print_table(&out);
    strbuf_cstr(&out, end);
    FILE *file = fopen(DOCS, "wb");
    INVARIANT(file && fwrite(out.ptr, 1, out.len, file) == out.len && fclose(file) == 0);
    strbuf_release(&out);
    free(text);
    return 0;
}

int main(int argc, char **argv)
{
    if (argc > 1 && strcmp(argv[1], "--rewrite") == 0)
        return rewrite();
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_docs_say_what_is_pushed)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
