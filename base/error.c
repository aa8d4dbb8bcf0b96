/* base/error.c: see error.h. */
#include "base/error.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/assert.h"

static const struct {
    const char *text;
    const char *api_type;
    int http_code;
} STATUSES[STATUS_MAX] = {
#define STATUS(name, text, api_type, http_code, meaning) [name] = {text, api_type, http_code},
#include "base/status.def"
#undef STATUS
};

PRINTF_LIKE(5, 0)
static void set(struct error *reterr, enum status status, uint32_t begin, uint32_t end, const char *format,
                va_list arguments)
{
    PRE(status != OK && status < STATUS_MAX);
    if (!reterr)
        return;
    reterr->status = status;
    reterr->begin = begin;
    reterr->end = end;
    vsnprintf(reterr->message, sizeof reterr->message, format, arguments);
}

enum status error_set(struct error *reterr, enum status status, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    set(reterr, status, ERROR_NO_POSITION, ERROR_NO_POSITION, format, arguments);
    va_end(arguments);
    return status;
}

enum status error_set_at(struct error *reterr, enum status status, uint32_t begin, uint32_t end, const char *format,
                         ...)
{
    va_list arguments;
    va_start(arguments, format);
    set(reterr, status, begin, end, format, arguments);
    va_end(arguments);
    return status;
}

enum status error_prefix(struct error *reterr, const char *format, ...)
{
    if (!reterr)
        return E_INTERNAL;
    char old[ERROR_MESSAGE_MAX];
    memcpy(old, reterr->message, sizeof old);
    va_list arguments;
    va_start(arguments, format);
    int length = vsnprintf(reterr->message, sizeof reterr->message, format, arguments);
    va_end(arguments);
    if (length >= 0 && (size_t)length < sizeof reterr->message)
        snprintf(reterr->message + length, sizeof reterr->message - (size_t)length, "%s", old);
    return reterr->status;
}

const char *status_text(enum status status)
{
    return STATUSES[status].text;
}
const char *status_api_type(enum status status)
{
    return STATUSES[status].api_type;
}
int status_http_code(enum status status)
{
    return STATUSES[status].http_code;
}
