/* tests/fuzz/fuzz_xor_chunk.c: XOR chunks. An even first byte: the rest is a chunk; odd: the rest is samples, which
 * must come back from the encoder bit by bit. */
#include "base/assert.h"
#include "base/xor_chunk.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_round_trip(const struct sample *samples, size_t n)
{
    static struct xor_encoder encoder;
    xor_encoder_start(&encoder);
    size_t half = n / 2; /* two runs must give what one gives */
    INVARIANT(xor_encoder_add(&encoder, samples, half) == half);
    INVARIANT(xor_encoder_add(&encoder, samples + half, n - half) == n - half);
    struct sample out[XOR_CHUNK_SAMPLES_MAX];
    size_t got;
    INVARIANT(xor_chunk_decode(xor_encoder_finish(&encoder), out, XOR_CHUNK_SAMPLES_MAX, &got, NULL) == OK);
    INVARIANT(got == n && memcmp(out, samples, n * sizeof *samples) == 0);
}

static void decode(struct str chunk)
{
    static struct sample out[UINT16_MAX]; /* all that a chunk can hold */
    size_t n;
    struct error error = {0};
    enum status status = xor_chunk_decode(chunk, out, UINT16_MAX, &n, &error);
    INVARIANT(status == error.status);
    if (status == OK && n > 0)
        check_round_trip(out, n < XOR_CHUNK_SAMPLES_MAX ? n : XOR_CHUNK_SAMPLES_MAX);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0)
        return 0;
    if (data[0] % 2 == 0) {
        decode((struct str){(const char *)data + 1, size - 1});
        return 0;
    }
    struct sample samples[XOR_CHUNK_SAMPLES_MAX];
    size_t n = (size - 1) / sizeof *samples;
    if (n > XOR_CHUNK_SAMPLES_MAX)
        n = XOR_CHUNK_SAMPLES_MAX;
    if (n > 0) {
        memcpy(samples, data + 1, n * sizeof *samples);
        check_round_trip(samples, n);
    }
    return 0;
}
