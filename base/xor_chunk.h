/* base/xor_chunk.h: Gorilla-compressed runs of samples, bit for bit as Prometheus's XOR chunks.
 *
 * Bytes: uint16 big-endian number of samples, then a bit stream, most significant bit first, zero-padded:
 *   sample 0    zig-zag varint of the time in ms; the value's 64 bits
 *   sample 1    varint of the time difference; value as below
 *   sample n    difference of time differences: 0 -> '0'; in an N-bit class '10' + 14, '110' + 17, '1110' + 20 bits;
 *               else '1111' + 64 bits. An N-bit class holds -(2^(N-1) - 1) … 2^(N-1), as its low N bits.
 *   value       xor with the value before (bit_stream.h)
 * Values are bits here: NaN payloads and signed zeros survive.
 *
 * Memory   the caller's buffers. Threads: one encoder, one thread.
 * Source   Prometheus tsdb/docs/format/chunks.md, tsdb/docs/bstream.md, tsdb/chunkenc/xor.go; Pelkonen et al., Gorilla
 *          (VLDB 2015).
 */
#ifndef PROMSPLIT_BASE_XOR_CHUNK_H
#define PROMSPLIT_BASE_XOR_CHUNK_H

#include "base/bit_stream.h"
#include "base/error.h"
#include "base/sample.h"
#include "base/strbuf.h"

#define XOR_CHUNK_SAMPLES_MAX 120 /* where Prometheus cuts its chunks; more would be legal up to 65535 */

/* Header, first sample, then at most 68 bits of time and 77 of value each, and room to store whole words. */
#define XOR_CHUNK_BYTES_MAX (2 + 10 + 8 + (XOR_CHUNK_SAMPLES_MAX - 1) * 19 + 8)

struct xor_encoder {
    unsigned char bytes[XOR_CHUNK_BYTES_MAX];
    struct bit_writer out;
    unsigned samples_n;   /* up to XOR_CHUNK_SAMPLES_MAX */
    uint64_t time, delta; /* of the last sample; unsigned, because differences wrap */
    uint64_t value;       /* bits of the last sample */
    struct xor_window window;
};

/* Starts a chunk. The buffer stays the encoder's. */
void xor_encoder_start(struct xor_encoder *encoder);

/* Adds samples while there is room; returns how many it took. Times ascend (any order round-trips, though). */
size_t xor_encoder_add(struct xor_encoder *encoder, const struct sample *samples, size_t n);

/* The chunk's bytes; a view until the next start. At least one sample must have been added. */
struct str xor_encoder_finish(struct xor_encoder *encoder);

/* Decodes a chunk of any length. *ret_n is the number of samples its header claims and, on success, written to out,
 * which has room for `room` of them. E_BAD_DATA: cut short or impossible; E_LIMIT: more samples than room. */
MUST_USE enum status xor_chunk_decode(struct str bytes, struct sample *out, size_t room, size_t *ret_n,
                                      struct error *reterr);

#endif
