/* remote/otlp_attributes.c: attributes of OTLP as pairs of texts; see otlp_internal.h. */
#include "base/assert.h"
#include "remote/otlp_internal.h"

#define VALUE_MAX_BYTES ((size_t)1 << 20)

/* --- attribute values as text --- */

static void base64(struct strbuf *out, struct str bytes)
{
    static const char DIGITS[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    for (size_t i = 0; i < bytes.len; i += 3) {
        size_t left = bytes.len - i;
        uint32_t three = (uint32_t)(unsigned char)bytes.ptr[i] << 16;
        three |= left > 1 ? (uint32_t)(unsigned char)bytes.ptr[i + 1] << 8 : 0;
        three |= left > 2 ? (uint32_t)(unsigned char)bytes.ptr[i + 2] : 0;
        for (size_t k = 0; k < 4; k++)
            strbuf_char(out, k <= left ? DIGITS[three >> (18 - 6 * k) & 63] : '=');
    }
}

struct value {
    struct strbuf *out;
    unsigned depth;
    bool nested; /* texts stand in quotes */
    bool any;    /* an element of a list was written */
    struct str key;
};

static enum status read_value(struct otlp *o, const struct wire_field *field, void *arg);

static void separate(struct value *list)
{
    strbuf_cstr(list->out, list->any ? "," : "");
    list->any = true;
}

static enum status read_element(struct otlp *o, const struct wire_field *field, void *arg)
{
    struct value *list = arg;
    struct value element = {.out = list->out, .depth = list->depth + 1, .nested = true};
    if (!otlp_is_bytes(field, 1))
        return OK;
    separate(list);
    return otlp_each_field(o, field->bytes, "AnyValue", read_value, &element);
}

static enum status read_pair_member(struct otlp *o, const struct wire_field *field, void *arg)
{
    struct value *pair = arg;
    if (otlp_is_bytes(field, 1)) {
        strbuf_json(pair->out, field->bytes);
        strbuf_char(pair->out, ':');
        return OK;
    }
    struct value element = {.out = pair->out, .depth = pair->depth, .nested = true};
    return otlp_is_bytes(field, 2) ? otlp_each_field(o, field->bytes, "AnyValue", read_value, &element) : OK;
}

static enum status read_pair(struct otlp *o, const struct wire_field *field, void *arg)
{
    struct value *list = arg;
    struct value pair = {.out = list->out, .depth = list->depth + 1};
    if (!otlp_is_bytes(field, 1))
        return OK;
    separate(list);
    return otlp_each_field(o, field->bytes, "KeyValue", read_pair_member, &pair);
}

static enum status read_list(struct otlp *o, struct str bytes, struct value *value, bool pairs)
{
    struct value list = {.out = value->out, .depth = value->depth};
    if (value->depth >= OTLP_VALUE_DEPTH_MAX)
        return otlp_malformed(o, bytes, "an attribute nested too deeply");
    strbuf_char(value->out, pairs ? '{' : '[');
    enum status status =
        otlp_each_field(o, bytes, pairs ? "KeyValueList" : "ArrayValue", pairs ? read_pair : read_element, &list);
    strbuf_char(value->out, pairs ? '}' : ']');
    return status;
}

/* AnyValue, as Go's pcommon writes it. */
static enum status read_value(struct otlp *o, const struct wire_field *field, void *arg)
{
    struct value *value = arg;
    char text[FLOAT_TEXT_MAX];
    if (field->number == 1 && field->type == WIRE_BYTES && value->nested)
        strbuf_json(value->out, field->bytes);
    else if (field->number == 1 && field->type == WIRE_BYTES)
        strbuf_str(value->out, field->bytes);
    else if (field->number == 2 && field->type == WIRE_VARINT)
        strbuf_cstr(value->out, field->value ? "true" : "false");
    else if (field->number == 3 && field->type == WIRE_VARINT)
        strbuf_i64(value->out, (int64_t)field->value);
    else if (field->number == 4 && field->type == WIRE_FIXED64)
        strbuf_bytes(value->out, text, float_text_json(text, double_from_bits(field->value)));
    else if (field->type == WIRE_BYTES && (field->number == 5 || field->number == 6))
        return read_list(o, field->bytes, value, field->number == 6);
    else if (field->number == 7 && field->type == WIRE_BYTES) {
        strbuf_cstr(value->out, value->nested ? "\"" : "");
        base64(value->out, field->bytes);
        strbuf_cstr(value->out, value->nested ? "\"" : "");
    }
    return OK;
}

/* --- attributes --- */

struct attribute {
    struct str key, value; /* the value as its message */
};

static enum status read_attribute(struct otlp *o, const struct wire_field *field, void *arg)
{
    struct attribute *attribute = arg;
    (void)o;
    if (otlp_is_bytes(field, 1))
        attribute->key = field->bytes;
    else if (otlp_is_bytes(field, 2))
        attribute->value = field->bytes;
    return OK;
}

enum status otlp_add_attribute(struct otlp *o, struct otlp_attributes *list, struct str bytes)
{
    struct attribute attribute = {STR(""), STR("")};
    struct strbuf text;
    enum status status = otlp_each_field(o, bytes, "KeyValue", read_attribute, &attribute);
    if (status != OK)
        return status;
    if (list->n == OTLP_ATTRIBUTES_MAX - 4) { /* room for job, instance, le, __name__ */
        list->over++;
        return OK;
    }
    strbuf_init(&text, VALUE_MAX_BYTES);
    struct value value = {.out = &text};
    status = otlp_each_field(o, attribute.value, "AnyValue", read_value, &value);
    if (status == OK)
        status = strbuf_status(&text, "an OTLP attribute", o->reterr);
    struct str copy = status == OK ? arena_str(o->arena, strbuf_view(&text)) : STR("");
    strbuf_release(&text);
    if (!copy.ptr)
        return otlp_no_memory(o);
    list->at[list->n++] = (struct label){attribute.key, copy};
    return status;
}
