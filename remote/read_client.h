/* remote/read_client.h: the reader's side of remote read: requests to a Prometheus, and its answers taken apart.
 *
 * An answer is either streamed frames of chunks or one snappy block of samples; its Content-Type says which. It is
 * read piece by piece into a builder, so that the samples of a large answer are never there at once. Chunks reach
 * beyond the span that was asked for; what lies outside is left out. Native histograms come in chunks of their own
 * kinds, or beside the samples; those that Prometheus would refuse to store are counted and left out.
 *
 * Memory   labels and samples in the builder's arena; the answer's bytes must stay until it was read.
 * Threads  no shared state. Errors: E_BAD_DATA names what is wrong with the answer and at which byte.
 * Source   Prometheus prompb/remote.proto, storage/remote/{codec,chunked}.go.
 */
#ifndef PROMSPLIT_REMOTE_READ_CLIENT_H
#define PROMSPLIT_REMOTE_READ_CLIENT_H

#include "remote/read_request.h"
#include "remote/series_builder.h"

/* Appends a request of one query, compressed. No matchers: all series. */
MUST_USE enum status read_client_encode(const struct matcher *matchers, size_t n, struct time_span span,
                                        struct strbuf *out, struct error *reterr);

struct read_client {
    struct str answer;
    size_t at; /* read so far */
    struct time_span span;
    enum read_answer_type type;
    size_t decoded_max_bytes;
};

/* content_type: that of the answer. */
MUST_USE enum status read_client_begin(struct read_client *client, struct str answer, struct str content_type,
                                       struct time_span span, size_t decoded_max_bytes, struct error *reterr);

/* Adds the next frame's series, or all of an answer that is one block. *ret_done: nothing is left. */
MUST_USE enum status read_client_next(struct read_client *client, struct series_builder *builder, bool *ret_done,
                                      struct error *reterr);

#endif
