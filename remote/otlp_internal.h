/* remote/otlp_internal.h: what the files that read OTLP's protobuf share; only remote/otlp*.c use it.
 *
 * Memory   what is kept goes into `arena`; `scratch` is emptied behind each native histogram.
 * Threads  one reading, one thread. Errors: as otlp.h says.
 */
#ifndef PROMSPLIT_REMOTE_OTLP_INTERNAL_H
#define PROMSPLIT_REMOTE_OTLP_INTERNAL_H

#include "remote/native_histogram.h"
#include "remote/otlp.h"
#include "remote/series_builder.h"
#include "remote/wire.h"

#define OTLP_WHAT            "OTLP request"
#define OTLP_ATTRIBUTES_MAX  128 /* of one resource or data point, with the labels that are added */
#define OTLP_VALUE_DEPTH_MAX 16  /* lists in lists */

struct otlp_attributes {
    struct label at[OTLP_ATTRIBUTES_MAX];
    size_t n;
    size_t over; /* those that had no room */
};

struct otlp {
    struct series_builder builder;
    struct arena *arena, scratch;
    struct str message;
    struct otlp_request *out;
    struct error *reterr;
    struct otlp_attributes *resource; /* as they came */
    struct str job, instance;         /* empty: none */
    int64_t min_ms, max_ms;           /* of all points of the resource */
    struct otlp_attributes *labels;   /* of the point that is read */
    struct otlp_attributes *filtered; /* of the exemplar that is read */
};

MUST_USE enum status otlp_malformed(const struct otlp *o, struct str at, const char *message);
MUST_USE enum status otlp_no_memory(const struct otlp *o);

/* Calls `read` for every field of a message. */
typedef enum status otlp_field_reader(struct otlp *o, const struct wire_field *field, void *arg);

MUST_USE enum status otlp_each_field(struct otlp *o, struct str bytes, const char *message, otlp_field_reader *read,
                                     void *arg);

static inline bool otlp_is_bytes(const struct wire_field *field, uint32_t number)
{
    return field->number == number && field->type == WIRE_BYTES;
}

/* --- otlp_attributes.c --- */

/* Adds a KeyValue; the value becomes a text in the arena. */
MUST_USE enum status otlp_add_attribute(struct otlp *o, struct otlp_attributes *list, struct str bytes);

/* --- otlp_exponential.c --- */

/* An ExponentialHistogramDataPoint, but for its attributes and exemplars. */
struct otlp_exponential {
    int64_t time_ms;
    bool is_stale; /* no recorded value */
    int32_t scale;
    double sum;
    uint64_t count, zero_count;
    struct str positive, negative; /* Buckets, as they came */
};

/* As a native histogram in o->scratch. *ret_wrong: E_BAD_DATA or E_LIMIT and why it is none; OK if it is one. */
MUST_USE enum status otlp_exponential_read(struct otlp *o, const struct otlp_exponential *point,
                                           struct native_histogram *ret, struct error *ret_wrong);

/* --- otlp_exemplar.c --- */

struct otlp_exemplar {
    struct label *labels;
    size_t labels_n;
    double value;
    int64_t time_ms;
    size_t bucket, order; /* of histograms: where it belongs, and how many came before it */
};

struct otlp_exemplars {
    struct otlp_exemplar *at;
    size_t n, next; /* next: not put yet */
};

/* The n exemplars in a data point's fields of that number; those that are none are counted. All belong to bucket 0. */
MUST_USE enum status otlp_exemplars_read(struct otlp *o, struct str point, uint32_t number, size_t n,
                                         struct otlp_exemplars *ret);

/* Finds their buckets: the one with the lowest of the first buckets_n bounds (packed) that is not below the value, else
 * the bucket number buckets_n. */
MUST_USE enum status otlp_exemplars_spread(struct otlp *o, struct otlp_exemplars *list, struct str packed,
                                           size_t buckets_n);

/* Those of the bucket to the open series; buckets ascend from call to call. */
MUST_USE enum status otlp_exemplars_put(struct otlp *o, struct otlp_exemplars *list, size_t bucket);

#endif
