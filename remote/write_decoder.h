/* remote/write_decoder.h: what the decoders of remote write 1.0 and 2.0 share.
 *
 * Only remote/write_request*.c use it. A decoder passes over the message twice: the first time it checks the structure
 * and counts, then write_decoder_allocate makes the arrays, then it fills them. A series is filled at `labels` and
 * `samples`, which it moves on, and ended by write_decoder_end_series, which takes it or gives its places back.
 * So are its native histograms and exemplars, from `series_histograms` and `series_exemplars` on.
 *
 * Threads: one decoder, one thread. Errors: as write_request.h says.
 */
#ifndef PROMSPLIT_REMOTE_WRITE_DECODER_H
#define PROMSPLIT_REMOTE_WRITE_DECODER_H

#include "remote/wire.h"
#include "remote/write_request.h"

#define WRITE_WHAT "remote write request"

struct write_counts {
    size_t series, labels, samples, exemplars, exemplar_labels, histograms, symbols;
};

struct write_decoder {
    struct arena *arena;
    struct str message;
    const struct write_limits *limits;
    struct error *reterr;
    struct write_counts counts;
    struct label *labels;                                    /* all series' labels; the next free one */
    struct sample *samples;                                  /* likewise */
    struct append_histogram *histograms, *series_histograms; /* likewise; the first of the series under way */
    struct append_exemplar *exemplars, *series_exemplars;    /* likewise */
    struct label *exemplar_labels;                           /* of all exemplars; the next free one */
    struct arena scratch;                                    /* of the histogram under way */
    struct error wrong_histogram;                            /* the first of the series under way; OK: none */
    struct str *symbols;                                     /* of 2.0 */
    size_t text_bytes;                                       /* of the labels and metadata of 2.0, written out */
    size_t metadata_capacity;
    uint32_t *families; /* a hash table of twice the capacity: 1 + the place of a family's metadata, 0: free */
    struct write_request request;
};

MUST_USE enum status write_decoder_malformed(const struct write_decoder *decoder, const unsigned char *at,
                                             const char *message);
MUST_USE enum status write_decoder_wrong_type(const struct write_decoder *decoder, const unsigned char *at,
                                              const struct wire_field *field, const char *message);

MUST_USE enum status write_decoder_allocate(struct write_decoder *decoder);

/* Reads the sample at decoder->samples, which it moves on. Fields above fields_n (2 in 1.0, 3 in 2.0) are unknown and
 * skipped. */
MUST_USE enum status write_decoder_sample(struct write_decoder *decoder, struct str bytes, uint32_t fields_n);

/* Reads a native histogram, which goes to decoder->histograms if it is right, else is counted. */
MUST_USE enum status write_decoder_histogram(struct write_decoder *decoder, struct str bytes);

/* Notes when the counter of a sample began, if that is wanted; 0: not known. Samples come in their order. */
MUST_USE enum status write_decoder_start(struct write_decoder *decoder, const struct sample *sample, int64_t start_ms);
bool write_decoder_has_starts(const struct write_decoder *decoder,
                              const struct sample *samples); /* of these or later */

/* Takes the exemplar whose labels lie between `labels` and decoder->exemplar_labels, or counts it as invalid. */
void write_decoder_end_exemplar(struct write_decoder *decoder, struct label *labels, double value, int64_t time_ms);
void write_decoder_drop_exemplar(struct write_decoder *decoder, struct label *labels); /* it is invalid */

/* The series is what lies between these and decoder->labels, decoder->samples. `why`: what is wrong with it already, or
 * WRITE_INVALID_MAX; then its labels are judged. `metadata`: what its message says of it, its family still unnamed, or
 * NULL. */
MUST_USE enum status write_decoder_end_series(struct write_decoder *decoder, struct label *labels,
                                              struct sample *samples, enum write_invalid why,
                                              const struct metric_metadata *metadata);

/* Keeps the entry, in the place of one of the same family. */
MUST_USE enum status write_decoder_metadata(struct write_decoder *decoder, const struct metric_metadata *metadata);

MUST_USE enum status write_unpack_1(struct write_decoder *decoder); /* write_request.c */
MUST_USE enum status write_unpack_2(struct write_decoder *decoder); /* write_request_2.c */

#endif
