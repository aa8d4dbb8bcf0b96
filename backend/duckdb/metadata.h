/* backend/duckdb/metadata.h: type, help and unit of metric families, in memory and in the table `metadata`.
 *
 * Senders repeat their metadata every minute (remote write 1.0) or with every sample (2.0); only what changed is
 * written, and of several changes of a family in one transaction the last.
 *
 * Threads  list may be called from any thread; the others under the backend's writer lock.
 */
#ifndef PROMSPLIT_BACKEND_DUCKDB_METADATA_H
#define PROMSPLIT_BACKEND_DUCKDB_METADATA_H

#include "backend/duckdb/engine.h"

#define METADATA_FAMILIES_MAX 200000

struct metadata_entry;

struct metadata_table {
    pthread_rwlock_t lock;      /* guards `at` and what it points to against list */
    struct metadata_entry **at; /* sorted by family */
    size_t n, capacity;
};

/* Changes of one transaction, made before it commits so that keeping them afterwards cannot fail. */
struct metadata_changes {
    struct metadata_entry **at; /* sorted by family; owned until kept */
    size_t n, capacity;
    size_t added_n; /* of families that the table has not */
};

void metadata_init(struct metadata_table *table);
void metadata_release(struct metadata_table *table);

MUST_USE enum status metadata_load(struct metadata_table *table, struct connection *connection, struct error *reterr);

/* Notes the entry if the table says otherwise. E_LIMIT over METADATA_FAMILIES_MAX, E_NOMEM. */
MUST_USE enum status metadata_stage(struct metadata_table *table, struct metadata_changes *changes,
                                    const struct metric_metadata *entry, struct error *reterr);
/* Writes the changes in the connection's transaction. */
MUST_USE enum status metadata_write(const struct metadata_changes *changes, struct connection *connection,
                                    struct error *reterr);
void metadata_keep(struct metadata_table *table, struct metadata_changes *changes); /* after the commit */
void metadata_changes_release(struct metadata_changes *changes);

MUST_USE enum status metadata_to_list(struct metadata_table *table, struct str family, size_t limit,
                                      struct metadata_list **ret_list, struct error *reterr);

#endif
