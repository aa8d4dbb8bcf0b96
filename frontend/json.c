/* frontend/json.c: see json.h.
 *
 * A matrix is mostly [time,"value"] pairs. The text of every step's time is made once per answer and copied; values are
 * written straight into space reserved for a whole series.
 */
#include "frontend/json.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "base/float_text.h"

#define MESSAGES_MAX 10 /* of warnings and of infos each, as Prometheus */

void json_success_begin(struct strbuf *out)
{
    strbuf_cstr(out, "{\"status\":\"success\",\"data\":");
}

static void write_messages(struct strbuf *out, const char *name, const struct str *at, size_t n)
{
    if (n == 0)
        return;
    strbuf_f(out, ",\"%s\":", name);
    json_strings(out, at, n < MESSAGES_MAX ? n : MESSAGES_MAX);
}

void json_success_end(struct strbuf *out, const struct str *warnings, size_t warnings_n, const struct str *infos,
                      size_t infos_n)
{
    write_messages(out, "warnings", warnings, warnings_n);
    write_messages(out, "infos", infos, infos_n);
    strbuf_char(out, '}');
}

void json_error(struct strbuf *out, const struct error *error)
{
    strbuf_cstr(out, "{\"status\":\"error\",\"errorType\":");
    strbuf_json(out, str_from(status_api_type(error->status)));
    strbuf_cstr(out, ",\"error\":");
    strbuf_json(out, str_from(error->message));
    strbuf_char(out, '}');
}

void json_labels(struct strbuf *out, struct labels labels)
{
    strbuf_char(out, '{');
    for (size_t i = 0; i < labels.n; i++) {
        if (i > 0)
            strbuf_char(out, ',');
        strbuf_json(out, labels.at[i].name);
        strbuf_char(out, ':');
        strbuf_json(out, labels.at[i].value);
    }
    strbuf_char(out, '}');
}

void json_strings(struct strbuf *out, const struct str *at, size_t n)
{
    strbuf_char(out, '[');
    for (size_t i = 0; i < n; i++) {
        if (i > 0)
            strbuf_char(out, ',');
        strbuf_json(out, at[i]);
    }
    strbuf_char(out, ']');
}

/* --- matrices --- */

/* Counters are whole numbers; they need no search for the shortest digits. */
static size_t write_value(char *out, double value)
{
    if (!(fabs(value) < 1e15) || value != (double)(int64_t)value || (value == 0 && signbit(value)))
        return float_text_json(out, value);
    char digits[24];
    size_t n = 0;
    int64_t whole = (int64_t)value;
    uint64_t rest = whole < 0 ? (uint64_t)-whole : (uint64_t)whole;
    do {
        digits[n++] = (char)('0' + rest % 10);
        rest /= 10;
    } while (rest > 0);
    char *at = out;
    if (whole < 0)
        *at++ = '-';
    while (n > 0)
        *at++ = digits[--n];
    return (size_t)(at - out);
}

/* The text `[<time>,"` of every step, one after another. */
struct step_texts {
    struct strbuf text;
    uint32_t *begin; /* steps + 1 */
};

static enum status step_texts_make(struct step_texts *texts, struct grid grid)
{
    strbuf_init(&texts->text, (size_t)grid.steps * 40 + 1);
    texts->begin = malloc(((size_t)grid.steps + 1) * sizeof *texts->begin);
    if (!texts->begin)
        return E_NOMEM;
    for (uint32_t k = 0; k < grid.steps; k++) {
        char time[32];
        texts->begin[k] = (uint32_t)texts->text.len;
        strbuf_char(&texts->text, '[');
        strbuf_bytes(&texts->text, time, time_text_json(time, grid_time(grid, k)));
        strbuf_cstr(&texts->text, ",\"");
    }
    texts->begin[grid.steps] = (uint32_t)texts->text.len;
    return texts->text.status;
}

static void step_texts_release(struct step_texts *texts)
{
    strbuf_release(&texts->text);
    free(texts->begin);
}

#define PAIR_MAX_BYTES (40 + FLOAT_TEXT_MAX) /* `[time,"value"],` */
#define RUN_STEPS      256                   /* reserved for at once: bounds what is reserved in vain */

static void write_values(struct strbuf *out, const struct grid_series *series, uint32_t steps,
                         const struct step_texts *texts)
{
    bool first = true;
    for (uint32_t begin = 0; begin < steps; begin += RUN_STEPS) {
        uint32_t end = steps - begin < RUN_STEPS ? steps : begin + RUN_STEPS;
        char *place = NULL, *at = NULL;
        for (uint32_t k = begin; k < end; k++) {
            if (!grid_series_has(series, k))
                continue;
            /* A pair is some 35 bytes; only a run that outgrew its reserve takes the longer way. */
            if (!place || (size_t)(at - place) + PAIR_MAX_BYTES > (size_t)RUN_STEPS * 40) {
                if (place)
                    strbuf_commit(out, (size_t)(at - place));
                place = at = strbuf_reserve(out, (size_t)RUN_STEPS * 40);
                if (!place)
                    return;
            }
            if (!first)
                *at++ = ',';
            first = false;
            size_t n = texts->begin[k + 1] - texts->begin[k];
            memcpy(at, texts->text.ptr + texts->begin[k], n);
            at += n;
            at += write_value(at, series->values[k]);
            *at++ = '"';
            *at++ = ']';
        }
        if (place)
            strbuf_commit(out, (size_t)(at - place));
    }
}

void json_matrix(struct strbuf *out, const struct grid_result *result, size_t limit)
{
    struct step_texts texts = {0};
    if (step_texts_make(&texts, result->grid) != OK) {
        if (out->status == OK)
            out->status = E_NOMEM;
        step_texts_release(&texts);
        return;
    }
    strbuf_cstr(out, "{\"resultType\":\"matrix\",\"result\":[");
    size_t n = limit > 0 && limit < result->series_n ? limit : result->series_n;
    for (size_t i = 0; i < n && out->status == OK; i++) {
        strbuf_cstr(out, i > 0 ? ",{\"metric\":" : "{\"metric\":");
        json_labels(out, result->series[i].labels);
        strbuf_cstr(out, ",\"values\":[");
        write_values(out, &result->series[i], result->grid.steps, &texts);
        strbuf_cstr(out, "]}");
    }
    strbuf_cstr(out, "]}");
    step_texts_release(&texts);
}

void json_vector(struct strbuf *out, const struct grid_result *result, size_t limit)
{
    PRE(result->grid.steps == 1);
    char time[32], value[FLOAT_TEXT_MAX];
    size_t time_n = time_text_json(time, result->grid.start_ms);
    strbuf_cstr(out, "{\"resultType\":\"vector\",\"result\":[");
    size_t n = limit > 0 && limit < result->series_n ? limit : result->series_n;
    for (size_t i = 0; i < n && out->status == OK; i++) {
        strbuf_cstr(out, i > 0 ? ",{\"metric\":" : "{\"metric\":");
        json_labels(out, result->series[i].labels);
        strbuf_cstr(out, ",\"value\":[");
        strbuf_bytes(out, time, time_n);
        strbuf_cstr(out, ",\"");
        strbuf_bytes(out, value, write_value(value, result->series[i].values[0]));
        strbuf_cstr(out, "\"]}");
    }
    strbuf_cstr(out, "]}");
}

/* --- reading the outline of an answer --- */

struct scan {
    const char *at, *end;
};

static void skip_blanks(struct scan *s)
{
    while (s->at < s->end && (*s->at == ' ' || *s->at == '\t' || *s->at == '\n' || *s->at == '\r'))
        s->at++;
}

static bool skip_char(struct scan *s, char c)
{
    skip_blanks(s);
    if (s->at == s->end || *s->at != c)
        return false;
    s->at++;
    return true;
}

/* Over a string, s->at being on its opening quote. The closing quote is the first one with an even number of
 * backslashes before it. */
static bool skip_string(struct scan *s)
{
    const char *open = s->at++;
    for (;;) {
        const char *quote = s->at < s->end ? memchr(s->at, '"', (size_t)(s->end - s->at)) : NULL;
        if (!quote)
            return false;
        const char *before = quote;
        while (before - 1 > open && before[-1] == '\\')
            before--;
        s->at = quote + 1;
        if ((quote - before) % 2 == 0)
            return true;
    }
}

static bool is_word(char c)
{
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '-' || c == '+' ||
           c == '.';
}

#define NESTING_MAX 256 /* upstream's answers nest to about ten */

/* Over an object or array: brackets must pair up, what is between them is not looked at closely. */
static bool skip_nested(struct scan *s)
{
    char open[NESTING_MAX];
    size_t depth = 0;
    while (s->at < s->end) {
        char c = *s->at;
        if (c == '"') {
            if (!skip_string(s))
                return false;
            continue;
        }
        s->at++;
        if (c == '{' || c == '[') {
            if (depth == NESTING_MAX)
                return false;
            open[depth++] = c == '{' ? '}' : ']';
        } else if (c == '}' || c == ']') {
            if (open[--depth] != c)
                return false;
            if (depth == 0)
                return true;
        }
    }
    return false;
}

static bool skip_value(struct scan *s)
{
    skip_blanks(s);
    if (s->at == s->end)
        return false;
    if (*s->at == '"')
        return skip_string(s);
    if (*s->at == '{' || *s->at == '[')
        return skip_nested(s);
    const char *begin = s->at;
    while (s->at < s->end && is_word(*s->at))
        s->at++;
    return s->at > begin;
}

static bool scan_member(struct scan *s, struct json_member *members, size_t n)
{
    skip_blanks(s);
    const char *quote = s->at;
    if (s->at == s->end || *s->at != '"' || !skip_string(s))
        return false;
    struct str name = {quote + 1, (size_t)(s->at - quote) - 2};
    if (!skip_char(s, ':'))
        return false;
    skip_blanks(s);
    const char *value = s->at;
    if (!skip_value(s))
        return false;
    for (size_t i = 0; i < n; i++)
        if (!members[i].value.ptr && str_eq(members[i].name, name))
            members[i].value = (struct str){value, (size_t)(s->at - value)};
    return true;
}

bool json_members(struct str object, struct json_member *members, size_t n)
{
    for (size_t i = 0; i < n; i++)
        members[i].value = (struct str){0};
    struct scan s = {object.ptr, object.ptr + object.len};
    if (!skip_char(&s, '{'))
        return false;
    bool good = skip_char(&s, '}');
    while (!good) {
        if (!scan_member(&s, members, n))
            break;
        if (skip_char(&s, '}'))
            good = true;
        else if (!skip_char(&s, ','))
            break;
    }
    skip_blanks(&s);
    if (good && s.at == s.end)
        return true;
    for (size_t i = 0; i < n; i++)
        members[i].value = (struct str){0};
    return false;
}

bool json_next(struct str *rest, struct str *ret_element)
{
    struct scan s = {rest->ptr, rest->ptr + rest->len};
    if (rest->len == 0 || !(skip_char(&s, '[') || skip_char(&s, ',')))
        return false;
    skip_blanks(&s);
    const char *value = s.at;
    if (s.at == s.end || *s.at == ']' || !skip_value(&s))
        return false;
    *ret_element = (struct str){value, (size_t)(s.at - value)};
    *rest = (struct str){s.at, (size_t)(s.end - s.at)};
    return true;
}

static int read_unit(const char *at, const char *end) /* the four digits behind \u */
{
    int unit = 0;
    if (end - at < 4)
        return -1;
    for (int i = 0; i < 4; i++) {
        char c = at[i];
        int digit = c >= '0' && c <= '9'   ? c - '0'
                    : c >= 'a' && c <= 'f' ? c - 'a' + 10
                    : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                           : -1;
        if (digit < 0)
            return -1;
        unit = unit << 4 | digit;
    }
    return unit;
}

static void write_utf8(struct strbuf *out, unsigned rune)
{
    if (rune < 0x80) {
        strbuf_char(out, (char)rune);
    } else if (rune < 0x800) {
        strbuf_char(out, (char)(0xc0 | rune >> 6));
        strbuf_char(out, (char)(0x80 | (rune & 0x3f)));
    } else if (rune < 0x10000) {
        strbuf_char(out, (char)(0xe0 | rune >> 12));
        strbuf_char(out, (char)(0x80 | (rune >> 6 & 0x3f)));
        strbuf_char(out, (char)(0x80 | (rune & 0x3f)));
    } else {
        strbuf_char(out, (char)(0xf0 | rune >> 18));
        strbuf_char(out, (char)(0x80 | (rune >> 12 & 0x3f)));
        strbuf_char(out, (char)(0x80 | (rune >> 6 & 0x3f)));
        strbuf_char(out, (char)(0x80 | (rune & 0x3f)));
    }
}

/* What follows \u, with its second half if it is a pair; a lone half becomes U+FFFD. */
static bool write_unit(struct strbuf *out, const char **at, const char *end)
{
    int unit = read_unit(*at, end);
    if (unit < 0)
        return false;
    *at += 4;
    unsigned rune = (unsigned)unit;
    if (rune >= 0xd800 && rune < 0xe000) {
        int low = rune < 0xdc00 && end - *at >= 6 && (*at)[0] == '\\' && (*at)[1] == 'u' ? read_unit(*at + 2, end) : -1;
        bool pair = low >= 0xdc00 && low < 0xe000;
        rune = pair ? 0x10000 + ((rune - 0xd800) << 10) + ((unsigned)low - 0xdc00) : 0xfffd;
        *at += pair ? 6 : 0;
    }
    write_utf8(out, rune);
    return true;
}

bool json_text(struct strbuf *out, struct str raw)
{
    static const char NAMES[] = "\"\\/bfnrt", MEANINGS[] = "\"\\/\b\f\n\r\t";
    if (raw.len < 2 || raw.ptr[0] != '"' || raw.ptr[raw.len - 1] != '"')
        return false;
    const char *end = raw.ptr + raw.len - 1;
    for (const char *at = raw.ptr + 1; at < end;) {
        char c = *at++;
        if (c != '\\') {
            strbuf_char(out, c);
            continue;
        }
        const char *name = at < end && *at ? strchr(NAMES, *at) : NULL;
        bool unit = at < end && *at == 'u';
        at++;
        if (name)
            strbuf_char(out, MEANINGS[name - NAMES]);
        else if (!unit || !write_unit(out, &at, end))
            return false;
    }
    return true;
}
