/* remote/write_request.h: remote write requests, 1.0 and 2.0, off the wire.
 *
 * Series with broken labels (none, no metric name, twice the same name, an empty name, invalid UTF-8, a reserved task
 * label, over a limit on labels) are left out and counted, the rest is kept; what is handed on is sorted and has no
 * empty values. A label with an empty value is no label. Series that carry no sample, no native histogram and no
 * exemplar are not handed on; in 2.0 a series with nothing at all is invalid (one with exemplars alone is taken:
 * Prometheus sends such), and so is one whose references are an odd number or lead outside the symbols. 2.0's symbols
 * must begin with the empty text. The texts that all references of a request stand for may not be longer than
 * decoded_max_bytes: references are short, what they stand for need not be. Start timestamps of samples are handed on
 * if they are wanted, else skipped.
 *
 * Native histograms are judged as Prometheus does (native_histogram.h); wrong ones are left out and counted.
 *
 * Exemplars whose labels are broken (an empty name, twice the same, invalid UTF-8, odd or wrong references) are left
 * out and counted, as are those of series left out.
 *
 * Metadata comes from 1.0's own messages, from 2.0's series, and from the labels __metric_type__, __metric_help__ and
 * __metric_unit__, which are taken off the series and count for no limit on labels. Of several entries of one family
 * the last is handed on. A series' family is its name, for histograms and summaries without _bucket, _count, _sum.
 * Metadata without a family name, or whose text is not UTF-8 or longer than WRITE_METADATA_TEXT_MAX_BYTES, is dropped
 * and counted: it is advice, never worth refusing samples for.
 *
 * Memory   decoded into the arena, the uncompressed message too: about 32 bytes a label, 16 a sample. At the arena's
 *          cap the answer is E_TOO_LARGE. Threads: no shared state.
 * Errors   E_TOO_LARGE, E_BAD_DATA (snappy, protobuf: the whole request is refused, nothing is kept).
 * Source   the remote write specifications 1.0 and 2.0; Prometheus prompb/{types,remote}.proto,
 *          prompb/io/prometheus/write/v2/types.proto, storage/remote/write_handler.go.
 */
#ifndef PROMSPLIT_REMOTE_WRITE_REQUEST_H
#define PROMSPLIT_REMOTE_WRITE_REQUEST_H

#include "backend/backend.h"
#include "base/strbuf.h"

#define WRITE_METADATA_TEXT_MAX_BYTES 16384 /* of a family's name, its help, its unit */

enum write_version {
    WRITE_1_0, /* prometheus.WriteRequest */
    WRITE_2_0  /* io.prometheus.write.v2.Request */
};

struct write_limits {
    size_t body_max_bytes;
    size_t decoded_max_bytes;
    size_t labels_max; /* of one series, its name included; 0: none, as of the two below */
    size_t label_name_max_bytes;
    size_t label_value_max_bytes;
    bool wants_starts; /* hand on the start timestamps of 2.0's samples */
};

/* Why a series is left out. */
enum write_invalid {
    WRITE_INVALID_LABELS, /* what no limit has to do with */
    WRITE_LABELS_TOO_MANY,
    WRITE_NAME_TOO_LONG,
    WRITE_VALUE_TOO_LONG,
    WRITE_INVALID_MAX
};

struct write_request {
    struct append_series *series;
    size_t series_n;
    struct append_start *starts; /* of samples of these series, in their order */
    size_t starts_n;
    struct append_histogram *histograms; /* likewise */
    size_t histograms_n;
    struct append_exemplar *exemplars; /* of these series, in their order */
    size_t exemplars_n;
    size_t invalid_histograms;      /* left out, not for their series */
    struct error invalid_histogram; /* E_BAD_DATA and what is wrong with the first, in Prometheus's words */
    size_t exemplars_skipped;       /* of OTLP's gauges, which are not handed on */
    size_t invalid_exemplars;       /* left out */
    struct error invalid_exemplar;  /* of 2.0: E_BAD_DATA and the first wrong reference, in Prometheus's words */
    struct label *labels;           /* those of all series, one after the other: append_series shows them as constant */
    struct metric_metadata *metadata;
    size_t metadata_n;
    size_t invalid_metadata;                   /* entries dropped */
    size_t samples_n;                          /* of all kept series */
    size_t invalid_series;                     /* left out */
    size_t invalid_samples[WRITE_INVALID_MAX]; /* and native histograms of the series left out, by why */
    struct error invalid; /* E_BAD_DATA and why the first one was left out, in Prometheus's words where it has some;
                             status OK if none */
};

static inline size_t write_request_invalid_samples(const struct write_request *request)
{
    size_t n = 0;
    for (size_t why = 0; why < WRITE_INVALID_MAX; why++)
        n += request->invalid_samples[why];
    return n;
}

/* Removes a label that the series has. */
void write_request_drop_label(const struct write_request *request, struct append_series *series, struct str name);

/* Decides by Content-Type and Content-Encoding (both may be empty: 1.0, snappy). Unknown ones are E_UNSUPPORTED_MEDIA;
 * *ret_version is set all the same, to what Content-Type says or 1.0. */
MUST_USE enum status write_request_media(struct str content_type, struct str content_encoding,
                                         enum write_version *ret_version, struct error *reterr);

MUST_USE enum status write_request_decode(struct arena *arena, struct str body, enum write_version version,
                                          const struct write_limits *limits, struct write_request *ret_request,
                                          struct error *reterr);

/* The same from the uncompressed message. The views in *ret_request point into it. */
MUST_USE enum status write_request_unpack(struct arena *arena, struct str message, enum write_version version,
                                          const struct write_limits *limits, struct write_request *ret_request,
                                          struct error *reterr);

/* The sender's side, for tests, probes and the benchmark: a snappy-compressed 1.0 request of samples and metadata. */
MUST_USE enum status write_request_encode(const struct append_series *series, size_t series_n,
                                          const struct metric_metadata *metadata, size_t metadata_n, struct strbuf *out,
                                          struct error *reterr);

#endif
