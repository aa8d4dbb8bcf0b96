/* remote/import_openmetrics.c: one line of OpenMetrics, or of Prometheus's text format; see import_text.h.
 *
 * Exporters write the samples of a series one after the other: a line that begins with the very bytes of the last one's
 * name and labels is a further sample of that series, and its labels are not read again.
 */
#include "backend/metric_type.h"
#include "base/assert.h"
#include "base/float_text.h"
#include "base/utf8.h"
#include "remote/body.h"
#include "remote/import_internal.h"

static bool is_blank(char c)
{
    return c == ' ' || c == '\t';
}

static bool is_name_char(char c)
{
    return c == '_' || c == ':' || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
}

/* --- texts --- */

/* Takes the escapes out of a text: \\, \n, \" . */
static bool unescape(struct arena *arena, struct str *text)
{
    if (!text->len || !memchr(text->ptr, '\\', text->len))
        return true;
    char *out = arena_alloc(arena, text->len);
    size_t n = 0;
    if (!out)
        return false;
    for (size_t i = 0; i < text->len; i++) {
        char c = text->ptr[i];
        if (c == '\\' && i + 1 < text->len) {
            char next = text->ptr[i + 1];
            bool known = next == '\\' || next == 'n' || next == '"';
            i += known;
            c = !known ? c : next == 'n' ? '\n' : next;
        }
        out[n++] = c;
    }
    *text = (struct str){out, n};
    return true;
}

/* Cuts a quoted text off *rest, which begins with its quote. */
static bool cut_quoted(struct arena *arena, struct str *rest, struct str *ret)
{
    for (size_t i = 1; i < rest->len; i++) {
        if (rest->ptr[i] == '\\') {
            i++;
            continue;
        }
        if (rest->ptr[i] != '"')
            continue;
        *ret = (struct str){rest->ptr + 1, i - 1};
        *rest = import_from(*rest, i + 1);
        return unescape(arena, ret);
    }
    return false;
}

/* A name, quoted or not; empty if there is none. */
static bool cut_name(struct arena *arena, struct str *rest, struct str *ret)
{
    if (rest->len && *rest->ptr == '"')
        return cut_quoted(arena, rest, ret);
    size_t n = 0;
    while (n < rest->len && is_name_char(rest->ptr[n]))
        n++;
    *ret = (struct str){rest->ptr, n};
    *rest = import_from(*rest, n);
    return n == 0 || rest->ptr[-(ptrdiff_t)n] < '0' || rest->ptr[-(ptrdiff_t)n] > '9';
}

/* --- labels --- */

/* One `name="value"`, or the quoted name of the metric. */
static const char *read_label(struct import_lines *lines, struct str *rest, bool named)
{
    struct str name, value;
    bool quoted = rest->len && *rest->ptr == '"';
    if (!cut_name(lines->arena, rest, &name) || (!quoted && name.len == 0))
        return "a label's name is expected";
    *rest = import_skip_blanks(*rest);
    if (quoted && !named && rest->len && (*rest->ptr == ',' || *rest->ptr == '}'))
        return series_builder_label(&lines->builder, LABEL_METRIC_NAME, name) ? NULL : "no memory for its labels";
    if (!rest->len || *rest->ptr != '=')
        return "= is expected behind a label's name";
    *rest = import_skip_blanks(import_from(*rest, 1));
    if (!rest->len || *rest->ptr != '"')
        return "a label's value is not quoted";
    if (!cut_quoted(lines->arena, rest, &value))
        return "a label's value does not end";
    return series_builder_label(&lines->builder, name, value) ? NULL : "no memory for its labels";
}

/* What stands in braces, *rest beginning with the first; `named`: the metric's name was read before. */
static const char *read_labels(struct import_lines *lines, struct str *rest, bool named)
{
    *rest = import_skip_blanks(import_from(*rest, 1));
    while (rest->len && *rest->ptr != '}') {
        const char *problem = read_label(lines, rest, named);
        if (problem)
            return problem;
        *rest = import_skip_blanks(*rest);
        if (rest->len && *rest->ptr == ',')
            *rest = import_skip_blanks(import_from(*rest, 1));
        else if (!rest->len || *rest->ptr != '}')
            return ", or } is expected behind a label";
    }
    if (!rest->len)
        return "} is missing";
    *rest = import_from(*rest, 1);
    return NULL;
}

static const char *read_series(struct import_lines *lines, struct str *rest)
{
    struct str name;
    bool plain = rest->len && *rest->ptr != '"';
    if (!plain || !cut_name(lines->arena, rest, &name))
        return "a metric's name is expected";
    if (name.len && !series_builder_label(&lines->builder, LABEL_METRIC_NAME, name))
        return "no memory for its labels";
    struct str braces = import_skip_blanks(*rest);
    if (braces.len && *braces.ptr == '{') {
        *rest = braces;
        return read_labels(lines, rest, name.len > 0);
    }
    return name.len ? NULL : "a metric's name is expected";
}

/* Whether the line goes on with the series of the line before. */
static bool is_same_series(const struct import_lines *lines, struct str line)
{
    size_t n = lines->series.len;
    if (n == 0 || line.len <= n || !is_blank(line.ptr[n]) || memcmp(line.ptr, lines->series.ptr, n) != 0)
        return false;
    struct str rest = import_skip_blanks(import_from(line, n));
    return rest.len && *rest.ptr != '{';
}

/* --- value and time --- */

/* Seconds with a fraction to ms, digit by digit, so that nothing is lost in between. */
static bool read_seconds(struct str text, int64_t *ret_ms)
{
    bool negative = text.len && *text.ptr == '-';
    int64_t seconds = 0, fraction = 0;
    size_t at = *text.ptr == '.' || (negative && text.len > 1 && text.ptr[1] == '.') ? (size_t)negative
                                                                                     : whole_text_read(text, &seconds);
    size_t digits = 0;
    if (at < text.len && text.ptr[at] == '.') {
        for (at++; at < text.len && text.ptr[at] >= '0' && text.ptr[at] <= '9'; at++, digits++)
            fraction = digits < 3 ? fraction * 10 + (text.ptr[at] - '0') : fraction;
        for (size_t i = digits; i < 3; i++)
            fraction *= 10;
        at = digits ? at : 0;
    }
    if (at == text.len && at > 0)
        return !__builtin_mul_overflow(seconds, 1000, ret_ms) &&
               !__builtin_add_overflow(*ret_ms, negative ? -fraction : fraction, ret_ms);
    double value; /* with an exponent, which hardly anybody writes */
    if (float_text_read(text, &value) != text.len || !(value > -9e15 && value < 9e15))
        return false;
    *ret_ms = (int64_t)(value * 1000);
    return true;
}

/* Cuts off what stands before the next blank. */
static struct str cut_word(struct str *rest)
{
    size_t n = 0;
    while (n < rest->len && !is_blank(rest->ptr[n]))
        n++;
    struct str word = {rest->ptr, n};
    *rest = import_skip_blanks(import_from(*rest, n));
    return word;
}

/* The labels of an exemplar are read as if they were the series'; here they get a place of their own. */
static const char *read_exemplar_labels(struct import_lines *lines, struct str *rest, struct label **ret, size_t *ret_n)
{
    struct series_builder *builder = &lines->builder;
    size_t before = builder->labels_n;
    const char *problem = read_labels(lines, rest, true);
    *ret_n = builder->labels_n - before;
    builder->labels_n = before;
    *ret = NULL;
    if (problem || *ret_n == 0)
        return problem;
    void *own;
    builder->status = body_alloc(lines->arena, *ret_n, sizeof **ret, builder->what, &own, builder->reterr);
    if (builder->status != OK)
        return "no memory for an exemplar";
    memcpy(own, builder->labels + before, *ret_n * sizeof **ret);
    *ret = own;
    return NULL;
}

/* "# {trace_id="x"} 0.5 1700000000.1"; without a time it has its sample's. */
static const char *read_exemplar(struct import_lines *lines, struct str rest, int64_t time_ms)
{
    struct label *labels;
    size_t labels_n;
    double number;
    rest = import_skip_blanks(import_from(rest, 1));
    if (!rest.len || *rest.ptr != '{')
        return "an exemplar without labels";
    const char *problem = read_exemplar_labels(lines, &rest, &labels, &labels_n);
    if (problem)
        return problem;
    rest = import_skip_blanks(rest);
    struct str value = cut_word(&rest), time = cut_word(&rest);
    if (!value.len || float_text_read(value, &number) != value.len)
        return "an exemplar's value is no number";
    if (rest.len || (time.len && !read_seconds(time, &time_ms)))
        return "an exemplar's time is no number of seconds";
    return series_builder_exemplar(&lines->builder, labels, labels_n, number, time_ms) ? NULL
                                                                                       : "no memory for an exemplar";
}

static const char *read_sample(struct import_lines *lines, struct str rest, struct sample *ret)
{
    bool openmetrics = lines->reader->format == IMPORT_OPENMETRICS;
    struct str value = cut_word(&rest);
    if (!value.len || float_text_read(value, &ret->value) != value.len)
        return "its value is no number";
    ret->time_ms = lines->reader->time_ms;
    if (rest.len && *rest.ptr != '#') {
        struct str time = cut_word(&rest);
        if (openmetrics ? !read_seconds(time, &ret->time_ms) : whole_text_read(time, &ret->time_ms) != time.len)
            return openmetrics ? "its time is no number of seconds" : "its time is no whole number of ms";
    } else if (ret->time_ms == IMPORT_TIME_NEEDED) {
        return "it has no time";
    }
    if (rest.len && *rest.ptr == '#' && openmetrics)
        return read_exemplar(lines, rest, ret->time_ms);
    return rest.len ? "something stands behind its time" : NULL;
}

static const char *sample_line(struct import_lines *lines, struct str line)
{
    struct series_builder *builder = &lines->builder;
    struct sample sample;
    struct str rest = line;
    bool same = is_same_series(lines, line);
    const char *problem = NULL;
    if (same)
        rest = import_from(line, lines->series.len);
    else
        problem = read_series(lines, &rest);
    struct str series = {line.ptr, line.len - rest.len};
    if (!problem && rest.len && !is_blank(*rest.ptr))
        problem = "a blank is expected before its value";
    if (!problem)
        problem = read_sample(lines, import_skip_blanks(rest), &sample);
    struct sample *place = problem ? NULL : series_builder_room(builder, 1);
    if (!place) {
        series_builder_drop(builder);
        return problem ? problem : "no memory for its samples";
    }
    *place = sample;
    if (same) {
        series_builder_extend(builder);
    } else {
        series_builder_end(builder, 1);
        lines->series = series;
    }
    return NULL;
}

/* --- metadata --- */

/* The entry of that family: the last one as long as lines of one family follow each other. */
static struct metric_metadata *metadata_of(struct import_lines *lines, struct str family, const char *line)
{
    struct write_request *request = &lines->part->request;
    if (lines->metadata_open && str_eq(request->metadata[request->metadata_n - 1].family, family))
        return &request->metadata[request->metadata_n - 1];
    size_t before = request->metadata_n;
    series_builder_metadata(&lines->builder, &(struct metric_metadata){family, METRIC_UNKNOWN, STR(""), STR("")});
    if (request->metadata_n == before)
        return NULL;
    lines->metadata_open = true;
    lines->metadata_begin = line;
    lines->metadata_line = lines->reader->line - 1;
    lines->metadata_bad_lines = lines->part->bad_lines;
    return &request->metadata[before];
}

static const char *metadata_line(struct import_lines *lines, struct str line, struct str keyword, struct str rest)
{
    struct str family;
    if (!cut_name(lines->arena, &rest, &family) || family.len == 0)
        return "a metric's name is expected";
    rest = import_skip_blanks(rest);
    bool is_type = str_eq(keyword, STR("TYPE"));
    enum metric_type type = is_type ? metric_type_of(rest) : METRIC_UNKNOWN;
    if (is_type && type == METRIC_UNKNOWN && !str_eq(rest, STR("unknown")) && !str_eq(rest, STR("untyped")))
        return "a type that is unknown";
    if (!unescape(lines->arena, &rest))
        return "no memory for its text";
    struct metric_metadata *metadata = metadata_of(lines, family, line.ptr);
    if (!metadata)
        return lines->builder.status == OK ? "a name that is not UTF-8" : "no memory for its text";
    if (is_type)
        metadata->type = type;
    else if (!utf8_valid(rest))
        return "a text that is not UTF-8";
    else
        *(str_eq(keyword, STR("HELP")) ? &metadata->help : &metadata->unit) = rest;
    return NULL;
}

static const char *comment_line(struct import_lines *lines, struct str line)
{
    struct str rest = import_skip_blanks(import_from(line, 1));
    struct str keyword = cut_word(&rest);
    bool openmetrics = lines->reader->format == IMPORT_OPENMETRICS;
    if (openmetrics && str_eq(keyword, STR("EOF")) && !rest.len) {
        lines->reader->ended = true;
        lines->metadata_open = false;
        return NULL;
    }
    if (str_eq(keyword, STR("TYPE")) || str_eq(keyword, STR("HELP")) || (openmetrics && str_eq(keyword, STR("UNIT"))))
        return metadata_line(lines, line, keyword, rest);
    return NULL; /* a remark */
}

const char *import_openmetrics_line(struct import_lines *lines, struct str line)
{
    line = import_skip_blanks(line);
    if (lines->reader->ended)
        return "something stands behind # EOF";
    if (*line.ptr == '#')
        return comment_line(lines, line);
    lines->metadata_open = false;
    return sample_line(lines, line);
}
