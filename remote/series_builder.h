/* remote/series_builder.h: series collected one by one out of a format that does not say beforehand how many there are.
 *
 * Labels, samples, exemplars, then series_builder_end, which judges the labels as remote write does (write_labels.h):
 * what cannot be stored is counted in the request and left out. At the end series_builder_finish puts all into the
 * request.
 *
 * Memory   the arena's: arrays double, so up to twice of what is collected is used. At the arena's cap the status is
 *          E_TOO_LARGE. Names and values are views that must outlive the request.
 * Threads  one at a time. Errors: sticky; the first one is in *reterr and in status.
 */
#ifndef PROMSPLIT_REMOTE_SERIES_BUILDER_H
#define PROMSPLIT_REMOTE_SERIES_BUILDER_H

#include "remote/write_request.h"

struct series_builder {
    struct arena *arena;
    const struct write_limits *limits;
    const char *what; /* what is read, for messages */
    struct write_request *request;
    struct error *reterr;
    enum status status;
    struct label *labels; /* of all series; the open one's last */
    size_t labels_n, labels_capacity;
    struct sample *samples; /* likewise */
    size_t samples_n, samples_capacity;
    struct append_histogram *histograms; /* likewise; those behind the request's are of the open series */
    size_t histograms_n, histograms_capacity;
    struct append_exemplar *exemplars; /* likewise */
    size_t exemplars_n, exemplars_capacity;
    struct built_series *series;
    size_t series_n, series_capacity;
    size_t metadata_capacity;
    size_t open_label;      /* first label of the open series */
    enum write_invalid why; /* of the last series that was ended; WRITE_INVALID_MAX: it is kept */
};

void series_builder_init(struct series_builder *builder, struct arena *arena, const struct write_limits *limits,
                         const char *what, struct write_request *request, struct error *reterr);

bool series_builder_label(struct series_builder *builder, struct str name, struct str value);

/* The places of n samples behind those that are there; NULL without memory. */
struct sample *series_builder_room(struct series_builder *builder, size_t n);

/* A native histogram of the open series. */
bool series_builder_histogram(struct series_builder *builder, const struct histogram_sample *sample);
bool series_builder_has_histograms(const struct series_builder *builder); /* the open series */

/* An exemplar of the open series, which has a sample or a histogram when it is ended. Its labels are sorted in place
 * and must outlive the request; a broken one is counted. */
bool series_builder_exemplar(struct series_builder *builder, struct label *labels, size_t labels_n, double value,
                             int64_t time_ms);

/* The open series has these labels, these histograms and exemplars and the next samples_n samples. */
void series_builder_end(struct series_builder *builder, size_t samples_n);

/* One more sample of the series that was ended last, written to series_builder_room before, and the exemplars since. */
void series_builder_extend(struct series_builder *builder);

/* Gives up the labels, histograms and exemplars of the open series. */
void series_builder_drop(struct series_builder *builder);

void series_builder_metadata(struct series_builder *builder, const struct metric_metadata *metadata);

MUST_USE enum status series_builder_finish(struct series_builder *builder);

#endif
