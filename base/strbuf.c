/* base/strbuf.c: see strbuf.h. */
#include "base/strbuf.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "base/utf8.h"

void strbuf_init(struct strbuf *sb, size_t max_bytes)
{
    *sb = (struct strbuf){.max = max_bytes};
}

void strbuf_release(struct strbuf *sb)
{
    if (!sb)
        return;
    free(sb->ptr);
    *sb = (struct strbuf){.max = sb->max};
}

void strbuf_clear(struct strbuf *sb)
{
    sb->len = 0;
    sb->status = OK;
    if (sb->ptr)
        sb->ptr[0] = '\0';
}

char *strbuf_reserve(struct strbuf *sb, size_t n)
{
    if (sb->status != OK)
        return NULL;
    if (n > sb->max - sb->len) {
        sb->status = E_LIMIT;
        return NULL;
    }
    if (n >= PTRDIFF_MAX - sb->len) { /* no object is that large */
        sb->status = E_NOMEM;
        return NULL;
    }
    size_t need = sb->len + n + 1;
    if (need > sb->capacity) {
        size_t capacity = sb->capacity ? sb->capacity + sb->capacity / 2 : 64;
        if (capacity < need)
            capacity = need;
        char *grown = realloc(sb->ptr, capacity);
        if (!grown) {
            sb->status = E_NOMEM;
            return NULL;
        }
        sb->ptr = grown;
        sb->capacity = capacity;
    }
    return sb->ptr + sb->len;
}

void strbuf_commit(struct strbuf *sb, size_t n)
{
    PRE(sb->ptr && sb->len + n < sb->capacity);
    sb->len += n;
    sb->ptr[sb->len] = '\0';
}

void strbuf_bytes(struct strbuf *sb, const void *bytes, size_t n)
{
    char *place = strbuf_reserve(sb, n);
    if (!place)
        return;
    if (n)
        memcpy(place, bytes, n);
    strbuf_commit(sb, n);
}

void strbuf_str(struct strbuf *sb, struct str s)
{
    strbuf_bytes(sb, s.ptr, s.len);
}
void strbuf_cstr(struct strbuf *sb, const char *text)
{
    strbuf_bytes(sb, text, strlen(text));
}
void strbuf_char(struct strbuf *sb, char c)
{
    strbuf_bytes(sb, &c, 1);
}

void strbuf_u64(struct strbuf *sb, uint64_t number)
{
    char digits[20];
    size_t at = sizeof digits;
    do {
        digits[--at] = (char)('0' + number % 10);
        number /= 10;
    } while (number);
    strbuf_bytes(sb, digits + at, sizeof digits - at);
}

void strbuf_i64(struct strbuf *sb, int64_t number)
{
    if (number < 0)
        strbuf_char(sb, '-');
    strbuf_u64(sb, number < 0 ? -(uint64_t)number : (uint64_t)number);
}

void strbuf_f(struct strbuf *sb, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    int length = vsnprintf(NULL, 0, format, arguments);
    va_end(arguments);
    char *place = length < 0 ? NULL : strbuf_reserve(sb, (size_t)length);
    if (!place)
        return;
    va_start(arguments, format);
    vsnprintf(place, (size_t)length + 1, format, arguments);
    va_end(arguments);
    strbuf_commit(sb, (size_t)length);
}

static void json_escape(struct strbuf *sb, unsigned char c)
{
    switch (c) {
    case '"':
        strbuf_cstr(sb, "\\\"");
        break;
    case '\\':
        strbuf_cstr(sb, "\\\\");
        break;
    case '\n':
        strbuf_cstr(sb, "\\n");
        break;
    case '\r':
        strbuf_cstr(sb, "\\r");
        break;
    case '\t':
        strbuf_cstr(sb, "\\t");
        break;
    default:
        strbuf_f(sb, "\\u%04x", c);
    }
}

void strbuf_json(struct strbuf *sb, struct str s)
{
    const unsigned char *bytes = (const unsigned char *)(s.len ? s.ptr : "");
    strbuf_char(sb, '"');
    size_t plain = 0; /* start of the run not yet copied */
    size_t i = 0;
    while (i < s.len) {
        unsigned char c = bytes[i];
        if (c >= 0x20 && c < 0x80 && c != '"' && c != '\\') {
            i++;
            continue;
        }
        size_t n = c < 0x80 ? 0 : utf8_length(bytes + i, s.len - i);
        if (n) {
            i += n;
            continue;
        }
        strbuf_bytes(sb, bytes + plain, i - plain);
        if (c < 0x80)
            json_escape(sb, c);
        else
            strbuf_cstr(sb, "\xef\xbf\xbd");
        plain = ++i;
    }
    strbuf_bytes(sb, bytes + plain, s.len - plain);
    strbuf_char(sb, '"');
}

enum status strbuf_status(const struct strbuf *sb, const char *what, struct error *reterr)
{
    if (sb->status == E_LIMIT)
        return error_set(reterr, E_LIMIT, "%s is longer than the allowed %zu bytes", what, sb->max);
    if (sb->status != OK)
        return error_set(reterr, sb->status, "no memory for %s of %zu bytes", what, sb->len);
    return OK;
}

char *strbuf_detach(struct strbuf *sb, size_t *ret_len)
{
    char *bytes = sb->ptr;
    if (ret_len)
        *ret_len = sb->len;
    *sb = (struct strbuf){.max = sb->max};
    return bytes;
}
