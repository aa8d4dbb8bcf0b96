/* base/error.c: see error.h. */
#include "base/error.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/assert.h"
#include "base/utf8.h"

static const struct {
    const char *text;
    const char *api_type;
    int http_code;
} STATUSES[STATUS_MAX] = {
#define STATUS(name, text, api_type, http_code, meaning) [name] = {text, api_type, http_code},
#include "base/status.def"
#undef STATUS
};

/* Takes away the start of a character whose rest did not fit. */
static void cut_at_character(char message[ERROR_MESSAGE_MAX])
{
    size_t length = strlen(message), tail = 0;
    while (tail < 3 && tail < length && (message[length - 1 - tail] & 0xc0) == 0x80)
        tail++;
    size_t lead = length - 1 - tail;
    if (tail < length && utf8_length((unsigned char *)message + lead, tail + 1) != tail + 1)
        message[lead] = '\0';
}

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
    int length = vsnprintf(reterr->message, sizeof reterr->message, format, arguments);
    if (length >= (int)sizeof reterr->message)
        cut_at_character(reterr->message);
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
        length += snprintf(reterr->message + length, sizeof reterr->message - (size_t)length, "%s", old);
    if (length >= (int)sizeof reterr->message)
        cut_at_character(reterr->message);
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
