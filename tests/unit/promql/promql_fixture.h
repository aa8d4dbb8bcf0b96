/* tests/unit/promql/promql_fixture.h: what the tests of promql/ share: case files, a stand-in regex engine, parsing. */
#ifndef PROMSPLIT_TESTS_PROMQL_FIXTURE_H
#define PROMSPLIT_TESTS_PROMQL_FIXTURE_H

#include <stddef.h>

#include "promql/parse.h"
#include "promql/print.h"

/* One case of a file: "? input", then "= answer" or "! message"; lines that begin with "+" go on. */
struct promql_case {
    char *input;
    char *answer;  /* of "=", or a copy of the input when there is neither */
    char *message; /* of "!", else NULL */
    unsigned line;
};
struct promql_cases {
    struct promql_case *at;
    size_t n;
};

struct promql_cases promql_cases_read(const char *name);
void promql_cases_free(struct promql_cases *cases);

/* Knows that "(" and "[" are broken patterns; matches by POSIX rules, which is enough for the empty text. */
extern const struct regex_engine FAKE_REGEX;

/* Parses with default limits and the stand-in engine; fails the test with the message if the text is refused. */
struct expr *parse_ok(struct arena *arena, const char *text);
enum status parse_any(struct arena *arena, struct str text, struct expr **ret_root, struct error *reterr);

/* The canonical text; the caller frees it. */
char *printed(const struct expr *expr, const struct print_options *options);

#endif
