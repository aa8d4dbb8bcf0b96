/* frontend/ha.c: see ha.h. */
#include "frontend/ha.h"

#include <pthread.h>
#include <stdlib.h>

#include "base/array.h"
#include "base/assert.h"
#include "frontend/ha_file.h"

struct cluster {
    char *texts; /* owned: name, then replica */
    struct str name, replica;
    int64_t heard_ms; /* when samples of the elected replica came last, or our start */
    bool is_recalled; /* elected before our start, and not heard of since */
};

struct ha {
    struct ha_options options;
    pthread_mutex_t lock;     /* guards all that follows */
    struct cluster *clusters; /* sorted by name */
    size_t n, capacity;
};

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
    return array_reserve(&ha->clusters, &ha->capacity, ha->n + 1, sizeof *ha->clusters);
}

/* False: no memory. */
static bool cluster_init(struct cluster *cluster, struct str name, struct str replica, int64_t now_ms)
{
    char *texts = malloc(name.len + replica.len);
    if (!texts)
        return false;
    memcpy(texts, name.ptr, name.len);
    memcpy(texts + name.len, replica.ptr, replica.len);
    *cluster = (struct cluster){texts, {texts, name.len}, {texts + name.len, replica.len}, now_ms, false};
    return true;
}

/* At its place; there is room. */
static void insert(struct ha *ha, const struct cluster *added)
{
    bool found;
    size_t at = place_of(ha, added->name, &found);
    INVARIANT(!found && ha->n < ha->capacity);
    memmove(&ha->clusters[at + 1], &ha->clusters[at], (ha->n - at) * sizeof *ha->clusters);
    ha->clusters[at] = *added;
    ha->n++;
}

/* --- the file --- */

static void keep(struct ha *ha)
{
    struct ha_file file;
    struct error error;
    if (!ha->options.path)
        return;
    ha_file_begin(&file);
    for (size_t i = 0; i < ha->n; i++)
        ha_file_put(&file, ha->clusters[i].name, ha->clusters[i].replica);
    if (ha_file_end(&file, ha->options.path, &error) != OK)
        ha->options.not_kept(ha->options.arg, &error);
}

struct recall {
    struct ha *ha;
    int64_t now_ms;
};

/* Of several entries of one name the first counts; more than there is room for are forgotten. */
static bool recall(void *arg, struct str name, struct str replica)
{
    struct recall *recall = arg;
    struct ha *ha = recall->ha;
    struct cluster cluster;
    bool found;
    place_of(ha, name, &found);
    if (found || ha->n == ha->options.clusters_max)
        return true;
    if (!make_room(ha, recall->now_ms) || !cluster_init(&cluster, name, replica, recall->now_ms))
        return false;
    cluster.is_recalled = true;
    insert(ha, &cluster);
    return true;
}

enum status ha_new(const struct ha_options *options, int64_t now_ms, struct ha **ret_ha, struct error *reterr)
{
    PRE(options->clusters_max > 0 && options->failover_ms > 0);
    struct ha *ha = calloc(1, sizeof *ha);
    if (!ha)
        return error_set(reterr, E_NOMEM, "no memory for the table of clusters");
    ha->options = *options;
    pthread_mutex_init(&ha->lock, NULL);
    enum status status = OK;
    if (options->path)
        status = ha_file_read(options->path, recall, &(struct recall){ha, now_ms}, reterr);
    if (status == OK)
        *ret_ha = ha;
    else
        ha_free(ha);
    return status;
}

/* --- decisions --- */

static bool replace(struct ha *ha, struct cluster *known, struct str replica, int64_t now_ms)
{
    struct cluster cluster;
    if (!cluster_init(&cluster, known->name, replica, now_ms))
        return false;
    ha->options.elected(ha->options.arg, cluster.name, known->replica, replica);
    free(known->texts);
    *known = cluster;
    keep(ha);
    return true;
}

static enum ha_verdict decide_known(struct ha *ha, struct cluster *known, struct str replica, int64_t now_ms)
{
    if (str_eq(known->replica, replica)) {
        known->heard_ms = now_ms;
        known->is_recalled = false;
        return HA_TAKE;
    }
    if (is_silent(ha, known, now_ms) && replace(ha, known, replica, now_ms))
        return HA_TAKE;
    return known->is_recalled ? HA_WAIT : HA_DROP;
}

static enum ha_verdict decide(struct ha *ha, struct str name, struct str replica, int64_t now_ms)
{
    bool found;
    size_t at = place_of(ha, name, &found);
    if (found)
        return decide_known(ha, &ha->clusters[at], replica, now_ms);
    struct cluster added;
    if (!make_room(ha, now_ms) || !cluster_init(&added, name, replica, now_ms))
        return HA_NO_ROOM;
    insert(ha, &added);
    ha->options.elected(ha->options.arg, name, STR(""), replica);
    keep(ha);
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

static enum status wait_for_elected(const struct ha *ha, struct str cluster, struct str replica, struct error *reterr)
{
    return error_set(reterr, E_UNAVAILABLE,
                     "replica \"" STR_FORMAT "\" of cluster \"" STR_FORMAT "\" has to wait: another was elected "
                     "before the restart, which is waited for for %lld ms (--ha.failover-time)",
                     STR_ARG(replica), STR_ARG(cluster), (long long)ha->options.failover_ms);
}

/* The decision made last: mostly that of all series. */
struct decision {
    struct str cluster, replica;
    enum ha_verdict verdict;
};

/* False: the series is of no pair. */
static bool decide_series(struct ha *ha, const struct append_series *series, int64_t now_ms, struct decision *last)
{
    struct str cluster = labels_get(series->labels, ha->options.cluster_label);
    struct str replica = labels_get(series->labels, ha->options.replica_label);
    if (cluster.len == 0 || replica.len == 0)
        return false;
    if (!str_eq(cluster, last->cluster) || !str_eq(replica, last->replica))
        *last = (struct decision){cluster, replica, ha_decide(ha, cluster, replica, now_ms)};
    return true;
}

/* What is beside the samples of a request, taken or left out with its series. */
struct filter {
    struct write_request *request;
    size_t at, kept;
};

/* The exemplars of series `from`, which becomes series `to`; how many there are. */
static size_t move_exemplars(struct filter *filter, size_t from, size_t to, bool is_kept)
{
    struct append_exemplar *exemplars = filter->request->exemplars;
    size_t first = filter->at;
    for (; filter->at < filter->request->exemplars_n && exemplars[filter->at].series == from; filter->at++) {
        if (!is_kept)
            continue;
        exemplars[filter->kept] = exemplars[filter->at];
        exemplars[filter->kept++].series = to;
    }
    return filter->at - first;
}

/* Likewise. */
static size_t move_histograms(struct filter *filter, size_t from, size_t to, bool is_kept)
{
    struct append_histogram *histograms = filter->request->histograms;
    size_t first = filter->at;
    for (; filter->at < filter->request->histograms_n && histograms[filter->at].series == from; filter->at++) {
        if (!is_kept)
            continue;
        histograms[filter->kept] = histograms[filter->at];
        histograms[filter->kept++].series = to;
    }
    return filter->at - first;
}

enum status ha_filter(struct ha *ha, struct write_request *request, int64_t now_ms, struct ha_dropped *ret_dropped,
                      struct error *reterr)
{
    struct ha_dropped dropped = {0};
    struct decision last = {.verdict = HA_TAKE};
    size_t kept = 0;
    struct filter exemplars = {.request = request}, histograms = {.request = request};
    for (size_t i = 0; i < request->series_n; i++) {
        struct append_series series = request->series[i];
        bool is_of_pair = decide_series(ha, &series, now_ms, &last);
        bool is_taken = !is_of_pair || last.verdict == HA_TAKE;
        size_t exemplars_n = move_exemplars(&exemplars, i, kept, is_taken);
        size_t histograms_n = move_histograms(&histograms, i, kept, is_taken);
        if (is_taken) {
            if (is_of_pair)
                write_request_drop_label(request, &series, ha->options.replica_label);
            request->series[kept++] = series;
            continue;
        }
        if (last.verdict == HA_WAIT)
            return wait_for_elected(ha, last.cluster, last.replica, reterr);
        request->samples_n -= series.samples_n;
        if (last.verdict == HA_NO_ROOM) {
            refuse(ha, request, last.cluster, series.samples_n + histograms_n);
            request->invalid_exemplars += exemplars_n;
            continue;
        }
        dropped.exemplars += exemplars_n;
        dropped.series++;
        dropped.samples += series.samples_n;
        dropped.histograms += histograms_n;
    }
    request->series_n = kept;
    request->exemplars_n = exemplars.kept;
    request->histograms_n = histograms.kept;
    *ret_dropped = dropped;
    return OK;
}
