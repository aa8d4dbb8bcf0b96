/* base/strbuf.h: a bounded text and byte builder with a sticky error.
 *
 * Append as you like and ask once at the end: after the first failure (limit or memory) nothing more is added and
 * strbuf_status tells. The buffer is always NUL-terminated behind its length.
 *
 * Life: init, append…, then release, or take the bytes out with strbuf_detach. A zeroed struct may be released.
 * Threads: one at a time.
 */
#ifndef PROMSPLIT_BASE_STRBUF_H
#define PROMSPLIT_BASE_STRBUF_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "base/str.h"

struct strbuf {
    char *ptr; /* owned; NULL while empty */
    size_t len;
    size_t capacity;
    size_t max;         /* len never exceeds it */
    enum status status; /* OK, E_LIMIT or E_NOMEM; sticky */
};

void strbuf_init(struct strbuf *sb, size_t max_bytes);
void strbuf_release(struct strbuf *sb); /* NULL and zeroed are fine */
void strbuf_clear(struct strbuf *sb);   /* empty again, memory and limit kept, error forgotten */

void strbuf_bytes(struct strbuf *sb, const void *bytes, size_t n);
void strbuf_str(struct strbuf *sb, struct str s);
void strbuf_cstr(struct strbuf *sb, const char *text);
void strbuf_char(struct strbuf *sb, char c);
void strbuf_i64(struct strbuf *sb, int64_t number);
void strbuf_u64(struct strbuf *sb, uint64_t number);
void strbuf_f(struct strbuf *sb, const char *format, ...) PRINTF_LIKE(2, 3); /* for our own words and numbers */

/* Room for n more bytes to be written at the returned place, then strbuf_commit; NULL after a failure. */
char *strbuf_reserve(struct strbuf *sb, size_t n);
void strbuf_commit(struct strbuf *sb, size_t n);

/* "…" with the escapes of JSON (RFC 8259); invalid UTF-8 becomes U+FFFD. */
void strbuf_json(struct strbuf *sb, struct str s);

/* OK, or the first failure; fills reterr with the limit and what was asked. `what` names the buffer. */
MUST_USE enum status strbuf_status(const struct strbuf *sb, const char *what, struct error *reterr);

static inline struct str strbuf_view(const struct strbuf *sb)
{
    return (struct str){sb->ptr ? sb->ptr : "", sb->len};
}

/* Hands the bytes to the caller, who frees them; the builder is empty after. NULL only when nothing was added. */
char *strbuf_detach(struct strbuf *sb, size_t *ret_len);

#endif
