/* remote/histogram_chunk.h: runs of native histograms as Prometheus's chunks HISTOGRAM and FLOAT_HISTOGRAM have them.
 *
 * Bytes: uint16 big-endian number of samples; a byte of flags, whose first two bits are the hint (unknown 00, reset 10,
 * not reset 01, gauge 11) of the first sample; then a bit stream (bit_stream.h):
 *   layout      zero threshold: a byte 0 for 0, exponent + 243 for 2^(exponent - 1) from 2^-243 to 2^10, else 255 and
 * 64 bits; schema, signed; positive, then negative spans: their number, unsigned, then of each the length, unsigned,
 * and the offset, signed; of the custom schema the bounds: their number, then of each, if it is a multiple of 0.001 up
 * to 33554.430, 1 + 1000 times it, unsigned, else a 0 bit and 64 bits sample 0    time, signed; count and zero count,
 * unsigned, of floats 64 bits each; sum, 64 bits; positive, then negative buckets: signed, of floats 64 bits each
 *   sample n    time, count, zero count, each bucket: the change of its change since the sample before, signed, where
 *               sample 0 counts as no change; of floats all but the time as xor with the value before, as the sum
 * always is, each with a window of its own A staleness marker has no buckets, and an empty layout if it is the first;
 * none but markers may follow it.
 *
 * All samples behind the first are told to have no reset before them unless the chunk is of gauges. So a chunk takes
 * only what has the same layout and counts no less anywhere: then readers find no reset either. It also ends at a size.
 *
 * Memory   encoder: its own, bounded by what the largest histogram needs; decoder: the caller's arena.
 * Threads  one encoder, one thread. Errors: E_NOMEM; decoding E_BAD_DATA cut short or impossible, E_LIMIT more than
 *          NATIVE_HISTOGRAM_PARTS_MAX.
 * Source   Prometheus tsdb/docs/format/chunks.md, tsdb/chunkenc/{histogram,float_histogram,histogram_meta}.go.
 */
#ifndef PROMSPLIT_REMOTE_HISTOGRAM_CHUNK_H
#define PROMSPLIT_REMOTE_HISTOGRAM_CHUNK_H

#include "remote/native_histogram.h"

#define HISTOGRAM_CHUNK_SAMPLES_MAX 120
#define HISTOGRAM_CHUNK_BYTES       ((size_t)64 << 10) /* that it ends behind */

struct histogram_encoder;

MUST_USE enum status histogram_encoder_new(struct histogram_encoder **ret_encoder, struct error *reterr);
void histogram_encoder_free(struct histogram_encoder *encoder); /* NULL is fine */

unsigned histogram_encoder_n(const struct histogram_encoder *encoder); /* samples of the chunk under way */

/* Whether the chunk under way takes the sample; an empty one takes any. */
bool histogram_encoder_takes(const struct histogram_encoder *encoder, const struct native_histogram *histogram);

/* Adds a sample that it takes, of a histogram that native_histogram_check found right. */
MUST_USE enum status histogram_encoder_add(struct histogram_encoder *encoder, const struct native_histogram *histogram,
                                           struct error *reterr);

/* Ends the chunk, which has a sample; the next one is empty. The bytes stay until the next add. */
struct str histogram_encoder_finish(struct histogram_encoder *encoder, bool *ret_is_float);

/* Gives every sample of a chunk to `each`, until it returns another status than OK. What it is given lives in the arena
 * until the next one. */
MUST_USE enum status histogram_chunk_decode(struct str bytes, bool is_float, struct arena *arena,
                                            enum status (*each)(const struct native_histogram *, void *arg), void *arg,
                                            struct error *reterr);

#endif
