/* promql/token.h: the lexer of PromQL, for the parser's own files only.
 *
 * The lexer cuts the text into tokens (codes TK_… of the generated grammar.h) and reports each character it cannot
 * place in Prometheus's words. It keeps a little context, as the language demands: inside braces keywords are plain
 * names, inside brackets only durations and their operators may stand.
 *
 * Holds: a token's range lies inside the text, ranges rise, and after LEX_EOF or LEX_ERROR nothing more is asked.
 * Source: Prometheus promql/parser/lex.go.
 */
#ifndef PROMSPLIT_PROMQL_TOKEN_H
#define PROMSPLIT_PROMQL_TOKEN_H

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"
#include "base/str.h"
#include "promql/ast.h"

struct token {
    int code; /* TK_… */
    struct text_range range;
};

enum lex_mode {
    LEX_STATEMENT, /* outside of braces and brackets */
    LEX_BRACKET,   /* inside [ ], behind a number */
    LEX_DURATION,  /* inside [ ], where a duration expression begins or goes on */
    LEX_BRACE      /* inside { } */
};

struct lexer {
    const char *text; /* NUL-terminated behind `end` */
    const char *end;
    const char *at; /* next byte to read */
    enum lex_mode mode;
    uint32_t paren_depth;
    bool bracket_open;
    bool got_colon;     /* in the open bracket */
    bool got_duration;  /* in this or an earlier bracket, as upstream */
    struct error error; /* filled with LEX_ERROR: words only, the parser adds "line:column: parse error: " */
};

void lexer_init(struct lexer *lexer, struct str text);
struct token lexer_next(struct lexer *lexer);

/* The hand-written parts (lex_literal.c); `start` is the first byte of the literal. */
struct token lex_number_or_duration(struct lexer *lexer, const char *start);
struct token lex_quoted(struct lexer *lexer, const char *start);
struct token lex_error(struct lexer *lexer, const char *start, const char *format, ...) PRINTF_LIKE(3, 4);

/* A rune as Go's %q writes it: 'x', '\n', '\u00a0'; and as %#U: U+0078 'x'. */
#define RUNE_TEXT_MAX 24 /* bytes, with the final NUL */
struct rune_text {
    char text[RUNE_TEXT_MAX];
};
struct rune_text rune_quoted(int32_t rune);
struct rune_text rune_unicode(int32_t rune);
/* The rune as it stands inside quotes of that kind, escaped if need be; returns the bytes written (no NUL). */
unsigned rune_escape(char out[RUNE_TEXT_MAX], int32_t rune, char quote);

/* The rune at `at` and its length in bytes; U+FFFD and 1 for broken UTF-8, RUNE_EOF and 0 at the end. */
#define RUNE_EOF   (-1)
#define RUNE_ERROR 0xfffd
int32_t rune_decode(const char *at, const char *end, unsigned *ret_length);
bool rune_is_printable(int32_t rune); /* Go's strconv.IsPrint */

#endif
