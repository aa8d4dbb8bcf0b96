/* frontend/log.h: the program's log, on standard error; libraries never log.
 *
 * One line per event, logfmt or JSON: ts, level, msg, then pairs. log_event(log, LOG_INFO, "listening", "address",
 * "%s", a, NULL) takes name, format, arguments… groups through the small builder below, so values are quoted properly.
 * Threads: any; one write(2) per line.
 */
#ifndef PROMSPLIT_FRONTEND_LOG_H
#define PROMSPLIT_FRONTEND_LOG_H

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"
#include "base/strbuf.h"

enum log_level {
    LOG_DEBUG,
    LOG_INFO,
    LOG_WARN,
    LOG_ERROR
};

struct log;

MUST_USE enum status log_new(const char *level, const char *format, struct log **ret_log, struct error *reterr);
void log_free(struct log *log);
bool log_on(const struct log *log, enum log_level level);

/* A line under construction, on the caller's stack. */
struct log_line {
    struct log *log;
    bool on;
    struct strbuf text;
};

struct log_line log_begin(struct log *log, enum log_level level, const char *message);
void log_str(struct log_line *line, const char *name, struct str value);
void log_i64(struct log_line *line, const char *name, int64_t value);
void log_error(struct log_line *line, const struct error *error);
void log_end(struct log_line *line);

#endif
