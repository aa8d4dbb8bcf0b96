/* remote/otlp_name.c: how OTLP's names become Prometheus's; see otlp.h. */
#include "base/assert.h"
#include "remote/otlp.h"

struct word {
    const char *from, *to;
};

static const struct word UNITS[] = {
    {"d", "days"},          {"h", "hours"},        {"min", "minutes"},   {"s", "seconds"},      {"ms", "milliseconds"},
    {"us", "microseconds"}, {"ns", "nanoseconds"}, {"By", "bytes"},      {"KiBy", "kibibytes"}, {"MiBy", "mebibytes"},
    {"GiBy", "gibibytes"},  {"TiBy", "tibibytes"}, {"KBy", "kilobytes"}, {"MBy", "megabytes"},  {"GBy", "gigabytes"},
    {"TBy", "terabytes"},   {"m", "meters"},       {"V", "volts"},       {"A", "amperes"},      {"J", "joules"},
    {"W", "watts"},         {"g", "grams"},        {"Cel", "celsius"},   {"Hz", "hertz"},       {"1", ""},
    {"%", "percent"}};

static const struct word PER_UNITS[] = {{"s", "second"}, {"m", "minute"}, {"h", "hour"}, {"d", "day"},
                                        {"w", "week"},   {"mo", "month"}, {"y", "year"}};

static bool is_word_char(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == ':';
}

static struct str trim(struct str text)
{
    while (text.len && (*text.ptr == ' ' || *text.ptr == '\t'))
        text = (struct str){text.ptr + 1, text.len - 1};
    while (text.len && (text.ptr[text.len - 1] == ' ' || text.ptr[text.len - 1] == '\t'))
        text.len--;
    return text;
}

static struct str translate(const struct word *words, size_t n, struct str unit)
{
    for (size_t i = 0; i < n; i++)
        if (str_eq(unit, str_from(words[i].from)))
            return str_from(words[i].to);
    return unit;
}

/* One side of a unit, in words; empty for what stands in braces, which is a remark. */
static struct str unit_word(const struct word *words, size_t n, struct str unit)
{
    unit = trim(unit);
    if (unit.len && (memchr(unit.ptr, '{', unit.len) || memchr(unit.ptr, '}', unit.len)))
        return STR("");
    return translate(words, n, unit);
}

/* Runs of other characters become one underscore, none at the front. */
static void clean(struct strbuf *out, struct str text)
{
    for (size_t i = 0; i < text.len; i++) {
        if (is_word_char(text.ptr[i]))
            strbuf_char(out, text.ptr[i]);
        else if (out->len && out->ptr[out->len - 1] != '_')
            strbuf_char(out, '_');
    }
}

/* "bytes" and "per_second" of "By/s"; both may be empty. */
static void unit_words(struct str unit, struct strbuf *main, struct strbuf *per)
{
    const char *slash = unit.len ? memchr(unit.ptr, '/', unit.len) : NULL;
    size_t n = slash ? (size_t)(slash - unit.ptr) : unit.len;
    clean(main, unit_word(UNITS, ARRAY_LENGTH(UNITS), (struct str){unit.ptr, n}));
    if (!slash)
        return;
    struct str word = unit_word(PER_UNITS, ARRAY_LENGTH(PER_UNITS), (struct str){slash + 1, unit.len - n - 1});
    if (word.len) {
        strbuf_cstr(per, "per_");
        clean(per, word);
    }
}

static struct str without_underscore(const struct strbuf *text)
{
    struct str view = strbuf_view(text);
    view.len -= view.len && view.ptr[view.len - 1] == '_';
    return view;
}

/* --- the parts of a name --- */

struct parts {
    struct str *at;
    size_t n;
};

static void cut_parts(struct parts *parts, struct str name)
{
    size_t begin = 0;
    for (size_t i = 0; i <= name.len; i++) {
        if (i < name.len && is_word_char(name.ptr[i]))
            continue;
        if (i > begin)
            parts->at[parts->n++] = (struct str){name.ptr + begin, i - begin};
        begin = i + 1;
    }
}

static bool has_part(const struct parts *parts, struct str part)
{
    for (size_t i = 0; i < parts->n; i++)
        if (str_eq(parts->at[i], part))
            return true;
    return false;
}

static void move_to_end(struct parts *parts, struct str part)
{
    size_t kept = 0;
    for (size_t i = 0; i < parts->n; i++)
        if (!str_eq(parts->at[i], part))
            parts->at[kept++] = parts->at[i];
    parts->at[kept] = part;
    parts->n = kept + 1;
}

static void add_unit(struct parts *parts, const struct strbuf *main, const struct strbuf *per)
{
    struct str last = str_eq(strbuf_view(per), STR("per_")) ? STR("") : without_underscore(per);
    struct str first = strbuf_view(main);
    if (has_part(parts, first))
        first = STR("");
    if (has_part(parts, last))
        last = STR("");
    if (last.len && first.len && first.ptr[first.len - 1] == '_')
        first.len--;
    if (first.len)
        parts->at[parts->n++] = first;
    if (last.len)
        parts->at[parts->n++] = last;
}

struct str otlp_metric_name(struct arena *arena, struct str name, struct str unit, enum otlp_kind kind)
{
    struct parts parts = {ARENA_ARRAY(arena, struct str, name.len / 2 + 5), 0};
    struct strbuf main, per, out;
    if (!parts.at)
        return (struct str){NULL, 0};
    strbuf_init(&main, unit.len + 64);
    strbuf_init(&per, unit.len + 64);
    strbuf_init(&out, name.len + unit.len + 128);
    cut_parts(&parts, name);
    unit_words(unit, &main, &per);
    add_unit(&parts, &main, &per);
    if (kind == OTLP_COUNTER)
        move_to_end(&parts, STR("total"));
    if (kind == OTLP_GAUGE && str_eq(unit, STR("1")))
        move_to_end(&parts, STR("ratio"));
    if (parts.n && parts.at[0].ptr[0] >= '0' && parts.at[0].ptr[0] <= '9')
        strbuf_char(&out, '_');
    for (size_t i = 0; i < parts.n; i++) {
        strbuf_cstr(&out, i ? "_" : "");
        strbuf_str(&out, parts.at[i]);
    }
    struct str copy = out.status == OK ? arena_str(arena, strbuf_view(&out)) : (struct str){NULL, 0};
    strbuf_release(&main);
    strbuf_release(&per);
    strbuf_release(&out);
    return copy;
}

struct str otlp_unit_name(struct arena *arena, struct str unit)
{
    struct strbuf main, per;
    strbuf_init(&main, 2 * unit.len + 128);
    strbuf_init(&per, unit.len + 64);
    unit_words(unit, &main, &per);
    struct str last = str_eq(strbuf_view(&per), STR("per_")) ? STR("") : without_underscore(&per);
    if (last.len) {
        main.len = without_underscore(&main).len;
        strbuf_cstr(&main, main.len ? "_" : "");
        strbuf_str(&main, last);
    }
    struct str copy = main.status == OK ? arena_str(arena, without_underscore(&main)) : (struct str){NULL, 0};
    strbuf_release(&main);
    strbuf_release(&per);
    return copy;
}

struct str otlp_label_name(struct arena *arena, struct str name)
{
    struct strbuf out;
    strbuf_init(&out, name.len + 8);
    bool digit = name.len && name.ptr[0] >= '0' && name.ptr[0] <= '9', letters = false;
    for (size_t i = 0; i < name.len; i++) {
        unsigned char c = (unsigned char)name.ptr[i];
        if ((c & 0xc0) == 0x80)
            continue; /* within a character, whose first byte gave the underscore */
        bool good = c != ':' && is_word_char((char)c);
        if (out.len == 0 && digit)
            strbuf_cstr(&out, "key_");
        letters = letters || good;
        strbuf_char(&out, good ? (char)c : '_');
    }
    struct str text = strbuf_view(&out);
    if (!letters)
        text.len = 0;
    bool single =
        text.len > 1 && text.ptr[0] == '_' && text.ptr[1] != '_'; /* would look like one of Prometheus's own */
    struct str copy = {NULL, 0};
    char *at = out.status == OK ? arena_alloc(arena, text.len + 4) : NULL;
    if (at) {
        memcpy(at, "key", single ? 3 : 0);
        memcpy(at + (single ? 3 : 0), text.ptr, text.len);
        copy = (struct str){at, text.len + (single ? 3 : 0)};
    }
    strbuf_release(&out);
    return copy;
}
