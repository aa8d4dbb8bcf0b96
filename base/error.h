/* base/error.h: how operations fail.
 *
 * A function that can fail returns an enum status and takes, last, a `struct error *reterr` which may be NULL and is
 * filled only on failure. The message has a fixed size, so reporting an error never allocates and is never lost. The
 * first error wins: outer layers may prefix it (error_prefix), not replace it. Programming errors assert instead.
 *
 * Positions are byte ranges [begin, end) of the query text the error is about; ERROR_NO_POSITION when there is none.
 * Threads: plain data, owned by the caller.
 */
#ifndef PROMSPLIT_BASE_ERROR_H
#define PROMSPLIT_BASE_ERROR_H

#include <stdint.h>

#define MUST_USE                 __attribute__((warn_unused_result))
#define PRINTF_LIKE(text, first) __attribute__((format(printf, text, first)))

enum status {
#define STATUS(name, text, api_type, http_code, meaning) name,
#include "base/status.def"
#undef STATUS
    STATUS_MAX
};

#define ERROR_NO_POSITION UINT32_MAX
#define ERROR_MESSAGE_MAX 1024 /* bytes, with the final NUL */

struct error {
    enum status status;
    uint32_t begin, end;             /* byte range in the query text, or ERROR_NO_POSITION */
    char message[ERROR_MESSAGE_MAX]; /* UTF-8, cut at the end if longer */
};

/* Fills *reterr (NULL allowed) and returns status, so that `return error_set(reterr, E_LIMIT, …)` reads well. */
enum status error_set(struct error *reterr, enum status status, const char *format, ...) PRINTF_LIKE(3, 4);

/* The same with a position. */
enum status error_set_at(struct error *reterr, enum status status, uint32_t begin, uint32_t end, const char *format,
                         ...) PRINTF_LIKE(5, 6);

/* Puts text in front of the message; status and position stay. Returns the status. */
enum status error_prefix(struct error *reterr, const char *format, ...) PRINTF_LIKE(2, 3);

const char *status_text(enum status status);     /* "limit reached" */
const char *status_api_type(enum status status); /* "execution": errorType of the Prometheus API */
int status_http_code(enum status status);        /* 422 */

#endif
