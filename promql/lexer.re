/* promql/lexer.re: the scanner; see token.h. Translated by re2c.
 *
 * Numbers, durations and strings of the usual forms are rules here; odd and broken ones go to lex_literal.c, which
 * knows upstream's words for them.
 */
#include "promql/token.h"

#include <string.h>
#include <strings.h>

#include "promql/grammar.h"

void lexer_init(struct lexer *lexer, struct str text)
{
    *lexer = (struct lexer){.text = text.ptr, .end = text.ptr + text.len, .at = text.ptr, .mode = LEX_STATEMENT};
}

static struct token token(const struct lexer *lexer, const char *start, int code)
{
    return (struct token){code, {(uint32_t)(start - lexer->text), (uint32_t)(lexer->at - lexer->text)}};
}

static struct rune_text first_rune(const struct lexer *lexer, const char *start)
{
    unsigned length;
    return rune_quoted(rune_decode(start, lexer->end, &length));
}

static struct token open_paren(struct lexer *lexer, const char *start)
{
    lexer->paren_depth++;
    return token(lexer, start, TK_LEFT_PAREN);
}

static struct token close_paren(struct lexer *lexer, const char *start)
{
    if (lexer->paren_depth == 0)
        return lex_error(lexer, lexer->at, "unexpected right parenthesis ')'");
    lexer->paren_depth--;
    return token(lexer, start, TK_RIGHT_PAREN);
}

static struct token open_bracket(struct lexer *lexer, const char *start)
{
    lexer->got_colon = false;
    lexer->bracket_open = true;
    lexer->mode = LEX_DURATION;
    return token(lexer, start, TK_LEFT_BRACKET);
}

static struct token close_bracket(struct lexer *lexer, const char *start)
{
    lexer->bracket_open = false;
    lexer->mode = LEX_STATEMENT;
    return token(lexer, start, TK_RIGHT_BRACKET);
}

static struct token colon_behind_number(struct lexer *lexer, const char *start)
{
    if (lexer->got_colon)
        return lex_error(lexer, start, "unexpected colon ':'");
    lexer->got_colon = true;
    return token(lexer, start, TK_COLON);
}

static struct token colon_in_duration(struct lexer *lexer, const char *start)
{
    if (!lexer->got_duration)
        return lex_error(lexer, lexer->at, "unexpected colon before duration in duration expression");
    if (lexer->got_colon)
        return lex_error(lexer, lexer->at, "unexpected repeated colon in duration expression");
    lexer->got_colon = true;
    return token(lexer, start, TK_COLON);
}

static struct token end_of_input(struct lexer *lexer)
{
    lexer->at = lexer->end;
    if (lexer->mode == LEX_BRACE)
        return lex_error(lexer, lexer->end, "unexpected end of input inside braces");
    if (lexer->mode == LEX_DURATION)
        return lex_error(lexer, lexer->end, "unexpected end of input in duration expression");
    if (lexer->paren_depth != 0)
        return lex_error(lexer, lexer->end, "unclosed left parenthesis");
    if (lexer->bracket_open)
        return lex_error(lexer, lexer->end, "unclosed left bracket");
    return token(lexer, lexer->end, TK_EOF);
}

/* A number inside brackets ends the part where only a duration expression may stand. */
static void behind_number(struct lexer *lexer)
{
    if (lexer->bracket_open)
        lexer->mode = LEX_BRACKET;
    if (lexer->bracket_open)
        lexer->got_duration = true;
}

/* fill, fill_left and fill_right are keywords only in front of a parenthesis; elsewhere they stay plain names. */
static int keyword_before_paren(const struct lexer *lexer, int keyword)
{
    const char *at = lexer->at;
    while (at < lexer->end && (*at == ' ' || *at == '\t' || *at == '\n' || *at == '\r'))
        at++;
    return at < lexer->end && *at == '(' ? keyword : TK_IDENTIFIER;
}

/* step(), range() and the smaller or larger of two durations; releases 3.6 to 3.12 called these min and max. */
static struct token duration_word(struct lexer *lexer, const char *start)
{
    static const struct {
        const char *word;
        int code;
    } WORDS[] = {{"step", TK_STEP}, {"range", TK_RANGE}, {"max_of", TK_MAX_OF},
                 {"min_of", TK_MIN_OF}, {"max", TK_MAX}, {"min", TK_MIN}};
    size_t length = (size_t)(lexer->at - start);
    for (size_t i = 0; i < sizeof WORDS / sizeof *WORDS; i++) {
        if (strlen(WORDS[i].word) == length && strncasecmp(WORDS[i].word, start, length) == 0) {
            lexer->got_duration = true;
            return token(lexer, start, WORDS[i].code);
        }
    }
    if (lexer->mode == LEX_BRACKET)
        return lex_error(lexer, start, "unexpected character: %s, expected ':'", first_rune(lexer, start).text);
    return lex_error(lexer, start, "unexpected character in duration expression: %s", first_rune(lexer, start).text);
}

/*!re2c
    re2c:api:style = free-form;
    re2c:yyfill:enable = 0;
    re2c:eof = 0;
    re2c:define:YYCTYPE = "unsigned char";
    re2c:define:YYCURSOR = "cursor";
    re2c:define:YYLIMIT = "limit";
    re2c:define:YYMARKER = "marker";
    re2c:define:YYGETCONDITION = "lexer->mode";
    re2c:define:YYSETCONDITION = "(void)";
    re2c:condprefix = "yyc_";
    re2c:condenumprefix = "";

    space      = [ \t\r\n]+;
    comment    = "#" [^\r\n]*;
    digit      = [0-9];
    alpha      = [a-zA-Z_];
    alnum      = [a-zA-Z0-9_];
    plain      = digit+ ("." digit+)?;
    durations  = (digit+ ("ms" | [smhdw]))+ | digit+ "y" (digit+ ("ms" | [smhdw]))*;
    odd_number = [0-9.] [0-9a-zA-Z_.]*;
*/

#define TOKEN(code) (lexer->at = (const char *)cursor, token(lexer, start, (code)))
#define STEP_TO()   (lexer->at = (const char *)cursor)

struct token lexer_next(struct lexer *lexer)
{
    const unsigned char *cursor = (const unsigned char *)lexer->at;
    const unsigned char *limit = (const unsigned char *)lexer->end;
    const unsigned char *marker = cursor;
    const char *start;

next:
    start = (const char *)cursor;
    /*!re2c
    <*> space { goto next; }
    <LEX_STATEMENT,LEX_BRACKET,LEX_BRACE> comment { goto next; }
    <*> $ { return end_of_input(lexer); }

    <LEX_STATEMENT,LEX_BRACKET,LEX_DURATION> "," { return TOKEN(TK_COMMA); }
    <LEX_STATEMENT,LEX_BRACKET,LEX_DURATION> "*" { return TOKEN(TK_MUL); }
    <LEX_STATEMENT,LEX_BRACKET,LEX_DURATION> "/" { return TOKEN(TK_DIV); }
    <LEX_STATEMENT,LEX_BRACKET,LEX_DURATION> "%" { return TOKEN(TK_MOD); }
    <LEX_STATEMENT,LEX_BRACKET,LEX_DURATION> "+" { return TOKEN(TK_ADD); }
    <LEX_STATEMENT,LEX_BRACKET,LEX_DURATION> "-" { return TOKEN(TK_SUB); }
    <LEX_STATEMENT,LEX_BRACKET,LEX_DURATION> "^" { return TOKEN(TK_POW); }
    <LEX_STATEMENT,LEX_BRACKET,LEX_DURATION> "(" { STEP_TO(); return open_paren(lexer, start); }
    <LEX_STATEMENT,LEX_BRACKET,LEX_DURATION> ")" { STEP_TO(); return close_paren(lexer, start); }
    <LEX_STATEMENT,LEX_BRACKET,LEX_DURATION> plain | durations {
        STEP_TO();
        behind_number(lexer);
        return token(lexer, start, start[lexer->at - start - 1] > '9' ? TK_DURATION : TK_NUMBER);
    }
    <LEX_STATEMENT,LEX_BRACKET,LEX_DURATION> odd_number {
        if (start[0] == '.' && !(start[1] >= '0' && start[1] <= '9'))
            goto unexpected;
        behind_number(lexer);
        return lex_number_or_duration(lexer, start);
    }

    <LEX_STATEMENT,LEX_BRACKET> "==" { return TOKEN(TK_EQLC); }
    <LEX_STATEMENT,LEX_BRACKET> "=~" { return lex_error(lexer, start, "unexpected character after '=': '~'"); }
    <LEX_STATEMENT,LEX_BRACKET> "="  { return TOKEN(TK_EQL); }
    <LEX_STATEMENT,LEX_BRACKET> "!=" { return TOKEN(TK_NEQ); }
    <LEX_STATEMENT,LEX_BRACKET> "!"  {
        return lex_error(lexer, start, "unexpected character after '!': %s", first_rune(lexer, start + 1).text);
    }
    <LEX_STATEMENT,LEX_BRACKET> "<=" { return TOKEN(TK_LTE); }
    <LEX_STATEMENT,LEX_BRACKET> "</" { return TOKEN(TK_TRIM_UPPER); }
    <LEX_STATEMENT,LEX_BRACKET> "<"  { return TOKEN(TK_LSS); }
    <LEX_STATEMENT,LEX_BRACKET> ">=" { return TOKEN(TK_GTE); }
    <LEX_STATEMENT,LEX_BRACKET> ">/" { return TOKEN(TK_TRIM_LOWER); }
    <LEX_STATEMENT,LEX_BRACKET> ">"  { return TOKEN(TK_GTR); }
    <LEX_STATEMENT,LEX_BRACKET> "@"  { return TOKEN(TK_AT); }
    <LEX_STATEMENT,LEX_BRACKET> "{"  { lexer->mode = LEX_BRACE; return TOKEN(TK_LEFT_BRACE); }
    <LEX_STATEMENT> "[" { STEP_TO(); return open_bracket(lexer, start); }
    <LEX_STATEMENT> "]" { return lex_error(lexer, start, "unexpected right bracket ']'"); }
    <LEX_BRACKET>   "[" { return lex_error(lexer, start, "unexpected left bracket '['"); }
    <LEX_BRACKET,LEX_DURATION> "]" { STEP_TO(); return close_bracket(lexer, start); }
    <LEX_BRACKET>   ":" { STEP_TO(); return colon_behind_number(lexer, start); }
    <LEX_DURATION>  ":" { STEP_TO(); return colon_in_duration(lexer, start); }

    <LEX_BRACKET,LEX_DURATION> alpha+ { STEP_TO(); return duration_word(lexer, start); }

    <LEX_STATEMENT,LEX_BRACKET,LEX_BRACE> ["] [^"\\\n\x00\x80-\xff]* ["] { return TOKEN(TK_STRING); }
    <LEX_STATEMENT,LEX_BRACKET,LEX_BRACE> ['] [^'\\\n\x00\x80-\xff]* ['] { return TOKEN(TK_STRING); }
    <LEX_STATEMENT,LEX_BRACKET,LEX_BRACE> ["'`] { return lex_quoted(lexer, start); }

    <LEX_STATEMENT> 'and'          { return TOKEN(TK_LAND); }
    <LEX_STATEMENT> 'or'           { return TOKEN(TK_LOR); }
    <LEX_STATEMENT> 'unless'       { return TOKEN(TK_LUNLESS); }
    <LEX_STATEMENT> 'atan2'        { return TOKEN(TK_ATAN2); }
    <LEX_STATEMENT> 'sum'          { return TOKEN(TK_SUM); }
    <LEX_STATEMENT> 'avg'          { return TOKEN(TK_AVG); }
    <LEX_STATEMENT> 'count'        { return TOKEN(TK_COUNT); }
    <LEX_STATEMENT> 'min'          { return TOKEN(TK_MIN); }
    <LEX_STATEMENT> 'max'          { return TOKEN(TK_MAX); }
    <LEX_STATEMENT> 'group'        { return TOKEN(TK_GROUP); }
    <LEX_STATEMENT> 'stddev'       { return TOKEN(TK_STDDEV); }
    <LEX_STATEMENT> 'stdvar'       { return TOKEN(TK_STDVAR); }
    <LEX_STATEMENT> 'topk'         { return TOKEN(TK_TOPK); }
    <LEX_STATEMENT> 'bottomk'      { return TOKEN(TK_BOTTOMK); }
    <LEX_STATEMENT> 'count_values' { return TOKEN(TK_COUNT_VALUES); }
    <LEX_STATEMENT> 'quantile'     { return TOKEN(TK_QUANTILE); }
    <LEX_STATEMENT> 'limitk'       { return TOKEN(TK_LIMITK); }
    <LEX_STATEMENT> 'limit_ratio'  { return TOKEN(TK_LIMIT_RATIO); }
    <LEX_STATEMENT> 'offset'       { return TOKEN(TK_OFFSET); }
    <LEX_STATEMENT> 'by'           { return TOKEN(TK_BY); }
    <LEX_STATEMENT> 'without'      { return TOKEN(TK_WITHOUT); }
    <LEX_STATEMENT> 'on'           { return TOKEN(TK_ON); }
    <LEX_STATEMENT> 'ignoring'     { return TOKEN(TK_IGNORING); }
    <LEX_STATEMENT> 'group_left'   { return TOKEN(TK_GROUP_LEFT); }
    <LEX_STATEMENT> 'group_right'  { return TOKEN(TK_GROUP_RIGHT); }
    <LEX_STATEMENT> 'bool'         { return TOKEN(TK_BOOL); }
    <LEX_STATEMENT> 'anchored'     { return TOKEN(TK_ANCHORED); }
    <LEX_STATEMENT> 'smoothed'     { return TOKEN(TK_SMOOTHED); }
    <LEX_STATEMENT> 'start'        { return TOKEN(TK_START); }
    <LEX_STATEMENT> 'end'          { return TOKEN(TK_END); }
    <LEX_STATEMENT> 'step'         { return TOKEN(TK_STEP); }
    <LEX_STATEMENT> 'range'        { return TOKEN(TK_RANGE); }
    <LEX_STATEMENT> 'max_of'       { return TOKEN(TK_MAX_OF); }
    <LEX_STATEMENT> 'min_of'       { return TOKEN(TK_MIN_OF); }
    <LEX_STATEMENT> 'fill'         { STEP_TO(); return TOKEN(keyword_before_paren(lexer, TK_FILL)); }
    <LEX_STATEMENT> 'fill_left'    { STEP_TO(); return TOKEN(keyword_before_paren(lexer, TK_FILL_LEFT)); }
    <LEX_STATEMENT> 'fill_right'   { STEP_TO(); return TOKEN(keyword_before_paren(lexer, TK_FILL_RIGHT)); }
    <LEX_STATEMENT> 'inf' | 'nan'  { return TOKEN(TK_NUMBER); }
    <LEX_STATEMENT> alpha alnum*   { return TOKEN(TK_IDENTIFIER); }
    <LEX_STATEMENT> [a-zA-Z_:] [a-zA-Z0-9_:]* { return TOKEN(TK_METRIC_IDENTIFIER); }

    <LEX_BRACE> alpha alnum* { return TOKEN(TK_IDENTIFIER); }
    <LEX_BRACE> ","  { return TOKEN(TK_COMMA); }
    <LEX_BRACE> "="  { return TOKEN(TK_EQL); }
    <LEX_BRACE> "=~" { return TOKEN(TK_EQL_REGEX); }
    <LEX_BRACE> "!=" { return TOKEN(TK_NEQ); }
    <LEX_BRACE> "!~" { return TOKEN(TK_NEQ_REGEX); }
    <LEX_BRACE> "!"  {
        return lex_error(lexer, start, "unexpected character after '!' inside braces: %s",
                         first_rune(lexer, start + 1).text);
    }
    <LEX_BRACE> "{"  { return lex_error(lexer, start, "unexpected left brace '{'"); }
    <LEX_BRACE> "}"  {
        lexer->mode = lexer->bracket_open ? LEX_BRACKET : LEX_STATEMENT;
        return TOKEN(TK_RIGHT_BRACE);
    }

    <*> * { goto unexpected; }
    */

unexpected:
    switch (lexer->mode) {
    case LEX_DURATION:
        return lex_error(lexer, start, "unexpected character in duration expression: %s",
                         first_rune(lexer, start).text);
    case LEX_BRACE:
        return lex_error(lexer, start, "unexpected character inside braces: %s", first_rune(lexer, start).text);
    default:
        return lex_error(lexer, start, "unexpected character: %s", first_rune(lexer, start).text);
    }
}
