/* promql/rune.c: runes as Go sees and quotes them; see token.h. */
#include "promql/token.h"

#include <stdio.h>
#include <string.h>

#include "base/utf8.h"

int32_t rune_decode(const char *at, const char *end, unsigned *ret_length)
{
    const unsigned char *s = (const unsigned char *)at;
    if (at >= end) {
        *ret_length = 0;
        return RUNE_EOF;
    }
    size_t n = utf8_length(s, (size_t)(end - at));
    *ret_length = n ? (unsigned)n : 1;
    switch (n) {
    case 1:
        return s[0];
    case 2:
        return (s[0] & 0x1f) << 6 | (s[1] & 0x3f);
    case 3:
        return (s[0] & 0x0f) << 12 | (s[1] & 0x3f) << 6 | (s[2] & 0x3f);
    case 4:
        return (s[0] & 0x07) << 18 | (s[1] & 0x3f) << 12 | (s[2] & 0x3f) << 6 | (s[3] & 0x3f);
    default:
        return RUNE_ERROR;
    }
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
        return (unsigned)snprintf(out, RUNE_TEXT_MAX, "\\%c", escape);
    if (rune_is_printable(rune))
        return (unsigned)utf8_put(out, (uint32_t)rune);
    if (rune < 0x80)
        return (unsigned)snprintf(out, RUNE_TEXT_MAX, "\\x%02x", (unsigned)rune);
    return (unsigned)snprintf(out, RUNE_TEXT_MAX, rune < 0x10000 ? "\\u%04x" : "\\U%08x", (unsigned)rune);
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
    int length = snprintf(text.text, sizeof text.text, "U+%04X", (unsigned)rune);
    if (rune_is_printable(rune)) {
        char utf8[4];
        snprintf(text.text + length, sizeof text.text - (size_t)length, " '%.*s'", (int)utf8_put(utf8, (uint32_t)rune),
                 utf8);
    }
    return text;
}
