/* remote/import_json.c: one line of JSON into one series; see import_text.h.
 *
 * The outline is found by base/json_read.h; the two long arrays are read by the loops here, a number at a time.
 */
#include "base/assert.h"
#include "base/float_text.h"
#include "base/json_read.h"
#include "remote/import_internal.h"

/* --- texts --- */

/* What a raw string stands for: a view of it when nothing is escaped. */
static const char *unquote(struct import_lines *lines, struct str raw, struct str *ret)
{
    if (raw.len < 2 || raw.ptr[0] != '"')
        return "\"metric\" has a value that is no string";
    struct str inner = {raw.ptr + 1, raw.len - 2};
    *ret = inner;
    if (!inner.len || !memchr(inner.ptr, '\\', inner.len))
        return NULL;
    struct strbuf text;
    strbuf_init(&text, inner.len + 1);
    bool good = json_text(&text, raw);
    if (good)
        *ret = arena_str(lines->arena, strbuf_view(&text));
    strbuf_release(&text);
    return !good ? "\"metric\" has a broken escape" : ret->ptr ? NULL : "no memory for its labels";
}

/* Whether an object or array was read to its end, `rest` being what json_next… left of it. */
static bool ended(struct str rest, char close)
{
    while (rest.len && (*rest.ptr == ' ' || *rest.ptr == '\t'))
        rest = import_from(rest, 1);
    return rest.len == 1 && *rest.ptr == close;
}

static struct str trimmed(struct str text)
{
    text = import_skip_blanks(text);
    while (text.len && (text.ptr[text.len - 1] == ' ' || text.ptr[text.len - 1] == '\t'))
        text.len--;
    return text;
}

static const char *read_metric(struct import_lines *lines, struct str raw)
{
    struct str rest = raw, name, value;
    const char *problem = NULL;
    if (raw.len < 2 || raw.ptr[0] != '{')
        return "\"metric\" is no object";
    while (!problem && json_next_member(&rest, &name, &value)) {
        struct label label;
        problem = unquote(lines, name, &label.name);
        if (!problem)
            problem = unquote(lines, value, &label.value);
        if (!problem && !series_builder_label(&lines->builder, label.name, label.value))
            problem = "no memory for its labels";
    }
    if (!problem && rest.ptr == raw.ptr) /* nothing was taken */
        rest = import_from(raw, 1);
    return problem ? problem : ended(rest, '}') ? NULL : "\"metric\" is no object of strings";
}

/* --- numbers --- */

/* "NaN(0x7ff0000000000abc)" without its quotes. */
static bool read_nan_bits(struct str word, double *ret)
{
    struct str hex = {word.ptr + 6, word.len - 7};
    uint64_t bits = 0;
    for (size_t i = 0; i < hex.len; i++) {
        char c = hex.ptr[i];
        int digit = c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
        if (digit < 0)
            return false;
        bits = bits << 4 | (uint64_t)digit;
    }
    *ret = double_from_bits(bits);
    return (bits & UINT64_C(0x7ff0000000000000)) == UINT64_C(0x7ff0000000000000) && bits << 12 != 0;
}

/* The text at the front, quotes included; 0 if it is no value. */
static size_t read_word(struct str text, double *ret)
{
    const char *quote = memchr(text.ptr + 1, '"', text.len - 1);
    if (!quote)
        return 0;
    struct str word = {text.ptr + 1, (size_t)(quote - text.ptr) - 1};
    bool good = true;
    if (str_eq(word, STR(IMPORT_STALE_WORD)))
        *ret = double_from_bits(STALE_NAN_BITS);
    else if (word.len == 23 && str_starts_with(word, STR("NaN(0x")) && word.ptr[22] == ')')
        good = read_nan_bits(word, ret);
    else
        good = word.len && float_text_read(word, ret) == word.len;
    return good ? word.len + 2 : 0;
}

static size_t read_value(struct str text, double *ret)
{
    if (*text.ptr == '"')
        return read_word(text, ret);
    if (str_starts_with(text, STR("null"))) {
        *ret = double_from_bits(NORMAL_NAN_BITS);
        return 4;
    }
    char c = *text.ptr == '-' && text.len > 1 ? text.ptr[1] : *text.ptr;
    return (c >= '0' && c <= '9') || c == '.' ? float_text_read(text, ret) : 0;
}

/* One array into the values, or times, of the builder's next samples. */
static const char *read_array(struct import_lines *lines, struct str raw, bool times, size_t *ret_n)
{
    static const char *const PROBLEMS[2][2] = {
        {"\"values\" is no array", "\"values\" has something that is no number"},
        {"\"timestamps\" is no array", "\"timestamps\" has something that is no whole number of ms"}};
    *ret_n = 0;
    if (raw.len < 2 || *raw.ptr != '[')
        return PROBLEMS[times][0];
    struct str rest = import_skip_blanks(import_from(raw, 1));
    if (*rest.ptr == ']')
        return rest.len == 1 ? NULL : PROBLEMS[times][1];
    for (size_t n = 0;; rest = import_skip_blanks(import_from(rest, 1))) { /* over the comma */
        struct sample *at = series_builder_room(&lines->builder, n + 1);
        if (!at)
            return "no memory for its samples";
        if (!rest.len)
            return PROBLEMS[times][1];
        size_t used = times ? whole_text_read(rest, &at[n].time_ms) : read_value(rest, &at[n].value);
        if (used == 0)
            return PROBLEMS[times][1];
        *ret_n = ++n;
        rest = import_skip_blanks(import_from(rest, used));
        if (rest.len == 1 && *rest.ptr == ']')
            return NULL;
        if (!rest.len || *rest.ptr != ',')
            return PROBLEMS[times][1];
    }
}

/* --- the line --- */

struct members {
    struct str metric, values, times; /* raw; ptr NULL: not there */
};

static const char *find_members(struct str line, struct members *ret)
{
    *ret = (struct members){{0}, {0}, {0}};
    if (*line.ptr != '{')
        return "no JSON object";
    struct str rest = line, name, value;
    while (json_next_member(&rest, &name, &value)) {
        struct str *place = str_eq(name, STR("\"metric\""))       ? &ret->metric
                            : str_eq(name, STR("\"values\""))     ? &ret->values
                            : str_eq(name, STR("\"timestamps\"")) ? &ret->times
                                                                  : NULL;
        if (place && place->ptr)
            return "a member is there twice";
        if (place)
            *place = value;
    }
    if (rest.ptr == line.ptr)
        rest = import_from(line, 1);
    return ended(rest, '}') ? NULL : "broken JSON";
}

const char *import_json_line(struct import_lines *lines, struct str line)
{
    struct members members;
    size_t values_n = 0, times_n = 0;
    const char *problem = find_members(trimmed(line), &members);
    if (!problem && !members.metric.ptr)
        problem = "no member \"metric\"";
    if (!problem && !members.values.ptr)
        problem = "no member \"values\"";
    if (!problem && !members.times.ptr)
        problem = "no member \"timestamps\"";
    if (!problem)
        problem = read_metric(lines, members.metric);
    if (!problem)
        problem = read_array(lines, members.values, false, &values_n);
    if (!problem)
        problem = read_array(lines, members.times, true, &times_n);
    if (!problem && values_n != times_n)
        problem = "\"values\" and \"timestamps\" have different lengths";
    if (problem)
        series_builder_drop(&lines->builder);
    else
        series_builder_end(&lines->builder, values_n);
    return problem;
}
