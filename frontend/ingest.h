/* frontend/ingest.h: remote write in: decode on POOL_WRITES, commit on one thread, many requests per transaction.
 *
 * A request is answered 204 only after its transaction is durable. While one transaction commits, the next requests
 * queue; all that queued go into the next one. The queue is bounded in bytes: beyond, 503, which senders retry.
 */
#ifndef PROMSPLIT_FRONTEND_INGEST_H
#define PROMSPLIT_FRONTEND_INGEST_H

#include "backend/backend.h"
#include "frontend/http.h"

struct ingest;
struct write_request;

/* What waits for the committer. Whoever submits it owns it again when `done` is called, on the committer's thread. */
struct ingest_job {
    struct append_request append; /* its inputs until `done`; then its outcome, if failure is OK */
    size_t bytes;                 /* counted against the queue's limit */
    struct error failure;         /* of its transaction */
    void (*done)(struct ingest_job *job);
    struct ingest_job *next; /* the queue's */
};

MUST_USE enum status ingest_new(struct app *app, size_t queue_max_bytes, struct ingest **ret_ingest,
                                struct error *reterr);
void ingest_free(struct ingest *ingest); /* commits what is queued, then ends */

/* Takes the job, or says that the queue is full (E_UNAVAILABLE); then `done` is not called. */
MUST_USE enum status ingest_submit(struct ingest *ingest, struct ingest_job *job, struct error *reterr);

struct append_request ingest_append_of(const struct write_request *decoded);
size_t ingest_refused(const struct append_request *done); /* samples that the store did not take */
void ingest_count_samples(struct app *app, const struct write_request *decoded, const struct append_request *done);
void ingest_count_exemplars(struct app *app, const struct write_request *decoded, const struct append_request *done);
size_t ingest_exemplars_lost(const struct write_request *decoded, const struct append_request *done); /* not stored */

/* What a write that failed is answered with: senders repeat 5xx only, so what may work later is 503. */
int ingest_error_code(struct http_request *request, const struct error *error);

/* POST /api/v1/write. */
void api_write(struct http_request *request);

#endif
