/* frontend/ha.h: pairs of Prometheuses that send the same series: of each cluster one replica is stored.
 *
 * Both Prometheuses of a pair scrape the same targets and have the external labels `cluster` (the same) and
 * `__replica__` (different); the names are flags. The first replica that sends is elected; what others of its cluster
 * send is dropped. When the elected one was not heard of for the failover time, the next that sends is elected in its
 * place. Heard of: what counts is when its samples came in, not what time they bear. The replica label is taken off
 * what is stored, so that a failover continues the same series. Series without one of the two labels are left as they
 * are.
 *
 * A restart loses nothing. Who is elected is written to a file at each election. After a start, requests of other
 * replicas of such a cluster are to be sent again later (not dropped), until the elected one was heard of, or was not
 * for the failover time: its samples of the moment before are still to come, or those of the others count from there.
 *
 * Memory   one entry for each cluster, at most clusters_max. When there is no room, the cluster that was silent for
 *          longest makes way, if it was so for the failover time (anyone may be elected there by now).
 * Threads  any; a lock is held for one decision.
 * Source   Cortex and Mimir's HA tracker, whose rules and standard label names these are.
 */
#ifndef PROMSPLIT_FRONTEND_HA_H
#define PROMSPLIT_FRONTEND_HA_H

#include "remote/write_request.h"

struct ha_options {
    struct str cluster_label, replica_label; /* live as long as the tracker */
    int64_t failover_ms;
    size_t clusters_max;
    const char *path; /* the file; NULL: none is kept */
    /* Called when a replica was elected, with the one it replaces (empty: none). The lock is held. */
    void (*elected)(void *arg, struct str cluster, struct str before, struct str replica);
    void (*not_kept)(void *arg, const struct error *error); /* the file could not be written. Likewise */
    void *arg;
};

struct ha;

enum ha_verdict {
    HA_TAKE,
    HA_DROP,
    HA_WAIT,   /* neither: to be sent again */
    HA_NO_ROOM /* one cluster too many */
};

/* Reads the file if there is one: E_STORE if it cannot be read, or is no JSON object of texts. */
MUST_USE enum status ha_new(const struct ha_options *options, int64_t now_ms, struct ha **ret_ha, struct error *reterr);
void ha_free(struct ha *ha); /* NULL is fine */

/* now_ms: monotonic, as ha_new's. Without memory for a new cluster: HA_NO_ROOM. */
enum ha_verdict ha_decide(struct ha *ha, struct str cluster, struct str replica, int64_t now_ms);

struct ha_dropped {
    size_t series, samples, histograms, exemplars;
};

/* Takes what is to be dropped out of the request, and the replica label off the rest. Series of a cluster too many
 * become invalid ones of the request. E_UNAVAILABLE: the whole request is to be sent again later. */
MUST_USE enum status ha_filter(struct ha *ha, struct write_request *request, int64_t now_ms,
                               struct ha_dropped *ret_dropped, struct error *reterr);

size_t ha_clusters_n(struct ha *ha);

#endif
