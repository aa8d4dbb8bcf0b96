/* frontend/log.c: see log.h. */
#include "frontend/log.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/cancel.h"

#define LINE_MAX_BYTES  65536
#define VALUE_MAX_BYTES 8192 /* longer values are cut: a query text may be a megabyte */

struct log {
    enum log_level level; /* the least that is written */
    bool json;
};

static const char *const level_names[] = {"debug", "info", "warn", "error"};

enum status log_new(const char *level, const char *format, struct log **ret_log, struct error *reterr)
{
    struct log log = {.json = strcmp(format, "json") == 0};
    if (!log.json && strcmp(format, "logfmt") != 0)
        return error_set(reterr, E_BAD_DATA, "log format \"%s\" is unknown; allowed: logfmt, json", format);
    size_t n = sizeof level_names / sizeof level_names[0], at = 0;
    while (at < n && strcmp(level_names[at], level) != 0)
        at++;
    if (at == n)
        return error_set(reterr, E_BAD_DATA, "log level \"%s\" is unknown; allowed: debug, info, warn, error", level);
    log.level = (enum log_level)at;
    *ret_log = malloc(sizeof log);
    if (!*ret_log)
        return error_set(reterr, E_NOMEM, "no memory for the log");
    **ret_log = log;
    return OK;
}

void log_free(struct log *log)
{
    free(log);
}

bool log_on(const struct log *log, enum log_level level)
{
    return log && level >= log->level;
}

/* logfmt wants quotes around what holds blanks, quotes, equal signs, controls or bytes beyond ASCII, which JSON's
 * quoting also makes valid UTF-8. */
static bool is_bare(struct str value)
{
    for (size_t i = 0; i < value.len; i++) {
        unsigned char c = (unsigned char)value.ptr[i];
        if (c <= ' ' || c >= 0x7f || c == '"' || c == '=' || c == '\\')
            return false;
    }
    return value.len > 0;
}

/* One pair; a pair that no longer fits is left out whole, so that the line stays readable by programs. */
static void add_pair(struct log_line *line, const char *name, struct str value, bool number)
{
    if (!line->on)
        return;
    struct strbuf *text = &line->text;
    size_t before = text->len;
    if (line->log->json) {
        strbuf_cstr(text, before ? "," : "{");
        strbuf_json(text, str_from(name));
        strbuf_char(text, ':');
    } else {
        strbuf_cstr(text, before ? " " : "");
        strbuf_cstr(text, name);
        strbuf_char(text, '=');
    }
    if (number || (!line->log->json && is_bare(value)))
        strbuf_str(text, value);
    else
        strbuf_json(text, value);
    if (text->status != OK) {
        text->len = before;
        text->status = OK;
    }
}

static void add_time(struct log_line *line)
{
    int64_t now_ms = wall_clock_ms();
    time_t seconds = (time_t)(now_ms / 1000);
    struct tm utc;
    gmtime_r(&seconds, &utc);
    char date[32], text[48];
    strftime(date, sizeof date, "%Y-%m-%dT%H:%M:%S", &utc);
    int n = snprintf(text, sizeof text, "%s.%03dZ", date, (int)(now_ms % 1000));
    add_pair(line, "ts", (struct str){text, (size_t)n}, false);
}

struct log_line log_begin(struct log *log, enum log_level level, const char *message)
{
    struct log_line line = {.log = log, .on = log_on(log, level)};
    if (!line.on)
        return line;
    strbuf_init(&line.text, LINE_MAX_BYTES);
    add_time(&line);
    add_pair(&line, "level", str_from(level_names[level]), false);
    add_pair(&line, "msg", str_from(message), false);
    return line;
}

void log_str(struct log_line *line, const char *name, struct str value)
{
    if (value.len > VALUE_MAX_BYTES)
        value.len = VALUE_MAX_BYTES;
    add_pair(line, name, value, false);
}

void log_i64(struct log_line *line, const char *name, int64_t value)
{
    char text[24];
    int n = snprintf(text, sizeof text, "%lld", (long long)value);
    add_pair(line, name, (struct str){text, (size_t)n}, true);
}

void log_error(struct log_line *line, const struct error *error)
{
    add_pair(line, "err", str_from(error->message), false);
    add_pair(line, "status", str_from(status_text(error->status)), false);
}

void log_end(struct log_line *line)
{
    if (!line->on)
        return;
    /* The ending fits even when the pairs filled the line. */
    line->text.max += 2;
    strbuf_cstr(&line->text, line->log->json ? "}\n" : "\n");
    struct str text = strbuf_view(&line->text);
    ssize_t written;
    do
        written = write(STDERR_FILENO, text.ptr, text.len);
    while (written < 0 && errno == EINTR);
    strbuf_release(&line->text);
    line->on = false;
}
