/* remote/write_labels.c: see write_labels.h. */
#include "remote/write_labels.h"

#include "base/utf8.h"

static void print_labels(struct strbuf *text, const struct label *at, size_t n)
{
    strbuf_char(text, '{');
    for (size_t i = 0; i < n; i++) {
        strbuf_cstr(text, i ? ", " : "");
        strbuf_str(text, at[i].name);
        strbuf_char(text, '=');
        strbuf_json(text, at[i].value);
    }
    strbuf_char(text, '}');
}

/* The part of a text that fits a message and is UTF-8. */
static struct str shown_part(struct str text, size_t max_bytes)
{
    text.len = text.len > max_bytes ? max_bytes : text.len;
    while (text.len && !utf8_valid(text))
        text.len--;
    return text;
}

void write_labels_describe(struct error *ret, const char *words, const char *between, struct labels labels)
{
    struct strbuf text;
    strbuf_init(&text, ERROR_MESSAGE_MAX / 2); /* a longer set is cut: the builder stops at its limit */
    print_labels(&text, labels.at, labels.n);
    struct str shown = shown_part(strbuf_view(&text), ERROR_MESSAGE_MAX);
    error_set(ret, E_BAD_DATA, "%s%s" STR_FORMAT, words, between, STR_ARG(shown));
    strbuf_release(&text);
}

enum write_invalid write_labels_invalid(struct write_request *request, const struct label *at, size_t n,
                                        const char *words, struct str name)
{
    if (request->invalid.status != OK)
        return WRITE_INVALID_LABELS;
    struct strbuf text;
    strbuf_init(&text, ERROR_MESSAGE_MAX / 2); /* a longer set is cut: the builder stops at its limit */
    print_labels(&text, at, n);
    struct str shown = shown_part(strbuf_view(&text), ERROR_MESSAGE_MAX);
    error_set(&request->invalid, E_BAD_DATA, "%s" STR_FORMAT ", got " STR_FORMAT, words, STR_ARG(name), STR_ARG(shown));
    strbuf_release(&text);
    return WRITE_INVALID_LABELS;
}

static enum write_invalid over_limit(struct write_request *request, enum write_invalid why, const struct label *at,
                                     size_t n, struct str name, size_t asked, size_t allowed)
{
    static const char *const words[WRITE_INVALID_MAX] = {
        [WRITE_LABELS_TOO_MANY] = "labels of a series",
        [WRITE_NAME_TOO_LONG] = "bytes of label name ",
        [WRITE_VALUE_TOO_LONG] = "bytes of the value of label ",
    };
    if (request->invalid.status != OK)
        return why;
    struct strbuf text;
    strbuf_init(&text, ERROR_MESSAGE_MAX / 4);
    print_labels(&text, at, n);
    struct str shown = shown_part(strbuf_view(&text), ERROR_MESSAGE_MAX), label = shown_part(name, 128);
    error_set(&request->invalid, E_BAD_DATA, "%s" STR_FORMAT ": %zu exceeds limit %zu, series " STR_FORMAT, words[why],
              STR_ARG(label), asked, allowed, STR_ARG(shown));
    strbuf_release(&text);
    return why;
}

static bool is_over(size_t asked, size_t limit)
{
    return limit && asked > limit;
}

/* WRITE_INVALID_MAX: nothing is wrong. */
static enum write_invalid check_label(const struct write_limits *limits, struct write_request *request,
                                      const struct label *label, const struct label *at, size_t n)
{
    if (is_over(label->name.len, limits->label_name_max_bytes))
        return over_limit(request, WRITE_NAME_TOO_LONG, at, n, label->name, label->name.len,
                          limits->label_name_max_bytes);
    if (is_over(label->value.len, limits->label_value_max_bytes))
        return over_limit(request, WRITE_VALUE_TOO_LONG, at, n, label->name, label->value.len,
                          limits->label_value_max_bytes);
    if (label->name.len == 0 || !utf8_valid(label->name) || !utf8_valid(label->value))
        return write_labels_invalid(request, at, n, "invalid metric name or labels", STR(""));
    if (label->name.ptr[0] == '_' && (str_eq(label->name, LABEL_TASK_ID) || str_eq(label->name, LABEL_TASK_KIND)))
        return write_labels_invalid(request, at, n, "invalid labels for series, reserved label ", label->name);
    return WRITE_INVALID_MAX;
}

enum write_invalid write_labels_check(const struct write_limits *limits, struct write_request *request,
                                      struct label *at, size_t *n)
{
    if (is_over(*n, limits->labels_max))
        return over_limit(request, WRITE_LABELS_TOO_MANY, at, *n, STR(""), *n, limits->labels_max);
    enum write_invalid why = WRITE_INVALID_MAX;
    for (size_t i = 0; why == WRITE_INVALID_MAX && i < *n; i++)
        why = check_label(limits, request, &at[i], at, *n);
    if (why != WRITE_INVALID_MAX)
        return why;
    struct str twice = {0};
    if (!labels_normalize(at, n, &twice))
        return write_labels_invalid(request, at, *n, "invalid labels for series, duplicated label ", twice);
    if (labels_get((struct labels){at, *n}, LABEL_METRIC_NAME).len == 0)
        return write_labels_invalid(request, at, *n, "invalid metric name or labels", STR(""));
    return WRITE_INVALID_MAX;
}

bool write_labels_check_exemplar(struct label *at, size_t *n)
{
    struct str twice;
    for (size_t i = 0; i < *n; i++)
        if (at[i].name.len == 0 || !utf8_valid(at[i].name) || !utf8_valid(at[i].value))
            return false;
    return *n == 0 || labels_normalize(at, n, &twice);
}
