/* base/bit_stream.h: the bits that Prometheus's chunks are made of, most significant first, and the three codes of
 * numbers in them.
 *
 *   varbit      0 -> '0'; in an N-bit class a prefix of ones ended by a zero + N bits: 3, 6, 9, 12, 18, 25, 56; else
 *               eight ones + 64 bits. A signed class of N bits holds -(2^(N-1) - 1) … 2^(N-1) as its low N bits, an
 *               unsigned one 0 … 2^N - 1.
 *   xor         xor with the value before: 0 -> '0'; '10' + the bits inside the last window of significant bits, if the
 *               xor has no others; else '11' + 5 bits leading zeros (at most 31) + 6 bits length (64 is written as 0) +
 *               that many bits, which opens a new window
 *
 * Bits gather in a 64-bit word that is stored whole when it is full: the writer's place needs
 * room for eight bytes more than are written. Readers never look behind `end`; what is asked beyond it is 0, and is
 * `short_`.
 *
 * Threads: no state. Source: Prometheus tsdb/docs/bstream.md, tsdb/chunkenc/{bstream,varbit,xor}.go.
 */
#ifndef PROMSPLIT_BASE_BIT_STREAM_H
#define PROMSPLIT_BASE_BIT_STREAM_H

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include "base/assert.h"

#define BITS_VARBIT_MAX 72 /* of one number; prefix included */
#define BITS_XOR_MAX    77
#define BITS_WORD_BYTES 8

/* The last window of significant bits. */
struct xor_window {
    unsigned leading, trailing;
    bool open;
};

/* --- writing --- */

struct bit_writer {
    unsigned char *at;  /* where the next whole word goes */
    uint64_t pending;   /* bits not yet there, left-aligned */
    unsigned pending_n; /* 0 … 63 */
};

static inline void bits_store_word(unsigned char *at, uint64_t word)
{
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
    word = __builtin_bswap64(word);
#endif
    memcpy(at, &word, sizeof word);
}

/* Appends the low n bits, 1 <= n <= 64; higher bits are ignored. */
static inline void bits_put(struct bit_writer *out, uint64_t bits, unsigned n)
{
    uint64_t aligned = bits << (64 - n);
    out->pending |= aligned >> out->pending_n;
    unsigned total = out->pending_n + n;
    if (total < 64) {
        out->pending_n = total;
        return;
    }
    bits_store_word(out->at, out->pending);
    out->at += BITS_WORD_BYTES;
    total -= 64;
    out->pending = total ? aligned << (n - total) : 0;
    out->pending_n = total;
}

/* Stores what is pending; the end of the bytes. Nothing may be put afterwards. */
static inline unsigned char *bits_end(struct bit_writer *out)
{
    bits_store_word(out->at, out->pending);
    return out->at + (out->pending_n + 7) / 8;
}

static inline bool bits_fit(int64_t number, unsigned bits)
{
    int64_t half = INT64_C(1) << (bits - 1);
    return number >= -(half - 1) && number <= half;
}

static const unsigned BITS_CLASSES[] = {0, 3, 6, 9, 12, 18, 25, 56, 64}; /* by how many ones the prefix has */

static inline void bits_put_class(struct bit_writer *out, uint64_t number, unsigned ones)
{
    unsigned n = BITS_CLASSES[ones];
    if (ones == ARRAY_LENGTH(BITS_CLASSES) - 1)
        bits_put(out, 0xff, 8);
    else
        bits_put(out, ((UINT64_C(1) << ones) - 1) << 1, ones + 1);
    if (n)
        bits_put(out, number, n);
}

static inline void bits_put_signed(struct bit_writer *out, int64_t number)
{
    unsigned ones = number != 0;
    while (ones && ones < ARRAY_LENGTH(BITS_CLASSES) - 1 && !bits_fit(number, BITS_CLASSES[ones]))
        ones++;
    bits_put_class(out, (uint64_t)number, ones);
}

static inline void bits_put_unsigned(struct bit_writer *out, uint64_t number)
{
    unsigned ones = number != 0;
    while (ones && ones < ARRAY_LENGTH(BITS_CLASSES) - 1 && number >> BITS_CLASSES[ones])
        ones++;
    bits_put_class(out, number, ones);
}

static inline void bits_put_xor(struct bit_writer *out, struct xor_window *window, uint64_t before, uint64_t now)
{
    uint64_t change = now ^ before;
    if (change == 0) {
        bits_put(out, 0, 1);
        return;
    }
    unsigned leading = (unsigned)__builtin_clzll(change);
    unsigned trailing = (unsigned)__builtin_ctzll(change);
    if (leading > 31)
        leading = 31; /* five bits */
    if (window->open && leading >= window->leading && trailing >= window->trailing) {
        bits_put(out, 2, 2);
        bits_put(out, change >> window->trailing, 64 - window->leading - window->trailing);
        return;
    }
    *window = (struct xor_window){leading, trailing, true};
    unsigned significant = 64 - leading - trailing;
    bits_put(out, UINT64_C(3) << 11 | (uint64_t)leading << 6 | (significant & 0x3f), 13);
    bits_put(out, change >> trailing, significant);
}

/* --- reading --- */

struct bit_reader {
    const unsigned char *at, *end;
    uint64_t word;   /* the unread bits, right-aligned */
    unsigned word_n; /* 0 … 64 */
    bool short_;     /* more was asked than there is; then all reads give 0 */
};

static inline uint64_t bits_get(struct bit_reader *in, unsigned n)
{
    uint64_t bits = 0;
    while (n > 0) {
        if (in->word_n == 0) {
            if (in->at == in->end) {
                in->short_ = true;
                return 0;
            }
            in->word = *in->at++;
            in->word_n = 8;
        }
        unsigned take = n < in->word_n ? n : in->word_n;
        in->word_n -= take;
        bits = bits << take | (in->word >> in->word_n & ((UINT64_C(1) << take) - 1));
        n -= take;
    }
    return bits;
}

/* How many ones stand before a zero, or `most`, which no zero follows. */
static inline unsigned bits_get_ones(struct bit_reader *in, unsigned most)
{
    unsigned ones = 0;
    while (ones < most && bits_get(in, 1))
        ones++;
    return ones;
}

/* The signed number of a class of n bits, n <= 64. */
static inline int64_t bits_get_class(struct bit_reader *in, unsigned n)
{
    uint64_t bits = bits_get(in, n);
    if (n && n < 64 && bits > UINT64_C(1) << (n - 1))
        bits -= UINT64_C(1) << n;
    return (int64_t)bits;
}

static inline int64_t bits_get_signed(struct bit_reader *in)
{
    return bits_get_class(in, BITS_CLASSES[bits_get_ones(in, ARRAY_LENGTH(BITS_CLASSES) - 1)]);
}

static inline uint64_t bits_get_unsigned(struct bit_reader *in)
{
    return bits_get(in, BITS_CLASSES[bits_get_ones(in, ARRAY_LENGTH(BITS_CLASSES) - 1)]);
}

/* False: cut short, or no such code. */
static inline bool bits_get_xor(struct bit_reader *in, struct xor_window *window, uint64_t *value)
{
    if (!bits_get(in, 1))
        return !in->short_;
    if (bits_get(in, 1)) {
        unsigned leading = (unsigned)bits_get(in, 5), significant = (unsigned)bits_get(in, 6);
        significant = significant ? significant : 64;
        if (leading + significant > 64)
            return false;
        *window = (struct xor_window){leading, 64 - leading - significant, true};
    }
    if (!window->open)
        return false;
    *value ^= bits_get(in, 64 - window->leading - window->trailing) << window->trailing;
    return !in->short_;
}

#endif
