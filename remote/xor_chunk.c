/* remote/xor_chunk.c: see xor_chunk.h. Bits gather in a 64-bit word that is stored whole when it is full. */
#include "remote/xor_chunk.h"

#include <string.h>

#include "base/assert.h"
#include "base/float_text.h"
#include "remote/wire.h"

#define HEADER_BYTES 2

static void store_word(unsigned char *at, uint64_t word)
{
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
    word = __builtin_bswap64(word);
#endif
    memcpy(at, &word, sizeof word);
}

/* Appends the low n bits, 1 <= n <= 64; higher bits are ignored. */
static inline void put_bits(struct xor_encoder *encoder, uint64_t bits, unsigned n)
{
    uint64_t aligned = bits << (64 - n);
    encoder->pending |= aligned >> encoder->pending_n;
    unsigned total = encoder->pending_n + n;
    if (total < 64) {
        encoder->pending_n = total;
        return;
    }
    store_word(encoder->at, encoder->pending);
    encoder->at += 8;
    total -= 64;
    encoder->pending = total ? aligned << (n - total) : 0;
    encoder->pending_n = total;
}

static void put_varint(struct xor_encoder *encoder, uint64_t number)
{
    unsigned char bytes[WIRE_VARINT_MAX];
    const unsigned char *end = wire_put_varint(bytes, number);
    for (const unsigned char *at = bytes; at < end; at++)
        put_bits(encoder, *at, 8);
}

static bool fits(int64_t number, unsigned bits)
{
    int64_t half = INT64_C(1) << (bits - 1);
    return number >= -(half - 1) && number <= half;
}

static inline void put_delta_of_delta(struct xor_encoder *encoder, int64_t change)
{
    if (change == 0)
        put_bits(encoder, 0, 1);
    else if (fits(change, 14))
        put_bits(encoder, UINT64_C(2) << 14 | ((uint64_t)change & 0x3fff), 16);
    else if (fits(change, 17))
        put_bits(encoder, UINT64_C(6) << 17 | ((uint64_t)change & 0x1ffff), 20);
    else if (fits(change, 20))
        put_bits(encoder, UINT64_C(14) << 20 | ((uint64_t)change & 0xfffff), 24);
    else {
        put_bits(encoder, 15, 4);
        put_bits(encoder, (uint64_t)change, 64);
    }
}

static inline void put_value(struct xor_encoder *encoder, uint64_t value)
{
    uint64_t change = value ^ encoder->value;
    if (change == 0) {
        put_bits(encoder, 0, 1);
        return;
    }
    unsigned leading = (unsigned)__builtin_clzll(change);
    unsigned trailing = (unsigned)__builtin_ctzll(change);
    if (leading > 31)
        leading = 31; /* five bits */
    if (encoder->window && leading >= encoder->leading && trailing >= encoder->trailing) {
        put_bits(encoder, 2, 2);
        put_bits(encoder, change >> encoder->trailing, 64 - encoder->leading - encoder->trailing);
        return;
    }
    encoder->window = true;
    encoder->leading = leading;
    encoder->trailing = trailing;
    unsigned significant = 64 - leading - trailing;
    put_bits(encoder, UINT64_C(3) << 11 | (uint64_t)leading << 6 | (significant & 0x3f), 13);
    put_bits(encoder, change >> trailing, significant);
}

void xor_encoder_start(struct xor_encoder *encoder)
{
    encoder->at = encoder->bytes + HEADER_BYTES;
    encoder->pending = 0;
    encoder->pending_n = 0;
    encoder->samples_n = 0;
    encoder->window = false;
}

static void put_sample(struct xor_encoder *encoder, uint64_t time, uint64_t value)
{
    uint64_t delta = time - encoder->time;
    switch (encoder->samples_n) {
    case 0:
        delta = 0;
        put_varint(encoder, time << 1 ^ (uint64_t)((int64_t)time >> 63)); /* zig-zag */
        put_bits(encoder, value, 64);
        break;
    case 1:
        put_varint(encoder, delta);
        put_value(encoder, value);
        break;
    default:
        put_delta_of_delta(encoder, (int64_t)(delta - encoder->delta));
        put_value(encoder, value);
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
    store_word(encoder->at, encoder->pending);
    unsigned char *end = encoder->at + (encoder->pending_n + 7) / 8;
    INVARIANT(encoder->at + 8 <= encoder->bytes + sizeof encoder->bytes);
    return (struct str){(const char *)encoder->bytes, (size_t)(end - encoder->bytes)};
}

/* --- decoding --- */

struct bit_reader {
    const unsigned char *at, *end;
    uint64_t word;   /* the unread bits, right-aligned */
    unsigned word_n; /* 0 … 64 */
    bool short_;     /* more was asked than there is; then all reads give 0 */
};

static uint64_t get_bits(struct bit_reader *in, unsigned n)
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

/* As Go's binary.ReadUvarint: ten bytes at most, the tenth 0 or 1. */
static bool get_varint(struct bit_reader *in, uint64_t *ret)
{
    uint64_t number = 0;
    for (unsigned shift = 0; shift < 70; shift += 7) {
        uint64_t c = get_bits(in, 8);
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
    unsigned ones = 0;
    while (ones < 4 && get_bits(in, 1))
        ones++;
    unsigned n = CLASS_BITS[ones];
    uint64_t bits = get_bits(in, n);
    if (n && n < 64 && bits > UINT64_C(1) << (n - 1))
        bits -= UINT64_C(1) << n;
    return (int64_t)bits;
}

struct value_window {
    unsigned leading, significant; /* significant 0: none open yet */
};

static bool get_value(struct bit_reader *in, struct value_window *window, uint64_t *value)
{
    if (!get_bits(in, 1))
        return !in->short_;
    if (get_bits(in, 1)) {
        window->leading = (unsigned)get_bits(in, 5);
        window->significant = (unsigned)get_bits(in, 6);
        if (window->significant == 0)
            window->significant = 64;
        if (window->leading + window->significant > 64)
            return false;
    }
    if (window->significant == 0)
        return false;
    *value ^= get_bits(in, window->significant) << (64 - window->leading - window->significant);
    return !in->short_;
}

static bool get_first(struct bit_reader *in, uint64_t *time, uint64_t *value)
{
    uint64_t zigzag;
    if (!get_varint(in, &zigzag))
        return false;
    *time = zigzag >> 1 ^ (0 - (zigzag & 1));
    *value = get_bits(in, 64);
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
    struct value_window window = {0};
    uint64_t time = 0, delta = 0, value = 0;
    for (size_t i = 0; i < n; i++) {
        bool good = i == 0 ? get_first(&in, &time, &value) : i > 1 || get_varint(&in, &delta);
        if (good && i > 0) {
            if (i > 1)
                delta += (uint64_t)get_delta_of_delta(&in);
            time += delta;
            good = get_value(&in, &window, &value);
        }
        if (!good)
            return error_set(reterr, E_BAD_DATA, "XOR chunk of %zu bytes is cut short or broken at sample %zu of %zu",
                             bytes.len, i + 1, n);
        out[i] = (struct sample){(int64_t)time, double_from_bits(value)};
    }
    return OK;
}
