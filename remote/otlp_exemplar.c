/* remote/otlp_exemplar.c: exemplars of OTLP's data points; see otlp_internal.h.
 *
 * Trace and span become the labels trace_id and span_id, in hexadecimal digits, unless they are empty or all zeros. The
 * filtered attributes follow under the names they have, all of them or, if the labels would have more characters than
 * OpenMetrics allows, none.
 *
 * Source: Prometheus 3.5 storage/remote/otlptranslator/prometheusremotewrite/helper.go.
 */
#include <math.h>
#include <stdlib.h>

#include "backend/exemplar_ring.h"
#include "base/utf8.h"
#include "remote/body.h"
#include "remote/otlp_internal.h"

#define TRACE_BYTES 16
#define SPAN_BYTES  8

enum { /* field numbers */
    TIME = 2,
    AS_DOUBLE,
    SPAN_ID,
    TRACE_ID,
    AS_INT,
    FILTERED_ATTRIBUTES
};

struct reading {
    struct otlp_attributes *filtered;
    struct str trace, span;
    struct otlp_exemplar is;
    bool has_value;
};

static enum status read_field(struct otlp *o, const struct wire_field *field, void *arg)
{
    struct reading *r = arg;
    if (otlp_is_bytes(field, FILTERED_ATTRIBUTES))
        return otlp_add_attribute(o, r->filtered, field->bytes);
    if (otlp_is_bytes(field, SPAN_ID) || otlp_is_bytes(field, TRACE_ID)) {
        *(field->number == SPAN_ID ? &r->span : &r->trace) = field->bytes;
    } else if (field->type == WIRE_FIXED64 && field->number == TIME) {
        r->is.time_ms = (int64_t)(field->value / 1000000);
    } else if (field->type == WIRE_FIXED64 && (field->number == AS_DOUBLE || field->number == AS_INT)) {
        bool is_int = field->number == AS_INT;
        r->is.value = is_int ? (double)(int64_t)field->value : double_from_bits(field->value);
        r->has_value = true;
    }
    return OK;
}

static bool is_id(struct str bytes, size_t len)
{
    return bytes.len == 0 || bytes.len == len;
}

static bool is_zero(struct str bytes)
{
    size_t zeros = 0;
    while (zeros < bytes.len && bytes.ptr[zeros] == '\0')
        zeros++;
    return zeros == bytes.len;
}

/* Adds the label of an id that is not zero. */
static enum status put_id(struct otlp *o, struct otlp_exemplar *is, struct str name, struct str bytes)
{
    static const char DIGITS[] = "0123456789abcdef";
    if (is_zero(bytes))
        return OK;
    char *text = arena_alloc(o->arena, 2 * bytes.len);
    if (!text)
        return otlp_no_memory(o);
    for (size_t i = 0; i < bytes.len; i++) {
        text[2 * i] = DIGITS[(unsigned char)bytes.ptr[i] >> 4];
        text[2 * i + 1] = DIGITS[(unsigned char)bytes.ptr[i] & 15];
    }
    is->labels[is->labels_n++] = (struct label){name, {text, 2 * bytes.len}};
    return OK;
}

static size_t characters_of(const struct label *at, size_t n)
{
    size_t characters = 0;
    for (size_t i = 0; i < n; i++)
        characters += utf8_characters(at[i].name) + utf8_characters(at[i].value);
    return characters;
}

static enum status put_labels(struct otlp *o, struct reading *r)
{
    struct otlp_exemplar *is = &r->is;
    const struct otlp_attributes *filtered = r->filtered;
    void *labels;
    enum status status = body_alloc(o->arena, filtered->n + 2, sizeof *is->labels, OTLP_WHAT, &labels, o->reterr);
    if (status != OK)
        return status;
    is->labels = labels;
    status = put_id(o, is, STR("trace_id"), r->trace);
    if (status == OK)
        status = put_id(o, is, STR("span_id"), r->span);
    size_t characters = characters_of(is->labels, is->labels_n) + characters_of(filtered->at, filtered->n);
    if (status != OK || filtered->over || characters > EXEMPLAR_LABELS_MAX_CHARACTERS)
        return status;
    for (size_t i = 0; i < filtered->n; i++)
        is->labels[is->labels_n++] = filtered->at[i];
    return OK;
}

static enum status read_one(struct otlp *o, struct str message, struct otlp_exemplars *list)
{
    struct reading r = {.filtered = o->filtered, .trace = STR(""), .span = STR("")};
    r.filtered->n = r.filtered->over = 0;
    enum status status = otlp_each_field(o, message, "Exemplar", read_field, &r);
    if (status != OK)
        return status;
    if (!r.has_value || !is_id(r.trace, TRACE_BYTES) || !is_id(r.span, SPAN_BYTES)) {
        o->out->request.invalid_exemplars++;
        return OK;
    }
    status = put_labels(o, &r);
    if (status == OK)
        list->at[list->n++] = r.is;
    return status;
}

enum status otlp_exemplars_read(struct otlp *o, struct str point, uint32_t number, size_t n, struct otlp_exemplars *ret)
{
    struct wire_in in = wire_in(point);
    struct wire_field field;
    void *at = NULL;
    enum status status = n ? body_alloc(o->arena, n, sizeof *ret->at, OTLP_WHAT, &at, o->reterr) : OK;
    *ret = (struct otlp_exemplars){.at = at};
    while (status == OK && n && in.at < in.end && wire_get_field(&in, &field))
        if (otlp_is_bytes(&field, number))
            status = read_one(o, field.bytes, ret);
    return status;
}

/* --- which bucket of a histogram they belong to --- */

struct bound {
    double bound;
    size_t bucket;
};

static int by_bound(const void *a, const void *b)
{
    const struct bound *left = a, *right = b;
    int order = (left->bound > right->bound) - (left->bound < right->bound);
    return order ? order : (left->bucket > right->bucket) - (left->bucket < right->bucket);
}

static int by_bucket(const void *a, const void *b)
{
    const struct otlp_exemplar *left = a, *right = b;
    if (left->bucket != right->bucket)
        return left->bucket < right->bucket ? -1 : 1;
    return (left->order > right->order) - (left->order < right->order);
}

/* The first of the ascending bounds that is not below the value; `none`: all are. */
static size_t bucket_of(const struct bound *bounds, size_t n, double value, size_t none)
{
    size_t low = 0, high = n;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (value <= bounds[middle].bound)
            high = middle;
        else
            low = middle + 1;
    }
    return low < n ? bounds[low].bucket : none;
}

enum status otlp_exemplars_spread(struct otlp *o, struct otlp_exemplars *list, struct str packed, size_t buckets_n)
{
    struct wire_in in = wire_in(packed);
    struct bound *bounds;
    void *at;
    uint64_t bits;
    size_t n = 0, kept = 0;
    if (list->n == 0)
        return OK;
    enum status status = body_alloc(o->arena, buckets_n + 1, sizeof *bounds, OTLP_WHAT, &at, o->reterr);
    if (status != OK)
        return status;
    bounds = at;
    for (size_t i = 0; i < buckets_n && wire_get_fixed64(&in, &bits); i++)
        if (!isnan(double_from_bits(bits)))
            bounds[n++] = (struct bound){double_from_bits(bits), i};
    qsort(bounds, n, sizeof *bounds, by_bound);
    for (size_t i = 0; i < list->n; i++) {
        if (isnan(list->at[i].value)) /* in none */
            continue;
        list->at[kept] = list->at[i];
        list->at[kept].bucket = bucket_of(bounds, n, list->at[i].value, buckets_n);
        list->at[kept].order = kept;
        kept++;
    }
    o->out->request.invalid_exemplars += list->n - kept;
    list->n = kept;
    qsort(list->at, kept, sizeof *list->at, by_bucket);
    return OK;
}

enum status otlp_exemplars_put(struct otlp *o, struct otlp_exemplars *list, size_t bucket)
{
    bool good = true;
    for (; good && list->next < list->n && list->at[list->next].bucket == bucket; list->next++) {
        const struct otlp_exemplar *one = &list->at[list->next];
        good = series_builder_exemplar(&o->builder, one->labels, one->labels_n, one->value, one->time_ms);
    }
    return good ? OK : o->builder.status;
}
