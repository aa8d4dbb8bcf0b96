/* base/json_read.c: see json_read.h. No byte beyond the text is read, whatever it holds. */
#include "base/json_read.h"

#include <string.h>

#include "base/utf8.h"

/* --- reading the outline of an answer --- */

struct scan {
    const char *at, *end;
};

static void skip_blanks(struct scan *s)
{
    while (s->at < s->end && (*s->at == ' ' || *s->at == '\t' || *s->at == '\n' || *s->at == '\r'))
        s->at++;
}

static bool skip_char(struct scan *s, char c)
{
    skip_blanks(s);
    if (s->at == s->end || *s->at != c)
        return false;
    s->at++;
    return true;
}

/* Over a string, s->at being on its opening quote. The closing quote is the first one with an even number of
 * backslashes before it. */
static bool skip_string(struct scan *s)
{
    const char *open = s->at++;
    for (;;) {
        const char *quote = s->at < s->end ? memchr(s->at, '"', (size_t)(s->end - s->at)) : NULL;
        if (!quote)
            return false;
        const char *before = quote;
        while (before - 1 > open && before[-1] == '\\')
            before--;
        s->at = quote + 1;
        if ((quote - before) % 2 == 0)
            return true;
    }
}

static bool is_word(char c)
{
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '-' || c == '+' ||
           c == '.';
}

#define NESTING_MAX 256 /* upstream's answers nest to about ten */

/* Over an object or array: brackets must pair up, what is between them is not looked at closely. */
static bool skip_nested(struct scan *s)
{
    static const bool MATTERS[256] = {['"'] = true, ['{'] = true, ['}'] = true, ['['] = true, [']'] = true};
    char open[NESTING_MAX];
    size_t depth = 0;
    while (s->at < s->end) {
        char c = *s->at;
        if (!MATTERS[(unsigned char)c]) {
            s->at++;
            continue;
        }
        if (c == '"') {
            if (!skip_string(s))
                return false;
            continue;
        }
        s->at++;
        if (c == '{' || c == '[') {
            if (depth == NESTING_MAX)
                return false;
            open[depth++] = c == '{' ? '}' : ']';
        } else {
            if (open[--depth] != c)
                return false;
            if (depth == 0)
                return true;
        }
    }
    return false;
}

static bool skip_value(struct scan *s)
{
    skip_blanks(s);
    if (s->at == s->end)
        return false;
    if (*s->at == '"')
        return skip_string(s);
    if (*s->at == '{' || *s->at == '[')
        return skip_nested(s);
    const char *begin = s->at;
    while (s->at < s->end && is_word(*s->at))
        s->at++;
    return s->at > begin;
}

static bool scan_member(struct scan *s, struct json_member *members, size_t n)
{
    skip_blanks(s);
    const char *quote = s->at;
    if (s->at == s->end || *s->at != '"' || !skip_string(s))
        return false;
    struct str name = {quote + 1, (size_t)(s->at - quote) - 2};
    if (!skip_char(s, ':'))
        return false;
    skip_blanks(s);
    const char *value = s->at;
    if (!skip_value(s))
        return false;
    for (size_t i = 0; i < n; i++)
        if (!members[i].value.ptr && str_eq(members[i].name, name))
            members[i].value = (struct str){value, (size_t)(s->at - value)};
    return true;
}

bool json_members(struct str object, struct json_member *members, size_t n)
{
    for (size_t i = 0; i < n; i++)
        members[i].value = (struct str){0};
    struct scan s = {object.ptr, object.ptr + object.len};
    if (!skip_char(&s, '{'))
        return false;
    bool good = skip_char(&s, '}');
    while (!good) {
        if (!scan_member(&s, members, n))
            break;
        if (skip_char(&s, '}'))
            good = true;
        else if (!skip_char(&s, ','))
            break;
    }
    skip_blanks(&s);
    if (good && s.at == s.end)
        return true;
    for (size_t i = 0; i < n; i++)
        members[i].value = (struct str){0};
    return false;
}

/* --- one by one --- */

/* Moves over the opening bracket, or the comma before the next one; false at the closing bracket. */
static bool step(struct scan *s, char open, char close)
{
    skip_blanks(s);
    if (s->at == s->end || (*s->at != open && *s->at != ','))
        return false;
    s->at++;
    skip_blanks(s);
    return s->at < s->end && *s->at != close;
}

bool json_next(struct str *rest, struct str *ret_element)
{
    struct scan s = {rest->ptr, rest->ptr + rest->len};
    if (!step(&s, '[', ']'))
        return false;
    const char *begin = s.at;
    if (!skip_value(&s))
        return false;
    *ret_element = (struct str){begin, (size_t)(s.at - begin)};
    *rest = (struct str){s.at, (size_t)(s.end - s.at)};
    return true;
}

bool json_next_member(struct str *rest, struct str *ret_name, struct str *ret_value)
{
    struct scan s = {rest->ptr, rest->ptr + rest->len};
    if (!step(&s, '{', '}') || *s.at != '"')
        return false;
    const char *name = s.at;
    if (!skip_string(&s))
        return false;
    *ret_name = (struct str){name, (size_t)(s.at - name)};
    if (!skip_char(&s, ':'))
        return false;
    skip_blanks(&s);
    const char *value = s.at;
    if (!skip_value(&s))
        return false;
    *ret_value = (struct str){value, (size_t)(s.at - value)};
    *rest = (struct str){s.at, (size_t)(s.end - s.at)};
    return true;
}

/* --- in place --- */

static struct str left_of(const struct scan *s)
{
    return (struct str){s->at, (size_t)(s->end - s->at)};
}

char json_peek(struct str *rest)
{
    struct scan s = {rest->ptr, rest->ptr + rest->len};
    skip_blanks(&s);
    *rest = left_of(&s);
    return rest->len ? *rest->ptr : '\0';
}

bool json_value(struct str *rest, struct str *ret_value)
{
    json_peek(rest);
    struct scan s = {rest->ptr, rest->ptr + rest->len};
    if (!skip_value(&s))
        return false;
    *ret_value = (struct str){rest->ptr, (size_t)(s.at - rest->ptr)};
    *rest = left_of(&s);
    return true;
}

enum json_step json_enter(struct str *rest, char open, bool first, struct str *ret_name)
{
    struct scan s = {rest->ptr, rest->ptr + rest->len};
    char close = open == '{' ? '}' : ']';
    bool more = skip_char(&s, first ? open : ',');
    if (!more && first)
        return JSON_BROKEN;
    if (first || !more) {
        bool ends = skip_char(&s, close);
        *rest = left_of(&s);
        if (ends || !more)
            return ends ? JSON_END : JSON_BROKEN;
    }
    skip_blanks(&s);
    if (open == '{') {
        const char *name = s.at;
        if (s.at == s.end || *s.at != '"' || !skip_string(&s))
            return JSON_BROKEN;
        *ret_name = (struct str){name, (size_t)(s.at - name)};
        if (!skip_char(&s, ':'))
            return JSON_BROKEN;
        skip_blanks(&s);
    }
    *rest = left_of(&s);
    return JSON_ITEM;
}

/* --- texts --- */

/* The four digits of a \u escape at text[at]. */
static bool read_unit(struct str text, size_t at, uint32_t *ret_unit)
{
    *ret_unit = 0;
    if (at + 4 > text.len)
        return false;
    for (size_t i = at; i < at + 4; i++) {
        char c = text.ptr[i];
        uint32_t digit;
        if (c >= '0' && c <= '9')
            digit = (uint32_t)(c - '0');
        else if ((c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F'))
            digit = (uint32_t)((c | 0x20) - 'a') + 10;
        else
            return false;
        *ret_unit = *ret_unit << 4 | digit;
    }
    return true;
}

/* The character of the \u escape whose digits begin at *at, which is moved behind it; two escapes may make one. */
static bool read_unicode(struct str text, size_t *at, uint32_t *ret_rune)
{
    uint32_t low;
    if (!read_unit(text, *at, ret_rune))
        return false;
    *at += 4;
    if (*ret_rune < 0xd800 || *ret_rune > 0xdfff)
        return true;
    bool pair = *ret_rune < 0xdc00 && *at + 6 <= text.len && text.ptr[*at] == '\\' && text.ptr[*at + 1] == 'u' &&
                read_unit(text, *at + 2, &low) && low >= 0xdc00 && low <= 0xdfff;
    if (!pair) {
        *ret_rune = 0xfffd;
        return true;
    }
    *ret_rune = 0x10000 + ((*ret_rune - 0xd800) << 10) + (low - 0xdc00);
    *at += 6;
    return true;
}

bool json_text(struct strbuf *out, struct str raw)
{
    if (raw.len < 2 || raw.ptr[0] != '"' || raw.ptr[raw.len - 1] != '"')
        return false;
    struct str text = {raw.ptr + 1, raw.len - 2};
    for (size_t at = 0; at < text.len;) {
        if (text.ptr[at] != '\\') {
            strbuf_char(out, text.ptr[at++]);
            continue;
        }
        static const char from[] = "\"\\/bfnrt", to[] = "\"\\/\b\f\n\r\t";
        char letter = at + 1 < text.len ? text.ptr[at + 1] : '\0';
        const char *found = letter ? strchr(from, letter) : NULL;
        at += 2;
        uint32_t rune;
        char bytes[4];
        if (found)
            strbuf_char(out, to[found - from]);
        else if (letter == 'u' && read_unicode(text, &at, &rune))
            strbuf_bytes(out, bytes, utf8_put(bytes, rune));
        else
            return false;
    }
    return true;
}
