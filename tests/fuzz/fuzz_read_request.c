/* tests/fuzz/fuzz_read_request.c: remote read bodies. An even first byte: the rest is a snappy body; odd: the rest is
 * the message inside, so that the fuzzer need not learn snappy first. */
#include "base/assert.h"
#include "base/utf8.h"
#include "remote/read_request.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const struct read_limits LIMITS = {
    .body_max_bytes = 1 << 20, .decoded_max_bytes = 1 << 20, .queries_max = 16, .matchers_max = 16};

static void check_query(const struct read_query *query)
{
    INVARIANT(query->span.min_ms >= READ_TIME_MIN_MS && query->span.min_ms <= READ_TIME_MAX_MS);
    INVARIANT(query->span.max_ms >= READ_TIME_MIN_MS && query->span.max_ms <= READ_TIME_MAX_MS);
    INVARIANT(query->matchers_n <= LIMITS.matchers_max);
    for (size_t i = 0; i < query->matchers_n; i++) {
        INVARIANT(query->matchers[i].op >= MATCH_EQUAL && query->matchers[i].op <= MATCH_NOT_REGEX);
        INVARIANT(utf8_valid(query->matchers[i].name) && utf8_valid(query->matchers[i].value));
    }
    struct str task_id;
    const struct matcher *stray;
    if (read_query_task(query, &task_id, &stray))
        INVARIANT(!stray || (stray >= query->matchers && stray < query->matchers + query->matchers_n));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0)
        return 0;
    const struct str rest = {(const char *)data + 1, size - 1};
    struct arena arena;
    arena_init(&arena, 1 << 26);
    struct read_request request;
    struct error error = {0};
    enum status status = data[0] % 2 == 0 ? read_request_decode(&arena, rest, &LIMITS, &request, &error)
                                          : read_request_unpack(&arena, rest, &LIMITS, &request, &error);
    INVARIANT(status == error.status);
    if (status == OK) {
        INVARIANT(request.queries_n <= LIMITS.queries_max);
        INVARIANT(request.answer == READ_SAMPLES || request.answer == READ_STREAMED_XOR_CHUNKS);
        for (size_t i = 0; i < request.queries_n; i++)
            check_query(&request.queries[i]);
    }
    arena_release(&arena);
    return 0;
}
