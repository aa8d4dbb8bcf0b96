/* tests/unit/remote/wire_test.h: what the tests of the wire share: hex, snappy, hand-made protobuf bytes.
 *
 * Include after cmocka.h. Nothing here uses remote/wire.h: an encoder must not be its own witness.
 */
#ifndef PROMSPLIT_TESTS_WIRE_TEST_H
#define PROMSPLIT_TESTS_WIRE_TEST_H

#include <snappy-c.h>
#include <stdlib.h>
#include <string.h>

#include "base/str.h"
#include "base/strbuf.h"

/* A growing message. */
static inline void pb_varint(struct strbuf *sb, uint64_t number)
{
    for (; number > 127; number /= 128)
        strbuf_char(sb, (char)(128 + number % 128));
    strbuf_char(sb, (char)number);
}

static inline void pb_number(struct strbuf *sb, unsigned field, uint64_t number)
{
    pb_varint(sb, field * 8 + 0);
    pb_varint(sb, number);
}

static inline void pb_fixed64(struct strbuf *sb, unsigned field, uint64_t bits)
{
    pb_varint(sb, field * 8 + 1);
    for (int i = 0; i < 8; i++)
        strbuf_char(sb, (char)(bits >> (8 * i)));
}

static inline void pb_bytes(struct strbuf *sb, unsigned field, struct str bytes)
{
    pb_varint(sb, field * 8 + 2);
    pb_varint(sb, bytes.len);
    strbuf_str(sb, bytes);
}

/* Appends `inner` as a field and empties it. */
static inline void pb_message(struct strbuf *sb, unsigned field, struct strbuf *inner)
{
    pb_bytes(sb, field, strbuf_view(inner));
    strbuf_release(inner);
}

static inline struct strbuf new_buffer(void)
{
    struct strbuf sb;
    strbuf_init(&sb, 1u << 30);
    return sb;
}

static inline struct strbuf compressed(struct str plain)
{
    struct strbuf out = new_buffer();
    size_t n = snappy_max_compressed_length(plain.len);
    char *place = strbuf_reserve(&out, n);
    assert_int_equal(snappy_compress(plain.ptr, plain.len, place, &n), SNAPPY_OK);
    strbuf_commit(&out, n);
    return out;
}

static inline struct strbuf uncompressed(struct str body)
{
    struct strbuf out = new_buffer();
    size_t n = 0;
    assert_int_equal(snappy_uncompressed_length(body.ptr, body.len, &n), SNAPPY_OK);
    char *place = strbuf_reserve(&out, n);
    assert_int_equal(snappy_uncompress(body.ptr, body.len, place, &n), SNAPPY_OK);
    strbuf_commit(&out, n);
    return out;
}

static inline struct strbuf from_hex(const char *hex)
{
    struct strbuf out = new_buffer();
    for (; hex[0] && hex[1]; hex += 2) {
        char digits[3] = {hex[0], hex[1], '\0'};
        strbuf_char(&out, (char)strtoul(digits, NULL, 16));
    }
    return out;
}

/* A copy on the heap of exactly these bytes, so that reading behind them is seen. Free it. */
static inline char *exact_copy(struct str s)
{
    char *copy = malloc(s.len ? s.len : 1);
    if (s.len)
        memcpy(copy, s.ptr, s.len);
    return copy;
}

static inline void assert_str(struct str got, const char *want)
{
    assert_int_equal(got.len, strlen(want));
    assert_memory_equal(got.ptr, want, got.len);
}

/* The 13 samples that Prometheus 2.42 and 3.5 were given by remote write (series v{job="x"}), and the frame in which
 * both gave them back. They touch every class of the XOR encoding but the 20-bit one's ends. */
#define VECTOR_SAMPLES                                                                                                 \
    {                                                                                                                  \
        {1795200000000, 0}, {1795200015000, 1}, {1795200030000, 1}, {1795200045003, 2.5}, {1795200052003, -2.5},       \
            {1795200060196, 1e300}, {1795200140932, double_from_bits(STALE_NAN_BITS)}, {1795200921204, INFINITY},      \
            {1795200921205, -0.0}, {1795204521205, 5e-324}, {1795204536205, 0.1}, {1795204551205, 0.2},                \
        {                                                                                                              \
            1795204566205, 3                                                                                           \
        }                                                                                                              \
    }
#define VECTOR_CHUNK                                                                                                   \
    "000d808091a4bf6800000000000000009875c457fe4001e137ffb417b801c254e0faf8cf90f22001d67e11b5fcfc71f90f22001d67f80000" \
    "00000055648400000000000003fffffffffffe8302380cffff000000000036ee7fc004000000000000000fffffffffffe4a60c47f7333333" \
    "3333336801c00000000000013fe0cccccccccccd00"
#define VECTOR_FRAME                                                                                                   \
    "b7017e0227050ab4010a0d0a085f5f6e616d655f5f1201760a080a036a6f621201781298010880c088d29f3410bd999fd49f34180122850"  \
    "1" VECTOR_CHUNK

#endif
