/* tests/fuzz/fuzz_histogram_chunk.c: chunks of native histograms. The first byte's last bit tells the kind. What a
 * chunk gave and Prometheus would store must come back from our own encoder, and fit a chunk as it came. */
#include "base/assert.h"
#include "base/float_text.h"
#include "remote/histogram_chunk.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct coding {
    struct histogram_encoder *encoder;
    struct histogram_sample last; /* put into the chunk that is checked */
    struct arena arena;           /* what came back */
};

static enum status keep(const struct native_histogram *histogram, void *arg)
{
    struct coding *coding = arg;
    return native_histogram_store(&coding->arena, histogram, &coding->last, NULL);
}

static bool is_marker(const struct native_histogram *histogram)
{
    return double_bits(histogram->sum) == STALE_NAN_BITS;
}

static enum status check(const struct native_histogram *histogram, void *arg)
{
    struct coding *coding = arg;
    struct histogram_sample want;
    bool is_float;
    if (native_histogram_check(histogram, NULL) != OK)
        return OK;
    arena_reset(&coding->arena);
    INVARIANT(native_histogram_store(&coding->arena, histogram, &want, NULL) == OK);
    INVARIANT(histogram_encoder_add(coding->encoder, histogram, NULL) == OK);
    struct str chunk = histogram_encoder_finish(coding->encoder, &is_float);
    INVARIANT(is_float == histogram->is_float);
    INVARIANT(histogram_chunk_decode(chunk, is_float, &coding->arena, keep, coding, NULL) == OK);
    INVARIANT(coding->last.time_ms == histogram->time_ms);
    /* A zero keeps its sign in the packed form, in a chunk not everywhere. */
    INVARIANT(is_marker(histogram) || histogram->zero_threshold == 0 || histogram->bounds_n > 0 ||
              str_eq(coding->last.packed, want.packed));
    return OK;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0)
        return 0;
    struct coding coding = {.encoder = NULL};
    struct arena arena;
    struct error error = {0};
    arena_init(&arena, 1 << 26);
    arena_init(&coding.arena, 1 << 26);
    INVARIANT(histogram_encoder_new(&coding.encoder, NULL) == OK);
    enum status status = histogram_chunk_decode((struct str){(const char *)data + 1, size - 1}, data[0] & 1, &arena,
                                                check, &coding, &error);
    INVARIANT(status == error.status);
    histogram_encoder_free(coding.encoder);
    arena_release(&coding.arena);
    arena_release(&arena);
    return 0;
}
