/* remote/export_text.c: see export_text.h. */
#include "remote/export_text.h"

#include <inttypes.h>

#include "backend/metric_type.h"
#include "base/assert.h"
#include "base/float_text.h"

/* --- JSON lines --- */

static void json_value(struct strbuf *out, double value)
{
    char text[FLOAT_TEXT_MAX];
    if (value == value && value - value == 0)
        strbuf_bytes(out, text, float_text_json(text, value));
    else if (value == value)
        strbuf_cstr(out, value > 0 ? "\"Infinity\"" : "\"-Infinity\"");
    else if (is_stale_marker(value))
        strbuf_cstr(out, "\"" IMPORT_STALE_WORD "\"");
    else if (double_bits(value) == NORMAL_NAN_BITS)
        strbuf_cstr(out, "null");
    else
        strbuf_f(out, "\"NaN(0x%016" PRIx64 ")\"", double_bits(value));
}

static void json_samples(struct strbuf *out, struct labels labels, const struct sample *samples, size_t n)
{
    strbuf_cstr(out, "{\"metric\":{");
    for (size_t i = 0; i < labels.n; i++) {
        strbuf_cstr(out, i ? "," : "");
        strbuf_json(out, labels.at[i].name);
        strbuf_char(out, ':');
        strbuf_json(out, labels.at[i].value);
    }
    strbuf_cstr(out, "},\"values\":[");
    for (size_t i = 0; i < n; i++) {
        if (i)
            strbuf_char(out, ',');
        json_value(out, samples[i].value);
    }
    strbuf_cstr(out, "],\"timestamps\":[");
    for (size_t i = 0; i < n; i++) {
        if (i)
            strbuf_char(out, ',');
        strbuf_i64(out, samples[i].time_ms);
    }
    strbuf_cstr(out, "]}\n");
}

/* --- text --- */

/* With the escapes of both formats; `quotes`: those of a label's value. */
static void escaped(struct strbuf *out, struct str text, bool quotes)
{
    for (size_t i = 0; i < text.len; i++) {
        char c = text.ptr[i];
        if (c == '\\' || (quotes && c == '"'))
            strbuf_char(out, '\\');
        if (c == '\n')
            strbuf_cstr(out, "\\n");
        else
            strbuf_char(out, c);
    }
}

static void quoted(struct strbuf *out, struct str text)
{
    strbuf_char(out, '"');
    escaped(out, text, true);
    strbuf_char(out, '"');
}

/* name{a="b"}; names that are no identifiers stand in quotes, that of the metric in the braces then. */
static void text_series(struct strbuf *out, struct labels labels)
{
    struct str name = labels_get(labels, LABEL_METRIC_NAME);
    bool plain = metric_name_is_plain(name), first = true;
    if (plain)
        strbuf_str(out, name);
    if (plain && labels.n == 1)
        return;
    strbuf_char(out, '{');
    if (!plain) {
        quoted(out, name);
        first = false;
    }
    for (size_t i = 0; i < labels.n; i++) {
        const struct label *label = &labels.at[i];
        if (str_eq(label->name, LABEL_METRIC_NAME))
            continue;
        strbuf_cstr(out, first ? "" : ",");
        first = false;
        if (label_name_is_plain(label->name))
            strbuf_str(out, label->name);
        else
            quoted(out, label->name);
        strbuf_char(out, '=');
        quoted(out, label->value);
    }
    strbuf_char(out, '}');
}

static void text_samples(struct strbuf *out, bool seconds, struct labels labels, const struct sample *samples, size_t n,
                         uint64_t *markers_n)
{
    struct strbuf series;
    strbuf_init(&series, SIZE_MAX / 2);
    text_series(&series, labels);
    for (size_t i = 0; i < n; i++) {
        char text[FLOAT_TEXT_MAX];
        if (is_stale_marker(samples[i].value)) {
            ++*markers_n;
            continue;
        }
        strbuf_str(out, strbuf_view(&series));
        strbuf_char(out, ' ');
        strbuf_bytes(out, text, float_text_json(text, samples[i].value));
        strbuf_char(out, ' ');
        if (seconds)
            strbuf_bytes(out, text, time_text_json(text, samples[i].time_ms));
        else
            strbuf_i64(out, samples[i].time_ms);
        strbuf_char(out, '\n');
    }
    strbuf_release(&series);
}

void export_samples(struct strbuf *out, enum import_format format, struct labels labels, const struct sample *samples,
                    size_t n, uint64_t *markers_n)
{
    if (format == IMPORT_JSON)
        json_samples(out, labels, samples, n);
    else
        text_samples(out, format == IMPORT_OPENMETRICS, labels, samples, n, markers_n);
}

void export_end(struct strbuf *out, enum import_format format)
{
    if (format == IMPORT_OPENMETRICS)
        strbuf_cstr(out, "# EOF\n");
}

/* --- metadata --- */

static void comment(struct strbuf *out, const char *keyword, struct str family, struct str text, bool quotes)
{
    strbuf_f(out, "# %s ", keyword);
    if (metric_name_is_plain(family))
        strbuf_str(out, family);
    else
        quoted(out, family);
    strbuf_char(out, ' ');
    escaped(out, text, quotes);
    strbuf_char(out, '\n');
}

void export_metadata(struct strbuf *out, enum import_format format, const struct metric_metadata *metadata)
{
    bool openmetrics = format == IMPORT_OPENMETRICS;
    if (format == IMPORT_JSON)
        return;
    const char *type = metadata->type == METRIC_UNKNOWN && !openmetrics ? "untyped" : metric_type_text(metadata->type);
    comment(out, "TYPE", metadata->family, str_from(type), false);
    if (metadata->help.len)
        comment(out, "HELP", metadata->family, metadata->help, openmetrics);
    if (metadata->unit.len && openmetrics)
        comment(out, "UNIT", metadata->family, metadata->unit, false);
}

static const struct metric_metadata *find(struct str family, const struct metric_metadata *known, size_t n)
{
    size_t low = 0, high = n;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        int order = str_cmp(family, known[middle].family);
        if (order == 0)
            return &known[middle];
        if (order < 0)
            high = middle;
        else
            low = middle + 1;
    }
    return NULL;
}

struct metric_metadata export_family(struct str name, const struct metric_metadata *known, size_t n)
{
    static const struct {
        const char *ending;
        unsigned types; /* bits of enum metric_type whose samples may end so */
    } ENDINGS[] = {{"_total", 1u << METRIC_COUNTER},
                   {"_bucket", 1u << METRIC_HISTOGRAM | 1u << METRIC_GAUGE_HISTOGRAM},
                   {"_count", 1u << METRIC_HISTOGRAM | 1u << METRIC_SUMMARY},
                   {"_sum", 1u << METRIC_HISTOGRAM | 1u << METRIC_SUMMARY},
                   {"_created", 1u << METRIC_COUNTER | 1u << METRIC_HISTOGRAM | 1u << METRIC_SUMMARY},
                   {"_gcount", 1u << METRIC_GAUGE_HISTOGRAM},
                   {"_gsum", 1u << METRIC_GAUGE_HISTOGRAM},
                   {"_info", 1u << METRIC_INFO}};
    const unsigned bare = 1u << METRIC_GAUGE | 1u << METRIC_SUMMARY | 1u << METRIC_STATESET;
    for (size_t i = 0; i < ARRAY_LENGTH(ENDINGS); i++) {
        struct str ending = str_from(ENDINGS[i].ending);
        if (name.len <= ending.len || !str_ends_with(name, ending))
            continue;
        struct str family = {name.ptr, name.len - ending.len};
        const struct metric_metadata *found = find(family, known, n);
        if (!found) /* Prometheus's text format counts the ending of counters to the family */
            found = find(name, known, n);
        if (found && ENDINGS[i].types >> found->type & 1)
            return (struct metric_metadata){family, found->type, found->help, found->unit};
    }
    const struct metric_metadata *found = find(name, known, n);
    struct metric_metadata own = found ? *found : (struct metric_metadata){.help = STR(""), .unit = STR("")};
    own.family = name;
    if (!(bare >> own.type & 1))
        own.type = METRIC_UNKNOWN;
    return own;
}
