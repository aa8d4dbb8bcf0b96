/* remote/body.c: see body.h. */
#include "remote/body.h"

#include <snappy-c.h>

#include "base/assert.h"

/* The densest element of a snappy block is a copy of 64 bytes in 3 bytes (format_description.txt). A preamble that
 * promises more than that is a lie told to make us allocate. */
static bool size_is_possible(size_t decoded, size_t compressed)
{
    return decoded / 64 <= compressed / 3;
}

enum status body_refused(const struct arena *arena, size_t bytes, const char *what, struct error *reterr)
{
    if (bytes > arena->cap_bytes - arena->used_bytes)
        return error_set(reterr, E_TOO_LARGE, "%s needs more than the allowed %zu bytes of memory: %zu more asked",
                         what, arena->cap_bytes, bytes);
    return error_set(reterr, E_NOMEM, "no memory for %s", what);
}

enum status body_alloc(struct arena *arena, size_t n, size_t each, const char *what, void **ret, struct error *reterr)
{
    *ret = arena_alloc_array(arena, n, each);
    if (*ret)
        return OK;
    size_t bytes;
    if (__builtin_mul_overflow(n, each, &bytes))
        bytes = SIZE_MAX;
    return body_refused(arena, bytes, what, reterr);
}

enum status body_uncompress(struct arena *arena, struct str body, size_t body_max_bytes, size_t decoded_max_bytes,
                            const char *what, struct str *ret_decoded, struct error *reterr)
{
    if (body.len > body_max_bytes)
        return error_set(reterr, E_TOO_LARGE, "%s of %zu bytes exceeds limit %zu", what, body.len, body_max_bytes);
    size_t decoded;
    if (snappy_uncompressed_length(body.ptr ? body.ptr : "", body.len, &decoded) != SNAPPY_OK)
        return error_set(reterr, E_BAD_DATA, "%s: snappy: corrupt input", what);
    if (decoded > decoded_max_bytes)
        return error_set(reterr, E_TOO_LARGE, "%s: snappy: decoded length %zu exceeds limit %zu", what, decoded,
                         decoded_max_bytes);
    if (!size_is_possible(decoded, body.len))
        return error_set(reterr, E_BAD_DATA, "%s: snappy: corrupt input: %zu bytes cannot hold the declared %zu", what,
                         body.len, decoded);
    void *bytes;
    enum status status = body_alloc(arena, decoded, 1, what, &bytes, reterr);
    if (status != OK)
        return status;
    size_t written = decoded;
    if (snappy_uncompress(body.ptr, body.len, bytes, &written) != SNAPPY_OK || written != decoded)
        return error_set(reterr, E_BAD_DATA, "%s: snappy: corrupt input", what);
    *ret_decoded = (struct str){bytes, decoded};
    return OK;
}

enum status body_compress(struct str plain, struct strbuf *out, const char *what, struct error *reterr)
{
    size_t written = snappy_max_compressed_length(plain.len);
    char *place = strbuf_reserve(out, written);
    if (place) {
        snappy_status done = snappy_compress(plain.ptr ? plain.ptr : "", plain.len, place, &written);
        INVARIANT(done == SNAPPY_OK);
        strbuf_commit(out, written);
    }
    return strbuf_status(out, what, reterr);
}

static void *allocator_alloc(void *arg, size_t bytes)
{
    struct body_allocator *allocator = arg;
    void *memory = arena_alloc(allocator->arena, bytes);
    if (!memory)
        allocator->refused_bytes = bytes;
    return memory;
}

static void allocator_free(void *arg, void *memory)
{
    (void)arg; /* the arena frees all at once */
    (void)memory;
}

void body_allocator_init(struct body_allocator *allocator, struct arena *arena)
{
    *allocator = (struct body_allocator){
        .base = {.alloc = allocator_alloc, .free = allocator_free, .allocator_data = allocator},
        .arena = arena,
    };
}
