/* remote/read_answer.h: remote read answers onto the wire, both encodings.
 *
 * An answer is fed query by query and series by series, in order: begin, then for each query its series (sorted by
 * labels_cmp, each with ascending samples, in one or several runs), end. READ_STREAMED_XOR_CHUNKS gives bytes as soon
 * as a series is complete: take them with read_answer_take between series, so that memory stays bounded by one series;
 * one series is one frame, because Prometheus makes a new series of every frame. READ_SAMPLES must be compressed as one
 * snappy block, so its bytes come only after read_answer_end.
 *
 * Memory   the encoder owns its buffers, bounded by limits. Threads: one at a time.
 * Errors   E_LIMIT in Prometheus's words ("exceeded sample limit (N)"); a series over frame_max_bytes; a body over
 *          samples_body_max. E_NOMEM. The first failure stays, all later calls give it again. Part of the answer may
 * have been taken by then: break the connection, for a stream that ends cleanly looks complete to the reader. Source
 * Prometheus prompb/remote.proto, storage/remote/{codec,chunked}.go, tsdb/docs/format/chunks.md (at most 120 samples a
 * chunk).
 */
#ifndef PROMSPLIT_REMOTE_READ_ANSWER_H
#define PROMSPLIT_REMOTE_READ_ANSWER_H

#include "backend/backend.h"
#include "base/strbuf.h"
#include "remote/read_request.h"

struct read_answer_limits {
    uint64_t samples_max;    /* of the whole answer, staleness markers included */
    size_t samples_body_max; /* READ_SAMPLES: bytes before compression; streamed: bytes not yet taken */
    size_t frame_max_bytes;  /* READ_STREAMED_XOR_CHUNKS: Prometheus refuses frames over 50 MB */
};

struct read_answer; /* opaque */

MUST_USE enum status read_answer_new(enum read_answer_type type, const struct read_answer_limits *limits,
                                     struct read_answer **ret_answer, struct error *reterr);
void read_answer_free(struct read_answer *answer); /* NULL is fine */

const char *read_answer_content_type(enum read_answer_type type);
const char *read_answer_content_encoding(enum read_answer_type type); /* "snappy", or NULL for none */

void read_answer_query(struct read_answer *answer); /* the next query's result begins */

/* The next series begins; it may stay without samples (label queries ask for that). */
MUST_USE enum status read_answer_series(struct read_answer *answer, struct labels labels, struct error *reterr);

/* More samples of the series: later than those before. */
MUST_USE enum status read_answer_samples(struct read_answer *answer, const struct sample *samples, size_t n,
                                         struct error *reterr);

/* More samples of the series as they go on the wire, likewise; only for answers that are streams of chunks. */
bool read_answer_takes_chunks(const struct read_answer *answer);
MUST_USE enum status read_answer_chunks(struct read_answer *answer, const struct raw_chunk *chunks, size_t n,
                                        struct error *reterr);

/* More native histograms of the series, likewise: samples and histograms come in one order of time. */
MUST_USE enum status read_answer_histograms(struct read_answer *answer, const struct histogram_sample *histograms,
                                            size_t n, struct error *reterr);

/* The answer is complete: the last bytes are ready to be taken. */
MUST_USE enum status read_answer_end(struct read_answer *answer, struct error *reterr);

/* Moves the finished bytes to `out` (appends); nothing to take is fine. */
void read_answer_take(struct read_answer *answer, struct strbuf *out);

/* A grid result as samples, so that upstream's lookback finds exactly the grid (semantics.md 5): the present values at
 * their evaluation timestamps inside span, a staleness marker at the first missing step of every gap, and one a step
 * after the last value if that is inside span, be it on the grid or one step behind it. Nothing before the first
 * value; series without a value inside span are left out. Writes a query of its own: read_answer_query, then the
 * series. Streamed answers stop behind about a megabyte of finished bytes: take them and call again, until *series_at,
 * which begins at 0, is the number of series. A present value that has the bits of the marker is sent as an ordinary
 * NaN: the grid says there is a value. */
MUST_USE enum status read_answer_grid(struct read_answer *answer, const struct grid_result *result,
                                      struct time_span span, size_t *series_at, struct error *reterr);

#endif
