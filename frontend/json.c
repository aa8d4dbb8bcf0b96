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

#define MESSAGES_MAX 10 /* of warnings and of infos each */

void json_success_begin(struct strbuf *out)
{
    strbuf_cstr(out, "{\"status\":\"success\",\"data\":");
}

/* How many remarks a text of an upstream's stands for that did not show them all; 0: it is a remark itself. */
static unsigned long long omitted_by(struct str text)
{
    char number[20] = "";
    size_t digits = 0;
    while (digits < text.len && digits < sizeof number - 1 && text.ptr[digits] >= '0' && text.ptr[digits] <= '9') {
        number[digits] = text.ptr[digits];
        digits++;
    }
    struct str rest = {text.ptr + digits, text.len - digits};
    bool omits =
        str_eq(rest, STR(" more warning annotations omitted")) || str_eq(rest, STR(" more info annotations omitted"));
    return omits ? strtoull(number, NULL, 10) : 0;
}

/* Ten, and how many there are besides. Source: Prometheus util/annotations AsStrings. */
static void write_messages(struct strbuf *out, const char *name, const char *kind, const struct str *at, size_t n)
{
    unsigned long long omitted = 0;
    size_t shown = 0;
    if (n == 0)
        return;
    strbuf_f(out, ",\"%s\":[", name);
    for (size_t i = 0; i < n; i++) {
        unsigned long long stands_for = omitted_by(at[i]);
        bool shows = stands_for == 0 && shown < MESSAGES_MAX;
        omitted += stands_for ? stands_for : !shows;
        if (!shows)
            continue;
        strbuf_cstr(out, shown++ ? "," : "");
        strbuf_json(out, at[i]);
    }
    if (omitted)
        strbuf_f(out, "%s\"%llu more %s annotations omitted\"", shown ? "," : "", omitted, kind);
    strbuf_char(out, ']');
}

void json_success_end(struct strbuf *out, const struct str *warnings, size_t warnings_n, const struct str *infos,
                      size_t infos_n)
{
    write_messages(out, "warnings", "warning", warnings, warnings_n);
    write_messages(out, "infos", "info", infos, infos_n);
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

void json_scalar(struct strbuf *out, const struct grid_result *result)
{
    PRE(result->grid.steps == 1 && result->series_n == 1);
    char time[32], value[FLOAT_TEXT_MAX];
    strbuf_cstr(out, "{\"resultType\":\"scalar\",\"result\":[");
    strbuf_bytes(out, time, time_text_json(time, result->grid.start_ms));
    strbuf_cstr(out, ",\"");
    strbuf_bytes(out, value, write_value(value, result->series[0].values[0]));
    strbuf_cstr(out, "\"]}");
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
