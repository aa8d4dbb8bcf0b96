/* tests/fuzz/fuzz_promql.c: any text through lexer, parser, checks and printers.
 *
 * The first byte chooses what a pattern matches and after how many allocations memory ends. What must hold: no crash; a
 * refusal has a message and a range inside the text; the canonical text, the prettified one and the resolved one read
 * back, the first two as the same tree; printing again gives the same text.
 */
#include <stdint.h>
#include <string.h>

#include "base/assert.h"
#include "promql/parse.h"
#include "promql/print.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static enum status regex_check(void *arg, struct str pattern, struct error *reterr)
{
    if (pattern.len > 0 && pattern.ptr[0] == '(')
        return error_set(reterr, E_BAD_DATA, "error parsing regexp: missing closing ): `" STR_FORMAT "`",
                         STR_ARG(pattern));
    return OK;
}

static bool regex_matches(void *arg, struct str pattern, struct str text)
{
    return *(bool *)arg;
}

static struct expr *parse_back(struct arena *arena, struct str text, const struct regex_engine *regex)
{
    struct query_text query;
    struct error error;
    struct parse_limits limits = PARSE_LIMITS_DEFAULT;
    limits.bytes_max *= 8; /* escapes make texts longer */
    enum status status = promql_parse(arena, text, &limits, regex, &query, &error);
    POST(status == OK);
    return query.root;
}

static void check_laws(struct arena *arena, struct expr *root, const struct regex_engine *regex)
{
    struct strbuf text, again;
    strbuf_init(&text, 64u << 20);
    strbuf_init(&again, 64u << 20);
    promql_print(&text, root, NULL);
    struct expr *back = parse_back(arena, strbuf_view(&text), regex);
    POST(expr_eq(root, back) && expr_eq(back, root));
    promql_print(&again, back, NULL);
    POST(str_eq(strbuf_view(&text), strbuf_view(&again)));

    strbuf_clear(&text);
    promql_prettify(&text, root);
    POST(expr_eq(root, parse_back(arena, strbuf_view(&text), regex)));
    strbuf_clear(&text);
    promql_print_json(&text, root);
    POST(text.status == OK && text.len > 0);

    if (promql_resolve(root, 15000, 3600000, NULL) == OK) {
        struct print_options options = {.resolved = true};
        strbuf_clear(&text);
        strbuf_clear(&again);
        promql_print(&text, root, &options);
        promql_print(&again, parse_back(arena, strbuf_view(&text), regex), NULL);
        POST(str_eq(strbuf_view(&text), strbuf_view(&again)));
    }
    strbuf_release(&text);
    strbuf_release(&again);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0)
        return 0;
    bool matches = data[0] & 1;
    int64_t fail_after = data[0] & 2 ? data[0] >> 2 : -1;
    struct regex_engine regex = {.check = regex_check, .matches = regex_matches, .arg = &matches};
    struct str text = {(const char *)data + 1, size - 1};
    struct parse_limits limits = PARSE_LIMITS_DEFAULT;
    struct arena arena;
    struct query_text query;
    struct error error = {0};
    arena_init(&arena, 256u << 20);
    arena.fail_after = fail_after;
    enum status status = promql_parse(&arena, text, &limits, &regex, &query, &error);
    POST(status != OK || !arena.exhausted);
    arena.fail_after = -1;
    if (status == OK)
        check_laws(&arena, query.root, &regex);
    else if (status == E_BAD_DATA)
        POST(error.message[0] != '\0' && error.begin <= error.end && (error.end <= text.len || error.begin > text.len));
    else
        POST(status == E_NOMEM && fail_after >= 0);

    struct expr_selector selector;
    (void)(promql_parse_selector(&arena, text, &limits, &regex, &selector, &error) == OK);
    arena_release(&arena);
    return 0;
}
