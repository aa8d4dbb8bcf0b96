/* tests/unit/remote/test_remote_xor_chunk.c: the XOR codec against a chunk of Prometheus's own making and against a
 * decoder that knows nothing but the format's description; CRC-32C against RFC 3720. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/assert.h"
#include "base/float_text.h"
#include "remote/crc32c.h"
#include "base/xor_chunk.h"
#include "wire_test.h"

/* --- the reference: one bit at a time --- */

struct bits {
    const unsigned char *bytes;
    size_t n, at; /* in bits */
};

static unsigned bit(struct bits *in)
{
    assert_true(in->at < in->n);
    unsigned b = in->bytes[in->at / 8] >> (7 - in->at % 8) & 1;
    in->at++;
    return b;
}

static uint64_t number(struct bits *in, int n)
{
    uint64_t value = 0;
    for (int i = 0; i < n; i++)
        value = value * 2 + bit(in);
    return value;
}

static uint64_t varint(struct bits *in)
{
    uint64_t value = 0;
    for (int i = 0;; i++) {
        uint64_t c = number(in, 8);
        value |= (c & 127) << (7 * i);
        if (c < 128)
            return value;
    }
}

static int64_t signed_class(struct bits *in, int n)
{
    uint64_t value = number(in, n);
    return value > UINT64_C(1) << (n - 1) ? (int64_t)value - (INT64_C(1) << n) : (int64_t)value;
}

static int64_t delta_of_delta(struct bits *in)
{
    if (!bit(in))
        return 0;
    if (!bit(in))
        return signed_class(in, 14);
    if (!bit(in))
        return signed_class(in, 17);
    if (!bit(in))
        return signed_class(in, 20);
    return (int64_t)number(in, 64);
}

static size_t reference_decode(struct str chunk, struct sample *out)
{
    struct bits in = {(const unsigned char *)chunk.ptr, chunk.len * 8, 0};
    size_t n = number(&in, 16);
    uint64_t time = 0, delta = 0, value = 0;
    int leading = -1, length = -1;
    for (size_t i = 0; i < n; i++) {
        if (i == 0) {
            uint64_t zigzag = varint(&in);
            time = zigzag % 2 ? ~(zigzag / 2) : zigzag / 2;
            value = number(&in, 64);
        } else {
            delta = i == 1 ? varint(&in) : delta + (uint64_t)delta_of_delta(&in);
            time += delta;
            if (bit(&in)) {
                if (bit(&in)) {
                    leading = (int)number(&in, 5);
                    length = (int)number(&in, 6);
                    length = length ? length : 64;
                }
                value ^= number(&in, length) << (64 - leading - length);
            }
        }
        out[i] = (struct sample){(int64_t)time, double_from_bits(value)};
    }
    assert_true(in.n - in.at < 8); /* only padding is left, and it is zero */
    while (in.at < in.n)
        assert_int_equal(bit(&in), 0);
    return n;
}

/* --- helpers --- */

static struct str encode(struct xor_encoder *encoder, const struct sample *samples, size_t n)
{
    xor_encoder_start(encoder);
    assert_int_equal(xor_encoder_add(encoder, samples, n), n);
    return xor_encoder_finish(encoder);
}

static void check_round_trip(const struct sample *samples, size_t n)
{
    struct xor_encoder encoder;
    struct str chunk = encode(&encoder, samples, n);
    char *copy = exact_copy(chunk);
    struct sample out[XOR_CHUNK_SAMPLES_MAX];
    assert_int_equal(reference_decode((struct str){copy, chunk.len}, out), n);
    assert_memory_equal(out, samples, n * sizeof *samples);
    size_t decoded = 0;
    memset(out, 0, sizeof out);
    assert_int_equal(xor_chunk_decode((struct str){copy, chunk.len}, out, n, &decoded, NULL), OK);
    assert_int_equal(decoded, n);
    assert_memory_equal(out, samples, n * sizeof *samples);
    free(copy);
}

static uint64_t next_random(uint64_t *state)
{
    *state += UINT64_C(0x9e3779b97f4a7c15); /* splitmix64 */
    uint64_t z = *state;
    z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
    return z ^ z >> 31;
}

/* --- cases --- */

static void test_prometheus_vector(void **state)
{
    const struct sample samples[] = VECTOR_SAMPLES;
    struct strbuf want = from_hex(VECTOR_CHUNK);
    struct xor_encoder encoder;
    struct str chunk = encode(&encoder, samples, ARRAY_LENGTH(samples));
    assert_int_equal(chunk.len, want.len);
    assert_memory_equal(chunk.ptr, want.ptr, want.len);
    strbuf_release(&want);
    check_round_trip(samples, ARRAY_LENGTH(samples));
}

/* The edges of the classes of delta-of-delta, and what they cost. */
static void test_time_classes(void **state)
{
    static const struct {
        int64_t change;
        int bits; /* of the third sample's time, with prefix */
    } CASES[] = {
        {0, 1},        {1, 16},         {-1, 16},        {8191, 16},          {8192, 16},
        {-8191, 16},   {8193, 20},      {-8192, 20},     {65536, 20},         {-65535, 20},
        {65537, 24},   {-65536, 24},    {524288, 24},    {-524287, 24},       {524289, 68},
        {-524288, 68}, {INT32_MAX, 68}, {-86400000, 68}, {INT64_MAX / 4, 68}, {INT64_MIN / 4, 68},
    };
    for (size_t i = 0; i < ARRAY_LENGTH(CASES); i++) {
        const int64_t first = 1700000000000;
        struct sample samples[] = {{first, 1}, {first + 15000, 1}, {first + 30000 + CASES[i].change, 1}};
        check_round_trip(samples, 3);
        struct xor_encoder encoder;
        size_t two = encode(&encoder, samples, 2).len * 8, three = encode(&encoder, samples, 3).len * 8;
        const size_t before = (2 + 6 + 8 + 2) * 8 + 1; /* bits: header, first time and value, second time, value */
        assert_int_equal(two, (before + 7) / 8 * 8);
        assert_int_equal(three, (before + (size_t)CASES[i].bits + 1 + 7) / 8 * 8);
    }
}

static void test_extreme_times_and_values(void **state)
{
    const struct sample wide[] = {{INT64_MIN, NAN}, {INT64_MAX, -NAN}, {0, 0}, {-1, -0.0}, {INT64_MIN, 5e-324}, {1, 1}};
    for (size_t n = 1; n <= ARRAY_LENGTH(wide); n++)
        check_round_trip(wide, n);
    const uint64_t bits[] = {STALE_NAN_BITS,
                             NORMAL_NAN_BITS,
                             UINT64_C(0x7ff8000000000abc),
                             UINT64_C(0xfff0000000000001),
                             UINT64_MAX,
                             0,
                             UINT64_C(1) << 63,
                             1,
                             0,
                             UINT64_MAX};
    struct sample samples[ARRAY_LENGTH(bits)];
    for (size_t i = 0; i < ARRAY_LENGTH(bits); i++)
        samples[i] = (struct sample){(int64_t)i * 1000, double_from_bits(bits[i])};
    check_round_trip(samples, ARRAY_LENGTH(samples));
}

static void test_random_round_trips(void **state)
{
    uint64_t seed = 42;
    for (int round = 0; round < 3000; round++) {
        struct sample samples[XOR_CHUNK_SAMPLES_MAX];
        size_t n = 1 + next_random(&seed) % XOR_CHUNK_SAMPLES_MAX;
        int time_bits = 1 + (int)(next_random(&seed) % 62), value_kind = (int)(next_random(&seed) % 4);
        int64_t time = (int64_t)(next_random(&seed) >> (next_random(&seed) % 64));
        double value = 0;
        for (size_t i = 0; i < n; i++) {
            uint64_t random = next_random(&seed);
            value = value_kind == 0   ? double_from_bits(random)
                    : value_kind == 1 ? value + (double)(random % 10)
                    : value_kind == 2 ? (double)(random % 3)
                                      : (double)random / 1e12;
            samples[i] = (struct sample){time, value};
            time = (int64_t)((uint64_t)time + next_random(&seed) % (UINT64_C(1) << time_bits));
        }
        check_round_trip(samples, n);
    }
}

static void test_adds_up_to_its_limit(void **state)
{
    struct sample samples[200];
    for (size_t i = 0; i < ARRAY_LENGTH(samples); i++) /* the longest encodings there are */
        samples[i] = (struct sample){i % 2 ? INT64_MAX / 2 : 0, double_from_bits(i % 2 ? UINT64_MAX : 0)};
    struct xor_encoder encoder;
    xor_encoder_start(&encoder);
    assert_int_equal(xor_encoder_add(&encoder, samples, 50), 50);
    assert_int_equal(xor_encoder_add(&encoder, samples + 50, 150), 70);
    assert_int_equal(xor_encoder_add(&encoder, samples + 120, 80), 0);
    struct str chunk = xor_encoder_finish(&encoder);
    struct sample out[XOR_CHUNK_SAMPLES_MAX];
    assert_int_equal(reference_decode(chunk, out), XOR_CHUNK_SAMPLES_MAX);
    assert_memory_equal(out, samples, sizeof out);
}

static void test_decode_refuses_every_cut(void **state)
{
    struct strbuf chunk = from_hex(VECTOR_CHUNK);
    for (size_t len = 0; len < chunk.len; len++) {
        char *copy = exact_copy((struct str){chunk.ptr, len});
        struct sample out[32];
        size_t n;
        struct error error;
        assert_int_equal(xor_chunk_decode((struct str){copy, len}, out, 32, &n, &error), E_BAD_DATA);
        assert_non_null(strstr(error.message, "XOR chunk of "));
        free(copy);
    }
    strbuf_release(&chunk);
}

static void test_decode_refuses_the_impossible(void **state)
{
    static const struct {
        const char *name, *hex;
        enum status want;
    } CASES[] = {
        {"no samples", "0000", OK},
        {"room for 32 only", "0021", E_LIMIT},
        {"time varint of eleven bytes", "0001ffffffffffffffffffff01000000000000000000", E_BAD_DATA},
        {"tenth byte too big", "0001ffffffffffffffffff020000000000000000", E_BAD_DATA},
        {"old window before there is one",
         "000200000000000000000000"
         "80"
         "000000000000000000",
         E_BAD_DATA},
        /* '11', leading 31, length 34: 65 bits */
        {"window wider than the value",
         "000200000000000000000000"
         "ff"
         "10"
         "000000000000000000",
         E_BAD_DATA},
        /* '11', leading 31, length 33: fits */
        {"window just inside",
         "000200000000000000000000"
         "ff"
         "08"
         "000000000000000000",
         OK},
    };
    for (size_t i = 0; i < ARRAY_LENGTH(CASES); i++) {
        struct strbuf chunk = from_hex(CASES[i].hex);
        struct sample out[32];
        size_t n;
        enum status got = xor_chunk_decode(strbuf_view(&chunk), out, 32, &n, NULL);
        if (got != CASES[i].want)
            print_error("%s\n", CASES[i].name);
        assert_int_equal(got, CASES[i].want);
        strbuf_release(&chunk);
    }
}

static void test_crc32c(void **state)
{
    unsigned char bytes[32];
    memset(bytes, 0, sizeof bytes);
    assert_int_equal(crc32c(0, bytes, 32), UINT32_C(0x8a9136aa)); /* RFC 3720, B.4 */
    memset(bytes, 0xff, sizeof bytes);
    assert_int_equal(crc32c(0, bytes, 32), UINT32_C(0x62a8ab43));
    for (unsigned i = 0; i < 32; i++)
        bytes[i] = (unsigned char)i;
    assert_int_equal(crc32c(0, bytes, 32), UINT32_C(0x46dd794e));
    assert_int_equal(crc32c(0, "123456789", 9), UINT32_C(0xe3069283));
    assert_int_equal(crc32c(0, "", 0), 0);
    for (size_t cut = 0; cut <= 32; cut++)
        assert_int_equal(crc32c(crc32c(0, bytes, cut), bytes + cut, 32 - cut), UINT32_C(0x46dd794e));
    for (size_t cut = 0; cut <= 32; cut++)
        assert_int_equal(crc32c(7, bytes + cut, 32 - cut), crc32c_by_tables(7, bytes + cut, 32 - cut));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_prometheus_vector),
        cmocka_unit_test(test_time_classes),
        cmocka_unit_test(test_extreme_times_and_values),
        cmocka_unit_test(test_random_round_trips),
        cmocka_unit_test(test_adds_up_to_its_limit),
        cmocka_unit_test(test_decode_refuses_every_cut),
        cmocka_unit_test(test_decode_refuses_the_impossible),
        cmocka_unit_test(test_crc32c),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
