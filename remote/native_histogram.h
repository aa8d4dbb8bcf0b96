/* remote/native_histogram.h: native histograms off the wire, judged, and in the one form in which they are stored.
 *
 * The wire's form is the message Histogram of proto/remote.proto, the same in remote write 1.0 and 2.0 and in remote
 * read. The packed form is such a message, too, without its time: the reset hint first, if there is one, then the other
 * fields in the order of their numbers, numbers packed, zeros left out but for those with a sign, and of what has one
 * name for integers and one for floats only the kind the histogram is of. So equal histograms have equal bytes, every
 * bit of a number survives, and an answer of remote read is the packed form with a time behind it. A hint of no reset
 * is left out: it would be a promise about the sample before, which may be another one later; Prometheus does not
 * believe it of senders either.
 *
 * Memory   arrays in the caller's arena. Threads: no state.
 * Errors   native_histogram_unpack: E_BAD_DATA no such message; E_LIMIT more than NATIVE_HISTOGRAM_PARTS_MAX of
 * something, E_TOO_LARGE, E_NOMEM the arena. native_histogram_check: E_BAD_DATA in Prometheus's words. Source
 * Prometheus prompb/types.proto (Histogram), prompb/codec.go, model/histogram/{histogram,float_histogram, generic}.go
 * (Validate).
 */
#ifndef PROMSPLIT_REMOTE_NATIVE_HISTOGRAM_H
#define PROMSPLIT_REMOTE_NATIVE_HISTOGRAM_H

#include "backend/backend.h"

#define NATIVE_HISTOGRAM_PARTS_MAX     16384u /* buckets, spans, bounds; usual are some hundred at most */
#define NATIVE_HISTOGRAM_CUSTOM_SCHEMA (-53)

enum histogram_hint { /* numbers of the wire */
    HISTOGRAM_HINT_UNKNOWN,
    HISTOGRAM_HINT_RESET,     /* the first after a counter reset */
    HISTOGRAM_HINT_NOT_RESET, /* no reset since the one before it */
    HISTOGRAM_HINT_GAUGE
};

struct histogram_span {
    int32_t offset; /* buckets left out since the span before it; of the first: the number of its first bucket */
    uint32_t length;
};

/* Positive or negative buckets. `buckets`: of integer histograms the change since the bucket before, signed; of float
 * ones the count's bits. */
struct histogram_side {
    const struct histogram_span *spans;
    size_t spans_n;
    const uint64_t *buckets;
    size_t buckets_n;
};

struct native_histogram {
    int64_t time_ms;
    bool is_float;
    enum histogram_hint hint;
    int32_t schema;
    double zero_threshold, sum;
    uint64_t count, zero_count; /* of float histograms: bits */
    struct histogram_side negative, positive;
    const double *bounds; /* of the custom schema */
    size_t bounds_n;
};

/* A message or the packed form; what it gives points into the arena. */
MUST_USE enum status native_histogram_unpack(struct arena *arena, struct str message, struct native_histogram *ret,
                                             struct error *reterr);

/* Whether Prometheus would take it. */
MUST_USE enum status native_histogram_check(const struct native_histogram *histogram, struct error *reterr);

/* The packed form, which has room at `at`; returns its end. */
size_t native_histogram_packed_size(const struct native_histogram *histogram);
unsigned char *native_histogram_pack(unsigned char *at, const struct native_histogram *histogram);

/* The same into the arena. */
MUST_USE enum status native_histogram_store(struct arena *arena, const struct native_histogram *histogram,
                                            struct histogram_sample *ret, struct error *reterr);

/* A packed one and its time as a field of the message around: how answers and requests carry it. */
size_t native_histogram_wire_size(const struct histogram_sample *sample); /* of the message, without its head */
unsigned char *native_histogram_put(unsigned char *at, unsigned field, const struct histogram_sample *sample);

#endif
