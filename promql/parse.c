/* promql/parse.c: see parse.h. Reads tokens (lexer.re), builds the tree (grammar.y, builder.c), checks it (check.c). */
#include "promql/parse.h"

#include "promql/builder.h"
#include "promql/grammar.h"

/* Copies the text and runs the parser; the failure is in b. */
static void run(struct builder *b, struct arena *arena, struct str text, const struct parse_limits *limits,
                const struct regex_engine *regex, int first_code)
{
    *b = (struct builder){.arena = arena, .limits = limits, .regex = regex, .spare.kind = EXPR_KIND_MAX};
    if (text.len > limits->bytes_max || text.len >= UINT32_MAX) {
        b->status =
            error_set(&b->error, E_BAD_DATA, "query has %zu bytes, the limit is %zu", text.len, limits->bytes_max);
        return;
    }
    b->text = arena_str(arena, text);
    if (!b->text.ptr) {
        builder_fail_nomem(b);
        return;
    }
    lexer_init(&b->lexer, b->text);
    builder_run(b, first_code);
}

static enum status give_error(const struct builder *b, struct error *reterr)
{
    if (reterr)
        *reterr = b->error;
    return b->status;
}

enum status promql_parse(struct arena *arena, struct str text, const struct parse_limits *limits,
                         const struct regex_engine *regex, struct query_text *ret_query, struct error *reterr)
{
    struct builder b;
    run(&b, arena, text, limits, regex, TK_START_EXPRESSION);
    if (b.status != OK || !check_tree(&b, b.root))
        return give_error(&b, reterr);
    *ret_query = (struct query_text){b.text, b.root};
    return OK;
}

static bool matches_empty(const struct regex_engine *regex, const struct matcher *matcher)
{
    switch (matcher->op) {
    case MATCH_EQUAL:
        return matcher->value.len == 0;
    case MATCH_NOT_EQUAL:
        return matcher->value.len != 0;
    case MATCH_REGEX:
        return regex && regex->matches(regex->arg, matcher->value, STR(""));
    case MATCH_NOT_REGEX:
        return !regex || !regex->matches(regex->arg, matcher->value, STR(""));
    }
    return false;
}

bool matchers_need_something(const struct regex_engine *regex, const struct matcher *at, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (!matches_empty(regex, &at[i]))
            return true;
    return false;
}

enum status promql_parse_selector(struct arena *arena, struct str text, const struct parse_limits *limits,
                                  const struct regex_engine *regex, struct expr_selector *ret_selector,
                                  struct error *reterr)
{
    struct builder b;
    run(&b, arena, text, limits, regex, TK_START_SELECTOR);
    if (b.status != OK)
        return give_error(&b, reterr);
    const struct expr_selector *selector = &b.root->u.selector;
    if (!matchers_need_something(regex, selector->matchers, selector->matchers_n))
        return error_set_at(reterr, E_BAD_DATA, b.root->range.begin, b.root->range.end,
                            "match[] must contain at least one non-empty matcher");
    *ret_selector = *selector;
    return OK;
}
