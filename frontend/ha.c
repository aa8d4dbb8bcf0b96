/* frontend/ha.c: see ha.h. */
#include "frontend/ha.h"

#include <pthread.h>
#include <stdlib.h>

#include "base/assert.h"

struct cluster {
    char *texts; /* owned: name, then replica */
    struct str name, replica;
    int64_t heard_ms; /* when samples of the elected replica came last */
};

struct ha {
    struct ha_options options;
    pthread_mutex_t lock;     /* guards all that follows */
    struct cluster *clusters; /* sorted by name */
    size_t n, capacity;
};

enum status ha_new(const struct ha_options *options, struct ha **ret_ha, struct error *reterr)
{
    PRE(options->clusters_max > 0 && options->failover_ms > 0);
    struct ha *ha = calloc(1, sizeof *ha);
    if (!ha)
        return error_set(reterr, E_NOMEM, "no memory for the table of clusters");
    ha->options = *options;
    pthread_mutex_init(&ha->lock, NULL);
    *ret_ha = ha;
    return OK;
}

void ha_free(struct ha *ha)
{
    if (!ha)
        return;
    for (size_t i = 0; i < ha->n; i++)
        free(ha->clusters[i].texts);
    free(ha->clusters);
    pthread_mutex_destroy(&ha->lock);
    free(ha);
}

/* --- the table --- */

/* The cluster, or where it would go. */
static size_t place_of(const struct ha *ha, struct str name, bool *ret_found)
{
    size_t low = 0, high = ha->n;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (str_cmp(ha->clusters[middle].name, name) < 0)
            low = middle + 1;
        else
            high = middle;
    }
    *ret_found = low < ha->n && str_eq(ha->clusters[low].name, name);
    return low;
}

static bool is_silent(const struct ha *ha, const struct cluster *cluster, int64_t now_ms)
{
    return now_ms - cluster->heard_ms >= ha->options.failover_ms;
}

static void remove_at(struct ha *ha, size_t at)
{
    free(ha->clusters[at].texts);
    ha->n--;
    memmove(&ha->clusters[at], &ha->clusters[at + 1], (ha->n - at) * sizeof *ha->clusters);
}

/* Room for one more, if need be that of the cluster that was silent for longest. */
static bool make_room(struct ha *ha, int64_t now_ms)
{
    if (ha->n == ha->options.clusters_max) {
        size_t oldest = 0;
        for (size_t i = 1; i < ha->n; i++)
            if (ha->clusters[i].heard_ms < ha->clusters[oldest].heard_ms)
                oldest = i;
        if (!is_silent(ha, &ha->clusters[oldest], now_ms))
            return false;
        remove_at(ha, oldest);
    }
    if (ha->n < ha->capacity)
        return true;
    size_t capacity = ha->capacity ? 2 * ha->capacity : 16;
    struct cluster *grown = realloc(ha->clusters, capacity * sizeof *grown);
    if (!grown)
        return false;
    ha->clusters = grown;
    ha->capacity = capacity;
    return true;
}

/* Writes name and replica anew; what was there is freed. False: no memory, and nothing has changed. */
static bool elect(struct ha *ha, struct cluster *cluster, struct str name, struct str replica, int64_t now_ms)
{
    char *texts = malloc(name.len + replica.len);
    if (!texts)
        return false;
    memcpy(texts, name.ptr, name.len);
    memcpy(texts + name.len, replica.ptr, replica.len);
    if (ha->options.elected)
        ha->options.elected(ha->options.arg, name, cluster->replica, replica);
    free(cluster->texts);
    *cluster = (struct cluster){texts, {texts, name.len}, {texts + name.len, replica.len}, now_ms};
    return true;
}

static enum ha_verdict decide(struct ha *ha, struct str name, struct str replica, int64_t now_ms)
{
    bool found;
    size_t at = place_of(ha, name, &found);
    if (found) {
        struct cluster *known = &ha->clusters[at];
        if (str_eq(known->replica, replica)) {
            known->heard_ms = now_ms;
            return HA_TAKE;
        }
        return is_silent(ha, known, now_ms) && elect(ha, known, name, replica, now_ms) ? HA_TAKE : HA_DROP;
    }
    struct cluster added = {0};
    if (!make_room(ha, now_ms) || !elect(ha, &added, name, replica, now_ms))
        return HA_NO_ROOM;
    at = place_of(ha, name, &found); /* room may have been made before it */
    memmove(&ha->clusters[at + 1], &ha->clusters[at], (ha->n - at) * sizeof *ha->clusters);
    ha->clusters[at] = added;
    ha->n++;
    return HA_TAKE;
}

enum ha_verdict ha_decide(struct ha *ha, struct str cluster, struct str replica, int64_t now_ms)
{
    PRE(cluster.len > 0 && replica.len > 0);
    pthread_mutex_lock(&ha->lock);
    enum ha_verdict verdict = decide(ha, cluster, replica, now_ms);
    pthread_mutex_unlock(&ha->lock);
    return verdict;
}

size_t ha_clusters_n(struct ha *ha)
{
    pthread_mutex_lock(&ha->lock);
    size_t n = ha->n;
    pthread_mutex_unlock(&ha->lock);
    return n;
}

/* --- a request --- */

static void refuse(const struct ha *ha, struct write_request *request, struct str cluster, size_t samples_n)
{
    size_t max = ha->options.clusters_max;
    request->invalid_series++;
    request->invalid_samples[WRITE_INVALID_LABELS] += samples_n;
    if (request->invalid.status == OK)
        error_set(&request->invalid, E_BAD_DATA,
                  "clusters of replicas: %zu exceeds limit %zu (--ha.max-clusters), cluster \"" STR_FORMAT "\"",
                  max + 1, max, STR_ARG(cluster));
}

struct ha_dropped ha_filter(struct ha *ha, struct write_request *request, int64_t now_ms)
{
    struct ha_dropped dropped = {0};
    struct str cluster = {0}, replica = {0}; /* of the decision made last: mostly that of all series */
    enum ha_verdict verdict = HA_TAKE;
    size_t kept = 0;
    for (size_t i = 0; i < request->series_n; i++) {
        struct append_series series = request->series[i];
        struct str its_cluster = labels_get(series.labels, ha->options.cluster_label);
        struct str its_replica = labels_get(series.labels, ha->options.replica_label);
        bool is_of_pair = its_cluster.len > 0 && its_replica.len > 0;
        if (is_of_pair && (!str_eq(its_cluster, cluster) || !str_eq(its_replica, replica))) {
            cluster = its_cluster;
            replica = its_replica;
            verdict = ha_decide(ha, cluster, replica, now_ms);
        }
        if (!is_of_pair || verdict == HA_TAKE) {
            if (is_of_pair)
                write_request_drop_label(request, &series, ha->options.replica_label);
            request->series[kept++] = series;
            continue;
        }
        request->samples_n -= series.samples_n;
        if (verdict == HA_NO_ROOM) {
            refuse(ha, request, cluster, series.samples_n);
            continue;
        }
        dropped.series++;
        dropped.samples += series.samples_n;
    }
    request->series_n = kept;
    return dropped;
}
