/* backend/exemplar_ring.h: the newest exemplars of all series, at most so many: the oldest to come make way.
 *
 * What is taken, by Prometheus's rules, each for one series:
 *   - the names and values of an exemplar's labels have at most EXEMPLAR_LABELS_MAX_CHARACTERS together;
 *   - one that is equal to the newest is a duplicate. So is one equal to one of the last few, where Prometheus finds it
 *     out of order: a request may be sent again and have more than one of a series;
 *   - none is older than the newest. Of one time the values ascend, of one time and value the labels do (in Prometheus
 *     their hashes), as those of a native histogram's buckets may.
 * A series here is a label set: it need not exist as long as its exemplars.
 *
 * Changes come in two steps. exemplar_ring_stage judges an exemplar and copies it; readers see none of those staged
 * until exemplar_ring_keep, which cannot fail, and exemplar_ring_discard forgets them. Each exemplar has a number,
 * ascending without gaps in the order in which they were kept.
 *
 * Memory   about 150 bytes an exemplar, and its texts; 16 bytes for each that there is room for.
 * Threads  queries from any thread; all else from one at a time.
 * Source   Prometheus tsdb/exemplar.go, model/exemplar/exemplar.go (3.5).
 */
#ifndef PROMSPLIT_BACKEND_EXEMPLAR_RING_H
#define PROMSPLIT_BACKEND_EXEMPLAR_RING_H

#include "backend/backend.h"

#define EXEMPLAR_LABELS_MAX_CHARACTERS 128 /* OpenMetrics 1.0 */
#define EXEMPLAR_OUT_OF_ORDER_WORDS    "out of order exemplar"

struct exemplar_ring;

/* max: exemplars kept; 0: none. */
MUST_USE enum status exemplar_ring_new(size_t max, struct exemplar_ring **ret_ring, struct error *reterr);
void exemplar_ring_free(struct exemplar_ring *ring); /* NULL is fine */

/* *ret_fate: EXEMPLAR_WRITTEN for one that is staged, _DUPLICATE, _OUT_OF_ORDER, _TOO_LONG or _NOT_KEPT. E_NOMEM. */
MUST_USE enum status exemplar_ring_stage(struct exemplar_ring *ring, struct labels series,
                                         const struct exemplar *exemplar, enum exemplar_fate *ret_fate,
                                         struct error *reterr);
void exemplar_ring_keep(struct exemplar_ring *ring);
void exemplar_ring_discard(struct exemplar_ring *ring);

/* Those staged, for who writes them elsewhere. */
struct staged_exemplar {
    uint64_t number;
    struct labels series;
    const struct exemplar *is;
};
size_t exemplar_ring_staged_n(const struct exemplar_ring *ring);
struct staged_exemplar exemplar_ring_staged(const struct exemplar_ring *ring, size_t i);

/* Puts back what an earlier ring had, in its order, unjudged. Nothing may be staged. */
MUST_USE enum status exemplar_ring_restore(struct exemplar_ring *ring, const struct staged_exemplar *exemplar,
                                           struct error *reterr);

uint64_t exemplar_ring_next(const struct exemplar_ring *ring); /* the number of the next one to be staged first */
size_t exemplar_ring_max(const struct exemplar_ring *ring);
size_t exemplar_ring_n(struct exemplar_ring *ring); /* from any thread */

/* Which of many texts a pattern matches. */
struct pattern_engine {
    enum status (*match_all)(void *arg, struct str pattern, const struct str *texts, size_t n, bool *ret_matches,
                             struct error *reterr);
    void *arg;
};

/* backend_ops.exemplars. */
MUST_USE enum status exemplar_ring_query(struct exemplar_ring *ring, const struct series_query *query,
                                         const struct pattern_engine *patterns, struct exemplar_list **ret_list,
                                         struct error *reterr);

#endif
