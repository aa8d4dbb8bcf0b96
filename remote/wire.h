/* remote/wire.h: protobuf's wire format, the few pieces that hand-written encoders and decoders need.
 *
 * Only remote/ uses it. Writers put bytes at a place that the caller has made large enough (WIRE_VARINT_MAX a number);
 * readers never look behind `end` and say what is wrong by returning false.
 *
 * Threads  no state.
 * Source   protobuf.dev/programming-guides/encoding: base-128 varints, least significant group first; a field is a
 *          varint number << 3 | wire type, then its value.
 */
#ifndef PROMSPLIT_REMOTE_WIRE_H
#define PROMSPLIT_REMOTE_WIRE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "base/float_text.h"
#include "base/str.h"
#include "backend/backend.h"

enum wire_type {
    WIRE_VARINT = 0,
    WIRE_FIXED64 = 1,
    WIRE_BYTES = 2, /* length, then that many bytes: text, messages, packed numbers */
    WIRE_FIXED32 = 5
};

#define WIRE_VARINT_MAX     10                    /* bytes of a 64-bit varint */
#define WIRE_TAG(n, type)   ((n) << 3 | (type))   /* one byte for field numbers below 16 */
#define WIRE_BYTES_HEAD_MAX (1 + WIRE_VARINT_MAX) /* tag and length */

/* --- writing --- */

static inline unsigned char *wire_put_varint(unsigned char *at, uint64_t number)
{
    while (number >= 0x80) {
        *at++ = (unsigned char)(number | 0x80);
        number >>= 7;
    }
    *at++ = (unsigned char)number;
    return at;
}

/* Signed numbers (sint32, sint64) as varints: the sign in the last bit. */
static inline uint64_t wire_to_zigzag(int64_t number)
{
    return (uint64_t)number << 1 ^ (number < 0 ? UINT64_MAX : 0);
}

static inline int64_t wire_from_zigzag(uint64_t number)
{
    return (int64_t)(number >> 1 ^ (0 - (number & 1)));
}

static inline size_t wire_varint_size(uint64_t number)
{
    return (size_t)(63 - __builtin_clzll(number | 1)) / 7 + 1;
}

static inline unsigned char *wire_put_bytes(unsigned char *at, unsigned char tag, struct str bytes)
{
    *at++ = tag;
    at = wire_put_varint(at, bytes.len);
    if (bytes.len)
        memcpy(at, bytes.ptr, bytes.len);
    return at + bytes.len;
}

/* Always written, also when it is zero (which protobuf would let us leave out): zero's sign must survive. */
static inline unsigned char *wire_put_double(unsigned char *at, unsigned char tag, double value)
{
    uint64_t bits = double_bits(value);
#if __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
    bits = __builtin_bswap64(bits);
#endif
    *at++ = tag;
    memcpy(at, &bits, sizeof bits);
    return at + sizeof bits;
}

static inline size_t wire_bytes_size(size_t len) /* with a one-byte tag */
{
    return 1 + wire_varint_size(len) + len;
}

static inline unsigned char *wire_put_head(unsigned char *at, unsigned field, size_t len)
{
    *at++ = (unsigned char)WIRE_TAG(field, WIRE_BYTES);
    return wire_put_varint(at, len);
}

/* --- the two messages that series of every kind are made of (proto/remote.proto) --- */

static inline size_t wire_label_size(const struct label *label)
{
    return wire_bytes_size(label->name.len) + wire_bytes_size(label->value.len);
}

static inline unsigned char *wire_put_label(unsigned char *at, unsigned field, const struct label *label)
{
    at = wire_put_head(at, field, wire_label_size(label));
    at = wire_put_bytes(at, WIRE_TAG(1, WIRE_BYTES), label->name);
    return wire_put_bytes(at, WIRE_TAG(2, WIRE_BYTES), label->value);
}

#define WIRE_SAMPLE_MAX (2 + 1 + 8 + 1 + WIRE_VARINT_MAX) /* bytes, with head */

static inline size_t wire_sample_size(const struct sample *sample)
{
    return 1 + 8 + 1 + wire_varint_size((uint64_t)sample->time_ms);
}

static inline unsigned char *wire_put_sample(unsigned char *at, unsigned field, const struct sample *sample)
{
    at = wire_put_head(at, field, wire_sample_size(sample));
    at = wire_put_double(at, WIRE_TAG(1, WIRE_FIXED64), sample->value);
    *at++ = WIRE_TAG(2, WIRE_VARINT);
    return wire_put_varint(at, (uint64_t)sample->time_ms);
}

/* --- reading --- */

struct wire_in {
    const unsigned char *at, *end;
};

struct wire_field {
    uint32_t number;
    enum wire_type type;
    uint64_t value;   /* WIRE_VARINT, WIRE_FIXED64 (bits) */
    struct str bytes; /* WIRE_BYTES: a view */
};

static inline struct wire_in wire_in(struct str bytes)
{
    const unsigned char *at = (const unsigned char *)bytes.ptr;
    return (struct wire_in){at, at + bytes.len};
}

static inline bool wire_get_varint(struct wire_in *in, uint64_t *ret)
{
    if (in->at < in->end && *in->at < 0x80) { /* nearly all tags and lengths */
        *ret = *in->at++;
        return true;
    }
    uint64_t number = 0;
    for (unsigned shift = 0; shift < 64 && in->at < in->end; shift += 7) {
        unsigned char c = *in->at++;
        number |= (uint64_t)(c & 0x7f) << shift;
        if (c < 0x80) {
            *ret = number;
            return true;
        }
    }
    return false;
}

static inline bool wire_get_fixed64(struct wire_in *in, uint64_t *ret)
{
    if ((size_t)(in->end - in->at) < sizeof *ret)
        return false;
    memcpy(ret, in->at, sizeof *ret);
#if __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
    *ret = __builtin_bswap64(*ret);
#endif
    in->at += sizeof *ret;
    return true;
}

/* The next field, whole. False when the bytes are no field: cut short, number 0, groups (long deprecated). */
static inline bool wire_get_field(struct wire_in *in, struct wire_field *ret)
{
    uint64_t tag;
    *ret = (struct wire_field){.value = 0, .bytes = {NULL, 0}};
    if (!wire_get_varint(in, &tag) || tag >> 3 == 0 || tag > UINT32_MAX)
        return false;
    *ret = (struct wire_field){.number = (uint32_t)(tag >> 3), .type = (enum wire_type)(tag & 7)};
    switch (ret->type) {
    case WIRE_VARINT:
        return wire_get_varint(in, &ret->value);
    case WIRE_FIXED64:
        return wire_get_fixed64(in, &ret->value);
    case WIRE_FIXED32: /* no message here has one: skipped */
        if (in->end - in->at < 4)
            return false;
        in->at += 4;
        return true;
    case WIRE_BYTES:
        if (!wire_get_varint(in, &ret->value) || ret->value > (uint64_t)(in->end - in->at))
            return false;
        ret->bytes = (struct str){(const char *)in->at, (size_t)ret->value};
        in->at += ret->value;
        return true;
    }
    return false;
}

#endif
