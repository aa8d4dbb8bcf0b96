/* frontend/progress.c: see progress.h. */
#include "frontend/progress.h"

#include <inttypes.h>
#include <stdio.h>
#include <unistd.h>

#include "base/cancel.h"

#define TERMINAL_EVERY_MS 200
#define LINES_EVERY_MS    10000
#define BAR_COLUMNS       30

void progress_number(struct strbuf *out, double number)
{
    static const char UNITS[] = " kMG";
    size_t unit = 0;
    for (; number >= 1000 && unit + 2 < sizeof UNITS; unit++)
        number /= 1000;
    strbuf_f(out, unit == 0 ? "%.0f" : number < 10 ? "%.2f" : number < 100 ? "%.1f" : "%.0f", number);
    if (unit > 0)
        strbuf_f(out, " %c", UNITS[unit]);
}

static void print_left(struct strbuf *out, double share, double first_share, int64_t elapsed_ms)
{
    double gone = share - first_share;
    if (!(gone > 0) || share >= 1)
        return;
    int64_t left_s = (int64_t)((1 - share) / gone * (double)elapsed_ms / 1000 + 0.5);
    if (left_s >= 3600)
        strbuf_f(out, ", %" PRId64 "h%02" PRId64 "m left", left_s / 3600, left_s / 60 % 60);
    else if (left_s >= 60)
        strbuf_f(out, ", %" PRId64 "m%02" PRId64 "s left", left_s / 60, left_s % 60);
    else
        strbuf_f(out, ", %" PRId64 "s left", left_s);
}

void progress_print(struct strbuf *out, double share, double first_share, uint64_t samples_n, int64_t elapsed_ms,
                    unsigned width)
{
    unsigned filled = (unsigned)(share * width);
    for (unsigned i = 0; i < width; i++)
        strbuf_char(out, i == 0 ? '[' : i + 1 == width ? ']' : i < filled ? '=' : ' ');
    strbuf_f(out, "%s%.1f %%, ", width ? " " : "", share * 100);
    progress_number(out, (double)samples_n);
    strbuf_cstr(out, " samples, ");
    progress_number(out, elapsed_ms > 0 ? (double)samples_n * 1000 / (double)elapsed_ms : 0);
    strbuf_cstr(out, "/s");
    print_left(out, share, first_share, elapsed_ms);
}

void progress_begin(struct progress *progress, double share)
{
    *progress = (struct progress){.terminal = isatty(STDERR_FILENO), .begun_ms = monotonic_ms(), .first_share = share};
    progress->printed_ms = progress->begun_ms;
}

void progress_show(struct progress *progress, double share, uint64_t samples_n)
{
    int64_t now_ms = monotonic_ms();
    progress->samples_n = samples_n;
    if (now_ms - progress->printed_ms < (progress->terminal ? TERMINAL_EVERY_MS : LINES_EVERY_MS))
        return;
    progress->printed_ms = now_ms;
    struct strbuf line;
    strbuf_init(&line, 256);
    progress_print(&line, share, progress->first_share, samples_n, now_ms - progress->begun_ms,
                   progress->terminal ? BAR_COLUMNS : 0);
    struct str text = strbuf_view(&line);
    fprintf(stderr, progress->terminal ? "\r" STR_FORMAT "\033[K" : STR_FORMAT "\n", STR_ARG(text));
    progress->drawn = progress->terminal;
    strbuf_release(&line);
}

void progress_clear(struct progress *progress)
{
    if (progress->drawn)
        fputs("\r\033[K", stderr);
    progress->drawn = false;
}
