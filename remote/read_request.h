/* remote/read_request.h: a remote read request off the wire.
 *
 * Memory   everything decoded lives in the arena. Threads: no shared state.
 * Limits   the compressed body and the size its snappy preamble declares, before anything is allocated (Prometheus's
 *          CVE-2026-42154 was the missing second check); queries and matchers per request; the arena's cap.
 * Errors   E_TOO_LARGE names limit, asked and allowed; E_BAD_DATA for bad snappy, protobuf, matcher types, text that is
 *          not UTF-8, no response type we serve.
 * Source   Prometheus prompb/remote.proto, storage/remote/codec.go; peers: both packed and unpacked enums occur.
 */
#ifndef PROMSPLIT_REMOTE_READ_REQUEST_H
#define PROMSPLIT_REMOTE_READ_REQUEST_H

#include "base/arena.h"
#include "base/error.h"
#include "planner/grid.h"
#include "promql/labels.h"

enum read_answer_type {
    READ_SAMPLES = 0,
    READ_STREAMED_XOR_CHUNKS = 1
}; /* numbers of the wire */

/* Readers ask for "everything" with times near the ends of int64. They are clamped to what a store can compute with:
 * times whose microseconds fit in 64 bits (some 290 000 years). */
#define READ_TIME_MAX_MS (INT64_MAX / 1000)
#define READ_TIME_MIN_MS (-READ_TIME_MAX_MS)

struct read_query {
    struct time_span span; /* both ends included; within READ_TIME_MIN_MS … READ_TIME_MAX_MS */
    struct matcher *matchers;
    size_t matchers_n;
    bool series_only; /* hint func == "series": labels only, samples are not needed */
};

struct read_request {
    struct read_query *queries;
    size_t queries_n;
    enum read_answer_type answer; /* the first type of the request's list that we serve */
};

struct read_limits {
    size_t body_max_bytes;    /* compressed */
    size_t decoded_max_bytes; /* as declared by snappy, and real */
    size_t queries_max;
    size_t matchers_max; /* of one query */
};

MUST_USE enum status read_request_decode(struct arena *arena, struct str body, const struct read_limits *limits,
                                         struct read_request *ret_request, struct error *reterr);

/* The same from the uncompressed message. */
MUST_USE enum status read_request_unpack(struct arena *arena, struct str message, const struct read_limits *limits,
                                         struct read_request *ret_request, struct error *reterr);

/* Whether the query is for a task: it carries the constant task matcher. Fills *ret_task_id. When other matchers than
 * the two task labels are present, *ret_stray is one of them (upstream's external_labels at work, semantics.md 11),
 * else NULL. */
bool read_query_task(const struct read_query *query, struct str *ret_task_id, const struct matcher **ret_stray);

#endif
