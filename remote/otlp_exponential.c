/* remote/otlp_exponential.c: exponential histograms of OTLP as native ones.
 *
 * A bucket of OTLP's with number i holds what is above base^i and not above base^(i+1); a native one with that upper
 * bound has the number i + 1. Scales above 8 are brought down to 8 by putting 2^(scale - 8) buckets together. Of the
 * dense buckets the empty ones at the end stay, short runs of empty ones stay, longer ones become gaps between spans.
 *
 * All this follows Prometheus step by step, so that both store equal histograms. That goes for one of its slips, too:
 * with buckets put together, what lies behind a gap may be counted one bucket too low. Only spans without a bucket,
 * which it makes when many are empty at the front, are put into the next one: added to others, its engine takes such
 * histograms for something else.
 *
 * Source: Prometheus 3.5 storage/remote/otlptranslator/prometheusremotewrite/histograms.go.
 */
#include <inttypes.h>

#include "remote/body.h"
#include "remote/otlp_internal.h"

#define SCALE_MIN           (-4)
#define SCALE_MAX           8
#define ZERO_THRESHOLD      1e-128 /* that of the message is not looked at */
#define EMPTY_BUCKETS_MAX   2      /* written out; more are a gap */
#define BUCKETS_FIELD_START 1      /* sint32 */
#define BUCKETS_FIELD_COUNT 2      /* uint64, packed or each alone */

/* --- the dense buckets --- */

struct dense {
    int32_t offset;
    uint64_t *counts; /* NULL while they are counted */
    size_t n;
};

static void take_count(struct dense *dense, uint64_t count)
{
    if (dense->counts)
        dense->counts[dense->n] = count;
    dense->n++;
}

static enum status read_buckets_field(struct otlp *o, const struct wire_field *field, void *arg)
{
    struct dense *dense = arg;
    if (field->number == BUCKETS_FIELD_START && field->type == WIRE_VARINT)
        dense->offset = (int32_t)wire_from_zigzag((uint32_t)field->value);
    if (field->number != BUCKETS_FIELD_COUNT)
        return OK;
    if (field->type == WIRE_VARINT)
        take_count(dense, field->value);
    if (field->type != WIRE_BYTES)
        return OK;
    struct wire_in in = wire_in(field->bytes);
    while (in.at < in.end) {
        uint64_t count;
        if (!wire_get_varint(&in, &count))
            return otlp_malformed(o, field->bytes, "bucket counts");
        take_count(dense, count);
    }
    return OK;
}

static enum status read_dense(struct otlp *o, struct str message, struct dense *ret, struct error *ret_wrong)
{
    *ret = (struct dense){.n = 0};
    enum status status = otlp_each_field(o, message, "Buckets", read_buckets_field, ret);
    if (status != OK || ret->n == 0)
        return status;
    if (ret->n > NATIVE_HISTOGRAM_PARTS_MAX) {
        error_set(ret_wrong, E_LIMIT, "exponential histogram with %zu buckets exceeds limit %u", ret->n,
                  NATIVE_HISTOGRAM_PARTS_MAX);
        return OK;
    }
    if ((int64_t)ret->offset + (int64_t)ret->n > INT32_MAX) {
        error_set(ret_wrong, E_BAD_DATA, "exponential histogram with a bucket number above %" PRId32, INT32_MAX);
        return OK;
    }
    void *counts;
    status = body_alloc(&o->scratch, ret->n, sizeof *ret->counts, OTLP_WHAT, &counts, o->reterr);
    if (status != OK)
        return status;
    ret->counts = counts;
    ret->n = 0;
    return otlp_each_field(o, message, "Buckets", read_buckets_field, ret);
}

/* --- spans and differences --- */

/* There is never more than one of either for a dense bucket. */
struct sparse {
    struct histogram_span *spans;
    uint64_t *deltas;
    size_t spans_n, deltas_n;
    uint64_t last; /* count of the bucket before */
};

static void put_bucket(struct sparse *sparse, uint64_t count)
{
    sparse->spans[sparse->spans_n - 1].length++;
    sparse->deltas[sparse->deltas_n++] = count - sparse->last;
    sparse->last = count;
}

/* A bucket behind so many empty ones. */
static void put_behind(struct sparse *sparse, int32_t empty_n, uint64_t count)
{
    struct histogram_span *span = &sparse->spans[sparse->spans_n - 1];
    if (empty_n > EMPTY_BUCKETS_MAX && span->length == 0)
        span->offset += empty_n;
    else if (empty_n > EMPTY_BUCKETS_MAX)
        sparse->spans[sparse->spans_n++] = (struct histogram_span){empty_n, 0};
    else
        for (int32_t i = 0; i < empty_n; i++)
            put_bucket(sparse, 0);
    put_bucket(sparse, count);
}

/* Rounds down, negative numbers too: every compiler shifts the sign in. */
static int32_t native_number(const struct dense *dense, size_t i, unsigned shift)
{
    return (((int32_t)i + dense->offset) >> shift) + 1;
}

/* `at` is the number of the bucket that is to be written next if none is left out, `count` what was collected. */
static void make_sparse(const struct dense *dense, unsigned shift, struct sparse *sparse)
{
    int32_t at = native_number(dense, 0, shift);
    uint64_t count = 0;
    sparse->spans[sparse->spans_n++] = (struct histogram_span){at, 0};
    for (size_t i = 0; i < dense->n; i++) {
        int32_t number = native_number(dense, i, shift);
        if (number == at) {
            count += dense->counts[i];
        } else if (count == 0) {
            count = dense->counts[i];
        } else {
            put_behind(sparse, number - at - 1, count);
            count = dense->counts[i];
            at = number;
        }
    }
    put_behind(sparse, native_number(dense, dense->n - 1, shift) - at, count);
}

static enum status read_side(struct otlp *o, struct str message, unsigned shift, struct histogram_side *ret,
                             struct error *ret_wrong)
{
    struct dense dense;
    void *spans, *deltas;
    enum status status = read_dense(o, message, &dense, ret_wrong);
    if (status != OK || ret_wrong->status != OK || dense.n == 0)
        return status;
    status = body_alloc(&o->scratch, dense.n, sizeof(struct histogram_span), OTLP_WHAT, &spans, o->reterr);
    if (status == OK)
        status = body_alloc(&o->scratch, dense.n, sizeof(uint64_t), OTLP_WHAT, &deltas, o->reterr);
    if (status != OK)
        return status;
    struct sparse sparse = {.spans = spans, .deltas = deltas};
    make_sparse(&dense, shift, &sparse);
    *ret = (struct histogram_side){sparse.spans, sparse.spans_n, sparse.deltas, sparse.deltas_n};
    return OK;
}

enum status otlp_exponential_read(struct otlp *o, const struct otlp_exponential *point, struct native_histogram *ret,
                                  struct error *ret_wrong)
{
    *ret_wrong = (struct error){.status = OK};
    *ret = (struct native_histogram){.time_ms = point->time_ms};
    if (point->scale < SCALE_MIN) {
        error_set(ret_wrong, E_BAD_DATA,
                  "cannot convert exponential to native histogram. Scale must be >= %d, was %" PRId32, SCALE_MIN,
                  point->scale);
        return OK;
    }
    if (point->is_stale) { /* nothing else is kept of such */
        ret->sum = double_from_bits(STALE_NAN_BITS);
        return OK;
    }
    int32_t above = point->scale > SCALE_MAX ? point->scale - SCALE_MAX : 0;
    unsigned shift = above < 31 ? (unsigned)above : 31; /* all bits but the sign */
    ret->schema = point->scale - above;
    ret->zero_threshold = ZERO_THRESHOLD;
    ret->zero_count = point->zero_count;
    ret->count = point->count;
    ret->sum = point->sum;
    enum status status = read_side(o, point->positive, shift, &ret->positive, ret_wrong);
    return status == OK && ret_wrong->status == OK ? read_side(o, point->negative, shift, &ret->negative, ret_wrong)
                                                   : status;
}
