/* remote/native_histogram.c: see native_histogram.h. */
#include "remote/native_histogram.h"

#include <inttypes.h>
#include <math.h>

#include "base/assert.h"
#include "remote/body.h"
#include "remote/wire.h"

#define WHAT "native histogram"

enum { /* field numbers */
    COUNT_INT = 1,
    COUNT_FLOAT,
    SUM,
    SCHEMA,
    ZERO_THRESHOLD,
    ZERO_COUNT_INT,
    ZERO_COUNT_FLOAT,
    NEGATIVE_SPANS,
    NEGATIVE_DELTAS,
    NEGATIVE_COUNTS,
    POSITIVE_SPANS,
    POSITIVE_DELTAS,
    POSITIVE_COUNTS,
    RESET_HINT,
    TIMESTAMP,
    CUSTOM_VALUES,
    FIELDS_END
};

/* How a field is written; of repeated numbers each alone, and packed together as WIRE_BYTES. */
static const struct {
    enum wire_type type;
    bool repeated;
} FIELDS[FIELDS_END] = {
    [COUNT_INT] = {WIRE_VARINT, false},
    [COUNT_FLOAT] = {WIRE_FIXED64, false},
    [SUM] = {WIRE_FIXED64, false},
    [SCHEMA] = {WIRE_VARINT, false},
    [ZERO_THRESHOLD] = {WIRE_FIXED64, false},
    [ZERO_COUNT_INT] = {WIRE_VARINT, false},
    [ZERO_COUNT_FLOAT] = {WIRE_FIXED64, false},
    [NEGATIVE_SPANS] = {WIRE_BYTES, true},
    [NEGATIVE_DELTAS] = {WIRE_VARINT, true},
    [NEGATIVE_COUNTS] = {WIRE_FIXED64, true},
    [POSITIVE_SPANS] = {WIRE_BYTES, true},
    [POSITIVE_DELTAS] = {WIRE_VARINT, true},
    [POSITIVE_COUNTS] = {WIRE_FIXED64, true},
    [RESET_HINT] = {WIRE_VARINT, false},
    [TIMESTAMP] = {WIRE_VARINT, false},
    [CUSTOM_VALUES] = {WIRE_FIXED64, true},
};

/* --- off the wire --- */

/* One pass counts the elements of repeated fields, the next one fills them in. */
struct unpacking {
    size_t n[FIELDS_END];
    uint64_t *numbers[FIELDS_END]; /* NULL while counting; as the wire has them */
    struct histogram_span *spans[FIELDS_END];
    struct native_histogram is;
    uint64_t zero_int, zero_float; /* the last of the two that came, the other one 0 */
};

static bool read_span(struct str bytes, struct histogram_span *ret)
{
    struct wire_in in = wire_in(bytes);
    *ret = (struct histogram_span){0, 0};
    while (in.at < in.end) {
        struct wire_field field;
        if (!wire_get_field(&in, &field) || (field.number <= 2 && field.type != WIRE_VARINT))
            return false;
        if (field.number == 1)
            ret->offset = (int32_t)wire_from_zigzag((uint32_t)field.value);
        else if (field.number == 2)
            ret->length = (uint32_t)field.value;
    }
    return true;
}

/* One element of a repeated field. */
static void put_number(struct unpacking *u, uint32_t field, uint64_t number)
{
    if (u->numbers[field])
        u->numbers[field][u->n[field]] = number;
    u->n[field]++;
}

static bool read_packed(struct unpacking *u, const struct wire_field *field)
{
    struct wire_in in = wire_in(field->bytes);
    while (in.at < in.end) {
        uint64_t number;
        if (!(FIELDS[field->number].type == WIRE_VARINT ? wire_get_varint(&in, &number)
                                                        : wire_get_fixed64(&in, &number)))
            return false;
        put_number(u, field->number, number);
    }
    return true;
}

static bool read_repeated(struct unpacking *u, const struct wire_field *field)
{
    enum wire_type type = FIELDS[field->number].type;
    if (type == WIRE_BYTES) { /* spans are messages */
        struct histogram_span span;
        if (field->type != WIRE_BYTES || !read_span(field->bytes, &span))
            return false;
        if (u->spans[field->number])
            u->spans[field->number][u->n[field->number]] = span;
        u->n[field->number]++;
        return true;
    }
    if (field->type == WIRE_BYTES)
        return read_packed(u, field);
    if (field->type != type)
        return false;
    put_number(u, field->number, field->value);
    return true;
}

static void read_single(struct unpacking *u, const struct wire_field *field)
{
    switch (field->number) {
    case COUNT_INT:
    case COUNT_FLOAT: /* the last one counts */
        u->is.is_float = field->number == COUNT_FLOAT;
        u->is.count = field->value;
        return;
    case SUM:
        u->is.sum = double_from_bits(field->value);
        return;
    case SCHEMA:
        u->is.schema = (int32_t)wire_from_zigzag((uint32_t)field->value);
        return;
    case ZERO_THRESHOLD:
        u->is.zero_threshold = double_from_bits(field->value);
        return;
    case ZERO_COUNT_INT:
    case ZERO_COUNT_FLOAT:
        u->zero_int = field->number == ZERO_COUNT_INT ? field->value : 0;
        u->zero_float = field->number == ZERO_COUNT_FLOAT ? field->value : 0;
        return;
    case RESET_HINT:
        u->is.hint = field->value <= HISTOGRAM_HINT_GAUGE ? (enum histogram_hint)field->value : HISTOGRAM_HINT_UNKNOWN;
        return;
    default:
        u->is.time_ms = (int64_t)field->value;
        return;
    }
}

static bool read_message(struct unpacking *u, struct str message)
{
    struct wire_in in = wire_in(message);
    memset(u->n, 0, sizeof u->n);
    while (in.at < in.end) {
        struct wire_field field;
        if (!wire_get_field(&in, &field))
            return false;
        if (field.number >= FIELDS_END)
            continue;
        if (FIELDS[field.number].repeated ? !read_repeated(u, &field) : field.type != FIELDS[field.number].type)
            return false;
        if (!FIELDS[field.number].repeated)
            read_single(u, &field);
    }
    return true;
}

static enum status make_room(struct unpacking *u, struct arena *arena, struct error *reterr)
{
    enum status status = OK;
    for (unsigned i = COUNT_INT; status == OK && i < FIELDS_END; i++) {
        bool spans = FIELDS[i].type == WIRE_BYTES;
        void *at = NULL;
        if (u->n[i] > NATIVE_HISTOGRAM_PARTS_MAX)
            return error_set(reterr, E_LIMIT, WHAT " with %zu %s exceeds limit %u", u->n[i],
                             spans                ? "spans"
                             : i == CUSTOM_VALUES ? "custom bounds"
                                                  : "buckets",
                             NATIVE_HISTOGRAM_PARTS_MAX);
        if (u->n[i])
            status =
                body_alloc(arena, u->n[i], spans ? sizeof(struct histogram_span) : sizeof(uint64_t), WHAT, &at, reterr);
        *(spans ? (void **)&u->spans[i] : (void **)&u->numbers[i]) = at;
    }
    return status;
}

static struct histogram_side side_of(struct unpacking *u, unsigned spans)
{
    unsigned buckets = spans + (u->is.is_float ? 2 : 1);
    for (size_t i = 0; !u->is.is_float && i < u->n[buckets]; i++)
        u->numbers[buckets][i] = (uint64_t)wire_from_zigzag(u->numbers[buckets][i]);
    return (struct histogram_side){u->spans[spans], u->n[spans], u->numbers[buckets], u->n[buckets]};
}

enum status native_histogram_unpack(struct arena *arena, struct str message, struct native_histogram *ret,
                                    struct error *reterr)
{
    struct unpacking u = {.zero_int = 0};
    if (!read_message(&u, message))
        return error_set(reterr, E_BAD_DATA, WHAT " is not valid protobuf");
    enum status status = make_room(&u, arena, reterr);
    if (status != OK)
        return status;
    bool again = read_message(&u, message);
    INVARIANT(again);
    u.is.zero_count = u.is.is_float ? u.zero_float : u.zero_int;
    u.is.negative = side_of(&u, NEGATIVE_SPANS);
    u.is.positive = side_of(&u, POSITIVE_SPANS);
    u.is.bounds_n = u.n[CUSTOM_VALUES];
    if (u.is.bounds_n) {
        double *bounds = (double *)(void *)u.numbers[CUSTOM_VALUES];
        for (size_t i = 0; i < u.is.bounds_n; i++)
            bounds[i] = double_from_bits(u.numbers[CUSTOM_VALUES][i]);
        u.is.bounds = bounds;
    }
    *ret = u.is;
    return OK;
}

/* --- judging --- */

#define NEGATIVE_OFFSET "histogram has a span whose offset is negative"
#define SPANS_MISMATCH  "histogram spans specify different number of buckets than provided"
#define NEGATIVE_BUCKET "histogram has a bucket whose observation count is negative"

static enum status check_span_sum(const struct histogram_side *side, const char *where, struct error *reterr)
{
    uint64_t buckets = 0;
    for (size_t i = 0; i < side->spans_n; i++)
        buckets += side->spans[i].length;
    if (buckets == side->buckets_n)
        return OK;
    return error_set(reterr, E_BAD_DATA, "%s: spans need %" PRIu64 " buckets, have %zu buckets: " SPANS_MISMATCH, where,
                     buckets, side->buckets_n);
}

/* The offsets of spans from number `first` on. */
static enum status check_offsets(const struct histogram_side *side, size_t first, const char *where,
                                 struct error *reterr)
{
    for (size_t i = first; i < side->spans_n; i++)
        if (side->spans[i].offset < 0)
            return error_set(reterr, E_BAD_DATA, "%s: span number %zu with offset %" PRId32 ": " NEGATIVE_OFFSET, where,
                             i + 1, side->spans[i].offset);
    return OK;
}

static enum status check_spans(const struct histogram_side *side, const char *where, struct error *reterr)
{
    enum status status = check_offsets(side, 1, where, reterr);
    return status == OK ? check_span_sum(side, where, reterr) : status;
}

/* Adds the observations of integer histograms to *ret_n. */
static enum status check_buckets(const struct native_histogram *h, const struct histogram_side *side, const char *where,
                                 uint64_t *ret_n, struct error *reterr)
{
    uint64_t last = 0;
    char text[FLOAT_TEXT_MAX];
    for (size_t i = 0; i < side->buckets_n; i++) {
        if (h->is_float) {
            double count = double_from_bits(side->buckets[i]);
            if (!(count < 0))
                continue;
            float_text_general(text, count);
        } else {
            last += side->buckets[i];
            *ret_n += last;
            if ((int64_t)last >= 0)
                continue;
            snprintf(text, sizeof text, "%" PRId64, (int64_t)last);
        }
        return error_set(reterr, E_BAD_DATA, "%s: bucket number %zu has observation count of %s: " NEGATIVE_BUCKET,
                         where, i + 1, text);
    }
    return OK;
}

static enum status check_bounds(const struct native_histogram *h, struct error *reterr)
{
    for (size_t i = 0; i < h->bounds_n; i++) {
        if (isnan(h->bounds[i]))
            return error_set(reterr, E_BAD_DATA, "custom buckets: histogram custom bounds must not be NaN");
        if (i > 0 && h->bounds[i] <= h->bounds[i - 1])
            return error_set(reterr, E_BAD_DATA,
                             "custom buckets: previous bound is %f and current is %f: histogram custom bounds must be "
                             "in strictly increasing order",
                             h->bounds[i - 1], h->bounds[i]);
    }
    if (h->bounds_n && h->bounds[h->bounds_n - 1] == (double)INFINITY)
        return error_set(reterr, E_BAD_DATA,
                         "custom buckets: last +Inf bound must not be explicitly defined: histogram custom bounds must "
                         "be finite");
    return OK;
}

static enum status check_custom(const struct native_histogram *h, struct error *reterr)
{
    const struct histogram_side *side = &h->positive;
    enum status status = check_bounds(h, reterr);
    if (status == OK)
        status = check_offsets(side, 0, "custom buckets", reterr);
    if (status == OK)
        status = check_span_sum(side, "custom buckets", reterr);
    if (status != OK)
        return status;
    uint64_t covered = 0;
    for (size_t i = 0; i < side->spans_n; i++)
        covered += (uint64_t)side->spans[i].offset + side->spans[i].length;
    if (h->bounds_n + 1 < covered)
        return error_set(reterr, E_BAD_DATA,
                         "custom buckets: only %zu custom bounds defined which is insufficient to cover total span "
                         "length of %" PRIu64 ": histogram custom bounds are too few",
                         h->bounds_n, covered);
    if (h->is_float ? double_from_bits(h->zero_count) != 0 : h->zero_count != 0)
        return error_set(reterr, E_BAD_DATA, "custom buckets: must have zero count of 0");
    if (h->zero_threshold != 0)
        return error_set(reterr, E_BAD_DATA, "custom buckets: must have zero threshold of 0");
    if (h->negative.spans_n)
        return error_set(reterr, E_BAD_DATA, "custom buckets: must not have negative spans");
    if (h->negative.buckets_n)
        return error_set(reterr, E_BAD_DATA, "custom buckets: must not have negative buckets");
    return OK;
}

static enum status check_exponential(const struct native_histogram *h, uint64_t *ret_n, struct error *reterr)
{
    enum status status = check_spans(&h->positive, "positive side", reterr);
    if (status == OK)
        status = check_spans(&h->negative, "negative side", reterr);
    if (status == OK)
        status = check_buckets(h, &h->negative, "negative side", ret_n, reterr);
    if (status != OK)
        return status;
    double zero_count = double_from_bits(h->zero_count);
    if (h->is_float && zero_count < 0) {
        char text[FLOAT_TEXT_MAX];
        float_text_general(text, zero_count);
        return error_set(reterr, E_BAD_DATA, "zero bucket has observation count of %s: " NEGATIVE_BUCKET, text);
    }
    if (h->bounds_n)
        return error_set(reterr, E_BAD_DATA, "histogram with exponential schema must not have custom bounds");
    return OK;
}

/* `buckets`: observations in them all. A NaN that was observed is in none of them, and makes the sum NaN. */
static enum status check_count(const struct native_histogram *h, uint64_t buckets, struct error *reterr)
{
    if (isnan(h->sum) ? buckets <= h->count : buckets == h->count)
        return OK;
    return error_set(reterr, E_BAD_DATA,
                     "%" PRIu64 " observations found in buckets, but the Count field is %" PRIu64
                     ": histogram's observation count should %s the number of observations found in the buckets%s",
                     buckets, h->count, isnan(h->sum) ? "be at least" : "equal",
                     isnan(h->sum) ? "" : " (in absence of NaN)");
}

enum status native_histogram_check(const struct native_histogram *h, struct error *reterr)
{
    uint64_t buckets = 0;
    enum status status;
    if (h->schema == NATIVE_HISTOGRAM_CUSTOM_SCHEMA)
        status = check_custom(h, reterr);
    else if (h->schema >= -4 && h->schema <= 8)
        status = check_exponential(h, &buckets, reterr);
    else
        status = error_set(reterr, E_BAD_DATA,
                           "histogram has an invalid schema, which must be between -4 and 8 for exponential buckets, "
                           "or %d for custom buckets, got schema %" PRId32,
                           NATIVE_HISTOGRAM_CUSTOM_SCHEMA, h->schema);
    double count = double_from_bits(h->count);
    if (status == OK && h->is_float && count < 0) {
        char text[FLOAT_TEXT_MAX];
        float_text_general(text, count);
        return error_set(reterr, E_BAD_DATA, "observation count is  %s: histogram's observation count is negative",
                         text);
    }
    if (status == OK)
        status = check_buckets(h, &h->positive, "positive side", &buckets, reterr);
    return status == OK && !h->is_float ? check_count(h, buckets + h->zero_count, reterr) : status;
}

/* --- the packed form --- */

static unsigned char *put_number_field(unsigned char *at, unsigned field, uint64_t number)
{
    if (number == 0)
        return at;
    *at++ = (unsigned char)WIRE_TAG(field, WIRE_VARINT);
    return wire_put_varint(at, number);
}

static size_t number_size(uint64_t number)
{
    return number ? 1 + wire_varint_size(number) : 0;
}

static unsigned char *put_double_field(unsigned char *at, unsigned field, uint64_t bits)
{
    return bits ? wire_put_double(at, (unsigned char)WIRE_TAG(field, WIRE_FIXED64), double_from_bits(bits)) : at;
}

static size_t double_size(uint64_t bits)
{
    return bits ? 1 + sizeof bits : 0;
}

static size_t span_size(const struct histogram_span *span)
{
    return number_size(wire_to_zigzag(span->offset)) + number_size(span->length);
}

static size_t buckets_size(const struct native_histogram *h, const struct histogram_side *side)
{
    if (h->is_float)
        return side->buckets_n * sizeof(double);
    size_t size = 0;
    for (size_t i = 0; i < side->buckets_n; i++)
        size += wire_varint_size(wire_to_zigzag((int64_t)side->buckets[i]));
    return size;
}

static size_t side_size(const struct native_histogram *h, const struct histogram_side *side)
{
    size_t size = side->buckets_n ? wire_bytes_size(buckets_size(h, side)) : 0;
    for (size_t i = 0; i < side->spans_n; i++)
        size += wire_bytes_size(span_size(&side->spans[i]));
    return size;
}

static unsigned char *put_bits(unsigned char *at, uint64_t bits)
{
#if __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
    bits = __builtin_bswap64(bits);
#endif
    memcpy(at, &bits, sizeof bits);
    return at + sizeof bits;
}

static unsigned char *put_side(unsigned char *at, const struct native_histogram *h, const struct histogram_side *side,
                               unsigned spans)
{
    for (size_t i = 0; i < side->spans_n; i++) {
        at = wire_put_head(at, spans, span_size(&side->spans[i]));
        at = put_number_field(at, 1, wire_to_zigzag(side->spans[i].offset));
        at = put_number_field(at, 2, side->spans[i].length);
    }
    if (side->buckets_n == 0)
        return at;
    at = wire_put_head(at, spans + (h->is_float ? 2 : 1), buckets_size(h, side));
    for (size_t i = 0; i < side->buckets_n; i++)
        at = h->is_float ? put_bits(at, side->buckets[i])
                         : wire_put_varint(at, wire_to_zigzag((int64_t)side->buckets[i]));
    return at;
}

static uint64_t kept_hint(const struct native_histogram *h)
{
    return h->hint == HISTOGRAM_HINT_NOT_RESET ? HISTOGRAM_HINT_UNKNOWN : (uint64_t)h->hint;
}

/* What tells the kind is always there: a count of 0, too. */
size_t native_histogram_packed_size(const struct native_histogram *h)
{
    size_t size = number_size(kept_hint(h));
    size += h->is_float ? 1 + sizeof h->count : 1 + wire_varint_size(h->count);
    size += double_size(double_bits(h->sum)) + number_size(wire_to_zigzag(h->schema) & UINT32_MAX);
    size += double_size(double_bits(h->zero_threshold));
    size += h->is_float ? double_size(h->zero_count) : number_size(h->zero_count);
    size += side_size(h, &h->negative) + side_size(h, &h->positive);
    if (h->bounds_n) /* a tag of two bytes */
        size += 1 + wire_bytes_size(h->bounds_n * sizeof(double));
    return size;
}

unsigned char *native_histogram_pack(unsigned char *at, const struct native_histogram *h)
{
    at = put_number_field(at, RESET_HINT, kept_hint(h));
    if (h->is_float) {
        at = wire_put_double(at, WIRE_TAG(COUNT_FLOAT, WIRE_FIXED64), double_from_bits(h->count));
    } else {
        *at++ = WIRE_TAG(COUNT_INT, WIRE_VARINT);
        at = wire_put_varint(at, h->count);
    }
    at = put_double_field(at, SUM, double_bits(h->sum));
    at = put_number_field(at, SCHEMA, wire_to_zigzag(h->schema) & UINT32_MAX);
    at = put_double_field(at, ZERO_THRESHOLD, double_bits(h->zero_threshold));
    at = h->is_float ? put_double_field(at, ZERO_COUNT_FLOAT, h->zero_count)
                     : put_number_field(at, ZERO_COUNT_INT, h->zero_count);
    at = put_side(at, h, &h->negative, NEGATIVE_SPANS);
    at = put_side(at, h, &h->positive, POSITIVE_SPANS);
    if (h->bounds_n == 0)
        return at;
    at = wire_put_varint(at, WIRE_TAG(CUSTOM_VALUES, WIRE_BYTES));
    at = wire_put_varint(at, h->bounds_n * sizeof(double));
    for (size_t i = 0; i < h->bounds_n; i++)
        at = put_bits(at, double_bits(h->bounds[i]));
    return at;
}

enum status native_histogram_store(struct arena *arena, const struct native_histogram *histogram,
                                   struct histogram_sample *ret, struct error *reterr)
{
    void *packed;
    size_t size = native_histogram_packed_size(histogram);
    enum status status = body_alloc(arena, size, 1, WHAT, &packed, reterr);
    if (status != OK)
        return status;
    unsigned char *end = native_histogram_pack(packed, histogram);
    POST(end == (unsigned char *)packed + size);
    *ret = (struct histogram_sample){histogram->time_ms, {packed, size}};
    return OK;
}

/* --- onto the wire --- */

size_t native_histogram_wire_size(const struct histogram_sample *sample)
{
    return sample->packed.len + 1 + wire_varint_size((uint64_t)sample->time_ms);
}

unsigned char *native_histogram_put(unsigned char *at, unsigned field, const struct histogram_sample *sample)
{
    at = wire_put_head(at, field, native_histogram_wire_size(sample));
    memcpy(at, sample->packed.ptr, sample->packed.len);
    at += sample->packed.len;
    *at++ = WIRE_TAG(TIMESTAMP, WIRE_VARINT);
    return wire_put_varint(at, (uint64_t)sample->time_ms);
}
