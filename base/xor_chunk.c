/* base/xor_chunk.c: see xor_chunk.h. */
#include "base/xor_chunk.h"

#include "base/assert.h"
#include "base/float_text.h"

#define HEADER_BYTES 2

static void put_varint(struct xor_encoder *encoder, uint64_t number)
{
    for (; number >= 0x80; number >>= 7)
        bits_put(&encoder->out, (number & 0x7f) | 0x80, 8);
    bits_put(&encoder->out, number, 8);
}

static inline void put_delta_of_delta(struct xor_encoder *encoder, int64_t change)
{
    if (change == 0)
        bits_put(&encoder->out, 0, 1);
    else if (bits_fit(change, 14))
        bits_put(&encoder->out, UINT64_C(2) << 14 | ((uint64_t)change & 0x3fff), 16);
    else if (bits_fit(change, 17))
        bits_put(&encoder->out, UINT64_C(6) << 17 | ((uint64_t)change & 0x1ffff), 20);
    else if (bits_fit(change, 20))
        bits_put(&encoder->out, UINT64_C(14) << 20 | ((uint64_t)change & 0xfffff), 24);
    else {
        bits_put(&encoder->out, 15, 4);
        bits_put(&encoder->out, (uint64_t)change, 64);
    }
}

void xor_encoder_start(struct xor_encoder *encoder)
{
    encoder->out = (struct bit_writer){.at = encoder->bytes + HEADER_BYTES};
    encoder->samples_n = 0;
    encoder->window.open = false;
}

static void put_sample(struct xor_encoder *encoder, uint64_t time, uint64_t value)
{
    uint64_t delta = time - encoder->time;
    switch (encoder->samples_n) {
    case 0:
        delta = 0;
        put_varint(encoder, time << 1 ^ (uint64_t)((int64_t)time >> 63)); /* zig-zag */
        bits_put(&encoder->out, value, 64);
        break;
    case 1:
        put_varint(encoder, delta);
        bits_put_xor(&encoder->out, &encoder->window, encoder->value, value);
        break;
    default:
        put_delta_of_delta(encoder, (int64_t)(delta - encoder->delta));
        bits_put_xor(&encoder->out, &encoder->window, encoder->value, value);
    }
    encoder->time = time;
    encoder->delta = delta;
    encoder->value = value;
    encoder->samples_n++;
}

size_t xor_encoder_add(struct xor_encoder *encoder, const struct sample *samples, size_t n)
{
    size_t room = XOR_CHUNK_SAMPLES_MAX - encoder->samples_n;
    if (n > room)
        n = room;
    for (size_t i = 0; i < n; i++)
        put_sample(encoder, (uint64_t)samples[i].time_ms, double_bits(samples[i].value));
    return n;
}

struct str xor_encoder_finish(struct xor_encoder *encoder)
{
    PRE(encoder->samples_n > 0);
    encoder->bytes[0] = (unsigned char)(encoder->samples_n >> 8);
    encoder->bytes[1] = (unsigned char)encoder->samples_n;
    INVARIANT(encoder->out.at + BITS_WORD_BYTES <= encoder->bytes + sizeof encoder->bytes);
    unsigned char *end = bits_end(&encoder->out);
    return (struct str){(const char *)encoder->bytes, (size_t)(end - encoder->bytes)};
}

/* --- decoding --- */

/* As Go's binary.ReadUvarint: ten bytes at most, the tenth 0 or 1. */
static bool get_varint(struct bit_reader *in, uint64_t *ret)
{
    uint64_t number = 0;
    for (unsigned shift = 0; shift < 70; shift += 7) {
        uint64_t c = bits_get(in, 8);
        if (in->short_ || (shift == 63 && c > 1))
            return false;
        number |= (c & 0x7f) << shift;
        if (c < 0x80) {
            *ret = number;
            return true;
        }
    }
    return false;
}

static int64_t get_delta_of_delta(struct bit_reader *in)
{
    static const unsigned CLASS_BITS[] = {0, 14, 17, 20, 64};
    return bits_get_class(in, CLASS_BITS[bits_get_ones(in, ARRAY_LENGTH(CLASS_BITS) - 1)]);
}

static bool get_first(struct bit_reader *in, uint64_t *time, uint64_t *value)
{
    uint64_t zigzag;
    if (!get_varint(in, &zigzag))
        return false;
    *time = zigzag >> 1 ^ (0 - (zigzag & 1));
    *value = bits_get(in, 64);
    return !in->short_;
}

enum status xor_chunk_decode(struct str bytes, struct sample *out, size_t room, size_t *ret_n, struct error *reterr)
{
    const unsigned char *at = (const unsigned char *)bytes.ptr;
    if (bytes.len < HEADER_BYTES)
        return error_set(reterr, E_BAD_DATA, "XOR chunk of %zu bytes has no header", bytes.len);
    size_t n = (size_t)at[0] << 8 | at[1];
    *ret_n = n;
    if (n > room)
        return error_set(reterr, E_LIMIT, "XOR chunk of %zu samples exceeds limit %zu", n, room);
    struct bit_reader in = {at + HEADER_BYTES, at + bytes.len, 0, 0, false};
    struct xor_window window = {.open = false};
    uint64_t time = 0, delta = 0, value = 0;
    for (size_t i = 0; i < n; i++) {
        bool good = i == 0 ? get_first(&in, &time, &value) : i > 1 || get_varint(&in, &delta);
        if (good && i > 0) {
            if (i > 1)
                delta += (uint64_t)get_delta_of_delta(&in);
            time += delta;
            good = bits_get_xor(&in, &window, &value);
        }
        if (!good)
            return error_set(reterr, E_BAD_DATA, "XOR chunk of %zu bytes is cut short or broken at sample %zu of %zu",
                             bytes.len, i + 1, n);
        out[i] = (struct sample){(int64_t)time, double_from_bits(value)};
    }
    return OK;
}
