/* base/utf8.h: what is valid UTF-8, and writing it (RFC 3629: no surrogates, no overlong forms, nothing above
 * U+10FFFF).
 *
 * Threads: no state.
 */
#ifndef PROMSPLIT_BASE_UTF8_H
#define PROMSPLIT_BASE_UTF8_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "base/str.h"

/* Length of the valid sequence at s, 0 if there is none; left > 0 bytes are readable. */
static inline size_t utf8_length(const unsigned char *s, size_t left)
{
    unsigned char c = s[0];
    size_t n = c < 0x80 ? 1 : c >= 0xc2 && c < 0xe0 ? 2 : c >= 0xe0 && c < 0xf0 ? 3 : c >= 0xf0 && c < 0xf5 ? 4 : 0;
    if (n == 0 || n > left)
        return 0;
    for (size_t i = 1; i < n; i++)
        if ((s[i] & 0xc0) != 0x80)
            return 0;
    if ((c == 0xe0 && s[1] < 0xa0) || (c == 0xed && s[1] > 0x9f) || (c == 0xf0 && s[1] < 0x90) ||
        (c == 0xf4 && s[1] > 0x8f))
        return 0;
    return n;
}

/* Whether all bytes are below 0x80: the usual case, decided a word at a time. The last word overlaps the one before. */
static inline bool utf8_is_ascii(struct str s)
{
    const uint64_t high = UINT64_C(0x8080808080808080);
    uint64_t word, all = 0;
    if (s.len >= sizeof word) {
        for (size_t i = 0; i + sizeof word <= s.len; i += sizeof word) {
            memcpy(&word, s.ptr + i, sizeof word);
            all |= word;
        }
        memcpy(&word, s.ptr + s.len - sizeof word, sizeof word);
        return ((all | word) & high) == 0;
    }
    for (size_t i = 0; i < s.len; i++)
        all |= (unsigned char)s.ptr[i];
    return (all & high) == 0;
}

static inline bool utf8_valid(struct str s)
{
    if (utf8_is_ascii(s))
        return true;
    for (size_t i = 0, n; i < s.len; i += n) {
        n = utf8_length((const unsigned char *)s.ptr + i, s.len - i);
        if (n == 0)
            return false;
    }
    return true;
}

/* How many characters a valid text has. */
static inline size_t utf8_characters(struct str s)
{
    size_t n = 0;
    for (size_t i = 0; i < s.len; i++)
        n += ((unsigned char)s.ptr[i] & 0xc0) != 0x80;
    return n;
}

/* Writes the character, at most U+10FFFF, in one to four bytes; returns how many. */
static inline size_t utf8_put(char *at, uint32_t rune)
{
    if (rune < 0x80) {
        at[0] = (char)rune;
        return 1;
    }
    size_t n = rune < 0x800 ? 2 : rune < 0x10000 ? 3 : 4;
    for (size_t i = n - 1; i > 0; i--, rune >>= 6)
        at[i] = (char)(0x80 | (rune & 0x3f));
    at[0] = (char)((0xf00 >> n & 0xff) | rune); /* 110…, 1110…, 11110… */
    return n;
}

#endif
