/* frontend/cli.c: see cli.h. */
#include "frontend/cli.h"

#include <math.h>
#include <string.h>

#include "backend/duckdb/duckdb_backend.h"
#include "base/assert.h"
#include "frontend/config_table.h"
#include "promql/parse.h"

/* Characters of UTF-8 text: bytes that continue none. Wide characters count as one. */
static size_t text_columns(struct str text)
{
    size_t n = 0;
    for (size_t i = 0; i < text.len; i++)
        n += ((unsigned char)text.ptr[i] & 0xc0) != 0x80;
    return n;
}

static void print_caret(const struct error *error, struct str query)
{
    size_t begin = error->begin < query.len ? error->begin : query.len;
    size_t line = begin;
    while (line > 0 && query.ptr[line - 1] != '\n')
        line--;
    size_t length = strcspn(query.ptr + line, "\n");
    fputs("  ", stderr);
    for (size_t i = line; i < line + length; i++)
        fputc(query.ptr[i] == '\t' ? ' ' : query.ptr[i], stderr); /* so that the caret's column fits */
    size_t end = error->end > begin && error->end <= line + length ? error->end : begin;
    size_t carets = text_columns((struct str){query.ptr + begin, end - begin});
    fprintf(stderr, "\n  %*s", (int)text_columns((struct str){query.ptr + line, begin - line}), "");
    for (size_t i = 0; i < (carets ? carets : 1); i++)
        fputc('^', stderr);
    fputc('\n', stderr);
}

int cli_fail(enum cli_exit code, const struct error *error, const char *query)
{
    fprintf(stderr, "promsplit: %s\n", error->message);
    if (query && error->begin != ERROR_NO_POSITION)
        print_caret(error, str_from(query));
    return code;
}

enum status cli_config(struct config *config, enum command command, int argc, char *const argv[])
{
    struct error error = {0};
    config_init(config);
    enum status status = config_parse(config, command, argc, argv, &error);
    if (status != OK)
        fprintf(stderr, "promsplit: %s\nTry: promsplit %s --help\n", error.message, command_name(command));
    return status;
}

enum status cli_open_store(const struct duckdb_options *options, struct backend **ret_backend, struct error *reterr)
{
    enum status status = duckdb_backend_open(options, ret_backend, reterr);
    if (status != OK && reterr && strstr(reterr->message, "Could not set lock"))
        return error_set(reterr, E_UNAVAILABLE,
                         "the store in %s is open in another process: stop the server first, or send samples to its "
                         "/api/v1/import",
                         options->directory);
    return status;
}

enum status cli_time(const char *flag, const char *text, int64_t standard, int64_t *ret_ms, struct error *reterr)
{
    *ret_ms = standard;
    if (text[0] == '\0' || promql_parse_api_time(str_from(text), ret_ms))
        return OK;
    return error_set(reterr, E_BAD_DATA, "--%s: \"%s\" is no time: seconds since the epoch, or RFC 3339", flag, text);
}

enum cli_exit cli_print(const struct strbuf *text)
{
    struct error error = {0};
    if (strbuf_status(text, "output", &error) != OK)
        return (enum cli_exit)cli_fail(CLI_FAILED, &error, NULL);
    struct str view = strbuf_view(text);
    bool written = fwrite(view.ptr, 1, view.len, stdout) == view.len && fflush(stdout) == 0;
    return written ? CLI_OK : CLI_FAILED;
}

/* --- tables --- */

static void print_row(struct strbuf *out, const struct table_column *columns, const size_t *widths, size_t n,
                      const struct str *cells)
{
    for (size_t c = 0; c < n; c++) {
        struct str cell = cells ? cells[c] : columns[c].name;
        size_t pad = widths[c] - text_columns(cell);
        if (columns[c].right)
            strbuf_f(out, "%*s", (int)pad, "");
        strbuf_str(out, cell);
        bool last = c + 1 == n;
        if (!columns[c].right && !last)
            strbuf_f(out, "%*s", (int)pad, "");
        strbuf_cstr(out, last ? "\n" : "  ");
    }
}

#define COLUMNS_MAX 256 /* more than the labels of any series that is accepted here */

void table_print(struct strbuf *out, const struct table_column *columns, size_t columns_n, const struct str *cells,
                 size_t rows_n)
{
    size_t widths[COLUMNS_MAX];
    PRE(columns_n <= COLUMNS_MAX);
    for (size_t c = 0; c < columns_n; c++) {
        widths[c] = text_columns(columns[c].name);
        for (size_t r = 0; r < rows_n; r++) {
            size_t width = text_columns(cells[r * columns_n + c]);
            widths[c] = width > widths[c] ? width : widths[c];
        }
    }
    print_row(out, columns, widths, columns_n, NULL);
    for (size_t r = 0; r < rows_n; r++)
        print_row(out, columns, widths, columns_n, cells + r * columns_n);
}

/* Each character shows the mean of its share of the values; the lowest and the highest span the eight heights. */
void sparkline_print(struct strbuf *out, const double *values, size_t n, size_t width)
{
    double low = INFINITY, high = -INFINITY;
    for (size_t i = 0; i < n; i++) {
        if (!isfinite(values[i]))
            continue;
        low = fmin(low, values[i]);
        high = fmax(high, values[i]);
    }
    size_t cells = n < width ? n : width;
    for (size_t c = 0; c < cells; c++) {
        double sum = 0;
        size_t count = 0;
        for (size_t i = c * n / cells; i < (c + 1) * n / cells; i++) {
            if (!isfinite(values[i]))
                continue;
            sum += values[i] / (double)n; /* divided first: sums of huge values stay finite */
            count++;
        }
        if (count == 0) {
            strbuf_char(out, ' ');
            continue;
        }
        double mean = sum * ((double)n / (double)count), span = high - low;
        int height = span > 0 && isfinite(span) ? (int)((mean - low) / span * 7.999) : 3;
        height = height < 0 ? 0 : height > 7 ? 7 : height;
        const char block[] = {(char)0xe2, (char)0x96, (char)(0x81 + height)}; /* U+2581 … U+2588 */
        strbuf_bytes(out, block, sizeof block);
    }
}
