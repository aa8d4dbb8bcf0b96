/* remote/otlp_json.c: OTLP as JSON into the protobuf message it stands for; see otlp.h.
 *
 * One pass over the text, led by tables of the fields that are read; all others are passed over. What a text, a number
 * or an id may look like is decided here, what a message means is not.
 *
 * Source: the OTLP specification, "JSON Protobuf Encoding"; protobuf's JSON mapping; what Prometheus's receiver takes
 * beyond that (names in snake_case, numbers as texts): pdata/internal/json, pdata/pmetric/json.go.
 */
#include <inttypes.h>

#include "base/assert.h"
#include "base/json_read.h"
#include "remote/otlp_internal.h"

#define OUT_FACTOR   4 /* bytes of a message per byte of text, at most: "1," may become a double */
#define OUT_MORE     64
#define PADDED_BYTES 5 /* of a length that is written before it is known */
#define PATH_MAX     512

/* --- the messages --- */

enum kind {
    KIND_MESSAGE,
    KIND_TEXT,
    KIND_BASE64,
    KIND_TRACE_ID,
    KIND_SPAN_ID,
    KIND_BOOL,
    KIND_TEMPORALITY,
    KIND_INT64,    /* varint */
    KIND_UINT64,   /* varint */
    KIND_UINT32,   /* varint */
    KIND_SINT32,   /* zigzag varint */
    KIND_FIXED64,  /* without a sign */
    KIND_SFIXED64, /* with a sign */
    KIND_DOUBLE
};

struct message;

struct field {
    const char *name; /* lowerCamelCase */
    unsigned number;
    enum kind kind;
    bool repeated; /* numbers: packed */
    const struct message *message;
};

struct message {
    const struct field *fields;
    size_t fields_n;
    bool is_list; /* of values in a value: how deep those may lie has a limit */
};

#define MESSAGE(name, ...)                                                                                             \
    static const struct field name##_FIELDS[] = {__VA_ARGS__};                                                         \
    static const struct message name = {name##_FIELDS, ARRAY_LENGTH(name##_FIELDS), false}

static const struct message ANY_VALUE;

static const struct field VALUES_FIELDS[] = {{"values", 1, KIND_MESSAGE, true, &ANY_VALUE}};
static const struct message VALUES = {VALUES_FIELDS, ARRAY_LENGTH(VALUES_FIELDS), true};

MESSAGE(KEY_VALUE, {"key", 1, KIND_TEXT, false, NULL}, {"value", 2, KIND_MESSAGE, false, &ANY_VALUE});

static const struct field PAIRS_FIELDS[] = {{"values", 1, KIND_MESSAGE, true, &KEY_VALUE}};
static const struct message PAIRS = {PAIRS_FIELDS, ARRAY_LENGTH(PAIRS_FIELDS), true};

MESSAGE(ANY_VALUE, {"stringValue", 1, KIND_TEXT, false, NULL}, {"boolValue", 2, KIND_BOOL, false, NULL},
        {"intValue", 3, KIND_INT64, false, NULL}, {"doubleValue", 4, KIND_DOUBLE, false, NULL},
        {"arrayValue", 5, KIND_MESSAGE, false, &VALUES}, {"kvlistValue", 6, KIND_MESSAGE, false, &PAIRS},
        {"bytesValue", 7, KIND_BASE64, false, NULL});

MESSAGE(EXEMPLAR, {"timeUnixNano", 2, KIND_FIXED64, false, NULL}, {"asDouble", 3, KIND_DOUBLE, false, NULL},
        {"spanId", 4, KIND_SPAN_ID, false, NULL}, {"traceId", 5, KIND_TRACE_ID, false, NULL},
        {"asInt", 6, KIND_SFIXED64, false, NULL}, {"filteredAttributes", 7, KIND_MESSAGE, true, &KEY_VALUE});

MESSAGE(NUMBER_POINT, {"timeUnixNano", 3, KIND_FIXED64, false, NULL}, {"asDouble", 4, KIND_DOUBLE, false, NULL},
        {"exemplars", 5, KIND_MESSAGE, true, &EXEMPLAR}, {"asInt", 6, KIND_SFIXED64, false, NULL},
        {"attributes", 7, KIND_MESSAGE, true, &KEY_VALUE}, {"flags", 8, KIND_UINT32, false, NULL});

MESSAGE(HISTOGRAM_POINT, {"timeUnixNano", 3, KIND_FIXED64, false, NULL}, {"count", 4, KIND_FIXED64, false, NULL},
        {"sum", 5, KIND_DOUBLE, false, NULL}, {"bucketCounts", 6, KIND_FIXED64, true, NULL},
        {"explicitBounds", 7, KIND_DOUBLE, true, NULL}, {"exemplars", 8, KIND_MESSAGE, true, &EXEMPLAR},
        {"attributes", 9, KIND_MESSAGE, true, &KEY_VALUE}, {"flags", 10, KIND_UINT32, false, NULL});

MESSAGE(BUCKETS, {"offset", 1, KIND_SINT32, false, NULL}, {"bucketCounts", 2, KIND_UINT64, true, NULL});

MESSAGE(EXPONENTIAL_POINT, {"attributes", 1, KIND_MESSAGE, true, &KEY_VALUE},
        {"timeUnixNano", 3, KIND_FIXED64, false, NULL}, {"count", 4, KIND_FIXED64, false, NULL},
        {"sum", 5, KIND_DOUBLE, false, NULL}, {"scale", 6, KIND_SINT32, false, NULL},
        {"zeroCount", 7, KIND_FIXED64, false, NULL}, {"positive", 8, KIND_MESSAGE, false, &BUCKETS},
        {"negative", 9, KIND_MESSAGE, false, &BUCKETS}, {"flags", 10, KIND_UINT32, false, NULL},
        {"exemplars", 11, KIND_MESSAGE, true, &EXEMPLAR});

MESSAGE(QUANTILE, {"quantile", 1, KIND_DOUBLE, false, NULL}, {"value", 2, KIND_DOUBLE, false, NULL});

MESSAGE(SUMMARY_POINT, {"timeUnixNano", 3, KIND_FIXED64, false, NULL}, {"count", 4, KIND_FIXED64, false, NULL},
        {"sum", 5, KIND_DOUBLE, false, NULL}, {"quantileValues", 6, KIND_MESSAGE, true, &QUANTILE},
        {"attributes", 7, KIND_MESSAGE, true, &KEY_VALUE}, {"flags", 8, KIND_UINT32, false, NULL});

#define TEMPORALITY                                                                                                    \
    {                                                                                                                  \
        "aggregationTemporality", 2, KIND_TEMPORALITY, false, NULL                                                     \
    }

MESSAGE(GAUGE, {"dataPoints", 1, KIND_MESSAGE, true, &NUMBER_POINT});
MESSAGE(SUM, {"dataPoints", 1, KIND_MESSAGE, true, &NUMBER_POINT}, TEMPORALITY,
        {"isMonotonic", 3, KIND_BOOL, false, NULL});
MESSAGE(HISTOGRAM, {"dataPoints", 1, KIND_MESSAGE, true, &HISTOGRAM_POINT}, TEMPORALITY);
MESSAGE(EXPONENTIAL, {"dataPoints", 1, KIND_MESSAGE, true, &EXPONENTIAL_POINT}, TEMPORALITY);
MESSAGE(SUMMARY, {"dataPoints", 1, KIND_MESSAGE, true, &SUMMARY_POINT});

MESSAGE(METRIC, {"name", 1, KIND_TEXT, false, NULL}, {"description", 2, KIND_TEXT, false, NULL},
        {"unit", 3, KIND_TEXT, false, NULL}, {"gauge", 5, KIND_MESSAGE, false, &GAUGE},
        {"sum", 7, KIND_MESSAGE, false, &SUM}, {"histogram", 9, KIND_MESSAGE, false, &HISTOGRAM},
        {"exponentialHistogram", 10, KIND_MESSAGE, false, &EXPONENTIAL},
        {"summary", 11, KIND_MESSAGE, false, &SUMMARY});

MESSAGE(SCOPE_METRICS, {"metrics", 2, KIND_MESSAGE, true, &METRIC});
MESSAGE(RESOURCE, {"attributes", 1, KIND_MESSAGE, true, &KEY_VALUE});
MESSAGE(RESOURCE_METRICS, {"resource", 1, KIND_MESSAGE, false, &RESOURCE},
        {"scopeMetrics", 2, KIND_MESSAGE, true, &SCOPE_METRICS});
MESSAGE(REQUEST, {"resourceMetrics", 1, KIND_MESSAGE, true, &RESOURCE_METRICS});

/* --- where something is wrong --- */

struct json {
    struct str text, rest; /* rest: what was not read yet */
    struct strbuf *out;
    struct error *reterr;
};

/* The field that is read, and those it lies in. */
struct place {
    const struct place *above;
    const char *name;
    unsigned lists_n; /* of values, around it */
};

static void put_path(struct strbuf *path, const struct place *place)
{
    if (!place)
        return;
    put_path(path, place->above);
    strbuf_cstr(path, path->len ? "." : "");
    strbuf_cstr(path, place->name);
}

static enum status wrong(const struct json *j, const struct place *place, const char *words)
{
    char text[PATH_MAX] = "";
    struct strbuf path;
    strbuf_init(&path, PATH_MAX - 1); /* a longer one is cut */
    put_path(&path, place);
    memcpy(text, strbuf_view(&path).ptr, path.len);
    strbuf_release(&path);
    return error_set(j->reterr, E_BAD_DATA, OTLP_WHAT " is not valid JSON: %s%s%s at byte %zu of %zu", text,
                     *text ? ": " : "", words, j->text.len - j->rest.len, j->text.len);
}

/* --- writing --- */

static void put_tag(struct json *j, unsigned number, enum wire_type type)
{
    strbuf_char(j->out, (char)WIRE_TAG(number, type));
}

static void put_varint(struct json *j, uint64_t number)
{
    unsigned char *at = (unsigned char *)strbuf_reserve(j->out, WIRE_VARINT_MAX);
    if (at)
        strbuf_commit(j->out, (size_t)(wire_put_varint(at, number) - at));
}

static void put_fixed64(struct json *j, uint64_t bits)
{
    for (unsigned shift = 0; shift < 64; shift += 8)
        strbuf_char(j->out, (char)(bits >> shift));
}

/* Opens a field of bytes whose length is not known yet; close_bytes fills it in. */
static size_t open_bytes(struct json *j, unsigned number)
{
    put_tag(j, number, WIRE_BYTES);
    strbuf_bytes(j->out, "\x80\x80\x80\x80", PADDED_BYTES); /* with its NUL */
    return j->out->len;
}

static void close_bytes(struct json *j, size_t begin)
{
    if (j->out->status != OK)
        return;
    uint64_t len = j->out->len - begin;
    for (size_t i = 0; i < PADDED_BYTES; i++)
        j->out->ptr[begin - PADDED_BYTES + i] |= (char)(len >> (7 * i) & 0x7f);
}

/* --- values of one piece --- */

static struct str unquoted(struct str raw)
{
    return raw.len >= 2 && *raw.ptr == '"' ? (struct str){raw.ptr + 1, raw.len - 2} : raw;
}

/* A whole number, in quotes or not: its absolute value. */
static bool read_whole(struct str raw, bool *ret_negative, uint64_t *ret)
{
    struct str text = unquoted(raw);
    *ret_negative = text.len && *text.ptr == '-';
    *ret = 0;
    for (size_t i = *ret_negative; i < text.len; i++) {
        unsigned digit = (unsigned)(unsigned char)text.ptr[i] - '0';
        if (digit > 9 || __builtin_mul_overflow(*ret, 10, ret) || __builtin_add_overflow(*ret, digit, ret))
            return false;
    }
    return text.len > *ret_negative;
}

static const char *put_unsigned(struct json *j, const struct field *field, struct str raw)
{
    bool negative;
    uint64_t number;
    uint64_t max = field->kind == KIND_UINT32 ? UINT32_MAX : UINT64_MAX;
    if (!read_whole(raw, &negative, &number) || (negative && number) || number > max)
        return field->kind == KIND_UINT32 ? "a whole number of 32 bits without a sign is expected"
                                          : "a whole number of 64 bits without a sign is expected";
    if (field->kind == KIND_FIXED64)
        put_fixed64(j, number);
    else
        put_varint(j, number);
    return NULL;
}

static const char *put_signed(struct json *j, const struct field *field, struct str raw)
{
    bool negative, is_32 = field->kind == KIND_SINT32 || field->kind == KIND_TEMPORALITY;
    uint64_t number, max = is_32 ? INT32_MAX : INT64_MAX;
    if (!read_whole(raw, &negative, &number) || number > max + negative)
        return is_32 ? "a whole number of 32 bits is expected" : "a whole number of 64 bits is expected";
    number = negative ? 0 - number : number;
    if (field->kind == KIND_SFIXED64)
        put_fixed64(j, number);
    else
        put_varint(j, field->kind == KIND_SINT32 ? wire_to_zigzag((int64_t)number) & UINT32_MAX : number);
    return NULL;
}

static const char *put_double(struct json *j, struct str raw)
{
    struct str text = unquoted(raw);
    double number;
    bool good = text.len && float_text_read(text, &number) == text.len;
    char first = good ? text.ptr[*text.ptr == '-'] : '\0';
    if (!good || (*raw.ptr != '"' && (first < '0' || first > '9')))
        return "a number is expected";
    put_fixed64(j, double_bits(number));
    return NULL;
}

static const char *put_bool(struct json *j, struct str raw)
{
    bool is_true = str_eq(raw, STR("true"));
    put_varint(j, is_true);
    return is_true || str_eq(raw, STR("false")) ? NULL : "true or false is expected";
}

static const char *put_temporality(struct json *j, const struct field *field, struct str raw)
{
    static const char *const NAMES[] = {"\"AGGREGATION_TEMPORALITY_UNSPECIFIED\"", "\"AGGREGATION_TEMPORALITY_DELTA\"",
                                        "\"AGGREGATION_TEMPORALITY_CUMULATIVE\""};
    if (*raw.ptr != '"')
        return put_signed(j, field, raw);
    for (size_t i = 0; i < ARRAY_LENGTH(NAMES); i++) {
        if (!str_eq(raw, str_from(NAMES[i])))
            continue;
        put_varint(j, i);
        return NULL;
    }
    return "a temporality's name or number is expected";
}

static const char *put_text(struct json *j, struct str raw)
{
    if (*raw.ptr != '"')
        return "a text is expected";
    if (memchr(raw.ptr, '\\', raw.len))
        return json_text(j->out, raw) ? NULL : "a broken escape";
    strbuf_str(j->out, unquoted(raw));
    return NULL;
}

static int hex_digit(char c)
{
    return c >= '0' && c <= '9'   ? c - '0'
           : c >= 'a' && c <= 'f' ? c - 'a' + 10
           : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                  : -1;
}

/* Empty, or 16 bytes of a trace, 8 of a span. */
static const char *put_id(struct json *j, const struct field *field, struct str raw)
{
    struct str text = unquoted(raw);
    bool is_trace = field->kind == KIND_TRACE_ID, good = *raw.ptr == '"';
    good = good && (text.len == 0 || text.len == (is_trace ? 32 : 16));
    for (size_t i = 0; good && i < text.len; i += 2) {
        int high = hex_digit(text.ptr[i]), low = hex_digit(text.ptr[i + 1]);
        good = high >= 0 && low >= 0;
        strbuf_char(j->out, (char)(high * 16 + low));
    }
    return good ? NULL : is_trace ? "32 hexadecimal digits are expected" : "16 hexadecimal digits are expected";
}

static int base64_digit(char c)
{
    if (c >= 'A' && c <= 'Z')
        return c - 'A';
    if (c >= 'a' && c <= 'z')
        return c - 'a' + 26;
    return c >= '0' && c <= '9' ? c - '0' + 52 : c == '+' ? 62 : c == '/' ? 63 : -1;
}

static const char *put_base64(struct json *j, struct str raw)
{
    static const char WORDS[] = "base64 is expected";
    struct str text = unquoted(raw);
    if (*raw.ptr != '"' || text.len % 4)
        return WORDS;
    size_t padding = text.len && text.ptr[text.len - 1] == '=' ? 1 + (text.ptr[text.len - 2] == '=') : 0;
    uint32_t bits = 0;
    for (size_t i = 0; i < text.len; i++) {
        int digit = i < text.len - padding ? base64_digit(text.ptr[i]) : 0;
        if (digit < 0)
            return WORDS;
        bits = bits << 6 | (uint32_t)digit;
        size_t bytes = i % 4 < 3 ? 0 : i + 1 == text.len ? 3 - padding : 3;
        for (size_t k = 0; k < bytes; k++)
            strbuf_char(j->out, (char)(bits >> (16 - 8 * k)));
    }
    return NULL;
}

/* Its bytes, without tag; NULL, or what is wrong. */
static const char *put_scalar(struct json *j, const struct field *field, struct str raw)
{
    switch (field->kind) {
    case KIND_TEXT:
        return put_text(j, raw);
    case KIND_BASE64:
        return put_base64(j, raw);
    case KIND_TRACE_ID:
    case KIND_SPAN_ID:
        return put_id(j, field, raw);
    case KIND_BOOL:
        return put_bool(j, raw);
    case KIND_TEMPORALITY:
        return put_temporality(j, field, raw);
    case KIND_DOUBLE:
        return put_double(j, raw);
    case KIND_INT64:
    case KIND_SINT32:
    case KIND_SFIXED64:
        return put_signed(j, field, raw);
    default:
        return put_unsigned(j, field, raw);
    }
}

static enum wire_type type_of(enum kind kind)
{
    switch (kind) {
    case KIND_MESSAGE:
    case KIND_TEXT:
    case KIND_BASE64:
    case KIND_TRACE_ID:
    case KIND_SPAN_ID:
        return WIRE_BYTES;
    case KIND_FIXED64:
    case KIND_SFIXED64:
    case KIND_DOUBLE:
        return WIRE_FIXED64;
    default:
        return WIRE_VARINT;
    }
}

/* --- messages --- */

static enum status put_message(struct json *j, const struct message *message, const struct place *place);

/* One value that is no array, with its tag unless it is packed. */
static enum status put_one(struct json *j, const struct field *field, const struct place *place)
{
    bool is_packed = field->repeated && field->kind != KIND_MESSAGE, is_bytes = type_of(field->kind) == WIRE_BYTES;
    size_t begin = is_bytes ? open_bytes(j, field->number) : 0;
    enum status status = OK;
    if (!is_bytes && !is_packed)
        put_tag(j, field->number, type_of(field->kind));
    if (field->kind == KIND_MESSAGE) {
        status = put_message(j, field->message, place);
    } else {
        struct str raw, before = j->rest;
        const char *words = json_value(&j->rest, &raw) ? put_scalar(j, field, raw) : "a value is expected";
        if (words) {
            j->rest = before;
            status = wrong(j, place, words);
        }
    }
    if (is_bytes)
        close_bytes(j, begin);
    return status;
}

static enum status put_array(struct json *j, const struct field *field, const struct place *place)
{
    bool is_packed = field->kind != KIND_MESSAGE;
    size_t begin = is_packed ? open_bytes(j, field->number) : 0;
    enum status status = OK;
    enum json_step step;
    for (bool first = true; (step = json_enter(&j->rest, '[', first, NULL)) == JSON_ITEM; first = false) {
        status = put_one(j, field, place);
        if (status != OK)
            return status;
    }
    if (is_packed)
        close_bytes(j, begin);
    return step == JSON_END ? OK : wrong(j, place, "an array is expected");
}

/* Whether that is how the field may be called: as the table says, or with _a for each A. */
static bool is_called(const struct field *field, struct str raw)
{
    struct str name = unquoted(raw);
    const char *at = field->name;
    for (size_t i = 0; i < name.len; i++, at++) {
        bool snake = name.ptr[i] == '_' && *at >= 'A' && *at <= 'Z' && ++i < name.len;
        if (!*at || name.ptr[i] != (snake ? *at - 'A' + 'a' : *at))
            return false;
    }
    return !*at;
}

static bool pass_null(struct json *j)
{
    struct str rest = j->rest, raw;
    if (json_peek(&rest) != 'n' || !json_value(&rest, &raw) || !str_eq(raw, STR("null")))
        return false;
    j->rest = rest;
    return true;
}

static enum status put_member(struct json *j, const struct message *message, struct str name, const struct place *above)
{
    const struct field *field = message->fields, *end = message->fields + message->fields_n;
    while (field < end && !is_called(field, name))
        field++;
    if (field == end) {
        struct str raw;
        return json_value(&j->rest, &raw) ? OK : wrong(j, above, "a value is expected");
    }
    const struct place place = {above, field->name, (above ? above->lists_n : 0) + message->is_list};
    if (place.lists_n > OTLP_VALUE_DEPTH_MAX)
        return wrong(j, above, "nested too deeply");
    if (pass_null(j))
        return OK;
    return field->repeated ? put_array(j, field, &place) : put_one(j, field, &place);
}

static enum status put_message(struct json *j, const struct message *message, const struct place *place)
{
    struct str name;
    enum json_step step;
    if (place && pass_null(j))
        return OK;
    for (bool first = true; (step = json_enter(&j->rest, '{', first, &name)) == JSON_ITEM; first = false) {
        enum status status = put_member(j, message, name, place);
        if (status != OK)
            return status;
    }
    return step == JSON_END ? OK : wrong(j, place, "an object is expected");
}

enum status otlp_from_json(struct str text, struct strbuf *out, struct error *reterr)
{
    struct json j = {text, text, out, reterr};
    strbuf_init(out, OUT_FACTOR * text.len + OUT_MORE);
    enum status status = put_message(&j, &REQUEST, NULL);
    if (status == OK && json_peek(&j.rest))
        status = wrong(&j, NULL, "something stands behind its end");
    return status == OK ? strbuf_status(out, OTLP_WHAT, reterr) : status;
}

void otlp_response_json(struct strbuf *out, size_t rejected_points, struct str why)
{
    strbuf_char(out, '{');
    if (rejected_points || why.len) {
        strbuf_f(out, "\"partialSuccess\":{\"rejectedDataPoints\":\"%zu\",\"errorMessage\":", rejected_points);
        strbuf_json(out, why);
        strbuf_char(out, '}');
    }
    strbuf_char(out, '}');
}
