/* frontend/import_state.h: how far an import came, kept in a small file in the store's directory.
 *
 * The file is named after the import: which sources (with size and time of change, for files), which part of them. So
 * the same command goes on where the last one was interrupted, and another one begins at its beginning. The file is
 * replaced as a whole; what it says is stored already. It is removed when the import is complete.
 *
 * Threads: one. Errors: E_STORE when the file cannot be written; one that cannot be read counts as none.
 */
#ifndef PROMSPLIT_FRONTEND_IMPORT_STATE_H
#define PROMSPLIT_FRONTEND_IMPORT_STATE_H

#include "base/strbuf.h"
#include "frontend/import_source.h"

struct import_state {
    char path[4096];
    struct strbuf identity; /* lines */
    int source;             /* the one that the import is at; those before are complete */
    struct import_place place;
    int64_t to_ms; /* where servers and stores end: what --to said, or the time of the first start */
};

/* Reads the file, if there is one for that identity (moved out of the builder); *ret_found says so. */
MUST_USE enum status import_state_open(struct import_state *state, const char *directory, struct strbuf *identity,
                                       bool *ret_found, struct error *reterr);
MUST_USE enum status import_state_save(const struct import_state *state, struct error *reterr);
void import_state_remove(const struct import_state *state); /* the file */
void import_state_release(struct import_state *state);      /* the memory; a zeroed one is fine */

#endif
