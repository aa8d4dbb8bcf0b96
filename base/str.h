/* base/str.h: text as a view: pointer and length, by value, no final NUL needed, nothing owned.
 *
 * Names are compared by full length. A zeroed struct str is the empty text.
 */
#ifndef PROMSPLIT_BASE_STR_H
#define PROMSPLIT_BASE_STR_H

#include <stdbool.h>
#include <stddef.h>
#include <string.h>

struct str {
    const char *ptr;
    size_t len; /* bytes */
};

#define STR(literal) ((struct str){"" literal, sizeof(literal) - 1})
#define STR_FORMAT   "%.*s" /* printf("… " STR_FORMAT, STR_ARG(s)); for messages only, never for SQL */
#define STR_ARG(s)   (int)(s).len, (s).ptr ? (s).ptr : ""
#define STR_STATIC(array)                                                                                              \
    {                                                                                                                  \
        "" array, sizeof(array) - 1                                                                                    \
    }

static inline struct str str_from(const char *text)
{
    return (struct str){text, text ? strlen(text) : 0};
}

static inline bool str_eq(struct str a, struct str b)
{
    return a.len == b.len && (a.len == 0 || memcmp(a.ptr, b.ptr, a.len) == 0);
}

/* Bytewise order, a shorter prefix first: the order of Prometheus labels. */
static inline int str_cmp(struct str a, struct str b)
{
    size_t common = a.len < b.len ? a.len : b.len;
    int order = common ? memcmp(a.ptr, b.ptr, common) : 0;
    if (order != 0)
        return order;
    return a.len < b.len ? -1 : a.len > b.len;
}

static inline bool str_starts_with(struct str s, struct str prefix)
{
    return s.len >= prefix.len && (prefix.len == 0 || memcmp(s.ptr, prefix.ptr, prefix.len) == 0);
}

static inline bool str_ends_with(struct str s, struct str suffix)
{
    return s.len >= suffix.len && (suffix.len == 0 || memcmp(s.ptr + s.len - suffix.len, suffix.ptr, suffix.len) == 0);
}

#endif
