/* frontend/ingest.h: remote write in: decode on POOL_WRITES, commit on one thread, many requests per transaction.
 *
 * A request is answered 204 only after its transaction is durable. While one transaction commits, the next requests
 * queue; all that queued go into the next one. The queue is bounded in bytes: beyond, 503, which senders retry.
 */
#ifndef PROMSPLIT_FRONTEND_INGEST_H
#define PROMSPLIT_FRONTEND_INGEST_H

#include "frontend/http.h"

struct ingest;

MUST_USE enum status ingest_new(struct app *app, size_t queue_max_bytes, struct ingest **ret_ingest,
                                struct error *reterr);
void ingest_free(struct ingest *ingest); /* commits what is queued, then ends */

/* POST /api/v1/write. */
void api_write(struct http_request *request);

#endif
