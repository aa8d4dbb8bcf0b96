/* promql/lex_literal.c: the scanner's hand-written part: odd and broken numbers, durations and strings.
 *
 * The rules of lexer.re take the common forms. What is left is scanned here step by step as upstream does, since the
 * text of an error shows how far the scan had come. A number accepted here may still be wrong ("1e"); then its
 * conversion refuses it (literal.c).
 *
 * Source: Prometheus promql/parser/lex.go (scanNumber, acceptRemainingDuration, lexEscape).
 */
#include "promql/token.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "promql/grammar.h"
#include "promql/print.h"

struct token lex_error(struct lexer *lexer, const char *start, const char *format, ...)
{
    uint32_t begin = (uint32_t)(start - lexer->text);
    uint32_t end = (uint32_t)(lexer->end - lexer->text);
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(lexer->error.message, sizeof lexer->error.message, format, arguments);
    va_end(arguments);
    lexer->error.status = E_BAD_DATA;
    lexer->error.begin = begin;
    lexer->error.end = end;
    return (struct token){TK_LEX_ERROR, {begin, end}};
}

/* A cursor over the bytes of a literal; next() past the end gives 0 and does not move. */
struct scan {
    const char *at, *end;
};

static bool at_one_of(const struct scan *scan, const char *set)
{
    return scan->at < scan->end && *scan->at != '\0' && strchr(set, *scan->at) != NULL;
}

static bool take(struct scan *scan, const char *set)
{
    bool found = at_one_of(scan, set);
    scan->at += found;
    return found;
}

static bool at_alnum(const struct scan *scan)
{
    return at_one_of(scan, "_0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ");
}

#define DECIMAL "0123456789"
#define HEX     DECIMAL "abcdefABCDEF"

/* Digits with dots, underscores and exponents in any order that upstream takes for a number. */
static bool scan_number(struct scan *scan)
{
    const char *digits = DECIMAL;
    bool dot = false, exponent = false;
    if (take(scan, "0") && take(scan, "xX")) {
        take(scan, "_");
        digits = HEX;
    }
    take(scan, ".");
    take(scan, digits);
    while (at_one_of(scan, digits) || at_one_of(scan, "._eE")) {
        if ((dot && take(scan, ".")) || (exponent && take(scan, "eE")))
            return false;
        if (take(scan, ".")) {
            dot = true;
            if (take(scan, "_.") || digits[10] != '\0')
                return false;
        } else if (take(scan, "eE")) {
            exponent = true;
            take(scan, "+-");
            if (take(scan, "._eE") || scan->at == scan->end)
                return false;
        } else if (take(scan, "_")) {
            if (take(scan, "._eE") || scan->at == scan->end)
                return false;
        } else {
            while (take(scan, digits))
                continue;
        }
    }
    return !at_alnum(scan);
}

/* What follows a number to make it a duration: unit, then more digits and units. Units are checked on conversion. */
static bool scan_duration_rest(struct scan *scan)
{
    if (!take(scan, "smhdwy"))
        return false;
    take(scan, "s");
    while (take(scan, DECIMAL)) {
        while (take(scan, DECIMAL))
            continue;
        if (!take(scan, "smhdw"))
            return false;
        take(scan, "s");
    }
    if (!at_alnum(scan))
        return true;
    scan->at++;
    return false;
}

static struct token literal(struct lexer *lexer, const char *start, const char *end, int code)
{
    lexer->at = end;
    return (struct token){code, {(uint32_t)(start - lexer->text), (uint32_t)(end - lexer->text)}};
}

struct token lex_number_or_duration(struct lexer *lexer, const char *start)
{
    struct scan scan = {start, lexer->end};
    if (scan_number(&scan))
        return literal(lexer, start, scan.at, TK_NUMBER);
    if (scan_duration_rest(&scan))
        return literal(lexer, start, scan.at, TK_DURATION);
    struct strbuf quoted;
    strbuf_init(&quoted, ERROR_MESSAGE_MAX);
    promql_print_string(&quoted, (struct str){start, (size_t)(scan.at - start)});
    struct token error =
        lex_error(lexer, start, "bad number or duration syntax: " STR_FORMAT, STR_ARG(strbuf_view(&quoted)));
    strbuf_release(&quoted);
    return error;
}

static unsigned digit_value(int32_t rune)
{
    if (rune >= '0' && rune <= '9')
        return (unsigned)rune - '0';
    if (rune >= 'a' && rune <= 'f')
        return (unsigned)rune - 'a' + 10;
    if (rune >= 'A' && rune <= 'F')
        return (unsigned)rune - 'A' + 10;
    return 16;
}

/* n digits of an escape; *at stands on the first. Returns an error token with code TK_LEX_ERROR, or code 0. */
static struct token escape_digits(struct lexer *lexer, const char *start, const char **at, unsigned n, unsigned base)
{
    uint32_t value = 0;
    for (; n > 0; n--) {
        unsigned length;
        int32_t rune = rune_decode(*at, lexer->end, &length);
        unsigned digit = digit_value(rune);
        if (rune == RUNE_EOF)
            return lex_error(lexer, start, "escape sequence not terminated");
        if (digit >= base)
            return lex_error(lexer, start, "illegal character %s in escape sequence", rune_unicode(rune).text);
        value = value * base + digit;
        *at += length;
    }
    uint32_t max = base == 8 ? 255 : 0x10ffff;
    if (value > max || (value >= 0xd800 && value < 0xe000))
        return lex_error(lexer, start, "escape sequence is an invalid Unicode code point");
    return (struct token){0};
}

/* *at stands behind a backslash. */
static struct token escape(struct lexer *lexer, const char *start, const char **at)
{
    unsigned length;
    int32_t rune = rune_decode(*at, lexer->end, &length);
    if (rune >= '0' && rune <= '7')
        return escape_digits(lexer, start, at, 3, 8);
    *at += length;
    if (rune == RUNE_EOF)
        return lex_error(lexer, start, "escape sequence not terminated");
    if (rune == 'x')
        return escape_digits(lexer, start, at, 2, 16);
    if (rune == 'u')
        return escape_digits(lexer, start, at, 4, 16);
    if (rune == 'U')
        return escape_digits(lexer, start, at, 8, 16);
    if (rune == *start || (rune > 0 && rune < 0x80 && strchr("abfnrtv\\", rune)))
        return (struct token){0};
    return lex_error(lexer, start, "unknown escape sequence %s", rune_unicode(rune).text);
}

struct token lex_quoted(struct lexer *lexer, const char *start)
{
    char quote = *start;
    const char *at = start + 1;
    for (;;) {
        unsigned length;
        int32_t rune = rune_decode(at, lexer->end, &length);
        if (quote == '`' && rune == RUNE_EOF)
            return lex_error(lexer, start, "unterminated raw string");
        if (rune == RUNE_EOF || (rune == '\n' && quote != '`'))
            return lex_error(lexer, start, "unterminated quoted string");
        if (rune == RUNE_ERROR)
            return lex_error(lexer, start, "invalid UTF-8 rune");
        at += length;
        if (rune == quote)
            return literal(lexer, start, at, TK_STRING);
        if (rune == '\\' && quote != '`') {
            struct token error = escape(lexer, start, &at);
            if (error.code == TK_LEX_ERROR)
                return error;
        }
    }
}
