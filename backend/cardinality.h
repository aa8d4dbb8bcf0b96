/* backend/cardinality.h: builds a struct cardinality_report: the largest figures of each list, in bounded memory.
 *
 * Memory   at most `limit` figures of each list; their texts are copied at the end.
 * Threads  one.
 */
#ifndef PROMSPLIT_BACKEND_CARDINALITY_H
#define PROMSPLIT_BACKEND_CARDINALITY_H

#include "backend/backend.h"

struct cardinality_builder {
    struct cardinality_report *made; /* its lists are heaps, the smallest first, until they are finished */
    size_t limit;
};

MUST_USE enum status cardinality_begin(struct cardinality_builder *builder, size_t limit, struct error *reterr);

/* Offers a figure to a list; its texts must stay until the end. Counts of 0 are left out. */
void cardinality_offer(struct cardinality_builder *builder, enum cardinality_of list, struct cardinality_figure figure);

/* Sorts, copies the texts and hands over; or frees all when memory is short. */
MUST_USE enum status cardinality_finish(struct cardinality_builder *builder,
                                        struct cardinality_report **ret_cardinality, struct error *reterr);

#endif
