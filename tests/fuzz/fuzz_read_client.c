/* tests/fuzz/fuzz_read_client.c: remote read answers. An even first byte: a snappy block of samples; odd: frames of
 * chunks, whose checksums are made right, so that the fuzzer gets past them. */
#include <stdlib.h>

#include "base/assert.h"
#include "remote/crc32c.h"
#include "remote/read_client.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void mend_checksums(unsigned char *bytes, size_t n)
{
    for (size_t at = 0; at + 5 <= n && bytes[at] < 0x80 && at + 5 + bytes[at] <= n; at += 5 + bytes[at]) {
        uint32_t crc = crc32c(0, bytes + at + 5, bytes[at]);
        for (size_t i = 0; i < 4; i++)
            bytes[at + 1 + i] = (unsigned char)(crc >> (24 - 8 * i));
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const struct write_limits LIMITS = {.labels_max = 16};
    static const struct time_span SPAN = {-1000, 1000000};
    if (size == 0)
        return 0;
    unsigned char *bytes = malloc(size);
    memcpy(bytes, data + 1, size - 1);
    if (data[0] % 2)
        mend_checksums(bytes, size - 1);
    struct arena arena;
    struct write_request request = {0};
    struct series_builder builder;
    struct read_client client;
    struct error error = {0};
    arena_init(&arena, 1 << 26);
    series_builder_init(&builder, &arena, &LIMITS, "import", &request, &error);
    struct str type = data[0] % 2 ? STR("application/x-streamed-protobuf") : STR("application/x-protobuf");
    enum status status = read_client_begin(&client, (struct str){(char *)bytes, size - 1}, type, SPAN, 1 << 20, &error);
    for (bool done = false; status == OK && !done;)
        status = read_client_next(&client, &builder, &done, &error);
    if (status == OK)
        status = series_builder_finish(&builder);
    INVARIANT(status == error.status);
    for (size_t i = 0; status == OK && i < request.series_n; i++)
        for (size_t k = 0; k < request.series[i].samples_n; k++)
            INVARIANT(request.series[i].samples[k].time_ms >= SPAN.min_ms &&
                      request.series[i].samples[k].time_ms <= SPAN.max_ms);
    arena_release(&arena);
    free(bytes);
    return 0;
}
