/* frontend/import_source.h: where the samples of `promsplit import` come from: files, servers, other stores.
 *
 * A source hands out pieces one after the other. Each says at which place the import goes on once the piece is stored;
 * a source opened at that place gives what follows. Places lie at most one piece, or for servers and stores one window
 * of time, behind: what comes twice is known to the store and passed over.
 *
 * Memory   a piece owns what its samples and labels are views of. A piece holds a few hundred thousand samples at
 *          most; those of servers and stores end with their window of time.
 * Threads  one thread calls next, pieces may be used on another one.
 */
#ifndef PROMSPLIT_FRONTEND_IMPORT_SOURCE_H
#define PROMSPLIT_FRONTEND_IMPORT_SOURCE_H

#include "base/strbuf.h"
#include "planner/grid.h"
#include "remote/import_text.h"

#define IMPORT_PIECE_SAMPLES ((size_t)250000)
#define IMPORT_PIECE_MAX_BYTES                                                                                         \
    ((size_t)2 << 30) /* of one piece's arena: what a line of IMPORT_LINE_MAX_BYTES needs                              \
                       */

/* Zeroed: the beginning. What the numbers mean is the source's own. */
struct import_place {
    int64_t at, line;
};

struct import_piece {
    struct strbuf text;
    struct arena arena;
    struct import_part part;
    struct import_place after;
    double share; /* of the source that was read when the piece ends: 0 to 1 */
};

struct import_source {
    /* Fills an empty piece; with *ret_done there is none any more. */
    enum status (*next)(struct import_source *source, struct import_piece *piece, bool *ret_done, struct error *reterr);
    void (*close)(struct import_source *source);
};

/* What is read of servers and stores. */
struct import_query {
    const struct matcher *matchers; /* none: all series */
    size_t matchers_n;
    struct time_span span; /* both ends included */
};

/* A file, gzipped or not; "-": standard input. encoding: as --encoding, "": by the file's name, or JSON if it begins
 * so. */
MUST_USE enum status import_file_open(const char *path, const char *encoding, const struct import_place *from,
                                      struct import_source **ret_source, struct error *reterr);

/* A Prometheus, by remote read. */
MUST_USE enum status import_server_open(const char *url, const struct import_query *query,
                                        const struct import_place *from, struct import_source **ret_source,
                                        struct error *reterr);

/* A directory that holds a store; opened, so that no server may have it. */
MUST_USE enum status import_store_open(const char *directory, const struct import_query *query,
                                       const struct import_place *from, struct import_source **ret_source,
                                       struct error *reterr);

#endif
