/* promql/rune.c: runes as Go sees and quotes them; see token.h. */
#include "promql/token.h"

#include <stdio.h>
#include <string.h>

int32_t rune_decode(const char *at, const char *end, unsigned *ret_length)
{
    const unsigned char *s = (const unsigned char *)at;
    if (at >= end) {
        *ret_length = 0;
        return RUNE_EOF;
    }
    *ret_length = 1;
    unsigned char c = s[0];
    if (c < 0x80)
        return c;
    unsigned n = c >= 0xc2 && c < 0xe0 ? 2 : c >= 0xe0 && c < 0xf0 ? 3 : c >= 0xf0 && c < 0xf5 ? 4 : 0;
    if (n == 0 || (size_t)(end - at) < n)
        return RUNE_ERROR;
    int32_t rune = n == 2 ? c & 0x1f : n == 3 ? c & 0x0f : c & 0x07;
    for (unsigned i = 1; i < n; i++) {
        if ((s[i] & 0xc0) != 0x80)
            return RUNE_ERROR;
        rune = rune << 6 | (s[i] & 0x3f);
    }
    bool overlong = (n == 3 && rune < 0x800) || (n == 4 && rune < 0x10000);
    if (overlong || (rune >= 0xd800 && rune < 0xe000) || rune > 0x10ffff)
        return RUNE_ERROR;
    *ret_length = n;
    return rune;
}

unsigned rune_encode(char out[4], int32_t rune)
{
    if (rune < 0 || rune > 0x10ffff || (rune >= 0xd800 && rune < 0xe000))
        rune = RUNE_ERROR;
    if (rune < 0x80) {
        out[0] = (char)rune;
        return 1;
    }
    unsigned n = rune < 0x800 ? 2 : rune < 0x10000 ? 3 : 4;
    static const unsigned char LEAD[] = {0, 0, 0xc0, 0xe0, 0xf0};
    for (unsigned i = n - 1; i > 0; i--) {
        out[i] = (char)(0x80 | (rune & 0x3f));
        rune >>= 6;
    }
    out[0] = (char)(LEAD[n] | rune);
    return n;
}

bool rune_is_printable(int32_t rune)
{
    static const struct {
        int32_t first, last;
    } RANGES[] = {
#include "promql/printable.def"
    };
    if (rune < 0x80)
        return rune >= 0x20 && rune < 0x7f;
    size_t low = 0, high = sizeof RANGES / sizeof *RANGES;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (rune < RANGES[middle].first)
            high = middle;
        else if (rune > RANGES[middle].last)
            low = middle + 1;
        else
            return true;
    }
    return false;
}

/* The escapes both quotings share; 0 if the rune has none. */
static char short_escape(int32_t rune)
{
    switch (rune) {
    case '\a':
        return 'a';
    case '\b':
        return 'b';
    case '\f':
        return 'f';
    case '\n':
        return 'n';
    case '\r':
        return 'r';
    case '\t':
        return 't';
    case '\v':
        return 'v';
    case '\\':
        return '\\';
    default:
        return 0;
    }
}

unsigned rune_escape(char out[RUNE_TEXT_MAX], int32_t rune, char quote)
{
    char escape = rune == quote ? quote : short_escape(rune);
    if (escape)
        return (unsigned)sprintf(out, "\\%c", escape);
    if (rune_is_printable(rune))
        return rune_encode(out, rune);
    if (rune < 0x80)
        return (unsigned)sprintf(out, "\\x%02x", (unsigned)rune);
    return (unsigned)sprintf(out, rune < 0x10000 ? "\\u%04x" : "\\U%08x", (unsigned)rune);
}

struct rune_text rune_quoted(int32_t rune)
{
    struct rune_text quoted;
    char inner[RUNE_TEXT_MAX];
    unsigned length = rune_escape(inner, rune == RUNE_EOF ? RUNE_ERROR : rune, '\'');
    snprintf(quoted.text, sizeof quoted.text, "'%.*s'", (int)length, inner);
    return quoted;
}

struct rune_text rune_unicode(int32_t rune)
{
    struct rune_text text;
    int length = sprintf(text.text, "U+%04X", (unsigned)rune);
    if (rune_is_printable(rune)) {
        char utf8[4];
        sprintf(text.text + length, " '%.*s'", (int)rune_encode(utf8, rune), utf8);
    }
    return text;
}
