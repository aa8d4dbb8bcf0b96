/* remote/body.h: snappy bodies in and out, and arena memory for decoders.
 *
 * Only remote/ uses it. Bodies are snappy blocks (not the framed stream format): a varint with the decoded size, then
 * the elements.
 *
 * Threads  no shared state.
 * Errors   E_TOO_LARGE: a limit was passed; the message names it, the asked and the allowed. Never E_NOMEM for what a
 *          peer asked for: a sender retries after 5xx for ever. E_BAD_DATA in the words of Go's snappy.
 */
#ifndef PROMSPLIT_REMOTE_BODY_H
#define PROMSPLIT_REMOTE_BODY_H

#include <protobuf-c/protobuf-c.h>

#include "base/arena.h"
#include "base/error.h"
#include "base/strbuf.h"

/* Uncompresses into the arena. Both sizes are checked before anything is allocated: that of the body against
 * body_max_bytes, the declared one against decoded_max_bytes and against what so many bytes can hold at all. `what`
 * names the body in messages ("remote read request"). */
MUST_USE enum status body_uncompress(struct arena *arena, struct str body, size_t body_max_bytes,
                                     size_t decoded_max_bytes, const char *what, struct str *ret_decoded,
                                     struct error *reterr);

/* Appends the compressed form of `plain`. */
MUST_USE enum status body_compress(struct str plain, struct strbuf *out, const char *what, struct error *reterr);

/* Says why the arena refused so many bytes: E_TOO_LARGE when its cap is in the way, E_NOMEM when memory is. */
MUST_USE enum status body_refused(const struct arena *arena, size_t bytes, const char *what, struct error *reterr);

/* arena_alloc_array with that error. */
MUST_USE enum status body_alloc(struct arena *arena, size_t n, size_t each, const char *what, void **ret,
                                struct error *reterr);

/* protobuf-c's allocator over an arena: nothing is freed singly; at the cap, protobuf-c sees a failed allocation. */
struct body_allocator {
    ProtobufCAllocator base; /* hand this to protobuf-c */
    struct arena *arena;
    size_t refused_bytes; /* what the arena could not give; 0: nothing was refused */
};

void body_allocator_init(struct body_allocator *allocator, struct arena *arena);

#endif
