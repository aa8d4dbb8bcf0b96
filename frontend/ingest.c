/* frontend/ingest.c: see ingest.h.
 *
 * A write is decoded on POOL_WRITES into an arena of its own, queued, and answered by the committer after its
 * transaction. When a transaction of several requests fails for one of them, each is tried alone, so that a request the
 * store cannot take does not make its neighbours fail with it.
 *
 * Codes: 204 stored; 202 all of it is of a replica that is not elected (ha.h), and dropped; 400 something of it was
 * refused and will never be taken, the rest is stored; 413, 415; 503 with Retry-After when the queue or the disk is
 * full, the store takes no writes for another reason, or it is not known yet which replica is elected; 500 when it
 * failed otherwise. Senders repeat 5xx only, and a repetition is harmless: equal samples are dropped quietly. Answers
 * to 2.0 requests say how many samples were taken in any case, those that were stored already or are another replica's
 * among them: a sender that reads less than it sent counts the difference as failed.
 */
#include "frontend/ingest.h"

#include <limits.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/assert.h"
#include "base/priority.h"
#include "frontend/app.h"
#include "frontend/ha.h"
#include "remote/write_request.h"

#define GROUP_REQUESTS_MAX 256
#define REPLICAS_FILE      "replicas.json" /* in the storage directory */
#define RETRY_AFTER_S      "1"
#define REMIND_MS          60000 /* a failure that lasts is logged once, and then so often */
#define DECODED_FACTOR     24 /* arena bytes per byte of the wire, at most: a label of four bytes becomes two views */

struct write {
    struct ingest_job job; /* first */
    struct http_request *request;
    struct arena arena;
    enum write_version version;
    struct write_request decoded;
    struct ha_dropped dropped; /* was in the request, too */
};

struct ingest {
    struct app *app;
    struct ha *ha; /* NULL: off */
    size_t queue_max_bytes;
    pthread_t committer;
    pthread_mutex_t lock;
    pthread_cond_t work;
    struct ingest_job *first, **last;
    size_t queued_bytes; /* waiting and in the transaction under way */
    bool ending;
    /* Of the committer alone: failures since the last transaction that was stored. */
    uint64_t failed_requests;
    int64_t failing_since_ms, logged_ms;
};

/* --- answers --- */

static void count_answer(struct app *app, int code)
{
    static const struct {
        int code;
        const char *text;
    } CODES[] = {{202, "202"}, {204, "204"}, {400, "400"}, {413, "413"}, {415, "415"}, {500, "500"}, {503, "503"}};
    const char *text = "other";
    for (size_t i = 0; i < ARRAY_LENGTH(CODES); i++)
        if (CODES[i].code == code)
            text = CODES[i].text;
    metric_add(app->metrics, METRIC_ID_write_requests, text, 1);
}

static void header_number(struct http_request *request, const char *name, size_t number)
{
    char digits[24];
    int n = snprintf(digits, sizeof digits, "%zu", number);
    struct str text = arena_str(&request->arena, (struct str){digits, (size_t)n});
    if (text.ptr)
        http_header(request, name, text.ptr);
}

static void say_written(struct http_request *request, enum write_version version, size_t samples_n, size_t histograms_n,
                        size_t exemplars_n)
{
    if (version != WRITE_2_0) /* senders of 1.0 would take a zero for samples that were lost */
        return;
    header_number(request, "X-Prometheus-Remote-Write-Samples-Written", samples_n);
    header_number(request, "X-Prometheus-Remote-Write-Histograms-Written", histograms_n);
    header_number(request, "X-Prometheus-Remote-Write-Exemplars-Written", exemplars_n);
}

int ingest_error_code(struct http_request *request, const struct error *error)
{
    /* A store out of memory or at a limit may take the same request later. */
    int code = error->status == E_LIMIT ? 503 : status_http_code(error->status);
    if (code == 503)
        http_header(request, "Retry-After", RETRY_AFTER_S);
    return code;
}

static void answer_error(struct http_request *request, enum write_version version, const struct error *error)
{
    int code = ingest_error_code(request, error);
    count_answer(request->app, code);
    say_written(request, version, 0, 0, 0);
    http_respond_text(request, code, "%s\n", error->message);
}

static void write_free(struct write *write)
{
    arena_release(&write->arena);
    free(write);
}

void ingest_count_exemplars(struct app *app, const struct write_request *decoded, const struct append_request *done)
{
    static const char *const FATES[EXEMPLAR_FATES] = {[EXEMPLAR_WRITTEN] = "written",
                                                      [EXEMPLAR_DUPLICATE] = "duplicate",
                                                      [EXEMPLAR_OUT_OF_ORDER] = "out_of_order",
                                                      [EXEMPLAR_TOO_LONG] = "too_long",
                                                      [EXEMPLAR_TOO_FAR_AHEAD] = "too_far_ahead",
                                                      [EXEMPLAR_OF_UNKNOWN_SERIES] = "unknown_series",
                                                      [EXEMPLAR_NOT_KEPT] = "not_kept"};
    for (size_t fate = 0; fate < EXEMPLAR_FATES; fate++)
        if (done->exemplars_by[fate])
            metric_add(app->metrics, METRIC_ID_write_exemplars, FATES[fate], (int64_t)done->exemplars_by[fate]);
    metric_add(app->metrics, METRIC_ID_write_exemplars, "invalid", (int64_t)decoded->invalid_exemplars);
    if (decoded->exemplars_skipped)
        metric_add(app->metrics, METRIC_ID_write_exemplars, "of_gauge", (int64_t)decoded->exemplars_skipped);
}

size_t ingest_exemplars_lost(const struct write_request *decoded, const struct append_request *done)
{
    size_t n = decoded->invalid_exemplars + decoded->exemplars_skipped;
    for (size_t fate = 0; fate < EXEMPLAR_FATES; fate++)
        n += fate == EXEMPLAR_WRITTEN || fate == EXEMPLAR_DUPLICATE ? 0 : done->exemplars_by[fate];
    return n;
}

static void count_exemplars(struct app *app, const struct write *write, const struct append_request *done)
{
    ingest_count_exemplars(app, &write->decoded, done);
    metric_add(app->metrics, METRIC_ID_write_exemplars, "other_replica", (int64_t)write->dropped.exemplars);
}

void ingest_count_samples(struct app *app, const struct write_request *decoded, const struct append_request *done)
{
    const size_t *invalid = decoded->invalid_samples;
    const struct {
        const char *result;
        size_t n;
    } RESULTS[] = {{"written", done->written - done->late},
                   {"written_late", done->late},
                   {"duplicate", done->duplicates},
                   {"out_of_order", done->out_of_order},
                   {"too_old", done->too_old},
                   {"conflicting", done->conflicting},
                   {"too_far_ahead", done->too_far_ahead},
                   {"beyond_retention", done->beyond_retention},
                   {"start_zero", done->zeros},
                   {"invalid_histogram", decoded->invalid_histograms},
                   {"invalid_labels", invalid[WRITE_INVALID_LABELS]},
                   {"too_many_labels", invalid[WRITE_LABELS_TOO_MANY]},
                   {"label_name_too_long", invalid[WRITE_NAME_TOO_LONG]},
                   {"label_value_too_long", invalid[WRITE_VALUE_TOO_LONG]}};
    for (size_t i = 0; i < ARRAY_LENGTH(RESULTS); i++)
        if (RESULTS[i].n)
            metric_add(app->metrics, METRIC_ID_write_samples, RESULTS[i].result, (int64_t)RESULTS[i].n);
    metric_add(app->metrics, METRIC_ID_write_metadata, "taken",
               (int64_t)(decoded->metadata_n - done->metadata_refused));
    metric_add(app->metrics, METRIC_ID_write_metadata, "too_many", (int64_t)done->metadata_refused);
    metric_add(app->metrics, METRIC_ID_write_metadata, "invalid", (int64_t)decoded->invalid_metadata);
}

static void count_samples(struct app *app, const struct write *write, const struct append_request *done)
{
    ingest_count_samples(app, &write->decoded, done);
    size_t dropped = write->dropped.samples + write->dropped.histograms;
    if (dropped)
        metric_add(app->metrics, METRIC_ID_write_samples, "other_replica", (int64_t)dropped);
}

size_t ingest_refused(const struct append_request *done)
{
    return done->out_of_order + done->too_old + done->conflicting + done->too_far_ahead + done->beyond_retention;
}

/* Senders of 1.0 hear of samples only, as from Prometheus. */
static size_t exemplars_refused(const struct write *write, const struct append_request *done)
{
    bool counts = write->version == WRITE_2_0;
    return counts ? done->exemplars_by[EXEMPLAR_OUT_OF_ORDER] + (write->decoded.invalid_exemplar.status != OK) : 0;
}

/* What a 400 begins with. `refused`: samples. */
static const char *first_refusal(const struct write *write, const struct append_request *done, size_t refused)
{
    const struct write_request *decoded = &write->decoded;
    return refused                                     ? done->refused.message
           : decoded->invalid_series                   ? decoded->invalid.message
           : decoded->invalid_histograms               ? decoded->invalid_histogram.message
           : done->exemplars_by[EXEMPLAR_OUT_OF_ORDER] ? done->exemplar_refused.message
                                                       : decoded->invalid_exemplar.message;
}

/* The transaction is durable: 204, or 400 naming the first refusal and what became of the rest. */
static void answer_stored(struct write *write, const struct append_request *done)
{
    struct http_request *request = write->request;
    const struct write_request *decoded = &write->decoded;
    size_t refused = ingest_refused(done);
    count_samples(request->app, write, done);
    count_exemplars(request->app, write, done);
    size_t histograms_n = done->histograms_written + done->histograms_known;
    say_written(request, write->version, done->written + done->duplicates - histograms_n + write->dropped.samples,
                histograms_n + write->dropped.histograms,
                done->exemplars_by[EXEMPLAR_WRITTEN] + done->exemplars_by[EXEMPLAR_DUPLICATE] +
                    write->dropped.exemplars);
    if (!refused && !decoded->invalid_series && !decoded->invalid_histograms && !exemplars_refused(write, done)) {
        count_answer(request->app, 204);
        http_respond_text(request, 204, "%s", "");
        return;
    }
    count_answer(request->app, 400);
    http_respond_text(
        request, 400,
        "%s (samples: %zu stored, %zu known, %zu out of order, %zu too old, %zu with another value than stored, %zu "
        "too far in the future, %zu older than the retention; series with invalid labels: %zu; invalid native "
        "histograms: %zu; exemplars out of order: %zu)\n",
        first_refusal(write, done, refused), done->written, done->duplicates, done->out_of_order, done->too_old,
        done->conflicting, done->too_far_ahead, done->beyond_retention, decoded->invalid_series,
        decoded->invalid_histograms, done->exemplars_by[EXEMPLAR_OUT_OF_ORDER]);
}

static void write_done(struct ingest_job *job)
{
    struct write *write = (struct write *)job;
    if (job->failure.status == OK)
        answer_stored(write, &job->append);
    else
        answer_error(write->request, write->version, &job->failure);
    write_free(write);
}

/* --- the committer --- */

struct append_request ingest_append_of(const struct write_request *decoded)
{
    return (struct append_request){.series = decoded->series,
                                   .series_n = decoded->series_n,
                                   .starts = decoded->starts,
                                   .starts_n = decoded->starts_n,
                                   .histograms = decoded->histograms,
                                   .histograms_n = decoded->histograms_n,
                                   .exemplars = decoded->exemplars,
                                   .exemplars_n = decoded->exemplars_n,
                                   .metadata = decoded->metadata,
                                   .metadata_n = decoded->metadata_n};
}

static enum status transact(struct ingest *ingest, struct append_request *requests, size_t n, struct error *reterr)
{
    struct app *app = ingest->app;
    int64_t begun_ms = monotonic_ms();
    enum status status = app->backend->ops->append(app->backend, requests, n, reterr);
    if (status == OK) {
        metric_add(app->metrics, METRIC_ID_write_transactions, NULL, 1);
        metric_observe_ms(app->metrics, METRIC_ID_write_commit_seconds, (double)(monotonic_ms() - begun_ms));
    }
    return status;
}

/* A full disk fails every write of every sender: the first is logged, then one line a minute, then that it is over. */
static void log_failure(struct ingest *ingest, size_t n, const struct error *error)
{
    int64_t now_ms = monotonic_ms();
    if (ingest->failed_requests == 0)
        ingest->failing_since_ms = now_ms;
    bool is_due = ingest->failed_requests == 0 || now_ms - ingest->logged_ms >= REMIND_MS;
    ingest->failed_requests += n;
    if (!is_due)
        return;
    ingest->logged_ms = now_ms;
    struct log_line line = log_begin(ingest->app->log, LOG_ERROR, "writes were not stored");
    log_i64(&line, "requests", (int64_t)ingest->failed_requests);
    log_i64(&line, "since_ms", now_ms - ingest->failing_since_ms);
    log_error(&line, error);
    log_end(&line);
}

static void log_recovery(struct ingest *ingest)
{
    if (ingest->failed_requests == 0)
        return;
    struct log_line line = log_begin(ingest->app->log, LOG_INFO, "writes are stored again");
    log_i64(&line, "failed_requests", (int64_t)ingest->failed_requests);
    log_i64(&line, "failing_ms", monotonic_ms() - ingest->failing_since_ms);
    log_end(&line);
    ingest->failed_requests = 0;
}

static void give_back(struct ingest *ingest, size_t bytes)
{
    pthread_mutex_lock(&ingest->lock);
    ingest->queued_bytes -= bytes;
    pthread_mutex_unlock(&ingest->lock);
}

static void commit(struct ingest *ingest, struct ingest_job **group, size_t n, size_t bytes)
{
    struct append_request requests[GROUP_REQUESTS_MAX];
    struct error error;
    for (size_t i = 0; i < n; i++)
        requests[i] = group[i]->append;
    enum status status = transact(ingest, requests, n, &error);
    size_t failed_n = status == OK ? 0 : n;
    /* What is unavailable is so for each of them. */
    bool alone = status != OK && status != E_UNAVAILABLE && n > 1;
    for (size_t i = 0; i < n; i++)
        group[i]->failure = status == OK || alone ? (struct error){.status = OK} : error;
    for (size_t i = 0; i < n && alone; i++) {
        requests[i] = group[i]->append;
        if (transact(ingest, &requests[i], 1, &group[i]->failure) != OK)
            error = group[i]->failure;
        else
            failed_n--;
    }
    if (failed_n > 0)
        log_failure(ingest, failed_n, &error);
    else
        log_recovery(ingest);
    give_back(ingest, bytes); /* before the senders hear of it: their next request must find the room */
    for (size_t i = 0; i < n; i++) {
        group[i]->append = requests[i];
        group[i]->done(group[i]);
    }
}

/* Takes what waits, up to a group; 0 when ending. */
static size_t take(struct ingest *ingest, struct ingest_job **group, size_t *ret_bytes)
{
    size_t n = 0;
    *ret_bytes = 0;
    pthread_mutex_lock(&ingest->lock);
    while (!ingest->first && !ingest->ending)
        pthread_cond_wait(&ingest->work, &ingest->lock);
    while (ingest->first && n < GROUP_REQUESTS_MAX) {
        struct ingest_job *job = ingest->first;
        ingest->first = job->next;
        *ret_bytes += job->bytes;
        group[n++] = job;
    }
    if (!ingest->first)
        ingest->last = &ingest->first;
    pthread_mutex_unlock(&ingest->lock);
    return n;
}

static void *committer(void *arg)
{
    struct ingest *ingest = arg;
    priority_step_behind(PRIORITY_WRITES);
    struct ingest_job *group[GROUP_REQUESTS_MAX];
    size_t bytes, n;
    while ((n = take(ingest, group, &bytes)))
        commit(ingest, group, n, bytes);
    return NULL;
}

/* --- the thread's beginning and end --- */

/* Of the tracker of replicas. */
static void replica_elected(void *arg, struct str cluster, struct str before, struct str replica)
{
    struct app *app = arg;
    metric_add(app->metrics, METRIC_ID_ha_elections, before.len ? "failover" : "first", 1);
    struct log_line line = log_begin(app->log, LOG_INFO, "replica elected");
    log_str(&line, "cluster", cluster);
    log_str(&line, "replica", replica);
    if (before.len)
        log_str(&line, "before", before);
    log_end(&line);
}

static void election_not_kept(void *arg, const struct error *error)
{
    struct app *app = arg;
    struct log_line line = log_begin(app->log, LOG_ERROR, "the elected replicas were not written down");
    log_error(&line, error);
    log_end(&line);
}

static enum status track_replicas(struct ingest *ingest, struct error *reterr)
{
    struct config *config = &ingest->app->config;
    if (!config->ha_enabled)
        return OK;
    struct strbuf path;
    strbuf_init(&path, PATH_MAX);
    strbuf_cstr(&path, config->storage_path);
    strbuf_cstr(&path, "/" REPLICAS_FILE);
    enum status status = strbuf_status(&path, "--storage.path", reterr);
    struct str kept = arena_str(&config->arena, strbuf_view(&path));
    strbuf_release(&path);
    if (status != OK || !kept.ptr)
        return status != OK ? status : error_set(reterr, E_NOMEM, "no memory for a path");
    struct ha_options options = {.cluster_label = str_from(config->ha_cluster_label),
                                 .replica_label = str_from(config->ha_replica_label),
                                 .failover_ms = config->ha_failover_ms,
                                 .clusters_max = (size_t)config->ha_clusters_max,
                                 .path = kept.ptr,
                                 .elected = replica_elected,
                                 .not_kept = election_not_kept,
                                 .arg = ingest->app};
    return ha_new(&options, monotonic_ms(), &ingest->ha, reterr);
}

enum status ingest_new(struct app *app, size_t queue_max_bytes, struct ingest **ret_ingest, struct error *reterr)
{
    struct ingest *ingest = calloc(1, sizeof *ingest);
    if (!ingest)
        return error_set(reterr, E_NOMEM, "no memory for the write queue");
    ingest->app = app;
    ingest->queue_max_bytes = queue_max_bytes;
    ingest->last = &ingest->first;
    enum status status = track_replicas(ingest, reterr);
    if (status != OK) {
        free(ingest);
        return status;
    }
    pthread_mutex_init(&ingest->lock, NULL);
    pthread_cond_init(&ingest->work, NULL);
    if (pthread_create(&ingest->committer, NULL, committer, ingest) != 0) {
        pthread_cond_destroy(&ingest->work);
        pthread_mutex_destroy(&ingest->lock);
        ha_free(ingest->ha);
        free(ingest);
        return error_set(reterr, E_NOMEM, "cannot start the thread that commits writes");
    }
    pthread_setname_np(ingest->committer, "commit");
    *ret_ingest = ingest;
    return OK;
}

void ingest_free(struct ingest *ingest)
{
    if (!ingest)
        return;
    pthread_mutex_lock(&ingest->lock);
    ingest->ending = true;
    pthread_cond_signal(&ingest->work);
    pthread_mutex_unlock(&ingest->lock);
    pthread_join(ingest->committer, NULL);
    pthread_cond_destroy(&ingest->work);
    pthread_mutex_destroy(&ingest->lock);
    ha_free(ingest->ha);
    free(ingest);
}

/* --- the request --- */

enum status ingest_submit(struct ingest *ingest, struct ingest_job *job, struct error *reterr)
{
    pthread_mutex_lock(&ingest->lock);
    size_t queued = ingest->queued_bytes;
    /* One request alone is always taken: its size has a limit of its own. */
    bool room = queued == 0 || queued + job->bytes <= ingest->queue_max_bytes;
    if (room) {
        *ingest->last = job;
        ingest->last = &job->next;
        ingest->queued_bytes += job->bytes;
        pthread_cond_signal(&ingest->work);
    }
    pthread_mutex_unlock(&ingest->lock);
    return room ? OK
                : error_set(reterr, E_UNAVAILABLE,
                            "the write queue is full: %zu bytes wait, this request has %zu, "
                            "--remote-write.max-queue-size is %zu",
                            queued, job->bytes, ingest->queue_max_bytes);
}

static enum status decode(struct write *write, struct error *reterr)
{
    const struct http_request *request = write->request;
    const struct config *config = &request->app->config;
    size_t max = (size_t)config->write_body_max_bytes;
    struct write_limits limits = {.body_max_bytes = max,
                                  .decoded_max_bytes = max,
                                  .labels_max = (size_t)config->write_labels_max,
                                  .label_name_max_bytes = (size_t)config->write_label_name_max_bytes,
                                  .label_value_max_bytes = (size_t)config->write_label_value_max_bytes,
                                  .wants_starts = config->write_start_zeros};
    enum status status = write_request_media(request->content_type, request->content_encoding, &write->version, reterr);
    if (status == OK)
        status = write_request_decode(&write->arena, request->body, write->version, &limits, &write->decoded, reterr);
    if (status == OK)
        metric_add(request->app->metrics, METRIC_ID_write_versions, write->version == WRITE_2_0 ? "2.0" : "1.0", 1);
    write->job.bytes = sizeof *write + write->arena.used_bytes;
    return status;
}

/* Drops what is another replica's. */
static enum status drop_replicas(struct ingest *ingest, struct write *write, struct error *reterr)
{
    if (!ingest->ha)
        return OK;
    enum status status = ha_filter(ingest->ha, &write->decoded, monotonic_ms(), &write->dropped, reterr);
    metric_set(ingest->app->metrics, METRIC_ID_ha_clusters, (int64_t)ha_clusters_n(ingest->ha));
    return status;
}

/* Nothing but what another replica sent. */
static bool is_all_dropped(const struct write *write)
{
    const struct write_request *left = &write->decoded;
    return write->dropped.series && !left->series_n && !left->metadata_n && !left->invalid_series &&
           !left->invalid_histograms;
}

static void answer_dropped(struct write *write)
{
    struct http_request *request = write->request;
    count_samples(request->app, write, &(struct append_request){0});
    count_exemplars(request->app, write, &(struct append_request){0});
    count_answer(request->app, 202);
    say_written(request, write->version, write->dropped.samples, write->dropped.histograms, write->dropped.exemplars);
    http_respond_text(request, 202, "%s", "");
}

void api_write(struct http_request *request)
{
    struct error error;
    struct write *write = calloc(1, sizeof *write);
    if (!write) {
        answer_error(request, WRITE_1_0, &(struct error){.status = E_NOMEM, .message = "no memory for the request"});
        return;
    }
    write->request = request;
    write->job.done = write_done;
    arena_init(&write->arena, (size_t)request->app->config.write_body_max_bytes * DECODED_FACTOR);
    enum status status = decode(write, &error);
    if (status == OK)
        status = drop_replicas(request->app->ingest, write, &error);
    if (status == OK && is_all_dropped(write)) {
        answer_dropped(write);
        write_free(write);
        return;
    }
    write->job.append = ingest_append_of(&write->decoded);
    if (status == OK)
        status = ingest_submit(request->app->ingest, &write->job, &error);
    if (status == OK)
        return; /* the committer answers */
    answer_error(request, write->version, &error);
    write_free(write);
}
