/* backend/duckdb/function_chunks.c: prom_xor_chunks(ts, value, from, to): a run's samples of from..to as the chunks
 * that remote read sends (base/xor_chunk.h), one behind the other, each behind a chunk_head. So they are encoded on the
 * engine's threads, where they are decoded. No samples: no bytes.
 */
#include <stdlib.h>
#include <string.h>

#include "backend/duckdb/decode.h"
#include "backend/duckdb/functions.h"
#include "backend/duckdb/raw_chunks.h"
#include "backend/duckdb/stored_value.h"
#include "base/assert.h"
#include "base/xor_chunk.h"

#define CHUNK_ROOM (sizeof(struct chunk_head) + XOR_CHUNK_BYTES_MAX)

static size_t put_chunk(char *to, const int64_t *time_ms, const double *value, size_t n)
{
    struct sample samples[XOR_CHUNK_SAMPLES_MAX];
    struct xor_encoder encoder;
    for (size_t i = 0; i < n; i++)
        samples[i] = (struct sample){time_ms[i], stored_value(value[i])};
    xor_encoder_start(&encoder);
    size_t taken = xor_encoder_add(&encoder, samples, n);
    INVARIANT(taken == n);
    struct str bytes = xor_encoder_finish(&encoder);
    struct chunk_head head = {time_ms[0], time_ms[n - 1], (uint32_t)n, (uint32_t)bytes.len};
    memcpy(to, &head, sizeof head);
    memcpy(to + sizeof head, bytes.ptr, bytes.len);
    return sizeof head + bytes.len;
}

static size_t put_chunks(char *to, const int64_t *time_ms, const double *value, size_t n)
{
    size_t used = 0;
    for (size_t i = 0; i < n; i += XOR_CHUNK_SAMPLES_MAX) {
        size_t left = n - i;
        used +=
            put_chunk(to + used, time_ms + i, value + i, left < XOR_CHUNK_SAMPLES_MAX ? left : XOR_CHUNK_SAMPLES_MAX);
    }
    return used;
}

static size_t put_run(char *to, const int64_t *time_ms, const double *value, size_t n, int64_t from, int64_t until)
{
    size_t begin = 0;
    while (begin < n && time_ms[begin] < from)
        begin++;
    while (n > begin && time_ms[n - 1] > until)
        n--;
    return put_chunks(to, time_ms + begin, value + begin, n - begin);
}

static void xor_chunks(duckdb_function_info info, duckdb_data_chunk input, duckdb_vector output)
{
    duckdb_vector times = duckdb_data_chunk_get_vector(input, 0);
    struct run_column runs = run_column_of(times, duckdb_data_chunk_get_vector(input, 1));
    const int64_t *from = duckdb_vector_get_data(duckdb_data_chunk_get_vector(input, 2));
    const int64_t *until = duckdb_vector_get_data(duckdb_data_chunk_get_vector(input, 3));
    idx_t n = duckdb_data_chunk_get_size(input);
    uint64_t longest = list_longest(runs.times, duckdb_vector_get_validity(times), n);
    char *bytes = malloc((longest / XOR_CHUNK_SAMPLES_MAX + 1) * CHUNK_ROOM);
    if (!bytes) {
        duckdb_scalar_function_set_error(info, "no memory to encode a run");
        return;
    }
    for (idx_t row = 0; row < n; row++) {
        struct samples run = row_is_null(input, row) ? (struct samples){.n = 0} : run_column_get(&runs, row);
        size_t used = put_run(bytes, run.time_ms, run.value, run.n, from[row], until[row]);
        duckdb_vector_assign_string_element_len(output, row, bytes, used);
    }
    free(bytes);
}

ENGINE_CALLS_SCALAR(xor_chunks)

enum status functions_register_chunks(struct connection *connection, struct error *reterr)
{
    enum status status = OK;
    duckdb_scalar_function scalar = function_scalar_new("prom_xor_chunks", "IDii", "B");
    duckdb_scalar_function_set_function(scalar, on_xor_chunks);
    if (duckdb_register_scalar_function(connection->handle, scalar) != DuckDBSuccess)
        status = error_set(reterr, E_STORE, "the storage engine refuses prom_xor_chunks");
    duckdb_destroy_scalar_function(&scalar);
    return status;
}
