/* tests/fuzz/fuzz_otlp_json.c: OTLP as JSON. What is accepted stands for a message that is valid, within its bound. */
#include "base/assert.h"
#include "remote/otlp.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const struct write_limits LIMITS = {
        .labels_max = 16, .label_name_max_bytes = 64, .label_value_max_bytes = 256};
    struct strbuf message;
    struct error error = {0};
    enum status status = otlp_from_json((struct str){(const char *)data, size}, &message, &error);
    INVARIANT(status == error.status && (status == OK || status == E_BAD_DATA));
    if (status == OK) {
        struct arena arena;
        struct otlp_request got;
        arena_init(&arena, 1 << 26);
        INVARIANT(otlp_unpack(&arena, strbuf_view(&message), &LIMITS, &got, &error) == OK);
        arena_release(&arena);
    }
    strbuf_release(&message);
    return 0;
}
