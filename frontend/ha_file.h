/* frontend/ha_file.h: the file that says which replica of each cluster is elected: {"cluster":"replica",…}.
 *
 * It is replaced as a whole and synced, so that a crash leaves the one before or the new one.
 *
 * Memory   texts handed to the reader's function are valid during its call. At most HA_FILE_MAX_BYTES.
 * Threads  one at a time per path.
 * Errors   E_STORE with the path; E_LIMIT, E_NOMEM.
 */
#ifndef PROMSPLIT_FRONTEND_HA_FILE_H
#define PROMSPLIT_FRONTEND_HA_FILE_H

#include <stdbool.h>

#include "base/error.h"
#include "base/strbuf.h"

#define HA_FILE_MAX_BYTES (64u << 20)

struct ha_file {
    struct strbuf text;
};

/* Calls `each` for every entry that has both texts; it returns false without memory. No file: none. */
MUST_USE enum status ha_file_read(const char *path, bool (*each)(void *arg, struct str cluster, struct str replica),
                                  void *arg, struct error *reterr);

void ha_file_begin(struct ha_file *file);
void ha_file_put(struct ha_file *file, struct str cluster, struct str replica);
MUST_USE enum status ha_file_end(struct ha_file *file, const char *path, struct error *reterr); /* writes it */

#endif
